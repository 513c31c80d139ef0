//! `LfRotary`: rotary positions. Queries and keys are rotated by angles that grow with the
//! position, so that their products depend on distance only; values stay as they are.
//!
//! Dimension `i` of a head turns together with dimension `i + half`, at position `p` by
//! `p / theta^(i / half)`. Source: Su et al., RoFormer, arXiv 2104.09864, in the arrangement of
//! GPT-NeoX.

use super::kernel::vectorised;
use super::{Parsed, check_arity, parsed, shared_op};
use crate::limits;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Cosine and sine of every angle, `[position][half a head]`.
#[derive(Debug)]
pub(super) struct Turns {
    heads: usize,
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// The operator as tract runs it.
#[derive(Debug, Clone)]
pub(super) struct LfRotary(Arc<Turns>);
shared_op!(LfRotary, "LfRotary");

impl LfRotary {
    /// The most word pieces of one text.
    pub(super) fn positions(&self) -> usize {
        self.0.cosines.len() / self.0.half
    }
}

impl Turns {
    fn new(heads: usize, half: usize, theta: f32, positions: usize) -> Turns {
        let mut turns = Turns { heads, half, cosines: Vec::new(), sines: Vec::new() };
        for position in 0..positions {
            for at in 0..half {
                let slow = f64::from(theta).powf(at as f64 / half as f64);
                let (sine, cosine) = (position as f64 / slow).sin_cos();
                #[expect(clippy::cast_possible_truncation, reason = "to single precision")]
                {
                    turns.cosines.push(cosine as f32);
                    turns.sines.push(sine as f32);
                }
            }
        }
        turns
    }

    fn run(&self, qkv: &mut [f32]) -> TractResult<()> {
        let Turns { heads, half, .. } = *self;
        let columns = 3 * heads * 2 * half;
        let pieces = qkv.len() / columns;
        ensure!(
            pieces * half <= self.cosines.len(),
            "the text has {pieces} word pieces, LfRotary has {} positions",
            self.cosines.len() / half
        );
        vectorised(
            #[inline(always)]
            || {
                let angles = self.cosines.chunks_exact(half).zip(self.sines.chunks_exact(half));
                for (row, (cosines, sines)) in qkv.chunks_exact_mut(columns).zip(angles) {
                    for head in row.chunks_exact_mut(2 * half).take(2 * heads) {
                        let (left, right) = head.split_at_mut(half);
                        for (((left, right), cosine), sine) in
                            left.iter_mut().zip(right).zip(cosines).zip(sines)
                        {
                            (*left, *right) =
                                (*left * cosine - *right * sine, *right * cosine + *left * sine);
                        }
                    }
                }
            },
        );
        Ok(())
    }
}

impl EvalOp for LfRotary {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut out = args_1!(inputs).into_tensor();
        self.0.run(out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfRotary {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

/// The operator as it is read.
#[derive(Debug, Clone)]
struct Unpacked {
    heads: usize,
    theta: f32,
    positions: usize,
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let unpacked = Unpacked {
        heads: node.get_attr("heads")?,
        theta: node.get_attr("theta")?,
        positions: node.get_attr("positions_max")?,
    };
    ensure!(unpacked.heads > 0, "LfRotary needs heads");
    ensure!(unpacked.theta.is_finite() && unpacked.theta > 1.0, "theta is {}", unpacked.theta);
    ensure!(
        (1..=limits::TOKENS_MAX).contains(&unpacked.positions),
        "LfRotary has {} positions",
        unpacked.positions
    );
    parsed(unpacked)
}

impl Expansion for Unpacked {
    fn name(&self) -> StaticName {
        "LfRotary".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 1)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        let columns = fact.shape[fact.rank() - 1].to_usize()?;
        ensure!(
            columns > 0 && columns.is_multiple_of(6 * self.heads),
            "LfRotary cannot share {columns} columns among {} heads",
            self.heads
        );
        let half = columns / 6 / self.heads;
        let turns = Turns::new(self.heads, half, self.theta, self.positions);
        model.wire_node(prefix, LfRotary(Arc::new(turns)), inputs)
    }
}
