//! Opening: every generation is opened; a damaged one is set aside and salvaged.
//!
//! Salvage is written and durable in a new generation, under a new epoch, before the damaged
//! one is moved away: a crash in between only repeats it. Records keep their old epoch and
//! number, so that nothing is doubled at the hub; what cannot be read becomes loss records.

use super::StoreError;
use super::config::StoreConfig;
use super::core::{Failed, Health, State};
use super::draft::Draft;
use super::generation::Generation;
use super::keys;
use super::meta::Meta;
use super::salvage::{self, Find};
use super::table::{Changes, TableError, sync_dir};
use super::ticket::Stage;
use super::types::Opened;
use landfall_wire::id::Ticket;
use landfall_wire::record::{Event, Loss, LossReason, Record};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Damaged generations kept for a person to look at; older ones are removed, or they would fill
/// the disk.
const DAMAGED_KEPT_MAX: usize = 2;

/// Loss records written for one damaged store: a flipped byte costs one or two ranges.
const LOSS_RANGES_MAX: usize = 1000;

struct Damaged {
    number: u64,
    detail: String,
}

/// Opens everything below `dir`. `suspect` is known to be damaged and is not opened.
pub(super) fn load(
    dir: &Path,
    config: &StoreConfig,
    suspect: Option<&(u64, String)>,
) -> Result<(State, Opened), StoreError> {
    let queue = dir.join("q");
    if !queue.is_dir() {
        fs::create_dir_all(&queue)
            .and_then(|()| sync_dir(dir))
            .and_then(|()| sync_dir(dir.parent().unwrap_or(dir)))
            .map_err(|e| file_error("create", &queue, &e))?;
    }
    let numbers = list(&queue)?;
    let mut opened = Opened { created: numbers.is_empty(), ..Opened::default() };
    let mut damaged = Vec::new();
    let mut generations = Vec::new();
    let mut meta: Option<Meta> = None;
    for number in numbers {
        if let Some((_, detail)) = suspect.filter(|(bad, _)| *bad == number) {
            damaged.push(Damaged { number, detail: detail.clone() });
            continue;
        }
        match open_one(&queue, number) {
            Ok((generation, Some(found))) => {
                if meta.as_ref().is_none_or(|best| found.counter > best.counter) {
                    meta = Some(found);
                }
                generations.push(generation);
            }
            // Killed before its first commit.
            Ok((generation, None)) => remove(generation)?,
            Err(TableError::Damaged(detail)) => damaged.push(Damaged { number, detail }),
            Err(error) => return Err(store_error("open", &queue.join(number.to_string()), error)),
        }
    }
    let mut state = State {
        health: Health::Writable,
        meta: match meta {
            Some(meta) => meta,
            None => Meta::new()?,
        },
        generations,
        tickets_open: 0,
        lost: 0,
    };
    if !damaged.is_empty() {
        replace(dir, &queue, &mut state, &damaged, &mut opened)?;
    } else if state.generations.is_empty() {
        begin(&queue, 1, &mut state)?;
    }
    find_ends(&queue, &mut state)?;
    state.tickets_open = count_open(&state).map_err(|e| failed_error(&queue, e))?;
    tracing::debug!(generations = state.generations.len(), bytes_max = config.bytes_max, "opened");
    Ok((state, opened))
}

fn open_one(queue: &Path, number: u64) -> Result<(Generation, Option<Meta>), TableError> {
    let mut generation = Generation::open(queue, number)?;
    let meta = Meta::load(&*generation.table)?;
    generation.outcomes = meta.as_ref().map_or(0, |meta| meta.outcomes);
    Ok((generation, meta))
}

fn find_ends(queue: &Path, state: &mut State) -> Result<(), StoreError> {
    let meta = state.meta.clone();
    let mut generations = state.generations.iter_mut();
    generations.try_for_each(|g| g.find_ends(&meta)).map_err(|e| store_error("read", queue, e))
}

/// Adds a generation and writes the store's meta to it.
pub(super) fn begin(queue: &Path, number: u64, state: &mut State) -> Result<(), StoreError> {
    let (generation, meta) = create(queue, number, &state.meta)?;
    state.meta = meta;
    state.generations.push(generation);
    Ok(())
}

pub(super) fn create(
    queue: &Path,
    number: u64,
    meta: &Meta,
) -> Result<(Generation, Meta), StoreError> {
    let dir = queue.join(number.to_string());
    let fail = |error| store_error("create", &dir, error);
    let mut generation = Generation::open(queue, number).map_err(fail)?;
    let mut meta = meta.clone();
    meta.counter += 1;
    let put = vec![(keys::META.to_vec(), meta.seal())];
    generation.table.commit(Changes { put, remove: Vec::new() }).map_err(fail)?;
    generation.outcomes = meta.outcomes;
    generation.bytes = generation.table.bytes();
    Ok((generation, meta))
}

/// Salvages the damaged generations into a new one, then moves them away.
fn replace(
    dir: &Path,
    queue: &Path,
    state: &mut State,
    damaged: &[Damaged],
    opened: &mut Opened,
) -> Result<(), StoreError> {
    let mut find = Find::default();
    for bad in damaged {
        let path = queue.join(bad.number.to_string()).join("db");
        salvage::survey(&path, &mut find).map_err(|e| file_error("read", &path, &e))?;
    }
    let any_meta = find.meta.is_some() || !state.generations.is_empty();
    let old = any_meta.then(|| find.newest(&mut state.meta));
    find.extend_streams(&mut state.meta, old.is_none());
    find_ends(queue, state)?;
    state.meta.begin_epoch()?;
    let last =
        damaged.iter().map(|bad| bad.number).chain(state.generations.iter().map(|g| g.number));
    begin(queue, last.max().unwrap_or(0) + 1, state)?;
    let salvaged = copy_out(queue, state, damaged, find)?;
    let mut draft = Draft::new(state.meta.clone());
    let missing = missing(state).map_err(|e| failed_error(queue, e))?;
    let detail: Vec<&str> = damaged.iter().map(|bad| bad.detail.as_str()).collect();
    let event = Event::StoreReplaced { old, salvaged, detail: detail.join("; ") };
    draft.event(Record::Event(event))?;
    missing.into_iter().try_for_each(|loss| draft.loss(loss))?;
    opened.damaged = damaged.len();
    opened.salvaged = salvaged;
    opened.lost = draft.lost;
    state.lost += draft.lost;
    write(queue, state, draft)?;
    for bad in damaged {
        set_aside(dir, &queue.join(bad.number.to_string()))?;
        tracing::error!(
            generation = bad.number,
            detail = bad.detail,
            salvaged,
            lost = opened.lost,
            "a damaged part of the store was set aside"
        );
    }
    Ok(())
}

/// Writes what was carved out of the damaged files into the newest generation.
fn copy_out(
    queue: &Path,
    state: &mut State,
    damaged: &[Damaged],
    find: Find,
) -> Result<u64, StoreError> {
    let mut salvaged = 0;
    for bad in damaged {
        let path = queue.join(bad.number.to_string()).join("db");
        let meta = state.meta.clone();
        let mut failure = Ok(());
        let mut draft = Draft::new(meta.clone());
        let mut flush = |draft: &mut Draft, least: u64| {
            if draft.records >= least && failure.is_ok() {
                let full = std::mem::replace(draft, Draft::new(meta.clone()));
                failure = write(queue, state, full);
            }
        };
        let read = salvage::records(&path, &meta, &mut |stream, value, sealed| {
            draft.copy(stream, value.epoch, value.seq, sealed);
            flush(&mut draft, 256);
        });
        let retries = salvage::retries(&path, &mut |key, sealed| {
            draft.changes.put.push((key, sealed));
            draft.records += 1;
            flush(&mut draft, 256);
        });
        flush(&mut draft, 0);
        failure?;
        read.and(retries).map_err(|e| file_error("read", &path, &e))?;
    }
    // A record can stand in a file more than once: count what is there now.
    for s in state.meta.streams.iter().filter(|s| find.ends.contains_key(&(s.stream, s.epoch))) {
        let newest = state.generations.last().expect("just begun");
        let from = keys::record(s.stream, s.epoch, 0);
        salvaged += salvage::count(&*newest.table, from, &keys::record(s.stream, s.epoch, s.end))
            .map_err(|e| store_error("read", queue, e))?;
    }
    let mut draft = Draft::new(state.meta.clone());
    for (ticket, record) in find.tickets {
        let known = state.ticket(ticket).map_err(|e| failed_error(queue, e))?;
        let newer = known.is_none_or(|known| known.stage < record.stage);
        if newer && matches!(record.stage, Stage::Open | Stage::Answered) {
            draft.open_ticket(ticket, record);
        }
    }
    write(queue, state, draft)?;
    Ok(salvaged)
}

/// What is neither at the hub nor readable here, of former epochs.
fn missing(state: &State) -> Result<Vec<Loss>, Failed> {
    let mut losses = Vec::new();
    for s in state.meta.streams.iter().filter(|s| s.epoch != state.meta.epoch) {
        let mut next = s.acked;
        while next < s.end && losses.len() < LOSS_RANGES_MAX {
            let held = state.next_record(s.stream, s.epoch, next, s.end)?;
            let held = held.map_or(s.end, |(seq, _)| seq);
            if held > next {
                losses.push(Loss {
                    stream: s.stream,
                    epoch: s.epoch,
                    first: next,
                    end: held,
                    reason: LossReason::Damaged,
                });
            }
            next = held.saturating_add(1);
        }
    }
    Ok(losses)
}

/// Commits a draft while there is no writer yet.
fn write(queue: &Path, state: &mut State, mut draft: Draft) -> Result<(), StoreError> {
    draft.meta.counter = state.meta.counter + 1;
    draft.changes.put.push((keys::META.to_vec(), draft.meta.seal()));
    let newest = state.generations.last_mut().expect("a generation was begun");
    newest.table.commit(draft.changes).map_err(|e| store_error("write", queue, e))?;
    for (stream, end) in draft.ends {
        let known = newest.ends.entry(stream).or_default();
        *known = (*known).max(end);
    }
    newest.outcomes = draft.meta.outcomes;
    newest.bytes = newest.table.bytes();
    state.meta = draft.meta;
    Ok(())
}

fn set_aside(dir: &Path, generation: &Path) -> Result<(), StoreError> {
    let mut kept: Vec<(u64, PathBuf)> = numbered(dir, "damaged-")?;
    kept.sort();
    let number = kept.last().map_or(1, |(number, _)| number + 1);
    let surplus = (kept.len() + 1).saturating_sub(DAMAGED_KEPT_MAX);
    for (_, old) in kept.into_iter().take(surplus) {
        fs::remove_dir_all(&old).map_err(|e| file_error("remove", &old, &e))?;
    }
    let to = dir.join(format!("damaged-{number}"));
    fs::rename(generation, &to)
        .and_then(|()| sync_dir(generation.parent().unwrap_or(dir)))
        .and_then(|()| sync_dir(dir))
        .map_err(|e| file_error("move", generation, &e))
}

fn list(queue: &Path) -> Result<Vec<u64>, StoreError> {
    let mut numbers: Vec<u64> = numbered(queue, "")?.into_iter().map(|(n, _)| n).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn numbered(dir: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = fs::read_dir(dir).map_err(|e| file_error("read", dir, &e))?;
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((number, entry.path()))
    });
    Ok(named.collect())
}

pub(super) fn remove(generation: Generation) -> Result<(), StoreError> {
    let Generation { dir, table, .. } = generation;
    drop(table);
    fs::remove_dir_all(&dir)
        .and_then(|()| sync_dir(dir.parent().unwrap_or(&dir)))
        .map_err(|e| file_error("remove", &dir, &e))
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

pub(super) fn file_error(what: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return StoreError::DiskFull;
    }
    StoreError::File { what, path: path.to_owned(), detail: error.to_string() }
}

pub(super) fn store_error(what: &'static str, path: &Path, error: TableError) -> StoreError {
    match error {
        TableError::Full => StoreError::DiskFull,
        TableError::Io(error) => file_error(what, path, &error),
        TableError::Damaged(detail) => StoreError::File { what, path: path.to_owned(), detail },
    }
}

fn failed_error(queue: &Path, failed: Failed) -> StoreError {
    match failed {
        Failed::Store(error) => error,
        Failed::Generation(number, error) => {
            store_error("read", &queue.join(number.to_string()), error)
        }
    }
}
