//! `LfActivate`: the activations that `LfLinear` does not have, and gated ones.
//!
//! A gated one halves its input: the first half, activated, times the second half.

use super::kernel::{exp_negative, gelu, vectorised};
use super::{Parsed, buffer, check_arity, floats, parsed};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// Its approximation with a hyperbolic tangent.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// The operator, as it is read and as tract runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LfActivate {
    function: Function,
    gated: bool,
}

impl Function {
    fn run(self, x: &[f32], gate: Option<usize>, out: &mut [f32]) {
        match self {
            Function::Gelu => each(x, gate, out, gelu),
            Function::GeluTanh => each(x, gate, out, gelu_tanh),
            Function::Relu => each(
                x,
                gate,
                out,
                #[inline(always)]
                |x| if x > 0.0 { x } else { 0.0 },
            ),
            Function::Silu => each(
                x,
                gate,
                out,
                #[inline(always)]
                |x| x * sigmoid(x),
            ),
            Function::Tanh => each(
                x,
                gate,
                out,
                #[inline(always)]
                |x| 2.0 * sigmoid(2.0 * x) - 1.0,
            ),
        }
    }
}

/// Activates every number; with `gate`, rows of twice that many numbers.
fn each(x: &[f32], gate: Option<usize>, out: &mut [f32], activate: impl Fn(f32) -> f32) {
    vectorised(
        #[inline(always)]
        || match gate {
            None => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = activate(*x);
                }
            }
            Some(width) => {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                    let (x, gates) = x.split_at(width);
                    for ((out, x), gate) in out.iter_mut().zip(x).zip(gates) {
                        *out = activate(*x) * gate;
                    }
                }
            }
        },
    );
}

/// `1 / (1 + e^-x)`, from the power that does not overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let power = exp_negative(-x.abs());
    let small = power / (1.0 + power);
    if x < 0.0 { small } else { 1.0 - small }
}

/// `x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2`, for `1 + tanh(y) = 2 sigmoid(2 y)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const TWICE_ROOT: f32 = 1.595_769_2;
    x * sigmoid(TWICE_ROOT * (x + 0.044_715 * x * x * x))
}

impl Op for LfActivate {
    fn name(&self) -> StaticName {
        "LfActivate".into()
    }
    op_as_typed_op!();
}

impl EvalOp for LfActivate {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = args_1!(inputs);
        let mut shape: TVec<usize> = x.shape().into();
        let last = shape.len() - 1;
        if self.gated {
            shape[last] /= 2;
        }
        let mut out = buffer::take(&shape)?;
        let gate = self.gated.then_some(shape[last]);
        self.function.run(floats(&x)?, gate, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        buffer::give(x);
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfActivate {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = inputs[0].without_value();
        if self.gated {
            let last = fact.rank() - 1;
            let width = fact.shape[last].clone() / 2;
            fact.shape.set(last, width);
        }
        Ok(tvec!(fact))
    }
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let function = match node.get_attr::<&str>("function")? {
        "gelu" => Function::Gelu,
        "gelu_tanh" => Function::GeluTanh,
        "relu" => Function::Relu,
        "silu" => Function::Silu,
        "tanh" => Function::Tanh,
        other => bail!("LfActivate: function {other:?} is not known"),
    };
    let gated = node.get_attr_opt::<i64>("gated")?.unwrap_or(0) != 0;
    parsed(LfActivate { function, gated })
}

impl Expansion for LfActivate {
    fn name(&self) -> StaticName {
        "LfActivate".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 1)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        let gated = self.gated;
        solver.given(&inputs[0].shape, move |solver, x| {
            ensure!(!x.is_empty(), "LfActivate takes rows");
            let mut shape = x;
            let last = shape.len() - 1;
            if gated {
                shape[last] = shape[last].clone() / 2;
            }
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
        let columns = fact.shape[fact.rank() - 1].to_usize()?;
        ensure!(
            columns > 0 && (!self.gated || columns.is_multiple_of(2)),
            "LfActivate cannot halve {columns} columns"
        );
        model.wire_node(prefix, self.clone(), inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(function: Function, expected: impl Fn(f64) -> f64) {
        let x: Vec<f32> = (-400..=400).map(|step: i16| f32::from(step) / 20.0).collect();
        let mut out = vec![0.0; x.len()];
        function.run(&x, None, &mut out);
        for (x, out) in x.iter().zip(out) {
            let expected = expected(f64::from(*x));
            let error = (f64::from(out) - expected).abs();
            assert!(error <= 1e-6 * expected.abs().max(1.0), "{function:?} {x} = {out}");
        }
    }

    #[test]
    fn functions_are_within_single_precision() {
        check(Function::Relu, |x| x.max(0.0));
        check(Function::Silu, |x| x / (1.0 + (-x).exp()));
        check(Function::Tanh, f64::tanh);
        check(Function::GeluTanh, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        });
    }

    #[test]
    fn a_gate_multiplies_the_activated_first_half() {
        let mut out = [0.0; 4];
        let x = [1.0, -2.0, 10.0, 20.0, 3.0, 4.0, 0.5, -1.0];
        Function::Relu.run(&x, Some(2), &mut out);
        assert_eq!(out, [10.0, 0.0, 1.5, -4.0]);
    }
}
