//! `LfAddNorm`: a residual connection and the layer normalisation after it.

use super::kernel::{Norm, add_norm};
use super::{Parsed, buffer, check_arity, constant, floats, parsed, shared_op, vector};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The operator as tract runs it.
#[derive(Debug, Clone)]
struct LfAddNorm(Arc<Norm>);
shared_op!(LfAddNorm, "LfAddNorm");

impl EvalOp for LfAddNorm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, y) = args_2!(inputs);
        let mut out = x.into_tensor();
        add_norm(out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, Some(floats(&y)?), &self.0);
        buffer::give(y);
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfAddNorm {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

/// The operator as it is read.
#[derive(Debug, Clone)]
struct Unpacked {
    epsilon: f32,
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    parsed(Unpacked { epsilon: node.get_attr("eps")? })
}

impl Expansion for Unpacked {
    fn name(&self) -> StaticName {
        "LfAddNorm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 4)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].shape, &inputs[1].shape)?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (x, y) = (model.outlet_fact(inputs[0])?, model.outlet_fact(inputs[1])?);
        ensure!(x.shape == y.shape, "LfAddNorm adds {:?} to {:?}", y.shape, x.shape);
        let width = constant(model, inputs[2], "gain")?.len();
        ensure!(
            width > 0 && x.shape.last() == Some(&width.to_dim()),
            "x has shape {:?}, gain has {width} values",
            x.shape
        );
        let norm = Norm {
            gain: vector(model, inputs[2], "gain", width)?,
            bias: vector(model, inputs[3], "bias", width)?,
            epsilon: self.epsilon,
        };
        model.wire_node(prefix, LfAddNorm(Arc::new(norm)), &inputs[..2])
    }
}
