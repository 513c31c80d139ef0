//! Counts and times of the decision path, kept in memory since the start of the process.
//!
//! Invariants: recording takes no lock that a reader holds for long and allocates only for a
//! task seen for the first time; a time is known to within 9 %.

use landfall_wire::id::TaskName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling: each is 9 % wider than the one before.
const STEPS: usize = 8;
/// Doublings covered: 1 µs to 134 s; longer counts as the last.
const DOUBLINGS: usize = 27;
const BUCKETS: usize = STEPS * DOUBLINGS;

/// A distribution of durations.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: 0.into() }
    }
}

/// What status shows of a distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Half took at most this long.
    pub p50_ms: f64,
    /// 99 of 100 took at most this long.
    pub p99_ms: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.buckets[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Count and quantiles.
    pub fn summary(&self) -> Summary {
        let counts = self.counts();
        let count = counts.iter().sum();
        Summary {
            count,
            p50_ms: quantile_ms(&counts, count, 0.50),
            p99_ms: quantile_ms(&counts, count, 0.99),
        }
    }

    /// Sum in seconds and, for each doubling from 64 µs up, how many took at most that long
    /// (seconds, count).
    pub fn cumulative(&self) -> (f64, Vec<(f64, u64)>) {
        const FIRST_DOUBLING: usize = 6;
        let counts = self.counts();
        let below = |doubling: usize| counts[..doubling * STEPS].iter().sum();
        let bounds = (FIRST_DOUBLING..DOUBLINGS)
            .map(|doubling| (upper_us(doubling * STEPS - 1) / 1e6, below(doubling)))
            .collect();
        (self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, bounds)
    }

    fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the logarithm of a positive number, clamped to the table"
)]
fn bucket(us: u64) -> usize {
    // Bucket b holds (2^((b-1)/8), 2^(b/8)] microseconds, so that bounds are inclusive.
    (((us as f64).log2() * STEPS as f64).ceil() as usize).min(BUCKETS - 1)
}

fn upper_us(bucket: usize) -> f64 {
    (bucket as f64 / STEPS as f64).exp2()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank between 1 and the count"
)]
fn quantile_ms(counts: &[u64], count: u64, q: f64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let rank = ((count as f64 * q).ceil() as u64).max(1);
    let mut seen = 0;
    let at = counts.iter().position(|n| {
        seen += n;
        seen >= rank
    });
    upper_us(at.unwrap_or(BUCKETS - 1)) / 1000.0
}

/// The stages of the decision path that are timed.
#[derive(Debug, Default)]
pub struct Stages {
    /// Guard and rules.
    pub rules: Histogram,
    /// Waiting for a model worker.
    pub queue: Histogram,
    /// The model itself.
    pub model: Histogram,
    /// Intake to decision, all of the above.
    pub decide: Histogram,
    /// The durable write.
    pub commit: Histogram,
}

impl Stages {
    /// Every stage with its name, in the order of the path.
    pub fn each(&self) -> [(&'static str, &Histogram); 5] {
        [
            ("rules", &self.rules),
            ("queue", &self.queue),
            ("model", &self.model),
            ("decide", &self.decide),
            ("commit", &self.commit),
        ]
    }
}

/// What became of one task's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Answered by a rule.
    pub rule: u64,
    /// Answered by the model.
    pub model: u64,
    /// Handed to the hub.
    pub escalated: u64,
    /// Refused by the guard or a rule.
    pub refused: u64,
    /// Retries, answered from the record.
    pub repeated: u64,
    /// Of the others, told without a record.
    #[serde(default)]
    pub unrecorded: u64,
}

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Times by stage.
    pub stages: Stages,
    tasks: Mutex<BTreeMap<TaskName, Counts>>,
}

impl Metrics {
    /// Changes the counts of one task.
    pub fn count(&self, task: &TaskName, change: impl FnOnce(&mut Counts)) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match tasks.get_mut(task) {
            Some(counts) => change(counts),
            None => change(tasks.entry(task.clone()).or_default()),
        }
    }

    /// The counts of every task that was asked for.
    pub fn tasks(&self) -> BTreeMap<TaskName, Counts> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.record(Duration::from_millis(ms));
        }
        let Summary { count, p50_ms, p99_ms } = histogram.summary();
        assert_eq!(count, 100);
        assert!((50.0..50.0 * 1.1).contains(&p50_ms), "{p50_ms}");
        assert!((99.0..99.0 * 1.1).contains(&p99_ms), "{p99_ms}");
    }

    #[test]
    fn extremes_stay_in_the_table() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.summary().count, 2);
        assert_eq!(Histogram::default().summary(), Summary::default());
    }

    #[test]
    fn cumulative_counts_never_fall() {
        let histogram = Histogram::default();
        for us in [10, 64, 65, 1000, 5_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let (sum, bounds) = histogram.cumulative();
        assert!((sum - 5.001139).abs() < 1e-6, "{sum}");
        assert!(bounds.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{bounds:?}");
        assert_eq!(bounds.last().map(|b| b.1), Some(5));
    }
}
