//! The HTTP intake on loopback.
//!
//! Invariants: every response is JSON, save metrics; every error has a code, a message and,
//! where one is known, a remedy; everything a client can make large or long has a named limit.
//!
//! Not here: decisions. Handlers parse, ask the pipeline, and write down what it says.

mod courier;
mod error;
mod escalations;
mod link;
mod listener;
mod metrics;
mod openapi;
mod origin;
mod queue;
mod status;
mod tasks;
mod types;

pub use courier::{MORE, RECORDS};
pub use error::{ApiError, ErrorBody, ErrorEnvelope};
pub use escalations::WAIT_MAX;
pub use landfall_systemd::Line;
pub use link::{LinkState, LinkWord};
pub use listener::{CONNECTIONS_MAX, SILENCE, Socket};
pub use status::{
    ClockBody, LinkBody, ReleaseBody, StatusBody, StoreBody, StreamBody, TaskBody, UnrecordedBody,
};
pub use tasks::{BATCH_ITEMS_MAX, BODY_BYTES_MAX, BODY_READ};
pub use types::{AnswerBody, FieldBody, ItemBody, MechanismBody, ReplyBody, Status, TicketBody};

use crate::courier::Courier;
use crate::pipeline::Pipeline;
use crate::service::Overview;
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use landfall_freight::listener::Limited;
use std::sync::Arc;
use tokio::sync::watch;

/// What the handlers need.
#[derive(Clone)]
pub struct App {
    /// Decides.
    pub pipeline: Pipeline,
    /// Knows the state of the agent.
    pub overview: Overview,
    /// Packs and unpacks parcels, with an identity.
    pub courier: Option<Arc<Courier>>,
    /// Becomes true when the agent stops: whoever waits is answered at once.
    pub stopping: watch::Receiver<bool>,
}

/// Every path, for the router and the document alike.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/tasks/{task}", post(tasks::decide))
        .route("/v1/escalations/{ticket}", get(escalations::show))
        .route("/v1/queue", get(queue::show))
        .route("/v1/queue/{stream}", get(queue::records))
        .route("/v1/refused", get(queue::refused))
        .route("/v1/refused/resend", post(queue::resend))
        .route("/v1/outcomes/{outcome}", get(queue::outcome))
        .route("/v1/link", get(link::show).put(link::put))
        .route("/v1/courier/export", post(courier::export))
        .route("/v1/courier/import", post(courier::import))
        .route("/v1/status", get(status::show))
        .route("/healthz", get(status::health))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::show))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn(origin::check))
        .with_state(app)
}

/// Serves until `app.stopping`, then answers what has begun and ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: Limited<Socket>, app: App) -> std::io::Result<()> {
    let mut stopping = app.stopping.clone();
    let stopped = async move {
        // An error means that the sender is gone: stop as well.
        let _gone = stopping.wait_for(|stopping| *stopping).await;
    };
    axum::serve(listener, router(app)).with_graceful_shutdown(stopped).await
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("nothing at {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not-found", message)
        .remedy("see /openapi.json for what there is")
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not for {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", message)
        .remedy("see /openapi.json for what there is")
}
