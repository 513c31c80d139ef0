//! Rules of devices in the API.

use super::App;
use super::error::Refused;
use super::form;
use super::session::who;
use crate::hub::now_ms;
use crate::rules::books::{Add, Remove};
use crate::rules::views::{self, RuleView};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use landfall_wire::id::TaskName;
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /rules`, with `removed=true` also those that were removed.
pub(super) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refused> {
    let removed = form::flag(query.as_deref(), "removed")?;
    let rules = app.database.read(move |reader| views::rules(reader, removed)).await?;
    Ok(Json(json!({ "rules": rules })))
}

/// `GET /rules/{rule}`.
pub(super) async fn show(
    State(app): State<App>,
    Path(rule): Path<String>,
) -> Result<Json<RuleView>, Refused> {
    find(&app, &rule).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    label: Option<String>,
    task: String,
    file: String,
    by: Option<String>,
}

/// `POST /rules`.
pub(super) async fn create(
    State(app): State<App>,
    body: Bytes,
) -> Result<(StatusCode, Json<RuleView>), Refused> {
    let AddBody { label, task, file, by } = serde_json::from_slice(&body).map_err(|error| {
        Refused::bad_request(
            format!("the body is not a rule: {error}"),
            r#"send {"task": "…", "file": "[[rule]]…", "label": "…" or null}"#,
        )
    })?;
    let rule = add(&app, (label, &task, file), by.as_deref().unwrap_or_default()).await?;
    Ok((StatusCode::CREATED, Json(rule)))
}

/// `POST /rules/{rule}/remove`.
pub(super) async fn take(
    State(app): State<App>,
    Path(rule): Path<String>,
) -> Result<Json<RuleView>, Refused> {
    remove(&app, &rule).await.map(Json)
}

/// Adds a file for a label (`None`: for all devices) and a task.
pub(super) async fn add(
    app: &App,
    (label, task, file): (Option<String>, &str, String),
    by: &str,
) -> Result<RuleView, Refused> {
    let task: TaskName = task.parse().map_err(|error| {
        let (status, remedy) = (StatusCode::UNPROCESSABLE_ENTITY, "name a task of the devices");
        Refused::new(status, "bad-rule", format!("{error}"), remedy)
    })?;
    let add = Add { label, task, file, by: who(by), now_ms: now_ms() };
    let rule = app.database.write(add).await??;
    find(app, &rule.to_string()).await
}

/// Takes a rule away.
pub(super) async fn remove(app: &App, rule: &str) -> Result<RuleView, Refused> {
    let found = find(app, rule).await?;
    let remove = Remove { rule: found.rule, by: who(""), now_ms: now_ms() };
    app.database.write(remove).await??;
    find(app, rule).await
}

async fn find(app: &App, rule: &str) -> Result<RuleView, Refused> {
    let missing = || Refused::not_found(format!("there is no rule {rule}"), "see /api/v1/rules");
    let number: i64 = rule.parse().map_err(|_| missing())?;
    app.database.read(move |reader| views::rule(reader, number)).await?.ok_or_else(missing)
}
