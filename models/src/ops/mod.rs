//! The fused operators of an encoder, for tract.
//!
//! An encoder is a graph of operators of the domain `landfall`. They replace the swarm of
//! small nodes that a quantised transformer otherwise becomes, and scale activations per token,
//! so that an answer does not depend on padding or on what else is in a batch. Batch is 1.
//!
//! | operator | inputs | output |
//! |---|---|---|
//! | `LfEmbed` | ids `i64[1,S]`, words `i8[V,H]`, their scales `f32[V]`, positions `f32[P,H]`, gain, bias | `f32[1,S,H]` |
//! | `LfLinear` | x `f32[1,S,K]`, weight `i8[K,N]`, its scales `f32[N]`, bias `f32[N]` | `f32[1,S,N]` |
//! | `LfAttention` | queries, keys and values `f32[1,S,3H]` | `f32[1,S,H]` |
//! | `LfAddNorm` | x, y `f32[1,S,H]`, gain, bias `f32[H]` | `f32[1,S,H]` |
//!
//! These are BERT's. Other architectures, as `import` writes them, also have
//!
//! | operator | inputs | output |
//! |---|---|---|
//! | `LfNorm` | x `f32[1,S,H]`, gain, bias `f32[H]` | `f32[1,S,H]` |
//! | `LfActivate` | x `f32[1,S,N]` | `f32[1,S,N]`, of a gated one `f32[1,S,N/2]` |
//! | `LfRotary` | queries, keys and values `f32[1,S,3H]` | the same, queries and keys rotated |
//! | `LfWindowAttention` | queries, keys and values `f32[1,S,3H]` | `f32[1,S,H]` |
//! | `LfRelativeAttention` | queries, keys and values `f32[1,S,3H]`, position keys `i8[2P-1,H]`, their scales, position queries `i8[2P-1,H]`, their scales | `f32[1,S,H]` |
//!
//! Every input but the first (the first two of `LfAddNorm`) is constant. Shapes are checked when
//! a model is loaded, so that evaluation only sees what fits.

mod activate;
mod add_norm;
mod attention;
mod biased;
mod buffer;
mod dense;
mod embed;
mod kernel;
mod linear;
mod norm;
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "vector instructions that safe code cannot reach")
)]
mod product;
mod reader;
mod rotary;
mod scores;
mod share;

pub(crate) use dense::{Dense, activate, add_products};
pub(crate) use embed::LfEmbed;
pub(crate) use reader::read;

use biased::Biased;
use rotary::LfRotary;
use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;

/// ONNX as tract reads it, with these operators.
pub fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register.insert("LfEmbed", embed::parse);
    onnx.op_register.insert("LfLinear", linear::parse);
    onnx.op_register.insert("LfAttention", attention::parse);
    onnx.op_register.insert("LfAddNorm", add_norm::parse);
    onnx.op_register.insert("LfNorm", norm::parse);
    onnx.op_register.insert("LfActivate", activate::parse);
    onnx.op_register.insert("LfRotary", rotary::parse);
    onnx.op_register.insert("LfWindowAttention", biased::parse_window);
    onnx.op_register.insert("LfRelativeAttention", biased::parse_relative);
    onnx
}

/// The most word pieces that a node of an encoder takes; `None` if it takes any number.
pub(crate) fn positions(node: &TypedNode) -> Option<usize> {
    let embed = node.op_as::<LfEmbed>().map(LfEmbed::positions);
    let rotary = || node.op_as::<LfRotary>().map(LfRotary::positions);
    embed.or_else(rotary).or_else(|| node.op_as::<Biased>()?.positions())
}

/// What an operator's parser returns to tract.
type Parsed = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Wraps an expansion for tract's ONNX reader.
fn parsed(expansion: impl Expansion) -> Parsed {
    Ok((expand(expansion), vec![]))
}

/// The value of an input that must be constant.
fn constant(model: &TypedModel, outlet: OutletId, what: &str) -> TractResult<Arc<Tensor>> {
    let value = model.outlet_fact(outlet)?.konst.clone();
    value.with_context(|| format!("{what} is not constant"))
}

/// A constant vector of `len` numbers.
fn vector(model: &TypedModel, outlet: OutletId, what: &str, len: usize) -> TractResult<Vec<f32>> {
    let values = floats(&*constant(model, outlet, what)?)?.to_vec();
    ensure!(values.len() == len, "{what} has {} values, {len} expected", values.len());
    Ok(values)
}

/// The two dimensions of a constant matrix.
fn matrix_shape(tensor: &Tensor, what: &str) -> TractResult<(usize, usize)> {
    match tensor.shape() {
        &[rows, columns] => Ok((rows, columns)),
        other => bail!("{what} has shape {other:?}, a matrix is expected"),
    }
}

/// A tensor's numbers.
fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

/// Fails unless an operator has the inputs that it needs.
fn check_arity(inputs: &[TensorProxy], outputs: &[TensorProxy], count: usize) -> InferenceResult {
    check_input_arity(inputs, count)?;
    check_output_arity(outputs, 1)
}

/// Implements what tract asks of every operator that is a shared block of constants: equality by
/// identity, its name and its conversion.
macro_rules! shared_op {
    ($type:ty, $name:literal) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }
        }
        impl Eq for $type {}
        impl Op for $type {
            fn name(&self) -> StaticName {
                $name.into()
            }
            op_as_typed_op!();
        }
    };
}
use shared_op;
