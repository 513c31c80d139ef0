//! The one thread that writes. It gathers requests into a commit, makes that durable, and only
//! then answers them.

use super::ballast::Ballast;
use super::config::{GROUP_RECORDS_MAX, GROUP_WAIT};
use super::core::{Core, Failed, Health};
use super::draft::Draft;
use super::load::load;
use super::meta::Meta;
use super::ops::{Op, Reply};
use super::table::TableError;
use super::{StoreError, WhenFull, keys};
use landfall_wire::record::Record;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The running time is written this often while tickets are open: it is all that a kill costs
/// of a time to live.
const RUNNING_EVERY_MS: u64 = 30_000;

/// A closed store or a full disk is tried again this often.
const RETRY_EVERY_MS: u64 = 5_000;

pub(super) struct Writer {
    pub(super) core: Arc<Core>,
    pub(super) draft: Draft,
    ballast: Ballast,
    /// Held while the store is open, so that no second process opens it.
    _lock: File,
    /// Running time before `since`.
    running_ms: u64,
    since: Instant,
    housekeep_at: Instant,
    /// Acknowledgements came since generations were last looked through.
    pub(super) collect_due: bool,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, ballast: Ballast, lock: File) -> Writer {
        let meta = core.state().meta.clone();
        let now = Instant::now();
        Writer {
            core,
            running_ms: meta.running_ms,
            draft: Draft::new(meta),
            ballast,
            _lock: lock,
            since: now,
            housekeep_at: now,
            collect_due: true,
        }
    }

    pub(super) fn run(mut self, ops: &Receiver<Op>) {
        loop {
            let now = Instant::now();
            if now >= self.housekeep_at {
                self.housekeep();
                self.plan();
            }
            match ops.recv_timeout(self.housekeep_at.saturating_duration_since(now)) {
                Ok(first) => {
                    let close = self.process(gather(first, ops));
                    if let Some(reply) = close {
                        self.stop();
                        // The lock is released before whoever closes hears of it.
                        drop(self);
                        return reply.send(Ok(()));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
        }
    }

    /// Handles a group in order; returns who asked to close.
    fn process(&mut self, group: Vec<Op>) -> Option<Reply<()>> {
        let mut close = None;
        self.renew();
        for op in group {
            match op {
                Op::Commit { entry, key, reply, .. } => {
                    let admitted = self.admit().map_err(Failed::Store);
                    let done =
                        admitted.and_then(|()| self.draft.entry(&self.core.state(), *entry, key));
                    self.answer(done, reply);
                }
                Op::Event { event, reply } => {
                    let done = self.admit_event().map_err(Failed::Store);
                    let done = done.and_then(|()| {
                        self.draft.event(Record::Event(*event)).map_err(Failed::Store)
                    });
                    self.answer(done, reply);
                }
                Op::Delivered { ticket, reply } => {
                    let done = self.check_open();
                    let done = done.and_then(|()| self.draft.delivered(&self.core.state(), ticket));
                    self.answer(done, reply);
                }
                Op::Acked { mark, reply } => {
                    let done = self.check_open().map(|()| self.draft.acked(mark));
                    self.answer(done, reply);
                }
                Op::Answers { mark, answers, reply } => {
                    let done = self.check_open();
                    let done =
                        done.and_then(|()| self.draft.answers(&self.core.state(), mark, answers));
                    self.answer(done, reply);
                }
                Op::RolledBack { mark, reply } => {
                    let done = self.check_open();
                    let done =
                        done.and_then(|()| self.draft.rolled_back(mark).map_err(Failed::Store));
                    self.answer(done, reply);
                }
                Op::Suspect { number, detail } => {
                    self.commit();
                    if self.core.state().generations.iter().any(|g| g.number == number) {
                        self.fail(number, TableError::Damaged(detail));
                    }
                }
                Op::Reopen { reply } => {
                    self.commit();
                    reply.send(self.reopen());
                }
                Op::Close { reply } => close = Some(reply),
            }
        }
        self.commit();
        self.rotate_if_large();
        if std::mem::take(&mut self.collect_due) {
            self.collect();
        }
        self.plan();
        close
    }

    fn answer<T: Send + 'static>(&mut self, done: Result<T, Failed>, reply: Reply<T>) {
        match done {
            Ok(value) => {
                self.draft.then(Box::new(move |result| reply.send(result.map(|()| value))));
            }
            Err(Failed::Store(error)) => reply.send(Err(error)),
            Err(Failed::Generation(number, error)) => reply.send(Err(self.fail(number, error))),
        }
    }

    fn check_open(&self) -> Result<(), Failed> {
        self.core.state().check_open()
    }

    /// Whether a decision may be written, making room for it if that is the policy.
    fn admit(&mut self) -> Result<(), StoreError> {
        self.admit_event()?;
        if self.full().is_some() && self.core.config.outcomes_when_full == WhenFull::DropOldest {
            self.commit();
            self.make_room();
            self.admit_event()?;
        }
        self.full().map_or(Ok(()), Err)
    }

    fn full(&self) -> Option<StoreError> {
        self.core.state().full(&self.core.config)
    }

    /// Events are few, and tell of losses: they may use the reserve.
    fn admit_event(&self) -> Result<(), StoreError> {
        let state = self.core.state();
        match &state.health {
            Health::Writable => {}
            Health::DiskFull => return Err(StoreError::DiskFull),
            Health::Closed { detail, .. } => {
                return Err(StoreError::Closed { detail: detail.clone() });
            }
            Health::Stopped => return Err(StoreError::Stopped),
        }
        let (bytes, bytes_max) = (state.bytes(), self.core.config.bytes_max);
        if bytes >= bytes_max { Err(StoreError::Full { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Starts a fresh draft on the state as it is; returns the old one.
    pub(super) fn renew(&mut self) -> Draft {
        let mut meta = self.core.state().meta.clone();
        meta.running_ms = self.now_ms();
        std::mem::replace(&mut self.draft, Draft::new(meta))
    }

    /// Makes the draft durable, then tells everyone, in that order. Says whether it is.
    pub(super) fn commit(&mut self) -> bool {
        let mut draft = self.renew();
        if !draft.is_dirty() {
            draft.finish(&Ok(()));
            return true;
        }
        draft.meta.counter += 1;
        draft.meta.forget_finished();
        let mut changes = std::mem::take(&mut draft.changes);
        changes.put.push((keys::META.to_vec(), draft.meta.seal()));
        let written = {
            let state = self.core.state();
            match state.generations.last() {
                Some(newest) => newest.table.commit(changes).map_err(|e| (newest.number, e)),
                None => {
                    let error = StoreError::Closed { detail: "it is not open".to_owned() };
                    draft.finish(&Err(error));
                    return false;
                }
            }
        };
        match written {
            Ok(()) => {
                self.committed(draft);
                true
            }
            Err((number, error)) => {
                // What was written may or may not be there after opening again; nobody is told
                // that it is.
                let error = self.fail(number, error);
                draft.finish(&Err(error));
                false
            }
        }
    }

    fn committed(&mut self, draft: Draft) {
        let mut state = self.core.state_mut();
        if let Some(newest) = state.generations.last_mut() {
            newest.records += draft.records;
            newest.outcomes = draft.meta.outcomes;
            newest.bytes = newest.table.bytes();
            for (stream, end) in &draft.ends {
                let known = newest.ends.entry(*stream).or_default();
                *known = (*known).max(*end);
            }
        }
        state.tickets_open = (state.tickets_open + draft.opened).saturating_sub(draft.closed);
        state.lost += draft.lost;
        state.meta = draft.meta.clone();
        drop(state);
        self.collect_due |= draft.acked_changed;
        self.core.durable.send_modify(|count| *count += 1);
        if draft.tickets_changed {
            self.core.tickets.send_modify(|count| *count += 1);
        }
        draft.finish(&Ok(()));
        self.renew();
    }

    /// Closes the store after a failure, and tries to open it again at once.
    pub(super) fn fail(&mut self, number: u64, error: TableError) -> StoreError {
        let (detail, suspect, full) = match error {
            TableError::Full => ("the disk is full".to_owned(), None, true),
            TableError::Io(error) => (error.to_string(), None, false),
            TableError::Damaged(detail) => (detail, Some(number), false),
        };
        {
            let mut state = self.core.state_mut();
            state.health = Health::Closed { detail: detail.clone(), suspect };
            // sled's handle stays broken after a failure: only dropping it helps.
            state.generations.clear();
        }
        if full {
            self.ballast.release();
        }
        tracing::error!(generation = number, detail, "the store failed and is opened again");
        let error = if full { StoreError::DiskFull } else { StoreError::Closed { detail } };
        self.renew().finish(&Err(error.clone()));
        if let Err(error) = self.reopen() {
            tracing::error!(%error, "the store cannot be opened again yet");
        }
        error
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let health = self.core.state().health.clone();
        let suspect = match health {
            Health::Writable => return Ok(()),
            Health::DiskFull => return self.ensure_ballast(),
            Health::Stopped => return Err(StoreError::Stopped),
            Health::Closed { detail, suspect } => suspect.map(|number| (number, detail)),
        };
        let (dir, config) = (&self.core.dir, &self.core.config);
        let loaded = load(dir, config, suspect.as_ref());
        if matches!(loaded, Err(StoreError::DiskFull)) {
            self.ballast.release();
        }
        let (mut state, _) = loaded?;
        self.running_ms = self.now_ms().max(state.meta.running_ms);
        self.since = Instant::now();
        state.health = Health::DiskFull;
        {
            let mut known = self.core.state_mut();
            state.lost += known.lost;
            *known = state;
        }
        self.renew();
        self.core.durable.send_modify(|count| *count += 1);
        self.core.tickets.send_modify(|count| *count += 1);
        self.ensure_ballast()
    }

    /// Decisions are taken only while the ballast is there.
    fn ensure_ballast(&mut self) -> Result<(), StoreError> {
        let made = self.ballast.ensure();
        let mut state = self.core.state_mut();
        match made {
            Ok(()) => {
                tracing::info!("the store takes records again");
                state.health = Health::Writable;
                Ok(())
            }
            Err(_) => Err(StoreError::DiskFull),
        }
    }

    fn housekeep(&mut self) {
        self.renew();
        let writable = self.core.state().health == Health::Writable;
        if !writable && let Err(error) = self.reopen() {
            tracing::debug!(%error, "the store is still not writable");
        }
        if self.check_open().is_err() {
            return;
        }
        // On a full disk tickets expire later: that needs new records.
        let writable = self.core.state().health == Health::Writable;
        if writable && let Err(failed) = self.expire() {
            self.failed(failed);
        }
        let written_ms = self.core.state().meta.running_ms;
        let due = self.now_ms().saturating_sub(written_ms) >= RUNNING_EVERY_MS;
        self.draft.moved |= due && self.core.state().tickets_open > 0;
        self.commit();
        self.collect();
    }

    pub(super) fn failed(&mut self, failed: Failed) {
        match failed {
            Failed::Store(error) => tracing::warn!(%error, "the store's housekeeping failed"),
            Failed::Generation(number, error) => drop(self.fail(number, error)),
        }
    }

    /// Sets the time of the next housekeeping.
    fn plan(&mut self) {
        let healthy = self.core.state().health == Health::Writable;
        let until_deadline = self.next_deadline_ms().map(|at| at.saturating_sub(self.now_ms()));
        let pause = match until_deadline {
            _ if !healthy => RETRY_EVERY_MS,
            Some(until) => until.clamp(1, RUNNING_EVERY_MS),
            None => RUNNING_EVERY_MS,
        };
        let at = Instant::now() + Duration::from_millis(pause);
        let due = self.housekeep_at <= Instant::now();
        self.housekeep_at = if due { at } else { at.min(self.housekeep_at) };
    }

    fn stop(&mut self) {
        self.renew();
        if self.check_open().is_ok() {
            self.draft.moved = true;
            self.commit();
        }
        let mut state = self.core.state_mut();
        state.health = Health::Stopped;
        state.generations.clear();
    }

    /// How long this device ran with this store.
    pub(super) fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.running_ms.saturating_add(since)
    }

    pub(super) fn queue(&self) -> PathBuf {
        self.core.dir.join("q")
    }

    pub(super) fn meta(&self) -> Meta {
        self.core.state().meta.clone()
    }
}

/// Takes what else waits; unless someone is in a hurry, waits a little for more.
fn gather(first: Op, ops: &Receiver<Op>) -> Vec<Op> {
    let until = Instant::now() + GROUP_WAIT;
    let mut urgent = first.is_urgent();
    let mut group = vec![first];
    while group.len() < GROUP_RECORDS_MAX {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(op) = ops.recv_timeout(if urgent { Duration::ZERO } else { left }) else { break };
        urgent |= op.is_urgent();
        group.push(op);
    }
    group
}
