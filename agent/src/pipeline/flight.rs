//! One flight for each caller's id: a retry that arrives while the first request is still being
//! decided waits for it, and then finds its reply in the store.

use landfall_wire::id::TaskName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Key = (TaskName, String);
type Lock = Arc<tokio::sync::Mutex<()>>;

/// The ids that are being decided now.
#[derive(Debug, Default)]
pub(super) struct Flights {
    locks: Mutex<HashMap<Key, Lock>>,
}

/// Holds an id until dropped.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Flights {
    /// Waits until no other request with this id is being decided.
    pub(super) async fn enter(&self, task: &TaskName, caller_id: &str) -> Flight<'_> {
        let key = (task.clone(), caller_id.to_owned());
        let lock = Arc::clone(self.locks().entry(key.clone()).or_default());
        // From here on the entry is cleared by dropping, even if the wait is cancelled.
        let mut flight = Flight { flights: self, key, guard: None };
        flight.guard = Some(lock.lock_owned().await);
        flight
    }

    fn locks(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut locks = self.flights.locks();
        self.guard = None;
        // Others hold their own reference from the moment they find the entry.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_id_waits_and_nothing_stays_behind() {
        let flights = Flights::default();
        let task: TaskName = "t".parse().unwrap();
        let first = flights.enter(&task, "a").await;
        let other = flights.enter(&task, "b").await;
        let mut second = Box::pin(flights.enter(&task, "a"));
        let waits = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(second.as_mut().poll(cx).is_pending())
        });
        assert!(waits.await, "the second request did not wait");
        drop(first);
        drop(second.await);
        drop(other);
        assert!(flights.locks().is_empty());
    }
}
