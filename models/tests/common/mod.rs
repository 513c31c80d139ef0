//! What several test files share.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::cast_possible_truncation, reason = "bit patterns, and double precision rounded")]
#![allow(clippy::cast_sign_loss, reason = "bit patterns")]

pub(crate) mod encoder;
pub(crate) mod fixture;
pub(crate) mod onnx;
pub(crate) mod reference;

use tract_onnx::prelude::*;

/// Runs an ONNX file on one input, the number of pieces left open in the plan.
pub(crate) fn run_onnx(onnx: &[u8], input: Tensor) -> TractResult<Vec<f32>> {
    let plan = landfall_models::ops::onnx()
        .model_for_read(&mut &onnx[..])?
        .into_optimized()?
        .into_runnable()?;
    let out = plan.run(tvec!(input.into_tvalue()))?;
    Ok(out[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}
