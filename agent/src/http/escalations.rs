//! `GET /v1/escalations/{ticket}?wait=30s`: where a question to the hub stands.

use super::App;
use super::error::ApiError;
use super::types::{AnswerBody, TicketBody};
use crate::store::{Store, StoreError, TicketState, TicketStatus};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use landfall_wire::id::Ticket;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::watch;

/// Longest wait in one request: shorter than the silence after which a connection is closed,
/// and than the usual timeouts of clients and proxies in between.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
pub(super) struct Asked {
    wait: Option<String>,
}

pub(super) async fn show(
    State(app): State<App>,
    Path(ticket): Path<String>,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<TicketBody>, ApiError> {
    let ticket: Ticket =
        ticket.parse().map_err(|e| ApiError::bad_request("invalid-ticket", format!("{e}")))?;
    let Query(Asked { wait }) =
        query.map_err(|error| ApiError::bad_request("invalid-query", error.body_text()))?;
    let wait = wait.as_deref().map_or(Ok(Duration::ZERO), parse_wait)?;
    let store = app.pipeline.store();
    let status =
        wait_for(store, ticket, wait, app.stopping.clone()).await.map_err(|e| store_error(&e))?;
    let status = status.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "unknown-ticket", format!("no escalation {ticket}"))
            .remedy(StoreError::UnknownTicket.remedy())
    })?;
    if status.state == TicketState::Answered {
        // The answer goes out with this response. If the write fails, the ticket stays
        // answered and is fetched again.
        if let Err(error) = store.delivered(ticket).await {
            tracing::warn!(%ticket, %error, "the delivery of an answer was not recorded");
        }
    }
    Ok(Json(TicketBody::from(&status)))
}

fn parse_wait(text: &str) -> Result<Duration, ApiError> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let wait = seconds.map_or_else(|| humantime::parse_duration(text), Ok).map_err(|error| {
        ApiError::bad_request("invalid-query", format!("wait '{text}': {error}"))
            .remedy("give a duration such as wait=30s")
    })?;
    Ok(wait.min(WAIT_MAX))
}

/// The ticket's state once it can no longer change, or after `wait`.
pub(crate) async fn wait_for(
    store: &Store,
    ticket: Ticket,
    wait: Duration,
    mut stopping: watch::Receiver<bool>,
) -> Result<Option<TicketStatus>, StoreError> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut changes = store.ticket_changes();
    loop {
        // Marked as seen before reading: a change in between is not slept through.
        changes.borrow_and_update();
        let status = store.ticket(ticket)?;
        let open = status.as_ref().is_some_and(|status| is_open(status.state));
        if !open {
            return Ok(status);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(status) },
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(status),
            () = tokio::time::sleep_until(deadline) => return Ok(status),
        }
    }
}

fn is_open(state: TicketState) -> bool {
    match state {
        TicketState::Queued | TicketState::Sent | TicketState::Received => true,
        TicketState::Answered | TicketState::Delivered | TicketState::Expired => false,
    }
}

fn store_error(error: &StoreError) -> ApiError {
    let remedy = error.remedy();
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", error.to_string())
        .remedy(remedy)
}

impl From<&TicketStatus> for TicketBody {
    fn from(status: &TicketStatus) -> TicketBody {
        let TicketStatus { ticket, state, answer } = status;
        let state = match state {
            TicketState::Queued => "queued",
            TicketState::Sent => "sent",
            TicketState::Received => "received",
            TicketState::Answered => "answered",
            TicketState::Delivered => "delivered",
            TicketState::Expired => "expired",
        };
        let decision = answer.as_ref().map(|answer| AnswerBody::from_decision(&answer.decision));
        TicketBody {
            ticket: ticket.to_string(),
            state: state.to_owned(),
            answer: decision.unwrap_or_default(),
            by: answer.as_ref().map(|answer| answer.by.clone()),
            note: answer.as_ref().and_then(|answer| answer.note.clone()),
        }
    }
}
