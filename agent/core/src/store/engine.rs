//! The one that writes. It turns a group of requests into a commit, makes that durable, and
//! only then answers them.

use super::config::StoreConfig;
use super::draft::Draft;
use super::load::{KEEP_WITNESS, Suspect, load};
use super::medium::{Medium, Notice, TableError};
use super::meta::Meta;
use super::ops::{Op, Reply};
use super::state::{Failed, Health, Shared, State};
use super::types::Opened;
use super::witness::Witness;
use super::{StoreError, WhenFull};
use landfall_wire::record::Record;
use std::sync::Arc;

/// The running time is written this often while tickets are open: it is all that a kill costs
/// of a time to live.
const RUNNING_EVERY_MS: u64 = 30_000;

/// A closed store or a full disk is tried again this often.
const RETRY_EVERY_MS: u64 = 5_000;

/// What changed for others since they last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News {
    /// More is durable, records were dropped, or an epoch began.
    pub durable: bool,
    /// A ticket's state.
    pub tickets: bool,
    /// A directive of the hub.
    pub directives: bool,
}

/// Writes the store. Every call is given the time, monotonic milliseconds of this process.
pub struct Engine {
    pub(super) medium: Box<dyn Medium>,
    pub(super) shared: Arc<Shared>,
    pub(super) draft: Draft,
    news: News,
    /// Running time before `since_ms`.
    running_ms: u64,
    since_ms: u64,
    /// The time of the call that is under way.
    clock_ms: u64,
    housekeep_at_ms: u64,
    /// Acknowledgements came since generations were last looked through.
    pub(super) collect_due: bool,
    /// The witness could not be kept, and a log has that.
    witness_failed: bool,
}

impl Engine {
    /// Opens the store, creating it if there is none; a damaged one is set aside and salvaged.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::DiskFull`].
    pub fn open(
        mut medium: Box<dyn Medium>,
        config: StoreConfig,
        now_ms: u64,
    ) -> Result<(Engine, Opened), StoreError> {
        let (mut state, opened) = match load(&mut *medium, None) {
            Err(StoreError::DiskFull) => {
                medium.release();
                load(&mut *medium, None)?
            }
            other => other?,
        };
        if medium.reserve().is_err() {
            medium.notice(Notice::DiskFull);
            state.health = Health::DiskFull;
        }
        Ok((Engine::on(medium, config, state, now_ms), opened))
    }

    /// Of a store that could not be opened, for this reason: it takes nothing, knows nothing, and
    /// is tried again by itself.
    pub fn waiting(
        medium: Box<dyn Medium>,
        config: StoreConfig,
        now_ms: u64,
        why: &StoreError,
    ) -> Engine {
        let health = Health::Closed { detail: why.to_string(), suspect: None };
        Engine::on(medium, config, State::unknown(health), now_ms)
    }

    fn on(medium: Box<dyn Medium>, config: StoreConfig, state: State, now_ms: u64) -> Engine {
        let meta = state.meta.clone();
        Engine {
            medium,
            shared: Arc::new(Shared::new(config, state)),
            news: News::default(),
            running_ms: meta.running_ms,
            draft: Draft::new(meta),
            since_ms: now_ms,
            clock_ms: now_ms,
            housekeep_at_ms: now_ms,
            collect_due: true,
            witness_failed: false,
        }
    }

    /// What readers share.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// What changed for others since this was last asked.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// When [`Engine::housekeep`] is due.
    pub fn housekeep_at_ms(&self) -> u64 {
        self.housekeep_at_ms
    }

    /// Handles a group in order; returns who asked to close. Everyone is answered after the
    /// commit that holds what they asked for.
    pub fn process(&mut self, now_ms: u64, group: Vec<Op>) -> Option<Reply<()>> {
        self.clock_ms = now_ms;
        let mut close = None;
        self.renew();
        for op in group {
            match op {
                Op::Commit { entry, key, reply, .. } => {
                    let admitted = self.admit().map_err(Failed::Store);
                    let done =
                        admitted.and_then(|()| self.draft.entry(&self.shared.state(), *entry, key));
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
                    let done =
                        done.and_then(|()| self.draft.delivered(&self.shared.state(), ticket));
                    self.answer(done, reply);
                }
                Op::Acked { mark, reply } => {
                    let done = self.check_open().map(|()| self.draft.acked(mark));
                    self.answer(done, reply);
                }
                Op::Down { batch, reply } => {
                    let done = self.check_open();
                    let done = done.and_then(|()| self.draft.down(&self.shared.state(), batch));
                    self.answer(done, reply);
                }
                Op::Offer { reply } => {
                    let done = self.check_open().map(|()| {
                        self.shared.offer();
                        self.draft.offer();
                    });
                    self.answer(done, reply);
                }
                Op::Resend { which, reply } => {
                    let done = self.check_open().and_then(|()| self.resend(which));
                    self.answer(done, reply);
                }
                Op::RolledBack { mark, reply } => {
                    let done = self.check_open().and_then(|()| self.roll_back(mark));
                    self.answer(done, reply);
                }
                Op::Suspect { number, detail } => {
                    self.commit();
                    if self.shared.state().generations.iter().any(|g| g.number == number) {
                        self.fail(number, TableError::Damaged(detail));
                    }
                }
                Op::Reopen { reply } => {
                    self.commit();
                    reply(self.reopen());
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
                self.draft.then(Box::new(move |result| reply(result.map(|()| value))));
            }
            Err(Failed::Store(error)) => reply(Err(error)),
            Err(Failed::Generation(number, error)) => reply(Err(self.fail(number, error))),
        }
    }

    fn check_open(&self) -> Result<(), Failed> {
        self.shared.state().check_open()
    }

    /// Whether a decision may be written, making room for it if that is the policy.
    pub(super) fn admit(&mut self) -> Result<(), StoreError> {
        if self.shared.state().health == Health::DiskFull {
            self.free_disk();
        }
        self.check_writable()?;
        if self.full().is_some() {
            self.commit();
            // The limit counts for more than the memory of retries, and than what is kept for
            // audit.
            self.collect();
            let drops = self.shared.config.outcomes_when_full == WhenFull::DropOldest;
            if drops && self.full().is_some() {
                self.make_room();
            }
            self.admit_event()?;
        }
        self.full().map_or(Ok(()), Err)
    }

    fn full(&self) -> Option<StoreError> {
        self.shared.state().full(&self.shared.config)
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        match &self.shared.state().health {
            Health::Writable => Ok(()),
            Health::DiskFull => Err(StoreError::DiskFull),
            Health::Closed { detail, .. } => Err(StoreError::Closed { detail: detail.clone() }),
            Health::Stopped => Err(StoreError::Stopped),
        }
    }

    /// Events are few, and tell of losses: they may use the reserve.
    fn admit_event(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let state = self.shared.state();
        let (bytes, bytes_max) = (state.bytes(), self.shared.config.bytes_max);
        if bytes >= bytes_max { Err(StoreError::Full { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Starts a fresh draft on the state as it is; returns the old one.
    pub(super) fn renew(&mut self) -> Draft {
        let mut meta = self.shared.state().meta.clone();
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
        if self.shared.is_offering() {
            draft.meta.offer();
        }
        draft.meta.forget_finished();
        let changes = draft.take_changes();
        let written = {
            let state = self.shared.state();
            match state.generations.last() {
                Some(newest) => {
                    let written = newest.table.commit(changes).map(|()| newest.number);
                    written.map_err(|e| (newest.number, e))
                }
                None => {
                    let error = StoreError::Closed { detail: "it is not open".to_owned() };
                    draft.finish(&Err(error));
                    return false;
                }
            }
        };
        match written {
            Ok(number) => {
                // After it is durable, and before anybody is told.
                self.keep_witness(number, &draft.meta);
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

    fn keep_witness(&mut self, number: u64, meta: &Meta) {
        let kept = self.medium.keep_witness(&Witness::seal(number, meta));
        if let Err(error) = &kept
            && !self.witness_failed
        {
            self.upkeep_failed(KEEP_WITNESS, error);
        }
        self.witness_failed = kept.is_err();
    }

    fn committed(&mut self, mut draft: Draft) {
        let mut state = self.shared.state_mut();
        if let Some(newest) = state.generations.last_mut() {
            newest.records += draft.records;
            newest.holds(&draft.meta);
            newest.bytes = newest.table.bytes();
            for (stream, end) in &draft.ends {
                let known = newest.ends.entry(*stream).or_default();
                *known = (*known).max(*end);
            }
        }
        state.tickets_open = (state.tickets_open + draft.opened).saturating_sub(draft.closed);
        state.lost += draft.lost;
        state.meta = draft.meta.clone();
        let directives = std::mem::take(&mut draft.directives);
        self.news.directives |= !directives.is_empty();
        state.directives.extend(directives);
        for (id, at) in std::mem::take(&mut draft.refused) {
            match at {
                Some(at) => state.refused.insert(id, at),
                None => state.refused.remove(&id),
            };
        }
        drop(state);
        self.collect_due |= draft.acked_changed;
        self.news.durable = true;
        self.news.tickets |= draft.tickets_changed;
        draft.finish(&Ok(()));
        self.renew();
    }

    /// Closes the store after a failure, and tries to open it again at once.
    pub(super) fn fail(&mut self, number: u64, error: TableError) -> StoreError {
        let (detail, suspect, full) = match error {
            TableError::Full => ("the disk is full".to_owned(), None, true),
            TableError::Io(detail) => (detail, None, false),
            TableError::Damaged(detail) => (detail, Some(number), false),
        };
        {
            let mut state = self.shared.state_mut();
            state.health = Health::Closed { detail: detail.clone(), suspect };
            // sled's handle stays broken after a failure: only dropping it helps.
            state.generations.clear();
        }
        if full {
            self.medium.release();
        }
        self.medium.notice(Notice::Failed { generation: number, detail: &detail });
        let error = if full { StoreError::DiskFull } else { StoreError::Closed { detail } };
        self.renew().finish(&Err(error.clone()));
        if let Err(error) = self.reopen() {
            self.medium.notice(Notice::StillClosed(&error));
        }
        error
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let health = self.shared.state().health.clone();
        let suspect = match health {
            Health::Writable => return Ok(()),
            Health::DiskFull => return self.ensure_ballast(),
            Health::Stopped => return Err(StoreError::Stopped),
            Health::Closed { detail, suspect } => suspect.map(|number| {
                let told = self.shared.state().meta.clone();
                Suspect { number, detail, told }
            }),
        };
        let loaded = load(&mut *self.medium, suspect);
        if matches!(loaded, Err(StoreError::DiskFull)) {
            self.medium.release();
        }
        let (mut state, _) = loaded?;
        self.running_ms = self.now_ms().max(state.meta.running_ms);
        self.since_ms = self.clock_ms;
        state.health = Health::DiskFull;
        {
            let mut known = self.shared.state_mut();
            state.lost += known.lost;
            *known = state;
        }
        self.renew();
        self.news = News { durable: true, tickets: true, directives: true };
        self.ensure_ballast()
    }

    /// What the hub has need not be kept on a full disk.
    fn free_disk(&mut self) {
        self.commit();
        self.collect();
    }

    /// Decisions are taken only while the ballast is there.
    pub(super) fn ensure_ballast(&mut self) -> Result<(), StoreError> {
        self.medium.reserve()?;
        self.shared.state_mut().health = Health::Writable;
        self.medium.notice(Notice::Recovered);
        Ok(())
    }

    /// What is due by time: expires tickets, tries a closed store again, collects what the hub
    /// has.
    pub fn housekeep(&mut self, now_ms: u64) {
        self.clock_ms = now_ms;
        self.upkeep();
        self.plan();
    }

    fn upkeep(&mut self) {
        self.renew();
        let writable = self.shared.state().health == Health::Writable;
        if self.shared.state().health == Health::DiskFull {
            self.free_disk();
        }
        // Still not writable: it is tried again soon, and the status says so.
        if (!writable && self.reopen().is_err()) || self.check_open().is_err() {
            return;
        }
        // On a full disk or in a full store tickets expire later: that needs new records.
        let writable = self.shared.state().health == Health::Writable;
        if self.admit_event().is_ok()
            && let Err(failed) = self.expire()
        {
            self.failed(failed);
        }
        let written_ms = self.shared.state().meta.running_ms;
        if writable && let Err(failed) = self.mark_by_time() {
            self.failed(failed);
        }
        let due = self.now_ms().saturating_sub(written_ms) >= RUNNING_EVERY_MS;
        self.draft.moved |= due && self.shared.state().tickets_open > 0;
        self.commit();
        self.collect();
    }

    pub(super) fn failed(&mut self, failed: Failed) {
        match failed {
            Failed::Store(error) => self.upkeep_failed("keep house", &error),
            Failed::Generation(number, error) => drop(self.fail(number, error)),
        }
    }

    /// Sets the time of the next housekeeping.
    fn plan(&mut self) {
        let healthy = self.admit_event().is_ok();
        let until_deadline = self.next_deadline_ms().map(|at| at.saturating_sub(self.now_ms()));
        let pause_ms = match until_deadline {
            _ if !healthy => RETRY_EVERY_MS,
            Some(until) => until.clamp(1, RUNNING_EVERY_MS),
            None => RUNNING_EVERY_MS,
        };
        let at_ms = self.clock_ms.saturating_add(pause_ms);
        let due = self.housekeep_at_ms <= self.clock_ms;
        self.housekeep_at_ms = if due { at_ms } else { at_ms.min(self.housekeep_at_ms) };
    }

    /// Writes what waits and closes.
    pub fn stop(&mut self, now_ms: u64) {
        self.clock_ms = now_ms;
        self.renew();
        if self.check_open().is_ok() {
            self.draft.moved = true;
            self.commit();
        }
        let mut state = self.shared.state_mut();
        state.health = Health::Stopped;
        state.generations.clear();
    }

    /// How long this device ran with this store.
    pub(super) fn now_ms(&self) -> u64 {
        self.running_ms.saturating_add(self.clock_ms.saturating_sub(self.since_ms))
    }

    pub(super) fn meta(&self) -> Meta {
        self.shared.state().meta.clone()
    }

    pub(super) fn upkeep_failed(&self, what: &'static str, error: &StoreError) {
        self.medium.notice(Notice::Upkeep { what, error });
    }
}
