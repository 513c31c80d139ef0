//! The agent's durable store on sled 0.34.7: files, and the thread that writes. What is written
//! when, and what is promised, is decided in [`landfall_agent_core::store`].
//!
//! ```text
//! <dir>/lock          held by the process that has the store open
//! <dir>/ballast       given up when the disk is full
//! <dir>/witness       the positions of the last two commits, outside of sled
//! <dir>/q/<n>/        a generation: one sled database
//! <dir>/damaged-<n>/  a generation that was set aside, for a person to look at
//! ```
//!
//! Invariants kept here:
//! * a table's commit is durable when it returns: after sled's `flush`, which is not, comes
//!   `fdatasync` (see `table`);
//! * damage shows as an error, never as a panic; a failed table is dropped;
//! * one cache for each generation, and no index but sled's own.
//!
//! One thread writes (see `thread`); any thread reads. Not here: what a record means, and when
//! to send it.

mod ballast;
mod copy;
mod files;
mod follow;
mod table;
mod thread;
mod tip;
mod witness;

#[cfg(test)]
mod tests;

pub use landfall_agent_core::store::{
    BYTES_MIN, CallerKey, Chunk, Committed, DAY_MS, GENERATION_BYTES_MAX, HeldOutcome, Kept,
    OUTCOMES_READ_MAX, Opened, OutcomeId, Recall, Refused, RefusedId, Resent, Standing,
    StoreConfig, StoreError, StoreStatus, StreamStatus, TicketState, TicketStatus, WhenFull,
};

pub use self::copy::{StoreCopy, scratch_home};

pub use self::follow::Following;

use self::files::{Files, file_error, is_disk_unwell};
use self::thread::{Tell, Writer};
use landfall_agent_core::session::{DownBatch, Held};
use landfall_agent_core::store::{Engine, Failed, Op, Reply, Shared, TableError};
use landfall_agent_core::task::Entry;
use landfall_systemd::Pulse;
use landfall_wire::chain::ChainMark;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::record::{Event, StreamId};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;
use tokio::sync::{Semaphore, oneshot, watch};

/// Most requests that wait for the writer; more wait to be taken. Two full commits: one is
/// written while the next gathers.
const WAITING_MAX: usize = 1024;

/// A handle to the open store; clones share it. When the last is dropped, what waits is
/// written and the store is closed; [`Store::close`] waits for that.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    ops: mpsc::Sender<Op>,
    waiting: Arc<Semaphore>,
    durable: watch::Receiver<u64>,
    tickets: watch::Sender<u64>,
    pulse: Pulse,
    directives: watch::Receiver<u64>,
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none; a damaged one is set aside and
    /// salvaged. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::File`], [`StoreError::DiskFull`].
    pub fn open(dir: &Path, config: StoreConfig) -> Result<(Store, Opened), StoreError> {
        let mut files = Files::new(dir, config.device.clone()).locked();
        files.keep_out()?;
        let (pulse, started) = (files.pulse(), Instant::now());
        let (engine, opened) = Engine::open(Box::new(files), config, 0)?;
        Ok((Store::run(dir, engine, pulse, started)?, opened))
    }

    /// The same; but where the disk is full, read-only or failing, a store that takes nothing until
    /// it could be opened, which is tried every few seconds. Then the error is returned beside it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], and what a person must mend.
    pub fn open_or_wait(
        dir: &Path,
        config: StoreConfig,
    ) -> Result<(Store, Result<Opened, StoreError>), StoreError> {
        let why = match Store::open(dir, config.clone()) {
            Ok((store, opened)) => return Ok((store, Ok(opened))),
            Err(error @ StoreError::Locked { .. }) => return Err(error),
            Err(error) if error == StoreError::DiskFull || is_disk_unwell(dir) => error,
            Err(error) => return Err(error),
        };
        let files = Files::new(dir, config.device.clone()).locked();
        let (pulse, started) = (files.pulse(), Instant::now());
        let engine = Engine::waiting(Box::new(files), config, 0, &why);
        Ok((Store::run(dir, engine, pulse, started)?, Err(why)))
    }

    fn run(
        dir: &Path,
        engine: Engine,
        pulse: Pulse,
        started: Instant,
    ) -> Result<Store, StoreError> {
        let shared = engine.shared();
        let (tell_durable, durable) = watch::channel(0);
        let tickets = watch::Sender::new(0);
        let (tell_directives, directives) = watch::channel(0);
        let tell =
            Tell { durable: tell_durable, tickets: tickets.clone(), directives: tell_directives };
        let (ops, requests) = mpsc::channel();
        let writer = Writer { engine, tell, pulse: pulse.clone(), started };
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|e| file_error("start the writer of", dir, &e))?;
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Ok(Store { shared, ops, waiting, durable, tickets, pulse, directives })
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
        self.looked(self.shared.recall(key))
    }

    /// Outcomes that are held, those that the hub has and those that wait for it: from `from` on
    /// or from the oldest, at most `max`, and at most [`OUTCOMES_READ_MAX`]; none when there are no
    /// more. The next call goes on at the last one's number plus one. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn outcomes(
        &self,
        from: Option<OutcomeId>,
        max: usize,
    ) -> Result<Vec<HeldOutcome>, StoreError> {
        self.looked(self.shared.outcomes(from, max))
    }

    /// The end of the hash chain over the outcomes of the present epoch.
    pub fn chain_head(&self) -> Option<ChainMark> {
        self.shared.chain_head()
    }

    /// Digest of the text that this id of a caller was used for, and the outcome; `None` if it is
    /// not known (any more). Blocking, microseconds.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn asked(
        &self,
        task: TaskName,
        caller_id: String,
    ) -> Result<Option<(ShortDigest, OutcomeId)>, StoreError> {
        self.looked(self.shared.asked(task, caller_id))
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
        self.looked(self.shared.ticket_status(ticket))
    }

    /// Open and answered tickets, newest first, at most `max`.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn tickets(&self, max: usize) -> Result<Vec<TicketStatus>, StoreError> {
        self.looked(self.shared.ticket_list(max))
    }

    /// Changes with every change of any ticket.
    pub fn ticket_changes(&self) -> watch::Receiver<u64> {
        self.tickets.subscribe()
    }

    /// Records that the hub refused, and that are kept. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn refused(&self) -> Result<Vec<Refused>, StoreError> {
        self.looked(self.shared.refused())
    }

    /// Sends a refused record once more, or all that are still here, under new numbers. Resolves
    /// when that is durable.
    ///
    /// # Errors
    /// [`StoreError::NotRefused`], [`StoreError::RefusedGone`], or any other.
    pub async fn resend(&self, which: Option<RefusedId>) -> Result<Vec<Resent>, StoreError> {
        self.ask(|reply| Op::Resend { which, reply }).await
    }

    /// Directives of the hub that hold. What waits for one follows them, see
    /// [`Store::follow_directives`].
    pub fn directives(&self) -> Vec<Standing> {
        self.shared.directives()
    }

    /// Follows the directives of the hub: those that hold now, then each that arrives.
    pub fn follow_directives(&self) -> Following {
        Following::new(self.clone(), self.directives.clone())
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
        self.shared.status()
    }

    /// Whether the writer gets on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
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
        self.shared.streams()
    }

    /// For the sync: the same, for a session.
    pub fn held(&self) -> Vec<Held> {
        self.shared.held()
    }

    /// For the sync: how far the hub's answers are applied.
    pub fn answers(&self) -> Option<Position> {
        self.shared.answers()
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
        self.looked(self.shared.read(stream, epoch, first, end, bytes_max))
    }

    /// For the sync: records below `end` were handed to the connection.
    pub fn sent(&self, end: Position) {
        if self.shared.sent(end) {
            self.tickets.send_modify(|count| *count += 1);
        }
    }

    /// For the sync: the hub has committed everything below.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn acked(&self, mark: Position) -> Result<(), StoreError> {
        self.ask(|reply| Op::Acked { mark, reply }).await
    }

    /// For the sync: applies what came from the hub and moves the mark of its stream in one
    /// atomic commit.
    ///
    /// # Errors
    /// Any [`StoreError`]: nothing of it is applied, and nothing must be acknowledged.
    pub async fn apply_down(&self, batch: DownBatch) -> Result<(), StoreError> {
        self.ask(|reply| Op::Down { batch, reply }).await
    }

    /// For the sync: there is a connection. What is there, and what is written until
    /// [`Store::withdraw`], may be sent once this has returned.
    ///
    /// # Errors
    /// Any [`StoreError`]: then nothing may be sent.
    pub async fn offer(&self) -> Result<(), StoreError> {
        self.ask(|reply| Op::Offer { reply }).await
    }

    /// For the sync: there is no connection any more.
    pub fn withdraw(&self) {
        self.shared.withdraw();
    }

    /// For the sync: the hub holds more than it can have had from this store, which was
    /// restored from an old image: begins a new epoch.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn rolled_back(&self, hub_mark: Position) -> Result<(), StoreError> {
        self.ask(|reply| Op::RolledBack { mark: hub_mark, reply }).await
    }

    /// For the sync: changes when more is durable or an epoch begins.
    pub fn durable_changes(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    async fn ask<T: Send + 'static>(
        &self,
        op: impl FnOnce(Reply<T>) -> Op,
    ) -> Result<T, StoreError> {
        let permit = self.waiting.clone().acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Stopped)?;
        let (to, answer) = oneshot::channel();
        let reply = Box::new(move |result| {
            // Whoever asked may be gone.
            drop(to.send(result));
            drop(permit);
        });
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
            Failed::Generation(_, TableError::Io(detail)) => StoreError::Closed { detail },
        })
    }
}
