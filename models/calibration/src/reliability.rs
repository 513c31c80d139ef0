//! Whether confidence and truth agree.

use crate::bound::Score;

/// Bins of equal width, as in Guo et al., "On calibration of modern neural networks" (2017).
const BINS: usize = 15;

/// How well confidence and truth agree over some predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    /// How many predictions.
    pub n: usize,
    /// Expected calibration error (Naeini, Cooper and Hauskrecht 2015): the distance between mean
    /// confidence and share of right ones in each bin, weighted by its size.
    pub ece: f64,
    /// Brier score of "this prediction is right" (Brier 1950): the mean squared distance between
    /// confidence and truth.
    pub brier: f64,
    /// The bins that are not empty, by rising confidence.
    pub bins: Vec<Bin>,
}

/// Predictions of about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Their mean confidence.
    pub confidence: f64,
    /// The share that is right.
    pub accuracy: f64,
    /// How many.
    pub n: usize,
}

impl Reliability {
    /// Measures; `None` without predictions. A confidence outside 0 to 1 counts as the nearer
    /// end, and one that is no number as 0.
    pub fn new(scores: &[Score]) -> Option<Reliability> {
        if scores.is_empty() {
            return None;
        }
        let mut sums = [(0.0, 0usize, 0usize); BINS];
        let mut brier = 0.0;
        for score in scores {
            let confidence = sound(score.confidence);
            brier += (confidence - f64::from(u8::from(score.correct))).powi(2);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "from 0 to 15"
            )]
            let bin = &mut sums[((confidence * BINS as f64) as usize).min(BINS - 1)];
            bin.0 += confidence;
            bin.1 += usize::from(score.correct);
            bin.2 += 1;
        }
        let filled = sums.iter().filter(|(_, _, n)| *n > 0);
        let bins: Vec<Bin> = filled
            .map(|&(confidence, right, n)| Bin {
                confidence: confidence / count(n),
                accuracy: count(right) / count(n),
                n,
            })
            .collect();
        let n = scores.len();
        let gap = |bin: &Bin| count(bin.n) * (bin.confidence - bin.accuracy).abs();
        Some(Reliability {
            n,
            ece: bins.iter().map(gap).sum::<f64>() / count(n),
            brier: brier / count(n),
            bins,
        })
    }
}

/// Area under the receiver operating characteristic: the probability that one of `positives` has
/// a higher score than one of `negatives`, ties counting half (Mann and Whitney 1947). `None` if
/// either is empty.
pub fn auroc(positives: &[f32], negatives: &[f32]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut all: Vec<(f32, bool)> = positives.iter().map(|&score| (score, true)).collect();
    all.extend(negatives.iter().map(|&score| (score, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut below) = (0.0, 0.0);
    for ties in all.chunk_by(|a, b| a.0 == b.0) {
        let positive = count(ties.iter().filter(|(_, positive)| *positive).count());
        let negative = count(ties.len()) - positive;
        wins += positive * (below + 0.5 * negative);
        below += negative;
    }
    Some(wins / (count(positives.len()) * count(negatives.len())))
}

fn sound(confidence: f32) -> f64 {
    if confidence.is_nan() { 0.0 } else { f64::from(confidence).clamp(0.0, 1.0) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of predictions")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(of: &[(f32, bool)]) -> Vec<Score> {
        of.iter().map(|&(confidence, correct)| Score { confidence, correct, label: 0 }).collect()
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }

    #[test]
    fn figures_by_hand() {
        let of = Reliability::new(&scores(&[(0.9, true), (0.9, false), (0.3, false)])).unwrap();
        // Two at 0.9 with half of them right, one at 0.3 with none.
        close(of.ece, (2.0 * 0.4 + 0.3) / 3.0);
        close(of.brier, (0.01 + 0.81 + 0.09) / 3.0);
        assert_eq!(of.bins.len(), 2);
        assert_eq!((of.bins[0].n, of.bins[1].n), (1, 2));
        close(of.bins[1].accuracy, 0.5);
    }

    #[test]
    fn the_ends_are_perfect_and_worst() {
        let right = Reliability::new(&scores(&[(1.0, true), (0.0, false)])).unwrap();
        assert_eq!((right.ece, right.brier), (0.0, 0.0));
        let wrong = Reliability::new(&scores(&[(1.0, false), (0.0, true)])).unwrap();
        assert_eq!((wrong.ece, wrong.brier), (1.0, 1.0));
        assert_eq!(Reliability::new(&[]), None);
        let odd = Reliability::new(&scores(&[(f32::NAN, false), (7.0, true)])).unwrap();
        assert_eq!(odd.brier, 0.0);
    }

    #[test]
    fn a_calibrated_source_has_a_small_error() {
        let mut state = 9u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let drawn: Vec<(f32, bool)> = (0..20_000)
            .map(|_| {
                let confidence = uniform();
                (confidence, uniform() < confidence)
            })
            .collect();
        let of = Reliability::new(&scores(&drawn)).unwrap();
        assert!(of.ece < 0.02, "{}", of.ece);
        // The mean of p (1 - p) over p in 0..1.
        assert!((of.brier - 1.0 / 6.0).abs() < 0.01, "{}", of.brier);
    }

    #[test]
    fn separation() {
        assert_eq!(auroc(&[0.9, 0.8], &[0.1, 0.2]), Some(1.0));
        assert_eq!(auroc(&[0.1], &[0.9]), Some(0.0));
        assert_eq!(auroc(&[0.5, 0.5], &[0.5]), Some(0.5));
        assert_eq!(auroc(&[0.9, 0.3], &[0.5, 0.1]), Some(0.75));
        assert_eq!(auroc(&[], &[0.5]), None);
    }
}
