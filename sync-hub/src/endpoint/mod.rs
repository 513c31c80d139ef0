//! Where devices connect: MQTT 3.1.1 over mutual TLS. Not a general broker.
//!
//! A device is who its certificate says (CN), may publish to its own up topic and subscribe to
//! its own down topic, and nothing else. A publication is acknowledged (PUBACK) after what it
//! carries is committed. Retained messages, wills, sessions and quality of service 2 do not
//! exist here.
//!
//! Each connection is one task without shared locks or bounded channels between tasks; its
//! costs are bounded by [`limits`]. A panic in one ends that one.

mod codec;
mod connection;
mod gate;
pub mod limits;
mod registry;
mod tls;

use crate::database::{Database, DbError, queries};
use crate::identity::ServerIdentity;
use registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// How often the database is asked whether anyone has committed something (one pragma, no
/// disk access): the delay of an answer given on the command line.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// After a failed accept (out of file handles) the listener rests this long.
const ACCEPT_REST: Duration = Duration::from_millis(100);

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
    /// Bytes received in packets.
    pub bytes_received: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
}

/// Adds one.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    database: Database,
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    pending_bytes: Arc<Semaphore>,
    started: Instant,
}

impl Shared {
    /// Monotonic milliseconds.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The endpoint, listening.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    wake: Arc<Notify>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// The endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be listened on.
    #[error("cannot listen for devices on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificates do not work.
    #[error("TLS: {0}")]
    Tls(String),
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl Endpoint {
    /// Listens, and serves until [`Endpoint::stop`].
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn start(
        address: SocketAddr,
        identity: ServerIdentity,
        database: Database,
    ) -> Result<Endpoint, EndpointError> {
        let acceptor = tls::acceptor(identity).map_err(EndpointError::Tls)?;
        let listen = |source| EndpointError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let watcher = database.watcher()?;
        let shared = Arc::new(Shared {
            database,
            registry: Arc::default(),
            counters: Arc::default(),
            handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
            pending_bytes: Arc::new(Semaphore::new(limits::PENDING_BYTES_MAX)),
            started: Instant::now(),
        });
        let wake = Arc::new(Notify::new());
        let tasks = vec![
            tokio::spawn(accept(listener, acceptor, Arc::clone(&shared))),
            tokio::spawn(watch(watcher, Arc::clone(&shared), Arc::clone(&wake))),
        ];
        Ok(Endpoint { address, shared, wake, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts since the start.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Looks for new answers at once, without waiting for the next look.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Stops listening, ends all connections, and waits until they are gone. What they handed
    /// to the database is committed.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        self.shared.registry.stop();
        let all = u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let gone = self.shared.connections.acquire_many(all);
        if tokio::time::timeout(limits::GOODBYE_MAX * 3, gone).await.is_err() {
            let left = self.shared.registry.len();
            tracing::warn!(left, "connections did not end in time, they are dropped");
        }
    }
}

async fn accept(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        count(&shared.counters.accepted);
        let permits = (
            Arc::clone(&shared.handshakes).try_acquire_owned(),
            Arc::clone(&shared.connections).try_acquire_owned(),
        );
        let (Ok(handshake), Ok(connection)) = permits else {
            count(&shared.counters.over_limit);
            tracing::warn!(%peer, "too many connections, one was closed");
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            gate::serve(stream, peer, acceptor, shared, handshake).await;
            drop(connection);
        });
    }
}

/// Notices what other processes or the page have committed: answers and revocations.
async fn watch(connection: rusqlite::Connection, shared: Arc<Shared>, wake: Arc<Notify>) {
    let mut seen = None;
    loop {
        match look(&connection, &shared.registry, &mut seen) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the database cannot be watched for answers"),
        }
        let _ = tokio::time::timeout(WATCH_EVERY, wake.notified()).await;
    }
}

/// Three short queries on indexes; quick enough for the runtime's thread.
fn look(
    connection: &rusqlite::Connection,
    registry: &Registry,
    seen: &mut Option<i64>,
) -> rusqlite::Result<()> {
    let version = queries::data_version(connection)?;
    if registry.len() == 0 || *seen == Some(version) {
        return Ok(());
    }
    let revoked: BTreeSet<String> = queries::revoked_serials(connection)?.into_iter().collect();
    registry.revoke(&revoked);
    let ends: BTreeMap<_, _> = queries::answers_waiting(connection)?.into_iter().collect();
    registry.answers(&ends);
    *seen = Some(version);
    Ok(())
}
