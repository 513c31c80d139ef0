//! `devices`, `outcomes`, `stats`.

use super::args::OutcomesArgs;
use super::failure::Failure;
use super::{Home, open, out};
use crate::database::queries::{self, Page};
use crate::hub::is_running;
use serde_json::{Value, json};

pub(super) fn devices(home: &Home, json: bool) -> Result<(), Failure> {
    let mut devices = queries::devices(&open(home)?)?;
    if !is_running(&home.data) {
        // A hub that was killed could not note that its devices are gone.
        devices.iter_mut().for_each(|device| device.online = false);
    }
    if json {
        out::json(&json!({ "devices": devices }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = devices
        .into_iter()
        .map(|device| {
            let state = match (device.revoked, device.online) {
                (true, _) => "revoked",
                (false, true) => "online",
                (false, false) => "offline",
            };
            vec![
                device.device,
                state.to_owned(),
                device.last_contact_at.unwrap_or_else(|| "never".to_owned()),
                device.backlog.to_string(),
                device.outcomes.to_string(),
                device.escalations_open.to_string(),
                device.losses.to_string(),
                device.problem.unwrap_or_default(),
            ]
        })
        .collect();
    let heading =
        ["DEVICE", "STATE", "LAST CONTACT", "BACKLOG", "OUTCOMES", "OPEN", "LOST", "REMARK"];
    out::table(&heading, &rows);
    Ok(())
}

pub(super) fn outcomes(home: &Home, args: OutcomesArgs) -> Result<(), Failure> {
    let OutcomesArgs { device, task, after, limit, json } = args;
    let task = task.map(String::from);
    let page = Page { device, task, after, limit, state: None };
    let found = queries::outcomes(&open(home)?, &page)?;
    if json {
        out::json(&json!({ "outcomes": found.rows, "next": found.next }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found
        .rows
        .into_iter()
        .map(|outcome| {
            vec![
                outcome.id.to_string(),
                outcome.received_at,
                outcome.device,
                outcome.task,
                outcome.status,
                outcome.mechanism,
                decision(outcome.decision.as_ref()),
                format!("{:.2}", outcome.confidence),
                outcome.text.unwrap_or_default(),
            ]
        })
        .collect();
    let heading =
        ["ID", "RECEIVED", "DEVICE", "TASK", "STATUS", "BY", "DECISION", "CONFIDENCE", "TEXT"];
    out::table(&heading, &rows);
    if let Some(next) = found.next {
        out::note(&format!("there are more: --after {next}"));
    }
    Ok(())
}

/// A decision in one line.
pub(super) fn decision(decision: Option<&Value>) -> String {
    let Some(decision) = decision else { return String::new() };
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match decision.get("fields").and_then(Value::as_array) {
        Some(fields) => {
            let shown = fields
                .iter()
                .map(|field| format!("{}={}", text(field, "label"), text(field, "value")));
            shown.collect::<Vec<_>>().join(", ")
        }
        None => match decision.get("label").and_then(Value::as_str) {
            Some(label) => label.to_owned(),
            None => "(out of scope)".to_owned(),
        },
    }
}

pub(super) fn stats(home: &Home, json: bool) -> Result<(), Failure> {
    let mut stats = queries::stats(&open(home)?)?;
    if !is_running(&home.data) {
        stats.devices_online = 0;
    }
    if json {
        out::json(&stats);
        return Ok(());
    }
    let rows = [
        ("devices", stats.devices),
        ("devices online", stats.devices_online),
        ("outcomes", stats.outcomes),
        ("distinct caller ids", stats.distinct_caller_ids),
        ("escalations open", stats.escalations.open),
        ("escalations answered", stats.escalations.answered),
        ("escalations delivered", stats.escalations.delivered),
        ("escalations expired", stats.escalations.expired),
        ("records lost", stats.losses),
        ("records applied", stats.records.applied),
        ("records repeated", stats.records.repeated),
        ("records rejected", stats.records.rejected),
        ("frames received", stats.frames.received),
        ("frames malformed", stats.frames.malformed),
        ("frames refused", stats.frames.refused),
        ("connections refused", stats.connections_refused),
    ];
    for (name, value) in rows {
        out::line(format!("{name:22} {value}"));
    }
    Ok(())
}
