//! The life of a release on a device: `Wanted -> Fetched -> Trial -> Current`, or rolled back
//! with a reason. Said by the hub, decided here, done by the shell.
//!
//! Invariants:
//! * the book says that a trial begins before anything of the candidate is opened: whatever the
//!   candidate does to the agent, the next start runs what ran before;
//! * one package is worked on at a time, and one candidate is tried at a time;
//! * an order is obeyed once: a number that is not above the last is an old order;
//! * what ran before stays on disk, to go back to without a link;
//! * a report is in the book until the store has it: none is lost by a crash, and one may come
//!   twice, which the hub takes for one.
//!
//! Not here: files, networks, models, clocks. A link that is down is no event of this machine:
//! fetching simply takes longer.

mod book;
#[cfg(test)]
mod tests;

pub use book::{Book, Candidate, Entry, Failure, Stage};

use landfall_wire::release::{ReleaseFault, ReleaseOrder, ReleaseRef, ReleaseReport, ReleaseStage};

/// Trials of one order. A power cut during the first is no fault of the release; an agent that
/// ends during both is.
pub const TRIALS_MAX: u8 = 2;

/// Most packages with releases: a site has one or two, and each costs its files.
pub const PACKAGES_MAX: usize = 64;

/// Longest trial in seconds: beyond a week, roll back with an order.
pub const TRIAL_SECS_MAX: u32 = 7 * 24 * 60 * 60;

/// Which order something is about. What comes late, about an order that has been replaced, is
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderId {
    /// The package's name.
    pub package: String,
    /// The order's number.
    pub number: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The hub wants something.
    Ordered(ReleaseOrder),
    /// Every file is there; signature and digests hold.
    Fetched(OrderId),
    /// The candidate passed its checks, and serves.
    Serving(OrderId),
    /// The candidate cannot be used; what ran before runs.
    Refused {
        /// Which.
        id: OrderId,
        /// Of which kind.
        fault: ReleaseFault,
        /// In words.
        detail: String,
    },
    /// What serves on trial failed on a text.
    Misbehaved {
        /// In words.
        detail: String,
    },
    /// Reports are in the store: so many, the oldest.
    Told(usize),
    /// [`Releases::next_wakeup`] has come.
    Tick,
    /// The agent stops, in order.
    Stopping,
}

/// What the shell does after it has made the book durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Get what is missing of these files, until all are there; then say `Fetched`. Whatever
    /// else is being fetched is left.
    Fetch(OrderId, ReleaseRef),
    /// Open, check and switch to the candidate; then say `Serving`, or `Refused`.
    Try(OrderId, Option<ReleaseRef>),
    /// Let go of what serves on trial, or is about to, and run what the book calls current.
    Restore,
    /// Remove what the book does not keep.
    Collect,
}

/// What follows, in this order: the book durable, the reports in the store, the acts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Whether the book changed.
    pub save: bool,
    /// What to do then.
    pub acts: Vec<Act>,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Releases {
    book: Book,
    at_work: Option<OrderId>,
    /// When what serves on trial has served long enough.
    trial_until_ms: Option<u64>,
}

impl Releases {
    /// At a start, with the book as it was last saved. `wall_ms` is the wall clock, for reports.
    pub fn start(book: Book, wall_ms: u64) -> (Releases, Effects) {
        let mut releases = Releases { book, at_work: None, trial_until_ms: None };
        let mut effects = Effects::default();
        let tried = releases.book.packages.iter().filter_map(|(package, entry)| {
            let candidate = entry.candidate.as_ref()?;
            let id = OrderId { package: package.clone(), number: entry.order };
            (candidate.stage == Stage::Trial).then_some((id, candidate.trials))
        });
        for (id, trials) in tried.collect::<Vec<_>>() {
            effects.save = true;
            if trials >= TRIALS_MAX {
                let detail = format!("the agent ended during {trials} trials");
                releases.fail(wall_ms, &id, ReleaseFault::Crash, detail);
            } else if let Some(candidate) = releases.candidate(&id) {
                candidate.stage = Stage::Fetched;
            }
        }
        releases.work(&mut effects);
        (releases, effects)
    }

    /// What is remembered.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What is being fetched or tried; an act of any other order is not wanted any more.
    pub fn at_work(&self) -> Option<&OrderId> {
        self.at_work.as_ref()
    }

    /// When [`Input::Tick`] is due, in the clock of `now_ms`.
    pub fn next_wakeup(&self) -> Option<u64> {
        self.trial_until_ms
    }

    /// Something happened. `now_ms` only counts; `wall_ms` is the wall clock, for reports.
    pub fn step(&mut self, now_ms: u64, wall_ms: u64, input: Input) -> Effects {
        let mut effects = Effects::default();
        match input {
            Input::Ordered(order) => self.ordered(wall_ms, order, &mut effects),
            Input::Fetched(id) => self.fetched(wall_ms, &id, &mut effects),
            Input::Serving(id) => self.serving(now_ms, wall_ms, &id, &mut effects),
            Input::Refused { id, fault, detail } => {
                if self.candidate(&id).is_some() {
                    effects.save = true;
                    self.fail(wall_ms, &id, fault, detail);
                }
            }
            Input::Misbehaved { detail } => self.misbehaved(wall_ms, detail, &mut effects),
            Input::Told(count) => {
                let count = count.min(self.book.untold.len());
                effects.save = count > 0;
                self.book.untold.drain(..count);
            }
            Input::Tick => self.tick(now_ms, wall_ms, &mut effects),
            Input::Stopping => self.stopping(&mut effects),
        }
        self.work(&mut effects);
        effects
    }

    fn ordered(&mut self, wall_ms: u64, order: ReleaseOrder, effects: &mut Effects) {
        let ReleaseOrder { package, number, release, trial_secs } = order;
        let known = self.book.packages.len();
        if !self.book.packages.contains_key(&package) && known >= PACKAGES_MAX {
            return;
        }
        let entry = self.book.packages.entry(package.clone()).or_default();
        if number <= entry.order {
            return;
        }
        let was_on_trial = entry.candidate.as_ref().is_some_and(|c| c.stage == Stage::Trial);
        entry.order = number;
        entry.failed = None;
        effects.save = true;
        let is_current =
            entry.current.as_ref().map(|r| r.manifest) == release.as_ref().map(|r| r.manifest);
        // What the configuration names is there already.
        let stage = if release.is_some() { Stage::Wanted } else { Stage::Fetched };
        let trial_secs = trial_secs.min(TRIAL_SECS_MAX);
        let candidate = Candidate { release, trial_secs, stage, trials: 0 };
        let reported = if is_current { ReleaseStage::Current } else { ReleaseStage::Accepted };
        let digest = candidate.release.as_ref().map(|r| r.manifest);
        entry.candidate = (!is_current).then_some(candidate);
        let id = OrderId { package, number };
        self.report(wall_ms, &id, digest, reported);
        if self.at_work.as_ref().is_some_and(|at_work| at_work.package == id.package) {
            self.at_work = None;
            self.trial_until_ms = None;
            if was_on_trial {
                effects.acts.push(Act::Restore);
            }
        }
    }

    fn fetched(&mut self, wall_ms: u64, id: &OrderId, effects: &mut Effects) {
        let Some(candidate) = self.candidate(id) else { return };
        if candidate.stage != Stage::Wanted {
            return;
        }
        candidate.stage = Stage::Fetched;
        let digest = candidate.release.as_ref().map(|r| r.manifest);
        self.report(wall_ms, id, digest, ReleaseStage::Fetched);
        self.at_work = None;
        effects.save = true;
    }

    fn serving(&mut self, now_ms: u64, wall_ms: u64, id: &OrderId, effects: &mut Effects) {
        let Some(candidate) = self.candidate(id) else { return };
        if candidate.stage != Stage::Trial {
            return;
        }
        let until = now_ms.saturating_add(u64::from(candidate.trial_secs) * 1000);
        let digest = candidate.release.as_ref().map(|r| r.manifest);
        self.trial_until_ms = Some(until);
        self.report(wall_ms, id, digest, ReleaseStage::Trial);
        effects.save = true;
    }

    fn misbehaved(&mut self, wall_ms: u64, detail: String, effects: &mut Effects) {
        // Only while it serves: before that, what runs is what ran before.
        if self.trial_until_ms.is_none() {
            return;
        }
        let Some(id) = self.at_work.clone() else { return };
        effects.save = true;
        effects.acts.push(Act::Restore);
        self.fail(wall_ms, &id, ReleaseFault::Failing, detail);
    }

    fn tick(&mut self, now_ms: u64, wall_ms: u64, effects: &mut Effects) {
        if self.trial_until_ms.is_none_or(|until| now_ms < until) {
            return;
        }
        self.trial_until_ms = None;
        let Some(id) = self.at_work.take() else { return };
        let Some(entry) = self.book.packages.get_mut(&id.package) else { return };
        let Some(candidate) = entry.candidate.take() else { return };
        let digest = candidate.release.as_ref().map(|r| r.manifest);
        entry.previous = std::mem::replace(&mut entry.current, candidate.release);
        self.report(wall_ms, &id, digest, ReleaseStage::Current);
        effects.save = true;
        effects.acts.push(Act::Collect);
    }

    /// A stop is no crash: the trial begins anew at the next start.
    fn stopping(&mut self, effects: &mut Effects) {
        let Some(id) = self.at_work.clone() else { return };
        if let Some(candidate) = self.candidate(&id)
            && candidate.stage == Stage::Trial
        {
            candidate.stage = Stage::Fetched;
            candidate.trials = candidate.trials.saturating_sub(1);
            effects.save = true;
        }
        // Nothing else is begun.
        self.trial_until_ms = None;
    }

    /// Begins with the first candidate, if nothing is under way.
    fn work(&mut self, effects: &mut Effects) {
        if self.at_work.is_some() {
            return;
        }
        let next = self.book.packages.iter_mut().find_map(|(package, entry)| {
            let id = OrderId { package: package.clone(), number: entry.order };
            Some((id, entry.candidate.as_mut()?))
        });
        let Some((id, candidate)) = next else { return };
        let act = match (candidate.stage, &candidate.release) {
            (Stage::Wanted, Some(release)) => Act::Fetch(id.clone(), release.clone()),
            (Stage::Wanted, None) | (Stage::Fetched | Stage::Trial, _) => {
                // The marker: durable before the candidate is opened.
                candidate.stage = Stage::Trial;
                candidate.trials = candidate.trials.saturating_add(1);
                effects.save = true;
                Act::Try(id.clone(), candidate.release.clone())
            }
        };
        effects.acts.push(act);
        self.at_work = Some(id);
    }

    fn candidate(&mut self, id: &OrderId) -> Option<&mut Candidate> {
        let entry = self.book.packages.get_mut(&id.package)?;
        if entry.order == id.number { entry.candidate.as_mut() } else { None }
    }

    fn fail(&mut self, wall_ms: u64, id: &OrderId, fault: ReleaseFault, detail: String) {
        let Some(entry) = self.book.packages.get_mut(&id.package) else { return };
        let Some(candidate) = entry.candidate.take() else { return };
        let digest = candidate.release.as_ref().map(|r| r.manifest);
        entry.failed = Some(Failure { release: candidate.release, fault, detail: detail.clone() });
        self.report(wall_ms, id, digest, ReleaseStage::RolledBack { fault, detail });
        if self.at_work.as_ref() == Some(id) {
            self.at_work = None;
            self.trial_until_ms = None;
        }
    }

    fn report(
        &mut self,
        at_ms: u64,
        id: &OrderId,
        release: Option<landfall_wire::id::Digest>,
        stage: ReleaseStage,
    ) {
        let OrderId { package, number } = id.clone();
        self.book.untold.push(ReleaseReport { at_ms, package, number, release, stage });
    }
}
