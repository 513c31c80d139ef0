//! The promise itself, on draws from sources whose true error is known.
//!
//! Each source says how often an answer of confidence `c` is wrong, and how confidences are
//! spread, so that the true error above any threshold is a known number: nothing is estimated on
//! a second sample. Per source, 200 sets of scores are drawn, a threshold is derived from each,
//! and the draws are counted whose true error above their threshold exceeds `error_max`. One draw
//! may break the promise with probability 0.10 at most; so the count is below a binomial's with
//! 200 trials at 0.10, which stays at or under 34 with probability 0.999. A test of the promise
//! can then only fail by chance once in a thousand times for the worst source that there is, and
//! the seeds are fixed.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "random shares become steps and confidences"
)]

use landfall_calibration::{Accept, BOUND_CONFIDENCE, Calibration, Score, at_most};

const DRAWS: usize = 200;
/// The most draws of 200 that may break the promise.
const BROKEN_MAX: usize = 34;
/// Confidences come in these steps, so that the true error is a finite sum.
const STEPS: u32 = 1000;

struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn step(&mut self) -> u32 {
        (self.uniform() * f64::from(STEPS)) as u32 + 1
    }
}

/// How often an answer is wrong, by its confidence.
type Wrong = fn(f64) -> f64;

fn confidence(step: u32) -> f64 {
    f64::from(step) / f64::from(STEPS)
}

/// The true share of wrong answers at or above a threshold in basis points.
fn true_error(wrong: Wrong, threshold: u16) -> f64 {
    let accepted = (1..=STEPS).filter(|step| step * 10 >= u32::from(threshold));
    let rates: Vec<f64> = accepted.map(|step| wrong(confidence(step))).collect();
    rates.iter().sum::<f64>() / rates.len() as f64
}

fn broken(wrong: Wrong, scores: usize, error_max: f32, seed: u64) -> usize {
    let mut random = Random(seed);
    let breaks = |random: &mut Random| {
        let drawn: Vec<Score> = (0..scores)
            .map(|_| {
                let step = random.step();
                let correct = random.uniform() >= wrong(confidence(step));
                Score { confidence: confidence(step) as f32, correct, label: 0 }
            })
            .collect();
        let calibration = Calibration::new(Accept::ErrorMax(error_max), &drawn);
        let threshold = calibration.groups()[0].threshold;
        threshold.is_some_and(|t| true_error(wrong, t) > f64::from(error_max))
    };
    (0..DRAWS).filter(|_| breaks(&mut random)).count()
}

#[test]
fn the_limit_on_broken_draws_is_what_it_says() {
    assert!(at_most(BROKEN_MAX, DRAWS, 1.0 - BOUND_CONFIDENCE) > 0.999);
    assert!(at_most(BROKEN_MAX - 1, DRAWS, 1.0 - BOUND_CONFIDENCE) < 0.999);
}

#[test]
fn the_promise_is_kept_whatever_confidence_means() {
    let sources: [(&str, Wrong); 8] = [
        ("calibrated", |c| 1.0 - c),
        ("modest", |c| 0.4 * (1.0 - c)),
        ("boastful", |c| (1.5 * (1.0 - c) + 0.05).min(1.0)),
        ("confidence without meaning, just too often wrong", |_| 0.105),
        ("confidence without meaning, often wrong", |_| 0.3),
        ("upside down", |c| 0.02 + 0.3 * c),
        ("surest ones wrong", |c| if c > 0.95 { 0.5 } else { 0.01 }),
        ("a cliff", |c| if c > 0.6 { 0.04 } else { 0.6 }),
    ];
    for (at, (name, wrong)) in sources.into_iter().enumerate() {
        for scores in [100, 700] {
            for error_max in [0.05, 0.20] {
                let seed = 0x9e37_79b9_7f4a_7c15 ^ (at * 7919 + scores) as u64;
                let broken = broken(wrong, scores, error_max, seed);
                assert!(
                    broken <= BROKEN_MAX,
                    "{name}, {scores} scores, error_max {error_max}: {broken} of {DRAWS}"
                );
            }
        }
    }
}

/// The bound is not bought by answering nothing.
#[test]
fn a_good_model_with_enough_scores_answers() {
    let mut random = Random(77);
    let scores: Vec<Score> = (0..2000)
        .map(|_| {
            let c = confidence(random.step());
            Score { confidence: c as f32, correct: random.uniform() >= 1.0 - c, label: 0 }
        })
        .collect();
    // Of a calibrated source, the errors above t are (1 - t) / 2: 10 % are reached at 0.8, where
    // 20 % of the texts are answered, and 20 % at 0.6. To be sure costs some of that.
    for (error_max, ideal) in [(0.10, 0.20), (0.20, 0.40)] {
        let coverage = Calibration::new(Accept::ErrorMax(error_max), &scores).coverage().unwrap();
        assert!((0.4 * ideal..=ideal).contains(&coverage), "{coverage} at {error_max}");
    }
}
