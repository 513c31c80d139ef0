//! What the model says about a text, before anyone decides anything.

/// The answer of one task.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// Of a classification task. A text with more word pieces than one pass takes is judged by
    /// its beginning.
    Label {
        /// Calibrated probability of each label, in the task's order.
        probabilities: Vec<f32>,
        /// Cosine similarity to the nearest label's centre; compare with
        /// [`super::TaskSpec::familiarity_min`].
        familiarity: f32,
    },
    /// Of an extraction task. The whole text is read, in overlapping windows if need be.
    Spans {
        /// The spans in the order of the text, not overlapping.
        spans: Vec<Span>,
        /// The least certain word's confidence; 1 for a text without words, 0 when no word of
        /// it could be read.
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
    /// Calibrated probability that all its words are tagged right.
    pub confidence: f32,
}
