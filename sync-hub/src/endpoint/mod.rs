//! Where devices connect: MQTT 3.1.1 over mutual TLS. Not a general broker.
//!
//! A device is who its certificate says (CN), may publish to its own up topic and subscribe to
//! its own down topic, and nothing else. A publication is acknowledged (PUBACK) after what it
//! carries is committed. Retained messages, wills, sessions and quality of service 2 do not
//! exist here.
//!
//! A device without a certificate may ask for one with a one-time token (`enroll`), on the same
//! port: there is nothing else to open in a firewall.
//!
//! Each connection is one task without shared locks or bounded channels between tasks; its
//! costs are bounded by [`limits`]. A panic in one ends that one.

mod codec;
mod connection;
mod enroll;
mod gate;
pub mod limits;
mod tls;

pub(crate) use tls::tls_config;

use crate::database::DbError;
use crate::exchange::{self, Exchange, count};
use crate::identity::{Authority, ServerIdentity};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// After a failed accept (out of file handles) the listener rests this long.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
struct Shared {
    exchange: Arc<Exchange>,
    desk: enroll::Desk,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// The endpoint, listening.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
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
    pub(crate) async fn start(
        address: SocketAddr,
        identity: &ServerIdentity,
        authority: Arc<Authority>,
        exchange: Arc<Exchange>,
    ) -> Result<Endpoint, EndpointError> {
        let acceptor = tls::acceptor(identity).map_err(EndpointError::Tls)?;
        let listen = |source| EndpointError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let watcher = exchange::watcher(&exchange).await?;
        let shared = Arc::new(Shared {
            exchange: Arc::clone(&exchange),
            desk: enroll::Desk::new(authority),
            handshakes: Arc::new(Semaphore::new(limits::HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
        });
        let tasks = vec![
            tokio::spawn(accept(listener, acceptor, Arc::clone(&shared))),
            tokio::spawn(exchange::watch(exchange, watcher)),
        ];
        Ok(Endpoint { address, shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, ends all connections, and waits until they are gone. What they handed
    /// to the database is committed.
    pub(crate) async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        self.shared.exchange.registry.stop();
        let all = u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let gone = self.shared.connections.acquire_many(all);
        if tokio::time::timeout(limits::GOODBYE_MAX * 3, gone).await.is_err() {
            let left = self.shared.exchange.registry.len();
            tracing::warn!(left, "connections did not end in time, they are dropped");
        }
    }
}

async fn accept(listener: TcpListener, acceptor: tls::Tls, shared: Arc<Shared>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        count(&shared.exchange.counters.accepted);
        let permits = (
            Arc::clone(&shared.handshakes).try_acquire_owned(),
            Arc::clone(&shared.connections).try_acquire_owned(),
        );
        let (Ok(handshake), Ok(connection)) = permits else {
            count(&shared.exchange.counters.over_limit);
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
