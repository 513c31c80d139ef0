//! Outcomes and escalations, paged.

use super::{Sorry, decision, option, put, text, time};
use crate::database::queries::{self, Page};
use crate::database::views::{EscalationView, OutcomeView};
use crate::web::App;
use crate::web::api;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use axum::extract::{RawQuery, State};
use landfall_hub_core::desk::State as Stage;
use std::fmt::Write;

pub(in crate::web) async fn outcomes(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let page = api::page(query.as_deref(), &["device", "task", "after", "limit"])?;
    let wanted = page.clone();
    let read = app.database.read(move |reader| {
        Ok((
            queries::device_names(reader)?,
            queries::task_names(reader)?,
            queries::outcomes(reader, &wanted)?,
        ))
    });
    let (devices, tasks, found) = read.await?;
    let mut html = String::from("<form class=\"filter\" method=\"get\" action=\"/outcomes\">");
    let device = page.device.as_ref().map(|device| device.as_str());
    select(&mut html, ("device", "Device"), &devices, device);
    select(&mut html, ("task", "Task"), &tasks, page.task.as_deref());
    html.push_str("<button>Show</button></form>");
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Received<th>Device<th>Task<th>Text<th>Decision\
         <th class=\"n\">Confidence<th>By<th>Status<th>Read\
         <th class=\"n\">ms</tr></thead><tbody>",
    );
    for outcome in &found.rows {
        outcome_row(&mut html, outcome);
    }
    html.push_str("</tbody></table></div>");
    more(&mut html, "/outcomes", &page, found.next, found.rows.is_empty());
    Ok(HtmlPage::new("/outcomes", "Outcomes", html))
}

fn outcome_row(html: &mut String, outcome: &OutcomeView) {
    let device = Esc(&outcome.device);
    let by = match &outcome.mechanism_name {
        Some(name) => format!("{}: {}", outcome.mechanism, name),
        None => outcome.mechanism.clone(),
    };
    put!(
        html,
        "<tr><td>{}<td><a href=\"/devices/{device}\">{device}</a><td>{}<td>{}<td>{}\
         <td class=\"n\">{:.2}<td>{}<td>",
        time(&outcome.received_at),
        Esc(&outcome.task),
        text(outcome.text.as_deref(), outcome.text_cut),
        decision(outcome.decision.as_ref()),
        outcome.confidence,
        Esc(by),
    );
    match &outcome.escalation {
        Some(ticket) => put!(
            html,
            "<a href=\"/escalations/{device}/{}\">escalated</a>: {}",
            Esc(ticket),
            Esc(outcome.reason.as_deref().unwrap_or_default()),
        ),
        None => put!(html, "{}", Esc(&outcome.status)),
    }
    put!(html, "<td>{}<td class=\"n\">{:.1}</tr>", Esc(read(outcome)), outcome.decide_ms);
}

/// What the model read, and what the record could not hold.
fn read(outcome: &OutcomeView) -> String {
    let count = |key: &str| outcome.read.as_ref()?.get(key)?.as_u64();
    let mut text = match (count("words"), count("windows")) {
        (Some(words), Some(0 | 1)) => format!("{words} words"),
        (Some(words), Some(windows)) => format!("{words} words in {windows} passes"),
        _ => String::new(),
    };
    if outcome.fields_left_out > 0 {
        text.push_str(&format!("; {} fields not shown", outcome.fields_left_out));
    }
    text
}

pub(in crate::web) async fn escalations(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let query = query.unwrap_or_default();
    let mut page = api::page(Some(&query), &["state", "device", "after", "limit"])?;
    // The desk shows what is to be done, unless asked otherwise.
    if !form::parse(&query).iter().any(|(key, _)| key == "state") {
        page.state = Some(Stage::Open);
    }
    let wanted = page.clone();
    let read = app.database.read(move |reader| {
        Ok((queries::device_names(reader)?, queries::escalations(reader, &wanted)?))
    });
    let (devices, found) = read.await?;
    let mut html = String::from("<form class=\"filter\" method=\"get\" action=\"/escalations\">");
    html.push_str("<label>State <select name=\"state\">");
    for stage in Stage::ALL {
        html.push_str(&option(stage.name(), stage.name(), page.state == Some(stage)));
    }
    html.push_str(&option("all", "all", page.state.is_none()));
    html.push_str("</select></label>");
    let device = page.device.as_ref().map(|device| device.as_str());
    select(&mut html, ("device", "Device"), &devices, device);
    html.push_str("<button>Show</button></form>");
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Received<th>Device<th>Task<th>Text<th>Why\
         <th>Device's guess<th>State<th>Answer</tr></thead><tbody>",
    );
    for escalation in &found.rows {
        escalation_row(&mut html, escalation);
    }
    html.push_str("</tbody></table></div>");
    more(&mut html, "/escalations", &page, found.next, found.rows.is_empty());
    Ok(HtmlPage::new("/escalations", "Escalations", html))
}

fn escalation_row(html: &mut String, escalation: &EscalationView) {
    let EscalationView { device, ticket, task, reason, state, .. } = escalation;
    let verb = if state == Stage::Open.name() { "Answer" } else { "Show" };
    put!(
        html,
        "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>",
        time(&escalation.received_at),
        Esc(device),
        Esc(task),
        text(escalation.text.as_deref(), escalation.text_cut),
        Esc(reason),
        decision(escalation.provisional.as_ref()),
        Esc(state),
    );
    if let Some(answer) = &escalation.answer {
        put!(
            html,
            "{} <span class=\"soft\">by {}</span><br>",
            decision(Some(&answer.decision)),
            Esc(&answer.by)
        );
    }
    put!(html, "<a href=\"/escalations/{}/{}\">{verb}</a></tr>", Esc(device), Esc(ticket));
}

fn select(html: &mut String, (key, name): (&str, &str), values: &[String], chosen: Option<&str>) {
    put!(html, "<label>{name} <select name=\"{key}\">{}", option("", "all", chosen.is_none()));
    for value in values {
        html.push_str(&option(value, value, chosen == Some(value)));
    }
    html.push_str("</select></label>");
}

/// The link to the next page.
fn more(html: &mut String, path: &str, page: &Page, next: Option<i64>, empty: bool) {
    if empty {
        html.push_str("<p class=\"soft\">Nothing to show.</p>");
    }
    let Some(next) = next else { return };
    let mut query = format!("after={next}&limit={}", page.limit);
    for (key, value) in [
        ("device", page.device.as_ref().map(|device| device.as_str())),
        ("task", page.task.as_deref()),
        ("state", (path == "/escalations").then(|| page.state.map_or("all", Stage::name))),
    ] {
        if let Some(value) = value {
            put!(query, "&{key}={}", form::encode(value));
        }
    }
    put!(html, "<p><a rel=\"next\" href=\"{path}?{}\">More</a></p>", Esc(query));
}
