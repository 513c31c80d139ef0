//! What both sides know before the first batch: coded records, which are read once.

use super::arithmetic::Coder;
use super::values::{Memory, Values};
use std::sync::LazyLock;

/// What a coder has learnt beforehand. Its number travels with a batch and means the same for ever:
/// a shipped primer never changes, another one gets another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Primer {
    /// Nothing.
    #[default]
    None,
    /// Decisions about work orders, by the shipped tasks. `examples/primer.rs` wrote it.
    WorkOrders,
}

/// Two bytes of how many records, little endian, and these.
static WORK_ORDERS: &[u8] = include_bytes!("primer-1.bin");

static WORK_ORDERS_READ: LazyLock<Memory> = LazyLock::new(|| read(WORK_ORDERS));

impl Primer {
    /// The one to use where the other side knows it.
    pub const NEWEST: Primer = Primer::WorkOrders;

    /// The number that travels.
    pub fn number(self) -> u8 {
        match self {
            Primer::None => 0,
            Primer::WorkOrders => 1,
        }
    }

    /// The primer of a number, if this version has it.
    pub fn of(number: u8) -> Option<Primer> {
        [Primer::None, Primer::WorkOrders].into_iter().find(|primer| primer.number() == number)
    }

    /// The newest one that this version has, up to a number: whoever knows one knows those before.
    pub fn at_most(number: u8) -> Primer {
        (0..=number.min(Primer::NEWEST.number())).rev().find_map(Primer::of).unwrap_or_default()
    }

    pub(super) fn memory(self) -> Memory {
        match self {
            Primer::None => Memory::new(),
            Primer::WorkOrders => WORK_ORDERS_READ.clone(),
        }
    }
}

fn read(primer: &[u8]) -> Memory {
    let (count, coded) = primer.split_first_chunk().expect("a primer begins with a count");
    let mut values = Values::new(Memory::new(), Coder::reader(coded), usize::MAX);
    for _ in 0..u16::from_le_bytes(*count) {
        super::take(&mut values).expect("a shipped primer can be read");
    }
    values.finish().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_shipped_primer_is_as_ever() {
        let digest: String =
            Sha256::digest(WORK_ORDERS).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "874302c55e165d4d6feefff19c7843734aae410670b29a6c3e99216fc6d13d18");
    }

    #[test]
    fn numbers_read_back() {
        assert_eq!(Primer::of(Primer::NEWEST.number()), Some(Primer::NEWEST));
        assert_eq!(Primer::of(0), Some(Primer::None));
        assert_eq!(Primer::of(2), None);
        assert_eq!(
            [0, 1, 200].map(Primer::at_most),
            [Primer::None, Primer::WorkOrders, Primer::NEWEST]
        );
    }
}
