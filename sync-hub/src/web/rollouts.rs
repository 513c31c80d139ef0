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
use crate::releases::books::{self, RolloutError, Start, Steer};
use crate::releases::registry;
use crate::releases::views::{MemberView, ReleaseView, RingView, RolloutView};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use landfall_hub_core::rollout::{
    Phase, Plan, Ring, SILENCE_SECS_DEFAULT, TRIAL_SECS_DEFAULT, seconds,
};
use serde::Deserialize;
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

/// A rollout as it is asked for: what is left out is as on the command line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    package: String,
    version: String,
    /// `NAME[:KEY=VALUE,…]`, first to last.
    #[serde(default)]
    rings: Vec<String>,
    /// `90s`, `10m`, `7d`.
    trial: Option<String>,
    silence: Option<String>,
    failures_max: Option<u32>,
    quorum_percent: Option<u8>,
    error_max: Option<f64>,
}

impl StartBody {
    fn plan(&self) -> Result<Plan, Refused> {
        let bad = |what: String| {
            let remedy = "see RolloutRequest in /api/v1/openapi.json";
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-rollout", what, remedy)
        };
        let time = |name: &str, given: &Option<String>, default: u64| match given.as_deref() {
            None | Some("") => Ok(default),
            Some(text) => {
                seconds(text).ok_or_else(|| bad(format!("{name} is such as 10m or 7d, not {text}")))
            }
        };
        let rings: Result<Vec<Ring>, _> = self.rings.iter().map(|ring| ring.parse()).collect();
        let mut rings = rings.map_err(|error| bad(error.to_string()))?;
        if rings.is_empty() {
            rings = vec![Ring::all()];
        }
        let trial = time("trial", &self.trial, TRIAL_SECS_DEFAULT)?;
        Ok(Plan {
            rings,
            trial_secs: u32::try_from(trial).unwrap_or(u32::MAX),
            silence_secs: time("silence", &self.silence, SILENCE_SECS_DEFAULT)?,
            failures_max: self.failures_max.unwrap_or(0),
            quorum_percent: self.quorum_percent.unwrap_or(100),
            error_max: self.error_max,
        })
    }
}

/// `POST /rollouts`.
pub(super) async fn start(
    State(app): State<App>,
    body: Bytes,
) -> Result<(StatusCode, Json<RolloutView>), Refused> {
    let body: StartBody = serde_json::from_slice(&body).map_err(|error| {
        let what = format!("the body is not a rollout: {error}");
        let remedy =
            r#"send {"package": "…", "version": "…", "rings": ["canary:percent=10,wait=2d", "rest"]}"#;
        match error.is_data() {
            true => Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-rollout", what, remedy),
            false => Refused::bad_request(what, remedy),
        }
    })?;
    begin(&app, body).await.map(|rollout| (StatusCode::CREATED, Json(rollout)))
}

async fn begin(app: &App, body: StartBody) -> Result<RolloutView, Refused> {
    let plan = body.plan()?;
    let StartBody { package, version, .. } = body;
    let detail = format!("started {package} {version}");
    let start = Start { package, version, plan, now_ms: now_ms() };
    let id = app.database.write(start).await??;
    let (who, subject) = (actor().in_trail(), id.to_string());
    let note = Note { who, what: "rollout", subject, detail, now_ms: now_ms() };
    app.database.write(note).await?;
    app.wake.notify_one();
    find(app, &id.to_string()).await
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
    list_with(&app, None, "").await.map_err(Sorry::from)
}

/// With what was wrong with a rollout that was asked for, and its rings as they were typed.
async fn list_with(app: &App, notice: Option<&str>, rings: &str) -> Result<HtmlPage, Refused> {
    let read =
        |reader: &sql::Connection| Ok((registry::releases(reader)?, books::rollouts(reader)?));
    let (releases, rollouts) = app.database.read(read).await?;
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    html.push_str(
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
    } else if actor().may(Role::Releaser) {
        start_form(&mut html, &releases, rings);
    }
    Ok(HtmlPage::new("/rollouts", "Rollouts", html))
}

fn start_form(html: &mut String, releases: &[ReleaseView], rings: &str) {
    put!(
        html,
        "<h2>Start a rollout</h2><form method=\"post\" action=\"/rollouts\" class=\"answer\">{}\
         <label for=\"release\">Release</label><select id=\"release\" name=\"release\" required>",
        csrf_field()
    );
    for release in releases {
        let name = format!("{}@{}", release.package, release.version);
        put!(html, "<option value=\"{0}\">{0}</option>", Esc(&name));
    }
    put!(
        html,
        "</select><label for=\"rings\">Rings, one a line, first to last; without any, all devices at \
         once</label><textarea id=\"rings\" name=\"rings\" rows=\"4\" class=\"mono\" \
         placeholder=\"canary:label=site:harbour,percent=10,wait=2d&#10;rest\">{}</textarea>\
         <label for=\"trial\">Trial on each device</label><input id=\"trial\" name=\"trial\" \
         value=\"10m\"><label for=\"silence\">Halt if a device is silent for</label><input \
         id=\"silence\" name=\"silence\" value=\"7d\"><label for=\"error-max\">Halt if audits prove \
         more wrong answers than this share (optional)</label><input id=\"error-max\" \
         name=\"error-max\" inputmode=\"decimal\"><button>Start</button></form>",
        Esc(rings)
    );
}

/// The form of the list.
pub(super) async fn start_page(State(app): State<App>, body: String) -> Result<Response, Sorry> {
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (release, rings, error_max) = (field("release"), field("rings"), field("error-max"));
    let (package, version) = release.split_once('@').unwrap_or((&release, ""));
    let lines = rings.lines().map(str::trim).filter(|line| !line.is_empty());
    let asked = StartBody {
        package: package.to_owned(),
        version: version.to_owned(),
        rings: lines.map(str::to_owned).collect(),
        trial: Some(field("trial")),
        silence: Some(field("silence")),
        failures_max: None,
        quorum_percent: None,
        error_max: error_max.parse().ok(),
    };
    let started = if !error_max.is_empty() && asked.error_max.is_none() {
        let what = format!("'{error_max}' is no share");
        Err(Refused::bad_request(what, "write it such as 0.1"))
    } else {
        begin(&app, asked).await
    };
    match started {
        Ok(rollout) => Ok(Redirect::to(&format!("/rollouts/{}", rollout.id)).into_response()),
        Err(refused) => {
            let notice = format!("{} ({})", refused.message, refused.remedy);
            let mut page = list_with(&app, Some(&notice), &rings).await?;
            page.status = refused.status;
            Ok(page.into_response())
        }
    }
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
