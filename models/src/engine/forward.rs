//! One text through the encoder and its heads, to raw logits.
//!
//! Every head reads every window. A word is taken from the window that owns its first piece, a
//! pair of words from the window that owns the piece in the middle between them; no window knows
//! of another, nor of other texts.

use super::head::{Output, Wanted};
use super::network::pieces;
use super::view::Read;
use super::window::{Window, windows};
use super::{EngineError, Inner, Loaded, TaskSpec};
use crate::limits;
use crate::package::Scheme;
use crate::text::{Encoded, Word};
use tract_onnx::prelude::TValue;

/// What a head said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// Of a classification task, for each window.
    Labels { windows: Vec<RawLabel> },
    /// Of a task with one tag for each word: the words that have a piece, and a row for each.
    Words { words: Vec<usize>, logits: Vec<f32> },
    /// Of a task with nested spans: first and last word of each pair that was looked at, and a
    /// row for each.
    Pairs { pairs: Vec<(usize, usize)>, logits: Vec<f32> },
}

/// One window's label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawLabel {
    pub(super) logits: Vec<f32>,
    pub(super) familiarity: f32,
}

/// A text after the encoder and the heads.
pub(super) struct Forward {
    pub(super) words: Vec<Word>,
    pub(super) raws: Vec<Raw>,
    pub(super) read: Read,
}

impl Inner {
    /// Runs the encoder once for each window, and every head on it.
    pub(super) fn forward(&self, text: &str, tasks: &[&Loaded]) -> Result<Forward, EngineError> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(EngineError::TextTooLarge { bytes: text.len() });
        }
        let encoded = self.text.encode(text).map_err(EngineError::Tokenizer)?;
        // Of the package, not of the tasks that are asked: the windows of a text are always the
        // same, and so is every answer to it.
        let widest = self.span_words_max.map_or(0, |most| widest_span(&encoded.words, most));
        let windows = windows(encoded.pieces.len(), self.capacity(), widest);
        let read = Read {
            words: encoded.words.len(),
            words_blank: encoded.words.iter().filter(|word| word.piece.is_none()).count(),
            pieces: encoded.pieces.len(),
            windows: windows.len(),
        };
        let raws = self.lanes.run(|| self.run_windows(&encoded, &windows, tasks))?;
        Ok(Forward { words: encoded.words, raws, read })
    }

    /// Word pieces of a text that one pass takes.
    pub(super) fn capacity(&self) -> usize {
        self.tokens_max - self.text.special_count()
    }

    fn run_windows(
        &self,
        encoded: &Encoded,
        windows: &[Window],
        tasks: &[&Loaded],
    ) -> Result<Vec<Raw>, EngineError> {
        let mut raws: Vec<Raw> = tasks.iter().map(|task| Raw::empty(&task.spec)).collect();
        let readable: Vec<(usize, usize)> = encoded
            .words
            .iter()
            .enumerate()
            .filter_map(|(word, of)| Some((word, of.piece?)))
            .collect();
        // Tasks that ask the same of the same head share its one run.
        let same = |a: &Loaded, b: &Loaded| a.head == b.head && a.spec.scheme == b.spec.scheme;
        let runs: Vec<usize> = tasks
            .iter()
            .map(|task| tasks.iter().position(|first| same(first, task)).unwrap_or_default())
            .collect();
        for window in windows {
            let hidden = self.encode(&encoded.pieces[window.reads.clone()])?;
            let seen = Seen { window, readable: &readable, offset: self.text.prefix_count() };
            for (at, task) in tasks.iter().enumerate() {
                if runs[at] == at {
                    self.ask(task, &hidden, &seen, &mut raws[at])?;
                }
            }
        }
        for (at, first) in runs.into_iter().enumerate() {
            if first != at {
                raws[at] = raws[first].clone();
            }
        }
        Ok(raws)
    }

    /// Adds to what a head said what it says of a window: of all that the window owns.
    fn ask(
        &self,
        task: &Loaded,
        hidden: &TValue,
        seen: &Seen<'_>,
        raw: &mut Raw,
    ) -> Result<(), EngineError> {
        let run = |wanted: Wanted<'_>| {
            let output = self.heads[task.head].run(hidden, wanted, task.spec.row());
            output.map_err(|what| EngineError::Inference {
                stage: format!("the head of {}", task.spec.name),
                what,
            })
        };
        match raw {
            Raw::Labels { windows } => {
                let Output { logits, familiarity } = run(Wanted::Label)?;
                windows.push(RawLabel { logits, familiarity: familiarity.unwrap_or_default() });
            }
            Raw::Words { words, logits } => {
                let (owned, places): (Vec<usize>, Vec<usize>) = seen.words().unzip();
                words.extend(owned);
                logits.extend(run(Wanted::Words(&places))?.logits);
            }
            Raw::Pairs { pairs, logits } => {
                let most = task.spec.span_words_max().unwrap_or(1);
                let (owned, places): (Vec<_>, Vec<_>) = seen.pairs(most).into_iter().unzip();
                pairs.extend(owned);
                logits.extend(run(Wanted::Pairs(&places))?.logits);
            }
        }
        Ok(())
    }

    /// The encoder's output for some pieces, special ones added.
    pub(super) fn encode(&self, ids: &[i64]) -> Result<TValue, EngineError> {
        let failed = |what| EngineError::Inference { stage: "the encoder".to_owned(), what };
        let input = pieces(&self.text.wrap(ids)).map_err(failed)?;
        let mut outputs = self.encoder.run(input).map_err(failed)?;
        Ok(outputs.swap_remove(0))
    }

    /// Runs a task on hidden values and checks what its head gives.
    pub(super) fn check_head(&self, task: &Loaded, hidden: &TValue) -> Result<(), String> {
        let places: Vec<usize> = (0..hidden.shape()[1]).collect();
        let pairs: Vec<(usize, usize)> = places.iter().map(|place| (0, *place)).collect();
        let wanted = match task.spec.scheme {
            None => Wanted::Label,
            Some(Scheme::Bio) => Wanted::Words(&places),
            Some(Scheme::Spans { .. }) => Wanted::Pairs(&pairs),
        };
        self.heads[task.head].run(hidden, wanted, task.spec.row()).map(drop)
    }
}

/// Where the rows of a window belong.
struct Seen<'a> {
    window: &'a Window,
    /// Words that have a piece, with their first.
    readable: &'a [(usize, usize)],
    /// Special pieces before the first of the window.
    offset: usize,
}

impl Seen<'_> {
    /// The place of a piece; `None` if the window does not read it.
    fn place(&self, piece: usize) -> Option<usize> {
        let read = self.window.reads.contains(&piece);
        read.then(|| self.offset + piece - self.window.reads.start)
    }

    /// The words that it owns, with their places.
    fn words(&self) -> impl Iterator<Item = (usize, usize)> {
        let owned = self.readable.iter().filter(|(_, piece)| self.window.owns.contains(piece));
        owned.filter_map(|&(word, piece)| Some((word, self.place(piece)?)))
    }

    /// The pairs of words at most so many apart that it owns, with their places.
    fn pairs(&self, most: usize) -> Vec<((usize, usize), (usize, usize))> {
        let mut pairs = Vec::new();
        for (at, &(first, from)) in self.readable.iter().enumerate() {
            let Some(start) = self.place(from) else { continue };
            let near = self.readable[at..].iter().take_while(|(last, _)| last - first < most);
            for &(last, to) in near {
                if !self.window.owns.contains(&from.midpoint(to)) {
                    continue;
                }
                let Some(end) = self.place(to) else { break };
                pairs.push(((first, last), (start, end)));
            }
        }
        pairs
    }
}

impl Raw {
    fn empty(spec: &TaskSpec) -> Raw {
        match spec.scheme {
            None => Raw::Labels { windows: Vec::new() },
            Some(Scheme::Bio) => Raw::Words { words: Vec::new(), logits: Vec::new() },
            Some(Scheme::Spans { .. }) => Raw::Pairs { pairs: Vec::new(), logits: Vec::new() },
        }
    }
}

/// The most pieces from the first of a word to the first of the last word that a span with it may
/// have, both included.
fn widest_span(words: &[Word], span_words_max: usize) -> usize {
    let reach = |at: usize| {
        let first = words[at].piece?;
        let last = words[at..].iter().take(span_words_max).rev().find_map(|word| word.piece)?;
        Some(last - first + 1)
    };
    (0..words.len()).filter_map(reach).max().unwrap_or(0)
}
