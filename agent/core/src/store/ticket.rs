//! What is kept of an escalation and of a reply.

use super::types::{CallerKey, Kept};
use super::value::{Kind, Value};
use crate::reply::Reply;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::Answer;
use serde::{Deserialize, Serialize};

/// The part of a ticket's state that is written; sent and received follow from the stream's
/// positions. Ordered by age: a later one replaces an earlier one. The order is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Stage {
    Open,
    Expired,
    Answered,
    Delivered,
    /// Its name means another question at the hub, see `rollback`: no answer can be right.
    GivenUp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TicketRecord {
    pub(super) stage: Stage,
    /// End of its time to live, in running time.
    pub(super) deadline_ms: u64,
    pub(super) answer: Option<Answer>,
}

impl TicketRecord {
    pub(super) fn seal(&self, ticket: Ticket) -> Option<Vec<u8>> {
        let payload = postcard::to_stdvec(self).ok()?;
        let Ticket { epoch, seq } = ticket;
        Value { kind: Kind::Ticket, epoch, seq, before: None, payload: &payload }.seal()
    }

    pub(super) fn parse(value: &Value<'_>) -> Option<(Ticket, TicketRecord)> {
        let record = (value.kind == Kind::Ticket).then(|| postcard::from_bytes(value.payload))?;
        Some((Ticket { epoch: value.epoch, seq: value.seq }, record.ok()?))
    }
}

/// What a caller's id was answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RetryRecord {
    pub(super) key: CallerKey,
    pub(super) ticket: Option<Ticket>,
    pub(super) reply: Reply,
}

impl RetryRecord {
    pub(super) fn seal(&self, epoch: Epoch, outcome_seq: u64) -> Option<Vec<u8>> {
        let payload = postcard::to_stdvec(self).ok()?;
        let (kind, seq) = (Kind::Retry, outcome_seq);
        Value { kind, epoch, seq, before: None, payload: &payload }.seal()
    }

    pub(super) fn parse(value: &Value<'_>) -> Option<(CallerKey, Kept)> {
        let record = (value.kind == Kind::Retry)
            .then(|| postcard::from_bytes::<RetryRecord>(value.payload))?
            .ok()?;
        let RetryRecord { key, ticket, reply } = record;
        Some((key, Kept { reply, epoch: value.epoch, outcome_seq: value.seq, ticket }))
    }
}
