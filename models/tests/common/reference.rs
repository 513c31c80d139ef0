//! What each operator means, one number at a time.
//!
//! Same arithmetic, other code: sums in double precision, no chunks, no packing, libm functions.

/// A linear layer's constants: `weight[k * outputs + n]`.
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Vec<i8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) gelu: bool,
}

impl Linear {
    pub(crate) fn run(&self, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        for row in x.chunks_exact(self.inputs) {
            let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let q: Vec<i32> = row.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
            for n in 0..self.outputs {
                let sum: i32 = (0..self.inputs)
                    .map(|k| q[k] * i32::from(self.weight[k * self.outputs + n]))
                    .sum();
                let y = f64::from(sum) * f64::from(largest / 127.0) * f64::from(self.scales[n])
                    + f64::from(self.bias[n]);
                out.push(if self.gelu { gelu(y) } else { y } as f32);
            }
        }
        out
    }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// The Maclaurin series for small x, the continued fraction of the complement for large.
fn erf(x: f64) -> f64 {
    if x < 0.0 {
        return -erf(-x);
    }
    if x > 3.0 {
        let mut fraction = 0.0;
        for k in (1..60).rev() {
            fraction = f64::from(k) / 2.0 / (x + fraction);
        }
        return 1.0 - (-x * x).exp() / (x + fraction) / std::f64::consts::PI.sqrt();
    }
    let (mut sum, mut term) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

pub(crate) fn attention(qkv: &[f32], width: usize, heads: usize) -> Vec<f32> {
    let pieces = qkv.len() / (3 * width);
    let head_width = width / heads;
    let at = |piece: usize, part: usize, head: usize, dimension: usize| {
        f64::from(qkv[piece * 3 * width + part * width + head * head_width + dimension])
    };
    let mut out = vec![0.0; pieces * width];
    for head in 0..heads {
        for query in 0..pieces {
            let scores: Vec<f64> = (0..pieces)
                .map(|key| {
                    let dot: f64 =
                        (0..head_width).map(|d| at(query, 0, head, d) * at(key, 1, head, d)).sum();
                    (dot / (head_width as f64).sqrt()).exp()
                })
                .collect();
            let total: f64 = scores.iter().sum();
            for d in 0..head_width {
                let value: f64 =
                    scores.iter().enumerate().map(|(key, s)| s * at(key, 2, head, d)).sum();
                out[query * width + head * head_width + d] = (value / total) as f32;
            }
        }
    }
    out
}

/// A layer normalisation's constants.
pub(crate) struct Norm {
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl Norm {
    pub(crate) fn run(&self, x: &[f32]) -> Vec<f32> {
        let width = self.gain.len();
        let mut out = Vec::new();
        for row in x.chunks_exact(width) {
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
            let variance =
                row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
            for (i, x) in row.iter().enumerate() {
                let unit = (f64::from(*x) - mean) / (variance + f64::from(self.epsilon)).sqrt();
                out.push((unit * f64::from(self.gain[i]) + f64::from(self.bias[i])) as f32);
            }
        }
        out
    }
}

pub(crate) fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// The embedding's constants.
pub(crate) struct Embed {
    pub(crate) width: usize,
    pub(crate) words: Vec<i8>,
    pub(crate) word_scales: Vec<f32>,
    pub(crate) positions: Vec<f32>,
    pub(crate) norm: Norm,
}

impl Embed {
    pub(crate) fn run(&self, ids: &[i64]) -> Vec<f32> {
        let mut rows = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let id = usize::try_from(*id).unwrap();
            for i in 0..self.width {
                let word = f32::from(self.words[id * self.width + i]) * self.word_scales[id];
                rows.push(word + self.positions[at * self.width + i]);
            }
        }
        self.norm.run(&rows)
    }
}
