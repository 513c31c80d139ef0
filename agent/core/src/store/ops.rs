//! What the store is asked to write.

use super::StoreError;
use super::refused::{RefusedId, Resent};
use super::types::{CallerKey, Committed};
use crate::session::DownBatch;
use crate::task::Entry;
use landfall_wire::frame::Position;
use landfall_wire::id::Ticket;
use landfall_wire::record::Event;

/// Told the outcome, once it is durable or has failed. Whoever asked may be gone: then the
/// outcome is dropped, not the write.
pub type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Something to write.
pub enum Op {
    /// A decision with its escalation, ticket and retry key, atomically.
    Commit {
        /// The decision.
        entry: Box<Entry>,
        /// The caller's own id, if it gave one.
        key: Option<CallerKey>,
        /// A caller waits: do not wait for company.
        urgent: bool,
        /// Told the outcome.
        reply: Reply<Committed>,
    },
    /// Something the hub should know.
    Event {
        /// What.
        event: Box<Event>,
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// The caller has the answer.
    Delivered {
        /// Of this ticket.
        ticket: Ticket,
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// The hub has committed everything below.
    Acked {
        /// This.
        mark: Position,
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// What came from the hub with the mark that it reaches, atomically.
    Down {
        /// What came.
        batch: DownBatch,
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// There is a connection: what is there, and what is written until
    /// [`super::Shared::withdraw`], may be sent once this is durable.
    Offer {
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// What the hub refused is to be sent once more.
    Resend {
        /// This record, or all of them.
        which: Option<RefusedId>,
        /// Told what is sent.
        reply: Reply<Vec<Resent>>,
    },
    /// The hub holds more of a stream than it can have had from this store.
    RolledBack {
        /// What the hub holds.
        mark: Position,
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// Reading found this generation damaged.
    Suspect {
        /// Which one.
        number: u64,
        /// What was wrong.
        detail: String,
    },
    /// Try now to open a closed store.
    Reopen {
        /// Told the outcome.
        reply: Reply<()>,
    },
    /// Write what waits and close.
    Close {
        /// Told when it is done.
        reply: Reply<()>,
    },
}

impl Op {
    /// Whether someone waits, so that the commit must not wait for company.
    pub fn is_urgent(&self) -> bool {
        match self {
            Op::Commit { urgent, .. } => *urgent,
            Op::Event { .. } | Op::Acked { .. } => false,
            Op::Delivered { .. }
            | Op::Down { .. }
            | Op::Offer { .. }
            | Op::Resend { .. }
            | Op::RolledBack { .. }
            | Op::Suspect { .. }
            | Op::Reopen { .. }
            | Op::Close { .. } => true,
        }
    }
}
