//! `LfAttention`: scaled dot-product attention of every piece to every piece, in several heads.
//!
//! Queries, keys and values come side by side in one row for each piece. There is no mask: a
//! text is never padded.

use super::kernel::{LANES, exp_negative_of};
use super::{Parsed, buffer, check_arity, floats, parsed, share};
use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdOp};
use std::cell::RefCell;
use std::ops::Range;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Keys, and later queries, handled side by side, so that what they are multiplied with is loaded
/// once for all of them: as many sums as keep two multipliers of a processor busy, few enough for
/// 16 registers.
const GROUP: usize = 8;

/// One head's keys and values, rearranged, and [`LANES`] queries with their scores. A lane is a
/// query: no sum runs across lanes, and all processors add up in the same order.
#[derive(Default)]
struct Scratch {
    /// `[group of pieces][dimension]`, scaled.
    keys: Vec<[f32; GROUP]>,
    /// `[piece][dimension]`, dimensions filled up to whole chunks.
    values: Vec<f32>,
    /// `[dimension][query]`.
    queries: Vec<[f32; LANES]>,
    /// `[piece][query]`, pieces filled up to whole groups.
    scores: Vec<[f32; LANES]>,
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
            for first in (0..self.shape.pieces).step_by(LANES) {
                self.take_queries(head, first);
                self.attend(isa, head, first);
            }
        }
    }
}

impl Attention<'_, '_> {
    /// The queries that were taken, of one head. Two vectors of values at a time are faster,
    /// where there are registers for their sums: with AVX-512.
    #[inline(always)]
    fn attend<I: Isa>(&mut self, isa: I, head: usize, first: usize) {
        let ops = isa.f32();
        let mut inverses = [0.0; LANES];
        for at in (0..LANES).step_by(ops.len()) {
            self.score(ops, at);
            ops.store(self.weigh(isa, at), &mut inverses[at..]);
        }
        let two = if ops.len() == LANES { 2 * LANES } else { usize::MAX };
        let end = self.shape.head_width();
        for (group, inverses) in inverses.as_chunks::<GROUP>().0.iter().enumerate() {
            let first = first + group * GROUP;
            if first >= self.shape.pieces {
                break;
            }
            let mut at = 0;
            while end.saturating_sub(at) >= two {
                self.mix::<2>(ops, group, (head, first, at), inverses);
                at += two;
            }
            for at in (at..end).step_by(ops.len()) {
                self.mix::<1>(ops, group, (head, first, at), inverses);
            }
        }
    }

    /// Copies one head's keys and values into the scratch.
    #[inline(always)]
    fn rearrange(&mut self, head: usize) {
        let Attention { qkv, shape, scratch, .. } = self;
        let (width, head_width) = (shape.width, shape.head_width());
        let scale = 1.0 / (head_width as f32).sqrt();
        let groups = shape.pieces.div_ceil(GROUP);
        scratch.keys.resize(groups * head_width, [0.0; GROUP]);
        scratch.values.resize(shape.pieces * shape.head_filled(), 0.0);
        scratch.queries.resize(head_width, [0.0; LANES]);
        scratch.scores.resize(groups * GROUP, [0.0; LANES]);
        for (piece, row) in qkv.chunks_exact(3 * width).enumerate() {
            let key = &row[width + head * head_width..][..head_width];
            let keys = &mut scratch.keys[piece / GROUP * head_width..][..head_width];
            for (keys, key) in keys.iter_mut().zip(key) {
                keys[piece % GROUP] = key * scale;
            }
            let value = &row[2 * width + head * head_width..][..head_width];
            scratch.values[piece * shape.head_filled()..][..head_width].copy_from_slice(value);
        }
    }

    /// Copies the queries from piece `first` on into the scratch; past the end, the last again.
    #[inline(always)]
    fn take_queries(&mut self, head: usize, first: usize) {
        let Shape { pieces, width, .. } = self.shape;
        let head_width = self.shape.head_width();
        for lane in 0..LANES {
            let piece = (first + lane).min(pieces - 1);
            let query = &self.qkv[piece * 3 * width + head * head_width..][..head_width];
            for (queries, query) in self.scratch.queries.iter_mut().zip(query) {
                queries[lane] = *query;
            }
        }
    }

    /// Multiplies all keys with the queries from lane `at` on.
    #[inline(always)]
    fn score(&mut self, ops: impl FloatOps<f32>, at: usize) {
        let Scratch { keys, queries, scores, .. } = &mut *self.scratch;
        let (scores, _) = scores.as_chunks_mut::<GROUP>();
        for (keys, scores) in keys.chunks_exact(self.shape.head_width()).zip(scores) {
            let mut sums = [ops.zero(); GROUP];
            for (keys, queries) in keys.iter().zip(&*queries) {
                let queries = ops.load(&queries[at..]);
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = ops.mul_add(ops.splat(*key), queries, *sum);
                }
            }
            for (sum, scores) in sums.into_iter().zip(scores) {
                ops.store(sum, &mut scores[at..]);
            }
        }
    }

    /// Turns scores into powers of e relative to the largest of their query; returns what each
    /// query's weights are to be multiplied with.
    #[inline(always)]
    fn weigh<I: Isa>(&mut self, isa: I, at: usize) -> I::F32 {
        let ops = isa.f32();
        let scores = &mut self.scratch.scores[..self.shape.pieces];
        let mut largest = ops.splat(f32::NEG_INFINITY);
        for scores in &*scores {
            largest = ops.max(largest, ops.load(&scores[at..]));
        }
        let mut sum = ops.zero();
        for scores in scores {
            let power = exp_negative_of(isa, ops.sub(ops.load(&scores[at..]), largest));
            ops.store(power, &mut scores[at..]);
            sum = ops.add(sum, power);
        }
        ops.div(ops.one(), sum)
    }

    /// Adds up the weighted values for a group of queries, some vectors of a head's dimensions,
    /// into the output.
    #[inline(always)]
    fn mix<const VECTORS: usize>(
        &mut self,
        ops: impl FloatOps<f32>,
        group: usize,
        (head, first, at): (usize, usize, usize),
        inverses: &[f32; GROUP],
    ) {
        let (head_width, head_filled) = (self.shape.head_width(), self.shape.head_filled());
        let Scratch { values, scores, .. } = &*self.scratch;
        let mut sums = [[ops.zero(); VECTORS]; GROUP];
        for (values, scores) in values.chunks_exact(head_filled).zip(scores) {
            let values: [_; VECTORS] = ops.load_many(&values[at..]);
            let (groups, _) = scores.as_chunks::<GROUP>();
            for (sums, weight) in sums.iter_mut().zip(&groups[group]) {
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = ops.mul_add(ops.splat(*weight), values, *sum);
                }
            }
        }
        let rows = self.out[first..].iter_mut().zip(sums.into_iter().zip(inverses));
        for (out, (sums, inverse)) in rows {
            for (vector, sum) in sums.into_iter().enumerate() {
                let at = at + vector * ops.len();
                let count = ops.len().min(head_width - at);
                let sum = ops.mul(sum, ops.splat(*inverse));
                let out = &mut out[(head - self.heads.start) * head_width + at..][..count];
                if count == ops.len() {
                    ops.store(sum, out);
                } else {
                    let mut whole = [0f32; LANES];
                    ops.store(sum, &mut whole);
                    out.copy_from_slice(&whole[..count]);
                }
            }
        }
    }
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
        let input = args_1!(inputs);
        let &[1, pieces, columns] = input.shape() else {
            bail!("LfAttention takes one text, not {:?}", input.shape());
        };
        let shape = Shape { pieces, width: columns / 3, heads: self.heads };
        let mut out = buffer::take(&[1, pieces, shape.width])?;
        let (qkv, mut plain) = (floats(&input)?, out.try_as_plain_ram_mut()?);
        let out_values = plain.as_slice_mut::<f32>()?;
        let rows = out_values.chunks_exact_mut(shape.width).collect();
        let threads = share::threads();
        share::by_columns(0..shape.heads, shape.head_width(), threads, rows, &|heads, out| {
            SCRATCH.with_borrow_mut(|scratch| {
                Attention { qkv, shape, heads, scratch, out }.dispatch();
            });
        });
        buffer::give(input);
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
