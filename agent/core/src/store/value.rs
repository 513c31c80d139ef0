//! Every value says what it is, so that it can be found in a damaged file.
//!
//! ```text
//! offset  size  field (numbers little endian)
//! 0       4     magic "LFv1"; the digit is the format's version
//! 4       1     kind
//! 5       8     epoch
//! 13      8     sequence number (of a ticket: its number; of meta and witness: their counter;
//!               of a directive and a refusal: its number in the hub's stream, with the epoch of that)
//! 21      4     length of the payload
//! 25      4     CRC-32 of bytes 4..25 and the payload
//! 29      ..    payload
//! ```
//! The payload of a chained outcome (kind 32) begins with 32 bytes of the hash chain before it;
//! an outcome of an agent that kept no chain has kind 0.
//! A value never exceeds [`VALUE_BYTES_MAX`]: sled writes larger ones to files of their own,
//! which it never syncs, and a power cut then leaves a store that cannot be opened.

use landfall_wire::chain::ChainValue;
use landfall_wire::id::Epoch;
use landfall_wire::limits::RECORD_BYTES_MAX;
use landfall_wire::record::StreamId;

/// Largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;

const MAGIC: &[u8; 4] = b"LFv1";
const HEADER_BYTES: usize = 29;
/// Bytes of the hash chain before an outcome.
const CHAIN_BYTES: usize = 32;
const _: () = assert!(HEADER_BYTES + CHAIN_BYTES + RECORD_BYTES_MAX <= VALUE_BYTES_MAX);
/// Kind of an outcome with its place in the hash chain.
const CHAINED: u8 = 32;

/// What a value holds. The number is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Record(StreamId),
    Ticket,
    Retry,
    Meta,
    Witness,
    Directive,
    Refused,
}

impl Kind {
    pub(super) fn code(self) -> u8 {
        match self {
            Kind::Record(StreamId::Outcome) => 0,
            Kind::Record(StreamId::Escalation) => 1,
            Kind::Record(StreamId::Event) => 2,
            Kind::Record(StreamId::Answer) => 3,
            Kind::Ticket => 16,
            Kind::Retry => 17,
            Kind::Meta => 18,
            Kind::Witness => 19,
            Kind::Directive => 20,
            Kind::Refused => 21,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            0 | CHAINED => Kind::Record(StreamId::Outcome),
            1 => Kind::Record(StreamId::Escalation),
            2 => Kind::Record(StreamId::Event),
            3 => Kind::Record(StreamId::Answer),
            16 => Kind::Ticket,
            17 => Kind::Retry,
            18 => Kind::Meta,
            19 => Kind::Witness,
            20 => Kind::Directive,
            21 => Kind::Refused,
            _ => return None,
        })
    }
}

/// A checked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) kind: Kind,
    pub(super) epoch: Epoch,
    pub(super) seq: u64,
    /// The hash chain before a chained outcome.
    pub(super) before: Option<ChainValue>,
    pub(super) payload: &'a [u8],
}

impl<'a> Value<'a> {
    /// The bytes to store, or `None` if the payload is too large.
    pub(super) fn seal(&self) -> Option<Vec<u8>> {
        if self.bytes() > VALUE_BYTES_MAX {
            return None;
        }
        let before = self.before.as_ref().map_or(&[][..], |before| &before.0);
        let length = u32::try_from(before.len() + self.payload.len()).ok()?;
        let mut bytes = Vec::with_capacity(self.bytes());
        bytes.extend_from_slice(MAGIC);
        bytes.push(if self.before.is_some() { CHAINED } else { self.kind.code() });
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        let crc = checksum(&bytes[4..25], &[before, self.payload]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(self.payload);
        Some(bytes)
    }

    /// The value at the start of `bytes`, if it is whole and undamaged.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Value<'a>> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if &header[..4] != MAGIC {
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes(header[21..25].try_into().ok()?)).ok()?;
        let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(length)?)?;
        let crc = u32::from_le_bytes(header[25..29].try_into().ok()?);
        if crc != checksum(&header[4..25], &[payload]) {
            return None;
        }
        let (before, payload) = if header[4] == CHAINED {
            let (before, payload) = payload.split_first_chunk::<CHAIN_BYTES>()?;
            (Some(ChainValue(*before)), payload)
        } else {
            (None, payload)
        };
        Some(Value {
            kind: Kind::from_code(header[4])?,
            epoch: Epoch(u64::from_le_bytes(header[5..13].try_into().ok()?)),
            seq: u64::from_le_bytes(header[13..21].try_into().ok()?),
            before,
            payload,
        })
    }

    fn bytes(&self) -> usize {
        HEADER_BYTES + self.before.map_or(0, |_| CHAIN_BYTES) + self.payload.len()
    }
}

/// For tests with hostile bytes: every value that can be carved out of them is written again as it
/// was read. Returns how many there are.
///
/// # Panics
/// If one is not.
pub fn carve_and_check(raw: &[u8]) -> usize {
    let check = |value: Value<'_>| {
        let Some(sealed) = value.seal() else { return };
        let opened = Value::open(&sealed).map(|it| (it.kind, it.epoch, it.seq, it.payload.len()));
        let was = (value.kind, value.epoch, value.seq, value.payload.len());
        assert_eq!(opened, Some(was), "a value that was read is written as it was");
    };
    carve(raw).map(check).count()
}

fn checksum(header: &[u8], payload: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    payload.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Every undamaged value in a raw file, in the order of the file: old versions too.
pub(super) fn carve(raw: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at + HEADER_BYTES <= raw.len() {
            let Some(value) = Value::open(&raw[at..]) else {
                at += 1;
                continue;
            };
            at += value.bytes();
            return Some(value);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(seq: u64) -> Vec<u8> {
        let kind = Kind::Record(StreamId::Outcome);
        let payload = &[u8::try_from(seq).unwrap(); 40];
        let before = Some(ChainValue([7; 32]));
        Value { kind, epoch: Epoch(7), seq, before, payload }.seal().unwrap()
    }

    #[test]
    fn golden_bytes() {
        let (kind, epoch) = (Kind::Ticket, Epoch(0x0102));
        let value = Value { kind, epoch, seq: 3, before: None, payload: b"ab" };
        let bytes = value.seal().unwrap();
        let head = b"LFv1\x10\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0";
        assert_eq!(&bytes[..25], head);
        assert_eq!(&bytes[25..29], &checksum(&head[4..], &[b"ab"]).to_le_bytes());
        assert_eq!(&bytes[29..], b"ab");
        assert_eq!(Value::open(&bytes), Some(value));
    }

    #[test]
    fn every_kind_has_its_number_for_good() {
        let kinds = StreamId::UP.map(Kind::Record).into_iter().chain([
            Kind::Record(StreamId::Answer),
            Kind::Ticket,
            Kind::Retry,
            Kind::Meta,
            Kind::Witness,
            Kind::Directive,
            Kind::Refused,
        ]);
        let codes: Vec<u8> = kinds.clone().map(Kind::code).collect();
        assert_eq!(codes, [1, 2, 0, 3, 16, 17, 18, 19, 20, 21]);
        for (kind, code) in kinds.zip(codes) {
            assert_eq!(Kind::from_code(code), Some(kind));
        }
        // What a later version writes is passed over, as a version before a kind does with it.
        let value =
            Value { kind: Kind::Ticket, epoch: Epoch(1), seq: 2, before: None, payload: b"a" };
        let mut later = value.seal().unwrap();
        later[4] = 99;
        let crc = checksum(&later[4..25], &[b"a"]);
        later[25..29].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Value::open(&later), None);
        let raw = [later, sealed(5)].concat();
        assert_eq!(carve(&raw).map(|value| value.seq).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn an_outcome_is_read_with_its_place_in_the_chain_and_without() {
        let kind = Kind::Record(StreamId::Outcome);
        let before = Some(ChainValue([7; 32]));
        let value = Value { kind, epoch: Epoch(1), seq: 3, before, payload: b"ab" };
        let bytes = value.seal().unwrap();
        assert_eq!((bytes[4], bytes[21], bytes.len()), (CHAINED, 34, 29 + 34));
        assert_eq!(&bytes[29..], [&[7; 32][..], b"ab"].concat());
        assert_eq!(Value::open(&bytes), Some(value));
        // As an agent without a chain writes it.
        let old = Value { before: None, ..value };
        let bytes = old.seal().unwrap();
        assert_eq!((bytes[4], Value::open(&bytes)), (0, Some(old)));
        let payload = [0; RECORD_BYTES_MAX];
        assert!(Value { payload: &payload, ..value }.seal().is_some(), "the largest record fits");
    }

    #[test]
    fn too_large_is_refused() {
        let payload = vec![0; VALUE_BYTES_MAX - HEADER_BYTES + 1];
        let (kind, epoch) = (Kind::Meta, Epoch(1));
        let value = Value { kind, epoch, seq: 1, before: None, payload: &payload };
        assert_eq!(value.seal(), None);
        assert!(Value { payload: &payload[1..], ..value }.seal().is_some());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let good = sealed(5);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Value::open(&bad), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(Value::open(&good[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn carving_finds_all_but_the_damaged() {
        let mut raw = b"LFv1 and some rubbish".to_vec();
        for seq in 0..10 {
            raw.extend(sealed(seq));
            raw.extend(b"LFv");
        }
        let third = raw.len() / 3;
        raw[third] ^= 0x40;
        let found: Vec<u64> = carve(&raw).map(|value| value.seq).collect();
        assert_eq!(found.len(), 9, "{found:?}");
    }
}
