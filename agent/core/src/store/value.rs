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
//!
//! A *pack* (the kind of its records plus 64) holds consecutive records of one stream and epoch, of
//! which the sequence number is the first's: at most [`PACK_RECORDS_MAX`], each with its length in
//! two bytes before it. Of outcomes it begins with the hash chain before the first; the others'
//! follows from that. A record that is written alone is stored without a pack, and older agents
//! know nothing else.
//!
//! A value never exceeds [`VALUE_BYTES_MAX`]: sled writes larger ones to files of their own,
//! which it never syncs, and a power cut then leaves a store that cannot be opened.

use super::pack::Records;
use landfall_wire::chain::ChainValue;
use landfall_wire::id::Epoch;
use landfall_wire::limits::RECORD_BYTES_MAX;
use landfall_wire::record::StreamId;

/// Largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;

const MAGIC: &[u8; 4] = b"LFv1";
pub(super) const HEADER_BYTES: usize = 29;
/// Bytes of the hash chain before an outcome.
pub(super) const CHAIN_BYTES: usize = 32;
const _: () = assert!(HEADER_BYTES + CHAIN_BYTES + RECORD_BYTES_MAX <= VALUE_BYTES_MAX);
/// Added to the kind of an outcome with its place in the hash chain.
const CHAINED: u8 = 32;
/// Added to the kind of records in a pack.
const PACKED: u8 = 64;
const PACKED_CHAINED: u8 = PACKED + CHAINED;

/// Most records in one value: looking for a number goes back so far at most. As many outcomes of
/// the smallest kind fill one.
pub const PACK_RECORDS_MAX: u64 = 64;

/// What a value holds. The number is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Record(StreamId),
    Pack(StreamId),
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
            Kind::Pack(stream) => PACKED + Kind::Record(stream).code(),
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
            64 | PACKED_CHAINED => Kind::Pack(StreamId::Outcome),
            65 => Kind::Pack(StreamId::Escalation),
            66 => Kind::Pack(StreamId::Event),
            67 => Kind::Pack(StreamId::Answer),
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
        let mut bytes = Vec::with_capacity(self.bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(self.before.as_ref().map_or(&[], |before| &before.0[..]));
        bytes.extend_from_slice(self.payload);
        seal_in_place(&mut bytes, self.code(), self.epoch, self.seq)?;
        Some(bytes)
    }

    pub(super) fn code(&self) -> u8 {
        self.kind.code() + if self.before.is_some() { CHAINED } else { 0 }
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
        if crc != checksum(&header[4..25], payload) {
            return None;
        }
        let (before, payload) = if matches!(header[4], CHAINED | PACKED_CHAINED) {
            let (before, payload) = payload.split_first_chunk::<CHAIN_BYTES>()?;
            (Some(ChainValue(*before)), payload)
        } else {
            (None, payload)
        };
        let value = Value {
            kind: Kind::from_code(header[4])?,
            epoch: Epoch(u64::from_le_bytes(header[5..13].try_into().ok()?)),
            seq: u64::from_le_bytes(header[13..21].try_into().ok()?),
            before,
            payload,
        };
        let packed = matches!(value.kind, Kind::Pack(_));
        (!packed || value.records().is_pack()).then_some(value)
    }

    /// Number and payload of each record; nothing if it holds something else.
    pub(super) fn records(&self) -> Records<'a> {
        match self.kind {
            Kind::Record(_) => Records::one(self.seq, self.payload),
            Kind::Pack(_) => Records::pack(self.seq, self.payload),
            Kind::Ticket
            | Kind::Retry
            | Kind::Meta
            | Kind::Witness
            | Kind::Directive
            | Kind::Refused => Records::none(),
        }
    }

    /// The same values, each with one record at most: the records of a pack as if each had been
    /// written alone.
    pub(super) fn singles(self) -> impl Iterator<Item = Value<'a>> {
        let pack = if let Kind::Pack(stream) = self.kind { Some(stream) } else { None };
        let other = pack.is_none().then_some(self);
        let mut before = self.before;
        let records = pack.into_iter().flat_map(move |stream| {
            self.records().map(move |(seq, payload)| (stream, seq, payload))
        });
        let singles = records.map(move |(stream, seq, payload)| {
            let value = Value { kind: Kind::Record(stream), seq, before, payload, ..self };
            before = before.map(|before| before.after(payload));
            value
        });
        other.into_iter().chain(singles)
    }

    /// Sealed.
    pub(super) fn bytes(&self) -> usize {
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
        let alone = value.singles().inspect(|single| {
            let sealed = single.seal().expect("a record of a pack fits alone");
            assert_eq!(Value::open(&sealed).as_ref(), Some(single));
        });
        assert!(alone.count() > 0, "nothing is left of it");
        let Some(sealed) = value.seal() else { return };
        let opened = Value::open(&sealed).map(|it| (it.kind, it.epoch, it.seq, it.payload.len()));
        let was = (value.kind, value.epoch, value.seq, value.payload.len());
        assert_eq!(opened, Some(was), "a value that was read is written as it was");
    };
    carve(raw).map(check).count()
}

/// For tests that look beneath the store: number and content of the records in a value.
pub fn sealed_records(value: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let value = Value::open(value);
    let records = value.iter().flat_map(Value::records);
    records.map(|(seq, payload)| (seq, payload.to_vec())).collect()
}

/// Fills in the header, for which there is room at the start. `None` if it is too large.
pub(super) fn seal_in_place(bytes: &mut [u8], code: u8, epoch: Epoch, seq: u64) -> Option<()> {
    if bytes.len() > VALUE_BYTES_MAX {
        return None;
    }
    let (header, payload) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
    header[..4].copy_from_slice(MAGIC);
    header[4] = code;
    header[5..13].copy_from_slice(&epoch.0.to_le_bytes());
    header[13..21].copy_from_slice(&seq.to_le_bytes());
    header[21..25].copy_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    let crc = checksum(&header[4..25], payload);
    header[25..29].copy_from_slice(&crc.to_le_bytes());
    Some(())
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
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
        assert_eq!(&bytes[25..29], &checksum(&head[4..], b"ab").to_le_bytes());
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
        let kinds = kinds.chain(StreamId::UP.map(Kind::Pack)).chain([Kind::Pack(StreamId::Answer)]);
        let codes: Vec<u8> = kinds.clone().map(Kind::code).collect();
        assert_eq!(codes, [1, 2, 0, 3, 16, 17, 18, 19, 20, 21, 65, 66, 64, 67]);
        for (kind, code) in kinds.zip(codes) {
            assert_eq!(Kind::from_code(code), Some(kind));
        }
        assert_eq!(PACKED_CHAINED, 96);
        // What a later version writes is passed over, as a version before a kind does with it.
        let value =
            Value { kind: Kind::Ticket, epoch: Epoch(1), seq: 2, before: None, payload: b"a" };
        let mut later = value.seal().unwrap();
        later[4] = 99;
        let crc = checksum(&later[4..25], b"a");
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
    fn golden_bytes_of_packs() {
        let kind = Kind::Pack(StreamId::Event);
        let payload = b"\x01\0a\x02\0bc";
        let value = Value { kind, epoch: Epoch(1), seq: 3, before: None, payload };
        let bytes = value.seal().unwrap();
        let head = b"LFv1\x42\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x07\0\0\0";
        assert_eq!((&bytes[..25], &bytes[29..]), (&head[..], &payload[..]));
        assert_eq!(Value::open(&bytes), Some(value));
        let records: Vec<(u64, &[u8])> = value.records().collect();
        assert_eq!(records, [(3, &b"a"[..]), (4, b"bc")]);
        assert_eq!(value.records().end(), 5);
        // Outcomes, as they are taken apart.
        let before = Some(ChainValue([7; 32]));
        let value = Value { kind: Kind::Pack(StreamId::Outcome), before, ..value };
        let bytes = value.seal().unwrap();
        assert_eq!((bytes[4], &bytes[29..61], &bytes[61..]), (96, &[7; 32][..], &payload[..]));
        let single =
            Value { kind: Kind::Record(StreamId::Outcome), seq: 3, before, payload: b"a", ..value };
        let next = before.map(|before| before.after(b"a"));
        let singles: Vec<Value<'_>> = Value::open(&bytes).unwrap().singles().collect();
        assert_eq!(singles, [single, Value { seq: 4, before: next, payload: b"bc", ..single }]);
        assert_eq!(single.singles().collect::<Vec<_>>(), [single]);
    }

    #[test]
    fn what_is_no_whole_pack_is_no_value() {
        let kind = Kind::Pack(StreamId::Event);
        let opens = |seq, payload: &[u8]| {
            let value = Value { kind, epoch: Epoch(1), seq, before: None, payload };
            Value::open(&value.seal().unwrap()).is_some()
        };
        assert!(opens(3, b"\x01\0a") && opens(3, &[0; 128]));
        assert!(!opens(3, b""), "no record");
        assert!(!opens(3, b"\x01\0a\x02\0b") && !opens(3, b"\x01\0a\x02"), "cut off");
        assert!(!opens(3, &[0; 130]), "too many records");
        assert!(opens(u64::MAX - 2, &[0; 4]) && !opens(u64::MAX - 1, &[0; 4]), "too high");
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
