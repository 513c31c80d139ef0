//! The text of a past decision: as it is recorded, which is after masking, or as somebody gives it.
//!
//! What was decided is the raw text; it stays with the caller. The record has at most the masked
//! text. If nothing in that is a mask, it is the raw text. For a decision with a caller's id the
//! device also keeps, for a while, a digest of the raw text, which settles it.

use super::Failure;
use crate::input::decode;
use crate::stamp::short_digest;
use landfall_agent_core::redact::Redactor;
use landfall_wire::record::{Outcome, RedactedText};
use serde::Serialize;
use std::io::Read;
use std::path::Path;

/// Largest text that is read: a task allows no more.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// How the text at hand relates to the one that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fit {
    /// It is the same.
    Exact,
    /// Nothing tells.
    Unknown,
    /// Parts of it are masked that were not when it was decided.
    Masked,
}

/// A text to decide again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Text {
    /// The text; not printed, it may be what must not leave.
    #[serde(skip)]
    pub(super) text: String,
    /// How it relates to the one that was decided.
    pub(super) fit: Fit,
    /// Where it is from, and how that is known.
    pub(super) why: String,
}

/// The text of an outcome, whose digest may be known.
pub(super) fn find(
    given: Option<&Path>,
    recorded: &Outcome,
    digest: Option<&str>,
) -> Result<Text, Failure> {
    match given {
        Some(path) => check_given(&read(path)?, recorded.text.as_ref(), digest),
        None => from_record(recorded.text.as_ref(), digest),
    }
}

fn from_record(held: Option<&RedactedText>, digest: Option<&str>) -> Result<Text, Failure> {
    let give = "give it with --text FILE; what was decided is the text before masking";
    let Some(held) = held else {
        return Err(Failure::open(
            "the text is not held on the device: its task does not let it \
                                  leave, or the guard kept it out",
        )
        .remedy(give));
    };
    let RedactedText { text, bytes_full } = held;
    if text.len() as u64 != u64::from(*bytes_full) {
        let (kept, full) = (text.len(), bytes_full);
        let message = format!("only the first {kept} of {full} bytes of the text are held");
        return Err(Failure::open(message).remedy(give));
    }
    let (fit, why) = match digest {
        Some(digest) if is_of(digest, text) => {
            (Fit::Exact, "as recorded; its digest is that of the text that was decided")
        }
        Some(_) => (Fit::Masked, "as recorded, with masks: the text that was decided has none"),
        None if !has_masks(text) => (Fit::Exact, "as recorded; nothing of it is masked"),
        None => (
            Fit::Masked,
            "as recorded, with masks, which may not have been there when it was decided",
        ),
    };
    Ok(Text { text: text.clone(), fit, why: why.to_owned() })
}

fn check_given(
    given: &str,
    held: Option<&RedactedText>,
    digest: Option<&str>,
) -> Result<Text, Failure> {
    // Files end with a line feed that the decided text need not have had.
    let bare = given.strip_suffix('\n').unwrap_or(given);
    let bare = bare.strip_suffix('\r').unwrap_or(bare);
    if let Some(digest) = digest {
        let Some(text) = [bare, given].into_iter().find(|text| is_of(digest, text)) else {
            let is = short_digest(bare.as_bytes());
            return Err(Failure::new(format!(
                "this is not the text that was decided: its digest is {is}, recorded is {digest}"
            ))
            .remedy("give the text as it was sent, before any masking"));
        };
        let why = "as given; its digest is that of the text that was decided".to_owned();
        return Ok(Text { text: text.to_owned(), fit: Fit::Exact, why });
    }
    let unmasked = held.filter(|held| !has_masks(&held.text));
    let (fit, why) = match unmasked {
        Some(held) if bare == held.text || given == held.text => {
            (Fit::Exact, "as given; the record has the same, with nothing masked")
        }
        Some(held) if held.text.len() as u64 == u64::from(held.bytes_full) => {
            return Err(Failure::new(
                "this is not the text that was decided: the record has it \
                                     whole, with nothing masked, and it is another",
            )
            .remedy("leave --text out to use what is recorded"));
        }
        _ => (Fit::Unknown, "as given; no digest is held that it could be checked against"),
    };
    Ok(Text { text: bare.to_owned(), fit, why: why.to_owned() })
}

fn is_of(digest: &str, text: &str) -> bool {
    short_digest(text.as_bytes()).to_string() == digest
}

/// Whether something in the text is a mask, or looks like one.
fn has_masks(text: &str) -> bool {
    Redactor::has_masks(text)
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", path.display()))
            .remedy("give a file with the text, or - for standard input")
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    input.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::usage(format!("the text is over {TEXT_BYTES_MAX} bytes"))
            .remedy("give the text of this one decision"));
    }
    Ok(decode(&bytes).0.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> RedactedText {
        RedactedText::new(text)
    }

    fn digest(text: &str) -> String {
        short_digest(text.as_bytes()).to_string()
    }

    #[test]
    fn a_recorded_text_is_exact_only_without_masks_or_with_its_digest() {
        let fit = |text: &str, digest: Option<&str>| {
            from_record(Some(&held(text)), digest).map(|text| text.fit)
        };
        assert_eq!(fit("pump leak", None), Ok(Fit::Exact));
        assert_eq!(fit("call <phone>", None), Ok(Fit::Masked));
        assert_eq!(fit("call <phone>", Some(&digest("call 0123 456789"))), Ok(Fit::Masked));
        assert_eq!(fit("a <phone>", Some(&digest("a <phone>"))), Ok(Fit::Exact), "it was there");
        let long = "x".repeat(5_000);
        assert!(fit(&long, None).unwrap_err().message.contains("of 5000 bytes"));
        assert!(from_record(None, None).unwrap_err().remedy.unwrap().contains("--text"));
    }

    #[test]
    fn a_given_text_is_checked_against_what_there_is() {
        let masked = held("call <phone>");
        let fit = |text: &str, held: &RedactedText, digest: Option<&str>| {
            check_given(text, Some(held), digest).map(|text| (text.text, text.fit))
        };
        let right = digest("call 0123");
        let exact = Ok(("call 0123".to_owned(), Fit::Exact));
        assert_eq!(fit("call 0123\r\n", &masked, Some(&right)), exact);
        let wrong = fit("call 9999", &masked, Some(&right)).unwrap_err();
        assert!(wrong.message.contains(&right), "{wrong:?}");
        let unknown = Ok(("call 0123".to_owned(), Fit::Unknown));
        assert_eq!(fit("call 0123\n", &masked, None), unknown);
        assert_eq!(fit("leak\n", &held("leak"), None), Ok(("leak".to_owned(), Fit::Exact)));
        assert!(fit("drip", &held("leak"), None).is_err(), "the record has it whole");
    }
}
