//! Models, what waits for the hub, and what went wrong last.

use super::super::shelf::Shelf;
use super::super::{output::size, shown_time};
use super::Check;
use crate::config::Config;
use crate::http::StatusBody;
use crate::pipeline::Models;
use landfall_systemd::Line;

pub(super) fn checks(config: &Config, status: Option<&StatusBody>, checks: &mut Vec<Check>) {
    match status {
        Some(status) => running_models(status, checks),
        None => models(config, checks),
    }
    checks.push(queue(config));
    if let Some(status) = status {
        checks.push(last_errors(&status.recent));
    } else {
        let says = "the agent does not run: journalctl -u landfall-agent -p warning -n 20";
        checks.push(Check::note("last errors", says));
    }
}

const REMEDY: &str = "see `landfall-agent check-config`; without a model, rules decide and the hub \
                      is asked about everything else";

fn running_models(status: &StatusBody, checks: &mut Vec<Check>) {
    for (task, body) in &status.tasks {
        checks.push(match (&body.package, &body.missing) {
            (Some(package), _) => Check::ok("model", format!("{task}: {package}")),
            (None, why) => {
                let why = why.as_deref().unwrap_or("unknown");
                Check::warning("model", format!("{task} has no model: {why}"), REMEDY)
            }
        });
    }
}

/// Opened and checked as the agent does at its start, golden vectors included.
fn models(config: &Config, checks: &mut Vec<Check>) {
    let models = Models::load(&config.models, &crate::release::current(config));
    for fault in &models.faults {
        checks.push(Check::warning("model", fault.message.clone(), fault.remedy.clone()));
    }
    for task in &config.tasks {
        let (name, backing) = (task.settings.name.as_str(), models.backing(&task.model));
        checks.push(match backing.package() {
            "" => Check::warning("model", format!("{name} has no model"), REMEDY),
            package => Check::ok("model", format!("{name}: {package}")),
        });
    }
}

fn queue(config: &Config) -> Check {
    let summary = match Shelf::open(config) {
        Ok(shelf) => {
            let damage = shelf.damage().map(|opened| (opened.damaged, opened.lost));
            shelf.summary().map(|summary| (summary, damage))
        }
        Err(failure) => Err(failure),
    };
    let (summary, damage) = match summary {
        Ok(found) => found,
        Err(failure) => {
            let remedy = failure.remedy.unwrap_or_default();
            return Check::warning("queue", failure.message, remedy);
        }
    };
    let waiting: u64 = summary.streams.iter().map(|part| part.waiting).sum();
    let oldest = summary.streams.iter().filter_map(|part| part.oldest_ms).min();
    let oldest = oldest.map_or(String::new(), |at| format!(", the oldest from {}", shown_time(at)));
    let says = format!(
        "{waiting} records wait for the hub{oldest}; {} of {}; {} questions open",
        size(summary.bytes),
        size(summary.bytes_max),
        summary.tickets.open
    );
    if let Some((damaged, lost)) = damage {
        let says = format!("{says}; {damaged} part(s) are damaged, {lost} records cannot be read");
        let remedy = "start the agent: it sets them aside, salvages what it can, and tells the hub";
        return Check::warning("queue", says, remedy);
    }
    match summary.refusing {
        Some(why) => {
            let remedy = "free space or raise store.bytes_max, and connect the box to its hub";
            Check::failed("queue", format!("{says}; REFUSES RECORDS: {why}"), remedy)
        }
        None => Check::ok("queue", says),
    }
}

/// So many are shown; `status` has them all.
const ERRORS_SHOWN: usize = 3;

fn last_errors(lines: &[Line]) -> Check {
    let errors: Vec<&Line> = lines.iter().filter(|line| line.level == "error").collect();
    let shown = if errors.is_empty() { lines.iter().collect() } else { errors.clone() };
    if shown.is_empty() {
        return Check::ok("last errors", "none since the start");
    }
    let shown: Vec<String> = shown
        .iter()
        .rev()
        .take(ERRORS_SHOWN)
        .map(|line| format!("{} {} ({}x)", shown_time(line.at_ms), line.text, line.times))
        .collect();
    let says = shown.join("; ");
    match errors.is_empty() {
        // A warning is what the agent recovered from.
        true => Check::note("last errors", says),
        false => {
            let remedy = "each names its cause; the whole log: journalctl -u landfall-agent";
            Check::warning("last errors", says, remedy)
        }
    }
}
