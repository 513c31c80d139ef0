//! Which answers of a model are good enough.
//!
//! A task states the share of wrong answers that it will tolerate. The threshold follows from
//! the package's scores: predictions on texts that the model was not trained on, each with its
//! calibrated confidence. Of all thresholds, the lowest is taken for which the share of wrong
//! answers above it is at most `error_max`, with probability [`BOUND_CONFIDENCE`] over the draw
//! of the scores. Nothing is assumed of the confidence itself: a badly calibrated one answers
//! less, and keeps the promise. What is assumed is that texts to come are like those of the
//! scores.
//!
//! How: a threshold is tested by the exact binomial test, which is to say that the upper bound of
//! Clopper and Pearson (Biometrika 26, 1934) of its share of wrong answers must not exceed
//! `error_max`. Thresholds are tested in an order that is fixed before right and wrong are looked
//! at, from the most confident down, up to the first that fails: fixed-sequence testing (Maurer,
//! Hothorn and Lehmacher 1995; Bauer, Statistics in Medicine 10, 1991) controls the risk over all
//! of them without a correction. Choosing a threshold by such tests is "Learn then Test"
//! (Angelopoulos, Bates, Candès, Jordan and Lei 2021); the promise is of the kind of Bates et al.,
//! "Distribution-free, risk-controlling prediction sets" (Journal of the ACM 68, 2021). The walk
//! cannot start at the first score, where the bound is close to 1, so it starts at four places,
//! found by counting scores alone, and each gets a quarter of the risk (Bonferroni).
//!
//! A label with [`LABEL_SCORES_MIN`] scores has its own threshold; the other labels share one,
//! from their scores only. The promise holds for each of these groups.
//!
//! Confidence is compared in basis points, as it is recorded, so that a record explains itself.

use crate::binomial::{at_most, error_bound};
use std::fmt;

/// What a derived threshold rests on, in one line.
pub const METHOD: &str = "Clopper-Pearson upper bound, fixed-sequence testing from four starts";
/// Where it is described.
pub const SOURCES: [&str; 4] = [
    "Clopper and Pearson, Biometrika 26, 1934",
    "Bauer, Statistics in Medicine 10, 1991",
    "Angelopoulos et al., Learn then Test, 2021",
    "Bates et al., Journal of the ACM 68, 2021",
];
/// Probability with which a derived threshold keeps its promise.
pub const BOUND_CONFIDENCE: f64 = 0.90;
/// Fewest scores for a label to have its own threshold: at `error_max` 0.10 it takes 142 to
/// allow the seven errors of the last start.
pub const LABEL_SCORES_MIN: usize = 200;
/// The walk starts where this many wrong answers would still pass.
const STARTS: [usize; 4] = [0, 1, 3, 7];

/// Which answers of a model are good enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accept {
    /// As many as keep the share of wrong answers at or below this.
    ErrorMax(f32),
    /// Those with at least this calibrated confidence.
    Threshold(f32),
}

/// One prediction on a text that the model was not trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Calibrated confidence.
    pub confidence: f32,
    /// Whether it was right.
    pub correct: bool,
    /// Index of the predicted label; 0 for an extraction.
    pub label: usize,
}

/// The thresholds of a task, and what they promise.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    accept: Accept,
    /// Labels with their own threshold, then the group of all others.
    groups: Vec<Group>,
}

/// Labels that share a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// The one label, or `None` for all that have no group of their own.
    pub label: Option<usize>,
    /// The lowest confidence that is accepted, in basis points; `None` accepts nothing.
    pub threshold: Option<u16>,
    /// How many scores it was derived from.
    pub scores: usize,
    /// How many of them it accepts.
    pub accepted: usize,
    /// How many of those are wrong.
    pub errors: usize,
}

impl Group {
    /// Upper bound of the share of wrong answers among the accepted ones.
    pub fn error_bound(&self) -> f64 {
        error_bound(self.errors, self.accepted, BOUND_CONFIDENCE)
    }
}

impl Calibration {
    /// Derives the thresholds.
    pub fn new(accept: Accept, scores: &[Score]) -> Calibration {
        let groups = match accept {
            Accept::ErrorMax(error_max) => derive_groups(f64::from(error_max), scores),
            Accept::Threshold(threshold) => {
                let threshold = (!threshold.is_nan()).then(|| basis_points(threshold));
                vec![group(None, &sorted(scores.iter()), threshold)]
            }
        };
        Calibration { accept, groups }
    }

    /// What the site asked for.
    pub fn accept(&self) -> Accept {
        self.accept
    }

    /// Labels with their own threshold, then the group of all others.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The lowest confidence at which `label` is accepted, in basis points; `None` if it never is.
    pub fn threshold(&self, label: usize) -> Option<u16> {
        let own = self.groups.iter().find(|group| group.label == Some(label));
        own.or(self.groups.iter().find(|group| group.label.is_none()))?.threshold
    }

    /// Share of the scores that is accepted; `None` without scores.
    pub fn coverage(&self) -> Option<f64> {
        let (scores, accepted, _) = self.totals();
        #[expect(clippy::cast_precision_loss, reason = "counts of scores")]
        (scores > 0).then(|| accepted as f64 / scores as f64)
    }

    /// Upper bound of the share of wrong answers among all that are accepted.
    pub fn error_bound(&self) -> f64 {
        let (_, accepted, errors) = self.totals();
        error_bound(errors, accepted, BOUND_CONFIDENCE)
    }

    /// Whether the model never answers on its own.
    pub fn accepts_nothing(&self) -> bool {
        self.groups.iter().all(|group| group.threshold.is_none())
    }

    fn totals(&self) -> (usize, usize, usize) {
        self.groups.iter().fold((0, 0, 0), |(scores, accepted, errors), group| {
            (scores + group.scores, accepted + group.accepted, errors + group.errors)
        })
    }
}

/// One line for people: "answers 83 % locally, at most 2.0 % of those wrong (…)".
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scores, accepted, _) = self.totals();
        let sure = BOUND_CONFIDENCE * 100.0;
        match (self.accept, self.coverage()) {
            (Accept::ErrorMax(error_max), _) if self.accepts_nothing() => write!(
                f,
                "asks the hub about everything: {scores} scores of the package do not show that \
                 any threshold keeps errors at or below {:.1} %",
                f64::from(error_max) * 100.0
            ),
            (_, Some(coverage)) if accepted > 0 => write!(
                f,
                "answers {:.0} % locally, at most {:.1} % of those wrong ({sure:.0} % sure, \
                 {scores} scores)",
                coverage * 100.0,
                self.error_bound() * 100.0
            ),
            (_, Some(_)) => write!(f, "asks the hub about all of the package's {scores} scores"),
            (Accept::Threshold(_), None) => f.write_str("not measured: the package has no scores"),
            (Accept::ErrorMax(_), None) => f.write_str("asks the hub about everything"),
        }
    }
}

/// A probability in basis points; values outside 0 to 1 are clamped, NaN is 0.
pub fn basis_points(p: f32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=10000 just before"
    )]
    let points = (p.clamp(0.0, 1.0) * 10_000.0).round() as u16;
    points
}

fn derive_groups(error_max: f64, scores: &[Score]) -> Vec<Group> {
    let derive = |(label, ranked): (Option<usize>, Vec<Ranked>)| {
        let threshold = lowest_threshold(error_max, &steps(&ranked));
        group(label, &ranked, threshold)
    };
    grouped(scores).into_iter().map(derive).collect()
}

/// The scores of each label that has enough of them, then those of all others; each sorted.
pub(crate) fn grouped(scores: &[Score]) -> Vec<(Option<usize>, Vec<Ranked>)> {
    let mut labels: Vec<usize> = scores.iter().map(|score| score.label).collect();
    labels.sort_unstable();
    let large: Vec<usize> = labels
        .chunk_by(|a, b| a == b)
        .filter(|scores_of_one| scores_of_one.len() >= LABEL_SCORES_MIN)
        .map(|scores_of_one| scores_of_one[0])
        .collect();
    let own = |label: usize| scores.iter().filter(move |score| score.label == label);
    let rest = scores.iter().filter(|score| !large.contains(&score.label));
    large
        .iter()
        .map(|&label| (Some(label), sorted(own(label))))
        .chain([(None, sorted(rest))])
        .collect()
}

/// A score, its confidence in basis points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked {
    confidence: u16,
    correct: bool,
}

/// Most confident first.
fn sorted<'a>(scores: impl Iterator<Item = &'a Score>) -> Vec<Ranked> {
    let rank = |score: &Score| Ranked {
        confidence: basis_points(score.confidence),
        correct: score.correct,
    };
    let mut ranked: Vec<Ranked> = scores.map(rank).collect();
    ranked.sort_by_key(|score| std::cmp::Reverse(score.confidence));
    ranked
}

fn group(label: Option<usize>, ranked: &[Ranked], threshold: Option<u16>) -> Group {
    let accepted: Vec<&Ranked> = ranked
        .iter()
        .filter(|score| threshold.is_some_and(|threshold| score.confidence >= threshold))
        .collect();
    let errors = accepted.iter().filter(|score| !score.correct).count();
    Group { label, threshold, scores: ranked.len(), accepted: accepted.len(), errors }
}

/// One candidate threshold: what lies at or above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    threshold: u16,
    pub(crate) accepted: usize,
    pub(crate) errors: usize,
}

/// The lowest threshold that passes.
pub(crate) fn lowest_threshold(error_max: f64, steps: &[Step]) -> Option<u16> {
    let most = steps.last()?.accepted;
    let walk = |errors_max: usize| {
        let needed = smallest_sample(errors_max, error_max, most)?;
        let start = steps.iter().position(|step| step.accepted >= needed)?;
        // Counting errors, not only testing the bound: with equal scores the first step may be
        // larger than needed, and a tolerance must never do worse than a smaller one.
        if steps[start].errors > errors_max {
            return None;
        }
        steps[start..]
            .iter()
            .take_while(|step| passes(step.errors, step.accepted, error_max))
            .last()
    };
    STARTS.iter().filter_map(|&errors| walk(errors)).map(|step| step.threshold).min()
}

/// Whether so many wrong answers among so many rule out, at one start's part of the risk, that
/// more than `error_max` are wrong in truth.
pub(crate) fn passes(errors: usize, accepted: usize, error_max: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "four")]
    let risk = (1.0 - BOUND_CONFIDENCE) / STARTS.len() as f64;
    at_most(errors, accepted, error_max) <= risk
}

/// The fewest predictions, at most `most`, that would pass with `errors` wrong.
fn smallest_sample(errors: usize, error_max: f64, most: usize) -> Option<usize> {
    let (mut low, mut high) = (0, most);
    if !passes(errors, high, error_max) {
        return None;
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if passes(errors, middle, error_max) { high = middle } else { low = middle }
    }
    Some(high)
}

/// The distinct confidences, descending, with what each would accept.
pub(crate) fn steps(ranked: &[Ranked]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut errors = 0;
    for (index, score) in ranked.iter().enumerate() {
        errors += usize::from(!score.correct);
        let step = Step { threshold: score.confidence, accepted: index + 1, errors };
        match steps.last_mut().filter(|last| last.threshold == score.confidence) {
            Some(last) => *last = step,
            None => steps.push(step),
        }
    }
    steps
}
