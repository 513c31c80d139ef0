//! How good the fleet's answers are, from counts: shares with their intervals, and drift.

use serde::{Deserialize, Serialize};

/// 95 % of a normal distribution lie within this many standard deviations.
const Z95: f64 = 1.959_963_984_540_054;

/// A share with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// How many were.
    pub of: u64,
    /// Of how many.
    pub total: u64,
    /// Their share; 0 of none.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The share and its 95 % interval, after Wilson (1927): right also for few cases and shares
/// near 0, as an error rate should be.
pub fn share(of: u64, total: u64) -> Share {
    if total == 0 {
        return Share { of, total, value: 0.0, low: 0.0, high: 1.0 };
    }
    let (n, p) = (as_f64(total), as_f64(of.min(total)) / as_f64(total));
    let z2 = Z95 * Z95;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Share { of, total, value: p, low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

/// Bins of the confidence: tenths.
pub const CONFIDENCE_BINS: usize = 10;

/// The bin of a confidence in basis points.
pub fn confidence_bin(basis_points: u16) -> usize {
    (usize::from(basis_points) * CONFIDENCE_BINS / 10_000).min(CONFIDENCE_BINS - 1)
}

/// Fewest cases on both sides for which an index is told: of fewer, chance is most of it.
pub const DRIFT_CASES_MIN: u64 = 200;

/// From here on it is worth a look (the usual reading of the index).
pub const DRIFT_NOTABLE: f64 = 0.1;

/// From here on something has changed.
pub const DRIFT_LARGE: f64 = 0.25;

/// Population stability index of counts against a reference, bin by bin; `None` while there are
/// fewer than [`DRIFT_CASES_MIN`] on either side. An empty bin counts as half a case.
pub fn drift(reference: &[u64], now: &[u64]) -> Option<f64> {
    assert_eq!(reference.len(), now.len(), "the same bins");
    let (all_reference, all_now) = (reference.iter().sum::<u64>(), now.iter().sum::<u64>());
    if all_reference < DRIFT_CASES_MIN || all_now < DRIFT_CASES_MIN {
        return None;
    }
    let part = |count: u64, all: u64| if count == 0 { 0.5 } else { as_f64(count) } / as_f64(all);
    let terms = reference.iter().zip(now).filter(|(a, b)| **a + **b > 0).map(|(&a, &b)| {
        let (expected, actual) = (part(a, all_reference), part(b, all_now));
        (actual - expected) * (actual / expected).ln()
    });
    Some(terms.sum())
}

#[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-4
    }

    #[test]
    fn intervals_are_those_of_the_books() {
        // Values of `statsmodels.stats.proportion.proportion_confint(method="wilson")`.
        for (of, total, low, high) in [
            (0, 10, 0.0, 0.2775),
            (1, 10, 0.0179, 0.4042),
            (8, 10, 0.4902, 0.9433),
            (20, 1000, 0.0130, 0.0307),
        ] {
            let share = share(of, total);
            assert!(close(share.low, low) && close(share.high, high), "{share:?}");
        }
        let none = share(0, 0);
        assert!(none.low == 0.0 && none.high == 1.0, "nothing is known");
    }

    #[test]
    fn the_index_is_nought_for_the_same_and_grows_with_the_difference() {
        let reference = [100, 200, 300];
        assert!(close(drift(&reference, &[1_000, 2_000, 3_000]).unwrap(), 0.0));
        // (0.5-1/6)ln(3) + 0 + (1/6-0.5)ln(1/3) with 1/3 in the middle.
        let swapped = drift(&reference, &[300, 200, 100]).unwrap();
        assert!(close(swapped, 2.0 / 3.0 * 3.0_f64.ln()), "{swapped}");
        assert!(drift(&reference, &[0, 0, 600]).unwrap().is_finite(), "an empty bin");
        assert_eq!(drift(&reference, &[10, 20, 30]), None, "too few");
    }

    #[test]
    fn bins_cover_every_confidence() {
        assert_eq!([0, 999, 1_000, 9_999, 10_000].map(confidence_bin), [0, 0, 1, 9, 9]);
    }
}
