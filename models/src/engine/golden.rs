//! Golden vectors: what an independent implementation of the same arithmetic computed.
//!
//! They tell whether this processor, this build and this package agree, before a package is
//! trusted with decisions.

use super::decode::argmax;
use super::forward::Raw;
use super::{Engine, EngineError, Loaded};
use serde::Deserialize;

/// Largest difference of a logit that counts as the same. Logits reach about ±10. Sums in another
/// order differ in their last bit; where that turns the rounding of one activation to int8, logits
/// move by up to 0.15. A wrong product or scale moves them by whole units, and the winner with them.
/// Where logits are larger, so is what one rounding does: see `tolerance`.
pub const TOLERANCE: f32 = 0.25;

/// Largest difference for these logits: [`TOLERANCE`], or a fortieth of the largest.
pub(crate) fn tolerance(logits: &[f32]) -> f32 {
    TOLERANCE.max(logits.iter().copied().fold(0.0, f32::max) / 40.0)
}

/// What came of running the golden vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenReport {
    /// One for each task.
    pub tasks: Vec<GoldenTask>,
}

/// What came of one task's golden vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenTask {
    /// Its name.
    pub task: String,
    /// How many texts were run.
    pub texts: usize,
    /// The largest difference of a logit or a familiarity.
    pub difference_max: f32,
    /// A sentence for each text that differs.
    pub failures: Vec<String>,
}

impl GoldenReport {
    /// Whether everything agrees.
    pub fn passed(&self) -> bool {
        self.tasks.iter().all(|task| task.failures.is_empty())
    }
}

/// One line of a golden file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Golden {
    text: String,
    logits: Vec<f32>,
    familiarity: Option<f32>,
}

/// Parses a golden file.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Golden>, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))
        })
        .collect()
}

pub(super) fn run(engine: &Engine) -> Result<GoldenReport, EngineError> {
    let mut tasks: Vec<GoldenTask> = Vec::new();
    for (at, loaded) in engine.inner.tasks.iter().enumerate() {
        let spec = &loaded.spec;
        // Another name for a task that was run says the same.
        let same = |other: &Loaded| {
            (other.head, other.spec.scheme, spec.row())
                == (loaded.head, spec.scheme, other.spec.row())
                && other.golden == loaded.golden
        };
        if let Some(first) = engine.inner.tasks[..at].iter().position(same) {
            tasks.push(GoldenTask { task: spec.name.clone(), ..tasks[first].clone() });
            continue;
        }
        let mut report = GoldenTask {
            task: spec.name.clone(),
            texts: loaded.golden.len(),
            difference_max: 0.0,
            failures: Vec::new(),
        };
        for (at, golden) in loaded.golden.iter().enumerate() {
            let raw = engine.inner.forward(&golden.text, &[loaded])?.raws.remove(0);
            match compare(golden, &raw, spec.row()) {
                Ok(difference) => report.difference_max = report.difference_max.max(difference),
                Err(what) => report.failures.push(format!("text {}: {what}", at + 1)),
            }
        }
        tasks.push(report);
    }
    Ok(GoldenReport { tasks })
}

/// The largest difference, or what is too different.
fn compare(golden: &Golden, raw: &Raw, row: usize) -> Result<f32, String> {
    let (logits, familiarity) = match raw {
        Raw::Labels { windows } => {
            let familiarity = windows.iter().map(|window| window.familiarity).reduce(f32::max);
            (windows.iter().flat_map(|window| window.logits.clone()).collect(), familiarity)
        }
        Raw::Words { logits, .. } => (logits.clone(), None),
        Raw::Pairs { pairs, logits } => (in_order(pairs, logits, row), None),
    };
    if logits.len() != golden.logits.len() {
        return Err(format!("{} logits, {} expected", logits.len(), golden.logits.len()));
    }
    let mut difference = largest_difference(&logits, &golden.logits);
    if let (Some(got), Some(expected)) = (familiarity, golden.familiarity) {
        difference = difference.max((got - expected).abs());
    }
    let most = tolerance(&golden.logits);
    if difference.is_nan() || difference > most {
        return Err(format!("it differs by {difference}, at most {most} is allowed"));
    }
    let rows = logits.chunks_exact(row).zip(golden.logits.chunks_exact(row));
    for (got, expected) in rows {
        if argmax(got) != argmax(expected) {
            return Err(format!("index {} wins, {} expected", argmax(got), argmax(expected)));
        }
    }
    Ok(difference)
}

/// Rows of pairs, by first and then by last word: windows give them in another order.
fn in_order(pairs: &[(usize, usize)], logits: &[f32], row: usize) -> Vec<f32> {
    let mut rows: Vec<(&(usize, usize), &[f32])> =
        pairs.iter().zip(logits.chunks_exact(row)).collect();
    rows.sort_by_key(|(pair, _)| **pair);
    rows.into_iter().flat_map(|(_, row)| row.iter().copied()).collect()
}

/// NaN if anything is NaN.
fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    left.iter()
        .zip(right)
        .map(|(left, right)| (left - right).abs())
        .fold(0.0, |largest, next| if next > largest || next.is_nan() { next } else { largest })
}
