//! Reading what is left of a damaged file.

use super::StoreError;
use super::keys;
use super::medium::{Medium, Table, TableError};
use super::meta::Meta;
use super::standing::{Directives, Standing};
use super::ticket::{RetryRecord, TicketRecord};
use super::types::StreamStatus;
use super::value::{Kind, Value, carve};
use super::witness::Witness;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::StreamId;
use std::collections::BTreeMap;

/// What else there is to read than the damaged files themselves.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Where the store stood.
    pub(super) witness: Option<Witness>,
    /// The end of the generation that the witness tells of, from before it was opened.
    tip: Vec<u8>,
    /// Where the store stood when it failed in this process: nobody was told of more, and nothing
    /// more was sent. What a commit that failed has left in a file must not come back, since its
    /// caller was told so and may have asked again. The new generation holds it until the salvage
    /// is over.
    pub(super) told: Option<Meta>,
}

impl Evidence {
    /// Before anything is opened.
    pub(super) fn gather(medium: &mut dyn Medium, told: Option<Meta>) -> Evidence {
        let witness = Witness::newest(medium);
        let tip = witness.as_ref().map(|witness| medium.tip(witness.number)).unwrap_or_default();
        Evidence { witness, tip, told }
    }

    /// Whether a value may be of a commit that succeeded.
    fn may_be_told(&self, value: &Value<'_>) -> bool {
        let Some(told) = &self.told else { return true };
        let before_end = |stream| {
            told.stream(stream, value.epoch).is_none_or(|standing| value.seq < standing.end)
        };
        match value.kind {
            Kind::Record(stream) | Kind::Pack(stream) => before_end(stream),
            Kind::Ticket => before_end(StreamId::Escalation),
            Kind::Retry => before_end(StreamId::Outcome),
            Kind::Meta => value.seq <= told.counter,
            // The hub sends a directive again until it hears that it is here.
            Kind::Directive | Kind::Refused | Kind::Witness => true,
        }
    }

    fn tip(&self, number: u64) -> &[u8] {
        let of = self.witness.as_ref().filter(|witness| witness.number == number);
        of.map_or(&[], |_| &self.tip)
    }
}

/// What a first look at damaged files finds.
#[derive(Debug, Default)]
pub(super) struct Find {
    /// The newest meta value.
    pub(super) meta: Option<Meta>,
    /// First and one past the last sequence number of each stream.
    pub(super) ends: BTreeMap<(StreamId, Epoch), (u64, u64)>,
    /// Records that there must have been, because a ticket or a reply names them: the same.
    named: BTreeMap<(StreamId, Epoch), (u64, u64)>,
    /// The latest stage of each ticket.
    pub(super) tickets: BTreeMap<Ticket, TicketRecord>,
    /// The latest of each kind and subject.
    pub(super) directives: Directives,
}

impl Find {
    /// A witness tells of positions as a meta value does.
    pub(super) fn hear(&mut self, evidence: &Evidence) {
        let newest = self.meta.as_ref().map_or(0, |known| known.counter);
        if let Some(witness) = evidence.witness.as_ref().filter(|w| w.meta.counter > newest) {
            self.meta = Some(witness.meta.clone());
        }
    }

    /// Takes the newer of what was found and what is known; returns the epoch of it.
    pub(super) fn newest(&mut self, meta: &mut Meta) -> Epoch {
        if let Some(found) = self.meta.take_if(|found| found.counter > meta.counter) {
            *meta = found;
        }
        meta.epoch
    }

    /// Streams reach as far as records were found. Without any meta value (`from_scratch`),
    /// they are all that is known.
    pub(super) fn extend_streams(&self, meta: &mut Meta, from_scratch: bool) {
        let mut extents = self.ends.clone();
        for (&stream, &(first, end)) in &self.named {
            extend(&mut extents, stream, first, end);
        }
        for ((stream, epoch), (first, end)) in extents {
            if let Some(known) = meta.stream_mut(stream, epoch) {
                // The meta may be older than the records. Its reach stays: whether they were
                // sent is not known, and what the hub has of them will tell.
                known.end = known.end.max(end);
            } else if from_scratch {
                meta.streams.push(StreamStatus {
                    stream,
                    epoch,
                    floor: first,
                    acked: first,
                    end,
                    reach: end,
                });
            }
        }
    }

    fn name(&mut self, stream: StreamId, value: &Value<'_>) {
        let end = value.seq.saturating_add(1);
        extend(&mut self.named, (stream, value.epoch), value.seq, end);
    }
}

/// Extends what is known of a stream.
fn extend(
    extents: &mut BTreeMap<(StreamId, Epoch), (u64, u64)>,
    stream: (StreamId, Epoch),
    first: u64,
    end: u64,
) {
    let known = extents.entry(stream).or_insert((first, end));
    *known = (known.0.min(first), known.1.max(end));
}

/// Looks through a file for meta values, tickets and the extent of streams.
pub(super) fn survey(
    medium: &mut dyn Medium,
    evidence: &Evidence,
    number: u64,
    find: &mut Find,
) -> Result<(), StoreError> {
    each(medium, evidence, number, &mut |value| match value.kind {
        Kind::Record(stream) => {
            let end = value.seq.saturating_add(1);
            extend(&mut find.ends, (stream, value.epoch), value.seq, end);
        }
        Kind::Meta => {
            let newest = find.meta.as_ref().is_none_or(|known| value.seq > known.counter);
            if let Some(meta) = Meta::parse(value).filter(|_| newest) {
                find.meta = Some(meta);
            }
        }
        Kind::Ticket => {
            if let Some((ticket, record)) = TicketRecord::parse(value) {
                find.name(StreamId::Escalation, value);
                let known = find.tickets.entry(ticket).or_insert_with(|| record.clone());
                if record.stage > known.stage {
                    *known = record;
                }
            }
        }
        Kind::Retry => {
            find.name(StreamId::Outcome, value);
            let kept = RetryRecord::parse(value).map(|(_, kept)| kept);
            if let Some(ticket) = kept.and_then(|kept| kept.ticket) {
                find.name(StreamId::Escalation, &Value { seq: ticket.seq, ..*value });
            }
        }
        Kind::Directive => {
            if let Some(standing) = Standing::parse(value) {
                let known = find.directives.get(&standing.directive.key());
                if known.is_none_or(|known| standing.follows(known)) {
                    find.directives.insert(standing.directive.key(), standing);
                }
            }
        }
        // What the hub refused, it has. Witnesses are not kept in generations, and packs were
        // taken apart.
        Kind::Refused | Kind::Witness | Kind::Pack(_) => {}
    })
}

/// The records that the hub does not have yet, sealed as they were.
pub(super) fn records(
    medium: &mut dyn Medium,
    evidence: &Evidence,
    number: u64,
    meta: &Meta,
    each_record: &mut dyn FnMut(StreamId, &Value<'_>, Vec<u8>),
) -> Result<(), StoreError> {
    each(medium, evidence, number, &mut |value| {
        if let Kind::Record(stream) = value.kind
            && value.seq >= meta.acked(stream, value.epoch)
            && let Some(sealed) = value.seal()
        {
            each_record(stream, value, sealed);
        }
    })
}

/// What was replied to callers' own ids: key and sealed value.
pub(super) fn retries(
    medium: &mut dyn Medium,
    evidence: &Evidence,
    number: u64,
    each_retry: &mut dyn FnMut(Vec<u8>, Vec<u8>),
) -> Result<(), StoreError> {
    each(medium, evidence, number, &mut |value| {
        if let Some((key, _)) = RetryRecord::parse(value)
            && let Some(sealed) = value.seal()
        {
            each_retry(keys::retry(&key), sealed);
        }
    })
}

/// Pairs in `from..to`.
pub(super) fn count(table: &dyn Table, mut from: Vec<u8>, to: &[u8]) -> Result<u64, TableError> {
    let mut count = 0;
    while let Some((key, _)) = table.first(&from, to)? {
        count += 1;
        from = [key.as_slice(), &[0]].concat();
    }
    Ok(count)
}

fn each(
    medium: &mut dyn Medium,
    evidence: &Evidence,
    number: u64,
    visit: &mut dyn FnMut(&Value<'_>),
) -> Result<(), StoreError> {
    // A value that two pieces hold is seen twice, which is harmless. Packs are taken apart:
    // what a torn write left of a number must not hide what was written under it later, and only
    // of single records the later takes the place of the earlier.
    let mut told = |piece: &[u8]| {
        let values = carve(piece).flat_map(Value::singles);
        values.filter(|value| evidence.may_be_told(value)).for_each(|value| visit(&value));
    };
    told(evidence.tip(number));
    medium.raw(number, &mut told)
}
