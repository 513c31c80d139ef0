//! What the decision path arrives at, before it is recorded: the answer with positions only,
//! so that it holds none of the caller's text.

use crate::request::FieldView;
use landfall_wire::id::Confidence;
use landfall_wire::record::{EscalationReason, Field, Mechanism};
use serde::{Deserialize, Serialize};

/// Most distinct labels of one answer. A task of this size is already hard for people to label.
pub const ANSWER_LABELS_MAX: usize = 32;
/// Most bytes of those labels together, so that a reply fits its store entry.
pub const ANSWER_LABELS_BYTES_MAX: usize = 512;
/// Most spans of one answer, at 10 bytes each at the worst: a reply fits its store entry, and a
/// work order has about ten.
pub const ANSWER_SPANS_MAX: usize = 128;
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

/// Typed spans of a text that is kept elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spans {
    labels: Vec<String>,
    spans: Vec<Span>,
    /// Spans over [`ANSWER_SPANS_MAX`] or with labels over their limits: told, not kept.
    pub dropped: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    label: u8,
    start: u32,
    chars: u32,
    confidence: Confidence,
}

impl Spans {
    /// Packs what a model found.
    pub fn new(views: &[FieldView]) -> Spans {
        let mut packed = Spans::default();
        for view in views {
            packed.push(view);
        }
        packed
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
                label: self.labels.get(usize::from(span.label)).cloned().unwrap_or_default(),
                value: value(span.start, end),
                start: span.start,
                end,
                confidence: span.confidence,
            }
        };
        self.spans.iter().map(field).collect()
    }

    fn push(&mut self, view: &FieldView) {
        let label = match self.labels.iter().position(|label| *label == view.label) {
            None if self.has_room_for(&view.label) => {
                self.labels.push(view.label.clone());
                Some(self.labels.len() - 1)
            }
            known => known,
        };
        match label.and_then(|index| u8::try_from(index).ok()) {
            Some(label) if self.spans.len() < ANSWER_SPANS_MAX => self.spans.push(Span {
                label,
                start: view.start,
                chars: view.end.saturating_sub(view.start),
                confidence: Confidence::from_probability(view.confidence),
            }),
            _ => self.dropped = self.dropped.saturating_add(1),
        }
    }

    fn has_room_for(&self, label: &str) -> bool {
        let bytes = self.labels.iter().map(String::len).sum::<usize>();
        self.labels.len() < ANSWER_LABELS_MAX && bytes + label.len() <= ANSWER_LABELS_BYTES_MAX
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
}
