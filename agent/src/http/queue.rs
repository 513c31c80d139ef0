//! `GET /v1/queue`, `/v1/queue/{stream}` and `/v1/outcomes/{outcome}`: what the device holds.
//! `GET /v1/refused` and `POST /v1/refused/resend`: what the hub refused, and sending it once more.

use super::App;
use super::error::ApiError;
use crate::queue::{
    self, Ask, LIMIT_MAX, OutcomePage, Page, QueueError, RefusedPage, ResendBody, ResentPage,
    Summary,
};
use crate::store::{Store, StoreError};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

/// Records of a page that asks for no number.
const LIMIT_DEFAULT: usize = 20;

#[derive(Deserialize)]
pub(super) struct Asked {
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    kept: bool,
}

pub(super) async fn show(State(app): State<App>) -> Result<Json<Summary>, ApiError> {
    let device = app.overview.device.clone();
    let summary = read(&app, move |store| Ok(queue::summary(store, device.as_ref())?)).await?;
    Ok(Json(summary))
}

pub(super) async fn records(
    State(app): State<App>,
    Path(stream): Path<String>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, ApiError> {
    let Query(Asked { after, limit, kept }) =
        query.map_err(|error| ApiError::bad_request("invalid-query", error.body_text()))?;
    let stream = queue::stream_named(&stream)?;
    let after = after.as_deref().map(queue::record_id).transpose()?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = format!("limit {limit} is outside 1 to {LIMIT_MAX}");
        return Err(ApiError::bad_request("invalid-query", message)
            .remedy("ask for the next page with after=, as the reply's `next` says"));
    }
    let ask = Ask { stream, after, limit, kept };
    Ok(Json(read(&app, move |store| Ok(queue::page(store, ask)?)).await?))
}

pub(super) async fn outcome(
    State(app): State<App>,
    Path(outcome): Path<String>,
) -> Result<Json<OutcomePage>, ApiError> {
    let id = queue::record_id(&outcome)?;
    let found = read(&app, move |store| Ok(queue::outcome(store, id)?)).await?;
    let found = found.ok_or_else(|| {
        let message = format!("no outcome {id} is held here");
        ApiError::new(StatusCode::NOT_FOUND, "unknown-outcome", message)
            .remedy("the hub may have it: see its page of outcomes, or store.journal_days here")
    })?;
    Ok(Json(found))
}

pub(super) async fn refused(State(app): State<App>) -> Result<Json<RefusedPage>, ApiError> {
    Ok(Json(read(&app, |store| Ok(queue::refused(store)?)).await?))
}

pub(super) async fn resend(
    State(app): State<App>,
    body: Result<Json<ResendBody>, JsonRejection>,
) -> Result<Json<ResentPage>, ApiError> {
    let Json(body) =
        body.map_err(|error| ApiError::bad_request("invalid-json", error.body_text()))?;
    let which = body.which()?;
    let resent = app.pipeline.store().resend(which).await.map_err(QueueError::Store)?;
    Ok(Json(resent.into()))
}

/// On a thread that may wait for the disk.
async fn read<T: Send + 'static>(
    app: &App,
    look: impl FnOnce(&Store) -> Result<T, QueueError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = app.pipeline.store().clone();
    let found = tokio::task::spawn_blocking(move || look(&store)).await;
    let gone = || QueueError::Store(StoreError::Stopped);
    Ok(found.unwrap_or_else(|_| Err(gone()))?)
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> ApiError {
        let message = error.to_string();
        match error {
            QueueError::Store(store @ (StoreError::NotRefused | StoreError::RefusedGone)) => {
                ApiError::new(StatusCode::NOT_FOUND, "unknown-refused", message)
                    .remedy(store.remedy())
            }
            QueueError::Store(store) => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", message)
                    .remedy(store.remedy())
            }
            QueueError::UnknownStream(_) => {
                ApiError::new(StatusCode::NOT_FOUND, "unknown-stream", message)
                    .remedy("use one of the streams")
            }
            QueueError::NotARecord(_) => ApiError::bad_request("invalid-record", message)
                .remedy("give epoch and number, as `queue list` prints them"),
        }
    }
}
