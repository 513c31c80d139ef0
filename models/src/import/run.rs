//! Runs the written encoder, as a device would, on the user's texts.

use super::error::{ImportError, Result, refused};
use super::model::{Head, Pool};
use crate::engine::EngineError;
use crate::engine::network::{Input, Network, numbers, pieces};
use crate::text::{TextEncoder, Word};
use std::path::Path;

/// A text as the encoder reads it, in one pass.
pub(super) struct Reading {
    pub(super) text: String,
    /// With the special pieces.
    pub(super) ids: Vec<i64>,
    pub(super) words: Vec<Word>,
    /// Special pieces before the text's own.
    prefix: usize,
    /// Whether all of the text was read.
    pub(super) is_whole: bool,
    /// The logits of its rows, once it was run.
    pub(super) said: Vec<f32>,
}

impl Reading {
    pub(super) fn new(tokenizer: &TextEncoder, text: &str, tokens_max: usize) -> Result<Reading> {
        let encoded = tokenizer.encode(text).map_err(EngineError::Tokenizer)?;
        let room = tokens_max - tokenizer.special_count();
        let read = &encoded.pieces[..encoded.pieces.len().min(room)];
        Ok(Reading {
            text: text.to_owned(),
            ids: tokenizer.wrap(read),
            words: encoded.words,
            prefix: tokenizer.prefix_count(),
            is_whole: encoded.pieces.len() <= room,
            said: Vec::new(),
        })
    }

    /// Of what a head said, the row of the text, or the row of each word that has a piece.
    pub(super) fn rows(&self, logits: &[f32], head: &Head) -> Vec<Vec<f32>> {
        if head.pool != Pool::Each {
            return vec![logits.to_vec()];
        }
        let outputs = head.layers.last().map_or(1, |dense| dense.outputs);
        let pieces = self.words.iter().filter_map(|word| word.piece);
        pieces.map(|piece| logits[(self.prefix + piece) * outputs..][..outputs].to_vec()).collect()
    }
}

/// An encoder that was written, ready to run.
pub(super) struct Runner {
    network: Network,
    /// One thread, as on a device.
    pool: rayon::ThreadPool,
}

impl Runner {
    pub(super) fn load(path: &Path) -> Result<Runner> {
        let bytes = std::fs::read(path).map_err(super::error::io_error("read", path))?;
        let network = Network::load(&bytes, Input::Pieces).map_err(|what| {
            refused(format!("the encoder that was written cannot be loaded: {what}"), REPORT)
        })?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| EngineError::Threads(error.to_string()))?;
        Ok(Runner { network, pool })
    }

    /// Hidden states, a row for each piece.
    pub(super) fn hidden(&self, ids: &[i64]) -> Result<Vec<f32>> {
        let failed = |what| {
            ImportError::Engine(EngineError::Inference { stage: "the encoder".to_owned(), what })
        };
        let input = pieces(ids).map_err(failed)?;
        let outputs = self.pool.install(|| self.network.run(input)).map_err(failed)?;
        Ok(numbers(&outputs[0]).map_err(failed)?.to_vec())
    }
}

/// What to do about a fault of ours.
pub(super) const REPORT: &str = "report this with the model's config.json";
