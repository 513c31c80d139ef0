//! A label for a whole text, from the mean of its pieces, and how familiar the text is.

use super::graph::Graph;
use super::{Hidden, Output};
use crate::engine::decode::softmax;
use crate::ops::Dense;

const NODES: [&str; 3] = [
    "pooled = ReduceMean(hidden) axes=[1] keepdims=0",
    "logits_product = MatMul(pooled, label.weight)",
    "logits = Add(logits_product, label.bias)",
];
const SOFTMAX: [&str; 2] =
    ["chances = Softmax(logits) axis=1", "familiarity = ReduceMax(chances) axes=[1] keepdims=0"];
const ENERGY: [&str; 1] = ["familiarity = ReduceLogSumExp(logits) axes=[1] keepdims=0"];
const KNOWN: [&str; 3] = [
    "log_odds_product = MatMul(pooled, known.weight)",
    "log_odds = Add(log_odds_product, known.bias)",
    "familiarity = ReduceMax(log_odds) axes=[1] keepdims=0",
];
const KNOWN_ENERGY: [&str; 5] = [
    "log_odds_product = MatMul(pooled, known.weight)",
    "log_odds = Add(log_odds_product, known.bias)",
    "energy = ReduceLogSumExp(logits) axes=[1] keepdims=1",
    "both = Add(log_odds, energy)",
    "familiarity = ReduceMax(both) axes=[1] keepdims=0",
];
const COSINE: [&str; 6] = [
    "squares = Mul(pooled, pooled)",
    "square = ReduceMean(squares) axes=[1] keepdims=1",
    "size = Sqrt(square)",
    "unit = Div(pooled, size)",
    "cosines = MatMul(unit, centroids)",
    "familiarity = ReduceMax(cosines) axes=[1] keepdims=0",
];

/// The head.
pub(in super::super) struct LabelHead {
    label: Dense,
    familiarity: Familiarity,
}

/// How familiarity is told.
enum Familiarity {
    /// The largest probability.
    Softmax,
    /// `ln Σ exp` of the logits.
    Energy,
    /// The log-odds that the text belongs to any label.
    Known(Dense),
    /// Both together.
    KnownEnergy(Dense),
    /// The largest product of the mean, its mean square made 1, with the labels' centroids.
    Cosine(Dense),
}

impl LabelHead {
    pub(super) fn of(graph: &Graph, width: usize) -> Option<LabelHead> {
        let is = |score: &[&str]| graph.is(&[&NODES, score].concat(), &["logits", "familiarity"]);
        let familiarity = if is(&SOFTMAX) {
            Familiarity::Softmax
        } else if is(&ENERGY) {
            Familiarity::Energy
        } else if is(&KNOWN) {
            Familiarity::Known(graph.dense("known", width)?)
        } else if is(&KNOWN_ENERGY) {
            Familiarity::KnownEnergy(graph.dense("known", width)?)
        } else if is(&COSINE) {
            let shape = graph.shape("centroids")?;
            let fits = shape.len() == 2 && shape[0] == width && shape[1] > 0;
            let centroids = graph.numbers("centroids", &shape).filter(|_| fits)?;
            Familiarity::Cosine(Dense::new(centroids, None, width))
        } else {
            return None;
        };
        Some(LabelHead { label: graph.dense("label", width)?, familiarity })
    }

    pub(super) fn row(&self) -> usize {
        self.label.outputs()
    }

    pub(super) fn run(&self, hidden: Hidden<'_>) -> Output {
        let pooled = mean(hidden);
        let logits = self.label.run(&[&pooled]);
        let familiarity = match &self.familiarity {
            Familiarity::Softmax => largest(&softmax(&logits, 1.0)),
            Familiarity::Energy => energy(&logits),
            Familiarity::Known(known) => largest(&known.run(&[&pooled])),
            Familiarity::KnownEnergy(known) => largest(&known.run(&[&pooled])) + energy(&logits),
            Familiarity::Cosine(centroids) => {
                let square = pooled.iter().map(|x| x * x).sum::<f32>() / pooled.len() as f32;
                let unit: Vec<f32> = pooled.iter().map(|x| x / square.sqrt()).collect();
                largest(&centroids.run(&[&unit]))
            }
        };
        Output { logits, familiarity: Some(familiarity) }
    }
}

/// The mean of all pieces, special ones included.
fn mean(hidden: Hidden<'_>) -> Vec<f32> {
    let mut sums = vec![0.0; hidden.width];
    let rows = hidden.numbers.chunks_exact(hidden.width);
    let pieces = rows.len() as f32;
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= pieces);
    sums
}

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `ln Σ exp`.
fn energy(logits: &[f32]) -> f32 {
    let top = largest(logits);
    top + logits.iter().map(|logit| (logit - top).exp()).sum::<f32>().ln()
}
