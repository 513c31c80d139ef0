//! The arithmetic around the integer product, on plain slices.
//!
//! Loops run over chunks of [`LANES`] numbers, which the compiler turns into vector code; each
//! kernel is compiled once for every instruction set that `rten-simd` tells apart and the best
//! one is chosen at run time. The scalar meaning of each is in `tests/operators.rs`.

use rten_simd::ops::{BitOps, FloatOps, IntOps, NumOps, ToFloat};
use rten_simd::{Isa, Simd, SimdOp};

/// Numbers handled side by side: one vector of AVX-512, two of AVX2, four of NEON or SSE.
pub(super) const LANES: usize = 16;

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

/// Quantises a row: `x ≈ q * scale`, with `scale = max |x| / 127` and ties to even. A row of zeros
/// gets the scale 0. Returns the scale and the sum of `q`.
#[inline(always)]
pub(super) fn quantise(x: &[f32], q: &mut [i8]) -> (f32, i32) {
    let largest = largest_of(
        x,
        #[inline(always)]
        |x| x.abs(),
    );
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut sum = 0;
    for (q, x) in q.iter_mut().zip(x) {
        let rounded = round(x * inverse);
        sum += rounded;
        *q = rounded.to_le_bytes()[0].cast_signed();
    }
    (largest / 127.0, sum)
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

/// Rounds to the nearest integer, ties to even. Exact for |x| < 2^22: adding 1.5 * 2^23 leaves the
/// integer in the low bits of the sum.
#[inline(always)]
fn round(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()).cast_signed()
}

/// What a linear layer does with each of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// Nothing.
    None,
    /// The exact GELU, `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

/// Turns a row's integer sums into numbers: `sum * row scale * column scale + bias`, activated.
/// All are as long, a multiple of [`LANES`].
#[inline(always)]
pub(super) fn rescale<I: Isa>(
    isa: I,
    sums: &[i32],
    row_scale: f32,
    columns: &Columns<'_>,
    out: &mut [f32],
) {
    let ops = isa.f32();
    let row_scale = ops.splat(row_scale);
    for at in (0..out.len()).step_by(ops.len()) {
        let sum = isa.i32().to_float(isa.i32().load(&sums[at..]));
        let scale = ops.mul(ops.load(&columns.scales[at..]), row_scale);
        let y = ops.mul_add(sum, scale, ops.load(&columns.bias[at..]));
        let y = match columns.activation {
            Activation::None => y,
            Activation::Gelu => gelu_of(isa, y),
        };
        ops.store(y, &mut out[at..]);
    }
}

/// The constants of some columns.
pub(super) struct Columns<'a> {
    /// Scale of each column of the weight.
    pub(super) scales: &'a [f32],
    /// Added to each column.
    pub(super) bias: &'a [f32],
    /// Applied last.
    pub(super) activation: Activation,
}

/// [`gelu`] of a vector, with fused multiplications where the processor has them.
#[inline(always)]
fn gelu_of<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let bound = ops.splat(4.0);
    let z = ops.mul(x, ops.splat(std::f32::consts::FRAC_1_SQRT_2));
    let z = ops.max(ops.min(z, bound), ops.neg(bound));
    let square = ops.mul(z, z);
    let above = ops.mul(z, polynomial_of(isa, &NUMERATOR, square));
    let erf = ops.div(above, polynomial_of(isa, &DENOMINATOR, square));
    let half = ops.mul(x, ops.splat(0.5));
    ops.mul_add(half, erf, half)
}

/// [`exp_negative`] of a vector.
#[inline(always)]
pub(super) fn exp_negative_of<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let shift = ops.splat(EXP_SHIFT);
    let x = ops.max(x, ops.splat(EXP_LEAST));
    let shifted = ops.mul_add(x, ops.splat(std::f32::consts::LOG2_E), shift);
    let whole = ops.sub(shifted, shift);
    let rest = ops.mul_add(whole, ops.splat(-LN2_HIGH), x);
    let rest = ops.mul_add(whole, ops.splat(-LN2_LOW), rest);
    let power = ops.mul(polynomial_of(isa, &EXP_SERIES, rest), rest);
    let power = ops.mul_add(power, rest, ops.add(rest, ops.one()));
    let exponent = isa.i32().shift_left::<23>(shifted.reinterpret_cast::<I::I32>());
    isa.i32().add(power.reinterpret_cast::<I::I32>(), exponent).reinterpret_cast::<I::F32>()
}

/// [`polynomial`] of a vector.
#[inline(always)]
fn polynomial_of<I: Isa>(isa: I, coefficients: &[f32], x: I::F32) -> I::F32 {
    let ops = isa.f32();
    let mut sum = ops.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        sum = ops.mul_add(sum, x, ops.splat(*coefficient));
    }
    sum
}

#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Of [`erf`], the highest power first.
const NUMERATOR: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_4e-8,
    -2.101_024e-6,
    -5.692_506_5e-5,
    -7.349_906e-4,
    -2.954_6e-3,
    -1.609_603_3e-2,
];
/// Likewise.
const DENOMINATOR: [f32; 5] =
    [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// The error function as a ratio of polynomials in x², within a few units in the last place:
/// the approximation of Eigen's `generic_fast_erf`. Beyond ±4 it is ±1 in single precision.
#[inline(always)]
fn erf(x: f32) -> f32 {
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

/// Rounds as [`round`] does.
const EXP_SHIFT: f32 = 12_582_912.0;
/// Below it `e^x` is as good as nothing.
const EXP_LEAST: f32 = -87.0;
/// ln 2 in two parts, the first exact in few bits, so that the remainder is exact too.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Of `e^x` around 0, the highest power first.
const EXP_SERIES: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5];

/// `e^x` for `x <= 0`, within two units in the last place: Cephes' `expf`. Below -87 it is
/// `e^-87`, as good as nothing in a softmax.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    let x = if x > EXP_LEAST { x } else { EXP_LEAST };
    let shifted = x * std::f32::consts::LOG2_E + EXP_SHIFT;
    let whole = shifted - EXP_SHIFT;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let power = polynomial(&EXP_SERIES, rest) * rest * rest + rest + 1.0;
    // The low bits of `shifted` are the exponent: add it to the exponent of the result.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_even() {
        for (x, q) in [(0.0, 0), (0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2)] {
            assert_eq!(round(x), q, "{x}");
        }
        assert_eq!((round(127.0), round(-127.0)), (127, -127));
    }

    /// A function of one number, as its vectors compute it.
    struct Each<'a, F>(&'a mut [f32], F);

    impl<F: Function> SimdOp for Each<'_, F> {
        type Output = ();

        #[inline(always)]
        fn eval<I: Isa>(self, isa: I) {
            let ops = isa.f32();
            for at in (0..self.0.len()).step_by(ops.len()) {
                let y = self.1.of(isa, ops.load(&self.0[at..]));
                ops.store(y, &mut self.0[at..]);
            }
        }
    }

    trait Function {
        fn of<I: Isa>(&self, isa: I, x: I::F32) -> I::F32;
    }

    struct Gelu;
    impl Function for Gelu {
        #[inline(always)]
        fn of<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
            gelu_of(isa, x)
        }
    }

    struct Exp;
    impl Function for Exp {
        #[inline(always)]
        fn of<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
            exp_negative_of(isa, x)
        }
    }

    #[test]
    fn vectors_compute_what_single_numbers_do() {
        let x: Vec<f32> = (0..1600u16).map(|at| f32::from(at) / 100.0 - 8.0).collect();
        let mut y = x.clone();
        Each(&mut y, Gelu).dispatch();
        for (x, y) in x.iter().zip(&y) {
            // erf is within some units in the last place of 1, and is multiplied by x / 2.
            let error = (gelu(*x) - y).abs();
            assert!(error <= 3e-7 * x.abs().max(1.0), "gelu {x} = {y}, error {error}");
        }
        let x: Vec<f32> = (0..1600u16).map(|at| -f32::from(at) / 16.0).collect();
        let mut y = x.clone();
        Each(&mut y, Exp).dispatch();
        for (x, y) in x.iter().zip(&y) {
            let error = (exp_negative(*x) - y).abs() / exp_negative(*x);
            assert!(error < 3e-7, "exp {x} = {y}, relative error {error}");
        }
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
    fn quantising_keeps_the_largest_and_adds_up() {
        let mut q = [0; 4];
        let (scale, sum) = quantise(&[0.5, -2.0, 1.0, 0.0], &mut q);
        assert_eq!((q, sum), ([32, -127, 64, 0], -31));
        assert_eq!(scale, 2.0 / 127.0);
        assert_eq!(quantise(&[0.0; 4], &mut q), (0.0, 0));
        assert_eq!(q, [0; 4]);
    }
}
