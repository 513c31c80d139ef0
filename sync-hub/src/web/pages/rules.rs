//! Rules that devices decide by before their model: the list, and what is said of one in the form
//! of an answer.

use super::escalation::Typed;
use super::{Sorry, option, put, time};
use crate::rules::books::Wish;
use crate::rules::views::{self, RuleView};
use crate::web::App;
use crate::web::error::Refused;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use crate::web::rules::{add, remove};
use crate::web::session::{self, csrf_field};
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::Role;
use landfall_wire::rules::RULES_FILE_BYTES_MAX;
use std::fmt::Write;

/// What stands for all devices in a choice; no label can be that.
const ALL: &str = "*";

/// What was typed of a rule.
#[derive(Debug, Clone, Default)]
pub(super) struct TypedRule {
    /// Empty for none, `*` for all devices, or a label.
    of: String,
    all_words: String,
    words: String,
    regex: String,
}

impl TypedRule {
    /// Takes a field of the form, if it is one of a rule.
    pub(super) fn take(&mut self, key: &str, value: &str) {
        let field = match key {
            "rule-for" => &mut self.of,
            "rule-all-words" => &mut self.all_words,
            "rule-words" => &mut self.words,
            "rule-regex" => &mut self.regex,
            _ => return,
        };
        value.clone_into(field);
    }

    /// The rule that is wished for, if one is.
    pub(super) fn wish(&self) -> Option<Wish> {
        if self.of.is_empty() {
            return None;
        }
        let list = |text: &str| {
            let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        Some(Wish {
            label: Some(self.of.clone()).filter(|of| of != ALL),
            words: list(&self.words),
            all_words: list(&self.all_words),
            regex: Some(self.regex.clone()).filter(|regex| !regex.is_empty()),
            name: None,
        })
    }
}

/// "And decide like this from now on", in the form of an answer with a label.
pub(super) fn wish_fields(html: &mut String, labels: &[String], typed: &Typed) {
    let rule = &typed.rule;
    let open = if rule.of.is_empty() { "" } else { " open" };
    put!(
        html,
        "<details{open}><summary>And decide like this from now on</summary>\
         <label for=\"rule-for\">A rule for</label><select id=\"rule-for\" name=\"rule-for\">{}",
        option("", "this question only", rule.of.is_empty())
    );
    for label in labels {
        let shown = format!("every device with the label {label}");
        html.push_str(&option(label, &shown, *label == rule.of));
    }
    put!(html, "{}</select>", option(ALL, "all devices", rule.of == ALL));
    for (name, label, value) in [
        ("rule-all-words", "All of these words or phrases (with commas between)", &rule.all_words),
        ("rule-words", "Any of these words or phrases", &rule.words),
        ("rule-regex", "A regular expression", &rule.regex),
    ] {
        put!(
            html,
            "<label for=\"{name}\">{label}</label><input id=\"{name}\" name=\"{name}\" \
             maxlength=\"1000\" value=\"{}\">",
            Esc(value)
        );
    }
    html.push_str(
        "<p class=\"soft\">What is given must all hold, and must hold for this text. Devices learn \
         the rule once this answer is sent, and use it before their model.</p></details>",
    );
}

pub(in crate::web) async fn rules(State(app): State<App>) -> Result<HtmlPage, Sorry> {
    page(&app, None, "").await.map_err(Sorry::from)
}

async fn page(app: &App, notice: Option<&str>, file: &str) -> Result<HtmlPage, Refused> {
    let read = app.database.read(|reader| {
        let tasks = crate::database::queries::task_names(reader)?;
        Ok((views::rules(reader, true)?, tasks, views::every_label(reader)?))
    });
    let (rules, tasks, labels) = read.await?;
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    html.push_str(
        "<p>Devices decide by these before their model, after the rules of their own \
         configuration. Of two that hold, the newer decides.</p>",
    );
    table(&mut html, &rules);
    if session::actor().may(Role::Operator) {
        form_of(&mut html, &tasks, &labels, file);
    }
    Ok(HtmlPage::new("/rules", "Rules", html))
}

fn table(html: &mut String, rules: &[RuleView]) {
    if rules.is_empty() {
        html.push_str("<p class=\"soft\">None yet: give one with an answer, or below.</p>");
        return;
    }
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th class=\"n\">Rule<th>Task<th>For<th>Rules\
         <th>State<th class=\"n\">Sent<th class=\"n\">Used<th class=\"n\">Refused<th>By<th></tr>\
         </thead><tbody>",
    );
    let may = session::actor().may(Role::Operator);
    for rule in rules {
        let bad = if rule.refused > 0 { " bad" } else { "" };
        put!(
            html,
            "<tr><td class=\"n\">{}<td>{}<td>{}<td><details><summary>{}</summary><pre>{}</pre>\
             </details>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n{bad}\">{}<td>{} {}\
             <td>",
            rule.rule,
            Esc(&rule.task),
            Esc(rule.label.as_deref().unwrap_or("all devices")),
            Esc(rule.names.join(", ")),
            Esc(&rule.file),
            refusals(rule),
            Esc(&rule.state),
            rule.sent,
            rule.used,
            rule.refused,
            Esc(&rule.by),
            time(&rule.at),
        );
        if let Some(question) = &rule.question {
            put!(html, "<a href=\"/escalations/{}\">the question</a> ", Esc(question));
        }
        if may && rule.state != "removed" {
            put!(
                html,
                "<form method=\"post\" action=\"/rules\" class=\"inline\">{}<button name=\"remove\" \
                 value=\"{rule}\" aria-label=\"Remove rule {rule}\">Remove</button></form>",
                csrf_field(),
                rule = rule.rule,
            );
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
}

fn refusals(rule: &RuleView) -> String {
    let mut html = String::new();
    for refusal in &rule.refusals {
        put!(
            html,
            "<p class=\"bad\"><a href=\"/devices/{0}\">{0}</a>: {1}</p>",
            Esc(&refusal.device),
            Esc(&refusal.reason)
        );
    }
    html
}

fn form_of(html: &mut String, tasks: &[String], labels: &[String], file: &str) {
    put!(
        html,
        "<h2>Add rules</h2><form method=\"post\" action=\"/rules\" class=\"answer\">{}\
         <label for=\"task\">Task</label><select id=\"task\" name=\"task\" required>",
        csrf_field()
    );
    for task in tasks {
        html.push_str(&option(task, task, false));
    }
    put!(
        html,
        "</select><label for=\"label\">For</label><select id=\"label\" name=\"label\">{}",
        option("", "all devices", true)
    );
    for label in labels {
        html.push_str(&option(label, label, false));
    }
    put!(
        html,
        "</select><label for=\"file\">Rules, as in agent.toml</label><textarea id=\"file\" \
         name=\"file\" rows=\"8\" required class=\"mono\" maxlength=\"{RULES_FILE_BYTES_MAX}\" \
         placeholder=\"[[rule]]&#10;name = &quot;bilge&quot;&#10;all_words = [&quot;bilge&quot;, \
         &quot;water&quot;]&#10;answer = &quot;Leaking&quot;\">{}</textarea><button>Add</button></form>",
        Esc(file)
    );
}

pub(in crate::web) async fn act(State(app): State<App>, body: String) -> Result<Response, Sorry> {
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    };
    let gone = field("remove");
    if !gone.is_empty() {
        remove(&app, &gone).await?;
        return Ok(Redirect::to("/rules").into_response());
    }
    // A browser sends lines with a carriage return.
    let file = field("file").replace("\r\n", "\n");
    let label = Some(field("label")).filter(|label| !label.is_empty());
    match add(&app, (label, &field("task"), file.clone()), "").await {
        Ok(_) => Ok(Redirect::to("/rules").into_response()),
        Err(refused) => {
            let notice = format!("{} ({})", refused.message, refused.remedy);
            let mut page = page(&app, Some(&notice), &file).await?;
            page.status = refused.status;
            Ok(page.into_response())
        }
    }
}
