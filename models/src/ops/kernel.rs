//! The arithmetic around the integer product, on plain slices.
//!
//! Loops run over chunks of [`LANES`] numbers, which the compiler turns into vector code; each
//! kernel is compiled once for every instruction set that `rten-simd` tells apart and the best
//! one is chosen at run time. The scalar meaning of each is in `tests/operators.rs`.

use rten_simd::{Isa, SimdOp};

/// Numbers handled side by side: one vector of AVX-512, two of AVX2, four of NEON or SSE.
pub(super) const LANES: usize = 16;

/// What quantised activations are shifted by: the product takes them unsigned.
pub(super) const ZERO_POINT: u8 = 128;

/// Runs `work` compiled for the best instruction set of this processor. Everything it calls must
/// be inlined into it, or it is compiled for the oldest processor instead.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> SimdOp for Work<F> {
        type Output = R;
        #[inline(always)]
        fn eval<I: Isa>(self, _isa: I) -> R {
            (self.0)()
        }
    }
    Work(work).dispatch()
}

/// Quantises rows of `width` numbers, each to its own scale: `x ≈ (q - 128) * scale`, with
/// `scale = max |x| / 127` and ties to even. A row of zeros gets the scale 0.
pub(super) fn quantise(x: &[f32], width: usize, q: &mut [u8], scales: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || {
            for ((x, q), scale) in x.chunks_exact(width).zip(q.chunks_exact_mut(width)).zip(scales)
            {
                let largest = largest_of(
                    x,
                    #[inline(always)]
                    |x| x.abs(),
                );
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                for (q, x) in q.iter_mut().zip(x) {
                    *q = round_to_u8(x * inverse);
                }
                *scale = largest / 127.0;
            }
        },
    );
}

/// The largest of `of(x)`.
#[inline(always)]
pub(super) fn largest_of(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            let next = of(*x);
            *largest = if next > *largest { next } else { *largest };
        }
    }
    let start = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    rest.iter().fold(start, |largest, x| largest.max(of(*x)))
}

/// Rounds to the nearest integer, ties to even, and adds the zero point. Exact for |x| < 2^22:
/// adding 1.5 * 2^23 leaves the integer in the low bits of the sum.
#[inline(always)]
fn round_to_u8(x: f32) -> u8 {
    const SHIFT: f32 = 12_582_912.0;
    let low = (x + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits());
    low.wrapping_add(u32::from(ZERO_POINT)).to_le_bytes()[0]
}

/// What a linear layer does with each of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Nothing.
    None,
    /// The exact GELU, `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

/// The constant half of [`rescale`].
pub(super) struct Rescale<'a> {
    /// Scale of each column of the weight.
    pub(super) scales: &'a [f32],
    /// Added to each column.
    pub(super) bias: &'a [f32],
    /// Applied last.
    pub(super) activation: Activation,
}

/// Turns rows of integer sums into numbers: `sum * row scale * column scale + bias`, activated.
pub(super) fn rescale(sums: &[i32], row_scales: &[f32], by: &Rescale<'_>, out: &mut [f32]) {
    match by.activation {
        Activation::None => rescale_with(
            sums,
            row_scales,
            by,
            out,
            #[inline(always)]
            |x| x,
        ),
        Activation::Gelu => rescale_with(sums, row_scales, by, out, gelu),
    }
}

#[inline(always)]
fn rescale_with(
    sums: &[i32],
    row_scales: &[f32],
    by: &Rescale<'_>,
    out: &mut [f32],
    activate: impl Fn(f32) -> f32,
) {
    let width = by.bias.len();
    vectorised(
        #[inline(always)]
        || {
            for ((sums, row_scale), out) in
                sums.chunks_exact(width).zip(row_scales).zip(out.chunks_exact_mut(width))
            {
                for (((out, sum), scale), bias) in
                    out.iter_mut().zip(sums).zip(by.scales).zip(by.bias)
                {
                    *out = activate(*sum as f32 * (scale * row_scale) + bias);
                }
            }
        },
    );
}

#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function as a ratio of polynomials in x², within a few units in the last place:
/// the approximation of Eigen's `generic_fast_erf`. Beyond ±4 it is ±1 in single precision.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    x * polynomial(&NUMERATOR, square) / polynomial(&DENOMINATOR, square)
}

/// Coefficients from the highest power down.
#[inline(always)]
fn polynomial(coefficients: &[f32], x: f32) -> f32 {
    let mut sum = 0.0;
    for coefficient in coefficients {
        sum = sum * x + coefficient;
    }
    sum
}

/// Adds `y` to `x` row by row, normalises each row to mean 0 and variance 1, and applies gain and
/// bias, in place. Without `y` it only normalises.
pub(super) fn add_norm(x: &mut [f32], y: Option<&[f32]>, norm: &Norm) {
    let width = norm.gain.len();
    vectorised(
        #[inline(always)]
        || {
            if let Some(y) = y {
                for (x, y) in x.iter_mut().zip(y) {
                    *x += y;
                }
            }
            for row in x.chunks_exact_mut(width) {
                let mean = sum_of(
                    row,
                    #[inline(always)]
                    |x| x,
                ) / width as f32;
                let variance = sum_of(
                    row,
                    #[inline(always)]
                    |x| (x - mean) * (x - mean),
                ) / width as f32;
                let inverse = 1.0 / (variance + norm.epsilon).sqrt();
                for ((x, gain), bias) in row.iter_mut().zip(&norm.gain).zip(&norm.bias) {
                    *x = (*x - mean) * inverse * gain + bias;
                }
            }
        },
    );
}

/// The constants of a layer normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

/// The sum of `term(x)`.
#[inline(always)]
pub(super) fn sum_of(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += term(*x);
        }
    }
    sums.into_iter().sum::<f32>() + rest.iter().map(|x| term(*x)).sum::<f32>()
}

/// `e^x` for `x <= 0`, within two units in the last place: Cephes' `expf`. Below -87 it is
/// `e^-87`, as good as nothing in a softmax.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits, so that the remainder is exact too.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const SERIES: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5];
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let power = polynomial(&SERIES, rest) * rest * rest + rest + 1.0;
    // The low bits of `shifted` are the exponent: add it to the exponent of the result.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_even_around_the_zero_point() {
        for (x, q) in [(0.0, 128), (0.5, 128), (1.5, 130), (2.5, 130), (-0.5, 128), (-1.5, 126)] {
            assert_eq!(round_to_u8(x), q, "{x}");
        }
        assert_eq!((round_to_u8(127.0), round_to_u8(-127.0)), (255, 1));
    }

    #[test]
    fn erf_is_within_single_precision() {
        // Values of Abramowitz and Stegun, table 7.1.
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.112_462_92),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
        ] {
            assert!((erf(x) - expected).abs() < 3e-7, "erf {x} = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 3e-7, "erf -{x} = {}", erf(-x));
        }
        assert!((erf(9.0) - 1.0).abs() < 3e-7);
    }

    #[test]
    fn exp_is_within_single_precision() {
        for step in 0..8700u16 {
            let x = -f32::from(step) / 100.0;
            let (got, expected) = (exp_negative(x), f64::from(x).exp());
            let error = (f64::from(got) - expected).abs() / expected;
            assert!(error < 3e-7, "exp {x} = {got}, relative error {error}");
        }
        assert_eq!(exp_negative(0.0), 1.0);
        assert!(exp_negative(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn a_row_of_zeros_quantises_to_the_zero_point() {
        let (mut q, mut scales) = ([0; 3], [1.0; 1]);
        quantise(&[0.0; 3], 3, &mut q, &mut scales);
        assert_eq!((q, scales), ([128; 3], [0.0]));
    }
}
