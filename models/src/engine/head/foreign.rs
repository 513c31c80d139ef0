//! A head that tract runs: any graph from an encoder's output to logits.

use super::super::network::{Input, Network, numbers};
use super::{Output, Wanted};
use tract_onnx::prelude::{TValue, TVec};

/// The head.
pub(in super::super) struct Foreign {
    network: Network,
}

impl Foreign {
    pub(super) fn load(onnx: &[u8], width: usize) -> Result<Foreign, String> {
        Ok(Foreign { network: Network::load(onnx, Input::Hidden { width })? })
    }

    /// `logits[1,row]` and `familiarity[1]`; or `logits[1,S,row]`; or `logits[1,S,S,row]`.
    pub(super) fn run(
        &self,
        hidden: &TValue,
        wanted: Wanted<'_>,
        row: usize,
    ) -> Result<Output, String> {
        let pieces = hidden.shape()[1];
        let values = self.network.run(hidden.clone())?;
        let picked = |logits: &[f32], places: &mut dyn Iterator<Item = usize>| Output {
            logits: places.flat_map(|place| &logits[place * row..][..row]).copied().collect(),
            familiarity: None,
        };
        match wanted {
            Wanted::Label => label(&values, row),
            Wanted::Words(places) => {
                let logits = rows(&values, &[1, pieces, row])?;
                Ok(picked(logits, &mut places.iter().copied()))
            }
            Wanted::Pairs(pairs) => {
                let logits = rows(&values, &[1, pieces, pieces, row])?;
                Ok(picked(logits, &mut pairs.iter().map(|(first, last)| first * pieces + last)))
            }
        }
    }
}

fn label(values: &TVec<TValue>, row: usize) -> Result<Output, String> {
    let [logits, familiarity] = &values[..] else {
        return Err(format!("{} outputs, 2 expected", values.len()));
    };
    let (logits, familiarity) = (numbers(logits)?, numbers(familiarity)?);
    if logits.len() != row || familiarity.len() != 1 {
        return Err(format!(
            "{} logits and {} familiarities, {row} and 1 expected",
            logits.len(),
            familiarity.len(),
        ));
    }
    Ok(Output { logits: logits.to_vec(), familiarity: Some(familiarity[0]) })
}

fn rows<'a>(values: &'a TVec<TValue>, shape: &[usize]) -> Result<&'a [f32], String> {
    let [logits] = &values[..] else {
        return Err(format!("{} outputs, 1 expected", values.len()));
    };
    if logits.shape() != shape {
        return Err(format!(
            "logits of shape {:?}, {shape:?} expected for {} word pieces",
            logits.shape(),
            shape[1]
        ));
    }
    numbers(logits)
}
