//! One escalation and the form to answer it.

use super::rules::{TypedRule, wish_fields};
use super::{Sorry, decision, meta, option, put, text, time};
use crate::database::views::{EscalationView, kind};
use crate::rules::views as rules;
use crate::web::App;
use crate::web::api::{find_escalation, give_answer, name};
use crate::web::error::Refused;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use crate::web::session::{self, Actor, csrf_field};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use landfall_hub_core::desk::{BY_BYTES_MAX, Draft, DraftDecision, DraftField, State as Stage};
use landfall_wire::limits::RECORD_META_BYTES_MAX;
use landfall_wire::record::TaskKind;
use serde_json::Value;
use std::fmt::Write;

/// Rows for fields that the device did not find.
const BLANK_ROWS: usize = 4;

/// What was typed into the form; shown again if it was refused.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) decision: String,
    pub(super) label: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) by: String,
    pub(super) note: String,
    pub(super) rule: TypedRule,
}

impl Typed {
    pub(super) fn read(body: &str) -> Typed {
        let mut typed = Typed::default();
        let mut field_label = String::new();
        for (key, value) in form::parse(body) {
            match key.as_str() {
                "decision" => typed.decision = value,
                // The desk's choices have an empty one for "no label fits".
                "label" => {
                    if value.is_empty() && typed.decision.is_empty() {
                        typed.decision = "out-of-scope".to_owned();
                    }
                    typed.label = value;
                }
                "field-label" => field_label = value,
                // A browser sends each row's label just before its value.
                "field-value" => typed.fields.push((std::mem::take(&mut field_label), value)),
                "by" => typed.by = value,
                "note" => typed.note = value,
                _ => typed.rule.take(&key, &value),
            }
        }
        typed
    }

    pub(super) fn draft(&self) -> Draft {
        let decision = match self.decision.as_str() {
            "out-of-scope" => DraftDecision::OutOfScope,
            "fields" => DraftDecision::Fields(
                self.fields
                    .iter()
                    .map(|(label, value)| (label, value.trim()))
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(label, value)| DraftField {
                        label: label.clone(),
                        value: value.to_owned(),
                        start: None,
                        end: None,
                    })
                    .collect(),
            ),
            _ => DraftDecision::Label(self.label.trim().to_owned()),
        };
        Draft { decision, by: self.by.clone(), note: Some(self.note.clone()) }
    }
}

pub(in crate::web) async fn escalation(
    State(app): State<App>,
    Path((device, ticket)): Path<(String, String)>,
) -> Result<HtmlPage, Sorry> {
    let (device, ticket) = name(&device, &ticket)?;
    let found = find_escalation(&app, device, ticket).await?;
    let labels = labels_of(&app, &found.device).await?;
    Ok(page(&found, &labels, None, &Typed::default()))
}

pub(in crate::web) async fn answer(
    State(app): State<App>,
    Path((device, ticket)): Path<(String, String)>,
    body: String,
) -> Result<Response, Sorry> {
    let (device, ticket) = name(&device, &ticket)?;
    let typed = Typed::read(&body);
    let (draft, rule) = (typed.draft(), typed.rule.wish());
    let given = give_answer(&app, device.clone(), ticket, draft, rule).await;
    let here = format!("/escalations/{device}/{ticket}");
    let found = find_escalation(&app, device, ticket).await?;
    let labels = labels_of(&app, &found.device).await?;
    match given {
        Ok(given) => match &given.checked().warning {
            None => Ok(Redirect::to(&here).into_response()),
            Some(warning) => Ok(page(&found, &labels, Some(warning), &typed).into_response()),
        },
        Err(Refused { status, message, .. }) => {
            let mut page = page(&found, &labels, Some(&message), &typed);
            page.status = status;
            Ok(page.into_response())
        }
    }
}

/// What rules for the device can be given to others by.
pub(super) async fn labels_of(app: &App, device: &str) -> Result<Vec<String>, Refused> {
    let device = device.to_owned();
    Ok(app.database.read(move |reader| rules::labels(reader, &device)).await?)
}

fn page(
    escalation: &EscalationView,
    rule_labels: &[String],
    notice: Option<&str>,
    typed: &Typed,
) -> HtmlPage {
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    put!(
        html,
        "<blockquote>{}</blockquote><dl>",
        text(escalation.text.as_deref(), escalation.text_cut)
    );
    for (name, value) in [
        ("Device", format!("<a href=\"/devices/{0}\">{0}</a>", Esc(&escalation.device))),
        ("Task", Esc(&escalation.task).to_string()),
        ("State", Esc(&escalation.state).to_string()),
        ("Why asked", Esc(&escalation.reason).to_string()),
        ("Device's guess", decision(escalation.provisional.as_ref())),
        ("Best labels", candidates_html(&escalation.candidates)),
        ("Metadata", meta(&escalation.meta)),
        ("Asked", time(&escalation.at)),
        ("Received", time(&escalation.received_at)),
        ("Waits for", format!("{} s of the device's running time", escalation.ttl_secs)),
        ("Ticket", format!("<span class=\"mono\">{}</span>", Esc(&escalation.ticket))),
    ] {
        if !value.is_empty() {
            put!(html, "<dt>{name}</dt><dd>{value}</dd>");
        }
    }
    html.push_str("</dl>");
    if let Some(answer) = &escalation.answer {
        put!(
            html,
            "<h2>Answer</h2><p>{}</p><p>by {} at {}{}</p>",
            decision(Some(&answer.decision)),
            Esc(&answer.by),
            time(&answer.at),
            answer.delivered_at.as_deref().map_or_else(
                || ", not on the device yet".to_owned(),
                |at| format!(", on the device since {}", time(at)),
            ),
        );
        if let Some(note) = &answer.note {
            put!(html, "<p class=\"text\">{}</p>", Esc(note));
        }
    }
    if escalation.state == Stage::Open.name() && session::actor().may(Role::Operator) {
        answer_form(&mut html, escalation, rule_labels, typed);
    } else {
        html.push_str("<p><a href=\"/escalations\">To the open questions</a></p>");
    }
    HtmlPage::new("/escalations", "Escalation", html)
}

fn candidates_html(list: &Value) -> String {
    let mut html = String::new();
    for (label, confidence) in candidates(list) {
        put!(html, "{} <span class=\"soft\">{confidence:.2}</span><br>", Esc(label));
    }
    html
}

/// The device's best labels with their probabilities.
pub(super) fn candidates(list: &Value) -> Vec<(String, f64)> {
    let part = |candidate: &Value| {
        Some((candidate.get("label")?.as_str()?.to_owned(), candidate.get("confidence")?.as_f64()?))
    };
    list.as_array().into_iter().flatten().filter_map(part).collect()
}

fn answer_form(
    html: &mut String,
    escalation: &EscalationView,
    rule_labels: &[String],
    typed: &Typed,
) {
    put!(
        html,
        "<h2>Answer</h2><form class=\"answer\" method=\"post\" action=\"/escalations/{}/{}\">{}",
        Esc(&escalation.device),
        Esc(&escalation.ticket),
        csrf_field(),
    );
    match escalation.kind.as_deref().map(kind) {
        Some(TaskKind::Extraction) => fields(html, escalation, typed),
        Some(TaskKind::Classification) | None => labels(html, escalation, typed),
    }
    if matches!(session::actor(), Actor::Open) {
        put!(
            html,
            "<label for=\"by\">Your name</label>\
             <input id=\"by\" name=\"by\" required maxlength=\"{BY_BYTES_MAX}\" \
             autocomplete=\"name\" value=\"{}\">",
            Esc(&typed.by),
        );
    }
    put!(
        html,
        "<label for=\"note\">Note for the asker (optional)</label>\
         <textarea id=\"note\" name=\"note\" rows=\"2\" maxlength=\"{RECORD_META_BYTES_MAX}\">{}\
         </textarea>",
        Esc(&typed.note),
    );
    if escalation.kind.as_deref().map(kind) != Some(TaskKind::Extraction) {
        wish_fields(html, rule_labels, typed);
    }
    match escalation.kind.as_deref().map(kind) {
        Some(TaskKind::Extraction) => html.push_str(
            "<button name=\"decision\" value=\"fields\">Answer with these fields</button>",
        ),
        Some(TaskKind::Classification) | None => html.push_str(
            "<button name=\"decision\" value=\"label\">Answer with this label</button>\
             <button name=\"decision\" value=\"out-of-scope\" formnovalidate>Out of scope</button>",
        ),
    }
    html.push_str("</form>");
}

fn labels(html: &mut String, escalation: &EscalationView, typed: &Typed) {
    html.push_str("<label for=\"label\">Label</label>");
    if escalation.labels.is_empty() {
        put!(
            html,
            "<input id=\"label\" name=\"label\" required value=\"{}\"><p class=\"soft\">The \
             device has not told its labels yet; the answer cannot be checked.</p>",
            Esc(&typed.label),
        );
        return;
    }
    put!(
        html,
        "<select id=\"label\" name=\"label\" required>{}",
        option("", "choose", typed.label.is_empty())
    );
    for label in &escalation.labels {
        html.push_str(&option(label, label, *label == typed.label));
    }
    html.push_str("</select>");
}

pub(super) fn fields(html: &mut String, escalation: &EscalationView, typed: &Typed) {
    let rows = if typed.fields.is_empty() { guessed(escalation) } else { typed.fields.clone() };
    html.push_str(
        "<fieldset><legend>Fields, copied exactly from the text; empty rows are left out</legend>",
    );
    let blank = std::iter::repeat_n((String::new(), String::new()), BLANK_ROWS);
    for (index, (label, value)) in rows.into_iter().chain(blank).enumerate() {
        let row = index + 1;
        put!(
            html,
            "<div class=\"row\"><select name=\"field-label\" aria-label=\"Type of field {row}\">"
        );
        for known in &escalation.labels {
            html.push_str(&option(known, known, *known == label));
        }
        put!(
            html,
            "</select><input name=\"field-value\" aria-label=\"Text of field {row}\" value=\"{}\">\
             </div>",
            Esc(value),
        );
    }
    html.push_str("</fieldset>");
}

/// The device's own fields, to be corrected.
fn guessed(escalation: &EscalationView) -> Vec<(String, String)> {
    let fields = escalation.provisional.as_ref().and_then(|guess| guess.get("fields"));
    let text = |field: &Value, key: &str| {
        field.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let fields = fields.and_then(Value::as_array).into_iter().flatten();
    fields.map(|field| (text(field, "label"), text(field, "value"))).collect()
}
