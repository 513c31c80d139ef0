//! The keys of the one tree of a generation. Numbers are big endian, so that they sort.
//!
//! ```text
//! m                               meta: epoch, positions, running time
//! p                               how the generation before this one ended
//! s                               where the store stood when it failed, until it is salvaged
//! r stream(1) epoch(8) seq(8)     a record, or consecutive ones of which this is the first
//! t epoch(8) seq(8)               a ticket
//! x deadline(8) epoch(8) seq(8)   tickets by the end of their time to live; no value
//! k task 00 caller-id             what was replied to a caller's own id
//! d kind(2) subject               a directive of the hub
//! e stream(1) epoch(8) seq(8)     why the hub refused a record; empty: no longer kept
//! f stream(1) epoch(8) seq(8)     that record
//! ```

use super::refused::RefusedId;
use super::types::CallerKey;
use super::value::Kind;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::StreamId;

pub(super) const META: &[u8] = b"m";
pub(super) const SEAL: &[u8] = b"p";
pub(super) const TOLD: &[u8] = b"s";

fn key(prefix: &[u8], numbers: &[u64]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
    bytes
}

pub(super) fn record(stream: StreamId, epoch: Epoch, seq: u64) -> Vec<u8> {
    key(&[b'r', Kind::Record(stream).code()], &[epoch.0, seq])
}

/// Every outcome's key is from [`OUTCOMES`] on, and before [`OUTCOMES_END`].
pub(super) const OUTCOMES: &[u8] = b"r\x00";
pub(super) const OUTCOMES_END: &[u8] = b"r\x01";

/// The epoch in a record's key.
pub(super) fn parse_record_epoch(key: &[u8]) -> Option<Epoch> {
    Some(Epoch(u64::from_be_bytes(key.get(2..10)?.try_into().ok()?)))
}

pub(super) const DIRECTIVES: &[u8] = b"d";
pub(super) const DIRECTIVES_END: &[u8] = b"e";

pub(super) fn directive(kind: u16, subject: &str) -> Vec<u8> {
    [b"d", &kind.to_be_bytes()[..], subject.as_bytes()].concat()
}

pub(super) const REFUSED: &[u8] = b"e";
pub(super) const REFUSED_END: &[u8] = b"f";

pub(super) fn refused(id: RefusedId) -> Vec<u8> {
    key(&[b'e', Kind::Record(id.stream).code()], &[id.epoch.0, id.seq])
}

pub(super) fn refused_record(id: RefusedId) -> Vec<u8> {
    key(&[b'f', Kind::Record(id.stream).code()], &[id.epoch.0, id.seq])
}

pub(super) fn parse_refused(key: &[u8]) -> Option<RefusedId> {
    let stream = StreamId::UP
        .into_iter()
        .find(|stream| Some(Kind::Record(*stream).code()) == key.get(1).copied())?;
    Some(RefusedId { stream, epoch: parse_record_epoch(key)?, seq: parse_seq(key)? })
}

pub(super) fn ticket(ticket: Ticket) -> Vec<u8> {
    key(b"t", &[ticket.epoch.0, ticket.seq])
}

/// Everything before it is a ticket, everything from [`TICKETS`] on.
pub(super) const TICKETS: &[u8] = b"t";
pub(super) const TICKETS_END: &[u8] = b"u";

pub(super) const DEADLINES: &[u8] = b"x";
pub(super) const DEADLINES_END: &[u8] = b"y";

pub(super) fn deadline(deadline_ms: u64, ticket: Ticket) -> Vec<u8> {
    key(b"x", &[deadline_ms, ticket.epoch.0, ticket.seq])
}

/// The first key of a deadline after `running_ms`.
pub(super) fn deadlines_after(running_ms: u64) -> Vec<u8> {
    key(b"x", &[running_ms.saturating_add(1)])
}

pub(super) fn parse_deadline(key: &[u8]) -> Option<(u64, Ticket)> {
    let numbers: &[u8; 24] = key.strip_prefix(b"x")?.try_into().ok()?;
    let number = |at: usize| Some(u64::from_be_bytes(numbers[at..at + 8].try_into().ok()?));
    Some((number(0)?, Ticket { epoch: Epoch(number(8)?), seq: number(16)? }))
}

/// The sequence number at the end of a record's key.
pub(super) fn parse_seq(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

pub(super) fn retry(caller: &CallerKey) -> Vec<u8> {
    [b"k", caller.task.as_str().as_bytes(), b"\0", caller.caller_id.as_bytes()].concat()
}
