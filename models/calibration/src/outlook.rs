//! What is within reach where a tolerance cannot be promised yet.

use crate::bound::{Score, Step, grouped, lowest_threshold, passes, steps};

/// Bisections over `error_max`: to a tenth of a basis point.
const BISECTIONS: u32 = 20;
/// Most scores that are suggested: to collect more is no plan.
const SCORES_MAX: f64 = 1e6;

/// What the scores of a task could promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// The smallest `error_max` for which they promise any answer; `None` if there is none.
    pub error_max_reachable: Option<f64>,
    /// About how many more scores like these it would take to promise any answer at the
    /// tolerance that was asked for: 0 if it is promised, `None` if more do not help.
    pub scores_more: Option<usize>,
}

impl Outlook {
    /// The outlook on `error_max`, over the groups of [`crate::Calibration`].
    pub fn new(error_max: f64, scores: &[Score]) -> Outlook {
        let groups: Vec<Vec<Step>> =
            grouped(scores).iter().map(|(_, ranked)| steps(ranked)).collect();
        let promised =
            |error_max: f64| groups.iter().any(|of| lowest_threshold(error_max, of).is_some());
        Outlook {
            error_max_reachable: reachable(promised),
            scores_more: if promised(error_max) {
                Some(0)
            } else {
                more(error_max, groups.iter().flatten(), scores.len())
            },
        }
    }
}

/// How many more scores would do if the share of wrong answers above each threshold stayed as it
/// was observed: the threshold that needs fewest counts.
fn more<'a>(error_max: f64, steps: impl Iterator<Item = &'a Step>, scores: usize) -> Option<usize> {
    let needed = |step: &Step| {
        let (errors, accepted) = (count(step.errors), count(step.accepted));
        let enough = |times: f64| {
            let scaled = |n: f64| rounded(n * times);
            passes(scaled(errors), scaled(accepted), error_max)
        };
        let times_max = SCORES_MAX / count(scores);
        if errors >= error_max * accepted || !enough(times_max) {
            return None;
        }
        let (mut low, mut high) = (0.0, times_max);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    };
    let times = steps.filter_map(needed).min_by(f64::total_cmp)?;
    // Where a threshold would pass by itself and the walk did not get there, a tenth more.
    Some(rounded((times - 1.0).max(0.1) * count(scores)).max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts of scores")]
fn count(n: usize) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and at most a million"
)]
fn rounded(n: f64) -> usize {
    n.ceil() as usize
}

/// The smallest tolerance that is promised: a larger one never promises less.
fn reachable(promised: impl Fn(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (0.0, 1.0);
    // At 1 any answer would do, and none is worth a promise.
    if !promised(0.999) {
        return None;
    }
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if promised(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accept, Calibration};

    fn falling(n: usize, wrong: impl Fn(usize) -> bool) -> Vec<Score> {
        let score = |i: usize| Score {
            confidence: 0.99 - 0.98 * i as f32 / n as f32,
            correct: !wrong(i),
            label: 0,
        };
        (0..n).map(score).collect()
    }

    #[test]
    fn what_is_reachable_is_promised_and_less_is_not() {
        for scores in [falling(150, |i| i % 9 == 8), falling(20, |_| false)] {
            let reach = Outlook::new(0.02, &scores).error_max_reachable.unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "a share, to six digits")]
            let promises = |error_max: f64| {
                !Calibration::new(Accept::ErrorMax(error_max as f32), &scores).accepts_nothing()
            };
            assert!(promises(reach * 1.001), "{reach}");
            assert!(!promises(reach * 0.999), "{reach}");
        }
    }

    #[test]
    fn more_scores_help_where_the_model_is_good_enough() {
        // Nothing wrong: ln(0.025) / ln(0.98) is 182.6 scores.
        let outlook = Outlook::new(0.02, &falling(50, |_| false));
        assert_eq!(outlook.scores_more, Some(133));
        assert_eq!(Outlook::new(0.02, &falling(183, |_| false)).scores_more, Some(0));
        // One in a hundred wrong, from the first on: it takes many more, not none.
        let one = falling(100, |i| i == 0);
        let more = Outlook::new(0.05, &one).scores_more.unwrap();
        assert!((20..200).contains(&more), "{more}");
        // A fifth of the surest wrong: no number of such scores shows 2 %.
        assert_eq!(Outlook::new(0.02, &falling(50, |i| i % 5 == 0)).scores_more, None);
    }

    #[test]
    fn no_scores_promise_nothing() {
        let outlook = Outlook::new(0.1, &[]);
        assert_eq!(outlook, Outlook { error_max_reachable: None, scores_more: None });
        assert_eq!(Outlook::new(f64::NAN, &falling(9, |_| false)).scores_more, None);
    }
}
