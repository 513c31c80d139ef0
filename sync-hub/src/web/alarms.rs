//! Alarms: in the API, and as a page.

use super::App;
use super::error::Refused;
use super::form;
use super::html::{Esc, HtmlPage};
use super::pages::{Sorry, put, time};
use super::session::{actor, csrf_field, who};
use crate::alarms::books::{self, Acknowledge, AlarmError, AlarmView, UntoldView};
use crate::hub::now_ms;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use serde_json::{Value, json};
use std::fmt::Write;

/// `GET /alarms`, with `cleared=true` also those that are over.
pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refused> {
    let cleared = form::flag(query.as_deref(), "cleared")?;
    let alarms = app.database.read(move |reader| books::alarms(reader, cleared)).await?;
    Ok(Json(json!({ "alarms": alarms })))
}

/// `POST /alarms/{alarm}/acknowledge`.
pub(super) async fn acknowledge(
    State(app): State<App>,
    Path(alarm): Path<String>,
) -> Result<Json<AlarmView>, Refused> {
    seen(&app, &alarm, "").await?;
    find(&app, &alarm).await.map(Json)
}

async fn find(app: &App, alarm: &str) -> Result<AlarmView, Refused> {
    let missing = || Refused::not_found(format!("there is no alarm {alarm}"), "see /api/v1/alarms");
    let id: i64 = alarm.parse().map_err(|_| missing())?;
    app.database.read(move |reader| books::alarm(reader, id)).await?.ok_or_else(missing)
}

async fn seen(app: &App, alarm: &str, named: &str) -> Result<(), Refused> {
    let found = find(app, alarm).await?;
    let command = Acknowledge { alarm: found.alarm, by: who(named), now_ms: now_ms() };
    app.database.write(command).await?.map_err(Refused::from)
}

impl From<AlarmError> for Refused {
    fn from(error: AlarmError) -> Refused {
        let message = error.to_string();
        match error {
            AlarmError::NotFound(_) => Refused::not_found(message, "see /api/v1/alarms"),
            AlarmError::Already(..) => Refused::new(
                StatusCode::CONFLICT,
                "not-possible",
                message,
                "an alarm is acknowledged once; a new one comes if its cause comes back",
            ),
        }
    }
}

pub(super) async fn page(State(app): State<App>) -> Result<HtmlPage, Sorry> {
    let alarms = app.database.read(|reader| books::alarms(reader, true)).await?;
    let (over, holding): (Vec<_>, Vec<_>) =
        alarms.into_iter().partition(|alarm| alarm.cleared_at.is_some());
    let mut html = String::new();
    if holding.is_empty() {
        html.push_str("<p>No alarm.</p>");
    } else {
        table(&mut html, &holding);
    }
    if !over.is_empty() {
        html.push_str("<h2>Over</h2>");
        table(&mut html, &over);
    }
    Ok(HtmlPage::new("/alarms", "Alarms", html))
}

/// What an alarm is about, as a link where there is a page of it.
fn about(alarm: &AlarmView) -> String {
    let (kind, subject) = (alarm.kind.as_str(), Esc(&alarm.subject));
    match kind {
        _ if alarm.subject.is_empty() => "the fleet".to_owned(),
        "silent" | "refused" | "chain" => format!("<a href=\"/devices/{subject}\">{subject}</a>"),
        "rollout" => format!("<a href=\"/rollouts/{subject}\">rollout {subject}</a>"),
        "desk" => format!("<a href=\"/desk\">{subject}</a>"),
        "drift" | "error" => format!("<a href=\"/quality\">{subject}</a>"),
        _ => subject.to_string(),
    }
}

fn table(html: &mut String, alarms: &[AlarmView]) {
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th class=\"n\">Alarm<th>What<th>About<th>In words\
         <th>Since<th>Over<th>Seen by</tr></thead><tbody>",
    );
    let may = actor().may(Role::Operator);
    for alarm in alarms {
        let bad = if alarm.cleared_at.is_none() { " class=\"bad\"" } else { "" };
        put!(
            html,
            "<tr><td class=\"n\">{}<td{bad}>{}<td>{}<td>{}{}<td>{}<td>{}<td>",
            alarm.alarm,
            Esc(&alarm.kind),
            about(alarm),
            Esc(&alarm.detail),
            untold(&alarm.untold),
            time(&alarm.raised_at),
            alarm.cleared_at.as_deref().map(time).unwrap_or_default(),
        );
        match (&alarm.acknowledged_by, &alarm.acknowledged_at) {
            (Some(by), Some(at)) => put!(html, "{} {}", Esc(by), time(at)),
            _ if may => put!(
                html,
                "<form method=\"post\" action=\"/alarms\" class=\"inline\">{}<button name=\"alarm\" \
                 value=\"{id}\" aria-label=\"Acknowledge alarm {id}\">Acknowledge</button></form>",
                csrf_field(),
                id = alarm.alarm,
            ),
            _ => html.push_str("<span class=\"soft\">nobody</span>"),
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
}

fn untold(untold: &[UntoldView]) -> String {
    let mut html = String::new();
    for UntoldView { webhook, what, trouble, again } in untold {
        let then = if *again { "it is tried again" } else { "given up" };
        put!(
            html,
            "<p class=\"bad\">webhook {} was not told that it is {}: {}; {then}</p>",
            Esc(webhook),
            Esc(what),
            Esc(trouble),
        );
    }
    html
}

pub(super) async fn act(State(app): State<App>, body: String) -> Result<Response, Sorry> {
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    };
    seen(&app, &field("alarm"), &field("by")).await?;
    Ok(Redirect::to("/alarms").into_response())
}
