//! What goes into the store and what comes out.

use crate::reply::Reply;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::record::{Answer, StreamId};
use serde::{Deserialize, Serialize};

/// A caller's own id of a request, within a task, with a digest of what it asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerKey {
    /// The task.
    pub task: TaskName,
    /// The caller's id.
    pub caller_id: String,
    /// Digest of the request under this id; the same id with another digest is a conflict.
    pub text_digest: ShortDigest,
}

/// A durable decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Epoch of the store.
    pub epoch: Epoch,
    /// Position in the outcome stream.
    pub outcome_seq: u64,
    /// The escalation, if there is one.
    pub ticket: Option<Ticket>,
    /// Set if a request with the same key was committed first: its reply counts, and this
    /// entry was not stored.
    pub repeated: Option<Reply>,
}

/// What was kept of an earlier request.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// What the caller was told.
    pub reply: Reply,
    /// Epoch of the store that holds the outcome.
    pub epoch: Epoch,
    /// Position of the outcome.
    pub outcome_seq: u64,
    /// The escalation, if there was one.
    pub ticket: Option<Ticket>,
}

/// Whether a request was seen before.
#[derive(Debug, Clone, PartialEq)]
pub enum Recall {
    /// Not within the retry window.
    Unknown,
    /// The same id with the same text.
    Same(Box<Kept>),
    /// The same id with another text.
    Conflict,
}

/// Where an escalation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketState {
    /// Durable here, not sent yet.
    Queued,
    /// Handed to the connection.
    Sent,
    /// Committed at the hub.
    Received,
    /// The answer is here.
    Answered,
    /// The caller has fetched the answer.
    Delivered,
    /// Its time to live is over and no answer came.
    Expired,
}

/// An escalation as its asker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketStatus {
    /// The ticket.
    pub ticket: Ticket,
    /// Where it stands.
    pub state: TicketState,
    /// The answer, once there is one.
    pub answer: Option<Answer>,
}

/// One stream of one epoch: `floor <= acked <= reach <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Which stream.
    pub stream: StreamId,
    /// Which life of the store.
    pub epoch: Epoch,
    /// The oldest record that may still be held.
    pub floor: u64,
    /// Everything below is committed at the hub.
    pub acked: u64,
    /// One past the last durable record.
    pub end: u64,
    /// The hub can have nothing from here on: no record above was ever handed to a connection.
    /// Written beside the others, see `meta`.
    #[serde(skip)]
    pub reach: u64,
}

impl StreamStatus {
    /// Records that the hub does not have yet.
    pub fn backlog(&self) -> u64 {
        self.end - self.acked
    }
}

/// The store at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// The epoch of new records.
    pub epoch: Epoch,
    /// Every stream, of former epochs too while they still have a backlog.
    pub streams: Vec<StreamStatus>,
    /// How far the answers of the hub are applied.
    pub answers: Option<Position>,
    /// Bytes on disk, ballast included.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Generations on disk.
    pub generations: usize,
    /// Escalations that are neither answered nor expired.
    pub tickets_open: u64,
    /// Records dropped or unreadable since this process opened the store.
    pub lost: u64,
    /// Records that the hub refused, and that are kept.
    pub refused: u64,
    /// Why new records are refused, if they are.
    pub refusing: Option<String>,
}

impl StoreStatus {
    /// Records of all streams that the hub does not have yet.
    pub fn backlog(&self) -> u64 {
        self.streams.iter().map(StreamStatus::backlog).sum()
    }
}

/// Records read for sending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Consecutive encoded records from the first that was asked for.
    pub records: Vec<Vec<u8>>,
    /// If `records` is empty: the first sequence number at or after it that is held, or the
    /// end that was asked for.
    pub next_held: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The store was created.
    pub created: bool,
    /// Damaged generations that were set aside.
    pub damaged: usize,
    /// Records that were read out of them.
    pub salvaged: u64,
    /// Records that are lost with them.
    pub lost: u64,
}
