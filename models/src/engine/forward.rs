//! One text through the encoder and its heads, to raw logits.

use super::network::{numbers, pieces};
use super::window::{Window, windows};
use super::{EngineError, Inner, Kind, Loaded};
use crate::limits;
use crate::text::{Encoded, Word};
use std::ops::Range;
use tract_onnx::prelude::TValue;

/// What a head said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// Of a classification task.
    Label { logits: Vec<f32>, familiarity: f32 },
    /// Of an extraction task, one for each word of the text.
    Words { words: Vec<RawWord> },
}

/// A word and what the head said of its first piece; nothing if no piece of it remained.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawWord {
    pub(super) chars: Range<usize>,
    pub(super) logits: Option<Vec<f32>>,
}

impl Inner {
    /// Runs the encoder once for each window that is needed, and every head on it.
    pub(super) fn forward(&self, text: &str, tasks: &[&Loaded]) -> Result<Vec<Raw>, EngineError> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(EngineError::TextTooLarge { bytes: text.len() });
        }
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let whole = tasks.iter().any(|task| task.spec.kind == Kind::Extraction);
        let text = if whole { text } else { self.beginning(text) };
        let encoded = self.text.encode(text).map_err(EngineError::Tokenizer)?;
        let capacity = self.tokens_max - self.text.special_count();
        let mut windows = windows(encoded.pieces.len(), capacity);
        if !whole {
            windows.truncate(1);
        }
        self.lanes.run(|| self.run_windows(&encoded, &windows, tasks))
    }

    /// As much of a text as one pass can read, to spare the tokenizer the rest of a very long one:
    /// white space is free, and no vocabulary has longer pieces than this.
    fn beginning<'a>(&self, text: &'a str) -> &'a str {
        const PIECE_BYTES_MAX: usize = 512;
        let enough = self.tokens_max * PIECE_BYTES_MAX;
        let mut solid = 0;
        for (at, character) in text.char_indices() {
            if solid >= enough {
                return &text[..at];
            }
            if !character.is_whitespace() {
                solid += character.len_utf8();
            }
        }
        text
    }

    fn run_windows(
        &self,
        encoded: &Encoded,
        windows: &[Window],
        tasks: &[&Loaded],
    ) -> Result<Vec<Raw>, EngineError> {
        let mut raws: Vec<Raw> = tasks.iter().map(|task| task.nothing_yet(encoded)).collect();
        for (at, window) in windows.iter().enumerate() {
            let hidden = self.encode(&encoded.pieces[window.reads.clone()])?;
            for (task, raw) in tasks.iter().zip(&mut raws) {
                match raw {
                    Raw::Label { logits, familiarity } if at == 0 => {
                        (*logits, *familiarity) = task.classify(hidden.clone())?;
                    }
                    Raw::Label { .. } => {}
                    Raw::Words { words } => {
                        let offset = self.text.prefix_count();
                        let all = task.tag(hidden.clone())?;
                        task.collect(&encoded.words, window, offset, &all, words);
                    }
                }
            }
        }
        Ok(raws)
    }

    /// The encoder's output for some pieces, special ones added.
    fn encode(&self, ids: &[i64]) -> Result<TValue, EngineError> {
        let failed = |what| EngineError::Inference { stage: "the encoder".to_owned(), what };
        let input = pieces(&self.text.wrap(ids)).map_err(failed)?;
        let mut outputs = self.encoder.run(input).map_err(failed)?;
        Ok(outputs.swap_remove(0))
    }
}

impl Loaded {
    fn nothing_yet(&self, encoded: &Encoded) -> Raw {
        match self.spec.kind {
            Kind::Classification => Raw::Label { logits: Vec::new(), familiarity: 0.0 },
            Kind::Extraction => {
                let word = |word: &Word| RawWord { chars: word.chars.clone(), logits: None };
                Raw::Words { words: encoded.words.iter().map(word).collect() }
            }
        }
    }

    fn failed(&self, what: String) -> EngineError {
        EngineError::Inference { stage: format!("the head of {}", self.spec.name), what }
    }

    fn classify(&self, hidden: TValue) -> Result<(Vec<f32>, f32), EngineError> {
        let failed = |what| self.failed(what);
        let outputs = self.head.run(hidden).map_err(failed)?;
        let [logits, familiarity] = &outputs[..] else {
            return Err(failed(format!("{} outputs, 2 expected", outputs.len())));
        };
        let (logits, familiarity) =
            (numbers(logits).map_err(failed)?, numbers(familiarity).map_err(failed)?);
        if logits.len() != self.spec.labels.len() || familiarity.len() != 1 {
            return Err(failed(format!(
                "{} logits and {} familiarities, {} and 1 expected",
                logits.len(),
                familiarity.len(),
                self.spec.labels.len()
            )));
        }
        Ok((logits.to_vec(), familiarity[0]))
    }

    /// A row of logits for each piece of a window, special ones included.
    fn tag(&self, hidden: TValue) -> Result<Vec<f32>, EngineError> {
        let failed = |what| self.failed(what);
        let rows = hidden.shape()[1];
        let outputs = self.head.run(hidden).map_err(failed)?;
        let [logits] = &outputs[..] else {
            return Err(failed(format!("{} outputs, 1 expected", outputs.len())));
        };
        let logits = numbers(logits).map_err(failed)?;
        if logits.len() != rows * self.spec.tags() {
            return Err(failed(format!(
                "{} logits, {} for each of {rows} word pieces expected",
                logits.len(),
                self.spec.tags()
            )));
        }
        Ok(logits.to_vec())
    }

    /// Takes from a window the rows of the words that it owns.
    fn collect(
        &self,
        words: &[Word],
        window: &Window,
        offset: usize,
        logits: &[f32],
        into: &mut [RawWord],
    ) {
        let tags = self.spec.tags();
        for (word, into) in words.iter().zip(into) {
            if let Some(piece) = word.piece.filter(|piece| window.owns.contains(piece)) {
                let row = offset + piece - window.reads.start;
                into.logits = Some(logits[row * tags..][..tags].to_vec());
            }
        }
    }
}
