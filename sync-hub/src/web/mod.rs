//! The page and the JSON API.
//!
//! Without accounts, whoever can open a connection may do everything. Hence: loopback only, the
//! `Host` must name loopback (a web page elsewhere cannot reach the hub by pointing its own name
//! at 127.0.0.1), and whatever changes something must come from the hub's own page or from no
//! page at all. With accounts, who asks has a session or a token and a role (`guard` says which
//! is needed), every form carries its session's token, and other addresses than loopback are
//! served over TLS.

mod alarms;
mod api;
mod error;
mod export;
mod form;
mod guard;
mod html;
mod metrics;
mod pages;
mod rollouts;
mod rules;
pub(crate) mod session;
mod svg;
mod tls;

pub use tls::{WebFiles, WebIdentity};

use crate::broker::BrokerStatus;
use crate::database::{Database, accounts};
use crate::desk::Times;
use crate::exchange::{Counters, Exchange};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use landfall_freight::listener::Limited;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// Most connections at once: a browser opens six, and a hub has a dozen operators and programs.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a connection may stay open between requests, and how long a request may take from its
/// first byte to the first byte of its answer: see [`Limited::new`].
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Largest request body in bytes: an answer fits in one record of 4 kB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Requests under way may take this long when the hub stops.
const STOP_MAX: Duration = Duration::from_secs(2);

/// The web address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Not loopback, and nobody could sign in.
    #[error("refused to serve the page on {0}: there are no accounts, so it is for loopback only")]
    NoAccounts(SocketAddr),
    /// Certificate or key cannot be used.
    #[error("the certificate of the page cannot be used: {0}")]
    Certificate(String),
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
    /// Tells the desk that somebody did something there.
    look: Arc<Notify>,
    /// How long things are somebody's at the desk.
    times: Times,
    doors: Arc<session::Doors>,
    /// Whether it is served over TLS.
    tls: bool,
    /// Whether it is served on loopback only.
    loopback: bool,
}

/// What the page needs besides the exchange.
#[derive(Debug)]
pub(crate) struct Around {
    /// The state of the broker, if there is one.
    pub(crate) broker: Option<watch::Receiver<BrokerStatus>>,
    /// Tells the desk that somebody did something there.
    pub(crate) look: Arc<Notify>,
    /// How long things are somebody's at the desk.
    pub(crate) times: Times,
    /// What it proves itself with; plain HTTP without.
    pub(crate) identity: Option<WebIdentity>,
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
        let listen = |source| WebError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Web { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until [`Serving::stop`].
    ///
    /// # Errors
    /// [`WebError`] if the certificate cannot be used, or if nobody could sign in from elsewhere.
    pub(crate) async fn serve(
        self,
        exchange: &Exchange,
        around: Around,
    ) -> Result<Serving, WebError> {
        let Around { broker, look, times, identity } = around;
        let loopback = self.address.ip().is_loopback();
        if !loopback && !exchange.database.read(accounts::any).await.unwrap_or(false) {
            return Err(WebError::NoAccounts(self.address));
        }
        let failed = |error: rustls::Error| WebError::Certificate(error.to_string());
        let acceptor = identity.map(WebIdentity::acceptor).transpose().map_err(failed)?;
        let app = App {
            database: exchange.database.clone(),
            counters: Arc::clone(&exchange.counters),
            wake: Arc::clone(&exchange.wake),
            broker,
            look,
            times,
            doors: Arc::default(),
            tls: acceptor.is_some(),
            loopback,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            let service = router(app).into_make_service_with_connect_info::<tls::Peer>();
            let served = match acceptor {
                Some(acceptor) => {
                    let listener = tls::TlsListener::new(self.listener, self.address, acceptor);
                    let listener = Limited::new(listener, CONNECTIONS_MAX, SILENCE_MAX);
                    axum::serve(listener, service).with_graceful_shutdown(stopped).await
                }
                None => {
                    let listener = Limited::new(self.listener, CONNECTIONS_MAX, SILENCE_MAX);
                    axum::serve(listener, service).with_graceful_shutdown(stopped).await
                }
            };
            if let Err(error) = served {
                tracing::error!(%error, "the page is no longer served");
            }
        });
        Ok(Serving { stop, task })
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
        .route("/escalations/{device}/{ticket}/desk", get(api::desk_of))
        .route("/desk", get(api::desk))
        .route("/quality", get(api::quality))
        .route("/trail", get(api::trail))
        .route("/accounts", get(api::accounts))
        .route("/export/outcomes", get(export::outcomes))
        .route("/export/escalations", get(export::escalations))
        .route("/export/labels", get(export::labels))
        .route("/releases", get(rollouts::releases))
        .route("/rollouts", get(rollouts::rollouts).post(rollouts::start))
        .route("/rollouts/{rollout}", get(rollouts::rollout))
        .route("/rollouts/{rollout}/{verb}", post(rollouts::steer))
        .route("/alarms", get(alarms::list))
        .route("/alarms/{alarm}/acknowledge", post(alarms::acknowledge))
        .route("/rules", get(rules::list).post(rules::create))
        .route("/rules/{rule}", get(rules::show))
        .route("/rules/{rule}/remove", post(rules::take))
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
        .route("/desk", get(pages::desk))
        .route("/desk/list", get(pages::desk_list))
        .route("/desk/next", post(pages::desk_next))
        .route("/desk/{device}/{ticket}", get(pages::desk_question).post(pages::desk_act))
        .route("/quality", get(pages::quality))
        .route("/rollouts", get(rollouts::list_page).post(rollouts::start_page))
        .route("/rollouts/{rollout}", get(rollouts::page).post(rollouts::act))
        .route("/alarms", get(alarms::page).post(alarms::act))
        .route("/rules", get(pages::rules).post(pages::change_rules))
        .route("/live/fleet", get(pages::fleet_live))
        .route("/login", get(pages::login).post(pages::sign_in))
        .route("/logout", post(pages::sign_out))
        .route("/account", get(pages::own).post(pages::change_own))
        .route("/accounts", get(pages::accounts).post(pages::change_account))
        .route("/trail", get(pages::trail))
        .route("/style.css", get(pages::style))
        .route("/hub.js", get(pages::script))
        .fallback(pages::not_found);
    Router::new()
        .nest("/api/v1", api)
        .merge(pages)
        .route("/healthz", get(metrics::healthz))
        .route("/readyz", get(metrics::readyz))
        .route("/metrics", get(metrics::metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}
