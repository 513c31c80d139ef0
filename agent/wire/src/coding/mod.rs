//! Records of a batch in as few bytes as possible.
//!
//! A batch is coded value by value, as serde sees a record: each value in the context of where it
//! stands, of what stood there before and of what its record has said so far (`values`), by
//! probabilities that adapt (`model`) and an arithmetic coder (`arithmetic`). Fields that are
//! added to a record later are coded without a change here.
//!
//! Records come back byte for byte, because their hash chain is over bytes. One that this version
//! does not know, or would write differently, travels as bytes; so do kinds of records that hubs
//! began to send later, because devices are updated after their hub: one that does not know such a
//! kind then fails to read one record, not the frame.
//!
//! Both sides may begin with what a [`Primer`] teaches: shipped records, numbered, so that a small
//! batch takes little too. What was learnt in one batch is not used in the next: a batch that was
//! lost, or is sent again, changes nothing.

mod arithmetic;
mod model;
mod primer;
mod read;
mod values;
mod write;

use crate::limits::{BODY_BYTES_MAX, RECORD_BYTES_MAX};
use crate::record::{Event, Record};
use arithmetic::Coder;
pub use primer::Primer;
use read::Reader;
use serde::{Deserialize as _, Serialize as _};
use values::{Path, Values};
use write::Writer;

/// Why coded records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// They end too early.
    #[error("coded records end too early")]
    Short,
    /// More than a frame may hold.
    #[error("coded records are over the limit of {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// A value that no record has.
    #[error("coded records hold a value that does not exist")]
    Value,
    /// A kind of value that this coding does not have; a record is then sent as bytes.
    #[error("a kind of value that is not coded")]
    Kind,
    /// What a type refuses to be made of.
    #[error("coded records hold what is not valid: {0}")]
    Invalid(String),
}

impl serde::ser::Error for CodingError {
    fn custom<T: std::fmt::Display>(text: T) -> CodingError {
        CodingError::Invalid(text.to_string())
    }
}

impl serde::de::Error for CodingError {
    fn custom<T: std::fmt::Display>(text: T) -> CodingError {
        CodingError::Invalid(text.to_string())
    }
}

/// Codes encoded records.
pub fn encode(records: &[impl AsRef<[u8]>], primer: Primer) -> Vec<u8> {
    let mut values = Values::new(primer.memory(), Coder::writer(), usize::MAX);
    for record in records {
        put(&mut values, record.as_ref());
    }
    values.finish().1
}

/// Decodes `count` records.
///
/// # Errors
/// [`CodingError`] for anything that [`encode`] does not make of so many records.
pub fn decode(bytes: &[u8], count: usize, primer: Primer) -> Result<Vec<Vec<u8>>, CodingError> {
    let mut values = Values::new(primer.memory(), Coder::reader(bytes), BODY_BYTES_MAX);
    let mut left = BODY_BYTES_MAX;
    let mut records = Vec::new();
    for _ in 0..count {
        let record = take(&mut values)?;
        left = left.checked_sub(record.len()).ok_or(CodingError::TooLarge)?;
        records.push(record);
    }
    Ok(records)
}

const IS_KNOWN: Path = Path::RECORD;

fn put(values: &mut Values<'_>, record: &[u8]) {
    values.begin();
    let known = Record::decode(record)
        .ok()
        .filter(|known| is_coded(known) && known.encode().is_ok_and(|again| again == record));
    // A writer has no budget, and records have only kinds of values that are coded.
    let done = match &known {
        Some(known) => values
            .variant(IS_KNOWN, 1)
            .and_then(|_| known.serialize(Writer { values, path: IS_KNOWN.then(1) })),
        None => values
            .variant(IS_KNOWN, 0)
            .and_then(|_| values.text(IS_KNOWN.then(0), record).map(drop)),
    };
    debug_assert_eq!(done, Ok(()));
}

fn is_coded(record: &Record) -> bool {
    match record {
        Record::Outcome(_) | Record::Escalation(_) | Record::Answer(_) | Record::Loss(_) => true,
        // A hub that is older than its device sets these aside, and reads their neighbours.
        Record::Event(event) => !matches!(
            event,
            Event::Release(_)
                | Event::Link(_)
                | Event::Sketch(_)
                | Event::Clock { .. }
                | Event::CertificateWanted { .. }
                | Event::Rules(_)
        ),
        Record::Refusal(_) | Record::Directive(_) | Record::Withheld(_) => false,
    }
}

fn take(values: &mut Values<'_>) -> Result<Vec<u8>, CodingError> {
    values.begin();
    let record = match values.variant(IS_KNOWN, 0)? {
        0 => values.text(IS_KNOWN.then(0), &[])?,
        1 => Record::deserialize(Reader { values, path: IS_KNOWN.then(1) })?
            .encode()
            .map_err(|error| CodingError::Invalid(error.to_string()))?,
        _ => return Err(CodingError::Value),
    };
    match record.len() {
        0..=RECORD_BYTES_MAX => Ok(record),
        _ => Err(CodingError::TooLarge),
    }
}
