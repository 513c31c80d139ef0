//! The head of a task: what it gives, in rows.

use super::network::{Input, Network, numbers};
use tract_onnx::prelude::{TValue, TVec};

/// A head, which several tasks may share.
pub(super) struct Head {
    network: Network,
}

/// What a head gave for one window.
pub(super) struct Output {
    /// Word pieces of the window, special ones included.
    pieces: usize,
    values: TVec<TValue>,
}

/// A row for each word piece.
pub(super) struct Rows<'a> {
    numbers: &'a [f32],
    width: usize,
}

/// A row for each pair of word pieces.
pub(super) struct Pairs<'a> {
    rows: Rows<'a>,
    pieces: usize,
}

impl Head {
    pub(super) fn load(onnx: &[u8], hidden: usize) -> Result<Head, String> {
        Ok(Head { network: Network::load(onnx, Input::Hidden { width: hidden })? })
    }

    /// Runs it on an encoder's output.
    pub(super) fn run(&self, hidden: TValue) -> Result<Output, String> {
        let pieces = hidden.shape()[1];
        Ok(Output { pieces, values: self.network.run(hidden)? })
    }
}

impl Output {
    /// `logits[1,width]` and `familiarity[1]`.
    pub(super) fn label(&self, width: usize) -> Result<(&[f32], f32), String> {
        let [logits, familiarity] = &self.values[..] else {
            return Err(format!("{} outputs, 2 expected", self.values.len()));
        };
        let (logits, familiarity) = (numbers(logits)?, numbers(familiarity)?);
        if logits.len() != width || familiarity.len() != 1 {
            return Err(format!(
                "{} logits and {} familiarities, {width} and 1 expected",
                logits.len(),
                familiarity.len(),
            ));
        }
        Ok((logits, familiarity[0]))
    }

    /// `logits[1,S,width]`.
    pub(super) fn words(&self, width: usize) -> Result<Rows<'_>, String> {
        let pieces = self.pieces;
        let numbers = self.logits(&[1, pieces, width])?;
        Ok(Rows { numbers, width })
    }

    /// `logits[1,S,S,width]`.
    pub(super) fn pairs(&self, width: usize) -> Result<Pairs<'_>, String> {
        let pieces = self.pieces;
        let numbers = self.logits(&[1, pieces, pieces, width])?;
        Ok(Pairs { rows: Rows { numbers, width }, pieces })
    }

    fn logits(&self, shape: &[usize]) -> Result<&[f32], String> {
        let [logits] = &self.values[..] else {
            return Err(format!("{} outputs, 1 expected", self.values.len()));
        };
        if logits.shape() != shape {
            return Err(format!(
                "logits of shape {:?}, {shape:?} expected for {} word pieces",
                logits.shape(),
                self.pieces
            ));
        }
        numbers(logits)
    }
}

impl Rows<'_> {
    pub(super) fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.width..][..self.width]
    }
}

impl Pairs<'_> {
    pub(super) fn row(&self, first: usize, last: usize) -> &[f32] {
        self.rows.row(first * self.pieces + last)
    }
}
