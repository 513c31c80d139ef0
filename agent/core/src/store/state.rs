//! The open store as its readers see it. Only the engine changes it.

use super::config::StoreConfig;
use super::generation::Generation;
use super::keys;
use super::medium::{Pair, TableError};
use super::meta::Meta;
use super::refused::RefusedAt;
use super::standing::Directives;
use super::ticket::{RetryRecord, Stage, TicketRecord};
use super::types::{
    CallerKey, Chunk, Kept, Recall, StoreStatus, StreamStatus, TicketState, TicketStatus,
};
use super::value::Value;
use super::{BALLAST_BYTES, StoreError};
use crate::session::Held;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Record, StreamId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tickets looked at for one list: those that are over lie among the others, and a list must
/// not take longer the longer a store has been in use.
const TICKETS_SCANNED_MAX: usize = 20_000;

/// Whether records can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Writable,
    /// The disk is full and the ballast is given up: only acknowledgements and answers, which
    /// make room, are written.
    DiskFull,
    /// A write or read failed, and the files are closed. If `suspect`, that generation is to be
    /// set aside.
    Closed {
        detail: String,
        suspect: Option<u64>,
    },
    /// Shut down.
    Stopped,
}

pub(super) struct State {
    pub(super) health: Health,
    pub(super) meta: Meta,
    /// Oldest first; the last one is written to. Empty while closed.
    pub(super) generations: Vec<Generation>,
    pub(super) tickets_open: u64,
    pub(super) lost: u64,
    pub(super) directives: Directives,
    pub(super) refused: RefusedAt,
}

/// The open store, to read from; shared by every handle and the engine.
pub struct Shared {
    pub(super) config: StoreConfig,
    state: RwLock<State>,
    /// How far each stream was handed to connections, for the state of tickets.
    sent: Mutex<BTreeMap<Epoch, u64>>,
    /// There is a connection: what is written may be sent.
    offering: AtomicBool,
}

impl Shared {
    pub(super) fn new(config: StoreConfig, state: State) -> Shared {
        let sent = Mutex::new(BTreeMap::new());
        let offering = AtomicBool::new(false);
        Shared { config, state: RwLock::new(state), sent, offering }
    }

    /// A panic under the lock cannot leave the state half-changed: it is changed by whole
    /// assignments after the write that may fail.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records below `end` were handed to a connection. Says whether a ticket's state changed
    /// by it.
    pub fn sent(&self, end: Position) -> bool {
        if end.stream != StreamId::Escalation {
            return false;
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // A going back after a stall does not unsend.
        let known = sent.entry(end.epoch).or_default();
        let more = end.next > *known;
        *known = end.next.max(*known);
        more
    }

    /// There is no connection any more: what is written from now on stays here.
    pub fn withdraw(&self) {
        self.offering.store(false, Ordering::Release);
    }

    pub(super) fn offer(&self) {
        self.offering.store(true, Ordering::Release);
    }

    pub(super) fn is_offering(&self) -> bool {
        self.offering.load(Ordering::Acquire)
    }

    /// Every stream that the hub should hear of.
    pub fn streams(&self) -> Vec<StreamStatus> {
        self.state().meta.streams.clone()
    }

    /// The same, for a session.
    pub fn held(&self) -> Vec<Held> {
        let held = self.streams().into_iter().map(|s| {
            let StreamStatus { stream, epoch, floor, acked, end, reach } = s;
            Held { stream, epoch, floor, acked, end, reach }
        });
        held.collect()
    }

    /// How far the hub's answers are applied.
    pub fn answers(&self) -> Option<Position> {
        self.state().meta.answers
    }

    /// The store at a glance.
    pub fn status(&self) -> StoreStatus {
        let state = self.state();
        let refusing = match &state.health {
            Health::Writable => state.full(&self.config).map(|error| error.to_string()),
            Health::DiskFull => Some(StoreError::DiskFull.to_string()),
            Health::Closed { detail, .. } => Some(detail.clone()),
            Health::Stopped => Some(StoreError::Stopped.to_string()),
        };
        StoreStatus {
            epoch: state.meta.epoch,
            streams: state.meta.streams.clone(),
            answers: state.meta.answers,
            bytes: state.bytes(),
            bytes_max: self.config.bytes_max,
            generations: state.generations.len(),
            tickets_open: state.tickets_open,
            lost: state.lost,
            refused: state.refused.len() as u64,
            refusing,
        }
    }

    /// Where an escalation stands; `None` if it is not known (any more).
    ///
    /// # Errors
    /// [`Failed`].
    pub fn ticket_status(&self, ticket: Ticket) -> Result<Option<TicketStatus>, Failed> {
        let state = self.state();
        state.check_open()?;
        let Some(record) = state.ticket(ticket)? else { return Ok(None) };
        Ok(Some(self.to_status(&state, ticket, record)))
    }

    /// Open and answered tickets, newest first.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn ticket_list(&self, max: usize) -> Result<Vec<TicketStatus>, Failed> {
        let state = self.state();
        state.check_open()?;
        let mut found: BTreeMap<(Epoch, u64), TicketStatus> = BTreeMap::new();
        let mut looked_at = 0;
        for at in (0..state.generations.len()).rev() {
            let mut to = keys::TICKETS_END.to_vec();
            while found.len() < max && looked_at < TICKETS_SCANNED_MAX {
                looked_at += 1;
                let Some((key, value)) = state.last(at, keys::TICKETS, &to)? else { break };
                to = key;
                let parsed = Value::open(&value).and_then(|value| TicketRecord::parse(&value));
                let Some((ticket, _)) = parsed else { continue };
                // The newest generation that knows a ticket has its newest record.
                let Some(record) = state.ticket(ticket)? else { continue };
                if matches!(record.stage, Stage::Open | Stage::Answered) {
                    let status = self.to_status(&state, ticket, record);
                    found.insert((ticket.epoch, ticket.seq), status);
                }
            }
        }
        let mut list: Vec<TicketStatus> = found.into_values().collect();
        let current = state.meta.epoch;
        list.sort_by_key(|s| std::cmp::Reverse((s.ticket.epoch == current, s.ticket.seq)));
        Ok(list)
    }

    fn to_status(&self, state: &State, ticket: Ticket, record: TicketRecord) -> TicketStatus {
        let acked = state.meta.acked(StreamId::Escalation, ticket.epoch);
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sent.get(&ticket.epoch).copied().unwrap_or(0);
        let state = match record.stage {
            Stage::Open if ticket.seq < acked => TicketState::Received,
            Stage::Open if ticket.seq < sent => TicketState::Sent,
            Stage::Open => TicketState::Queued,
            Stage::Answered => TicketState::Answered,
            Stage::Delivered => TicketState::Delivered,
            Stage::Expired | Stage::GivenUp => TicketState::Expired,
        };
        TicketStatus { ticket, state, answer: record.answer }
    }

    /// Looks a caller's request up.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn recall(&self, key: &CallerKey) -> Result<Recall, Failed> {
        let state = self.state();
        state.check_open()?;
        Ok(match state.retry(key)? {
            None => Recall::Unknown,
            Some((known, kept)) if known.text_digest == key.text_digest => {
                Recall::Same(Box::new(kept))
            }
            Some(_) => Recall::Conflict,
        })
    }

    /// Consecutive durable records of `first..end`, at least one if `first` is held, at most
    /// `bytes_max` beyond that.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn read(
        &self,
        stream: StreamId,
        epoch: Epoch,
        first: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Chunk, Failed> {
        let state = self.state();
        state.check_open()?;
        let end = state.meta.stream(stream, epoch).map_or(first, |s| s.end.min(end));
        let mut chunk = Chunk { records: Vec::new(), next_held: end };
        let mut cursor = state.cursor(stream, epoch, first);
        let (mut bytes, mut next) = (0, first);
        while next < end {
            let run = cursor.next(&state, next..end)?;
            let held = run.as_ref().map_or(end, |run| run.numbers().start);
            state.check_hole(stream, epoch, next, held)?;
            chunk.next_held = held;
            let Some(run) = run.filter(|_| held == next) else { break };
            for (seq, payload) in run.records() {
                if !chunk.records.is_empty() && bytes + payload.len() > bytes_max {
                    return Ok(chunk);
                }
                bytes += payload.len();
                chunk.records.push(payload.to_vec());
                next = seq + 1;
                chunk.next_held = next;
            }
        }
        Ok(chunk)
    }
}

/// Why reading failed: the store as such, or one generation of it.
#[derive(Debug)]
pub enum Failed {
    /// The store is closed.
    Store(StoreError),
    /// This generation failed; [`super::Op::Suspect`] has a damaged one set aside.
    Generation(u64, TableError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed::Store(error)
    }
}

impl State {
    /// Of a store that could not be opened yet.
    pub(super) fn unknown(health: Health) -> State {
        State {
            health,
            meta: Meta::unknown(),
            generations: Vec::new(),
            tickets_open: 0,
            lost: 0,
            directives: Directives::new(),
            refused: RefusedAt::new(),
        }
    }

    pub(super) fn check_open(&self) -> Result<(), Failed> {
        match &self.health {
            Health::Writable | Health::DiskFull => Ok(()),
            Health::Closed { detail, .. } => {
                Err(Failed::Store(StoreError::Closed { detail: detail.clone() }))
            }
            Health::Stopped => Err(Failed::Store(StoreError::Stopped)),
        }
    }

    /// Bytes on disk, ballast included.
    pub(super) fn bytes(&self) -> u64 {
        self.generations.iter().map(|generation| generation.bytes).sum::<u64>() + BALLAST_BYTES
    }

    /// Why outcomes and escalations are refused by the byte limit, if they are.
    pub(super) fn full(&self, config: &StoreConfig) -> Option<StoreError> {
        let (bytes, bytes_max) = (self.bytes(), config.bytes_max);
        (bytes >= bytes_max - super::RESERVE_BYTES).then_some(StoreError::Full { bytes, bytes_max })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        for generation in self.generations.iter().rev() {
            let found = generation.table.get(key);
            if let Some(value) = found.map_err(|e| Failed::Generation(generation.number, e))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    pub(super) fn first(&self, at: usize, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Failed> {
        // None there: the store was closed meanwhile.
        let Some(generation) = self.generations.get(at) else { return Ok(None) };
        generation.table.first(from, to).map_err(|e| Failed::Generation(generation.number, e))
    }

    pub(super) fn last(&self, at: usize, from: &[u8], to: &[u8]) -> Result<Option<Pair>, Failed> {
        let Some(generation) = self.generations.get(at) else { return Ok(None) };
        generation.table.last(from, to).map_err(|e| Failed::Generation(generation.number, e))
    }

    pub(super) fn ticket(&self, ticket: Ticket) -> Result<Option<TicketRecord>, Failed> {
        let bytes = self.get(&keys::ticket(ticket))?;
        let record = bytes.as_deref().and_then(Value::open).and_then(|v| TicketRecord::parse(&v));
        Ok(record.map(|(_, record)| record))
    }

    pub(super) fn retry(&self, key: &CallerKey) -> Result<Option<(CallerKey, Kept)>, Failed> {
        let bytes = self.get(&keys::retry(key))?;
        Ok(bytes.as_deref().and_then(Value::open).and_then(|value| RetryRecord::parse(&value)))
    }

    /// A storage engine may lose what is in the middle of a table without a word: the numbers
    /// tell. In former epochs there are holes that a loss record tells of.
    fn check_hole(
        &self,
        stream: StreamId,
        epoch: Epoch,
        first: u64,
        end: u64,
    ) -> Result<(), Failed> {
        let waits = first >= self.meta.acked(stream, epoch);
        if first == end || epoch != self.meta.epoch || !waits {
            return Ok(());
        }
        let reaches = |g: &&Generation| g.ends.get(&(stream, epoch)).is_some_and(|e| *e >= first);
        let holder = self.generations.iter().find(reaches).or(self.generations.last());
        let number = holder.map_or(0, |g| g.number);
        let detail = format!("{} {first} to {} are gone", stream.name(), end - 1);
        Err(Failed::Generation(number, TableError::Damaged(detail)))
    }
}

/// A record as it travels.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, StoreError> {
    record.encode().map_err(|e| StoreError::Record(e.to_string()))
}
