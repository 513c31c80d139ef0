//! What a caller asks and what a model saw: the values that the decision path passes along.

use landfall_wire::id::TaskName;
use landfall_wire::limits::CALLER_ID_BYTES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most metadata entries of one request: a work order's header has about a dozen.
pub const META_ENTRIES_MAX: usize = 32;
/// Longest metadata key in bytes.
pub const META_KEY_BYTES_MAX: usize = 63;
/// Longest metadata value in bytes: a value is an identifier or a short phrase, never the text.
pub const META_VALUE_BYTES_MAX: usize = 512;

/// One question of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The task that is asked for.
    pub task: TaskName,
    /// The text to decide on, as given.
    pub text: String,
    /// The caller's own id; a retry with the same id gets the same reply.
    pub caller_id: Option<String>,
    /// Facts beside the text, for the conditions of rules.
    pub meta: BTreeMap<String, String>,
}

/// Why a request cannot be taken at all: nothing is decided and nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The caller's id is empty, too long, or holds control characters.
    #[error("the id is {found}: use 1 to {CALLER_ID_BYTES_MAX} bytes without control characters")]
    CallerId {
        /// What is wrong with it.
        found: String,
    },
    /// Too many entries, or one that is too long.
    #[error(
        "meta {found}: use at most {META_ENTRIES_MAX} entries with keys of 1 to \
         {META_KEY_BYTES_MAX} bytes and values of up to {META_VALUE_BYTES_MAX} bytes"
    )]
    Meta {
        /// What is wrong with it.
        found: String,
    },
}

impl Request {
    /// Checks everything but the text, which is the guard's business. An intake calls this once,
    /// before it does anything else.
    ///
    /// # Errors
    /// [`RequestError`]: the caller must change the request; a retry gets the same error.
    pub fn check(&self) -> Result<(), RequestError> {
        self.caller_id.as_deref().map_or(Ok(()), check_caller_id)?;
        check_meta(&self.meta)
    }
}

fn check_caller_id(id: &str) -> Result<(), RequestError> {
    let found = match id.len() {
        0 => "empty".to_owned(),
        bytes if bytes > CALLER_ID_BYTES_MAX => format!("{bytes} bytes long"),
        _ if id.chars().any(char::is_control) => "not plain text".to_owned(),
        _ => return Ok(()),
    };
    Err(RequestError::CallerId { found })
}

fn check_meta(meta: &BTreeMap<String, String>) -> Result<(), RequestError> {
    if meta.len() > META_ENTRIES_MAX {
        return Err(RequestError::Meta { found: format!("has {} entries", meta.len()) });
    }
    let wrong = meta.iter().find_map(|(key, value)| match (key.len(), value.len()) {
        (0, _) => Some("has an empty key".to_owned()),
        (bytes, _) if bytes > META_KEY_BYTES_MAX => Some(format!("has a key of {bytes} bytes")),
        (_, bytes) if bytes > META_VALUE_BYTES_MAX => {
            Some(format!("has a value of {bytes} bytes for '{key}'"))
        }
        _ => None,
    });
    wrong.map_or(Ok(()), |found| Err(RequestError::Meta { found }))
}

/// What the model made of the text.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelView {
    /// Classification.
    Labels {
        /// The task's labels.
        labels: Arc<[String]>,
        /// Index of the best.
        best: usize,
        /// Calibrated probability that the best is right; lower than its entry below for a text
        /// that was read in several windows.
        confidence: f32,
        /// Calibrated probability of each, in the same order.
        probabilities: Vec<f32>,
        /// Whether the text looks like something that the model was trained on.
        familiar: bool,
    },
    /// Extraction.
    Spans {
        /// The spans in the order of the text; they may nest, an outer one first.
        spans: Vec<FieldView>,
        /// Calibrated confidence that all of them are right.
        confidence: f32,
    },
}

/// One span that the model found.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldView {
    /// Its type, one of the task's labels.
    pub label: String,
    /// First character in the text (characters, not bytes).
    pub start: u32,
    /// One past its last character.
    pub end: u32,
    /// Calibrated confidence of this span.
    pub confidence: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: Option<&str>, meta: &[(&str, &str)]) -> Request {
        Request {
            task: "failure-mode".parse().unwrap(),
            text: String::new(),
            caller_id: id.map(str::to_owned),
            meta: meta.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn ids_and_meta_are_checked() {
        let long = "x".repeat(CALLER_ID_BYTES_MAX + 1);
        let value = "x".repeat(META_VALUE_BYTES_MAX + 1);
        let cases: &[(Request, Option<&str>)] = &[
            (request(None, &[]), None),
            (request(Some("WO-1"), &[("asset", "")]), None),
            (request(Some(&long[1..]), &[]), None),
            (request(Some(""), &[]), Some("the id is empty")),
            (request(Some(&long), &[]), Some("the id is 129 bytes long")),
            (request(Some("a\nb"), &[]), Some("the id is not plain text")),
            (request(None, &[("", "v")]), Some("meta has an empty key")),
            (
                request(None, &[("asset", &value)]),
                Some("meta has a value of 513 bytes for 'asset'"),
            ),
        ];
        for (request, want) in cases {
            let got = request.check().err().map(|e| e.to_string());
            match want {
                None => assert_eq!(got, None),
                Some(start) => {
                    assert!(got.as_ref().is_some_and(|g| g.starts_with(start)), "{got:?}");
                }
            }
        }
        let many = (0..=META_ENTRIES_MAX).map(|i| (i.to_string(), String::new())).collect();
        let request = Request { meta: many, ..request(None, &[]) };
        assert_eq!(
            request.check().unwrap_err().to_string(),
            "meta has 33 entries: use at most 32 entries with keys of 1 to 63 bytes and values \
             of up to 512 bytes"
        );
    }
}
