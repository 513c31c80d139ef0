//! How good the answers are, by task and release.

use super::{Sorry, option, put};
use crate::database::quality::{self, QualityView, Window};
use crate::database::queries;
use crate::hub::now_ms;
use crate::rules::views::every_label;
use crate::web::App;
use crate::web::api;
use crate::web::html::{Esc, HtmlPage};
use axum::extract::{RawQuery, State};
use landfall_hub_core::quality::{DRIFT_CASES_MIN, DRIFT_LARGE, DRIFT_NOTABLE, Share};
use std::fmt::Write;

/// Audited error whose lower bound is above this is marked.
const ERROR_MARKED: f64 = 0.05;

pub(in crate::web) async fn quality(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let window = api::window(query.as_deref(), now_ms())?;
    let wanted = window.clone();
    let read = app.database.read(move |reader| {
        let names = (queries::device_names(reader)?, every_label(reader)?);
        Ok((names, quality::quality(reader, &wanted)?))
    });
    let ((devices, labels), rows) = read.await?;
    let mut html = filter(&devices, &labels, &window);
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Task<th>Release<th class=\"n\">Devices\
         <th class=\"n\">Outcomes<th class=\"n\">Answered on the spot<th class=\"n\">Escalated\
         <th class=\"n\">Audited error<th class=\"n\">Drift, confidence<th class=\"n\">Drift, labels\
         </tr></thead><tbody>",
    );
    for row in &rows {
        one(&mut html, row);
    }
    html.push_str("</tbody></table></div>");
    if rows.is_empty() {
        html.push_str("<p class=\"soft\">No outcomes in this time.</p>");
    }
    put!(
        html,
        "<p class=\"soft\">The audited error is the share of random audits that people answered \
         otherwise than the device, with its 95 % interval (Wilson). Drift is the population \
         stability index of the last 7 days against the first 7 days of the release here; it needs \
         {DRIFT_CASES_MIN} cases in both. From {DRIFT_NOTABLE} on look, from {DRIFT_LARGE} on \
         something has changed.</p>"
    );
    Ok(HtmlPage::new("/quality", "Quality", html))
}

fn filter(devices: &[String], labels: &[String], window: &Window) -> String {
    let mut html = String::from("<form class=\"filter\" method=\"get\" action=\"/quality\">");
    let chosen = window.device.as_ref().map(|device| device.as_str());
    put!(html, "<label>Device <select name=\"device\">{}", option("", "all", chosen.is_none()));
    for device in devices {
        html.push_str(&option(device, device, chosen == Some(device)));
    }
    let chosen = window.label.as_deref();
    put!(
        html,
        "</select></label><label>Label <select name=\"label\">{}",
        option("", "all", chosen.is_none())
    );
    for label in labels {
        html.push_str(&option(label, label, chosen == Some(label)));
    }
    html.push_str("</select></label><label>Days <select name=\"days\">");
    for days in [7_u64, 28, 90, 365] {
        let text = days.to_string();
        html.push_str(&option(&text, &text, window.days == days));
    }
    html.push_str("</select></label><button>Show</button></form>");
    html
}

fn one(html: &mut String, row: &QualityView) {
    put!(
        html,
        "<tr><td>{}<td class=\"mono\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
         <td class=\"n\">{}<td class=\"n{}\">{}{}{}</tr>",
        Esc(&row.task),
        Esc(&row.package),
        row.devices,
        row.outcomes,
        percent(&row.coverage),
        percent(&row.escalated),
        if row.error.low > ERROR_MARKED && row.error.total > 0 { " bad" } else { "" },
        interval(&row.error),
        drift(row.confidence_drift),
        drift(row.label_drift),
    );
}

fn percent(share: &Share) -> String {
    if share.total == 0 { "–".to_owned() } else { format!("{:.1} %", share.value * 100.0) }
}

fn interval(share: &Share) -> String {
    if share.total == 0 {
        return "not audited".to_owned();
    }
    format!(
        "{:.1} % ({:.1} – {:.1} %), {} of {}",
        share.value * 100.0,
        share.low * 100.0,
        share.high * 100.0,
        share.of,
        share.total
    )
}

fn drift(index: Option<f64>) -> String {
    match index {
        None => "<td class=\"n soft\">–".to_owned(),
        Some(index) if index >= DRIFT_LARGE => format!("<td class=\"n bad\">{index:.2}"),
        Some(index) if index >= DRIFT_NOTABLE => format!("<td class=\"n\"><b>{index:.2}</b>"),
        Some(index) => format!("<td class=\"n\">{index:.2}"),
    }
}
