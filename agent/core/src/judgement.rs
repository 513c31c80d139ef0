//! What the decision path arrives at, before it is recorded: the answer with positions only,
//! so that it holds none of the caller's text.

use crate::request::FieldView;
use landfall_wire::id::Confidence;
use landfall_wire::record::{EscalationReason, Field, Mechanism, Read};
use serde::{Deserialize, Serialize};

/// Most distinct labels of an answer that is kept. A task of this size is already hard for people
/// to label.
pub const KEPT_LABELS_MAX: usize = 32;
/// Most bytes of those labels together, so that a reply fits its store entry.
pub const KEPT_LABELS_BYTES_MAX: usize = 512;
/// Most spans of an answer that is kept, at 10 bytes each at the worst: a reply fits its store
/// entry, and a work order has about ten.
pub const KEPT_SPANS_MAX: usize = 128;
/// Most labels told beside the answer.
pub const CANDIDATES_MAX: usize = 5;
/// Longest reason in bytes.
pub const REASON_BYTES_MAX: usize = 200;

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruling {
    /// Answered on the spot.
    Answered,
    /// Handed to the hub; the answer is provisional, except in an audit.
    Escalated(EscalationReason),
    /// Not answered; the reason says why.
    Refused,
}

/// An answer, with positions instead of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// One of the task's labels.
    Label(String),
    /// Typed spans.
    Fields(Spans),
    /// None of the task's labels fits.
    OutOfScope,
}

/// Typed spans of a text that is kept elsewhere; they may nest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    labels: Vec<String>,
    spans: Vec<Span>,
    /// Spans that were there and found no room when this was kept.
    pub dropped: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    label: u16,
    start: u32,
    chars: u32,
    confidence: Confidence,
}

impl Spans {
    /// Packs what a model found.
    pub fn new(views: &[FieldView]) -> Spans {
        let mut packed = Spans::default();
        for view in views {
            packed.push(&view.label, |label| Span {
                label,
                start: view.start,
                chars: view.end.saturating_sub(view.start),
                confidence: Confidence::from_probability(view.confidence),
            });
        }
        packed
    }

    /// What of them is kept for a caller that asks again: as much as has room.
    #[must_use]
    pub fn kept(&self) -> Spans {
        let mut kept = Spans { dropped: self.dropped, ..Spans::default() };
        for span in &self.spans {
            let label = self.label(span);
            if kept.spans.len() < KEPT_SPANS_MAX && kept.has_room_for(label) {
                kept.push(label, |label| Span { label, ..span.clone() });
            } else {
                kept.dropped = kept.dropped.saturating_add(1);
            }
        }
        kept
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The spans with their values cut out of `text`. A position outside the text, which only
    /// another text than the caller's can cause, gives an empty value.
    pub fn fields(&self, text: &str) -> Vec<Field> {
        let offsets = char_offsets(text);
        let cut = |start: u32, end: u32| {
            let from = *offsets.get(start as usize)?;
            let to = *offsets.get(end as usize)?;
            text.get(from..to)
        };
        self.positions(|start, end| cut(start, end).unwrap_or_default().to_owned())
    }

    /// The spans with values made from their first and end character.
    pub(crate) fn positions(&self, value: impl Fn(u32, u32) -> String) -> Vec<Field> {
        let field = |span: &Span| {
            let end = span.start.saturating_add(span.chars);
            Field {
                label: self.label(span).to_owned(),
                value: value(span.start, end),
                start: span.start,
                end,
                confidence: span.confidence,
            }
        };
        self.spans.iter().map(field).collect()
    }

    fn label(&self, span: &Span) -> &str {
        self.labels.get(usize::from(span.label)).map_or("", String::as_str)
    }

    fn push(&mut self, label: &str, span: impl FnOnce(u16) -> Span) {
        let known = self.labels.iter().position(|known| known == label);
        let index = known.unwrap_or(self.labels.len());
        match u16::try_from(index) {
            Ok(index) => {
                if known.is_none() {
                    self.labels.push(label.to_owned());
                }
                self.spans.push(span(index));
            }
            // No task has so many labels.
            Err(_) => self.dropped = self.dropped.saturating_add(1),
        }
    }

    fn has_room_for(&self, label: &str) -> bool {
        let bytes = self.labels.iter().map(String::len).sum::<usize>();
        self.labels.iter().any(|known| known == label)
            || self.labels.len() < KEPT_LABELS_MAX && bytes + label.len() <= KEPT_LABELS_BYTES_MAX
    }
}

/// Byte offset of every character of `text`, and of its end.
pub(crate) fn char_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

/// The device's decision on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What decided.
    pub mechanism: Mechanism,
    /// What became of the question.
    pub ruling: Ruling,
    /// The answer, where there is one.
    pub answer: Option<Answer>,
    /// Calibrated confidence of the answer; certain for a rule, zero without an answer.
    pub confidence: Confidence,
    /// The best labels of the model, best first, at most [`CANDIDATES_MAX`].
    pub candidates: Vec<(String, Confidence)>,
    /// Why it was refused or escalated, for people; at most [`REASON_BYTES_MAX`].
    pub reason: Option<String>,
    /// How much of the text the model read; `None` if it was not asked. Filled in by who ran it.
    pub read: Option<Read>,
}
