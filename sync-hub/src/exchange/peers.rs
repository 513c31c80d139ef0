//! Other hubs on the same database.
//!
//! Behind a broker that shares one subscription among hubs, any of them may get a frame. What
//! comes up needs nothing of that: marks are moved under a lock, and each hub acknowledges what is
//! committed. What goes down is sent by one hub only, the one that the device greeted last; the
//! device's row names it. A hub shows every other second that it lives; whose hub does not any more
//! is called by another, greets, and has a hub again.

use super::Exchange;
use crate::database::commands::{Beat, Leave};
use crate::hub::now_ms;
use landfall_wire::id::DeviceId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often a hub shows that it lives: one small commit.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// Devices that lost their hub and are to be called.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    names: Mutex<Vec<DeviceId>>,
    some: Notify,
}

impl Orphans {
    fn add(&self, names: Vec<DeviceId>) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        self.some.notify_one();
    }

    /// Waits until there are some, and takes them. Cancel-safe.
    pub(crate) async fn next(&self) -> Vec<DeviceId> {
        loop {
            let names =
                std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
            if !names.is_empty() {
                return names;
            }
            self.some.notified().await;
        }
    }
}

/// Shows that this hub lives, and looks for devices of hubs that do not; for as long as it is
/// polled.
pub(crate) async fn keep(exchange: Arc<Exchange>) {
    loop {
        let beat = Beat { hub: exchange.hub.to_string(), now_ms: now_ms() };
        match exchange.database.write(beat).await {
            Ok(orphans) if orphans.is_empty() => {}
            Ok(orphans) => {
                tracing::warn!(
                    devices = orphans.len(),
                    "another hub is gone, its devices are called"
                );
                exchange.orphans.add(orphans);
            }
            Err(error) => tracing::warn!(%error, "other hubs cannot be told that this one lives"),
        }
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

/// Leaves the devices to the other hubs.
pub(crate) async fn leave(exchange: &Exchange) {
    // It fails only if the database does; then the others notice by themselves.
    let _ = exchange.database.write(Leave { hub: exchange.hub.to_string() }).await;
}
