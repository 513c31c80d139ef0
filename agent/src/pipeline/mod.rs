//! The decision path: guard, rules, model, decision, redaction, record, reply.
//!
//! Invariants:
//! * the caller hears of a decision only after the store has made it durable, or, where the site
//!   asks for that, is told that it is not recorded; such decisions are counted for the hub;
//! * the same caller's id and text are decided once, however often and however concurrently
//!   they come; every other time the kept reply is returned;
//! * a decision that has begun is finished, even if its caller hangs up;
//! * a missing or broken model turns answers into escalations, never into errors;
//! * what serves is replaced as a whole: a decision runs to its end on what it began with;
//! * where a model masks what leaves, no text leaves before it was asked; if it cannot be, the
//!   patterns mask alone, the record says so, and the hub is told.
//!
//! Not here: where requests come from and how replies are written.

mod flight;
mod judge;
mod masking;
mod models;
mod pool;
mod replay;
mod unrecorded;

pub use masking::{Masker, Masking};
pub use models::{Backing, Fault, Models, NotFit};
pub use pool::{Busy, QUEUE_MAX, QUEUE_WAIT, WORKERS};
pub use unrecorded::Gap;

use crate::clock::Clock;
use crate::config::WhenUnrecordable;
use crate::metrics::Metrics;
use crate::rules::HubRules;
use crate::stamp::short_digest;
use crate::store::{CallerKey, Committed, Kept, Recall, Store, StoreError};
use flight::Flights;
use landfall_agent_core::reply::{Reply, Status};
use landfall_agent_core::request::{Request, RequestError};
use landfall_agent_core::task::{Stamp, TaskPolicy};
use landfall_systemd::Pulse;
use landfall_wire::id::{Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::record::Mechanism;
use pool::Pool;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use unrecorded::Unrecorded;

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

/// What decides: every task with its model, and what masks.
#[derive(Debug)]
pub struct Served {
    /// The tasks by name.
    pub tasks: BTreeMap<TaskName, Task>,
    /// What masks beside the patterns.
    pub masking: Masking,
}

impl Served {
    /// From the tasks in any order.
    pub fn new(tasks: Vec<Task>, masking: Masking) -> Served {
        let tasks = tasks.into_iter().map(|task| (task.policy.name().clone(), task)).collect();
        Served { tasks, masking }
    }
}

/// A model that failed on a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFailure {
    /// Digest of its package.
    pub package: ShortDigest,
    /// What happened.
    pub detail: String,
}

struct Inner {
    served: RwLock<Arc<Served>>,
    /// The last model that failed on a text.
    failure: watch::Sender<Option<ModelFailure>>,
    config: ShortDigest,
    store: Store,
    clock: Arc<Clock>,
    when_unrecordable: WhenUnrecordable,
    unrecorded: Unrecorded,
    /// Whether the hub was told that the model that masks does not work.
    masking_trouble: AtomicBool,
    rules: HubRules,
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

/// What a pipeline is made of.
pub struct Parts<'a> {
    /// What decides.
    pub served: Served,
    /// Digest of the configuration.
    pub config: ShortDigest,
    /// Records decisions.
    pub store: Store,
    /// Stamps them.
    pub clock: Arc<Clock>,
    /// What becomes of those that it does not take.
    pub when_unrecordable: WhenUnrecordable,
    /// Where those are counted, and the rules of the hub are kept.
    pub data_dir: &'a Path,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What the caller is told.
    pub reply: Reply,
    /// Its record.
    pub record: Recording,
    /// From intake to decision, now or, if repeated, to finding it.
    pub took: Duration,
    /// Decided earlier, for the same id and text.
    pub repeated: bool,
}

/// The record of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Recording {
    /// It is durable.
    Durable {
        /// Epoch and position of the outcome.
        outcome: (Epoch, u64),
        /// The escalation, if there is one.
        ticket: Option<Ticket>,
    },
    /// There is none, because of this; [`WhenUnrecordable::Answer`] alone allows it.
    None(StoreError),
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
    /// Joins tasks and store, and starts the model workers. Needs a runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts<'_>) -> std::io::Result<Pipeline> {
        let Parts { served, config, store, clock, when_unrecordable, data_dir } = parts;
        let answers = when_unrecordable == WhenUnrecordable::Answer;
        let inner = Inner {
            served: RwLock::new(Arc::new(served)),
            failure: watch::Sender::new(None),
            config,
            unrecorded: Unrecorded::open(data_dir, answers, store.clone(), Arc::clone(&clock)),
            store,
            clock,
            when_unrecordable,
            masking_trouble: AtomicBool::new(false),
            rules: HubRules::open(data_dir),
            pool: Pool::start()?,
            flights: Flights::default(),
            metrics: Metrics::default(),
        };
        Ok(Pipeline { inner: Arc::new(inner) })
    }

    /// What decides now.
    pub fn served(&self) -> Arc<Served> {
        self.inner.served()
    }

    /// Lets something else decide from the next request on. What is being decided runs to its end
    /// on what it began with. The tasks must have the names that they have.
    pub fn serve(&self, served: Served) {
        let same = served.tasks.keys().eq(self.served().tasks.keys());
        assert!(same, "the configuration names the tasks, and it has not changed");
        *self.inner.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }

    /// The last model that failed on a text, as it changes.
    pub fn failures(&self) -> watch::Receiver<Option<ModelFailure>> {
        self.inner.failure.subscribe()
    }

    /// Counts and times since the start.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What the hub gave to decide by before the model.
    pub fn rules(&self) -> &HubRules {
        &self.inner.rules
    }

    /// The time that decisions are stamped with.
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Whether store and model get on.
    pub fn pulses(&self) -> Vec<Pulse> {
        let models = self.inner.pool.pulses().iter().cloned();
        std::iter::once(self.inner.store.pulse()).chain(models).collect()
    }

    /// What becomes of decisions that cannot be recorded.
    pub fn when_unrecordable(&self) -> WhenUnrecordable {
        self.inner.when_unrecordable
    }

    /// Decisions without a record that the hub was not told of yet.
    pub fn gap(&self) -> Option<Gap> {
        self.inner.unrecorded.gap()
    }

    /// The task of this name.
    ///
    /// # Errors
    /// [`DecideError::UnknownTask`], which lists those there are.
    pub fn task_named(&self, name: &str) -> Result<TaskName, DecideError> {
        let served = self.served();
        let known = |name: &TaskName| served.tasks.contains_key(name);
        name.parse().ok().filter(known).ok_or_else(|| self.unknown(name))
    }

    /// Decides one request, records it, and returns once that is durable, or once it is known
    /// that it cannot be, where the site asks for an answer all the same.
    ///
    /// # Errors
    /// [`DecideError`]: then nothing was recorded that the caller did not hear of before, save
    /// that a write whose outcome is unknown may have succeeded; a retry with the same id finds
    /// out. That holds for what is told without a record too.
    pub async fn decide(&self, request: Request, pace: Pace) -> Result<Decided, DecideError> {
        self.begin(request, pace, self.inner.when_unrecordable).await
    }

    /// The same for who can wait: without a record there is no decision, whatever the site asks
    /// for.
    ///
    /// # Errors
    /// As [`Pipeline::decide`].
    pub async fn decide_on_record(
        &self,
        request: Request,
        pace: Pace,
    ) -> Result<Decided, DecideError> {
        self.begin(request, pace, WhenUnrecordable::Refuse).await
    }

    async fn begin(
        &self,
        request: Request,
        pace: Pace,
        unrecordable: WhenUnrecordable,
    ) -> Result<Decided, DecideError> {
        let since = Instant::now();
        request.check()?;
        if !self.served().tasks.contains_key(&request.task) {
            return Err(self.unknown(request.task.as_str()));
        }
        let inner = Arc::clone(&self.inner);
        // A task of its own: when the caller hangs up, the flight must not end half-way and let
        // a retry decide the same request a second time.
        let way = Way { pace, unrecordable, since };
        let flight = tokio::spawn(async move { inner.decide(&request, way).await });
        flight.await.unwrap_or(Err(DecideError::Panicked))
    }

    fn unknown(&self, task: &str) -> DecideError {
        let served = self.served();
        let known: Vec<&str> = served.tasks.keys().map(TaskName::as_str).collect();
        DecideError::UnknownTask {
            task: task.chars().take(80).collect(),
            known: if known.is_empty() { "(none)".to_owned() } else { known.join(", ") },
        }
    }
}

/// How one request is to be decided.
#[derive(Debug, Clone, Copy)]
struct Way {
    pace: Pace,
    unrecordable: WhenUnrecordable,
    since: Instant,
}

impl Way {
    /// Whether the caller is answered although the store does not take it now.
    fn answers(&self, error: &StoreError) -> bool {
        let passes = matches!(
            error,
            StoreError::Full { .. } | StoreError::DiskFull | StoreError::Closed { .. }
        );
        passes && self.unrecordable == WhenUnrecordable::Answer
    }
}

impl Inner {
    fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn decide(&self, request: &Request, way: Way) -> Result<Decided, DecideError> {
        let served = self.served();
        let Some(caller_id) = &request.caller_id else {
            return self.decide_new(&served, request, None, way).await;
        };
        let key = CallerKey {
            task: request.task.clone(),
            caller_id: caller_id.clone(),
            text_digest: short_digest(request.text.as_bytes()),
        };
        let _flight = self.flights.enter(&request.task, caller_id).await;
        match self.store.recall(&key) {
            Ok(Recall::Unknown) => self.decide_new(&served, request, Some(key), way).await,
            Ok(Recall::Conflict) => Err(DecideError::Conflict(caller_id.clone())),
            Ok(Recall::Same(kept)) => {
                let Kept { reply, epoch, outcome_seq, ticket } = *kept;
                self.metrics.count(&request.task, |counts| counts.repeated += 1);
                let took = way.since.elapsed();
                let record = Recording::Durable { outcome: (epoch, outcome_seq), ticket };
                Ok(Decided { reply, record, took, repeated: true })
            }
            // Whether it was decided before cannot be known now; whoever asks again later finds
            // out.
            Err(error) if way.answers(&error) => {
                self.decide_new(&served, request, Some(key), way).await
            }
            Err(error) => Err(DecideError::Store(error)),
        }
    }

    async fn decide_new(
        &self,
        served: &Served,
        request: &Request,
        key: Option<CallerKey>,
        way: Way,
    ) -> Result<Decided, DecideError> {
        let task = &served.tasks[&request.task];
        let (judgement, masks) = self.judge(served, task, request).await?;
        let took = way.since.elapsed();
        self.metrics.stages.decide.record(took);
        let stamp = Stamp {
            at_ms: self.clock.now_ms(),
            package: task.backing.digest(),
            config: self.config,
            decide_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
        };
        let entry = task.policy.record(request, &judgement, &masks, stamp);
        let reply = entry.reply.clone();
        let write = Instant::now();
        // Durable first; only then does the caller hear of it.
        let committed = match self.store.commit(entry, key, way.pace == Pace::Urgent).await {
            Ok(committed) => committed,
            Err(StoreError::Conflict) => {
                let id = request.caller_id.clone().unwrap_or_default();
                return Err(DecideError::Conflict(id));
            }
            Err(error) if way.answers(&error) => {
                return Ok(self.without_record(request, reply, error, took));
            }
            Err(error) => return Err(DecideError::Store(error)),
        };
        self.metrics.stages.commit.record(write.elapsed());
        let Committed { epoch, outcome_seq, ticket, repeated } = committed;
        let (reply, repeated) = match repeated {
            Some(earlier) => (earlier, true),
            None => (reply, false),
        };
        self.count(&request.task, &reply, repeated);
        let record = Recording::Durable { outcome: (epoch, outcome_seq), ticket };
        Ok(Decided { reply, record, took, repeated })
    }

    /// Counted first; only then does the caller hear of it.
    fn without_record(
        &self,
        request: &Request,
        reply: Reply,
        error: StoreError,
        took: Duration,
    ) -> Decided {
        let reply = reply.without_record(&error.to_string());
        self.unrecorded.count();
        self.count(&request.task, &reply, false);
        self.metrics.count(&request.task, |counts| counts.unrecorded += 1);
        Decided { reply, record: Recording::None(error), took, repeated: false }
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
