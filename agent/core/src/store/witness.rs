//! What was durable, told by something else than the tables.
//!
//! A storage engine that finds the end of its log damaged or cut off takes it for a write that
//! was torn, and opens as if it had never been made: records that callers were told of would be
//! gone without a trace, and their numbers given out again. So after every durable commit, and
//! before anybody is told of it, its positions are noted a second time, in a small place of their
//! own: the *witness*. A generation that is behind its witness is damaged.
//!
//! Of a generation that is sealed, the next one has the same in a *seal*, durable with it. It is
//! taken out before the sealed generation is removed, so one that is gone while its seal is there
//! was not removed by the store.
//!
//! The witness is not made durable by itself, which would double the cost of a commit. It is
//! written after what it tells of, so it is never ahead of a sound store:
//! * as long as the machine runs on, also over `kill -9`, it is exact: whatever is missing at the
//!   end of the store, to the last record, is known;
//! * after a power cut it may be older, by as long as the system keeps a page before it writes it
//!   back, and then proves less: what was written since, and is damaged too, is not missed;
//! * without it, or with a damaged one, the store is as good as it says it is.
//!
//! Two are kept and the older is replaced, so that one is whole whenever power goes.

use super::medium::Medium;
use super::meta::Meta;
use super::value::{Kind, Value};
use landfall_wire::id::Epoch;

/// Where the store stood after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Witness {
    /// The generation that the commit went to.
    pub(super) number: u64,
    pub(super) meta: Meta,
}

impl Witness {
    /// The newest that can be read.
    pub(super) fn newest(medium: &mut dyn Medium) -> Option<Witness> {
        let read = medium.witnesses();
        let whole = read.iter().filter_map(|bytes| Witness::parse(bytes));
        whole.max_by_key(|witness| witness.meta.counter)
    }

    pub(super) fn seal(number: u64, meta: &Meta) -> Vec<u8> {
        let payload = [&number.to_le_bytes()[..], &meta.payload()].concat();
        let (kind, epoch, seq) = (Kind::Witness, meta.epoch, meta.counter);
        let value = Value { kind, epoch, seq, before: None, payload: &payload };
        value.seal().expect("a meta leaves room for eight bytes")
    }

    fn parse(bytes: &[u8]) -> Option<Witness> {
        let value = Value::open(bytes).filter(|value| value.kind == Kind::Witness)?;
        let (number, meta) = value.payload.split_first_chunk()?;
        Some(Witness { number: u64::from_le_bytes(*number), meta: Meta::parse_payload(meta)? })
    }

    /// What is wrong with the generation that it tells of, if it has these positions.
    pub(super) fn complaint(&self, number: u64, found: Option<&Meta>) -> Option<String> {
        let (number_told, counter) = (self.number, self.meta.counter);
        Seal { number: number_told, counter }.complaint(number, found.map_or(0, |m| m.counter))
    }
}

/// Where a generation stood when it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) number: u64,
    /// Counts writes, see [`Meta`].
    pub(super) counter: u64,
}

impl Seal {
    pub(super) fn seal(self, epoch: Epoch) -> Vec<u8> {
        let payload = &self.number.to_le_bytes();
        let (kind, seq) = (Kind::Witness, self.counter);
        Value { kind, epoch, seq, before: None, payload }.seal().expect("eight bytes fit")
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Seal> {
        let value = Value::open(bytes).filter(|value| value.kind == Kind::Witness)?;
        let number = u64::from_le_bytes(value.payload.try_into().ok()?);
        Some(Seal { number, counter: value.seq })
    }

    /// What is wrong with a generation that has written so much, if this is about it.
    pub(super) fn complaint(self, number: u64, counter: u64) -> Option<String> {
        let behind = self.counter.checked_sub(counter).filter(|behind| *behind > 0);
        let behind = behind.filter(|_| number == self.number)?;
        Some(format!("its last {behind} writes were durable, and are gone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(counter: u64) -> Meta {
        Meta {
            counter,
            epoch: Epoch(7),
            running_ms: 5,
            outcomes: 4,
            answers: None,
            streams: vec![],
            reopened: true,
            chain: None,
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = Witness::seal(3, &meta(9));
        let (head, payload) = bytes.split_at(29);
        assert_eq!(&head[..21], b"LFv1\x13\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0");
        assert_eq!(
            payload,
            [&[3, 0, 0, 0, 0, 0, 0, 0][..], &[9, 7, 5, 4, 0, 0], &[0, 1, 0]].concat()
        );
        assert_eq!(Witness::parse(&bytes), Some(Witness { number: 3, meta: meta(9) }));
    }

    #[test]
    fn a_seal_is_not_a_witness() {
        let seal = Seal { number: 3, counter: 9 };
        let bytes = seal.seal(Epoch(7));
        let (head, payload) = bytes.split_at(29);
        assert_eq!(&head[..21], b"LFv1\x13\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0");
        assert_eq!(payload, [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Seal::parse(&bytes), Some(seal));
        assert_eq!(Witness::parse(&bytes), None);
        assert_eq!(Seal::parse(&Witness::seal(3, &meta(9))), None);
    }

    #[test]
    fn what_is_not_a_witness_tells_nothing() {
        let good = Witness::seal(3, &meta(9));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Witness::parse(&bad), None, "bit {bit}");
        }
        assert_eq!(Witness::parse(&[]), None);
        assert_eq!(Witness::parse(&meta(9).seal()), None, "a meta of the store itself");
        let padded = [&good[..], &[0xff; 100]].concat();
        assert!(Witness::parse(&padded).is_some(), "what follows is of an older, longer one");
    }

    #[test]
    fn only_a_generation_that_is_behind_is_complained_of() {
        let witness = Witness { number: 3, meta: meta(9) };
        assert_eq!(witness.complaint(3, Some(&meta(9))), None);
        assert_eq!(witness.complaint(3, Some(&meta(10))), None, "written since");
        assert_eq!(witness.complaint(2, Some(&meta(4))), None, "another one");
        let text = witness.complaint(3, Some(&meta(7))).unwrap();
        assert!(text.contains("last 2 writes"), "{text}");
        assert!(witness.complaint(3, None).is_some());
    }
}
