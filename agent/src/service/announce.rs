//! Tells the hub what this device serves: a start each time, its tasks when they changed.
//!
//! What was last announced is kept beside the store, and written only after the events are
//! durable: a crash in between announces again, which does no harm. `at_ms` is the start.

use super::run_file;
use crate::pipeline::Task;
use crate::stamp::short_digest;
use crate::store::{Store, StoreError};
use landfall_wire::id::ShortDigest;
use landfall_wire::record::Event;
use std::path::Path;

const NAME: &str = "announced";

/// Queues the events that are due.
///
/// # Errors
/// From the store: the hub is then told at the next start.
pub(super) async fn announce<'t>(
    store: &Store,
    data_dir: &Path,
    at_ms: u64,
    config: ShortDigest,
    tasks: impl Iterator<Item = &'t Task>,
) -> Result<(), StoreError> {
    let version = crate::VERSION.to_owned();
    store.event(Event::Started { at_ms, version, config }).await?;
    announce_tasks(store, data_dir, tasks).await
}

/// Queues the events of tasks that changed.
///
/// # Errors
/// From the store: the hub is then told at the next start.
pub(crate) async fn announce_tasks<'t>(
    store: &Store,
    data_dir: &Path,
    tasks: impl Iterator<Item = &'t Task>,
) -> Result<(), StoreError> {
    // Without its model a task does not know its labels; what the hub knows of it still holds.
    let tasks = tasks.filter(|task| !task.policy.labels().is_empty());
    let events: Vec<Event> = tasks.map(event).collect();
    // The epoch is part of it: a replaced store tells its hub everything again.
    let state = short_digest(format!("{} {events:?}", store.status().epoch).as_bytes()).to_string();
    let path = data_dir.join(NAME);
    if std::fs::read_to_string(&path).is_ok_and(|last| last == state) {
        return Ok(());
    }
    for event in events {
        store.event(event).await?;
    }
    if let Err(error) = run_file::replace(&path, state.as_bytes()) {
        tracing::warn!(%error, "what was announced is not remembered; it will be sent again");
    }
    Ok(())
}

fn event(task: &Task) -> Event {
    Event::Task {
        task: task.policy.name().clone(),
        kind: task.policy.kind(),
        labels: task.policy.labels().to_vec(),
        package: task.backing.package().to_owned(),
    }
}
