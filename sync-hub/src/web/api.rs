//! `/api/v1`: what the database knows, as JSON; and answers.

use super::App;
use super::error::Refused;
use super::form;
use super::session::{self, Actor};
use crate::database::accounts;
use crate::database::commands::GiveAnswer;
use crate::database::desk::people::Given;
use crate::database::desk::reads;
use crate::database::quality::{self, DAYS_MAX, Window};
use crate::database::queries::{self, PAGE_ROWS_MAX, Page};
use crate::database::reporting;
use crate::database::views::{DeviceView, EscalationView, EventView, Stats};
use crate::hub::now_ms;
use crate::rules::books::Wish;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use landfall_hub_core::desk::{Draft, DraftDecision, DraftField, State as Stage};
use landfall_wire::id::{DeviceId, Ticket};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Rows of a page unless asked otherwise.
pub(super) const ROWS_DEFAULT: u32 = 100;

type Reply<T> = Result<Json<T>, Refused>;

pub(super) async fn fleet(State(app): State<App>) -> Reply<Value> {
    let devices = app.database.read(queries::devices).await?;
    Ok(Json(json!({ "devices": devices })))
}

/// One device with its recent events.
#[derive(Debug, Serialize)]
pub(super) struct DeviceDetail {
    #[serde(flatten)]
    pub(super) device: DeviceView,
    pub(super) events: Vec<EventView>,
}

pub(super) async fn device(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Reply<DeviceDetail> {
    find_device(&app, &name).await.map(Json)
}

pub(super) async fn find_device(app: &App, name: &str) -> Result<DeviceDetail, Refused> {
    let missing = || {
        Refused::not_found(
            format!("there is no device {name}"),
            "see /api/v1/fleet for the devices",
        )
    };
    let id: DeviceId = name.parse().map_err(|_| missing())?;
    let found = app.database.read(move |reader| {
        let device = queries::device(reader, &id)?;
        Ok(device.map(|device| (device, queries::events(reader, &id))))
    });
    let (device, events) = found.await?.ok_or_else(missing)?;
    let events = events.map_err(|error| crate::database::DbError::new("read", error))?;
    Ok(DeviceDetail { device, events })
}

/// Sketches of the outcomes that a device keeps to itself.
pub(super) async fn sketches(State(app): State<App>, Path(name): Path<String>) -> Reply<Value> {
    let detail = find_device(&app, &name).await?;
    let id: Result<DeviceId, _> = detail.device.device.parse();
    let id = id.map_err(|error| Refused::bad_request(format!("{error}"), String::new()))?;
    let sketches = app.database.read(move |reader| reporting::sketches(reader, &id)).await?;
    Ok(Json(json!({ "sketches": sketches })))
}

pub(super) async fn outcomes(State(app): State<App>, RawQuery(query): RawQuery) -> Reply<Value> {
    let page = page(query.as_deref(), &["device", "task", "after", "limit"])?;
    let found = app.database.read(move |reader| queries::outcomes(reader, &page)).await?;
    Ok(Json(json!({ "outcomes": found.rows, "next": found.next })))
}

pub(super) async fn escalations(State(app): State<App>, RawQuery(query): RawQuery) -> Reply<Value> {
    let page = page(query.as_deref(), &["state", "device", "task", "after", "limit"])?;
    let found = app.database.read(move |reader| queries::escalations(reader, &page)).await?;
    Ok(Json(json!({ "escalations": found.rows, "next": found.next })))
}

/// Reads the parameters of a list; those not in `known` are refused.
pub(super) fn page(query: Option<&str>, known: &[&str]) -> Result<Page, Refused> {
    let mut page = Page { limit: ROWS_DEFAULT, ..Page::default() };
    for (key, value) in form::parse(query.unwrap_or_default()) {
        let bad =
            |remedy: String| Refused::bad_request(format!("{key}={value} is not valid"), remedy);
        if !known.contains(&key.as_str()) {
            return Err(bad(format!("the parameters are {}", known.join(", "))));
        }
        match key.as_str() {
            // A form that was left empty means no filter.
            _ if value.is_empty() => {}
            // Read by who exports.
            "format" => {}
            "device" => {
                page.device = Some(value.parse().map_err(|error| bad(format!("{error}")))?);
            }
            "task" => page.task = Some(value),
            "state" if value == "all" => page.state = None,
            "state" => {
                let stage: Result<Stage, _> = value.parse();
                page.state = Some(stage.map_err(|error| bad(format!("{error}, all")))?);
            }
            "after" => {
                let after =
                    value.parse().map_err(|_| bad("pass `next` of the last page".into()))?;
                page.after = Some(after);
            }
            _ => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
                page.limit = limit.ok_or_else(|| bad(format!("use 1 to {PAGE_ROWS_MAX}")))?;
            }
        }
    }
    Ok(page)
}

pub(super) async fn escalation(
    State(app): State<App>,
    Path((device, ticket)): Path<(String, String)>,
) -> Reply<EscalationView> {
    let (device, ticket) = name(&device, &ticket)?;
    find_escalation(&app, device, ticket).await.map(Json)
}

pub(super) fn name(device: &str, ticket: &str) -> Result<(DeviceId, Ticket), Refused> {
    let parsed = device.parse().ok().zip(ticket.parse().ok());
    parsed.ok_or_else(|| no_escalation(device, ticket))
}

pub(super) fn no_escalation(device: &str, ticket: &str) -> Refused {
    Refused::not_found(
        format!("there is no escalation {ticket} of device {device}"),
        "see the open ones under /api/v1/escalations",
    )
}

pub(super) async fn find_escalation(
    app: &App,
    device: DeviceId,
    ticket: Ticket,
) -> Result<EscalationView, Refused> {
    let missing = no_escalation(device.as_str(), &ticket.to_string());
    let found = app.database.read(move |reader| queries::escalation(reader, &device, ticket));
    found.await?.ok_or(missing)
}

/// The body of an answer: exactly one of `label` (a label, or null for out of scope) and
/// `fields`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerBody {
    #[serde(default, deserialize_with = "given")]
    label: Option<Option<String>>,
    fields: Option<Vec<DraftField>>,
    by: Option<String>,
    note: Option<String>,
    rule: Option<Wish>,
}

/// Tells `null` from absent.
fn given<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub(super) async fn answer(
    State(app): State<App>,
    Path((device, ticket)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Refused> {
    let (device, ticket) = name(&device, &ticket)?;
    let remedy = r#"send {"label": "…" or null, "by": "…", "note": "…", "rule": {"all_words": ["…"], "label": "…"}} or {"fields": [{"label", "value"}], "by": "…"}"#;
    let body: AnswerBody = serde_json::from_slice(&body).map_err(|error| {
        Refused::bad_request(format!("the body is not an answer: {error}"), remedy)
    })?;
    let decision = match (body.label, body.fields) {
        (Some(Some(label)), None) => DraftDecision::Label(label),
        (Some(None), None) => DraftDecision::OutOfScope,
        (None, Some(fields)) => DraftDecision::Fields(fields),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Refused::bad_request("give either a label or fields", remedy));
        }
    };
    let by = body.by.unwrap_or_default();
    let draft = Draft { decision, by, note: body.note };
    let given = give_answer(&app, device.clone(), ticket, draft, body.rule).await?;
    let escalation = find_escalation(&app, device, ticket).await?;
    let warning = &given.checked().warning;
    let body = json!({ "escalation": escalation, "warning": warning });
    let status = match given {
        Given::Sent(_) => StatusCode::OK,
        // Somebody else must say the same.
        Given::Noted(_) => StatusCode::ACCEPTED,
    };
    Ok((status, Json(body)).into_response())
}

/// Gives an answer at once. Where there are accounts, it is that of the account; the name in a
/// program's draft tells who answered behind it.
pub(super) async fn give_answer(
    app: &App,
    device: DeviceId,
    ticket: Ticket,
    mut draft: Draft,
    rule: Option<Wish>,
) -> Result<Given, Refused> {
    let voter = match session::actor() {
        Actor::Person { who, .. } => {
            draft.by.clone_from(&who.name);
            who.name
        }
        Actor::Program { who } => {
            let behind = draft.by.trim();
            let named = behind.is_empty() || behind == who.name;
            draft.by = if named { who.name.clone() } else { format!("{behind} ({})", who.name) };
            who.name
        }
        Actor::Open | Actor::Nobody => draft.by.trim().to_owned(),
    };
    let command = GiveAnswer { device, ticket, voter, draft, rule, now_ms: now_ms() };
    let given = app.database.write(command).await??;
    app.wake.notify_one();
    app.look.notify_one();
    Ok(given)
}

/// Where questions wait, and what models cost.
pub(super) async fn desk(State(app): State<App>) -> Reply<Value> {
    let read = app.database.read(|reader| Ok((reads::places(reader)?, reads::spending(reader)?)));
    let (places, spending) = read.await?;
    Ok(Json(json!({ "places": places, "spending": spending })))
}

/// One question with where it stands at the desk.
pub(super) async fn desk_of(
    State(app): State<App>,
    Path((device, ticket)): Path<(String, String)>,
) -> Reply<reads::Brief> {
    let missing = no_escalation(&device, &ticket);
    let (device, ticket) = name(&device, &ticket)?;
    let found = app.database.read(move |reader| reads::brief(reader, &device, ticket));
    found.await?.ok_or(missing).map(Json)
}

/// Days of the quality page unless asked otherwise: four weeks.
const QUALITY_DAYS_DEFAULT: u64 = 28;

/// Reads the parameters of the quality page.
pub(super) fn window(query: Option<&str>, now_ms: u64) -> Result<Window, Refused> {
    let mut window = Window { days: QUALITY_DAYS_DEFAULT, now_ms, ..Window::default() };
    for (key, value) in form::parse(query.unwrap_or_default()) {
        let bad =
            |remedy: String| Refused::bad_request(format!("{key}={value} is not valid"), remedy);
        match key.as_str() {
            "device" | "label" | "days" if value.is_empty() => {}
            "label" => window.label = Some(value),
            "device" => {
                window.device = Some(value.parse().map_err(|error| bad(format!("{error}")))?);
            }
            "days" => {
                let days = value.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
                window.days = days.ok_or_else(|| bad(format!("use 1 to {DAYS_MAX}")))?;
            }
            _ => return Err(bad("the parameters are device, label, days".to_owned())),
        }
    }
    Ok(window)
}

pub(super) async fn quality(State(app): State<App>, RawQuery(query): RawQuery) -> Reply<Value> {
    let window = window(query.as_deref(), now_ms())?;
    let read = app.database.read(move |reader| {
        let days = quality::days(reader, window.now_ms, window.days)?;
        Ok((days, quality::quality(reader, &window)?))
    });
    let (days, rows) = read.await?;
    Ok(Json(json!({ "days": days, "quality": rows })))
}

pub(super) async fn accounts(State(app): State<App>) -> Reply<Value> {
    let accounts = app.database.read(accounts::list).await?;
    Ok(Json(json!({ "accounts": accounts })))
}

pub(super) async fn trail(State(app): State<App>, RawQuery(query): RawQuery) -> Reply<Value> {
    let page = page(query.as_deref(), &["after", "limit"])?;
    let (after, limit) = (page.after, page.limit);
    let lines =
        app.database.read(move |reader| accounts::trail_lines(reader, after, limit + 1)).await?;
    let more = lines.len() > limit as usize;
    let lines = &lines[..lines.len().min(limit as usize)];
    let next = lines.last().filter(|_| more).map(|line| line.id);
    Ok(Json(json!({ "trail": lines, "next": next })))
}

pub(super) async fn losses(State(app): State<App>) -> Reply<Value> {
    let losses = app.database.read(queries::losses).await?;
    Ok(Json(json!({ "losses": losses })))
}

pub(super) async fn rejected(State(app): State<App>) -> Reply<Value> {
    let rejected = app.database.read(queries::rejected).await?;
    Ok(Json(json!({ "rejected": rejected })))
}

pub(super) async fn stats(State(app): State<App>) -> Reply<Stats> {
    Ok(Json(app.database.read(queries::stats).await?))
}

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

pub(super) async fn not_found() -> Refused {
    Refused::not_found("there is nothing here", "see /api/v1/openapi.json")
}

pub(super) async fn method_not_allowed() -> Refused {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let remedy = "see /api/v1/openapi.json";
    Refused::new(status, "method-not-allowed", "this is not asked that way", remedy)
}
