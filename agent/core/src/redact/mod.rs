//! What may leave the device, masked.
//!
//! A text is taken apart into pieces that stay and pieces that are masked: built-in patterns for
//! personal data and identifiers, the site's own, and what a model found beside them. Masks such
//! as `<email>` in the input count as masks already.
//!
//! Invariants: redacting twice changes nothing; a value cut out of the text is masked wherever
//! the whole text is, so that half a phone number does not slip through as a field; a model only
//! ever adds masks: the patterns see the text as if it were not there, and then once more what it
//! left.

mod model;
mod patterns;
#[cfg(test)]
mod tests;

use crate::judgement::char_offsets;
use crate::pattern::{self, PatternError};
pub use model::{ModelMasks, ModelSpan};
pub use patterns::Kind;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

/// Most patterns of a site: each is run over every text that leaves.
pub const SITE_PATTERNS_MAX: usize = 64;
/// Masking one thing can uncover another, as `^` matches after a mask. Real text needs two
/// rounds; a text that is not stable after this many is withheld whole.
const ROUNDS_MAX: usize = 4;
/// Longest name of a mask in bytes.
const MASK_BYTES_MAX: usize = 20;

/// What may leave the device, besides the decision itself. By default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leave {
    /// The text, redacted.
    pub text: bool,
    /// Labels of extracted fields whose values leave, redacted.
    pub fields: BTreeSet<String>,
    /// Keys of metadata that leave, with values redacted.
    pub meta: BTreeSet<String>,
}

impl Leave {
    /// The metadata that leaves.
    pub(crate) fn meta(
        &self,
        meta: &BTreeMap<String, String>,
        redactor: &Redactor,
    ) -> Vec<(String, String)> {
        meta.iter()
            .filter(|(key, _)| self.meta.contains(*key))
            .map(|(key, value)| (key.clone(), redactor.redact(value).text()))
            .collect()
    }
}

/// A pattern of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePattern {
    /// What stands in the mask: `berth` makes `<berth>`.
    pub mask: String,
    /// What is masked.
    pub regex: String,
}

/// What is wrong with a site's pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// The name cannot stand in a mask.
    #[error("'{0}' cannot name a mask")]
    Mask(String),
    /// The pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// More than [`SITE_PATTERNS_MAX`].
    #[error("{0} patterns are over the limit of {SITE_PATTERNS_MAX}")]
    TooMany(usize),
}

impl RedactError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            RedactError::Mask(_) => format!("use 1 to {MASK_BYTES_MAX} of a-z and '-'"),
            RedactError::Pattern(error) => error.remedy().to_owned(),
            RedactError::TooMany(_) => "join patterns with |".to_owned(),
        }
    }
}

/// Masks what must not leave.
#[derive(Debug, Clone)]
pub struct Redactor {
    /// In the order in which they are applied, each with its mask.
    masks: Vec<(String, Regex)>,
}

impl Default for Redactor {
    /// The built-in patterns that are on unless turned off.
    fn default() -> Redactor {
        Redactor { masks: patterns::of(&Kind::DEFAULT) }
    }
}

/// A text taken apart.
#[derive(Debug, Clone)]
pub struct Redacted<'a> {
    text: &'a str,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    bytes: Range<usize>,
    /// What stands for it; `None` leaves it as it is.
    mask: Option<String>,
}

impl Redactor {
    /// The given built-in patterns, then the site's own, in order.
    ///
    /// # Errors
    /// What is wrong, each with the index of its pattern.
    pub fn new(
        kinds: &[Kind],
        site: &[SitePattern],
    ) -> Result<Redactor, Vec<(usize, RedactError)>> {
        let mut errors = Vec::new();
        if site.len() > SITE_PATTERNS_MAX {
            errors.push((SITE_PATTERNS_MAX, RedactError::TooMany(site.len())));
        }
        let mut masks = patterns::of(kinds);
        for (index, pattern) in site.iter().enumerate().take(SITE_PATTERNS_MAX) {
            match compile(pattern) {
                Ok(mask) => masks.push(mask),
                Err(error) => errors.push((index, error)),
            }
        }
        if errors.is_empty() { Ok(Redactor { masks }) } else { Err(errors) }
    }

    /// Whether something in `text` is a mask, or looks like one: a masked text without any is as
    /// it was before.
    pub fn has_masks(text: &str) -> bool {
        masked_already(text).iter().any(|piece| piece.mask.is_some())
    }

    /// Takes `text` apart.
    pub fn redact<'a>(&self, text: &'a str) -> Redacted<'a> {
        self.redact_with(text, &[])
    }

    /// Takes `text` apart, masking what a model found in it too.
    pub fn redact_with<'a>(&self, text: &'a str, found: &[ModelSpan]) -> Redacted<'a> {
        let masked = self.mask(text, masked_already(text)).and_then(|pieces| {
            if found.is_empty() {
                Some(pieces)
            } else {
                self.mask(text, model::cover(text, pieces, found))
            }
        });
        let withheld = || vec![Piece { bytes: 0..text.len(), mask: Some("<withheld>".to_owned()) }];
        Redacted { text, pieces: masked.unwrap_or_else(withheld) }
    }

    /// Masks what the patterns find in the pieces that stay; `None` if that does not come to rest.
    fn mask(&self, text: &str, mut pieces: Vec<Piece>) -> Option<Vec<Piece>> {
        for _ in 0..ROUNDS_MAX {
            let before = pieces.len();
            for (mask, regex) in &self.masks {
                pieces = split(text, pieces, mask, regex);
            }
            if pieces.len() == before {
                return Some(pieces);
            }
        }
        None
    }
}

fn compile(pattern: &SitePattern) -> Result<(String, Regex), RedactError> {
    let name = &pattern.mask;
    let allowed = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if name.is_empty() || name.len() > MASK_BYTES_MAX || !allowed {
        return Err(RedactError::Mask(name.clone()));
    }
    Ok((format!("<{name}>"), pattern::compile(&pattern.regex)?))
}

/// The masks that stand in the text itself.
fn masked_already(text: &str) -> Vec<Piece> {
    #[expect(clippy::unwrap_used, reason = "a constant pattern, compiled by every test")]
    static MASK: LazyLock<Regex> = LazyLock::new(|| Regex::new("<[a-z-]{1,20}>").unwrap());
    let mut pieces = Vec::new();
    let mut end = 0;
    for found in MASK.find_iter(text) {
        keep(&mut pieces, end..found.start());
        pieces.push(Piece { bytes: found.range(), mask: Some(found.as_str().to_owned()) });
        end = found.end();
    }
    keep(&mut pieces, end..text.len());
    pieces
}

/// Masks what `regex` finds in the pieces that stay.
fn split(text: &str, pieces: Vec<Piece>, mask: &str, regex: &Regex) -> Vec<Piece> {
    let mut out = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if piece.mask.is_some() {
            out.push(piece);
            continue;
        }
        let (start, mut end) = (piece.bytes.start, piece.bytes.start);
        // An empty match, as `\b` gives, masks nothing.
        for found in regex.find_iter(&text[piece.bytes.clone()]).filter(|found| !found.is_empty()) {
            keep(&mut out, end..start + found.start());
            end = start + found.end();
            out.push(Piece { bytes: start + found.start()..end, mask: Some(mask.to_owned()) });
        }
        keep(&mut out, end..piece.bytes.end);
    }
    out
}

fn keep(pieces: &mut Vec<Piece>, bytes: Range<usize>) {
    if !bytes.is_empty() {
        pieces.push(Piece { bytes, mask: None });
    }
}

impl Redacted<'_> {
    /// The whole text with its masks.
    pub fn text(&self) -> String {
        self.render(0..self.text.len())
    }

    /// Cuts spans, given as first and end character, out of the text; a mask that a span touches
    /// is in it whole. What lies outside the text is empty.
    pub(crate) fn cutter(&self) -> impl Fn(u32, u32) -> String {
        let offsets = char_offsets(self.text);
        let byte = move |at: u32| offsets.get(at as usize).copied().unwrap_or(self.text.len());
        move |start, end| self.render(byte(start)..byte(end))
    }

    fn render(&self, bytes: Range<usize>) -> String {
        if bytes.is_empty() {
            return String::new();
        }
        let from = self.pieces.partition_point(|piece| piece.bytes.end <= bytes.start);
        let touched = self.pieces[from..].iter().take_while(|piece| piece.bytes.start < bytes.end);
        let mut out = String::new();
        for piece in touched {
            let (start, end) = (piece.bytes.start.max(bytes.start), piece.bytes.end.min(bytes.end));
            out.push_str(piece.mask.as_deref().unwrap_or(&self.text[start..end]));
        }
        out
    }
}
