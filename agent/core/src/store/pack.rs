//! Consecutive records in one value, which costs the storage engine little more than one record:
//! see `value` for the format.

use super::keys;
use super::medium::Pair;
use super::value::{
    CHAIN_BYTES, HEADER_BYTES, Kind, PACK_RECORDS_MAX, VALUE_BYTES_MAX, Value, seal_in_place,
};
use landfall_wire::chain::ChainValue;
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;

/// Bytes of the length before each record.
const LENGTH_BYTES: usize = 2;

/// Number and payload of the records in a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Records<'a> {
    next: u64,
    rest: Rest<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Rest<'a> {
    One(&'a [u8]),
    Packed(&'a [u8]),
    Nothing,
}

impl<'a> Records<'a> {
    pub(super) fn none() -> Records<'a> {
        Records { next: 0, rest: Rest::Nothing }
    }

    pub(super) fn one(seq: u64, payload: &'a [u8]) -> Records<'a> {
        Records { next: seq, rest: Rest::One(payload) }
    }

    pub(super) fn pack(seq: u64, payload: &'a [u8]) -> Records<'a> {
        Records { next: seq, rest: Rest::Packed(payload) }
    }

    /// Whether these are the records of a pack, whole and within the limits.
    pub(super) fn is_pack(self) -> bool {
        let mut records = self;
        let count = records.by_ref().count() as u64;
        // What does not parse to its end leaves something over.
        let whole = matches!(records.rest, Rest::Packed([]));
        whole && (1..=PACK_RECORDS_MAX).contains(&count) && self.next.checked_add(count).is_some()
    }

    /// One past the last.
    pub(super) fn end(self) -> u64 {
        self.next.saturating_add(self.count() as u64)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        let payload = match self.rest {
            Rest::Nothing => return None,
            Rest::One(payload) => {
                self.rest = Rest::Nothing;
                payload
            }
            Rest::Packed(rest) => {
                let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
                let (payload, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
                self.rest = Rest::Packed(rest);
                payload
            }
        };
        let seq = self.next;
        self.next = seq.saturating_add(1);
        Some((seq, payload))
    }
}

/// A record that gets its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbered<'a> {
    pub(super) stream: StreamId,
    pub(super) epoch: Epoch,
    pub(super) seq: u64,
    /// The hash chain before and after it.
    pub(super) chain: Option<(ChainValue, ChainValue)>,
    pub(super) payload: &'a [u8],
}

/// A value that is being filled with records.
#[derive(Debug)]
pub(super) struct Pack {
    stream: StreamId,
    epoch: Epoch,
    first: u64,
    count: u64,
    before: Option<ChainValue>,
    after: Option<ChainValue>,
    /// Room for the header, the chain, the records with their lengths.
    bytes: Vec<u8>,
}

impl Pack {
    pub(super) fn begin(record: Numbered<'_>) -> Pack {
        let Numbered { stream, epoch, seq, chain, payload } = record;
        let mut bytes =
            Vec::with_capacity(HEADER_BYTES + CHAIN_BYTES + LENGTH_BYTES + payload.len());
        bytes.resize(HEADER_BYTES, 0);
        let before = chain.map(|(before, _)| before);
        bytes.extend(before.iter().flat_map(|before| before.0));
        let mut pack = Pack { stream, epoch, first: seq, count: 0, before, after: None, bytes };
        pack.append(record);
        pack
    }

    pub(super) fn is_of(&self, stream: StreamId, epoch: Epoch) -> bool {
        (self.stream, self.epoch) == (stream, epoch)
    }

    /// Takes the record that follows in, if there is room for it.
    pub(super) fn push(&mut self, record: Numbered<'_>) -> bool {
        let follows = self.is_of(record.stream, record.epoch)
            && record.seq == self.first + self.count
            && record.chain.map(|(before, _)| before) == self.after;
        let bytes = self.bytes.len() + LENGTH_BYTES + record.payload.len();
        let fits = self.count < PACK_RECORDS_MAX && bytes <= VALUE_BYTES_MAX;
        if follows && fits {
            self.bytes.reserve_exact(VALUE_BYTES_MAX - self.bytes.len());
            self.append(record);
        }
        follows && fits
    }

    fn append(&mut self, record: Numbered<'_>) {
        let length = u16::try_from(record.payload.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record.payload);
        self.count += 1;
        self.after = record.chain.map(|(_, after)| after);
    }

    /// Key and value: a pack, or a single record as it is.
    pub(super) fn seal(mut self) -> Pair {
        let Pack { stream, epoch, first: seq, before, .. } = self;
        let kind = if self.count == 1 {
            let at = HEADER_BYTES + before.map_or(0, |_| CHAIN_BYTES);
            self.bytes.drain(at..at + LENGTH_BYTES);
            Kind::Record(stream)
        } else {
            Kind::Pack(stream)
        };
        let code = Value { kind, epoch, seq, before, payload: &[] }.code();
        seal_in_place(&mut self.bytes, code, epoch, seq).expect("only what fits is taken in");
        (keys::record(stream, epoch, seq), self.bytes)
    }
}
