//! Which answers of a model are good enough.
//!
//! A task states the share of wrong answers that it will tolerate. The threshold follows from
//! the package's scores: predictions on texts that the model was not trained on, each with its
//! calibrated confidence. Of all thresholds, the lowest is taken for which the share of wrong
//! answers above it is at most `error_max`, with probability [`BOUND_CONFIDENCE`] over the draw
//! of the scores.
//!
//! How: the Clopper-Pearson upper bound (Clopper and Pearson, Biometrika 26, 1934) at one
//! threshold; fixed-sequence testing over thresholds (Angelopoulos et al., "Learn then Test",
//! 2021, section 3): walk from the most confident score down and stop at the first threshold
//! that fails, which costs no confidence. The walk cannot start at the first score, where the
//! bound is close to 1, so it starts at four places, fixed by `error_max` alone, and each
//! gets an equal part of the error probability.
//!
//! A label with [`LABEL_SCORES_MIN`] scores has its own threshold; the other labels share one,
//! from their scores only. The promise holds for each of these groups.
//!
//! Confidence is compared in basis points, as it is recorded, so that a record explains itself.

mod binomial;

pub use binomial::error_bound;
use landfall_wire::id::Confidence;
use std::fmt;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The one label, or `None` for all that have no group of their own.
    pub label: Option<usize>,
    /// The lowest confidence that is accepted; `None` accepts nothing.
    pub threshold: Option<Confidence>,
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
                let threshold =
                    (!threshold.is_nan()).then(|| Confidence::from_probability(threshold));
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

    /// The lowest confidence at which `label` is accepted; `None` if it never is.
    pub fn threshold(&self, label: usize) -> Option<Confidence> {
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

fn derive_groups(error_max: f64, scores: &[Score]) -> Vec<Group> {
    let own = |label: usize| scores.iter().filter(move |score| score.label == label);
    let mut labels: Vec<usize> = scores.iter().map(|score| score.label).collect();
    labels.sort_unstable();
    let large: Vec<usize> = labels
        .chunk_by(|a, b| a == b)
        .filter(|scores_of_one| scores_of_one.len() >= LABEL_SCORES_MIN)
        .map(|scores_of_one| scores_of_one[0])
        .collect();
    let rest = scores.iter().filter(|score| !large.contains(&score.label));
    let derive = |label, scores: Vec<Ranked>| {
        let threshold = lowest_threshold(error_max, &scores);
        group(label, &scores, threshold)
    };
    let mut groups: Vec<Group> =
        large.iter().map(|&label| derive(Some(label), sorted(own(label)))).collect();
    groups.push(derive(None, sorted(rest)));
    groups
}

#[derive(Debug, Clone, Copy)]
struct Ranked {
    confidence: Confidence,
    correct: bool,
}

/// Most confident first.
fn sorted<'a>(scores: impl Iterator<Item = &'a Score>) -> Vec<Ranked> {
    let rank = |score: &Score| Ranked {
        confidence: Confidence::from_probability(score.confidence),
        correct: score.correct,
    };
    let mut ranked: Vec<Ranked> = scores.map(rank).collect();
    ranked.sort_by_key(|score| std::cmp::Reverse(score.confidence));
    ranked
}

fn group(label: Option<usize>, ranked: &[Ranked], threshold: Option<Confidence>) -> Group {
    let accepted: Vec<&Ranked> = ranked
        .iter()
        .filter(|score| threshold.is_some_and(|threshold| score.confidence >= threshold))
        .collect();
    let errors = accepted.iter().filter(|score| !score.correct).count();
    Group { label, threshold, scores: ranked.len(), accepted: accepted.len(), errors }
}

/// One candidate threshold: what lies at or above it.
struct Step {
    threshold: Confidence,
    accepted: usize,
    errors: usize,
}

fn lowest_threshold(error_max: f64, ranked: &[Ranked]) -> Option<Confidence> {
    let steps = steps(ranked);
    #[expect(clippy::cast_precision_loss, reason = "four")]
    let doubt = (1.0 - BOUND_CONFIDENCE) / STARTS.len() as f64;
    let passes = |step: &Step| binomial::cumulative(step.errors, step.accepted, error_max) <= doubt;
    let walk = |errors_max: usize| {
        let needed = smallest_sample(errors_max, error_max, doubt, ranked.len())?;
        let start = steps.iter().position(|step| step.accepted >= needed)?;
        // Counting errors, not only testing the bound: with equal scores the first step may be
        // larger than needed, and a tolerance must never do worse than a smaller one.
        if steps[start].errors > errors_max {
            return None;
        }
        steps[start..].iter().take_while(|step| passes(step)).last()
    };
    STARTS.iter().filter_map(|&errors| walk(errors)).map(|step| step.threshold).min()
}

/// The fewest predictions, at most `most`, that would pass with `errors` wrong.
fn smallest_sample(errors: usize, error_max: f64, doubt: f64, most: usize) -> Option<usize> {
    let sizes: Vec<usize> = (1..=most).collect();
    let at = sizes.partition_point(|&n| binomial::cumulative(errors, n, error_max) > doubt);
    sizes.get(at).copied()
}

/// The distinct confidences, descending, with what each would accept.
fn steps(ranked: &[Ranked]) -> Vec<Step> {
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

#[cfg(test)]
mod tests;
