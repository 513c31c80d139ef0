//! `LfLinear`: a linear layer with int8 weights.
//!
//! `y = (xq · wq) * x scale * w scale + bias`, then the activation. Activations are quantised per
//! token as they come. Weights are packed once, when the model is loaded, for the product's
//! kernel on this processor.
//!
//! The x86 kernel for processors with AVX2 but no VNNI adds two products in 16 bits, where
//! 2 * 255 * 127 does not fit. There the weight is split, `w = 2 * (w >> 1) + (w & 1)`: both
//! parts fit, the result is exact, and the product costs twice.

use super::kernel::{Activation, Rescale, ZERO_POINT, quantise, rescale};
use super::{Parsed, check_arity, constant, floats, matrix_shape, parsed, shared_op, vector};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix, QuantParams};
use rten_tensor::NdTensorView;
use std::cell::RefCell;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Largest number of inputs: 255 * 127 times this stays within an `i32`.
const INPUTS_MAX: usize = 1 << 16;

type Executor = GemmExecutor<u8, i8, i32>;

/// The packed constants.
struct Linear {
    inputs: usize,
    outputs: usize,
    weight: Weight,
    scales: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

enum Weight {
    Whole(PackedBMatrix<i8>),
    Split { halves: PackedBMatrix<i8>, odd: PackedBMatrix<i8> },
}

impl Weight {
    fn pack(values: &[i8], shape: [usize; 2], split: bool) -> Weight {
        let executor = Executor::default();
        let pack = |values: &[i8]| executor.prepack_b(NdTensorView::from_data(shape, values));
        if !split {
            return Weight::Whole(pack(values));
        }
        let halves: Vec<i8> = values.iter().map(|w| w >> 1).collect();
        let odd: Vec<i8> = values.iter().map(|w| w & 1).collect();
        Weight::Split { halves: pack(&halves), odd: pack(&odd) }
    }
}

/// Buffers that grow to the longest text and stay, one set for each thread.
#[derive(Default)]
struct Scratch {
    executor: Executor,
    quantised: Vec<u8>,
    row_scales: Vec<f32>,
    zero_points: Vec<u8>,
    sums: Vec<i32>,
    odd_sums: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Linear {
    fn run(&self, x: &[f32], out: &mut [f32]) -> TractResult<()> {
        SCRATCH.with_borrow_mut(|scratch| self.run_with(x, out, scratch))
    }

    fn run_with(&self, x: &[f32], out: &mut [f32], scratch: &mut Scratch) -> TractResult<()> {
        let rows = x.len() / self.inputs;
        let Scratch { executor, quantised, row_scales, zero_points, sums, odd_sums } = scratch;
        quantised.resize(x.len(), 0);
        row_scales.resize(rows, 0.0);
        zero_points.resize(rows, ZERO_POINT);
        sums.resize(out.len(), 0);
        quantise(x, self.inputs, quantised, row_scales);
        let a = NdTensorView::from_data([rows, self.inputs], &quantised[..]);
        let product = |sums: &mut [i32], weight: &PackedBMatrix<i8>| {
            let options = GemmOptions {
                a_quant: Some(QuantParams { zero_point: &zero_points[..] }),
                ..GemmOptions::default()
            };
            executor
                .gemm(sums, GemmInputA::Unpacked(a), GemmInputB::Packed(weight), options)
                .map_err(|error| format_err!("integer product: {error}"))
        };
        match &self.weight {
            Weight::Whole(weight) => product(sums, weight)?,
            Weight::Split { halves, odd } => {
                odd_sums.resize(out.len(), 0);
                product(sums, halves)?;
                product(odd_sums, odd)?;
                for (sum, odd) in sums.iter_mut().zip(odd_sums) {
                    *sum = *sum * 2 + *odd;
                }
            }
        }
        let by = Rescale { scales: &self.scales, bias: &self.bias, activation: self.activation };
        rescale(sums, row_scales, &by, out);
        Ok(())
    }
}

/// The operator as tract runs it.
#[derive(Clone)]
struct LfLinear(Arc<Linear>);
shared_op!(LfLinear, "LfLinear");

impl std::fmt::Debug for LfLinear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LfLinear {}x{} {:?}", self.0.inputs, self.0.outputs, self.0.activation)
    }
}

impl EvalOp for LfLinear {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let x = &inputs[0];
        let mut shape: TVec<usize> = x.shape().into();
        let last = shape.len() - 1;
        shape[last] = self.0.outputs;
        let mut out = Tensor::zero::<f32>(&shape)?;
        self.0.run(floats(x)?, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfLinear {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = inputs[0].without_value();
        fact.shape.set(fact.rank() - 1, self.0.outputs.to_dim());
        Ok(tvec!(fact))
    }
}

/// The operator as it is read.
#[derive(Debug, Clone)]
struct Unpacked {
    activation: Activation,
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let activation = match node.get_attr_opt::<&str>("activation")?.unwrap_or("none") {
        "none" => Activation::None,
        "gelu" => Activation::Gelu,
        other => bail!("LfLinear: activation {other:?} is not known"),
    };
    parsed(Unpacked { activation })
}

impl Expansion for Unpacked {
    fn name(&self) -> StaticName {
        "LfLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 4)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].rank, &inputs[0].rank)?;
        solver.given_2(&inputs[0].shape, &inputs[1].shape, move |solver, x, weight| {
            ensure!(!x.is_empty() && weight.len() == 2, "LfLinear takes rows and a matrix");
            let mut shape = x;
            let last = shape.len() - 1;
            shape[last] = weight[1].clone();
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let weight = constant(model, inputs[1], "weight_q")?;
        let (rows, columns) = matrix_shape(&weight, "weight_q")?;
        ensure!((1..=INPUTS_MAX).contains(&rows), "weight_q has {rows} rows");
        let x = model.outlet_fact(inputs[0])?;
        ensure!(
            x.shape.last() == Some(&rows.to_dim()),
            "x has shape {:?}, weight_q has {rows} rows",
            x.shape
        );
        let values = weight.try_as_plain_ram()?;
        let linear = Linear {
            inputs: rows,
            outputs: columns,
            weight: Weight::pack(
                values.as_slice::<i8>()?,
                [rows, columns],
                Executor::default().may_saturate(),
            ),
            scales: vector(model, inputs[2], "weight_scale", columns)?,
            bias: vector(model, inputs[3], "bias", columns)?,
            activation: self.activation,
        };
        model.wire_node(prefix, LfLinear(Arc::new(linear)), &inputs[..1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(split: bool) -> Linear {
        let (inputs, outputs) = (70, 33);
        // Extremes on purpose: all of them positive is what saturates.
        let values: Vec<i8> = (0..inputs * outputs)
            .map(|at| if at % 7 < 5 { 127 } else { -127 + i8::try_from(at % 5).unwrap() })
            .collect();
        Linear {
            inputs,
            outputs,
            weight: Weight::pack(&values, [inputs, outputs], split),
            scales: vec![0.01; outputs],
            bias: vec![0.5; outputs],
            activation: Activation::None,
        }
    }

    #[test]
    fn a_split_weight_gives_exactly_the_whole_product() {
        let x: Vec<f32> = (0..5 * 70u16).map(|at| f32::from(at % 11) - 1.0).collect();
        let (mut split, mut whole) = (vec![0.0; 5 * 33], vec![0.0; 5 * 33]);
        linear(true).run(&x, &mut split).unwrap();
        if Executor::default().may_saturate() {
            return; // The whole product is what this processor cannot do.
        }
        linear(false).run(&x, &mut whole).unwrap();
        assert_eq!(split, whole);
    }

    #[test]
    fn scratch_shrinks_and_grows_with_the_text() {
        let linear = linear(false);
        let x: Vec<f32> = (0..9 * 70u16).map(|at| f32::from(at % 13) - 6.0).collect();
        let mut long = vec![0.0; 9 * 33];
        linear.run(&x, &mut long).unwrap();
        let mut short = vec![0.0; 2 * 33];
        linear.run(&x[..2 * 70], &mut short).unwrap();
        assert_eq!(short, long[..2 * 33], "a row depends on its neighbours");
    }
}
