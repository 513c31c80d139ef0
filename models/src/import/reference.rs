//! The arithmetic of an imported model, one number at a time: what golden vectors are made with.
//!
//! It shares no code with the operators that run on a device: no packing, no chunks, sums of
//! attention and normalisation in double precision, functions of the standard library.

use super::model::{
    Activation, Attention, Dense, Encoder, Head, Layer, Linear, Norm, Norms, Pool, Positions, Rows,
};

/// Runs a model. With `jitter`, what goes into each linear layer is off by about that share: how
/// another processor's order of sums would differ. It shows which answers hang on a rounding to
/// int8 that could have gone either way.
pub(super) struct Reference<'a> {
    encoder: &'a Encoder,
    jitter: f32,
    random: u64,
}

impl<'a> Reference<'a> {
    pub(super) fn new(encoder: &'a Encoder) -> Reference<'a> {
        Reference { encoder, jitter: 0.0, random: 1 }
    }

    /// With jitter; the seed is not zero.
    pub(super) fn jittery(encoder: &'a Encoder, jitter: f32, seed: u64) -> Reference<'a> {
        Reference { encoder, jitter, random: seed }
    }

    pub(super) fn width(&self) -> usize {
        self.encoder.width
    }

    /// Hidden states of one text, a row for each piece.
    pub(super) fn hidden(&mut self, ids: &[i64]) -> Vec<f32> {
        let encoder = self.encoder;
        let mut x = self.embed(ids);
        for layer in &encoder.layers {
            x = self.layer(&x, layer);
        }
        encoder.last.as_ref().map_or(x.clone(), |last| normalise(&x, last))
    }

    fn embed(&self, ids: &[i64]) -> Vec<f32> {
        let Encoder { width, words, positions, .. } = self.encoder;
        let mut rows = Vec::with_capacity(ids.len() * width);
        for (at, id) in ids.iter().enumerate() {
            let id = usize::try_from(*id).expect("the tokenizer gives ids of the vocabulary");
            let position = match positions {
                Positions::Each(table) => &table[at * width..][..*width],
                Positions::Same(row) => row,
            };
            let word = &words.values[id * width..][..*width];
            rows.extend(
                word.iter().zip(position).map(|(w, p)| f32::from(*w) * words.scales[id] + p),
            );
        }
        normalise(&rows, &self.encoder.embedded)
    }

    fn layer(&mut self, x: &[f32], layer: &Layer) -> Vec<f32> {
        match &layer.norms {
            Norms::After { attended, out } => {
                let x = normalise(&add(x, &self.attend(x, layer)), attended);
                normalise(&add(&x, &self.wide(&x, layer)), out)
            }
            Norms::Before { attention, wide } => {
                let input = attention.as_ref().map_or(x.to_vec(), |norm| normalise(x, norm));
                let x = add(x, &self.attend(&input, layer));
                add(&x, &self.wide(&normalise(&x, wide), layer))
            }
        }
    }

    fn attend(&mut self, x: &[f32], layer: &Layer) -> Vec<f32> {
        let qkv = self.linear(x, &layer.qkv);
        let mixed = mix(&qkv, self.encoder.width, self.encoder.heads, &layer.attention);
        self.linear(&mixed, &layer.attended)
    }

    fn wide(&mut self, x: &[f32], layer: &Layer) -> Vec<f32> {
        let wide = self.linear(x, &layer.wide);
        let active: Vec<f32> = if layer.gated {
            let width = layer.narrow.inputs;
            let rows = wide.chunks_exact(2 * width);
            rows.flat_map(|row| {
                let (x, gates) = row.split_at(width);
                x.iter().zip(gates).map(|(x, gate)| activate(*x, layer.activation) * gate)
            })
            .collect()
        } else {
            wide.into_iter().map(|x| activate(x, layer.activation)).collect()
        };
        self.linear(&active, &layer.narrow)
    }

    fn linear(&mut self, x: &[f32], linear: &Linear) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len() / linear.inputs * linear.outputs);
        let mut sums = vec![0i32; linear.outputs];
        for row in x.chunks_exact(linear.inputs) {
            let row: Vec<f32> =
                row.iter().map(|x| x * (1.0 + self.jitter * self.noise())).collect();
            let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let scale = largest / 127.0;
            sums.fill(0);
            for (x, weights) in row.iter().zip(linear.weight.chunks_exact(linear.outputs)) {
                #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
                let q = if scale > 0.0 { (x / scale).round_ties_even() as i32 } else { 0 };
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += q * i32::from(*weight);
                }
            }
            let constants = linear.scales.iter().zip(&linear.bias);
            out.extend(sums.iter().zip(constants).map(|(sum, (weight_scale, bias))| {
                let product = f64::from(*sum) * f64::from(scale) * f64::from(*weight_scale);
                single(product + f64::from(*bias))
            }));
        }
        out
    }

    /// Between -1 and 1, repeatable (an xorshift generator).
    fn noise(&mut self) -> f32 {
        if self.jitter == 0.0 {
            return 0.0;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "to single precision")]
fn single(x: f64) -> f32 {
    x as f32
}

fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn normalise(x: &[f32], norm: &Norm) -> Vec<f32> {
    let width = norm.gain.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
        let variance =
            row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
        let size = (variance + f64::from(norm.epsilon)).sqrt();
        out.extend(row.iter().zip(norm.gain.iter().zip(&norm.bias)).map(|(x, (gain, bias))| {
            single((f64::from(*x) - mean) / size * f64::from(*gain) + f64::from(*bias))
        }));
    }
    out
}

/// Attention of all heads.
fn mix(qkv: &[f32], width: usize, heads: usize, attention: &Attention) -> Vec<f32> {
    let pieces = qkv.len() / (3 * width);
    let head_width = width / heads;
    let part = |piece: usize, part: usize, head: usize| {
        let start = piece * 3 * width + part * width + head * head_width;
        let values = qkv[start..start + head_width].iter().map(|x| f64::from(*x));
        match attention {
            Attention::Rotary { theta, .. } if part < 2 => {
                turn(&values.collect::<Vec<f64>>(), piece, *theta)
            }
            _ => values.collect::<Vec<f64>>(),
        }
    };
    let mut out = vec![0.0; pieces * width];
    for head in 0..heads {
        let [queries, keys, values] = [0, 1, 2]
            .map(|which| (0..pieces).map(|piece| part(piece, which, head)).collect::<Vec<_>>());
        for query in 0..pieces {
            let scores: Vec<f64> = (0..pieces)
                .map(|key| {
                    let product = dot(&queries[query], &keys[key]);
                    match attention {
                        Attention::Plain => product / (head_width as f64).sqrt(),
                        Attention::Rotary { reach, .. } => {
                            let is_seen = reach.is_none_or(|reach| query.abs_diff(key) <= reach);
                            if is_seen {
                                product / (head_width as f64).sqrt()
                            } else {
                                f64::NEG_INFINITY
                            }
                        }
                        Attention::Relative { keys: tables, queries: others, scale } => {
                            let middle = tables.scales.len() / 2;
                            let row = middle + query - key;
                            let columns = head * head_width..(head + 1) * head_width;
                            let key_row = entry(tables, row, width, columns.clone());
                            let query_row = entry(others, row, width, columns);
                            (product + dot(&queries[query], &key_row) + dot(&keys[key], &query_row))
                                * f64::from(*scale)
                        }
                    }
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = powers.iter().sum();
            for dimension in 0..head_width {
                let sum: f64 =
                    powers.iter().zip(&values).map(|(power, value)| power * value[dimension]).sum();
                out[query * width + head * head_width + dimension] = single(sum / total);
            }
        }
    }
    out
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn entry(rows: &Rows, row: usize, width: usize, columns: std::ops::Range<usize>) -> Vec<f64> {
    let values = &rows.values[row * width..(row + 1) * width];
    values[columns].iter().map(|x| f64::from(*x) * f64::from(rows.scales[row])).collect()
}

/// Rotates dimension `i` with dimension `i + half`.
fn turn(x: &[f64], position: usize, theta: f32) -> Vec<f64> {
    let half = x.len() / 2;
    let angle =
        |at: usize| position as f64 / f64::from(theta).powf((at % half) as f64 / half as f64);
    (0..x.len())
        .map(|at| {
            let other = if at < half { -x[at + half] } else { x[at - half] };
            x[at] * angle(at).cos() + other * angle(at).sin()
        })
        .collect()
}

fn activate(x: f32, activation: Activation) -> f32 {
    let x = f64::from(x);
    single(match activation {
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    })
}

/// Abramowitz and Stegun 7.1.26; off by at most 1.5e-7.
fn erf(x: f64) -> f64 {
    const SERIES: [f64; 5] =
        [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let sum = SERIES.iter().fold(0.0, |sum, coefficient| (sum * t) + coefficient) * t;
    x.signum() * (1.0 - sum * (-x * x).exp())
}

impl Head {
    /// The logits of a text from its hidden states: one row, or one for each piece.
    pub(super) fn run(&self, hidden: &[f32], width: usize) -> Vec<f32> {
        let mut x = match self.pool {
            Pool::Each => hidden.to_vec(),
            Pool::First => hidden[..width].to_vec(),
            Pool::Mean => mean(hidden, width),
        };
        for dense in &self.layers {
            x = dense.run(&x);
        }
        x
    }
}

/// The mean of all rows.
pub(super) fn mean(hidden: &[f32], width: usize) -> Vec<f32> {
    let pieces = (hidden.len() / width) as f64;
    let column = |at: usize| hidden.iter().skip(at).step_by(width).map(|x| f64::from(*x));
    (0..width).map(|at| single(column(at).sum::<f64>() / pieces)).collect()
}

/// The logarithm of the sum of the powers of logits.
pub(super) fn energy(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
    single(sum.ln() + f64::from(top))
}

impl Dense {
    fn run(&self, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len() / self.inputs * self.outputs);
        for row in x.chunks_exact(self.inputs) {
            let mut sums: Vec<f64> = self.bias.iter().map(|bias| f64::from(*bias)).collect();
            for (x, weights) in row.iter().zip(self.weight.chunks_exact(self.outputs)) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += f64::from(*x) * f64::from(*weight);
                }
            }
            out.extend(sums.into_iter().map(|sum| match self.activation {
                Some(activation) => activate(single(sum), activation),
                None => single(sum),
            }));
        }
        match &self.norm {
            Some(norm) => normalise(&out, norm),
            None => out,
        }
    }
}
