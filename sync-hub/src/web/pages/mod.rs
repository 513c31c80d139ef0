//! The pages: server-rendered, usable without a script, with a keyboard and on a tablet. The
//! script adds keys and keeps some parts up to date.

mod accounts;
mod desk;
mod escalation;
mod fleet;
mod lists;
mod login;
mod quality;
mod rules;

pub(super) use accounts::{accounts, change as change_account, trail};
pub(super) use desk::{
    act as desk_act, desk, list as desk_list, next as desk_next, question as desk_question,
};
pub(super) use escalation::{answer, escalation};
pub(super) use fleet::{device, fleet, live as fleet_live};
pub(super) use lists::{escalations, outcomes};
pub(super) use login::{change_own, login, own, sign_in, sign_out};
pub(super) use quality::quality;
pub(super) use rules::{act as change_rules, rules};

use super::error::Refused;
use super::html::{Esc, HtmlPage};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::fmt::Write;

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../style.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../hub.js"))
}

pub(super) async fn not_found() -> Sorry {
    Sorry(Refused::not_found("There is no such page", "Use the links above."))
}

/// A refusal as a page.
pub(super) struct Sorry(Refused);

impl<E: Into<Refused>> From<E> for Sorry {
    fn from(error: E) -> Sorry {
        Sorry(error.into())
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let Refused { status, message, remedy, .. } = self.0;
        let body = format!("<p class=\"notice bad\">{}</p><p>{}</p>", Esc(message), Esc(remedy));
        HtmlPage { status, title: "Sorry".to_owned(), section: "", body }.into_response()
    }
}

/// Adds to a page. Writing to a string cannot fail.
macro_rules! put {
    ($html:expr, $($format:tt)*) => {{
        let _ = write!($html, $($format)*);
    }};
}
pub(super) use put;

/// A time, short enough for a table: seconds are exact in the `title`.
pub(super) fn time(text: &str) -> String {
    let short = text.get(..19).unwrap_or(text).replace('T', " ");
    format!("<time datetime=\"{0}\" title=\"{0}\">{1}</time>", Esc(text), Esc(short))
}

/// A decision in words.
fn decision(decision: Option<&Value>) -> String {
    let Some(decision) = decision else { return "<span class=\"soft\">none</span>".to_owned() };
    if let Some(fields) = decision.get("fields").and_then(Value::as_array) {
        if fields.is_empty() {
            return "<span class=\"soft\">no fields</span>".to_owned();
        }
        let text = |field: &Value, key: &str| {
            Esc(field.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()).to_string()
        };
        let shown = fields
            .iter()
            .map(|field| format!("<b>{}</b> {}", text(field, "label"), text(field, "value")));
        return shown.collect::<Vec<_>>().join("<br>");
    }
    match decision.get("label").and_then(Value::as_str) {
        Some(label) => Esc(label).to_string(),
        None => "<i>out of scope</i>".to_owned(),
    }
}

/// Metadata in words.
fn meta(meta: &Value) -> String {
    let mut html = String::new();
    for pair in meta.as_array().into_iter().flatten() {
        let part = |index: usize| pair.get(index).and_then(Value::as_str).unwrap_or_default();
        put!(html, "{}: {}<br>", Esc(part(0)), Esc(part(1)));
    }
    html
}

/// The text of a record.
fn text(text: Option<&str>, cut: bool) -> String {
    match text {
        None => "<span class=\"soft\">the text did not leave the device</span>".to_owned(),
        Some(text) => {
            let more = if cut { " <span class=\"soft\">… (cut)</span>" } else { "" };
            format!("<span class=\"text\">{}</span>{more}", Esc(text))
        }
    }
}

/// An option of a select.
fn option(value: &str, name: &str, chosen: bool) -> String {
    let selected = if chosen { " selected" } else { "" };
    format!("<option value=\"{}\"{selected}>{}</option>", Esc(value), Esc(name))
}
