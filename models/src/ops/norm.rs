//! `LfNorm`: layer normalisation alone, where the sum before it is needed too.

use super::kernel::{Norm, add_norm};
use super::{Parsed, check_arity, constant, parsed, shared_op, vector};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The operator as tract runs it.
#[derive(Debug, Clone)]
struct LfNorm(Arc<Norm>);
shared_op!(LfNorm, "LfNorm");

impl EvalOp for LfNorm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut out = args_1!(inputs).into_tensor();
        add_norm(out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, None, &self.0);
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfNorm {
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
        "LfNorm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 3)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let width = constant(model, inputs[1], "gain")?.len();
        let x = model.outlet_fact(inputs[0])?;
        ensure!(
            width > 0 && x.shape.last() == Some(&width.to_dim()),
            "x has shape {:?}, gain has {width} values",
            x.shape
        );
        let norm = Norm {
            gain: vector(model, inputs[1], "gain", width)?,
            bias: vector(model, inputs[2], "bias", width)?,
            epsilon: self.epsilon,
        };
        model.wire_node(prefix, LfNorm(Arc::new(norm)), &inputs[..1])
    }
}
