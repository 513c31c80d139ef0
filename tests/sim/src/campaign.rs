//! Many seeds, one after another or on several threads, and their account.

use crate::fault::{Counts, Fault};
use crate::invariant::{Invariant, Violation};
use crate::world::{Options, Outcome, run};
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Failing seeds that are kept with their detail.
const FAILURES_SHOWN_MAX: usize = 20;

/// A seed that broke a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The promise.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

/// What many seeds came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Runs.
    pub seeds: u64,
    /// Events of all runs.
    pub events: u64,
    /// Simulated time of all runs, in seconds.
    pub simulated_secs: u64,
    /// Requests that callers were told are recorded.
    pub told: u64,
    /// Tickets that came to an end.
    pub tickets: u64,
    /// Losses on record.
    pub losses: u64,
    /// Runs that broke a promise.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// What went wrong, and how often.
    pub faults: Counts,
}

impl Account {
    /// Of one run.
    pub fn of(outcome: &Outcome) -> Account {
        let mut account = Account::default();
        account.add(outcome);
        account
    }

    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.simulated_secs += outcome.simulated_ms / 1000;
        self.told += outcome.told;
        self.tickets += outcome.tickets;
        self.losses += outcome.losses;
        self.faults.add(&outcome.faults);
        if let Some(Violation { invariant, detail }) = &outcome.violation {
            self.failed += 1;
            self.failures.push(Failure {
                seed: outcome.seed,
                invariant: invariant.name(),
                detail: detail.clone(),
            });
            self.failures.sort_by_key(|failure| failure.seed);
            self.failures.truncate(FAILURES_SHOWN_MAX);
        }
    }

    /// Kinds of faults that never happened: then nothing is known about them.
    pub fn missing(&self) -> Vec<Fault> {
        self.faults.missing()
    }
}

/// Runs one seed; a panic of any part is a broken promise too.
pub fn run_caught(seed: u64, options: Options) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let detail = text.unwrap_or("without a message").to_owned();
        Outcome {
            seed,
            events: 0,
            simulated_ms: 0,
            told: 0,
            tickets: 0,
            losses: 0,
            faults: Counts::default(),
            violation: Some(Violation { invariant: Invariant::NoPanic, detail }),
            log: Vec::new(),
        }
    })
}

/// Runs `count` seeds from `from` on `jobs` threads. `progress` is told of every outcome, and
/// says whether to go on.
pub fn campaign(
    from: u64,
    count: u64,
    jobs: usize,
    options: Options,
    progress: &(dyn Fn(&Account) -> bool + Sync),
) -> Account {
    let next = AtomicU64::new(0);
    let account = Mutex::new(Account::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let outcome = run_caught(from + index, options);
                    let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
                    account.add(&outcome);
                    if !progress(&account) {
                        next.store(count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    account.into_inner().unwrap_or_else(PoisonError::into_inner)
}
