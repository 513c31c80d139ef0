//! Random moments that can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

/// A source of numbers, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Repeats them.
    pub seed: u64,
    state: u64,
}

impl Moments {
    /// From a seed, or from the system's randomness.
    pub fn new(seed: Option<u64>) -> Moments {
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()) | 1;
        Moments { seed, state: seed }
    }

    /// A number, by xorshift64.
    pub fn number(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number in `range`, which is not empty.
    pub fn pick(&mut self, range: Range<usize>) -> usize {
        let width = (range.end - range.start) as u64;
        range.start + usize::try_from(self.number() % width).unwrap_or(0)
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.pick(0..2) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_moments() {
        let (mut one, mut two) = (Moments::new(Some(7)), Moments::new(Some(7)));
        for _ in 0..100 {
            let picked = one.pick(3..9);
            assert_eq!(picked, two.pick(3..9));
            assert!((3..9).contains(&picked));
        }
        let mut other = Moments::new(Some(9));
        assert!((0..9).any(|_| one.number() != other.number()));
    }
}
