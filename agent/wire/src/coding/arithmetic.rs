//! Arithmetic coding of bits: each takes as much room as it is surprising.
//!
//! An interval of 32-bit numbers is narrowed by each bit in proportion to its probability; leading
//! bytes on which both ends agree are written (Witten, Neal and Cleary 1987, "Arithmetic coding for
//! data compression"). Whole numbers only, so that every processor codes alike.

/// Bits of a probability.
pub(super) const PROBABILITY_BITS: u32 = 16;

/// Bytes past its end that a reader may look at: what the last bits are told apart with.
const PAST_END_MAX: usize = 4;

/// Writes bits, or reads them back: models are written once for both.
pub(super) struct Coder<'a> {
    low: u32,
    high: u32,
    side: Side<'a>,
}

enum Side<'a> {
    Write(Vec<u8>),
    Read { bytes: &'a [u8], at: usize, code: u32 },
}

impl<'a> Coder<'a> {
    pub(super) fn writer() -> Coder<'static> {
        Coder { low: 0, high: u32::MAX, side: Side::Write(Vec::new()) }
    }

    pub(super) fn reader(bytes: &'a [u8]) -> Coder<'a> {
        let mut code = 0;
        for at in 0..4 {
            code = code << 8 | u32::from(bytes.get(at).copied().unwrap_or(0));
        }
        Coder { low: 0, high: u32::MAX, side: Side::Read { bytes, at: 4, code } }
    }

    /// Codes one bit that is set with probability `set / 2^16`, which is neither 0 nor 1. A reader
    /// ignores `bit` and returns the one that was written.
    pub(super) fn bit(&mut self, bit: bool, set: u32) -> bool {
        debug_assert!(set > 0 && set < 1 << PROBABILITY_BITS, "{set} is no probability");
        let width = self.high - self.low;
        let rest = width & ((1 << PROBABILITY_BITS) - 1);
        let middle =
            self.low + (width >> PROBABILITY_BITS) * set + ((rest * set) >> PROBABILITY_BITS);
        let bit = match &self.side {
            Side::Write(_) => bit,
            Side::Read { code, .. } => *code <= middle,
        };
        match bit {
            true => self.high = middle,
            false => self.low = middle + 1,
        }
        while (self.low ^ self.high) >> 24 == 0 {
            match &mut self.side {
                Side::Write(out) => out.push(self.low.to_be_bytes()[0]),
                Side::Read { bytes, at, code } => {
                    *code = *code << 8 | u32::from(bytes.get(*at).copied().unwrap_or(0));
                    *at += 1;
                }
            }
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        bit
    }

    /// Whether a reader has gone further than a writer's last bit can lead.
    pub(super) fn is_past_end(&self) -> bool {
        match &self.side {
            Side::Write(_) => false,
            Side::Read { bytes, at, .. } => *at > bytes.len() + PAST_END_MAX,
        }
    }

    /// What was written. Bytes that a reader would put there itself, zeros, are left out.
    pub(super) fn finish(self) -> Vec<u8> {
        let Side::Write(mut out) = self.side else { return Vec::new() };
        for count in 0..=4u32 {
            let kept = u32::MAX.checked_shl(32 - 8 * count).unwrap_or(0);
            let code = self.high & kept;
            if code >= self.low {
                out.extend(&code.to_be_bytes()[..count as usize]);
                break;
            }
        }
        while out.last() == Some(&0) {
            out.pop();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every fourth bit is set, more or less.
    fn bits() -> Vec<bool> {
        let mut state = 1u32;
        (0..10_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 30 == 0
            })
            .collect()
    }

    #[test]
    fn bits_come_back_and_take_about_their_entropy() {
        for set in [1, 1 << 8, 1 << 14, 1 << 15, (1 << 16) - 1] {
            let mut writer = Coder::writer();
            for bit in bits() {
                writer.bit(bit, set);
            }
            let written = writer.finish();
            let mut reader = Coder::reader(&written);
            for bit in bits() {
                assert_eq!(reader.bit(false, set), bit);
            }
            assert!(!reader.is_past_end());
            if set == 1 << 14 {
                // 0.811 bits each.
                assert!((1_000..1_040).contains(&written.len()), "{}", written.len());
            }
        }
    }

    #[test]
    fn what_was_cut_off_is_noticed() {
        let mut reader = Coder::reader(&[]);
        for _ in 0..80 {
            reader.bit(false, 1 << 15);
        }
        assert!(reader.is_past_end());
    }

    #[test]
    fn nothing_takes_no_bytes() {
        assert!(Coder::writer().finish().is_empty());
    }
}
