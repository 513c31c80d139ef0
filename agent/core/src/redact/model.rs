//! Masks that a model asks for.

use super::{MASK_BYTES_MAX, Piece, keep};
use crate::judgement::char_offsets;
use landfall_wire::record::Masking;
use std::ops::Range;

/// A piece of a text that a model would mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpan {
    /// What it is, in the model's words.
    pub label: String,
    /// First character in the text.
    pub start: u32,
    /// One past its last character.
    pub end: u32,
}

/// What a model says is to be masked in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ModelMasks {
    /// No model is asked at this site.
    #[default]
    Off,
    /// It found these, maybe none.
    Found(Vec<ModelSpan>),
    /// It should have been asked, and could not.
    Unavailable,
}

impl ModelMasks {
    pub(crate) fn spans(&self) -> &[ModelSpan] {
        match self {
            ModelMasks::Found(spans) => spans,
            ModelMasks::Off | ModelMasks::Unavailable => &[],
        }
    }

    /// As the record says it.
    pub(crate) fn masking(&self) -> Masking {
        match self {
            ModelMasks::Off => Masking::Patterns,
            ModelMasks::Unavailable => Masking::ModelUnavailable,
            ModelMasks::Found(spans) => {
                Masking::PatternsAndModel { spans: u32::try_from(spans.len()).unwrap_or(u32::MAX) }
            }
        }
    }
}

/// The pieces with the spans masked too, as far as they are not yet. A span that reaches beyond
/// the text ends with it.
pub(super) fn cover(text: &str, pieces: Vec<Piece>, found: &[ModelSpan]) -> Vec<Piece> {
    let offsets = char_offsets(text);
    let byte = |at: u32| offsets.get(at as usize).copied().unwrap_or(text.len());
    let mut spans: Vec<(Range<usize>, String)> = found
        .iter()
        .map(|span| (byte(span.start)..byte(span.end), mask(&span.label)))
        .filter(|(bytes, _)| !bytes.is_empty())
        .collect();
    spans.sort_by_key(|(bytes, _)| (bytes.start, std::cmp::Reverse(bytes.end)));
    let mut out = Vec::with_capacity(pieces.len() + spans.len());
    let mut next = 0;
    for piece in pieces {
        if piece.mask.is_some() {
            out.push(piece);
            continue;
        }
        let mut at = piece.bytes.start;
        // Spans that end before this piece were dealt with; later ones may start inside it.
        while spans.get(next).is_some_and(|(bytes, _)| bytes.end <= at) {
            next += 1;
        }
        for (bytes, mask) in &spans[next..] {
            if bytes.start >= piece.bytes.end {
                break;
            }
            let (start, end) = (bytes.start.max(at), bytes.end.min(piece.bytes.end));
            // A span inside another one is masked already.
            if start < end {
                keep(&mut out, at..start);
                out.push(Piece { bytes: start..end, mask: Some(mask.clone()) });
                at = end;
            }
        }
        keep(&mut out, at..piece.bytes.end);
    }
    out
}

/// A mask named after a label: lower-case letters, and '-' for anything else.
fn mask(label: &str) -> String {
    let letter = |c: char| if c.is_ascii_lowercase() { c } else { '-' };
    let name: String =
        label.chars().map(|c| letter(c.to_ascii_lowercase())).take(MASK_BYTES_MAX).collect();
    if name.contains(|c: char| c != '-') { format!("<{name}>") } else { "<masked>".to_owned() }
}
