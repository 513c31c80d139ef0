//! What devices and the hub say to each other, whatever carries it.
//!
//! * `conversation`: one device's session with its commits; frames in, frames out.
//! * `pending`: what waits for its commit.
//! * `peers`: other hubs on the same database.
//! * `registry`: who is here, and what each is told by others.
//!
//! [`crate::endpoint`] and [`crate::broker`] carry the bytes. What both must hold, is held here:
//! the acknowledgement of a frame is said after the commit of what it carries, never before.

mod conversation;
pub mod limits;
pub(crate) mod peers;
mod pending;
mod registry;

pub(crate) use conversation::{Conversation, Halt, Said};
pub(crate) use registry::{Close, Place, Registry};

use crate::database::sql::{self, Connection};
use crate::database::{Database, DbError, queries};
use landfall_wire::id::DeviceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// How often the database is asked whether anyone has committed something (one pragma or one
/// trivial query, no disk access): the delay of an answer given on the command line.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// How long it is left alone after it could not be asked.
const WATCH_REST: Duration = Duration::from_secs(1);

/// Counts since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections beyond a limit.
    pub over_limit: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections of devices that may not connect.
    pub not_admitted: AtomicU64,
    /// Connections that replaced one of the same device.
    pub takeovers: AtomicU64,
    /// Connections ended for slow or absent reading, or silence.
    pub timeouts: AtomicU64,
    /// Bytes received in packets; of a broker, in frames.
    pub bytes_received: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// Frames from a broker that found no room, or came from a device that is not listened to.
    pub frames_dropped: AtomicU64,
    /// Connections to the broker, made and lost again included.
    pub broker_connections: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds some.
pub(crate) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// What other hubs may have in common with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    /// The database.
    pub(crate) database: bool,
    /// And the broker's subscription: each gets some of a device's frames.
    pub(crate) frames: bool,
}

/// What all conversations share.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) database: Database,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    /// Decoded bytes that wait for their commit.
    pending_bytes: Arc<Semaphore>,
    /// Looks for answers and revocations at once.
    pub(crate) wake: Arc<Notify>,
    /// Names this hub among those that share the database, until it ends.
    pub(crate) hub: Arc<str>,
    pub(crate) shared: Shared,
    /// Devices that another hub left behind.
    pub(crate) orphans: peers::Orphans,
    started: Instant,
}

impl Exchange {
    pub(crate) fn new(database: Database, hub: &str, shared: Shared) -> Arc<Exchange> {
        Arc::new(Exchange {
            database,
            registry: Arc::default(),
            counters: Arc::default(),
            pending_bytes: Arc::new(Semaphore::new(limits::PENDING_BYTES_MAX)),
            wake: Arc::default(),
            hub: hub.into(),
            shared,
            orphans: peers::Orphans::default(),
            started: Instant::now(),
        })
    }

    /// Monotonic milliseconds.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Notices what other processes or the page have committed: answers and revocations.
pub(crate) async fn watch(exchange: Arc<Exchange>, connection: Connection) {
    let mut watcher = Some(Watcher { connection, seen: None });
    loop {
        let looking = Arc::clone(&exchange);
        let taken = watcher.take();
        let looked = tokio::task::spawn_blocking(move || {
            let mut watcher = match taken {
                Some(watcher) => watcher,
                None => Watcher { connection: looking.database.watcher()?, seen: None },
            };
            look(&watcher.connection, &looking.registry, &mut watcher.seen)
                .map_err(|error| DbError::new("read", error))?;
            Ok::<_, DbError>(watcher)
        });
        match looked.await {
            Ok(Ok(same)) => watcher = Some(same),
            // A new connection next time.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database cannot be watched for answers");
                tokio::time::sleep(WATCH_REST).await;
            }
            Err(error) => tracing::error!(%error, "watching the database panicked"),
        }
        let _ = tokio::time::timeout(WATCH_EVERY, exchange.wake.notified()).await;
    }
}

struct Watcher {
    connection: Connection,
    /// The version that was looked at.
    seen: Option<i64>,
}

/// Some short queries on indexes.
fn look(connection: &Connection, registry: &Registry, seen: &mut Option<i64>) -> sql::Result<()> {
    let version = queries::data_version(connection)?;
    if registry.len() == 0 || *seen == Some(version) {
        return Ok(());
    }
    let serials: BTreeSet<String> = queries::revoked_serials(connection)?.into_iter().collect();
    let devices: BTreeSet<i64> = queries::revoked_devices(connection)?.into_iter().collect();
    registry.revoke(&serials, &devices);
    let ends: BTreeMap<_, _> = queries::answers_waiting(connection)?.into_iter().collect();
    registry.answers(&ends);
    *seen = Some(version);
    Ok(())
}

/// Notes whether a device is here.
pub(crate) async fn contact(exchange: &Exchange, device: i64, online: bool) {
    let now_ms = crate::hub::now_ms();
    let hub = exchange.hub.to_string();
    let contact = crate::database::commands::Contact { device, online, hub, now_ms };
    // It fails only while the hub stops.
    let _ = exchange.database.submit(contact).await;
}

/// Says in the log why a conversation ended.
pub(crate) fn tell(why: &Halt, device: &DeviceId) {
    match why {
        Halt::Bug(_) => tracing::error!(%device, reason = %why, "a connection panicked"),
        Halt::Told(_) => tracing::info!(%device, reason = %why, "device disconnected"),
        Halt::Nonsense(_) | Halt::Flood => {
            tracing::warn!(%device, reason = %why, "device disconnected for what it sent");
        }
        Halt::Database(_) => {
            tracing::warn!(
                %device, reason = %why,
                "device disconnected without acknowledgement, it will send again"
            );
        }
    }
}

/// The watcher's own connection.
pub(crate) async fn watcher(exchange: &Exchange) -> Result<Connection, DbError> {
    let database = exchange.database.clone();
    let opened = tokio::task::spawn_blocking(move || database.watcher()).await;
    opened.unwrap_or(Err(DbError::Closed))
}
