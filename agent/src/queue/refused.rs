//! Records that the hub set aside because it could not use them, and sending them once more.

use super::body::{hex, view};
use super::{QueueError, record_id, stream_named};
use crate::store::{OutcomeId, RefusedId, Resent, Store, StoreError};
use landfall_wire::record::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the hub refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedPage {
    /// The records, by stream, epoch and number.
    pub refused: Vec<RefusedEntry>,
}

/// A record that the hub refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefusedEntry {
    /// Epoch and number.
    pub id: String,
    /// Its stream.
    pub stream: String,
    /// Why.
    pub reason: String,
    /// The record as it travelled, in hex; absent if it was no longer held when the refusal came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Value>,
}

/// Which to send once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResendBody {
    /// Stream of the record; without it, all that are still here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Epoch and number of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What is sent once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResentPage {
    /// Each of them.
    pub resent: Vec<ResentEntry>,
}

/// A record that is sent once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResentEntry {
    /// Epoch and number that it was refused under.
    pub id: String,
    /// Its stream.
    pub stream: String,
    /// Its new epoch and number.
    pub now: String,
    /// The new ticket of a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// What the hub refused. Blocking.
///
/// # Errors
/// [`StoreError`].
pub fn refused(store: &Store) -> Result<RefusedPage, StoreError> {
    let entry = |one: crate::store::Refused| {
        let RefusedId { stream, epoch, seq } = one.id;
        let record = one.record.as_deref().and_then(|raw| Record::decode(raw).ok());
        RefusedEntry {
            id: OutcomeId { epoch, seq }.to_string(),
            stream: stream.name().to_owned(),
            reason: one.reason,
            raw: one.record.as_deref().map(hex),
            record: record.as_ref().map(view),
        }
    };
    Ok(RefusedPage { refused: store.refused()?.into_iter().map(entry).collect() })
}

impl ResendBody {
    /// The record that is named, or `None` for all.
    ///
    /// # Errors
    /// [`QueueError`]: half a name, or one that is none.
    pub fn which(&self) -> Result<Option<RefusedId>, QueueError> {
        match (&self.stream, &self.id) {
            (None, None) => Ok(None),
            (Some(stream), Some(id)) => {
                let (stream, OutcomeId { epoch, seq }) = (stream_named(stream)?, record_id(id)?);
                Ok(Some(RefusedId { stream, epoch, seq }))
            }
            (None, Some(_)) => Err(QueueError::UnknownStream(String::new())),
            (Some(_), None) => Err(QueueError::NotARecord(String::new())),
        }
    }
}

impl From<Vec<Resent>> for ResentPage {
    fn from(all: Vec<Resent>) -> ResentPage {
        let entry = |one: Resent| {
            let RefusedId { stream, epoch, seq } = one.id;
            let (now_epoch, now_seq) = one.now;
            ResentEntry {
                id: OutcomeId { epoch, seq }.to_string(),
                stream: stream.name().to_owned(),
                now: OutcomeId { epoch: now_epoch, seq: now_seq }.to_string(),
                ticket: one.ticket.map(|ticket| ticket.to_string()),
            }
        };
        ResentPage { resent: all.into_iter().map(entry).collect() }
    }
}
