//! What the engine knows about each task besides its network.

use crate::limits;
use crate::package::{KindEntry, TaskEntry};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a task decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One label for the text.
    Classification,
    /// Typed spans of the text.
    Extraction,
}

impl Kind {
    /// As manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Classification => "classification",
            Kind::Extraction => "extraction",
        }
    }
}

/// A task of a package.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Its name.
    pub name: String,
    /// What it decides.
    pub kind: Kind,
    /// Its labels, in the order of every probability and index.
    pub labels: Vec<String>,
    /// Calibrated confidences on data that the model was not trained on.
    pub scores: Vec<Score>,
    /// Logits are divided by it before the softmax.
    pub temperature: f32,
    /// Below it a text looks like nothing the model knows; classification only.
    pub familiarity_min: Option<f32>,
    /// Measured quality, as the package's maker reports it.
    pub metrics: BTreeMap<String, serde_json::Value>,
}

/// One calibration score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Calibrated confidence, 0 to 1.
    pub confidence: f32,
    /// Whether the prediction was right.
    pub correct: bool,
    /// The predicted label; 0 for extraction, where a score stands for a whole text.
    pub label: usize,
}

/// The content of a calibration file.
#[derive(Deserialize)]
struct Calibration {
    temperature: f32,
    familiarity_min: Option<f32>,
    scores: Vec<(f32, u8, usize)>,
}

impl TaskSpec {
    /// Puts a task's manifest entry and its calibration file together.
    ///
    /// # Errors
    /// A sentence that names what is wrong in the calibration file.
    pub(super) fn new(
        name: &str,
        entry: &TaskEntry,
        calibration: &[u8],
    ) -> Result<TaskSpec, String> {
        let calibration: Calibration =
            serde_json::from_slice(calibration).map_err(|error| error.to_string())?;
        if !(calibration.temperature.is_finite() && calibration.temperature > 0.0) {
            return Err(format!("temperature {} is not positive", calibration.temperature));
        }
        if calibration.familiarity_min.is_some_and(|least| !least.is_finite()) {
            return Err("familiarity_min is not a number".to_owned());
        }
        if calibration.scores.len() > limits::SCORES_MAX {
            return Err(format!(
                "it has {} scores, the limit is {}",
                calibration.scores.len(),
                limits::SCORES_MAX
            ));
        }
        let scores = calibration
            .scores
            .into_iter()
            .enumerate()
            .map(|(at, row)| score(at, row, entry.labels.len()))
            .collect::<Result<Vec<Score>, String>>()?;
        let kind = match entry.kind {
            KindEntry::Classification => Kind::Classification,
            KindEntry::Extraction { .. } => Kind::Extraction,
        };
        Ok(TaskSpec {
            name: name.to_owned(),
            kind,
            labels: entry.labels.clone(),
            scores,
            temperature: calibration.temperature,
            familiarity_min: match kind {
                Kind::Classification => calibration.familiarity_min,
                Kind::Extraction => None,
            },
            metrics: entry.metrics.clone(),
        })
    }

    /// Tags that the head of an extraction task tells apart: outside, and begin and inside of
    /// every label.
    pub(crate) fn tags(&self) -> usize {
        1 + 2 * self.labels.len()
    }
}

fn score(
    at: usize,
    (confidence, correct, label): (f32, u8, usize),
    labels: usize,
) -> Result<Score, String> {
    if !(0.0..=1.0).contains(&confidence) || correct > 1 || label >= labels {
        return Err(format!("score {at} is [{confidence}, {correct}, {label}]"));
    }
    Ok(Score { confidence, correct: correct == 1, label })
}
