//! What of the outcomes travels, as the hub asks and the site allows, and sketches of what does not.
//!
//! What is decided is in `landfall_agent_core::report`; here directives are followed, outcomes are
//! read from the store once they are durable, and a sketch of each day is put among the events.
//! How far that has come is in `reporting.json` in the data directory, written once the sketches
//! are durable: a crash in between tells a sketch twice, under the same beginning. What was
//! counted of the day is counted again after a restart, from the journal, as far as it is kept.

use crate::clock::Clock;
use crate::service::replace;
use crate::store::{Store, StoreError};
use landfall_agent_core::report::{Policy, Sketcher};
use landfall_wire::directive::{Directive, ReportingMode};
use landfall_wire::id::{Epoch, TaskName};
use landfall_wire::record::{Event, Record, StreamId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Where it is kept how far sketches have come.
const FILE: &str = "reporting.json";

/// How often new outcomes are counted.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Bytes of records read at once.
const READ_BYTES: usize = 256 * 1024;

/// What the hub asks for; clones share it.
#[derive(Clone)]
pub struct Reporting {
    policy: Arc<RwLock<Policy>>,
}

/// What sketches are made of, by which clock a day is over, and what is noted where.
struct Counting {
    store: Store,
    clock: Arc<Clock>,
    file: PathBuf,
    tasks: Vec<TaskName>,
}

#[derive(Serialize, Deserialize)]
struct Told {
    epoch: Epoch,
    next: u64,
    partial: BTreeSet<TaskName>,
}

impl Reporting {
    /// What was asked for when the agent last ran holds at once. `limits` are the dearest classes
    /// of link over which tasks report, where the site says so.
    pub fn open(store: &Store, limits: impl Iterator<Item = (TaskName, u8)>) -> Reporting {
        let mut policy = Policy::default();
        limits.for_each(|(task, class_max)| policy.limit(task, class_max));
        for standing in store.directives() {
            if let Directive::Reporting(reporting) = standing.directive {
                policy.set(&reporting);
            }
        }
        Reporting { policy: Arc::new(RwLock::new(policy)) }
    }

    /// What travels of consecutive outcomes from this place on, over a link of this class.
    pub(crate) fn apply(
        &self,
        place: (Epoch, u64),
        records: Vec<Vec<u8>>,
        class: u8,
    ) -> Vec<Vec<u8>> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).apply(place, records, class)
    }

    /// What is asked for, by `task` (or `*` for all others): `full`, `sampled:0.1` or `sketch`, and
    /// of which links the site keeps it.
    pub fn asked(&self) -> BTreeMap<String, String> {
        let policy = self.policy();
        let mode = |mode| match mode {
            ReportingMode::Full => "full".to_owned(),
            ReportingMode::Sampled { one_in } => {
                format!("sampled:{}", 1.0 / f64::from(one_in.max(1)))
            }
            ReportingMode::Sketch => "sketch".to_owned(),
        };
        let name =
            |task: Option<&TaskName>| task.map_or_else(|| "*".to_owned(), ToString::to_string);
        let asked = policy.asked().map(|(task, asked)| (name(task), mode(asked)));
        let mut asked: BTreeMap<String, String> = asked.collect();
        for (task, class_max) in policy.limits() {
            let shown = mode(policy.mode(task));
            let limited = format!("{shown}, and sketch over links above class {class_max}");
            asked.insert(task.to_string(), limited);
        }
        asked
    }

    /// Follows the hub and makes sketches until the store is closed.
    pub async fn run(
        self,
        store: Store,
        clock: Arc<Clock>,
        data_dir: PathBuf,
        tasks: Vec<TaskName>,
    ) {
        let mut following = store.follow_directives();
        let counting = Counting { store, clock, file: data_dir.join(FILE), tasks };
        let mut sketcher = read(&counting.file);
        loop {
            tokio::select! {
                directive = following.next() => match directive {
                    None => return,
                    Some(Directive::Reporting(reporting)) => {
                        let task = reporting.task.as_ref().map_or("(all others)", TaskName::as_str);
                        tracing::info!(task, mode = ?reporting.mode, "the hub asks for outcomes");
                        // Counted before what was asked for until now changes.
                        self.count(&counting, &mut sketcher).await;
                        self.policy.write().unwrap_or_else(PoisonError::into_inner).set(&reporting);
                    }
                    Some(_) => continue,
                },
                () = tokio::time::sleep(COUNT_EVERY) => {}
            }
            self.count(&counting, &mut sketcher).await;
        }
    }

    fn policy(&self) -> Policy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn count(&self, counting: &Counting, sketcher: &mut Option<Sketcher>) {
        if let Err(error) = self.try_count(counting, sketcher).await {
            tracing::warn!(%error, "outcomes cannot be counted for a sketch now; tried again later");
        }
    }

    async fn try_count(
        &self,
        counting: &Counting,
        sketcher: &mut Option<Sketcher>,
    ) -> Result<(), StoreError> {
        let Counting { store, clock, file, tasks } = counting;
        let policy = self.policy();
        if sketcher.is_none() && policy.is_full() {
            return Ok(());
        }
        let status = store.status();
        let part = |epoch: Epoch| {
            status.streams.iter().find(|s| s.stream == StreamId::Outcome && s.epoch == epoch)
        };
        // What the hub has was sent whole; from there on it is for the policy.
        let acked = part(status.epoch).map_or(0, |part| part.acked);
        let is_new = sketcher.is_none();
        let sketches =
            sketcher.get_or_insert_with(|| Sketcher::new(status.epoch, acked, BTreeSet::new()));
        if sketches.observe(&policy, tasks.iter().cloned()) || is_new {
            write(file, sketches);
        }
        let end = part(sketches.epoch()).map_or(sketches.next(), |part| part.end);
        while sketches.next() < end {
            let (from, epoch) = (sketches.next(), sketches.epoch());
            let reader = store.clone();
            let read = move || reader.read(StreamId::Outcome, epoch, from, end, READ_BYTES);
            let chunk = tokio::task::spawn_blocking(read).await;
            let chunk = chunk.unwrap_or(Err(StoreError::Stopped))?;
            for raw in &chunk.records {
                let outcome = match Record::decode(raw) {
                    Ok(Record::Outcome(outcome)) => Some(outcome),
                    _ => None,
                };
                if outcome.as_ref().is_some_and(|outcome| sketches.begins_day(outcome.at_ms)) {
                    tell(store, sketches, &policy, file).await?;
                }
                sketches.add(outcome.as_ref());
            }
            // What is not held any more.
            while sketches.next() < chunk.next_held {
                sketches.add(None);
            }
        }
        if sketches.is_due(clock.now_ms()) || sketches.epoch() != status.epoch {
            tell(store, sketches, &policy, file).await?;
        }
        if sketches.epoch() != status.epoch {
            let partial = sketches.state().2.clone();
            *sketcher = Some(Sketcher::new(status.epoch, 0, partial));
        }
        Ok(())
    }
}

/// First durable among the events, then noted as told.
async fn tell(
    store: &Store,
    sketcher: &mut Sketcher,
    policy: &Policy,
    file: &Path,
) -> Result<(), StoreError> {
    for sketch in sketcher.finish() {
        store.event(Event::Sketch(Box::new(sketch))).await?;
    }
    sketcher.told(policy);
    write(file, sketcher);
    Ok(())
}

fn read(file: &Path) -> Option<Sketcher> {
    let told: Told = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some(Sketcher::new(told.epoch, told.next, told.partial))
}

fn write(file: &Path, sketcher: &Sketcher) {
    let (epoch, next, partial) = sketcher.state();
    let told = Told { epoch, next, partial: partial.clone() };
    let written =
        serde_json::to_vec(&told).map_err(Into::into).and_then(|bytes| replace(file, &bytes));
    if let Err(error) = written {
        tracing::warn!(%error, "how far sketches have come cannot be written; some may be told twice");
    }
}
