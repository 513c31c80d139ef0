//! The agent's durable store: streams of records for the hub, tickets, and what was replied to
//! callers, on sled 0.34.7.
//!
//! ```text
//! <dir>/lock          held by the process that has the store open
//! <dir>/ballast       given up when the disk is full
//! <dir>/q/<n>/        a generation: one sled database, see `keys` and `value`
//! <dir>/damaged-<n>/  a generation that was set aside, for a person to look at
//! ```
//!
//! Invariants:
//! * what a call acknowledged is durable: after sled's `flush`, which is not, comes `fdatasync`
//!   (see `table`). A decision, its escalation, its ticket and its retry key are one atomic
//!   write; so are answers with the mark that they reach;
//! * a sequence number of an epoch is used once. Every commit writes the positions, and an
//!   acknowledged floor is durable before what lies below it is deleted;
//! * deleted is only what the hub has, or what a loss record tells of;
//! * damage is never fatal: what is damaged is set aside, what can be read is delivered under
//!   its old epoch and number, new records get a new epoch, and the hub is told (see `load`);
//! * after a failed write nothing is written until the files were closed and opened again;
//! * memory is bounded by the number of generations, not by the backlog: one cache each, and
//!   no index but sled's own;
//! * a time to live counts the time this store was open, never the wall clock.
//!
//! One thread writes (see `writer`); any thread reads. Not here: what a record means, and when
//! to send it.

mod ballast;
mod config;
mod core;
mod draft;
mod error;
mod generation;
mod keys;
mod load;
mod meta;
mod ops;
mod salvage;
mod table;
mod ticket;
mod types;
mod upkeep;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use config::{
    BALLAST_BYTES, BYTES_MIN, CACHE_BYTES, GENERATION_BYTES_MAX, GENERATION_RECORDS_MAX,
    GROUP_RECORDS_MAX, GROUP_WAIT, RESERVE_BYTES, RETRY_WINDOW_OUTCOMES, StoreConfig, WhenFull,
};
pub use error::StoreError;
pub use types::{
    CallerKey, Chunk, Committed, Kept, Opened, Recall, StoreStatus, StreamStatus, TicketState,
    TicketStatus,
};

use self::ballast::Ballast;
use self::core::{Core, Failed, Health};
use self::ops::{Op, Reply, WAITING_MAX};
use self::table::TableError;
use self::writer::Writer;
use landfall_agent_core::task::Entry;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Answer, Event, StreamId};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use tokio::sync::{Semaphore, oneshot, watch};

/// A handle to the open store; clones share it. When the last is dropped, what waits is
/// written and the store is closed; [`Store::close`] waits for that.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
    ops: mpsc::Sender<Op>,
    waiting: Arc<Semaphore>,
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none; a damaged one is set aside and
    /// salvaged. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::File`], [`StoreError::DiskFull`].
    pub fn open(dir: &Path, config: StoreConfig) -> Result<(Store, Opened), StoreError> {
        fs::create_dir_all(dir).map_err(|e| load::file_error("create", dir, &e))?;
        let lock = lock(dir)?;
        let ballast = Ballast::new(dir);
        let (mut state, opened) = match load::load(dir, &config, None) {
            Err(StoreError::DiskFull) => {
                ballast.release();
                load::load(dir, &config, None)?
            }
            other => other?,
        };
        if ballast.ensure().is_err() {
            tracing::error!(dir = %dir.display(), "the disk is full: decisions are refused");
            state.health = Health::DiskFull;
        }
        let core = Arc::new(Core::new(dir.to_owned(), config, state));
        let writer = Writer::new(core.clone(), ballast, lock);
        let (ops, requests) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|e| load::file_error("start the writer of", dir, &e))?;
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Ok((Store { core, ops, waiting }, opened))
    }

    /// Writes a decision with its escalation, ticket and retry key in one atomic commit, and
    /// resolves when it is durable. `urgent`: a caller waits, do not wait for company.
    ///
    /// # Errors
    /// Any [`StoreError`]: then the caller must not be told that the decision is recorded.
    pub async fn commit(
        &self,
        entry: Entry,
        key: Option<CallerKey>,
        urgent: bool,
    ) -> Result<Committed, StoreError> {
        let entry = Box::new(entry);
        self.ask(|reply| Op::Commit { entry, key, urgent, reply }).await
    }

    /// Looks a caller's request up. Blocking, microseconds.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn recall(&self, key: &CallerKey) -> Result<Recall, StoreError> {
        self.looked(self.core.recall(key))
    }

    /// Queues an event for the hub, and resolves when it is durable.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn event(&self, event: Event) -> Result<(), StoreError> {
        let event = Box::new(event);
        self.ask(|reply| Op::Event { event, reply }).await
    }

    /// Where an escalation stands; `None` if it is not known (any more).
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn ticket(&self, ticket: Ticket) -> Result<Option<TicketStatus>, StoreError> {
        self.looked(self.core.ticket_status(ticket))
    }

    /// Open and answered tickets, newest first, at most `max`.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn tickets(&self, max: usize) -> Result<Vec<TicketStatus>, StoreError> {
        self.looked(self.core.ticket_list(max))
    }

    /// Changes with every change of any ticket.
    pub fn ticket_changes(&self) -> watch::Receiver<u64> {
        self.core.tickets.subscribe()
    }

    /// The caller has the answer. Resolves when that is durable; a second time is harmless.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`] or any other.
    pub async fn delivered(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.ask(|reply| Op::Delivered { ticket, reply }).await
    }

    /// The store at a glance.
    pub fn status(&self) -> StoreStatus {
        self.core.status()
    }

    /// Tries to open a closed store again now, instead of at the next try.
    ///
    /// # Errors
    /// What still stands in the way.
    pub async fn reopen(&self) -> Result<(), StoreError> {
        self.ask(|reply| Op::Reopen { reply }).await
    }

    /// Writes what waits, closes the files and releases the lock. Later calls fail.
    pub async fn close(&self) {
        // Stopped already is as good.
        drop(self.ask(|reply| Op::Close { reply }).await);
    }

    /// For the sync: every stream that the hub should hear of.
    pub fn streams(&self) -> Vec<StreamStatus> {
        self.core.state().meta.streams.clone()
    }

    /// For the sync: how far the hub's answers are applied.
    pub fn answers(&self) -> Option<Position> {
        self.core.state().meta.answers
    }

    /// For the sync: consecutive durable records of `first..end`, at least one if `first` is
    /// held, at most `bytes_max` beyond that. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn read(
        &self,
        stream: StreamId,
        epoch: Epoch,
        first: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Chunk, StoreError> {
        self.looked(self.core.read(stream, epoch, first, end, bytes_max))
    }

    /// For the sync: records below `end` were handed to the connection.
    pub fn sent(&self, end: Position) {
        if end.stream == StreamId::Escalation {
            self.core.sent(end.epoch, end.next);
        }
    }

    /// For the sync: the hub has committed everything below.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn acked(&self, mark: Position) -> Result<(), StoreError> {
        self.ask(|reply| Op::Acked { mark, reply }).await
    }

    /// For the sync: applies answers and moves the answer mark in one atomic commit.
    ///
    /// # Errors
    /// Any [`StoreError`]: nothing of it is applied, and nothing must be acknowledged.
    pub async fn apply_answers(
        &self,
        mark: Position,
        answers: Vec<Answer>,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Op::Answers { mark, answers, reply }).await
    }

    /// For the sync: the hub holds more than this store, which was restored from an old image:
    /// begins a new epoch.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn rolled_back(&self, hub_mark: Position) -> Result<(), StoreError> {
        self.ask(|reply| Op::RolledBack { mark: hub_mark, reply }).await
    }

    /// For the sync: changes when more is durable or an epoch begins.
    pub fn durable_changes(&self) -> watch::Receiver<u64> {
        self.core.durable.subscribe()
    }

    async fn ask<T>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Result<T, StoreError> {
        let permit = self.waiting.clone().acquire_owned().await;
        let (to, answer) = oneshot::channel();
        let reply = Reply { to, _permit: permit.map_err(|_| StoreError::Stopped)? };
        self.ops.send(op(reply)).map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Damage found while reading has the store opened again by the writer.
    fn looked<T>(&self, found: Result<T, Failed>) -> Result<T, StoreError> {
        found.map_err(|failed| match failed {
            Failed::Store(error) => error,
            Failed::Generation(number, TableError::Damaged(detail)) => {
                drop(self.ops.send(Op::Suspect { number, detail: detail.clone() }));
                StoreError::Closed { detail }
            }
            Failed::Generation(_, TableError::Full) => StoreError::DiskFull,
            Failed::Generation(_, TableError::Io(error)) => {
                StoreError::Closed { detail: error.to_string() }
            }
        })
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| load::file_error("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(load::file_error("lock", &path, &e)),
    }
}
