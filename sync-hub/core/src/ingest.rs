//! A batch, against the mark: what becomes a row. Called inside the transaction that moves the
//! mark, so that several hubs on one database agree.

use landfall_wire::frame::Batch;
use landfall_wire::record::{Record, StreamId};
use landfall_wire::stream::receive;
use std::ops::Range;

/// Largest sequence number that is kept: databases have signed 64-bit integers. No store lives
/// long enough to reach it; only a hostile batch does.
pub const SEQ_MAX: u64 = i64::MAX as u64;

/// Most epochs of one device that get a mark. A store is replaced when it is damaged, a few
/// times in a box's life; more than this is a device that invents them.
pub const EPOCHS_PER_DEVICE_MAX: usize = 1024;

/// What a batch comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One entry for each new sequence number, in order.
    pub entries: Vec<Entry>,
    /// Sequence numbers that the device no longer holds.
    pub gap: Option<Range<u64>>,
    /// The mark after that, to acknowledge once it is committed.
    pub mark: u64,
    /// Records of the batch that were known already.
    pub repeated: u64,
}

/// A new sequence number and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream.
    pub seq: u64,
    /// What is there.
    pub content: Content,
}

/// What a sequence number holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A record that belongs in the stream.
    Record(Box<Record>),
    /// Bytes that are kept as they came, because this hub cannot use them. The stream goes on:
    /// one bad record must not hold up its successors.
    Rejected {
        /// Why.
        reason: String,
        /// The record as sent.
        raw: Vec<u8>,
    },
}

/// Why a whole batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The stream is not one that a device sends.
    #[error("a device does not send the {} stream", .0.name())]
    Stream(StreamId),
    /// Past [`SEQ_MAX`].
    #[error("sequence number {0} is beyond anything a device can have written")]
    Sequence(u64),
}

/// What to do with `batch` when everything below `mark` is committed.
///
/// # Errors
/// [`BatchError`] if the batch makes no sense as a whole.
pub fn plan(mark: u64, batch: &Batch) -> Result<Plan, BatchError> {
    if !StreamId::UP.contains(&batch.stream) {
        return Err(BatchError::Stream(batch.stream));
    }
    let count = batch.records.len();
    let end = batch.first.saturating_add(count as u64);
    if end > SEQ_MAX {
        return Err(BatchError::Sequence(end));
    }
    let receipt = receive(mark, batch.floor, batch.first, count);
    let entries = receipt
        .apply
        .clone()
        .map(|index| Entry {
            seq: batch.first + index as u64,
            content: read(batch.stream, &batch.records[index]),
        })
        .collect();
    let known = mark.saturating_sub(batch.first).min(count as u64);
    Ok(Plan { entries, gap: receipt.gap, mark: receipt.mark, repeated: known })
}

fn read(stream: StreamId, raw: &[u8]) -> Content {
    match Record::decode(raw) {
        Ok(record) if stream.accepts(&record) => Content::Record(Box::new(record)),
        Ok(_) => Content::Rejected {
            reason: format!(
                "a record of this kind does not belong in the {} stream",
                stream.name()
            ),
            raw: raw.to_vec(),
        },
        Err(error) => Content::Rejected { reason: error.to_string(), raw: raw.to_vec() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_wire::id::{Epoch, Ticket};
    use landfall_wire::record::Event;

    fn batch(stream: StreamId, floor: u64, first: u64, records: Vec<Vec<u8>>) -> Batch {
        Batch { stream, epoch: Epoch(7), floor, first, records }
    }

    fn expired(seq: u64) -> Record {
        Record::Event(Event::Expired { ticket: Ticket { epoch: Epoch(7), seq } })
    }

    #[test]
    fn a_record_that_cannot_be_used_is_kept_and_the_stream_goes_on() {
        let good = expired(1);
        let records = vec![good.encode().unwrap(), vec![0xff; 9], good.encode().unwrap()];
        let plan = plan(0, &batch(StreamId::Event, 0, 0, records)).unwrap();
        assert_eq!(plan.mark, 3);
        assert_eq!(plan.entries[0].content, Content::Record(Box::new(good)));
        let Content::Rejected { raw, reason } = &plan.entries[1].content else { panic!() };
        assert_eq!(raw, &vec![0xff; 9]);
        assert!(reason.contains("not a record"), "{reason}");
        assert_eq!(plan.entries[2].seq, 2);
    }

    #[test]
    fn a_record_in_the_wrong_stream_is_rejected() {
        let records = vec![expired(1).encode().unwrap()];
        let plan = plan(0, &batch(StreamId::Outcome, 0, 0, records)).unwrap();
        let Content::Rejected { reason, .. } = &plan.entries[0].content else { panic!() };
        assert!(reason.contains("outcome stream"), "{reason}");
    }

    #[test]
    fn what_is_known_is_counted_and_not_applied() {
        let records = vec![expired(0).encode().unwrap(); 4];
        let plan = plan(7, &batch(StreamId::Event, 0, 5, records)).unwrap();
        assert_eq!((plan.repeated, plan.mark), (2, 9));
        assert_eq!(plan.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn batches_that_make_no_sense_are_refused() {
        let answer = batch(StreamId::Answer, 0, 0, vec![]);
        assert_eq!(plan(0, &answer), Err(BatchError::Stream(StreamId::Answer)));
        let far = batch(StreamId::Outcome, SEQ_MAX, SEQ_MAX, vec![vec![]]);
        assert!(matches!(plan(0, &far), Err(BatchError::Sequence(_))));
    }
}
