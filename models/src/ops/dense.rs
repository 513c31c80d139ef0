//! A linear layer in single precision, for the heads: few rows, few columns.

use super::kernel::{LANES, gelu, sum_of, vectorised};
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Rows multiplied side by side, so that each weight is loaded once for all of them.
const ROWS: usize = 8;

/// The layer, packed: panels of [`LANES`] columns, filled up with zeros.
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    /// `[panel][input][column]`.
    weights: Vec<[f32; LANES]>,
    /// `[panel][column]`.
    bias: Vec<[f32; LANES]>,
}

impl Dense {
    /// Of a matrix `[input][output]`, and of a bias for each output, if it has one.
    ///
    /// # Panics
    /// When the sizes are not these.
    pub(crate) fn new(weights: &[f32], bias: Option<&[f32]>, inputs: usize) -> Dense {
        let outputs = weights.len() / inputs;
        assert!(outputs > 0 && weights.len() == inputs * outputs, "the matrix's size");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "the bias's size");
        let panels = outputs.div_ceil(LANES);
        let mut packed = vec![[0.0; LANES]; panels * inputs];
        for (input, row) in weights.chunks_exact(outputs).enumerate() {
            for (panel, columns) in row.chunks(LANES).enumerate() {
                packed[panel * inputs + input][..columns.len()].copy_from_slice(columns);
            }
        }
        let mut packed_bias = vec![[0.0; LANES]; panels];
        for (packed, bias) in packed_bias.iter_mut().zip(bias.unwrap_or(&[]).chunks(LANES)) {
            packed[..bias.len()].copy_from_slice(bias);
        }
        Dense { inputs, outputs, weights: packed, bias: packed_bias }
    }

    /// Numbers in a row of its input.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers in a row of its output.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Its output for some rows, one after the other.
    ///
    /// # Panics
    /// When a row has another size.
    pub(crate) fn run(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.outputs];
        Product { dense: self, rows, out: &mut out }.dispatch();
        out
    }
}

/// One call.
struct Product<'a> {
    dense: &'a Dense,
    rows: &'a [&'a [f32]],
    out: &'a mut [f32],
}

impl SimdOp for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Product { dense: Dense { inputs, outputs, weights, bias }, rows, out } = self;
        let ops = isa.f32();
        for (panel, (weights, bias)) in weights.chunks_exact(*inputs).zip(bias).enumerate() {
            let count = LANES.min(outputs - panel * LANES);
            for (some, out) in rows.chunks(ROWS).zip(out.chunks_mut(ROWS * outputs)) {
                // Past the end, the last row again.
                let x: [&[f32]; ROWS] = std::array::from_fn(
                    #[inline(always)]
                    |row| &some[row.min(some.len() - 1)][..*inputs],
                );
                for at in (0..LANES).step_by(ops.len()) {
                    let mut sums = [ops.load(&bias[at..]); ROWS];
                    for (input, weights) in weights.iter().enumerate() {
                        let weights = ops.load(&weights[at..]);
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = ops.mul_add(ops.splat(x[input]), weights, *sum);
                        }
                    }
                    for (sum, out) in sums.into_iter().zip(out.chunks_exact_mut(*outputs)) {
                        let mut whole = [0.0; LANES];
                        ops.store(sum, &mut whole[at..]);
                        let columns = at..(at + ops.len()).min(count);
                        if !columns.is_empty() {
                            out[panel * LANES..][columns.clone()].copy_from_slice(&whole[columns]);
                        }
                    }
                }
            }
        }
    }
}

/// The exact GELU of every number.
pub(crate) fn activate(x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for x in x {
                *x = gelu(*x);
            }
        },
    );
}

/// Adds to `out` the products of a row with each of the parts of another, all as long as it.
pub(crate) fn add_products(row: &[f32], parts: &[f32], out: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for (out, part) in out.iter_mut().zip(parts.chunks_exact(row.len())) {
                *out += dot(row, part);
            }
        },
    );
}

#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let (others, other_rest) = y.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (x, y) in chunks.iter().zip(others) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    let rest: f32 = rest.iter().zip(other_rest).map(|(x, y)| x * y).sum();
    sum_of(
        &sums,
        #[inline(always)]
        |x| x,
    ) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        (0..count).map(|at| ((at as f32 + seed) * 12.9898).sin()).collect()
    }

    #[test]
    fn it_is_the_product_with_the_matrix_and_the_bias() {
        for (inputs, outputs) in [(1, 1), (3, 16), (40, 33), (384, 21)] {
            let (weights, bias) = (numbers(inputs * outputs, 0.1), numbers(outputs, 0.2));
            for (bias, count) in [(Some(&bias[..]), 1), (None, 7), (Some(&bias[..]), 20)] {
                let dense = Dense::new(&weights, bias, inputs);
                let x = numbers(count * inputs, 0.3);
                let rows: Vec<&[f32]> = x.chunks_exact(inputs).collect();
                let out = dense.run(&rows);
                assert_eq!(out.len(), count * outputs);
                for (row, out) in rows.iter().zip(out.chunks_exact(outputs)) {
                    for (column, out) in out.iter().enumerate() {
                        let terms = row.iter().zip(weights[column..].iter().step_by(outputs));
                        let sum: f64 = terms.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        let expected = sum + f64::from(bias.map_or(0.0, |bias| bias[column]));
                        let error = (f64::from(*out) - expected).abs();
                        assert!(error < 1e-4, "{inputs}x{outputs}, {count} rows: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn products_with_parts_are_added() {
        for width in [1, 16, 37] {
            let (row, parts) = (numbers(width, 0.5), numbers(3 * width, 0.7));
            let mut out = [1.0, 2.0, 3.0];
            add_products(&row, &parts, &mut out);
            for (at, (out, part)) in out.iter().zip(parts.chunks_exact(width)).enumerate() {
                let sum: f32 = row.iter().zip(part).map(|(x, y)| x * y).sum();
                assert!((out - (at as f32 + 1.0) - sum).abs() < 1e-4, "{width}");
            }
        }
    }
}
