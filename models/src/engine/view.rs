//! What the model says about a text, before anyone decides anything.

use serde::Serialize;

/// The answer of one task.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// Of a classification task.
    Label {
        /// Index of the best label.
        label: usize,
        /// Calibrated probability that it is right. For a text of several windows it is lower
        /// than its entry in `probabilities`, see [`super`].
        confidence: f32,
        /// Calibrated probability of each label, in the task's order, in the window that decided.
        probabilities: Vec<f32>,
        /// How much the text is like what the model knows, at the most familiar window.
        familiarity: f32,
        /// Whether that is enough: at least [`super::TaskSpec::familiarity_min`], if there is one.
        familiar: bool,
    },
    /// Of an extraction task.
    Spans {
        /// The spans in the order of the text, an outer one before those inside it.
        spans: Vec<Span>,
        /// The confidence of the least certain word, or pair of words where spans nest; 1 for a
        /// text without words, 0 when no word of it could be read.
        confidence: f32,
    },
}

/// A typed piece of the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Index of its label.
    pub label: usize,
    /// First character.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// Calibrated probability that it is right.
    pub confidence: f32,
}

/// How much of a text the model read. It always reads all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Words: runs of non-whitespace characters.
    pub words: usize,
    /// Words of which the tokenizer leaves nothing, such as control characters.
    pub words_blank: usize,
    /// Word pieces, without special ones.
    pub pieces: usize,
    /// Passes of the encoder; they overlap.
    pub windows: usize,
}

/// What some tasks say about a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// One for each task, in the order in which they were asked.
    pub views: Vec<View>,
    /// How much of the text that took.
    pub read: Read,
}
