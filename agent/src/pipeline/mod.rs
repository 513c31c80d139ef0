//! The decision path: guard, rules, model, decision, redaction, record, reply.
//!
//! Invariants:
//! * the caller hears of a decision only after the store has made it durable;
//! * the same caller's id and text are decided once, however often and however concurrently
//!   they come; every other time the kept reply is returned;
//! * a decision that has begun is finished, even if its caller hangs up;
//! * a missing or broken model turns answers into escalations, never into errors;
//! * where a model masks what leaves, no text leaves before it was asked; if it cannot be, the
//!   patterns mask alone, the record says so, and the hub is told.
//!
//! Not here: where requests come from and how replies are written.

mod flight;
mod judge;
mod masking;
mod models;
mod pool;

pub use masking::{Masker, Masking};
pub use models::{Backing, Fault, Models};
pub use pool::{Busy, QUEUE_MAX, QUEUE_WAIT, WORKERS};

use crate::metrics::Metrics;
use crate::stamp::{short_digest, wall_ms};
use crate::store::{CallerKey, Committed, Kept, Recall, Store, StoreError};
use flight::Flights;
use landfall_agent_core::reply::{Reply, Status};
use landfall_agent_core::request::{Request, RequestError};
use landfall_agent_core::task::{Stamp, TaskPolicy};
use landfall_wire::id::{Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::record::Mechanism;
use pool::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A task and what stands behind it.
#[derive(Debug)]
pub struct Task {
    /// How it decides.
    pub policy: TaskPolicy,
    /// Its model, or why it has none.
    pub backing: Backing,
}

impl Task {
    /// What its thresholds promise; `None` without a model.
    pub fn promise(&self) -> Option<String> {
        match &self.backing {
            Backing::Model(_) => Some(self.policy.calibration().to_string()),
            Backing::Missing(_) => None,
        }
    }
}

/// The decision path of all tasks; clones share it.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    tasks: BTreeMap<TaskName, Task>,
    config: ShortDigest,
    store: Store,
    masking: Masking,
    /// Whether the hub was told that the model that masks does not work.
    masking_trouble: AtomicBool,
    pool: Pool,
    flights: Flights,
    metrics: Metrics,
}

/// How long a decision may wait for others to share its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A caller waits for this one alone.
    Urgent,
    /// One of many.
    Bulk,
}

/// A durable decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What the caller is told.
    pub reply: Reply,
    /// Epoch and position of the outcome.
    pub outcome: (Epoch, u64),
    /// The escalation, if there is one.
    pub ticket: Option<Ticket>,
    /// From intake to decision, now or, if repeated, to finding it.
    pub took: Duration,
    /// Decided earlier, for the same id and text.
    pub repeated: bool,
}

/// Why nothing was decided and nothing recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecideError {
    /// No such task here.
    #[error("no task '{task}' here; the tasks are: {known}")]
    UnknownTask {
        /// What was asked for, cut to a printable length.
        task: String,
        /// The names there are.
        known: String,
    },
    /// The request breaks a limit.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The id was used before, with another text.
    #[error("the id '{0}' was used before, with another text")]
    Conflict(String),
    /// The model's queue is full.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store did not take it.
    #[error("the decision cannot be recorded: {0}")]
    Store(#[source] StoreError),
    /// A bug; the log has the panic.
    #[error("the decision failed unexpectedly")]
    Panicked,
}

impl DecideError {
    /// A constant word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            DecideError::UnknownTask { .. } => "unknown-task",
            DecideError::Request(_) => "invalid-request",
            DecideError::Conflict(_) => "id-conflict",
            DecideError::Busy(_) => "busy",
            DecideError::Store(_) => "not-recorded",
            DecideError::Panicked => "internal",
        }
    }

    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            DecideError::UnknownTask { .. } => "use one of the tasks, or configure it",
            DecideError::Request(_) => "change the request; a retry gets the same error",
            DecideError::Conflict(_) => "use a new id for a new text",
            DecideError::Busy(_) => "try again in a moment, and send fewer at once",
            DecideError::Store(error) => error.remedy(),
            DecideError::Panicked => "report it with the log of the agent",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            DecideError::Busy(_) => true,
            DecideError::Store(error) => error.is_temporary(),
            DecideError::UnknownTask { .. }
            | DecideError::Request(_)
            | DecideError::Conflict(_)
            | DecideError::Panicked => false,
        }
    }
}

impl Pipeline {
    /// Joins tasks and store, and starts the model workers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        tasks: Vec<Task>,
        masking: Masking,
        config: ShortDigest,
        store: Store,
    ) -> std::io::Result<Pipeline> {
        let tasks = tasks.into_iter().map(|task| (task.policy.name().clone(), task)).collect();
        let (flights, metrics) = (Flights::default(), Metrics::default());
        let (pool, masking_trouble) = (Pool::start()?, AtomicBool::new(false));
        let inner =
            Inner { tasks, config, store, masking, masking_trouble, pool, flights, metrics };
        Ok(Pipeline { inner: Arc::new(inner) })
    }

    /// Every task by name.
    pub fn tasks(&self) -> &BTreeMap<TaskName, Task> {
        &self.inner.tasks
    }

    /// Counts and times since the start.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The task of this name.
    ///
    /// # Errors
    /// [`DecideError::UnknownTask`], which lists those there are.
    pub fn task_named(&self, name: &str) -> Result<TaskName, DecideError> {
        let known = |name: &TaskName| self.inner.tasks.contains_key(name);
        name.parse().ok().filter(known).ok_or_else(|| self.unknown(name))
    }

    /// Decides one request, records it, and returns once that is durable.
    ///
    /// # Errors
    /// [`DecideError`]: then nothing was recorded that the caller did not hear of before, save
    /// that a write whose outcome is unknown may have succeeded; a retry with the same id finds
    /// out.
    pub async fn decide(&self, request: Request, pace: Pace) -> Result<Decided, DecideError> {
        let since = Instant::now();
        request.check()?;
        if !self.inner.tasks.contains_key(&request.task) {
            return Err(self.unknown(request.task.as_str()));
        }
        let inner = Arc::clone(&self.inner);
        // A task of its own: when the caller hangs up, the flight must not end half-way and let
        // a retry decide the same request a second time.
        let flight = tokio::spawn(async move { inner.decide(&request, pace, since).await });
        flight.await.unwrap_or(Err(DecideError::Panicked))
    }

    fn unknown(&self, task: &str) -> DecideError {
        let known: Vec<&str> = self.inner.tasks.keys().map(TaskName::as_str).collect();
        DecideError::UnknownTask {
            task: task.chars().take(80).collect(),
            known: if known.is_empty() { "(none)".to_owned() } else { known.join(", ") },
        }
    }
}

impl Inner {
    async fn decide(
        &self,
        request: &Request,
        pace: Pace,
        since: Instant,
    ) -> Result<Decided, DecideError> {
        let task = &self.tasks[&request.task];
        let Some(caller_id) = &request.caller_id else {
            return self.decide_new(task, request, None, pace, since).await;
        };
        let key = CallerKey {
            task: request.task.clone(),
            caller_id: caller_id.clone(),
            text_digest: short_digest(request.text.as_bytes()),
        };
        let _flight = self.flights.enter(&request.task, caller_id).await;
        match self.store.recall(&key).map_err(DecideError::Store)? {
            Recall::Unknown => self.decide_new(task, request, Some(key), pace, since).await,
            Recall::Conflict => Err(DecideError::Conflict(caller_id.clone())),
            Recall::Same(kept) => {
                let Kept { reply, epoch, outcome_seq, ticket } = *kept;
                self.metrics.count(&request.task, |counts| counts.repeated += 1);
                let took = since.elapsed();
                Ok(Decided { reply, outcome: (epoch, outcome_seq), ticket, took, repeated: true })
            }
        }
    }

    async fn decide_new(
        &self,
        task: &Task,
        request: &Request,
        key: Option<CallerKey>,
        pace: Pace,
        since: Instant,
    ) -> Result<Decided, DecideError> {
        let (judgement, masks) = self.judge(task, request).await?;
        let took = since.elapsed();
        self.metrics.stages.decide.record(took);
        let stamp = Stamp {
            at_ms: wall_ms(),
            package: task.backing.digest(),
            config: self.config,
            decide_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
        };
        let entry = task.policy.record(request, &judgement, &masks, stamp);
        let reply = entry.reply.clone();
        let write = Instant::now();
        // Durable first; only then does the caller hear of it.
        let committed = self.store.commit(entry, key, pace == Pace::Urgent).await;
        let committed = committed.map_err(|error| match error {
            StoreError::Conflict => {
                DecideError::Conflict(request.caller_id.clone().unwrap_or_default())
            }
            error => DecideError::Store(error),
        })?;
        self.metrics.stages.commit.record(write.elapsed());
        let Committed { epoch, outcome_seq, ticket, repeated } = committed;
        let (reply, repeated) = match repeated {
            Some(earlier) => (earlier, true),
            None => (reply, false),
        };
        self.count(&request.task, &reply, repeated);
        Ok(Decided { reply, outcome: (epoch, outcome_seq), ticket, took, repeated })
    }

    fn count(&self, task: &TaskName, reply: &Reply, repeated: bool) {
        self.metrics.count(task, |counts| {
            let counter = match (repeated, reply.status(), &reply.mechanism) {
                (true, _, _) => &mut counts.repeated,
                (_, Status::Escalated, _) => &mut counts.escalated,
                (_, Status::Refused, _) => &mut counts.refused,
                (_, Status::Answered, Mechanism::Rule(_) | Mechanism::Guard(_)) => &mut counts.rule,
                (_, Status::Answered, Mechanism::Model) => &mut counts.model,
            };
            *counter += 1;
        });
    }
}
