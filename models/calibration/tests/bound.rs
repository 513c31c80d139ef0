//! Thresholds: where they lie, and that they never do worse for tolerating more.

use landfall_calibration::{Accept, Calibration, Score, basis_points};
use proptest::prelude::*;

/// `n` scores of one label, from confidence 0.99 down, wrong where `wrong` says so.
fn falling(n: usize, wrong: impl Fn(usize) -> bool) -> Vec<Score> {
    let score = |i: usize| Score {
        confidence: 0.99 - 0.98 * i as f32 / n as f32,
        correct: !wrong(i),
        label: 0,
    };
    (0..n).map(score).collect()
}

#[test]
fn a_perfect_model_answers_everything_once_there_are_enough_scores() {
    let calibration = |n| Calibration::new(Accept::ErrorMax(0.10), &falling(n, |_| false));
    // (1 - 0.1)^35 = 0.025 = 0.1 / 4
    assert!(calibration(35).accepts_nothing());
    assert_eq!(calibration(36).coverage(), Some(1.0));
    assert_eq!(
        calibration(36).to_string(),
        "answers 100 % locally, at most 6.2 % of those wrong (90 % sure, 36 scores)"
    );
}

#[test]
fn the_threshold_lies_where_errors_begin() {
    let scores = falling(1000, |i| i >= 500 && i % 2 == 0);
    let calibration = Calibration::new(Accept::ErrorMax(0.10), &scores);
    let group = &calibration.groups()[0];
    assert!((550..620).contains(&group.accepted), "{group:?}");
    assert!(group.error_bound() <= 0.10, "{group:?}");
    let threshold = calibration.threshold(0).unwrap();
    assert!((3000..5000).contains(&threshold), "{threshold}");
}

#[test]
fn one_early_error_does_not_spoil_it() {
    let scores = falling(200, |i| i == 3);
    let calibration = Calibration::new(Accept::ErrorMax(0.10), &scores);
    assert_eq!(calibration.coverage(), Some(1.0));
}

#[test]
fn what_cannot_be_promised_is_escalated() {
    let bad = falling(400, |i| i % 3 == 0);
    let calibration = Calibration::new(Accept::ErrorMax(0.10), &bad);
    assert!(calibration.accepts_nothing());
    assert_eq!(calibration.threshold(0), None);
    assert_eq!(
        calibration.to_string(),
        "asks the hub about everything: 400 scores of the package do not show that any \
         threshold keeps errors at or below 10.0 %"
    );
    assert!(Calibration::new(Accept::ErrorMax(0.10), &[]).accepts_nothing());
    assert!(
        Calibration::new(Accept::ErrorMax(f32::NAN), &falling(400, |_| false)).accepts_nothing()
    );
}

#[test]
fn labels_with_enough_scores_have_their_own_threshold() {
    // Label 1 is always right, label 0 is wrong half the time.
    let mut scores = falling(250, |_| false);
    scores.iter_mut().for_each(|score| score.label = 1);
    scores.extend(falling(150, |i| i % 2 == 0));
    let calibration = Calibration::new(Accept::ErrorMax(0.10), &scores);
    let labels: Vec<_> = calibration.groups().iter().map(|g| (g.label, g.scores)).collect();
    assert_eq!(labels, [(Some(1), 250), (None, 150)]);
    assert!(calibration.threshold(1).is_some());
    assert_eq!(calibration.threshold(0), None);
    assert_eq!(calibration.threshold(7), None, "unseen labels belong to the others");
}

#[test]
fn a_raw_threshold_is_taken_as_it_is_and_measured() {
    let scores = falling(100, |i| i % 10 == 0);
    let calibration = Calibration::new(Accept::Threshold(0.5), &scores);
    assert_eq!(calibration.threshold(3), Some(basis_points(0.5)));
    assert_eq!(
        calibration.to_string(),
        "answers 51 % locally, at most 19.7 % of those wrong (90 % sure, 100 scores)"
    );
    let unmeasured = Calibration::new(Accept::Threshold(0.5), &[]);
    assert_eq!(unmeasured.to_string(), "not measured: the package has no scores");
    assert!(Calibration::new(Accept::Threshold(f32::NAN), &scores).accepts_nothing());
}

fn arbitrary_scores() -> impl Strategy<Value = Vec<Score>> {
    // Few distinct confidences make ties; the share of errors varies from draw to draw.
    (0.0..0.4f64, 1..400u32).prop_flat_map(|(wrong, distinct)| {
        let score = (0..distinct, prop::bool::weighted(1.0 - wrong), 0..2usize).prop_map(
            move |(step, correct, label)| Score {
                confidence: step as f32 / distinct as f32,
                correct,
                label,
            },
        );
        prop::collection::vec(score, 0..500)
    })
}

proptest! {
    /// Tolerating more errors never accepts less, and what is derived keeps its own bound.
    #[test]
    fn monotone(scores in arbitrary_scores(), a in 0.001..0.5f32, b in 0.001..0.5f32) {
        let strict = Calibration::new(Accept::ErrorMax(a.min(b)), &scores);
        let loose = Calibration::new(Accept::ErrorMax(a.max(b)), &scores);
        for label in 0..3 {
            let strict = strict.threshold(label).unwrap_or(u16::MAX);
            let loose = loose.threshold(label).unwrap_or(u16::MAX);
            prop_assert!(loose <= strict, "label {label}: {loose} > {strict}");
        }
        for group in strict.groups().iter().filter(|group| group.threshold.is_some()) {
            prop_assert!(group.error_bound() <= f64::from(a.min(b)), "{group:?}");
        }
    }

    /// Any scores at all, also impossible ones.
    #[test]
    fn never_panics(confidence in any::<f32>(), accept in any::<f32>(), n in 0..300usize) {
        let scores = vec![Score { confidence, correct: n % 2 == 0, label: n % 3 }; n];
        for accept in [Accept::ErrorMax(accept), Accept::Threshold(accept)] {
            let _ = Calibration::new(accept, &scores).to_string();
        }
    }
}
