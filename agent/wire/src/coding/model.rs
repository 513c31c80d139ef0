//! How likely the next bit is, given what was seen in each of several contexts.
//!
//! Every context of a bit has a slot with a probability that follows the bits seen there, fast at
//! first and slower the more there were. The probabilities are mixed in the logistic domain, with
//! weights that learn which contexts to trust (Mahoney 2005, "Adaptive weighing of context models
//! for lossless data compression"). Whole numbers only: both sides must come to the same, bit for
//! bit, on any processor.

use super::arithmetic::{Coder, PROBABILITY_BITS};
use std::sync::LazyLock;

/// Most contexts of one bit.
pub(super) const CONTEXTS_MAX: usize = 7;

/// Slots, 1 MB. Contexts that meet in one share it: it predicts worse, on both sides alike.
const SLOT_BITS: u32 = 18;

/// Sets of weights.
const SETS: usize = 1024;

/// Bits seen in a slot after which it adapts no slower: one in so many is taken of the new bit.
const SEEN_MAX: u32 = 120;

/// Bits of a probability inside, and of its logarithm's fraction.
const INSIDE_BITS: u32 = 12;

/// Weight of each context at first, in 1/65536: several agree more surely than one.
const WEIGHT_BEFORE: i32 = 22_000;

/// `error * input` is divided by two to this to give the change of a weight.
const LEARNING_SHIFT: u32 = 10;

/// Most that a weight can be, in 1/65536.
const WEIGHT_MAX: i32 = 8 << 16;

/// Probabilities of every context, and how they are mixed.
#[derive(Clone)]
pub(super) struct Model {
    /// Probability of a set bit in the upper 22 bits, bits seen in the lower 10.
    slots: Vec<u32>,
    weights: Vec<[i32; CONTEXTS_MAX]>,
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            slots: vec![1 << 31; 1 << SLOT_BITS],
            weights: vec![[WEIGHT_BEFORE; CONTEXTS_MAX]; SETS],
        }
    }

    /// Codes one bit with its contexts, of which there are at most [`CONTEXTS_MAX`], and learns it.
    /// `set` chooses the weights.
    pub(super) fn bit(
        &mut self,
        coder: &mut Coder<'_>,
        bit: bool,
        contexts: &[u32],
        set: u32,
    ) -> bool {
        let tables = &*TABLES;
        let mut inputs = [0i32; CONTEXTS_MAX];
        let weights = &mut self.weights[set as usize % SETS];
        let mut sum = 0i64;
        for ((input, weight), context) in inputs.iter_mut().zip(weights.iter()).zip(contexts) {
            let slot = self.slots[(context >> (32 - SLOT_BITS)) as usize];
            *input = tables.stretch[(slot >> (32 - INSIDE_BITS)) as usize].into();
            sum += i64::from(*input) * i64::from(*weight);
        }
        let set = squash(i32::try_from((sum >> 16).clamp(-2047, 2047)).unwrap_or(0));
        let bit = coder.bit(bit, (set << (PROBABILITY_BITS - INSIDE_BITS)) + 8);
        let error = (i32::from(bit) << INSIDE_BITS) - set.cast_signed();
        for (weight, input) in weights.iter_mut().zip(inputs) {
            let change = (error * input + (1 << (LEARNING_SHIFT - 1))) >> LEARNING_SHIFT;
            *weight = (*weight + change).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
        for context in contexts {
            let slot = &mut self.slots[(context >> (32 - SLOT_BITS)) as usize];
            let (probability, seen) = (*slot >> 10, *slot & 1023);
            let step = tables.steps[seen as usize];
            let probability = match bit {
                true => probability + part(0x3f_ffff - probability, step),
                false => probability - part(probability, step),
            };
            *slot = probability << 10 | (seen + 1).min(SEEN_MAX);
        }
        bit
    }
}

/// `step` 65536ths of 22 bits.
fn part(whole: u32, step: u32) -> u32 {
    u32::try_from((u64::from(whole) * u64::from(step)) >> 16).unwrap_or(u32::MAX)
}

/// `4096 / (1 + e^(-x/256))`, of x from -2047 to 2047: between 33 values of it, a straight line.
fn squash(x: i32) -> u32 {
    const AT: [u32; 33] = [
        1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048, 2550, 2994,
        3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
    ];
    let shifted = (x.clamp(-2047, 2047) + 2048).cast_unsigned();
    let (at, part) = ((shifted >> 7) as usize, shifted & 127);
    ((AT[at] * (128 - part) + AT[at + 1] * part + 64) >> 7).clamp(1, 4095)
}

struct Tables {
    /// `256 ln(p / (4096 - p))`, the inverse of [`squash`].
    stretch: Vec<i16>,
    /// How far a slot goes towards a bit, in 1/65536, by the bits it has seen.
    steps: Vec<u32>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut stretch = vec![2047i16; 1 << INSIDE_BITS];
    let mut from = 0;
    for x in -2047..=2047i16 {
        let until = squash(x.into()) as usize;
        for value in stretch.iter_mut().take(until + 1).skip(from) {
            *value = x;
        }
        from = from.max(until + 1);
    }
    // The first bit goes two thirds of the way, later ones as much as they add to a mean.
    let steps = (0..=SEEN_MAX).map(|seen| (1 << 17) / (2 * seen + 3)).collect();
    Tables { stretch, steps }
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squash_is_the_logistic_function_and_stretch_its_inverse() {
        for x in -2047..=2047 {
            let exact = 4096.0 / (1.0 + (-f64::from(x) / 256.0).exp());
            let got = f64::from(squash(x));
            assert!((got - exact).abs() < 1.5 + exact * 0.04, "{x}: {got} for {exact}");
        }
        for p in 2..4094u32 {
            let back = squash(TABLES.stretch[p as usize].into());
            assert!(back.abs_diff(p) <= 8, "{p}: {back}");
        }
        assert!(TABLES.stretch.is_sorted());
    }

    #[test]
    fn what_repeats_soon_takes_next_to_nothing() {
        let mut model = Model::new();
        let mut writer = Coder::writer();
        for at in 0..4_000u32 {
            let phase = at % 4;
            let contexts = [7 << 24, phase.wrapping_mul(0x9e37_79b1)];
            model.bit(&mut writer, phase == 3, &contexts, 0);
        }
        let bytes = writer.finish().len();
        assert!(bytes < 40, "{bytes} bytes");
    }
}
