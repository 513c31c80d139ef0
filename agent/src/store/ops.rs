//! What handles ask of the writer.

use super::StoreError;
use super::types::{CallerKey, Committed};
use landfall_agent_core::task::Entry;
use landfall_wire::frame::Position;
use landfall_wire::id::Ticket;
use landfall_wire::record::{Answer, Event};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Most requests that wait for the writer; more wait to be taken. Four full commits.
pub(super) const WAITING_MAX: usize = 256;

/// Where an answer goes. Whoever asked may be gone: then the answer is dropped, not the write.
pub(super) struct Reply<T> {
    pub(super) to: oneshot::Sender<Result<T, StoreError>>,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl<T> Reply<T> {
    pub(super) fn send(self, result: Result<T, StoreError>) {
        drop(self.to.send(result));
    }
}

pub(super) enum Op {
    Commit {
        entry: Box<Entry>,
        key: Option<CallerKey>,
        urgent: bool,
        reply: Reply<Committed>,
    },
    Event {
        event: Box<Event>,
        reply: Reply<()>,
    },
    Delivered {
        ticket: Ticket,
        reply: Reply<()>,
    },
    Acked {
        mark: Position,
        reply: Reply<()>,
    },
    Answers {
        mark: Position,
        answers: Vec<Answer>,
        reply: Reply<()>,
    },
    RolledBack {
        mark: Position,
        reply: Reply<()>,
    },
    /// Reading found this generation damaged.
    Suspect {
        number: u64,
        detail: String,
    },
    Reopen {
        reply: Reply<()>,
    },
    Close {
        reply: Reply<()>,
    },
}

impl Op {
    /// Whether someone waits, so that the commit must not wait for company.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Op::Commit { urgent, .. } => *urgent,
            Op::Event { .. } | Op::Acked { .. } => false,
            Op::Delivered { .. }
            | Op::Answers { .. }
            | Op::RolledBack { .. }
            | Op::Suspect { .. }
            | Op::Reopen { .. }
            | Op::Close { .. } => true,
        }
    }
}
