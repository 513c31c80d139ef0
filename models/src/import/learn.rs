//! A head for an encoder that has none: multinomial logistic regression on the mean of the hidden
//! states, learnt from the user's labelled texts.
//!
//! Gradient descent with momentum on all texts at once, from zero: no chance is involved.

use super::model::{Dense, Head, Pool};

const STEPS: usize = 400;
/// Weight of the squared weights in the loss, for each text.
const SHRINK: f64 = 1e-3;
const MOMENTUM: f64 = 0.9;
/// Steps are this over the mean squared length of an input, which bounds the curvature.
const RATE: f64 = 1.0;

/// Learns from pooled texts, all `width` wide, and their labels.
pub(super) fn head(pooled: &[Vec<f32>], labels: &[usize], width: usize, outputs: usize) -> Head {
    let (means, sizes) = spread(pooled, width);
    let inputs: Vec<Vec<f64>> = pooled
        .iter()
        .map(|row| (0..width).map(|at| (f64::from(row[at]) - means[at]) / sizes[at]).collect())
        .collect();
    let (weight, bias) = descend(&inputs, labels, width, outputs);
    // The spread is folded into the weights.
    let mut dense = Dense {
        inputs: width,
        outputs,
        weight: vec![0.0; width * outputs],
        bias: vec![0.0; outputs],
        activation: None,
        norm: None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "to single precision")]
    for output in 0..outputs {
        let mut shift = bias[output];
        for input in 0..width {
            let folded = weight[input * outputs + output] / sizes[input];
            shift -= folded * means[input];
            dense.weight[input * outputs + output] = folded as f32;
        }
        dense.bias[output] = shift as f32;
    }
    Head { pool: Pool::Mean, layers: vec![dense] }
}

/// Mean and spread of each column.
fn spread(rows: &[Vec<f32>], width: usize) -> (Vec<f64>, Vec<f64>) {
    let count = rows.len().max(1) as f64;
    let column = |at: usize| rows.iter().map(move |row| f64::from(row[at]));
    let means: Vec<f64> = (0..width).map(|at| column(at).sum::<f64>() / count).collect();
    let size = |at: usize| {
        let variance = column(at).map(|x| (x - means[at]).powi(2)).sum::<f64>() / count;
        variance.sqrt().max(1e-6)
    };
    let sizes = (0..width).map(size).collect();
    (means, sizes)
}

fn descend(
    inputs: &[Vec<f64>],
    labels: &[usize],
    width: usize,
    outputs: usize,
) -> (Vec<f64>, Vec<f64>) {
    let count = inputs.len().max(1) as f64;
    let rate = RATE / (1.0 + width as f64);
    let mut weight = vec![0.0; width * outputs];
    let mut bias = vec![0.0; outputs];
    let mut speed = vec![0.0; weight.len() + outputs];
    for _ in 0..STEPS {
        let mut slope: Vec<f64> =
            weight.iter().map(|w| w * SHRINK).chain(std::iter::repeat_n(0.0, outputs)).collect();
        for (input, label) in inputs.iter().zip(labels) {
            let mut sums = bias.clone();
            for (x, line) in input.iter().zip(weight.chunks_exact(outputs)) {
                for (sum, w) in sums.iter_mut().zip(line) {
                    *sum += x * w;
                }
            }
            let top = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = sums.iter().map(|sum| (sum - top).exp()).sum();
            for (output, sum) in sums.iter_mut().enumerate() {
                let is_right = f64::from(u8::from(output == *label));
                *sum = ((*sum - top).exp() / total - is_right) / count;
            }
            let lines = slope.chunks_exact_mut(outputs);
            for (x, line) in input.iter().chain([&1.0]).zip(lines) {
                for (slope, error) in line.iter_mut().zip(&sums) {
                    *slope += x * error;
                }
            }
        }
        for (at, (speed, slope)) in speed.iter_mut().zip(slope).enumerate() {
            *speed = MOMENTUM * *speed - rate * slope;
            match at.checked_sub(weight.len()) {
                None => weight[at] += *speed,
                Some(at) => bias[at] += *speed,
            }
        }
    }
    (weight, bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_told_apart_is_told_apart() {
        let text = |at: u8| {
            let noise = f32::from(u16::from(at) * 37 % 11) / 11.0;
            let label = usize::from(at % 3);
            let mut row = vec![100.0 + noise, noise, 0.1];
            row[label] += 2.0;
            (row, label)
        };
        let (rows, labels): (Vec<Vec<f32>>, Vec<usize>) = (0..60).map(text).unzip();
        let head = head(&rows, &labels, 3, 3);
        for (row, label) in rows.iter().zip(&labels) {
            let logits = head.run(row, 3);
            assert!((0..3).all(|at| logits[at] <= logits[*label]), "{row:?}: {logits:?}");
        }
    }
}
