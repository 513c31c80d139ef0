//! `LfAttention`: scaled dot-product attention of every piece to every piece, in several heads.
//!
//! Queries, keys and values come side by side in one row for each piece. There is no mask: a
//! text is never padded.

use super::kernel::{LANES, exp_negative, vectorised};
use super::{Parsed, check_arity, floats, parsed};
use std::cell::RefCell;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Queries handled side by side, so that each key and value is loaded once for all of them: with
/// one vector for each they fit the registers of every instruction set.
const ROWS: usize = 4;

/// One head's keys and values, rearranged, and the scores of [`ROWS`] queries.
#[derive(Default)]
struct Scratch {
    /// `[dimension][piece]`, scaled, pieces filled up to whole chunks.
    keys: Vec<[f32; LANES]>,
    /// `[piece][dimension]`, dimensions filled up to whole chunks.
    values: Vec<[f32; LANES]>,
    /// `[query][piece]`, pieces filled up to whole chunks.
    scores: [Vec<[f32; LANES]>; ROWS],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Shape {
    pieces: usize,
    width: usize,
    heads: usize,
}

impl Shape {
    #[inline(always)]
    fn head_width(self) -> usize {
        self.width / self.heads
    }

    #[inline(always)]
    fn piece_chunks(self) -> usize {
        self.pieces.div_ceil(LANES)
    }

    #[inline(always)]
    fn value_chunks(self) -> usize {
        self.head_width().div_ceil(LANES)
    }
}

fn attention(qkv: &[f32], shape: Shape, out: &mut [f32]) {
    SCRATCH.with_borrow_mut(|scratch| {
        vectorised(
            #[inline(always)]
            || {
                for head in 0..shape.heads {
                    rearrange(qkv, shape, head, scratch);
                    for first in (0..shape.pieces).step_by(ROWS) {
                        attend(qkv, shape, head, first, scratch, out);
                    }
                }
            },
        );
    });
}

/// Copies one head's keys and values into the scratch.
#[inline(always)]
fn rearrange(qkv: &[f32], shape: Shape, head: usize, scratch: &mut Scratch) {
    let (width, head_width) = (shape.width, shape.head_width());
    let scale = 1.0 / (head_width as f32).sqrt();
    let (piece_chunks, value_chunks) = (shape.piece_chunks(), shape.value_chunks());
    scratch.keys.clear();
    scratch.keys.resize(head_width * piece_chunks, [0.0; LANES]);
    scratch.values.clear();
    scratch.values.resize(shape.pieces * value_chunks, [0.0; LANES]);
    for scores in &mut scratch.scores {
        scores.resize(piece_chunks, [0.0; LANES]);
    }
    for (piece, row) in qkv.chunks_exact(3 * width).enumerate() {
        let key = &row[width + head * head_width..][..head_width];
        for (dimension, key) in key.iter().enumerate() {
            scratch.keys[dimension * piece_chunks + piece / LANES][piece % LANES] = key * scale;
        }
        let value = &row[2 * width + head * head_width..][..head_width];
        let values = &mut scratch.values[piece * value_chunks..][..value_chunks];
        values.as_flattened_mut()[..head_width].copy_from_slice(value);
    }
}

/// The output of up to [`ROWS`] pieces from `first` on, for one head.
#[inline(always)]
fn attend(
    qkv: &[f32],
    shape: Shape,
    head: usize,
    first: usize,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let (width, head_width) = (shape.width, shape.head_width());
    let Scratch { keys, values, scores } = scratch;
    // Past the end the last piece is computed again, and not written.
    let queries: [&[f32]; ROWS] = std::array::from_fn(|row| {
        let piece = (first + row).min(shape.pieces - 1);
        &qkv[piece * 3 * width + head * head_width..][..head_width]
    });
    let piece_chunks = shape.piece_chunks();
    for chunk in 0..piece_chunks {
        let mut sums = [[0f32; LANES]; ROWS];
        for (dimension, key) in keys.iter().skip(chunk).step_by(piece_chunks).enumerate() {
            for (sums, query) in sums.iter_mut().zip(&queries) {
                accumulate(sums, query[dimension], key);
            }
        }
        for (scores, sums) in scores.iter_mut().zip(sums) {
            scores[chunk] = sums;
        }
    }
    let inverses: [f32; ROWS] =
        std::array::from_fn(|row| 1.0 / exponentiate(&mut scores[row], shape.pieces));
    let value_chunks = shape.value_chunks();
    for chunk in 0..value_chunks {
        let mut sums = [[0f32; LANES]; ROWS];
        for (piece, value) in values.iter().skip(chunk).step_by(value_chunks).enumerate() {
            for (sums, scores) in sums.iter_mut().zip(&*scores) {
                accumulate(sums, scores[piece / LANES][piece % LANES], value);
            }
        }
        let from = chunk * LANES;
        let count = LANES.min(head_width - from);
        let rows = ROWS.min(shape.pieces - first);
        for (row, (sums, inverse)) in sums.iter().zip(inverses).take(rows).enumerate() {
            let out = &mut out[(first + row) * width + head * head_width + from..][..count];
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum * inverse;
            }
        }
    }
}

#[inline(always)]
fn accumulate(sums: &mut [f32; LANES], factor: f32, terms: &[f32; LANES]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += factor * term;
    }
}

/// Turns the first `pieces` scores into powers of e relative to the largest, the rest into 0, and
/// returns their sum.
#[inline(always)]
fn exponentiate(scores: &mut [[f32; LANES]], pieces: usize) -> f32 {
    let flat = scores.as_flattened_mut();
    flat[pieces..].fill(f32::NEG_INFINITY);
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in &*scores {
        for (largest, score) in largest.iter_mut().zip(chunk) {
            *largest = if *score > *largest { *score } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for score in scores.as_flattened_mut() {
        *score = exp_negative(*score - largest);
    }
    scores.as_flattened_mut()[pieces..].fill(0.0);
    let mut sums = [0f32; LANES];
    for chunk in &*scores {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *sum += score;
        }
    }
    sums.into_iter().sum()
}

/// The operator, as it is read and as tract runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LfAttention {
    heads: usize,
}

impl Op for LfAttention {
    fn name(&self) -> StaticName {
        "LfAttention".into()
    }
    op_as_typed_op!();
}

impl EvalOp for LfAttention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let qkv = &inputs[0];
        let &[1, pieces, columns] = qkv.shape() else {
            bail!("LfAttention takes one text, not {:?}", qkv.shape());
        };
        let shape = Shape { pieces, width: columns / 3, heads: self.heads };
        let mut out = Tensor::zero::<f32>(&[1, pieces, shape.width])?;
        attention(floats(qkv)?, shape, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfAttention {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = inputs[0].without_value();
        let width = fact.shape[2].clone() / 3;
        fact.shape.set(2, width);
        Ok(tvec!(fact))
    }
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let heads: usize = node.get_attr("heads")?;
    ensure!(heads > 0, "LfAttention needs heads");
    parsed(LfAttention { heads })
}

impl Expansion for LfAttention {
    fn name(&self) -> StaticName {
        "LfAttention".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 1)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].rank, 3)?;
        solver.given(&inputs[0].shape, move |solver, qkv| {
            let shape = tvec!(qkv[0].clone(), qkv[1].clone(), qkv[2].clone() / 3);
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let columns = fact.shape[2].to_usize()?;
        ensure!(
            columns > 0 && columns.is_multiple_of(3 * self.heads),
            "LfAttention cannot share {columns} columns among {} heads",
            self.heads
        );
        model.wire_node(prefix, self.clone(), inputs)
    }
}
