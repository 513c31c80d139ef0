//! Symmetric int8: a row `r` becomes `round(r / s)` with `s = max |r| / 127`, halves to even, so
//! that zero stays zero and nothing is off by more than `s / 2`.
//!
//! Word tables have a scale for each row, linear layers for each output, which is a row of the
//! weight as PyTorch stores it.

use super::error::Result;
use super::model::{Linear, Rows};
use super::weights::Weights;

/// -128 is not used: the range is symmetric.
const LEVELS: f32 = 127.0;

/// Rows of a weight that are turned at once: a cache line of each input's outputs.
const TURNED: usize = 64;

impl Rows {
    /// Adds the rows of a matrix that is `width` wide.
    pub(super) fn push(&mut self, matrix: &[f32], width: usize) {
        for row in matrix.chunks_exact(width) {
            let start = self.values.len();
            self.values.resize(start + width, 0);
            self.scales.push(quantise(row, &mut self.values[start..]));
        }
    }
}

/// Writes a row in int8 and returns its scale; 1 for a row of zeros.
fn quantise(row: &[f32], out: &mut [i8]) -> f32 {
    let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 { largest / LEVELS } else { 1.0 };
    for (out, x) in out.iter_mut().zip(row) {
        let rounded = (x / scale).round_ties_even().clamp(-LEVELS, LEVELS);
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
        {
            *out = rounded as i8;
        }
    }
    scale
}

/// One of the layers that become one: its name, without `.weight`, and its outputs.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) outputs: usize,
    pub(super) has_bias: bool,
}

/// Reads layers with the same inputs, side by side.
pub(super) fn linear(weights: &mut Weights, parts: &[Part<'_>], inputs: usize) -> Result<Linear> {
    let outputs = parts.iter().map(|part| part.outputs).sum();
    let mut linear = Linear {
        inputs,
        outputs,
        weight: vec![0; inputs * outputs],
        scales: Vec::with_capacity(outputs),
        bias: Vec::with_capacity(outputs),
    };
    for part in parts {
        let name = format!("{}.weight", part.name);
        let mut block = Rows::default();
        weights.rows(&name, [part.outputs, inputs], |rows| {
            for rows in rows.chunks(TURNED * inputs) {
                block.values.clear();
                block.scales.clear();
                block.push(rows, inputs);
                let first = linear.scales.len();
                for input in 0..inputs {
                    let line = &mut linear.weight[input * outputs + first..];
                    let column = block.values.iter().skip(input).step_by(inputs);
                    for (out, value) in line.iter_mut().zip(column) {
                        *out = *value;
                    }
                }
                linear.scales.extend(&block.scales);
            }
        })?;
        if part.has_bias {
            linear.bias.extend(weights.vector(&format!("{}.bias", part.name), part.outputs)?);
        } else {
            linear.bias.resize(linear.bias.len() + part.outputs, 0.0);
        }
    }
    Ok(linear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_own_scales_and_ties_go_to_even() {
        let mut rows = Rows::default();
        rows.push(&[254.0, 1.0, 3.0, -254.0, 0.0, 0.0, 0.0, 0.0], 4);
        assert_eq!(rows.values, [127, 0, 2, -127, 0, 0, 0, 0]);
        assert_eq!(rows.scales, [2.0, 1.0]);
    }

    #[test]
    fn nothing_is_off_by_more_than_half_a_step() {
        let row: Vec<f32> = (0..999u16).map(|at| (f32::from(at) * 0.7).sin() * 3.0).collect();
        let mut out = vec![0; row.len()];
        let scale = quantise(&row, &mut out);
        for (x, q) in row.iter().zip(out) {
            assert!((x - f32::from(q) * scale).abs() <= scale * 0.5001, "{x} {q}");
        }
    }
}
