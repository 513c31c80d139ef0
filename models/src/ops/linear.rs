//! `LfLinear`: a linear layer with int8 weights.
//!
//! `y = (xq · wq) * x scale * w scale + bias`, then the activation. Activations are quantised per
//! token as they come. Weights are packed once, when the model is loaded, for the product's
//! kernel on this processor. Sums are rescaled tile by tile, while they are in the nearest cache.

use super::kernel::{Activation, Columns, quantise, rescale, vectorised};
use super::product::{COLUMNS_MAX, Kernel, Rows, Tile, Weights};
use super::{
    Parsed, buffer, check_arity, constant, floats, matrix_shape, parsed, share, shared_op, vector,
};
use rten_simd::{Isa, SimdOp};
use std::cell::RefCell;
use std::ops::Range;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// Largest number of inputs: 255 * 127 times this stays within an `i32`.
const INPUTS_MAX: usize = 1 << 16;

/// The packed constants.
struct Linear {
    inputs: usize,
    outputs: usize,
    weights: Weights,
    /// Filled up to whole panels, as is `bias`.
    scales: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

/// Buffers that grow to the longest text and stay, one set for each thread.
struct Scratch {
    x: Rows,
    row_scales: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { x: Rows::new(Kernel::best()), row_scales: Vec::new() });
}

impl Linear {
    fn new(weights: Weights, scales: &[f32], bias: &[f32], activation: Activation) -> Linear {
        let filled = weights.panels() * weights.panel_columns();
        let fill = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(filled, 0.0);
            values
        };
        Linear {
            inputs: weights.inputs(),
            outputs: weights.outputs(),
            scales: fill(scales),
            bias: fill(bias),
            weights,
            activation,
        }
    }

    fn run(&self, x: &[f32], out: &mut [f32]) {
        SCRATCH.with_borrow_mut(|Scratch { x: rows, row_scales }| {
            row_scales.resize(x.len() / self.inputs, 0.0);
            vectorised(
                #[inline(always)]
                || {
                    rows.fill(
                        row_scales.len(),
                        self.inputs,
                        #[inline(always)]
                        |at, row| {
                            let (scale, sum) = quantise(&x[at * self.inputs..][..self.inputs], row);
                            row_scales[at] = scale;
                            sum
                        },
                    );
                },
            );
            let (x, row_scales) = (&*rows, &row_scales[..]);
            let columns = self.weights.panel_columns();
            let out = out.chunks_exact_mut(self.outputs).collect();
            share::by_columns(
                0..self.weights.panels(),
                columns,
                share::threads(),
                out,
                &|panels, out| {
                    Product { linear: self, x, row_scales, panels, out }.dispatch();
                },
            );
        });
    }
}

/// One call, activations quantised; or a part of it, some panels and their columns.
struct Product<'a, 'o> {
    linear: &'a Linear,
    x: &'a Rows,
    row_scales: &'a [f32],
    panels: Range<usize>,
    out: &'a mut [&'o mut [f32]],
}

impl SimdOp for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Product { linear, x, row_scales, panels, out } = self;
        let columns = linear.weights.panel_columns();
        let mut tile = Tile::new();
        for (at, panel) in panels.enumerate() {
            let first = panel * columns;
            let count = columns.min(linear.outputs - first);
            let constants = Columns {
                scales: &linear.scales[first..][..columns],
                bias: &linear.bias[first..][..columns],
                activation: linear.activation,
            };
            for block in linear.weights.blocks(row_scales.len()) {
                linear.weights.tile(x, &block, panel, &mut tile);
                for (row, sums) in block.rows.zip(tile.rows(columns)) {
                    let out = &mut out[row][at * columns..][..count];
                    let row_scale = row_scales[row];
                    if count == columns {
                        rescale(isa, sums, row_scale, &constants, out);
                    } else {
                        let mut whole = [0.0; COLUMNS_MAX];
                        let whole = &mut whole[..columns];
                        rescale(isa, sums, row_scale, &constants, whole);
                        out.copy_from_slice(&whole[..count]);
                    }
                }
            }
        }
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
        let x = args_1!(inputs);
        let mut shape: TVec<usize> = x.shape().into();
        let last = shape.len() - 1;
        shape[last] = self.0.outputs;
        let mut out = buffer::take(&shape)?;
        self.0.run(floats(&x)?, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        buffer::give(x);
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
        ensure!(columns > 0, "weight_q has no columns");
        let values = weight.try_as_plain_ram()?;
        let linear = Linear::new(
            Weights::pack(Kernel::best(), values.as_slice::<i8>()?, rows, columns),
            &vector(model, inputs[2], "weight_scale", columns)?,
            &vector(model, inputs[3], "bias", columns)?,
            self.activation,
        );
        model.wire_node(prefix, LfLinear(Arc::new(linear)), &inputs[..1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_shrinks_and_grows_with_the_text() {
        let (inputs, outputs) = (70, 33);
        let values: Vec<i8> =
            (0..inputs * outputs).map(|at| u8::try_from(at % 255).unwrap().cast_signed()).collect();
        let weights = Weights::pack(Kernel::best(), &values, inputs, outputs);
        let linear = Linear::new(weights, &[0.01; 33], &[0.5; 33], Activation::None);
        let x: Vec<f32> = (0..9 * 70u16).map(|at| f32::from(at % 13) - 6.0).collect();
        let mut long = vec![0.0; 9 * outputs];
        linear.run(&x, &mut long);
        let mut short = vec![0.0; 2 * outputs];
        linear.run(&x[..2 * inputs], &mut short);
        assert_eq!(short, long[..2 * outputs], "a row depends on its neighbours");
    }

    #[test]
    fn threads_share_the_columns_and_change_nothing() {
        let (inputs, outputs) = (64, 5 * COLUMNS_MAX + 7);
        let values: Vec<i8> = (0..inputs * outputs)
            .map(|at| u8::try_from(at * 7 % 255).unwrap().cast_signed())
            .collect();
        let weights = Weights::pack(Kernel::best(), &values, inputs, outputs);
        let linear =
            Linear::new(weights, &vec![0.01; outputs], &vec![0.5; outputs], Activation::Gelu);
        let x: Vec<f32> = (0..11 * 64u16).map(|at| f32::from(at % 17) - 8.0).collect();
        let mut alone = vec![0.0; 11 * outputs];
        linear.run(&x, &mut alone);
        for threads in [2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut shared = vec![0.0; 11 * outputs];
            pool.install(|| linear.run(&x, &mut shared));
            assert_eq!(shared, alone, "{threads} threads");
        }
    }
}
