//! What a device holds: what waits for the hub, by stream, and every outcome that it still has.
//!
//! The running agent gives it over HTTP, a command reads it from a copy of a store that no agent
//! has open; both are the functions of `read`. Pages bound memory, however much there is.

mod body;
mod read;
mod refused;

pub use body::{ChainBody, Entry, OutcomePage, Page, StreamPart, Summary, Tickets, hex, unhex};
pub use read::{Ask, LIMIT_MAX, outcome, page, record_id, summary};
pub use refused::{RefusedEntry, RefusedPage, ResendBody, ResentEntry, ResentPage, refused};

use crate::store::StoreError;
use landfall_wire::record::StreamId;

/// Why the queue cannot be read as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not one of the device's streams.
    #[error("there is no stream '{0}'; the streams are: escalation, event, outcome")]
    UnknownStream(String),
    /// Not the name of a record.
    #[error("'{0}' is not a record: it looks like 00f1e2d3c4b5a697-42")]
    NotARecord(String),
}

/// The device's stream of this name.
///
/// # Errors
/// [`QueueError::UnknownStream`].
pub fn stream_named(name: &str) -> Result<StreamId, QueueError> {
    let found = StreamId::UP.into_iter().find(|stream| stream.name() == name);
    found.ok_or_else(|| QueueError::UnknownStream(name.chars().take(80).collect()))
}
