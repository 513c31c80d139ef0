//! The page and the JSON API: plain HTTP, on loopback only.
//!
//! There are no accounts yet, so whoever can open a connection may answer. Hence: loopback
//! only, the `Host` must name loopback (a web page elsewhere cannot reach the hub by pointing
//! its own name at 127.0.0.1), and whatever changes something must come from the hub's own
//! page or from no page at all. From another machine, use an SSH tunnel.

mod api;
mod error;
mod form;
mod guard;
mod html;
mod metrics;
mod pages;

use crate::broker::BrokerStatus;
use crate::database::Database;
use crate::exchange::{Counters, Exchange};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// Largest request body in bytes: an answer fits in one record of 4 kB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Requests under way may take this long when the hub stops.
const STOP_MAX: Duration = Duration::from_secs(2);

/// The web address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Not loopback.
    #[error(
        "refused to serve the page on {0}: it is plain HTTP without accounts, for loopback only"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen for the page on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// What every request needs.
#[derive(Clone)]
struct App {
    database: Database,
    counters: Arc<Counters>,
    wake: Arc<Notify>,
    /// The broker, where devices are met behind one.
    broker: Option<watch::Receiver<BrokerStatus>>,
}

/// The web address, open but not served yet.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
}

/// The page and the API, served.
#[derive(Debug)]
pub struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Web {
    /// Opens the address.
    ///
    /// # Errors
    /// [`WebError`].
    pub async fn bind(address: SocketAddr) -> Result<Web, WebError> {
        if !address.ip().is_loopback() {
            return Err(WebError::NotLoopback(address));
        }
        let listen = |source| WebError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Web { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until [`Serving::stop`]; `broker` is the state of the broker, if there is one.
    pub(crate) fn serve(
        self,
        exchange: &Exchange,
        broker: Option<watch::Receiver<BrokerStatus>>,
    ) -> Serving {
        let app = App {
            database: exchange.database.clone(),
            counters: Arc::clone(&exchange.counters),
            wake: Arc::clone(&exchange.wake),
            broker,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let serving = axum::serve(self.listener, router(app)).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the page is no longer served");
            }
        });
        Serving { stop, task }
    }
}

impl Serving {
    /// Stops serving; requests under way are finished.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(STOP_MAX, &mut self.task).await.is_err() {
            // A browser keeps its connection open; the task holds the database.
            self.task.abort();
            let _ = self.task.await;
        }
    }
}

fn router(app: App) -> Router {
    let api = Router::new()
        .route("/fleet", get(api::fleet))
        .route("/devices/{device}", get(api::device))
        .route("/devices/{device}/sketches", get(api::sketches))
        .route("/outcomes", get(api::outcomes))
        .route("/escalations", get(api::escalations))
        .route("/escalations/{device}/{ticket}", get(api::escalation))
        .route("/escalations/{device}/{ticket}/answer", post(api::answer))
        .route("/losses", get(api::losses))
        .route("/rejected", get(api::rejected))
        .route("/stats", get(api::stats))
        .route("/openapi.json", get(api::openapi))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_not_allowed);
    let pages = Router::new()
        .route("/", get(pages::fleet))
        .route("/devices/{device}", get(pages::device))
        .route("/outcomes", get(pages::outcomes))
        .route("/escalations", get(pages::escalations))
        .route("/escalations/{device}/{ticket}", get(pages::escalation).post(pages::answer))
        .route("/style.css", get(pages::style))
        .fallback(pages::not_found);
    Router::new()
        .nest("/api/v1", api)
        .merge(pages)
        .route("/healthz", get(metrics::healthz))
        .route("/metrics", get(metrics::metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(app)
}
