//! What the engine knows about each task besides its network.

use super::EngineError;
use crate::limits;
use crate::package::{KindEntry, Package, Scheme, TaskEntry};
pub use landfall_calibration::Score;
use serde::{Deserialize, Serialize};
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
    /// How its head writes spans; extraction only.
    pub scheme: Option<Scheme>,
    /// Its labels, in the order of every probability and index.
    pub labels: Vec<String>,
    /// Calibrated confidences on data that the model was not trained on; of extraction, one for
    /// each text, with label 0.
    pub scores: Vec<Score>,
    /// Logits are divided by it before the softmax.
    pub temperature: f32,
    /// Below it a text looks like nothing the model knows; classification only.
    pub familiarity_min: Option<f32>,
    /// How well confidence and truth agreed when it was calibrated, if its maker says.
    pub reliability: Option<Reliability>,
    /// Coverage and error as they were observed on the scores, coverage rising; may be empty.
    pub curve: Vec<(f32, f32)>,
    /// Measured quality, as the package's maker reports it.
    pub metrics: BTreeMap<String, serde_json::Value>,
}

/// How well confidence and truth agreed, as the package's maker measured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// How many predictions.
    pub n: usize,
    /// Expected calibration error.
    pub ece: f32,
    /// Brier score.
    pub brier: f32,
    /// Mean confidence, share of right ones and number of predictions of each bin.
    #[serde(default)]
    pub bins: Vec<(f32, f32, usize)>,
}

impl From<&landfall_calibration::Reliability> for Reliability {
    #[expect(clippy::cast_possible_truncation, reason = "shares, for people")]
    fn from(of: &landfall_calibration::Reliability) -> Reliability {
        let bin =
            |bin: &landfall_calibration::Bin| (bin.confidence as f32, bin.accuracy as f32, bin.n);
        Reliability {
            n: of.n,
            ece: of.ece as f32,
            brier: of.brier as f32,
            bins: of.bins.iter().map(bin).collect(),
        }
    }
}

/// The content of a calibration file.
#[derive(Deserialize)]
struct Calibration {
    temperature: f32,
    familiarity_min: Option<f32>,
    scores: Vec<(f32, u8, usize)>,
    reliability: Option<Reliability>,
    #[serde(default)]
    curve: Vec<(f32, f32)>,
}

impl TaskSpec {
    /// The tasks of a package, without loading its model.
    ///
    /// # Errors
    /// When a calibration file is not what it should be.
    pub fn of(package: &Package) -> Result<Vec<TaskSpec>, EngineError> {
        let spec = |(name, entry): (&String, &TaskEntry)| {
            TaskSpec::new(name, entry, package.file(&entry.calibration)).map_err(|what| {
                EngineError::Content {
                    dir: package.dir().to_owned(),
                    file: entry.calibration.clone(),
                    what,
                }
            })
        };
        package.manifest().tasks.iter().map(spec).collect()
    }

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
        check_reliability(calibration.reliability.as_ref())?;
        check_curve(&calibration.curve)?;
        let scores = calibration
            .scores
            .into_iter()
            .enumerate()
            .map(|(at, row)| score(at, row, entry.labels.len()))
            .collect::<Result<Vec<Score>, String>>()?;
        let (kind, scheme) = match entry.kind {
            KindEntry::Classification => (Kind::Classification, None),
            KindEntry::Extraction(scheme) => (Kind::Extraction, Some(scheme)),
        };
        Ok(TaskSpec {
            name: name.to_owned(),
            kind,
            scheme,
            labels: entry.labels.clone(),
            scores,
            temperature: calibration.temperature,
            familiarity_min: match kind {
                Kind::Classification => calibration.familiarity_min,
                Kind::Extraction => None,
            },
            reliability: calibration.reliability,
            curve: calibration.curve,
            metrics: entry.metrics.clone(),
        })
    }

    /// Most words of one span, of a task whose spans nest.
    pub fn span_words_max(&self) -> Option<usize> {
        match self.scheme? {
            Scheme::Bio => None,
            Scheme::Spans { span_words_max } => Some(span_words_max),
        }
    }

    /// Logits in one row of the head's output: of the labels; of the tags, which are outside, and
    /// begin and inside of every label; or of none and the labels.
    pub(super) fn row(&self) -> usize {
        match self.scheme {
            None => self.labels.len(),
            Some(Scheme::Bio) => 1 + 2 * self.labels.len(),
            Some(Scheme::Spans { .. }) => 1 + self.labels.len(),
        }
    }
}

fn is_share(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

fn check_reliability(reliability: Option<&Reliability>) -> Result<(), String> {
    let Some(of) = reliability else { return Ok(()) };
    if !is_share(of.ece) || !is_share(of.brier) {
        return Err(format!("reliability has ece {} and brier {}, not shares", of.ece, of.brier));
    }
    check_rows("bins", of.bins.len())?;
    match of.bins.iter().position(|bin| !is_share(bin.0) || !is_share(bin.1)) {
        Some(at) => Err(format!("bin {at} of reliability is {:?}", of.bins[at])),
        None => Ok(()),
    }
}

fn check_curve(curve: &[(f32, f32)]) -> Result<(), String> {
    check_rows("curve points", curve.len())?;
    if let Some(at) = curve.iter().position(|point| !is_share(point.0) || !is_share(point.1)) {
        return Err(format!("point {at} of the curve is {:?}", curve[at]));
    }
    match curve.is_sorted_by(|a, b| a.0 <= b.0) {
        true => Ok(()),
        false => Err("the coverage of the curve does not rise".to_owned()),
    }
}

fn check_rows(what: &str, rows: usize) -> Result<(), String> {
    let most = limits::RELIABILITY_ROWS_MAX;
    if rows > most { Err(format!("it has {rows} {what}, the limit is {most}")) } else { Ok(()) }
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

#[cfg(test)]
impl TaskSpec {
    /// A task with labels A and B, and nothing else.
    pub(crate) fn plain(kind: Kind) -> TaskSpec {
        TaskSpec {
            name: "t".to_owned(),
            kind,
            scheme: (kind == Kind::Extraction).then_some(Scheme::Bio),
            labels: ["A", "B"].map(str::to_owned).to_vec(),
            scores: vec![],
            temperature: 1.0,
            familiarity_min: None,
            reliability: None,
            curve: vec![],
            metrics: BTreeMap::new(),
        }
    }
}
