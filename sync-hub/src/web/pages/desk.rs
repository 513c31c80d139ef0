//! The desk: questions that wait for people, one after the other, made for the keyboard.

use super::escalation::{Typed, candidates, fields, labels_of};
use super::rules::wish_fields;
use super::{Sorry, decision, meta, option, put, text, time};
use crate::database::desk::people::{Claim, ClaimNext, Leave, Say, TakeBack};
use crate::database::desk::reads::{self, Brief, DeskView, PastCase, PlaceView, Standing};
use crate::database::queries::{self, Page};
use crate::database::views::{EscalationView, kind};
use crate::desk::path;
use crate::hub::now_ms;
use crate::web::App;
use crate::web::api;
use crate::web::error::Refused;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use crate::web::session::{self, Actor, NAME_COOKIE, cookie, csrf_field, set_cookie};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use landfall_hub_core::desk::{BY_BYTES_MAX, State as Stage};
use landfall_wire::id::{DeviceId, Ticket};
use landfall_wire::limits::RECORD_META_BYTES_MAX;
use landfall_wire::record::TaskKind;
use std::fmt::Write;

/// Questions that the desk lists.
const LIST_ROWS: u32 = 50;

/// Choices that have a digit.
const DIGITS: usize = 9;

/// A name that was given is remembered for a year.
const NAME_SECS: u64 = 365 * 24 * 60 * 60;

/// What the page says of its keys.
const KEYS: [(&str, &str); 9] = [
    ("j, k", "next and previous row or label"),
    ("1 – 9", "choose a label"),
    ("0", "out of scope"),
    ("a", "answer"),
    ("s", "skip: leave it to others"),
    ("u", "take back the last answer, until it is sent"),
    ("n", "next question"),
    ("Esc", "leave a field"),
    ("?", "this help"),
];

/// Whose word it is: the account, or the name that was given.
fn by(headers: &HeaderMap, typed: &str) -> String {
    if let Some(name) = session::actor().name() {
        return name.to_owned();
    }
    let typed = typed.trim();
    if !typed.is_empty() {
        return typed.to_owned();
    }
    let cookies = headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = cookie(cookies, NAME_COOKIE).map(|value| {
        form::parse(&format!("n={value}")).pop().map(|(_, name)| name).unwrap_or_default()
    });
    known.unwrap_or_default()
}

pub(in crate::web) async fn desk(
    State(app): State<App>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let task = wanted_task(query.as_deref());
    let me = by(&headers, "");
    let mine = me.clone();
    let read = app
        .database
        .read(move |reader| Ok((queries::task_names(reader)?, reads::unsent(reader, &mine)?)));
    let (tasks, unsent) = read.await?;
    let mut html = String::new();
    flash(&mut html, query.as_deref());
    put!(html, "<form class=\"filter\" method=\"post\" action=\"/desk/next\">{}", csrf_field());
    put!(html, "<label>Task <select name=\"task\">{}", option("", "all", task.is_empty()));
    for name in &tasks {
        html.push_str(&option(name, name, *name == task));
    }
    html.push_str("</select></label>");
    if matches!(session::actor(), Actor::Open) {
        put!(
            html,
            "<label>Your name <input name=\"by\" required maxlength=\"{BY_BYTES_MAX}\" \
             autocomplete=\"name\" value=\"{}\"></label>",
            Esc(&me)
        );
    }
    let may = session::actor().may(Role::Operator);
    let disabled = if may { "" } else { " disabled title=\"An operator may answer\"" };
    put!(
        html,
        "<button data-key=\"n\"{disabled}>Next question <kbd>n</kbd></button>\
         <button type=\"button\" data-keys-help hidden>Keys <kbd>?</kbd></button></form>"
    );
    for (device, ticket) in &unsent {
        put!(
            html,
            "<form method=\"post\" class=\"inline\" action=\"/desk/{device}/{ticket}\">{}Your answer \
             to <a href=\"/desk/{device}/{ticket}\">{device}</a> is not sent yet. \
             <button name=\"action\" value=\"undo\" data-key=\"u\">Take it back <kbd>u</kbd>\
             </button></form>",
            csrf_field(),
            device = Esc(device),
        );
    }
    let live = format!("/desk/list?task={}", form::encode(&task));
    put!(html, "<div data-live=\"{}\">{}</div>", Esc(live), list_html(&app, &task).await?);
    keys(&mut html);
    Ok(HtmlPage::new("/desk", "Desk", html))
}

/// The live part of the desk.
pub(in crate::web) async fn list(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Html<String>, Sorry> {
    Ok(Html(list_html(&app, &wanted_task(query.as_deref())).await?))
}

fn wanted_task(query: Option<&str>) -> String {
    let pairs = form::parse(query.unwrap_or_default());
    pairs.into_iter().find(|(key, _)| key == "task").map(|(_, task)| task).unwrap_or_default()
}

async fn list_html(app: &App, task: &str) -> Result<String, Refused> {
    let page = Page {
        state: Some(Stage::Open),
        task: Some(task.to_owned()).filter(|task| !task.is_empty()),
        limit: LIST_ROWS,
        ..Page::default()
    };
    let read = app.database.read(move |reader| {
        let found = queries::escalations(reader, &page)?;
        let ids: Vec<i64> = found.rows.iter().map(|row| row.id).collect();
        Ok((reads::places(reader)?, reads::standings(reader, &ids)?, found))
    });
    let (places, standings, found) = read.await?;
    let (rows, more) = (found.rows, found.next.is_some());
    let mut html = waiting(&places);
    if rows.is_empty() {
        html.push_str("<p>Nothing waits for an answer.</p>");
        return Ok(html);
    }
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Question<th>Task<th>Device<th>Device's guess\
         <th>Asked<th>Where</tr></thead><tbody>",
    );
    for row in &rows {
        let shown = row.text.as_deref().unwrap_or("(the text did not leave the device)");
        let short: String = shown.chars().take(120).collect();
        put!(
            html,
            "<tr><td><a data-row href=\"/desk/{}/{}\">{}</a><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            Esc(&row.device),
            Esc(&row.ticket),
            Esc(short),
            Esc(&row.task),
            Esc(&row.device),
            decision(row.provisional.as_ref()),
            time(&row.received_at),
            standings.get(&row.id).map_or_else(|| "people".to_owned(), place),
        );
    }
    html.push_str("</tbody></table></div>");
    if more {
        put!(
            html,
            "<p class=\"soft\">The oldest {LIST_ROWS} are shown; \
             <a href=\"/escalations\">all of them</a>.</p>"
        );
    }
    Ok(html)
}

fn waiting(places: &[PlaceView]) -> String {
    let mut html = String::from("<ul class=\"figures\" aria-label=\"Questions that wait\">");
    for PlaceView { place, waiting, oldest_at } in places {
        let oldest = oldest_at.as_deref().map(|at| format!(", oldest {}", time(at)));
        put!(
            html,
            "<li><b>{waiting}</b> {}<span class=\"soft\">{}</span></li>",
            Esc(place),
            oldest.unwrap_or_default()
        );
    }
    html.push_str("</ul>");
    html
}

/// Where a question stands, in a few words.
fn place(desk: &Standing) -> String {
    let mut html = Esc(&desk.place).to_string();
    if let Some(at) = &desk.sends_at {
        put!(html, ", answered, sent at {}", time(at));
    } else if let (Some(holder), Some(until)) = (&desk.holder, &desk.held_until)
        && !holder.starts_with("hub:")
        && until.as_str() > crate::database::views::time(crate::database::number(now_ms())).as_str()
    {
        put!(html, ", {} has it", Esc(holder));
    }
    if desk.review > 1 {
        put!(html, ", {} of {} people", desk.votes, desk.review);
    }
    html
}

fn keys(html: &mut String) {
    html.push_str("<dialog class=\"keys\" aria-label=\"Keys\"><h2>Keys</h2><dl>");
    for (key, what) in KEYS {
        put!(html, "<dt><kbd>{key}</kbd></dt><dd>{what}</dd>");
    }
    html.push_str("</dl><form method=\"dialog\"><button>Close</button></form></dialog>");
}

/// What was just done.
fn flash(html: &mut String, query: Option<&str>) {
    for (key, value) in form::parse(query.unwrap_or_default()) {
        let done = match key.as_str() {
            "answered" => "Answered; it is sent in a moment.",
            "noted" => "Noted; somebody else must agree.",
            "skipped" => "Left to others.",
            "undone" => "Taken back.",
            "late" => "Too late: the answer was sent.",
            "held" => "Somebody else works on it now.",
            "empty" => {
                html.push_str("<p class=\"notice\" role=\"status\">Nothing waits for you.</p>");
                continue;
            }
            _ => continue,
        };
        put!(html, "<p class=\"notice\" role=\"status\">{done}");
        if let Some((device, ticket)) = value.split_once('/')
            && let Ok((device, ticket)) = api::name(device, ticket)
        {
            put!(html, " <a href=\"/desk/{0}/{1}\">{0}/{1}</a>", Esc(&device), ticket);
            if key == "answered" || key == "noted" {
                put!(
                    html,
                    "<form method=\"post\" class=\"inline\" action=\"/desk/{}/{ticket}\">{}\
                     <button name=\"action\" value=\"undo\" data-key=\"u\">Take it back \
                     <kbd>u</kbd></button></form>",
                    Esc(&device),
                    csrf_field()
                );
            }
        }
        html.push_str("</p>");
    }
}

pub(in crate::web) async fn next(
    State(app): State<App>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Sorry> {
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    };
    let (task, typed) = (field("task"), field("by"));
    let by = by(&headers, &typed);
    if by.is_empty() {
        return Ok(Redirect::to("/desk").into_response());
    }
    let to = next_path(&app, &by, &task, "").await?;
    Ok(remembering(&app, &by, Redirect::to(&to)))
}

/// Claims the next question; where to go.
async fn next_path(app: &App, by: &str, task: &str, flash: &str) -> Result<String, Refused> {
    let wanted = Some(task.to_owned()).filter(|task| !task.is_empty());
    let claim = ClaimNext {
        by: by.to_owned(),
        task: wanted,
        claim_ms: app.times.claim_ms,
        now_ms: now_ms(),
    };
    let mut to = match app.database.write(claim).await? {
        Some((device, ticket)) => format!("/desk/{}?", path(&device, ticket)),
        None => "/desk?empty=&".to_owned(),
    };
    if !task.is_empty() {
        put!(to, "task={}&", form::encode(task));
    }
    to.push_str(flash);
    Ok(to.trim_end_matches(['&', '?']).to_owned())
}

/// Where there are no accounts, the browser remembers the name.
fn remembering(app: &App, by: &str, to: Redirect) -> Response {
    if session::actor().name().is_some() {
        return to.into_response();
    }
    let cookie = set_cookie(NAME_COOKIE, &form::encode(by), NAME_SECS, app.tls);
    ([(SET_COOKIE, cookie)], to).into_response()
}

pub(in crate::web) async fn question(
    State(app): State<App>,
    headers: HeaderMap,
    Path((device, ticket)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let (device, ticket) = api::name(&device, &ticket)?;
    let brief = find(&app, &device, ticket).await?;
    let labels = labels_of(&app, device.as_str()).await?;
    let me = by(&headers, "");
    let task = wanted_task(query.as_deref());
    let at = At { me: &me, task: &task, query: query.as_deref(), labels: &labels };
    Ok(page(&brief, &at, None, &Typed::default()))
}

async fn find(app: &App, device: &DeviceId, ticket: Ticket) -> Result<Brief, Refused> {
    let (wanted, missing) =
        (device.clone(), api::no_escalation(device.as_str(), &ticket.to_string()));
    let found = app.database.read(move |reader| reads::brief(reader, &wanted, ticket));
    found.await?.ok_or(missing)
}

/// Who looks, and from where they came.
struct At<'a> {
    me: &'a str,
    task: &'a str,
    query: Option<&'a str>,
    /// Of the device.
    labels: &'a [String],
}

pub(in crate::web) async fn act(
    State(app): State<App>,
    headers: HeaderMap,
    Path((device, ticket)): Path<(String, String)>,
    body: String,
) -> Result<Response, Sorry> {
    let (device, ticket) = api::name(&device, &ticket)?;
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    };
    let (action, task) = (field("action"), field("task"));
    let by = by(&headers, &field("by"));
    let here = path(&device, ticket);
    let claim_ms = app.times.claim_ms;
    let to = match action.as_str() {
        _ if by.is_empty() => format!("/desk/{here}"),
        "undo" => {
            let (device, by) = (device.clone(), by.clone());
            let undo = TakeBack { device, ticket, by, claim_ms, now_ms: now_ms() };
            let undone = app.database.write(undo).await?;
            let what = if undone { "undone" } else { "late" };
            format!("/desk/{here}?{what}={}", form::encode(&here))
        }
        "skip" | "release" => {
            let skip = action == "skip";
            let leave = Leave { device: device.clone(), ticket, by: by.clone(), skip };
            app.database.write(leave).await?;
            if skip {
                let flash = format!("skipped={}", form::encode(&here));
                next_path(&app, &by, &task, &flash).await?
            } else {
                "/desk".to_owned()
            }
        }
        "claim" => {
            let (device, by) = (device.clone(), by.clone());
            let claim = Claim { device, ticket, by, claim_ms, now_ms: now_ms() };
            let held = app.database.write(claim).await?;
            let flash = if held { "" } else { "?held=" };
            format!("/desk/{here}{flash}")
        }
        _ => match answer(&app, (device, ticket), &by, &body).await? {
            Ok(flash) => next_path(&app, &by, &task, &flash).await?,
            Err(again) => return Ok((*again).into_response()),
        },
    };
    app.look.notify_one();
    Ok(remembering(&app, &by, Redirect::to(&to)))
}

/// Notes an answer; what to say of it, or the page again with what is wrong.
async fn answer(
    app: &App,
    (device, ticket): (DeviceId, Ticket),
    by: &str,
    body: &str,
) -> Result<Result<String, Box<HtmlPage>>, Refused> {
    let typed = Typed { by: by.to_owned(), ..Typed::read(body) };
    let say = Say {
        device: device.clone(),
        ticket,
        voter: by.to_owned(),
        draft: typed.draft(),
        rule: typed.rule.wish(),
        undo_ms: app.times.undo_ms,
        now_ms: now_ms(),
    };
    let here = form::encode(&path(&device, ticket));
    match app.database.write(say).await? {
        Ok(noted) if noted.send_ms.is_some() => Ok(Ok(format!("answered={here}"))),
        Ok(_) => Ok(Ok(format!("noted={here}"))),
        Err(error) => {
            let refused = Refused::from(error);
            let brief = find(app, &device, ticket).await?;
            let labels = labels_of(app, device.as_str()).await?;
            let at = At { me: by, task: "", query: None, labels: &labels };
            let mut page = page(&brief, &at, Some(&refused.message), &typed);
            page.status = refused.status;
            if page.status == StatusCode::NOT_FOUND {
                return Err(refused);
            }
            Ok(Err(Box::new(page)))
        }
    }
}

fn page(brief: &Brief, at: &At<'_>, notice: Option<&str>, typed: &Typed) -> HtmlPage {
    let Brief { question, desk, similar } = brief;
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    flash(&mut html, at.query);
    put!(
        html,
        "<div class=\"desk\"><section aria-label=\"Question\"><blockquote class=\"question\">{}\
         </blockquote>",
        text(question.text.as_deref(), question.text_cut)
    );
    if question.state == Stage::Open.name() {
        form_of(&mut html, question, desk.as_ref(), at, typed);
    } else {
        answered(&mut html, question);
    }
    html.push_str("</section><section aria-label=\"What is known\">");
    facts(&mut html, question, desk.as_ref());
    past(&mut html, similar);
    html.push_str("</section></div>");
    keys(&mut html);
    HtmlPage::new("/desk", format!("{}: question of {}", question.task, question.device), html)
}

fn answered(html: &mut String, question: &EscalationView) {
    match &question.answer {
        Some(answer) => put!(
            html,
            "<p>Answered: <b>{}</b> by {} at {}.</p>",
            decision(Some(&answer.decision)),
            Esc(&answer.by),
            time(&answer.at)
        ),
        None => {
            put!(html, "<p>The question is {}: nobody waits any more.</p>", Esc(&question.state));
        }
    }
    put!(
        html,
        "<form method=\"post\" action=\"/desk/next\">{}<button data-key=\"n\">Next question \
         <kbd>n</kbd></button></form>",
        csrf_field()
    );
}

fn form_of(
    html: &mut String,
    question: &EscalationView,
    desk: Option<&DeskView>,
    at: &At<'_>,
    typed: &Typed,
) {
    let here = format!("/desk/{}/{}", question.device, question.ticket);
    let mine = desk.is_some_and(|desk| desk.votes.iter().any(|vote| vote.by == at.me));
    if mine {
        put!(
            html,
            "<form method=\"post\" action=\"{}\">{}<p>You have answered this. \
             <button name=\"action\" value=\"undo\" data-key=\"u\">Take it back <kbd>u</kbd></button>\
             <button name=\"action\" value=\"skip\" data-key=\"n\">Next question <kbd>n</kbd>\
             </button></p></form>",
            Esc(&here),
            csrf_field()
        );
    }
    if !session::actor().may(Role::Operator) {
        html.push_str("<p class=\"soft\">An operator may answer this.</p>");
        return;
    }
    put!(
        html,
        "<form class=\"answer\" method=\"post\" action=\"{}\">{}\
         <input type=\"hidden\" name=\"task\" value=\"{}\">",
        Esc(&here),
        csrf_field(),
        Esc(at.task)
    );
    let extraction = question.kind.as_deref().map(kind) == Some(TaskKind::Extraction);
    if extraction {
        html.push_str("<input type=\"hidden\" name=\"decision\" value=\"fields\">");
        fields(html, question, typed);
    } else {
        choices(html, question, typed);
    }
    if matches!(session::actor(), Actor::Open) {
        let name = if typed.by.is_empty() { at.me } else { &typed.by };
        put!(
            html,
            "<label for=\"by\">Your name</label><input id=\"by\" name=\"by\" required \
             maxlength=\"{BY_BYTES_MAX}\" autocomplete=\"name\" value=\"{}\">",
            Esc(name)
        );
    }
    put!(
        html,
        "<label for=\"note\">Note for the asker (optional)</label><textarea id=\"note\" \
         name=\"note\" rows=\"2\" maxlength=\"{RECORD_META_BYTES_MAX}\">{}</textarea>",
        Esc(&typed.note)
    );
    if !extraction {
        wish_fields(html, at.labels, typed);
    }
    html.push_str(
        "<button name=\"action\" value=\"answer\" data-key=\"a\" class=\"main\">Answer <kbd>a</kbd>\
         </button><button name=\"action\" value=\"skip\" data-key=\"s\" formnovalidate>Skip \
         <kbd>s</kbd></button><button name=\"action\" value=\"release\" formnovalidate>Back to the \
         desk</button><button type=\"button\" data-keys-help hidden>Keys <kbd>?</kbd></button>\
         </form>",
    );
}

/// The labels as choices: the device's candidates first, each of the first with its digit.
fn choices(html: &mut String, question: &EscalationView, typed: &Typed) {
    if question.labels.is_empty() {
        put!(
            html,
            "<label for=\"label\">Label</label><input id=\"label\" name=\"label\" required value=\"{}\">\
             <p class=\"soft\">The device has not told its labels yet; the answer cannot be \
             checked.</p>",
            Esc(&typed.label)
        );
        return;
    }
    let ranked = candidates(&question.candidates);
    let known = |label: &&String| question.labels.contains(label);
    let mut order: Vec<&String> = ranked.iter().map(|(label, _)| label).filter(known).collect();
    order.extend(question.labels.iter().filter(|label| !ranked.iter().any(|(it, _)| it == *label)));
    html.push_str("<fieldset class=\"choices\"><legend>Label</legend>");
    for (index, label) in order.into_iter().enumerate() {
        let digit = (index < DIGITS).then(|| (index + 1).to_string());
        let share = ranked.iter().find(|(it, _)| it == label).map(|(_, share)| *share);
        let checked = if *label == typed.label { " checked" } else { "" };
        put!(
            html,
            "<label class=\"choice\"><input type=\"radio\" name=\"label\" value=\"{}\" required \
             data-row{}{checked}> {}{}{}</label>",
            Esc(label),
            digit.as_ref().map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default(),
            digit.as_ref().map(|key| format!("<kbd>{key}</kbd> ")).unwrap_or_default(),
            Esc(label),
            share.map(bar).unwrap_or_default(),
        );
    }
    let checked = if typed.decision == "out-of-scope" { " checked" } else { "" };
    put!(
        html,
        "<label class=\"choice\"><input type=\"radio\" name=\"label\" value=\"\" required data-row \
         data-key=\"0\"{checked}> <kbd>0</kbd> <i>out of scope: no label fits</i></label></fieldset>"
    );
}

/// A share as a bar and a number.
fn bar(share: f64) -> String {
    let percent = (share * 100.0).clamp(0.0, 100.0);
    format!(
        " <meter min=\"0\" max=\"100\" value=\"{percent:.0}\">{percent:.0} %</meter> \
         <span class=\"soft\">{percent:.0} %</span>"
    )
}

fn facts(html: &mut String, question: &EscalationView, desk: Option<&DeskView>) {
    html.push_str("<h2>What is known</h2><dl>");
    for (name, value) in [
        ("Device", format!("<a href=\"/devices/{0}\">{0}</a>", Esc(&question.device))),
        ("Why asked", Esc(&question.reason).to_string()),
        ("Device's guess", decision(question.provisional.as_ref())),
        ("Metadata", meta(&question.meta)),
        ("Asked", time(&question.at)),
        ("Received", time(&question.received_at)),
        ("Where", desk.map(|desk| place(&desk.into())).unwrap_or_default()),
        (
            "Trouble",
            desk.and_then(|it| it.trouble.as_deref())
                .map(Esc)
                .map(|it| it.to_string())
                .unwrap_or_default(),
        ),
        ("Ticket", format!("<span class=\"mono\">{}</span>", Esc(&question.ticket))),
    ] {
        if !value.is_empty() {
            put!(html, "<dt>{name}</dt><dd>{value}</dd>");
        }
    }
    html.push_str("</dl>");
    let Some(desk) = desk else { return };
    for vote in &desk.votes {
        put!(
            html,
            "<p>{} said <b>{}</b> at {}.</p>",
            Esc(&vote.by),
            decision(Some(&vote.decision)),
            time(&vote.at)
        );
    }
    for request in &desk.requests {
        put!(
            html,
            "<p class=\"soft\">{}: {} {}</p>",
            Esc(&request.place),
            Esc(&request.result),
            time(&request.at)
        );
    }
}

fn past(html: &mut String, similar: &[PastCase]) {
    html.push_str("<h2>Similar cases</h2>");
    if similar.is_empty() {
        html.push_str("<p class=\"soft\">None that was answered reads like this.</p>");
        return;
    }
    html.push_str("<ul class=\"past\">");
    for case in similar {
        put!(
            html,
            "<li><b>{}</b> <span class=\"soft\">by {}</span><br><a href=\"/escalations/{}/{}\">\
             <span class=\"text\">{}</span></a></li>",
            decision(Some(&case.decision)),
            Esc(&case.by),
            Esc(&case.device),
            Esc(&case.ticket),
            Esc(&case.text),
        );
    }
    html.push_str("</ul>");
}
