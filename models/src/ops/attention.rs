//! `LfAttention`: scaled dot-product attention of every piece to every piece, in several heads.
//!
//! Queries, keys and values come side by side in one row for each piece. There is no mask: a
//! text is never padded.

use super::kernel::{LANES, exp_negative_of, largest_of};
use super::{Parsed, check_arity, floats, parsed, share};
use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdOp};
use std::cell::RefCell;
use std::ops::Range;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Queries handled side by side, so that each key and value is loaded once for all of them: as
/// many sums as keep two multipliers of a processor busy, few enough for 16 registers.
const ROWS: usize = 8;

/// One head's keys and values, rearranged, and the scores of [`ROWS`] queries.
#[derive(Default)]
struct Scratch {
    /// `[dimension][piece]`, scaled, pieces filled up to whole chunks.
    keys: Vec<f32>,
    /// `[piece][dimension]`, dimensions filled up to whole chunks.
    values: Vec<f32>,
    /// `[dimension][query]`.
    queries: Vec<[f32; ROWS]>,
    /// `[query][piece]`, pieces filled up to whole chunks.
    scores: [Vec<f32>; ROWS],
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

    /// Pieces filled up to whole chunks.
    #[inline(always)]
    fn pieces_filled(self) -> usize {
        self.pieces.next_multiple_of(LANES)
    }

    /// A head's dimensions filled up to whole chunks.
    #[inline(always)]
    fn head_filled(self) -> usize {
        self.head_width().next_multiple_of(LANES)
    }
}

/// One call: some heads of one text, and their columns.
struct Attention<'a, 'o> {
    qkv: &'a [f32],
    shape: Shape,
    heads: Range<usize>,
    scratch: &'a mut Scratch,
    out: &'a mut [&'o mut [f32]],
}

impl SimdOp for Attention<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        for head in self.heads.clone() {
            self.rearrange(head);
            for first in (0..self.shape.pieces).step_by(ROWS) {
                self.take_queries(head, first);
                self.attend(isa, head, first);
            }
        }
    }
}

impl Attention<'_, '_> {
    /// [`ROWS`] queries of one head. Two vectors at a time are faster, where there are registers
    /// for their sums: with AVX-512.
    #[inline(always)]
    fn attend<I: Isa>(&mut self, isa: I, head: usize, first: usize) {
        let ops = isa.f32();
        let two = if ops.len() == LANES { 2 * LANES } else { usize::MAX };
        let (mut at, end) = (0, self.shape.pieces_filled());
        while end - at >= two {
            self.score::<2>(ops, at);
            at += two;
        }
        for at in (at..end).step_by(ops.len()) {
            self.score::<1>(ops, at);
        }
        let inverses = self.weigh(isa);
        let (mut at, end) = (0, self.shape.head_width());
        while end - at >= two {
            self.mix::<2>(ops, (head, first, at), inverses);
            at += two;
        }
        for at in (at..end).step_by(ops.len()) {
            self.mix::<1>(ops, (head, first, at), inverses);
        }
    }

    /// Copies one head's keys and values into the scratch.
    #[inline(always)]
    fn rearrange(&mut self, head: usize) {
        let Attention { qkv, shape, scratch, .. } = self;
        let (width, head_width) = (shape.width, shape.head_width());
        let scale = 1.0 / (head_width as f32).sqrt();
        let (pieces_filled, head_filled) = (shape.pieces_filled(), shape.head_filled());
        scratch.keys.resize(head_width * pieces_filled, 0.0);
        scratch.values.resize(shape.pieces * head_filled, 0.0);
        scratch.queries.resize(head_width, [0.0; ROWS]);
        for scores in &mut scratch.scores {
            scores.resize(pieces_filled, 0.0);
        }
        for (piece, row) in qkv.chunks_exact(3 * width).enumerate() {
            let key = &row[width + head * head_width..][..head_width];
            for (keys, key) in scratch.keys.chunks_exact_mut(pieces_filled).zip(key) {
                keys[piece] = key * scale;
            }
            let value = &row[2 * width + head * head_width..][..head_width];
            scratch.values[piece * head_filled..][..head_width].copy_from_slice(value);
        }
    }

    /// Copies the queries from piece `first` on into the scratch; past the end, the last again.
    #[inline(always)]
    fn take_queries(&mut self, head: usize, first: usize) {
        let Shape { pieces, width, .. } = self.shape;
        let head_width = self.shape.head_width();
        for row in 0..ROWS {
            let piece = (first + row).min(pieces - 1);
            let query = &self.qkv[piece * 3 * width + head * head_width..][..head_width];
            for (queries, query) in self.scratch.queries.iter_mut().zip(query) {
                queries[row] = *query;
            }
        }
    }

    /// Multiplies the queries with all keys, some vectors of them at a time.
    #[inline(always)]
    fn score<const VECTORS: usize>(&mut self, ops: impl FloatOps<f32>, at: usize) {
        let Scratch { keys, queries, scores, .. } = &mut *self.scratch;
        let mut sums = [[ops.zero(); VECTORS]; ROWS];
        for (keys, queries) in keys.chunks_exact(self.shape.pieces_filled()).zip(&*queries) {
            let keys: [_; VECTORS] = ops.load_many(&keys[at..]);
            for (sums, query) in sums.iter_mut().zip(queries) {
                for (sum, keys) in sums.iter_mut().zip(keys) {
                    *sum = ops.mul_add(ops.splat(*query), keys, *sum);
                }
            }
        }
        for (sums, scores) in sums.into_iter().zip(&mut *scores) {
            for (vector, sum) in sums.into_iter().enumerate() {
                ops.store(sum, &mut scores[at + vector * ops.len()..]);
            }
        }
    }

    /// Turns scores into weights; returns what each query's weights are to be multiplied with.
    #[inline(always)]
    fn weigh<I: Isa>(&mut self, isa: I) -> [f32; ROWS] {
        // A loop, not a closure: that is not sure to be compiled for this instruction set.
        let mut inverses = [0.0; ROWS];
        for (inverse, scores) in inverses.iter_mut().zip(&mut self.scratch.scores) {
            *inverse = 1.0 / exponentiate(isa, scores, self.shape.pieces);
        }
        inverses
    }

    /// Adds up the weighted values, some vectors of a head's dimensions, into the output.
    #[inline(always)]
    fn mix<const VECTORS: usize>(
        &mut self,
        ops: impl FloatOps<f32>,
        (head, first, at): (usize, usize, usize),
        inverses: [f32; ROWS],
    ) {
        let pieces = self.shape.pieces;
        let (head_width, head_filled) = (self.shape.head_width(), self.shape.head_filled());
        let Scratch { values, scores, .. } = &*self.scratch;
        let weights = scores.each_ref().map(|scores| &scores[..pieces]);
        let mut sums = [[ops.zero(); VECTORS]; ROWS];
        for piece in 0..pieces {
            let values: [_; VECTORS] = ops.load_many(&values[piece * head_filled + at..]);
            for (sums, weights) in sums.iter_mut().zip(weights) {
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = ops.mul_add(ops.splat(weights[piece]), values, *sum);
                }
            }
        }
        let rows = self.out[first..].iter_mut().zip(sums.into_iter().zip(inverses)).take(ROWS);
        for (out, (sums, inverse)) in rows {
            for (vector, sum) in sums.into_iter().enumerate() {
                let at = at + vector * ops.len();
                let count = ops.len().min(head_width - at);
                let mut whole = [0f32; LANES];
                ops.store(ops.mul(sum, ops.splat(inverse)), &mut whole);
                let out = &mut out[(head - self.heads.start) * head_width + at..];
                out[..count].copy_from_slice(&whole[..count]);
            }
        }
    }
}

/// Turns the first `pieces` scores into powers of e relative to the largest, and returns their
/// sum.
#[inline(always)]
fn exponentiate<I: Isa>(isa: I, scores: &mut [f32], pieces: usize) -> f32 {
    let ops = isa.f32();
    // What fills the last chunk up becomes too small to count in the sum.
    scores[pieces..].fill(f32::NEG_INFINITY);
    let largest = ops.splat(largest_of(
        scores,
        #[inline(always)]
        |score| score,
    ));
    let mut sum = ops.zero();
    for at in (0..scores.len()).step_by(ops.len()) {
        let power = exp_negative_of(isa, ops.sub(ops.load(&scores[at..]), largest));
        ops.store(power, &mut scores[at..]);
        sum = ops.add(sum, power);
    }
    ops.sum(sum)
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
        let (qkv, mut plain) = (floats(qkv)?, out.try_as_plain_ram_mut()?);
        let out_values = plain.as_slice_mut::<f32>()?;
        let rows = out_values.chunks_exact_mut(shape.width).collect();
        let threads = share::threads();
        share::by_columns(0..shape.heads, shape.head_width(), threads, rows, &|heads, out| {
            SCRATCH.with_borrow_mut(|scratch| {
                Attention { qkv, shape, heads, scratch, out }.dispatch();
            });
        });
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
