//! Opening: every generation is opened; a damaged one, or one that is behind its witness, is set
//! aside and salvaged.
//!
//! Salvage is written and durable in a new generation, under a new epoch, before the damaged
//! one is moved away: a crash in between only repeats it. Records keep their old epoch and
//! number, so that nothing is doubled at the hub; what cannot be read becomes loss records.

use super::StoreError;
use super::draft::Draft;
use super::generation::Generation;
use super::keys;
use super::medium::{Changes, Medium, Notice, TableError};
use super::meta::Meta;
use super::salvage::{self, Evidence, Find};
use super::state::{Failed, Health, State};
use super::ticket::{Stage, TicketRecord};
use super::types::{Opened, StreamStatus};
use super::upkeep::CHANGES_MAX;
use super::value::Value;
use super::witness::{Seal, Witness};
use landfall_wire::chain::ChainMark;
use landfall_wire::id::Ticket;
use landfall_wire::record::{Event, Loss, LossReason, Record, StreamId};
use std::collections::{BTreeMap, BTreeSet};

/// Loss records written for one damaged store: a flipped byte costs one or two ranges.
const LOSS_RANGES_MAX: usize = 1000;

/// What is said when it fails.
pub(super) const KEEP_WITNESS: &str = "note what is durable";

struct Damaged {
    number: u64,
    detail: String,
}

/// A generation that turned out to be damaged while it was in use.
pub(super) struct Suspect {
    pub(super) number: u64,
    pub(super) detail: String,
    /// Where the store stood at its last commit.
    pub(super) told: Meta,
}

/// Opens everything there is. A suspect is known to be damaged and is not opened; nor is what
/// turns out to be damaged only when it is read.
pub(super) fn load(
    medium: &mut dyn Medium,
    suspect: Option<Suspect>,
) -> Result<(State, Opened), StoreError> {
    let mut suspects = BTreeMap::new();
    let told = suspect.map(|Suspect { number, detail, told }| {
        suspects.insert(number, detail);
        told
    });
    let mut evidence = Evidence::gather(medium, told);
    loop {
        match try_load(medium, &suspects, &mut evidence) {
            Err(Failed::Generation(number, TableError::Damaged(detail)))
                if !suspects.contains_key(&number) =>
            {
                suspects.insert(number, detail);
            }
            done => {
                let (state, opened) = done.map_err(|failed| failed_error(medium, failed))?;
                // Both places: whatever an older store left there does not speak of this one.
                keep_witness(medium, &state);
                keep_witness(medium, &state);
                return Ok((state, opened));
            }
        }
    }
}

fn try_load(
    medium: &mut dyn Medium,
    suspects: &BTreeMap<u64, String>,
    evidence: &mut Evidence,
) -> Result<(State, Opened), Failed> {
    let numbers = medium.list()?;
    let witness = evidence.witness.clone();
    let witness = witness.as_ref();
    let known = |number| numbers.contains(&number);
    let gone = witness.filter(|witness| !known(witness.number));
    let mut opened = Opened { created: numbers.is_empty(), ..Opened::default() };
    let mut damaged = Vec::new();
    let mut generations = Vec::new();
    let mut meta: Option<Meta> = None;
    for number in numbers.iter().copied() {
        if let Some(detail) = suspects.get(&number) {
            damaged.push(Damaged { number, detail: detail.clone() });
            continue;
        }
        let one = open_one(medium, number);
        if let (Ok((_, found)), Some(witness)) = (&one, witness)
            && let Some(detail) = witness.complaint(number, found.as_ref())
        {
            damaged.push(Damaged { number, detail });
            continue;
        }
        match one {
            Ok((generation, Some(found))) => {
                // Left by a process that ended while it salvaged.
                if let Some(told) = generation.told()? {
                    evidence.told.get_or_insert(told);
                }
                if meta.as_ref().is_none_or(|best| found.counter > best.counter) {
                    meta = Some(found);
                }
                generations.push(generation);
            }
            // Killed before its first commit.
            Ok((generation, None)) => remove(medium, generation)?,
            Err(TableError::Damaged(detail)) => damaged.push(Damaged { number, detail }),
            Err(error) => return Err(store_error(medium, "open", Some(number), error).into()),
        }
    }
    // A seal is in the next generation, so the order does not matter.
    let seals: Vec<Seal> = generations.iter().filter_map(|g: &Generation| g.seal).collect();
    for seal in seals {
        if damaged.iter().any(|bad| bad.number == seal.number) {
            continue;
        }
        let at = generations.iter().position(|g| g.number == seal.number);
        let detail = match at.map(|at| (at, generations[at].counter)) {
            None => Some("it is gone".to_owned()),
            Some((at, counter)) => {
                let complaint = seal.complaint(seal.number, counter);
                complaint.inspect(|_| drop(generations.remove(at)))
            }
        };
        damaged.extend(detail.map(|detail| Damaged { number: seal.number, detail }));
    }
    // Removed because the hub has it, unless nothing was written after it.
    let counter = meta.as_ref().map_or(0, |meta| meta.counter);
    if let Some(Witness { number, .. }) = gone.filter(|gone| gone.meta.counter > counter) {
        damaged.push(Damaged { number: *number, detail: "it is gone".to_owned() });
        opened.created = false;
    }
    let meta = match meta {
        Some(meta) => meta,
        None => Meta::new(medium)?,
    };
    let mut state = State { meta, generations, ..State::unknown(Health::Writable) };
    if !damaged.is_empty() {
        replace(medium, &mut state, &damaged, evidence, &mut opened)?;
    } else if state.generations.is_empty() {
        begin(medium, 1, &mut state, None)?;
    }
    state.generations.iter_mut().try_for_each(Generation::forget_told)?;
    find_ends(&mut state)?;
    state.meta.bind(medium);
    state.meta.reopen();
    state.tickets_open = count_open(&state)?;
    state.find_directives()?;
    state.find_refused()?;
    Ok((state, opened))
}

fn open_one(
    medium: &mut dyn Medium,
    number: u64,
) -> Result<(Generation, Option<Meta>), TableError> {
    let mut generation = Generation::open(medium, number)?;
    let meta = Meta::load(&*generation.table)?;
    meta.iter().for_each(|meta| generation.holds(meta));
    Ok((generation, meta))
}

fn find_ends(state: &mut State) -> Result<(), Failed> {
    let meta = state.meta.clone();
    let mut generations = state.generations.iter_mut();
    generations.try_for_each(|g| {
        let number = g.number;
        g.find_ends(&meta).map_err(|e| Failed::Generation(number, e))
    })
}

/// Adds a generation and writes the store's meta to it.
fn begin(
    medium: &mut dyn Medium,
    number: u64,
    state: &mut State,
    told: Option<&Meta>,
) -> Result<(), StoreError> {
    let before = state.generations.last();
    let (generation, meta) = create(medium, number, &state.meta, before, told)?;
    state.meta = meta;
    state.generations.push(generation);
    Ok(())
}

pub(super) fn create(
    medium: &mut dyn Medium,
    number: u64,
    meta: &Meta,
    before: Option<&Generation>,
    told: Option<&Meta>,
) -> Result<(Generation, Meta), StoreError> {
    let opened = Generation::open(medium, number);
    let mut generation = opened.map_err(|error| abandon(medium, number, error))?;
    let mut meta = meta.clone();
    meta.counter += 1;
    let before = before.map(|g| Seal { number: g.number, counter: g.counter });
    let seal = before.map(|seal| (keys::SEAL.to_vec(), seal.seal(meta.epoch)));
    let told = told.map(|told| (keys::TOLD.to_vec(), told.seal()));
    let own = (keys::META.to_vec(), meta.seal());
    let put = std::iter::once(own).chain(seal).chain(told).collect();
    if let Err(error) = generation.table.commit(Changes { put, remove: Vec::new() }) {
        drop(generation);
        return Err(abandon(medium, number, error));
    }
    generation.holds(&meta);
    generation.seal = before;
    generation.bytes = generation.table.bytes();
    Ok((generation, meta))
}

/// Nobody was told of anything in a generation that could not be created: what is left of it must
/// not stand in the way of the next try.
fn abandon(medium: &mut dyn Medium, number: u64, error: TableError) -> StoreError {
    if let TableError::Damaged(_) = error
        && let Err(failed) = medium.discard(number)
    {
        return failed;
    }
    store_error(medium, "create", Some(number), error)
}

/// Salvages the damaged generations into a new one, then moves them away.
fn replace(
    medium: &mut dyn Medium,
    state: &mut State,
    damaged: &[Damaged],
    evidence: &Evidence,
    opened: &mut Opened,
) -> Result<(), Failed> {
    let mut find = Find::default();
    for bad in damaged {
        salvage::survey(medium, evidence, bad.number, &mut find)?;
    }
    find.hear(evidence);
    let any_meta = find.meta.is_some() || !state.generations.is_empty();
    let old = any_meta.then(|| find.newest(&mut state.meta));
    find.extend_streams(&mut state.meta, old.is_none());
    find_ends(state)?;
    // A meta that is older than the records knows no end of their chain.
    let ended = state.meta.stream(StreamId::Outcome, state.meta.epoch).map(|s| (s.epoch, s.end));
    let chain = state.meta.chain;
    let epoch = medium.epoch()?;
    let given_up = state.meta.begin_epoch(epoch, medium);
    let last =
        damaged.iter().map(|bad| bad.number).chain(state.generations.iter().map(|g| g.number));
    begin(medium, last.max().unwrap_or(0) + 1, state, evidence.told.as_ref())?;
    // Only the newest holds what was told, until what was damaged is out of the way.
    let (_, older) = state.generations.split_last_mut().expect("just begun");
    older.iter_mut().try_for_each(Generation::forget_told)?;
    let salvaged = copy_out(medium, state, damaged, evidence, find)?;
    let mut draft = Draft::new(state.meta.clone());
    let missing = missing(state)?;
    let mut marks = Vec::new();
    for loss in &missing {
        marks.extend(state.bridge(loss)?);
    }
    if let Some((epoch, at)) = ended {
        let known = chain.filter(|head| head.at == at).map(|head| head.value);
        let known = known.map(|value| ChainMark { epoch, at, value, begins: false });
        let found = state.mark_at(epoch, at)?;
        marks.extend(known.or(found));
    }
    let detail: Vec<&str> = damaged.iter().map(|bad| bad.detail.as_str()).collect();
    let event = Event::StoreReplaced { old, salvaged, detail: detail.join("; ") };
    draft.event(Record::Event(event))?;
    give_up(medium, &mut draft, given_up)?;
    missing.into_iter().try_for_each(|loss| draft.loss(loss))?;
    marks.into_iter().try_for_each(|mark| draft.mark(mark))?;
    opened.damaged = damaged.len();
    opened.salvaged = salvaged;
    opened.lost = draft.lost;
    state.lost += draft.lost;
    write(state, draft)?;
    for bad in damaged {
        // Its place is taken by the new one.
        let sealed = |g: &&mut Generation| g.seal.is_some_and(|seal| seal.number == bad.number);
        if let Some(next) = state.generations.iter_mut().find(sealed) {
            next.unseal().map_err(|e| Failed::Generation(next.number, e))?;
        }
        medium.set_aside(bad.number)?;
        medium.notice(Notice::SetAside {
            generation: bad.number,
            detail: &bad.detail,
            salvaged,
            lost: opened.lost,
        });
    }
    Ok(())
}

/// Records the loss of streams that a greeting has no room for.
pub(super) fn give_up(
    medium: &dyn Medium,
    draft: &mut Draft,
    streams: Vec<StreamStatus>,
) -> Result<(), StoreError> {
    if !streams.is_empty() {
        medium.notice(Notice::StreamsGivenUp { count: streams.len() });
    }
    streams.into_iter().try_for_each(|s| {
        let StreamStatus { stream, epoch, acked, end, .. } = s;
        draft.loss(Loss { stream, epoch, first: acked, end, reason: LossReason::Shed })
    })
}

/// Writes what was carved out of the damaged generations into the newest one.
fn copy_out(
    medium: &mut dyn Medium,
    state: &mut State,
    damaged: &[Damaged],
    evidence: &Evidence,
    find: Find,
) -> Result<u64, StoreError> {
    let mut salvaged = 0;
    for bad in damaged {
        let meta = state.meta.clone();
        let mut failure = Ok(());
        let mut draft = Draft::new(meta.clone());
        let mut flush = |draft: &mut Draft, least: u64| {
            if draft.records >= least && failure.is_ok() {
                let full = std::mem::replace(draft, Draft::new(meta.clone()));
                failure = write(state, full);
            }
        };
        salvage::records(medium, evidence, bad.number, &meta, &mut |stream, value, sealed| {
            let numbers = value.seq..value.seq.saturating_add(1);
            draft.copy(stream, value.epoch, numbers, sealed);
            flush(&mut draft, 256);
        })?;
        salvage::retries(medium, evidence, bad.number, &mut |key, sealed| {
            draft.changes.put.push((key, sealed));
            draft.records += 1;
            flush(&mut draft, 256);
        })?;
        flush(&mut draft, 0);
        failure.map_err(|e| failed_error(medium, e))?;
    }
    // A record can stand in a file more than once: count what is there now.
    for s in state.meta.streams.iter().filter(|s| find.ends.contains_key(&(s.stream, s.epoch))) {
        let newest = state.generations.last().expect("just begun");
        let from = keys::record(s.stream, s.epoch, 0);
        salvaged += salvage::count(&*newest.table, from, &keys::record(s.stream, s.epoch, s.end))
            .map_err(|e| store_error(medium, "read", None, e))?;
    }
    let mut draft = Draft::new(state.meta.clone());
    for (ticket, record) in find.tickets {
        let known = state.ticket(ticket).map_err(|e| failed_error(medium, e))?;
        // One that is over too: whoever asked may not have heard of its end yet, and an older
        // generation may have it open.
        let wanted = known.is_none_or(|known| known.stage < record.stage);
        if wanted {
            draft.open_ticket(ticket, record);
        }
    }
    state.find_directives().map_err(|e| failed_error(medium, e))?;
    for standing in find.directives.into_values() {
        draft.directive(state, standing);
    }
    write(state, draft).map_err(|e| failed_error(medium, e))?;
    remember_deadlines(state).map_err(|e| failed_error(medium, e))?;
    Ok(salvaged)
}

/// Whatever ticket is open after a salvage ends in its time: the damage may have taken the end
/// that it had, or its place among the deadlines.
fn remember_deadlines(state: &mut State) -> Result<(), Failed> {
    let mut draft = Draft::new(state.meta.clone());
    for at in 0..state.generations.len() {
        let mut from = keys::TICKETS.to_vec();
        while let Some((key, bytes)) = state.first(at, &from, keys::TICKETS_END)? {
            from = [key.as_slice(), &[0]].concat();
            let parsed = Value::open(&bytes).and_then(|value| TicketRecord::parse(&value));
            let Some((ticket, _)) = parsed else { continue };
            if let Some(record) = state.ticket(ticket)?.filter(|r| r.stage == Stage::Open) {
                draft.open_ticket(ticket, record);
            }
            if draft.changes.put.len() >= CHANGES_MAX {
                let full = std::mem::replace(&mut draft, Draft::new(state.meta.clone()));
                write(state, full)?;
            }
        }
    }
    write(state, draft)
}

/// What is neither at the hub nor readable here, of former epochs.
fn missing(state: &State) -> Result<Vec<Loss>, Failed> {
    let mut losses = Vec::new();
    for s in state.meta.streams.iter().filter(|s| s.epoch != state.meta.epoch) {
        let mut cursor = state.cursor(s.stream, s.epoch, s.acked);
        let mut next = s.acked;
        while next < s.end && losses.len() < LOSS_RANGES_MAX {
            let held = cursor.next(state, next..s.end)?.map_or(s.end..s.end, |run| run.numbers());
            if held.start > next {
                losses.push(Loss {
                    stream: s.stream,
                    epoch: s.epoch,
                    first: next,
                    end: held.start,
                    reason: LossReason::Damaged,
                });
            }
            next = held.end;
        }
    }
    Ok(losses)
}

fn keep_witness(medium: &mut dyn Medium, state: &State) {
    let number = state.generations.last().map_or(0, |newest| newest.number);
    if let Err(error) = medium.keep_witness(&Witness::seal(number, &state.meta)) {
        medium.notice(Notice::Upkeep { what: KEEP_WITNESS, error: &error });
    }
}

/// Commits a draft while there is no engine yet.
fn write(state: &mut State, mut draft: Draft) -> Result<(), Failed> {
    draft.meta.counter = state.meta.counter + 1;
    let changes = draft.take_changes();
    let newest = state.generations.last_mut().expect("a generation was begun");
    let written = newest.table.commit(changes);
    written.map_err(|e| Failed::Generation(newest.number, e))?;
    for (stream, end) in draft.ends {
        let known = newest.ends.entry(stream).or_default();
        *known = (*known).max(end);
    }
    newest.holds(&draft.meta);
    newest.bytes = newest.table.bytes();
    state.meta = draft.meta;
    Ok(())
}

pub(super) fn remove(medium: &mut dyn Medium, generation: Generation) -> Result<(), StoreError> {
    let Generation { number, table, .. } = generation;
    medium.remove(number, table)
}

fn count_open(state: &State) -> Result<u64, Failed> {
    let mut open: BTreeSet<Ticket> = BTreeSet::new();
    for at in 0..state.generations.len() {
        let mut from = keys::DEADLINES.to_vec();
        while let Some((key, _)) = state.first(at, &from, keys::DEADLINES_END)? {
            if let Some((_, ticket)) = keys::parse_deadline(&key)
                && state.ticket(ticket)?.is_some_and(|record| record.stage == Stage::Open)
            {
                open.insert(ticket);
            }
            from = [key.as_slice(), &[0]].concat();
        }
    }
    Ok(open.len() as u64)
}

pub(super) fn store_error(
    medium: &dyn Medium,
    what: &'static str,
    number: Option<u64>,
    error: TableError,
) -> StoreError {
    match error {
        TableError::Full => StoreError::DiskFull,
        TableError::Io(detail) | TableError::Damaged(detail) => {
            StoreError::File { what, path: medium.path(number), detail }
        }
    }
}

fn failed_error(medium: &dyn Medium, failed: Failed) -> StoreError {
    match failed {
        Failed::Store(error) => error,
        Failed::Generation(number, error) => store_error(medium, "use", Some(number), error),
    }
}
