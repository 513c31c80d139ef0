//! `POST /v1/tasks/{task}`: one text or a batch of them.

use super::App;
use super::error::{ApiError, ErrorEnvelope};
use super::types::{ItemBody, ReplyBody};
use crate::pipeline::{DecideError, Pace, Pipeline};
use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use landfall_agent_core::request::Request;
use landfall_wire::id::TaskName;
use serde::{Deserialize, Serialize};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Largest body: a full batch of long texts, and room for a text far over any guard's limit,
/// whose refusal is then recorded rather than lost in transport.
pub const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A body over the limit is read and dropped up to here before it is refused: a client that is
/// cut off while it still sends sees a broken connection and not the reason.
const BODY_READ_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most items of a batch: four full group commits, about a second of one model worker.
pub const BATCH_ITEMS_MAX: usize = 256;

/// How long a body may take to arrive; on loopback it takes milliseconds.
pub const BODY_READ: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct Asked {
    record: Option<String>,
}

/// One item's reply in a batch.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemReply {
    Reply(Box<ReplyBody>),
    Error(ErrorEnvelope),
}

pub(super) async fn decide(
    State(app): State<App>,
    Path(task): Path<String>,
    query: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let Query(Asked { record }) =
        query.map_err(|error| ApiError::bad_request("invalid-query", error.body_text()))?;
    let desk = Desk { pipeline: app.pipeline.clone(), on_record: is_required(record.as_deref())? };
    let task = app.pipeline.task_named(&task)?;
    let bytes = read(body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::bad_request("not-utf8", format!("the body is not UTF-8 at byte {at}"))
            .remedy("send JSON in UTF-8")
    })?;
    if text.trim_start().starts_with('[') {
        batch(&desk, &task, text).await
    } else {
        let item = parse_item(text)?;
        let reply = desk.decide(&task, item, Pace::Urgent).await?;
        Ok(Json(reply).into_response())
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let read = tokio::time::timeout(BODY_READ, collect(body)).await;
    let Ok(read) = read else {
        let message = format!("the body did not arrive within {} s", BODY_READ.as_secs());
        return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message));
    };
    let broken = |e| ApiError::bad_request("broken-body", format!("the body broke off: {e}"));
    read.map_err(broken)?.ok_or_else(|| {
        let message = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
            .remedy("send fewer or shorter texts at once")
    })
}

/// The whole body, or `None` if it is over the limit.
async fn collect(mut body: Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut bytes, mut total) = (Vec::new(), 0);
    while total <= BODY_READ_BYTES_MAX {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let Ok(data) = frame?.into_data() else { continue };
        total += data.len();
        if total <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
    }
    Ok((total <= BODY_BYTES_MAX).then_some(bytes))
}

fn parse_item(text: &str) -> Result<ItemBody, ApiError> {
    serde_json::from_str(text).map_err(|error| json_error(&error))
}

fn json_error(error: &serde_json::Error) -> ApiError {
    // serde_json's own message ends with line and column.
    if error.is_data() {
        return ApiError::unprocessable("invalid-request", error.to_string())
            .remedy("send {\"text\": \"…\"}, with \"id\" and \"meta\" if you like, or an array");
    }
    ApiError::bad_request("malformed-json", format!("the body is not JSON: {error}"))
        .remedy("send {\"text\": \"…\"}")
}

fn is_required(record: Option<&str>) -> Result<bool, ApiError> {
    match record {
        None => Ok(false),
        Some("required") => Ok(true),
        Some(other) => Err(ApiError::bad_request("invalid-query", format!("record '{other}'"))
            .remedy("leave it out, or give record=required to get no decision without a record")),
    }
}

/// Decides as the caller asked for it.
#[derive(Clone)]
struct Desk {
    pipeline: Pipeline,
    /// No decision without a record.
    on_record: bool,
}

impl Desk {
    async fn decide(
        &self,
        task: &TaskName,
        item: ItemBody,
        pace: Pace,
    ) -> Result<ReplyBody, DecideError> {
        let ItemBody { text, id, meta } = item;
        let (task_name, caller_id) = (task.clone(), id.clone());
        let request = Request { task: task_name, text: text.clone(), caller_id, meta };
        let decided = if self.on_record {
            self.pipeline.decide_on_record(request, pace).await?
        } else {
            self.pipeline.decide(request, pace).await?
        };
        Ok(ReplyBody::new(task, id, &text, &decided))
    }
}

async fn batch(desk: &Desk, task: &TaskName, text: &str) -> Result<Response, ApiError> {
    let items: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| json_error(&error))?;
    if items.len() > BATCH_ITEMS_MAX {
        let message = format!("{} items; at most {BATCH_ITEMS_MAX} at once", items.len());
        return Err(
            ApiError::unprocessable("too-many-items", message).remedy("send several batches")
        );
    }
    // All at once, so that they share group commits; the model's queue paces them.
    let decisions: Vec<JoinHandle<Result<ReplyBody, ApiError>>> =
        items.into_iter().map(|item| spawn(desk, task, item)).collect();
    let mut replies = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let reply = decision.await.unwrap_or_else(|_| Err(DecideError::Panicked.into()));
        replies.push(match reply {
            Ok(reply) => ItemReply::Reply(Box::new(reply)),
            Err(error) => ItemReply::Error(error.body()),
        });
    }
    Ok(Json(replies).into_response())
}

fn spawn(
    desk: &Desk,
    task: &TaskName,
    item: serde_json::Value,
) -> JoinHandle<Result<ReplyBody, ApiError>> {
    let (desk, task) = (desk.clone(), task.clone());
    tokio::spawn(async move {
        let item = serde_json::from_value(item).map_err(|error| {
            ApiError::unprocessable("invalid-request", error.to_string())
                .remedy("each item is {\"text\": \"…\"}, with \"id\" and \"meta\" if you like")
        })?;
        Ok(desk.decide(&task, item, Pace::Bulk).await?)
    })
}

impl From<DecideError> for ApiError {
    fn from(error: DecideError) -> ApiError {
        let status = match &error {
            DecideError::UnknownTask { .. } => StatusCode::NOT_FOUND,
            DecideError::Request(_) => StatusCode::UNPROCESSABLE_ENTITY,
            DecideError::Conflict(_) => StatusCode::CONFLICT,
            DecideError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            DecideError::Store(store) if store.is_temporary() => StatusCode::SERVICE_UNAVAILABLE,
            DecideError::Store(_) | DecideError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.code(), error.to_string()).remedy(error.remedy())
    }
}
