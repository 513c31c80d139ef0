//! The binomial distribution through the regularised incomplete beta function, so that its cost
//! does not grow with the counts.

/// Halvings of the interval for the bound: past the precision of `f64`.
const BISECTIONS: u32 = 60;
/// Most terms of the continued fraction; it converges in about sqrt(max(a, b)) terms.
const FRACTION_TERMS_MAX: u32 = 10_000;

/// Clopper-Pearson upper bound of a probability after `errors` in `trials`, which holds with
/// probability `confidence`; 1 without trials.
pub fn error_bound(errors: usize, trials: usize, confidence: f64) -> f64 {
    if errors >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if at_most(errors, trials, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Wilson's 95 % interval of a share (Journal of the American Statistical Association 22, 1927);
/// 0 to 1 without trials.
pub fn wilson(hits: usize, trials: usize) -> (f64, f64) {
    // The 97.5 % point of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return (0.0, 1.0);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let (k, n) = (hits.min(trials) as f64, trials as f64);
    let p = k / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// Probability of at most `errors` in `trials` at probability `p` each. DLMF 8.17.5:
/// P(X <= k) = I_{1-p}(n - k, k + 1).
pub fn at_most(errors: usize, trials: usize, p: f64) -> f64 {
    if errors >= trials || p <= 0.0 || p.is_nan() {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of scores")]
    let (k, n) = (errors as f64, trials as f64);
    incomplete_beta(n - k, k + 1.0, 1.0 - p)
}

/// I_x(a, b), DLMF 8.17.22 with the symmetry 8.17.4.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// The continued fraction of I_x(a, b) by the modified Lentz method (Press et al., Numerical
/// Recipes, 3rd edition, section 6.4).
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..=FRACTION_TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// ln of the gamma function for x > 0 by Lanczos' approximation, g = 7 and n = 9, with a relative
/// error of about 1e-15 (coefficients by Godfrey, 2001).
fn ln_gamma(x: f64) -> f64 {
    const LEADING: f64 = 0.999_999_999_999_809_9;
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = LEADING;
    let mut at = x;
    for coefficient in COEFFICIENTS {
        at += 1.0;
        sum += coefficient / at;
    }
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum itself, term by term.
    fn direct(errors: usize, trials: usize, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(i32::try_from(trials).unwrap());
        let mut sum = term;
        for k in 1..=errors {
            term *= (trials - k + 1) as f64 / k as f64 * p / (1.0 - p);
            sum += term;
        }
        sum
    }

    #[test]
    fn agrees_with_the_sum() {
        for trials in [1, 2, 7, 50, 400] {
            for errors in (0..trials).step_by(1 + trials / 9) {
                for p in [0.001, 0.02, 0.1, 0.5, 0.8] {
                    let (got, want) = (at_most(errors, trials, p), direct(errors, trials, p));
                    assert!((got - want).abs() < 1e-10, "{errors}/{trials} at {p}: {got} {want}");
                }
            }
        }
    }

    /// Bounds with a closed form, and from tables (Clopper-Pearson, one-sided).
    #[test]
    fn known_bounds() {
        for n in [1, 22, 59, 1000] {
            let rule_of_three = 1.0 - 0.1f64.powf(1.0 / n as f64);
            assert!((error_bound(0, n, 0.90) - rule_of_three).abs() < 1e-12, "{n}");
        }
        assert!((error_bound(1, 10, 0.95) - 0.394_163).abs() < 1e-6);
        assert!((error_bound(5, 100, 0.975) - 0.112_835).abs() < 1e-5);
        assert_eq!(error_bound(3, 3, 0.90), 1.0);
        assert_eq!(error_bound(0, 0, 0.90), 1.0);
    }

    /// By formula (4) of Brown, Cai and DasGupta, Statistical Science 16, 2001, computed apart.
    #[test]
    fn wilson_intervals() {
        let close = |got: (f64, f64), want: (f64, f64)| {
            assert!((got.0 - want.0).abs() < 1e-4 && (got.1 - want.1).abs() < 1e-4, "{got:?}");
        };
        close(wilson(0, 10), (0.0, 0.2775));
        close(wilson(5, 10), (0.2366, 0.7634));
        close(wilson(46, 62), (0.6212, 0.8345));
        close(wilson(10, 10), (0.7225, 1.0));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn large_counts_are_quick_and_sane() {
        let bound = error_bound(20_000, 1_000_000, 0.90);
        assert!(bound > 0.02 && bound < 0.0203, "{bound}");
    }
}
