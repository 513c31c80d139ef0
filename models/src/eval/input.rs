//! Reading labelled lines.

use crate::engine::{Kind, TaskSpec};
use crate::limits;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::{self, BufRead, Read};

/// Most bad lines that are reported: a file of the wrong kind has only bad ones.
const BAD_LINES_MAX: usize = 20;

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its line, from 1.
    pub line: usize,
    /// The text.
    pub text: String,
    /// What is right for it.
    pub gold: Gold,
}

/// What is right for a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gold {
    /// A label; `None` is out of scope.
    Label(Option<String>),
    /// Spans.
    Spans(Vec<GoldSpan>),
}

/// A labelled span, in characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GoldSpan {
    /// First character.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// Its label.
    pub label: String,
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum InputError {
    /// Reading failed.
    Io(io::Error),
    /// It has no lines.
    Empty,
    /// Some of its lines are bad; the first of them.
    Bad(Vec<BadLine>),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A line as it is written. `label` is `Some(None)` when it is `null`.
#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(default, deserialize_with = "present")]
    label: Option<Option<String>>,
    spans: Option<Vec<GoldSpan>>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Reads all lines for `task`. Empty lines are skipped.
///
/// # Errors
/// When reading fails, there is nothing to read, or lines are bad: then all of them, up to a
/// limit.
pub fn parse(mut reader: impl BufRead, task: &TaskSpec) -> Result<Vec<Example>, InputError> {
    let (mut examples, mut bad) = (Vec::new(), Vec::new());
    let mut raw = Vec::new();
    for line in 1.. {
        raw.clear();
        let most = limits::LINE_BYTES_MAX as u64 + 1;
        if (&mut reader).take(most).read_until(b'\n', &mut raw).map_err(InputError::Io)? == 0 {
            break;
        }
        if raw.len() > limits::LINE_BYTES_MAX {
            // What follows is the rest of this line: nothing after it can be told apart.
            bad.push(BadLine { line, what: "it is too long".to_owned() });
            break;
        }
        match parse_line(&raw, task) {
            Ok(None) => {}
            Ok(Some((text, gold))) => examples.push(Example { line, text, gold }),
            Err(what) => bad.push(BadLine { line, what }),
        }
        if bad.len() == BAD_LINES_MAX {
            break;
        }
    }
    if !bad.is_empty() {
        return Err(InputError::Bad(bad));
    }
    if examples.is_empty() {
        return Err(InputError::Empty);
    }
    Ok(examples)
}

fn parse_line(raw: &[u8], task: &TaskSpec) -> Result<Option<(String, Gold)>, String> {
    let text = std::str::from_utf8(raw).map_err(|_| "it is not UTF-8".to_owned())?;
    // Editors on Windows put a byte order mark before the first line.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    let line: Line = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    if line.text.len() > limits::TEXT_BYTES_MAX {
        return Err(format!("its text has more than {} bytes", limits::TEXT_BYTES_MAX));
    }
    let gold = match (task.kind, line.label, line.spans) {
        (Kind::Classification, Some(label), None) => Gold::Label(label),
        (Kind::Extraction, None, Some(spans)) => {
            check_spans(&spans, line.text.chars().count())?;
            Gold::Spans(spans)
        }
        (Kind::Classification, ..) => {
            return Err(format!("{} needs \"label\" (a label or null)", task.name));
        }
        (Kind::Extraction, ..) => {
            return Err(format!("{} needs \"spans\" (a list, maybe empty)", task.name));
        }
    };
    Ok(Some((line.text, gold)))
}

/// Serde counts lines within one line: only the column means something.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", error.column()),
        None => text,
    }
}

fn check_spans(spans: &[GoldSpan], characters: usize) -> Result<(), String> {
    for span in spans {
        if span.start >= span.end || span.end > characters {
            return Err(format!(
                "span {}..{} is empty or outside the text, which has {characters} characters",
                span.start, span.end
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: Kind) -> TaskSpec {
        TaskSpec::plain(kind)
    }

    fn check(kind: Kind, content: &[u8], expected: &[&str]) {
        match parse(content, &task(kind)) {
            Err(InputError::Bad(bad)) => {
                let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
                assert_eq!(bad.len(), expected.len(), "{bad:?}");
                for (bad, expected) in bad.iter().zip(expected) {
                    assert!(bad.starts_with(expected), "{bad:?} is not {expected:?}");
                }
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_labels_null_and_spans() {
        let lines = "\u{feff}{\"text\":\"a\",\"label\":\"A\"}\r\n\n{\"text\":\"b\",\"label\":null}";
        let examples = parse(lines.as_bytes(), &task(Kind::Classification)).unwrap();
        assert_eq!(examples[0].gold, Gold::Label(Some("A".to_owned())));
        assert_eq!((examples[1].line, &examples[1].gold), (3, &Gold::Label(None)));
        let lines = "{\"text\":\"öl\",\"spans\":[{\"start\":0,\"end\":2,\"label\":\"A\"}]}";
        let examples = parse(lines.as_bytes(), &task(Kind::Extraction)).unwrap();
        assert!(matches!(&examples[0].gold, Gold::Spans(spans) if spans[0].end == 2));
    }

    #[test]
    fn names_every_bad_line_and_what_is_wrong() {
        check(
            Kind::Classification,
            b"{\"text\":\"a\",\"label\":\"A\"}\nnonsense\n{\"text\":1}\n{\"text\":\"a\"}\n\xff\xfe\n",
            &[
                "line 2: expected ident (column 2)",
                "line 3: invalid type: integer `1`, expected a string (column",
                "line 4: t needs \"label\"",
                "line 5: it is not UTF-8",
            ],
        );
        check(
            Kind::Extraction,
            "{\"text\":\"öl\",\"spans\":[{\"start\":0,\"end\":3,\"label\":\"A\"}]}\n{\"text\":\"a\",\"label\":\"A\"}"
                .as_bytes(),
            &["line 1: span 0..3 is empty or outside the text, which has 2", "line 2: t needs \"spans\""],
        );
    }

    #[test]
    fn stops_after_enough_bad_lines_and_refuses_nothing() {
        check(Kind::Extraction, "x\n".repeat(1000).as_bytes(), &["line"; BAD_LINES_MAX]);
        let empty = parse(&b"\n \n"[..], &task(Kind::Extraction));
        assert!(matches!(empty, Err(InputError::Empty)));
    }
}
