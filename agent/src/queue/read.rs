//! Reading what a store holds, page by page. Blocking.

use super::QueueError;
use super::body::{ChainBody, Entry, OutcomePage, Page, StreamPart, Summary, Tickets, hex, view};
use crate::store::{HeldOutcome, OutcomeId, Store, StoreError, StreamStatus, TicketState};
use landfall_wire::id::DeviceId;
use landfall_wire::record::{Event, Record, StreamId};
use serde_json::json;

/// Most records of one page: at their largest they take 4 MB as JSON.
pub const LIMIT_MAX: usize = 256;

/// Records that are looked at to tell how many bytes wait in a stream; the others are taken to
/// be as large on average. It takes some tens of milliseconds.
const SIZED_MAX: u64 = 20_000;

/// Bytes read at once: writers wait meanwhile.
const CHUNK_BYTES: usize = 64 << 10;

/// Tickets that are told apart by where they stand.
const TICKETS_MAX: usize = 20_000;

/// Which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Of this stream.
    pub stream: StreamId,
    /// After this one.
    pub after: Option<OutcomeId>,
    /// At most so many, and at most [`LIMIT_MAX`].
    pub limit: usize,
    /// Also those that the hub has, as far as they are kept.
    pub kept: bool,
}

/// What waits, by stream.
///
/// # Errors
/// [`StoreError`].
pub fn summary(store: &Store, device: Option<&DeviceId>) -> Result<Summary, StoreError> {
    // Before the positions: everything below the end of the chain is then among them.
    let chain = store.chain_head();
    let status = store.status();
    let streams: Result<Vec<StreamPart>, StoreError> =
        status.streams.iter().map(|of| part(store, of)).collect();
    let oldest = store.outcomes(None, 1)?;
    Ok(Summary {
        device: device.map(ToString::to_string),
        epoch: status.epoch.to_string(),
        streams: streams?,
        tickets: tickets(store, status.tickets_open)?,
        chain: chain.map(|head| ChainBody { at: head.at, value: head.value.to_string() }),
        oldest_outcome: oldest.first().map(|held| held.id.to_string()),
        bytes: status.bytes,
        bytes_max: status.bytes_max,
        refused: status.refused,
        refusing: status.refusing,
    })
}

fn part(store: &Store, of: &StreamStatus) -> Result<StreamPart, StoreError> {
    let StreamStatus { stream, epoch, floor, acked, end, reach: _ } = *of;
    let (mut bytes, mut count, mut next, mut oldest_ms) = (0, 0, acked, None);
    while next < end && count < SIZED_MAX {
        let chunk = store.read(stream, epoch, next, end, CHUNK_BYTES)?;
        if count == 0 && oldest_ms.is_none() {
            let first = chunk.records.first().and_then(|raw| Record::decode(raw).ok());
            oldest_ms = first.as_ref().and_then(written_ms);
        }
        count += chunk.records.len() as u64;
        bytes += chunk.records.iter().map(|record| record.len() as u64).sum::<u64>();
        next = chunk.next_held.max(next + 1);
    }
    let estimated = next < end;
    if estimated && count > 0 {
        let whole = u128::from(bytes) * u128::from(end - acked) / u128::from(count);
        bytes = u64::try_from(whole).unwrap_or(u64::MAX);
    }
    Ok(StreamPart {
        stream: stream.name().to_owned(),
        epoch: epoch.to_string(),
        waiting: end - acked,
        first: acked,
        end,
        floor,
        bytes,
        bytes_estimated: estimated,
        oldest_ms,
    })
}

/// When a record was written, where it says so.
fn written_ms(record: &Record) -> Option<u64> {
    match record {
        Record::Outcome(outcome) => Some(outcome.at_ms),
        Record::Escalation(escalation) => Some(escalation.at_ms),
        Record::Answer(answer) => Some(answer.at_ms),
        Record::Event(Event::Started { at_ms, .. } | Event::Trouble { at_ms, .. }) => Some(*at_ms),
        Record::Event(Event::Unrecorded { until_ms, .. }) => Some(*until_ms),
        Record::Event(Event::Release(report)) => Some(report.at_ms),
        Record::Event(Event::Link(report)) => Some(report.at_ms),
        Record::Event(Event::Sketch(sketch)) => Some(sketch.until_ms),
        Record::Event(Event::Rules(report)) => Some(report.at_ms),
        Record::Event(
            Event::Task { .. }
            | Event::StoreReplaced { .. }
            | Event::Expired { .. }
            | Event::Chain(_)
            | Event::Clock { .. }
            | Event::CertificateWanted { .. },
        )
        | Record::Loss(_)
        | Record::Refusal(_)
        | Record::Directive(_)
        | Record::Withheld(_) => None,
    }
}

fn tickets(store: &Store, open: u64) -> Result<Tickets, StoreError> {
    let mut tickets = Tickets { open, ..Tickets::default() };
    for status in store.tickets(TICKETS_MAX)? {
        match status.state {
            TicketState::Queued => tickets.queued += 1,
            TicketState::Sent => tickets.sent += 1,
            TicketState::Received => tickets.received += 1,
            TicketState::Answered => tickets.answered += 1,
            TicketState::Delivered | TicketState::Expired => {}
        }
    }
    Ok(tickets)
}

/// Records of one stream, in order.
///
/// # Errors
/// [`StoreError`].
pub fn page(store: &Store, ask: Ask) -> Result<Page, StoreError> {
    let ask = Ask { limit: ask.limit.clamp(1, LIMIT_MAX), ..ask };
    let entries = match (ask.stream, ask.kept) {
        (StreamId::Outcome, true) => kept_outcomes(store, ask)?,
        (StreamId::Outcome, false) => waiting_outcomes(store, ask)?,
        _ => records(store, ask)?,
    };
    let full = entries.len() == ask.limit;
    let next = entries.last().filter(|_| full).map(|last| last.id.clone());
    Ok(Page { entries, next })
}

/// One outcome, with the digest of its text if that is known; `None` if it is not held.
///
/// # Errors
/// [`StoreError`].
pub fn outcome(store: &Store, id: OutcomeId) -> Result<Option<OutcomePage>, StoreError> {
    let found = store.outcomes(Some(id), 1)?;
    let Some(held) = found.first().filter(|held| held.id == id) else { return Ok(None) };
    let asked = match Record::decode(&held.record) {
        Ok(Record::Outcome(outcome)) => match outcome.caller_id {
            Some(caller_id) => store.asked(outcome.task, caller_id)?,
            None => None,
        },
        _ => None,
    };
    let text_digest = asked.filter(|(_, of)| *of == id).map(|(digest, _)| digest.to_string());
    Ok(Some(OutcomePage { entry: of_outcome(held), text_digest }))
}

fn kept_outcomes(store: &Store, ask: Ask) -> Result<Vec<Entry>, StoreError> {
    let from = ask.after.map(|after| OutcomeId { seq: after.seq.saturating_add(1), ..after });
    Ok(store.outcomes(from, ask.limit)?.iter().map(of_outcome).collect())
}

fn waiting_outcomes(store: &Store, ask: Ask) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for of in waiting(store, ask) {
        let from = Some(OutcomeId { epoch: of.epoch, seq: of.acked });
        let found = store.outcomes(from, ask.limit - entries.len())?;
        let waits = |held: &&HeldOutcome| held.id.epoch == of.epoch && !held.at_hub;
        entries.extend(found.iter().filter(waits).map(of_outcome));
        if entries.len() >= ask.limit {
            break;
        }
    }
    Ok(entries)
}

fn records(store: &Store, ask: Ask) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for of in waiting(store, ask) {
        let acked =
            store.streams().into_iter().find(|s| s.stream == of.stream && s.epoch == of.epoch);
        let acked = acked.map_or(u64::MAX, |now| now.acked);
        let mut next = of.acked;
        while next < of.end && entries.len() < ask.limit {
            let chunk = store.read(of.stream, of.epoch, next, of.end, CHUNK_BYTES)?;
            let numbered = chunk.records.iter().zip(next..).take(ask.limit - entries.len());
            entries.extend(numbered.map(|(raw, seq)| {
                let id = OutcomeId { epoch: of.epoch, seq };
                entry(of.stream, id, seq < acked, raw)
            }));
            next = chunk.next_held.max(next + 1);
        }
    }
    Ok(entries)
}

/// The parts of a stream that are asked for: `acked` is where they begin.
fn waiting(store: &Store, ask: Ask) -> Vec<StreamStatus> {
    let of_stream = store.streams().into_iter().filter(|s| s.stream == ask.stream);
    let mut parts: Vec<StreamStatus> = of_stream
        .map(|s| StreamStatus { acked: if ask.kept { s.floor } else { s.acked }, ..s })
        .collect();
    if let Some(after) = ask.after {
        // An epoch that is forgotten was the oldest: all others come after it.
        let at = parts.iter().position(|s| s.epoch == after.epoch);
        parts.drain(..at.unwrap_or(0));
        if let Some(first) = parts.first_mut().filter(|s| s.epoch == after.epoch) {
            first.acked = first.acked.max(after.seq.saturating_add(1));
        }
    }
    parts
}

fn of_outcome(held: &HeldOutcome) -> Entry {
    let before = held.before.map(|before| before.to_string());
    Entry { before, ..entry(StreamId::Outcome, held.id, held.at_hub, &held.record) }
}

fn entry(stream: StreamId, id: OutcomeId, at_hub: bool, raw: &[u8]) -> Entry {
    let record = match Record::decode(raw) {
        Ok(record) => view(&record),
        Err(error) => json!({ "unreadable": error.to_string() }),
    };
    let stream = stream.name().to_owned();
    Entry { id: id.to_string(), stream, at_hub, before: None, raw: hex(raw), record }
}

/// The record of this name.
///
/// # Errors
/// [`QueueError::NotARecord`].
pub fn record_id(text: &str) -> Result<OutcomeId, QueueError> {
    text.parse().map_err(|_| QueueError::NotARecord(text.chars().take(80).collect()))
}
