//! One ONNX file, planned once for every length of text.

use crate::ops::{self, LfEmbed};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::ToDim;

/// A network that is ready to run, on any thread.
pub(crate) struct Network {
    plan: Arc<TypedRunnableModel>,
}

/// What a network reads. The number of pieces stays open.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// Word piece ids, `i64[1,S]`.
    Pieces,
    /// An encoder's output, `f32[1,S,width]`.
    Hidden {
        /// Its last dimension.
        width: usize,
    },
}

impl Network {
    /// Reads and plans an ONNX file.
    pub(crate) fn load(onnx: &[u8], input: Input) -> Result<Network, String> {
        Network::plan(onnx, input).map_err(|error| format!("{error:#}"))
    }

    fn plan(onnx: &[u8], input: Input) -> TractResult<Network> {
        let mut model = ops::read(onnx)?;
        let pieces = model.symbols.sym("S").to_dim();
        let fact = match input {
            Input::Pieces => InferenceFact::dt_shape(i64::datum_type(), [1.to_dim(), pieces]),
            Input::Hidden { width } => {
                InferenceFact::dt_shape(f32::datum_type(), [1.to_dim(), pieces, width.to_dim()])
            }
        };
        model.set_input_fact(0, fact)?;
        Ok(Network { plan: model.into_optimized()?.into_runnable()? })
    }

    /// Runs it on one input.
    pub(crate) fn run(&self, input: TValue) -> Result<TVec<TValue>, String> {
        self.plan.run(tvec!(input)).map_err(|error| format!("{error:#}"))
    }

    /// How many word pieces the encoder knows; `None` if this is no encoder.
    pub(crate) fn vocabulary_size(&self) -> Option<usize> {
        let mut nodes = self.plan.model().nodes().iter();
        nodes.find_map(|node| Some(node.op_as::<LfEmbed>()?.vocabulary_size()))
    }

    /// The most word pieces of one pass; `None` if nothing limits it.
    pub(crate) fn positions(&self) -> Option<usize> {
        self.plan.model().nodes().iter().filter_map(ops::positions).min()
    }
}

/// The input of an encoder.
pub(crate) fn pieces(ids: &[i64]) -> Result<TValue, String> {
    let tensor = Tensor::from_shape(&[1, ids.len()], ids);
    tensor.map(IntoTValue::into_tvalue).map_err(|error| format!("{error:#}"))
}

/// The numbers of an output.
pub(crate) fn numbers(output: &TValue) -> Result<&[f32], String> {
    output
        .try_as_plain_ram()
        .and_then(|plain| plain.as_slice::<f32>())
        .map_err(|error| format!("{error:#}"))
}
