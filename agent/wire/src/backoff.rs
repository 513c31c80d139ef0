//! How long to wait before connecting again. Randomness is an argument.

/// Doubling pauses with jitter, so that a fleet that lost its hub does not return as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    min_ms: u64,
    max_ms: u64,
    failures: u32,
}

impl Backoff {
    /// Pauses from about `min_ms` up to `max_ms`.
    pub fn new(min_ms: u64, max_ms: u64) -> Backoff {
        let min_ms = min_ms.max(1);
        Backoff { min_ms, max_ms: max_ms.max(min_ms), failures: 0 }
    }

    /// A connection failed: how long to wait, between half and the whole of a ceiling that
    /// doubles with each failure. `draw` is a random number.
    pub fn failed(&mut self, draw: u32) -> u64 {
        let doubled = self.min_ms.saturating_mul(1 << self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        let ceiling = doubled.min(self.max_ms);
        let half = ceiling / 2;
        let spread = u128::from(ceiling - half) * u128::from(draw) / u128::from(u32::MAX);
        half + u64::try_from(spread).unwrap_or(0)
    }

    /// A connection was useful: the next failure starts from the shortest pause.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(1_000, 10_000);
        let longest: Vec<u64> = (0..6).map(|_| backoff.failed(u32::MAX)).collect();
        assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        backoff.succeeded();
        assert_eq!(backoff.failed(0), 500);
        assert_eq!(backoff.failed(0), 1_000);
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(u64::MAX, 0);
        for _ in 0..100 {
            assert_eq!(backoff.failed(u32::MAX), u64::MAX);
        }
    }
}
