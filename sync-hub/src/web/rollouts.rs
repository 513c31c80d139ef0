//! Releases and rollouts: in the API, and as pages.

use super::App;
use super::error::Refused;
use super::form;
use super::html::{Esc, HtmlPage};
use super::pages::{Sorry, put, time};
use super::session::{actor, csrf_field};
use crate::database::accounts::Note;
use crate::database::sql;
use crate::hub::now_ms;
use crate::releases::books::{self, RolloutError, Steer};
use crate::releases::registry;
use crate::releases::views::{MemberView, ReleaseView, RingView, RolloutView};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use landfall_hub_core::rollout::Phase;
use serde_json::{Value, json};
use std::fmt::Write;

/// What a person can do to a rollout.
const VERBS: [(&str, Phase, &str); 3] = [
    ("pause", Phase::Paused, "Pause"),
    ("resume", Phase::Running, "Resume"),
    ("rollback", Phase::RolledBack, "Roll back"),
];

pub(super) async fn releases(State(app): State<App>) -> Result<Json<Value>, Refused> {
    let releases = app.database.read(registry::releases).await?;
    Ok(Json(json!({ "releases": releases })))
}

pub(super) async fn rollouts(State(app): State<App>) -> Result<Json<Value>, Refused> {
    let rollouts = app.database.read(books::rollouts).await?;
    Ok(Json(json!({ "rollouts": rollouts })))
}

pub(super) async fn rollout(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<RolloutView>, Refused> {
    find(&app, &id).await.map(Json)
}

/// `POST /rollouts/{rollout}/{pause|resume|rollback}`.
pub(super) async fn steer(
    State(app): State<App>,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Json<RolloutView>, Refused> {
    let found = find(&app, &id).await?;
    let phase = VERBS.iter().find(|(name, _, _)| *name == verb).map(|(_, phase, _)| *phase);
    let phase = phase.ok_or_else(|| {
        Refused::not_found(
            format!("nothing is called {verb}"),
            "pause, resume or rollback a rollout",
        )
    })?;
    steer_to(&app, found.id, phase).await?;
    find(&app, &id).await.map(Json)
}

async fn find(app: &App, id: &str) -> Result<RolloutView, Refused> {
    let missing =
        || Refused::not_found(format!("there is no rollout {id}"), "see /api/v1/rollouts");
    let number: i64 = id.parse().map_err(|_| missing())?;
    app.database.read(move |reader| books::rollout(reader, number)).await?.ok_or_else(missing)
}

async fn steer_to(app: &App, id: i64, phase: Phase) -> Result<(), Refused> {
    let who = actor().in_trail();
    let reason = Some(format!("by {who}"));
    app.database.write(Steer { rollout: id, phase, reason, now_ms: now_ms() }).await??;
    let (subject, detail) = (id.to_string(), phase.name().to_owned());
    let note = Note { who, what: "rollout", subject, detail, now_ms: now_ms() };
    app.database.write(note).await?;
    Ok(())
}

impl From<RolloutError> for Refused {
    fn from(error: RolloutError) -> Refused {
        let message = error.to_string();
        match error {
            RolloutError::NoRollout(_) | RolloutError::NoRelease(..) => {
                Refused::not_found(message, "see /api/v1/rollouts and /api/v1/releases")
            }
            RolloutError::Another(..)
            | RolloutError::Nobody
            | RolloutError::Plan(_)
            | RolloutError::Phase(..) => Refused::new(
                StatusCode::CONFLICT,
                "not-possible",
                message,
                "look at the rollout: its phase says what can be done",
            ),
        }
    }
}

/// The list of both.
pub(super) async fn list_page(State(app): State<App>) -> Result<HtmlPage, Sorry> {
    let read =
        |reader: &sql::Connection| Ok((registry::releases(reader)?, books::rollouts(reader)?));
    let (releases, rollouts) = app.database.read(read).await?;
    let mut html = String::from(
        "<h2>Rollouts</h2><div class=\"wide\"><table><thead><tr><th class=\"n\">Rollout<th>Package\
         <th>Version<th>Phase<th>Devices<th>Changed<th>Remark</tr></thead><tbody>",
    );
    for rollout in &rollouts {
        let count = |of: fn(&RingView) -> u64| rollout.rings.iter().map(of).sum::<u64>();
        let (current, devices) = (count(|ring| ring.current), count(|ring| ring.devices));
        put!(
            html,
            "<tr><td class=\"n\"><a href=\"/rollouts/{0}\">{0}</a><td>{1}<td>{2}<td{3}>{4}\
             <td>{current} of {devices}<td>{5}<td>{6}</tr>",
            rollout.id,
            Esc(&rollout.package),
            Esc(&rollout.version),
            bad(rollout),
            Esc(&rollout.phase),
            time(&rollout.changed_at),
            Esc(rollout.reason.as_deref().unwrap_or_default()),
        );
    }
    html.push_str("</tbody></table></div>");
    if rollouts.is_empty() {
        html.push_str(
            "<p class=\"soft\">None yet: <code>landfall-hub rollout start PACKAGE@VERSION</code>\
             </p>",
        );
    }
    html.push_str(
        "<h2>Releases</h2><div class=\"wide\"><table><thead><tr><th>Package<th>Version<th>Tasks\
         <th class=\"n\">Bytes<th class=\"n\">Devices<th>Added</tr></thead><tbody>",
    );
    for release in &releases {
        let ReleaseView { package, version, tasks, bytes, devices, added_at, .. } = release;
        put!(
            html,
            "<tr><td>{}<td>{}<td>{}<td class=\"n\">{bytes}<td class=\"n\">{devices}<td>{}</tr>",
            Esc(package),
            Esc(version),
            Esc(tasks.join(", ")),
            time(added_at),
        );
    }
    html.push_str("</tbody></table></div>");
    if releases.is_empty() {
        html.push_str("<p class=\"soft\">None yet: <code>landfall-hub models add DIR</code></p>");
    }
    Ok(HtmlPage::new("/rollouts", "Rollouts", html))
}

fn bad(rollout: &RolloutView) -> &'static str {
    if rollout.phase == Phase::Halted.name() { " class=\"bad\"" } else { "" }
}

pub(super) async fn page(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<HtmlPage, Sorry> {
    let rollout = find(&app, &id).await?;
    let mut html = String::new();
    let reason = rollout.reason.as_deref().unwrap_or_default();
    put!(html, "<p{}>{}. {}</p>", bad(&rollout), Esc(&rollout.phase), Esc(reason));
    if actor().may(Role::Releaser) {
        put!(
            html,
            "<form method=\"post\" action=\"/rollouts/{}\" class=\"inline\">{}",
            rollout.id,
            csrf_field()
        );
        for (verb, phase, label) in VERBS {
            if is_possible(&rollout.phase, phase) {
                put!(html, "<button name=\"do\" value=\"{verb}\">{label}</button> ");
            }
        }
        html.push_str("</form>");
    }
    html.push_str(
        "<h2>Rings</h2><table><thead><tr><th>Ring<th class=\"n\">Devices<th class=\"n\">Current\
         <th class=\"n\">Under way<th class=\"n\">Failed<th class=\"n\">Wait, s</tr></thead><tbody>",
    );
    for (at, ring) in rollout.rings.iter().enumerate() {
        let here = if at as u64 == rollout.ring { " aria-current=\"step\"" } else { "" };
        let RingView { name, devices, current, failed, under_way, wait_secs } = ring;
        put!(
            html,
            "<tr{here}><th scope=\"row\">{}</th><td class=\"n\">{devices}<td class=\"n\">{current}\
             <td class=\"n\">{under_way}<td class=\"n\">{failed}<td class=\"n\">{wait_secs}</tr>",
            Esc(name),
        );
    }
    html.push_str(
        "</tbody></table><h2>Devices</h2><div class=\"wide\"><table><thead><tr><th>Device<th>Ring\
         <th>State<th>Since<th>Last contact<th>Remark</tr></thead><tbody>",
    );
    for MemberView { device, ring, state, since, contact_at, detail, .. } in &rollout.devices {
        put!(
            html,
            "<tr><td><a href=\"/devices/{0}\">{0}</a><td>{1}<td>{2}<td>{3}<td>{4}<td>{5}</tr>",
            Esc(device),
            Esc(ring),
            Esc(state),
            time(since),
            contact_at.as_deref().map_or("never".to_owned(), time),
            Esc(detail.as_deref().unwrap_or_default()),
        );
    }
    html.push_str("</tbody></table></div>");
    let RolloutView { id, package, version, .. } = rollout;
    Ok(HtmlPage::new("/rollouts", format!("Rollout {id}: {package} {version}"), html))
}

/// Whether a button makes sense; the books decide.
fn is_possible(now: &str, to: Phase) -> bool {
    match to {
        Phase::Paused => now == Phase::Running.name(),
        Phase::Running => now == Phase::Paused.name() || now == Phase::Halted.name(),
        Phase::RolledBack => now != Phase::RolledBack.name(),
        Phase::Halted | Phase::Done => false,
    }
}

pub(super) async fn act(
    State(app): State<App>,
    Path(id): Path<String>,
    body: String,
) -> Result<Response, Sorry> {
    let rollout = find(&app, &id).await?;
    let asked = form::parse(&body).into_iter().find(|(key, _)| key == "do").map(|(_, verb)| verb);
    let verb = VERBS.iter().find(|(name, _, _)| asked.as_deref() == Some(name));
    if let Some((_, phase, _)) = verb {
        steer_to(&app, rollout.id, *phase).await?;
    }
    Ok(Redirect::to(&format!("/rollouts/{}", rollout.id)).into_response())
}
