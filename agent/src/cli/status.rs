//! `status`: the running agent at a glance.

use super::args::StatusArgs;
use super::failure::Failure;
use super::output::{self, Paint, size};
use super::{Done, desk, shown_time};
use crate::http::{
    ClockBody, LinkBody, ReleaseBody, StatusBody, StoreBody, TaskBody, UnrecordedBody,
};
use crate::metrics::Counts;
use std::fmt::Write;
use std::time::Duration;

pub(super) fn status(args: &StatusArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let Some(client) = desk::running(&config) else {
        if args.json {
            output::json_pretty(&serde_json::json!({"running": false}))?;
        } else {
            output::line(format_args!(
                "not running, or without HTTP (data_dir {})",
                config.data_dir.display()
            ))?;
        }
        return Ok(Done::Open);
    };
    let status = client.status()?;
    if args.json {
        output::json_pretty(&status)?;
    } else {
        output::line(format_args!("{}", render(&status, Paint::of_stdout()).trim_end()))?;
    }
    Ok(Done::Done)
}

fn render(status: &StatusBody, paint: Paint) -> String {
    let mut out = String::new();
    // Writing to a string does not fail; the results below are ignored for that.
    let up = humantime::format_duration(Duration::from_secs(status.uptime_secs));
    let device = status.device.as_deref().unwrap_or("(no identity)");
    let _ = writeln!(out, "agent {} on {device}, pid {}, up {up}", status.version, status.pid);
    if let (Some(now), Some(peak)) = (status.memory_bytes, status.memory_peak_bytes) {
        let _ = writeln!(out, "memory {} (peak {})", size(now), size(peak));
    }
    for (name, task) in &status.tasks {
        let _ = writeln!(out, "task {name}: {}", task_line(task));
    }
    if let Some(times) = status.times.get("decide").filter(|times| times.count > 0) {
        let (p50, p99) = (times.p50_ms, times.p99_ms);
        let _ = writeln!(out, "decisions {}: median {p50:.2} ms, p99 {p99:.2} ms", times.count);
    }
    let _ = writeln!(out, "store {}", store_line(&status.store));
    if let Some(line) = unrecorded_line(&status.unrecorded) {
        let _ = writeln!(out, "{line}");
    }
    let link = status.link.as_ref().map_or_else(|| "none; records are queued".into(), link_line);
    let _ = writeln!(out, "hub {link}");
    if let Some(uplink) = &status.uplink {
        out.push_str(&super::link::render(uplink));
    }
    for (task, mode) in status.reporting.iter().filter(|(_, mode)| *mode != "full") {
        let task = if task == "*" { "all other tasks" } else { task };
        let _ = writeln!(out, "the hub asks for outcomes of {task}: {mode}");
    }
    for rules in &status.rules {
        let state = match &rules.refused {
            None => "used".to_owned(),
            Some(why) => format!("NOT USED: {why}"),
        };
        let _ = writeln!(out, "rule {} of the hub for {}: {state}", rules.rule, rules.task);
    }
    for (package, release) in &status.releases {
        let _ = writeln!(out, "release of {package}: {}", release_line(release));
    }
    if let Some(clock) = &status.clock {
        let _ = writeln!(out, "clock {}", clock_line(clock));
    }
    for fault in &status.faults {
        let _ = writeln!(out, "{}", paint.doubtful(&format!("fault: {fault}")));
    }
    for line in status.recent.iter().filter(|line| line.level == "error") {
        let error =
            format!("error {}x, last {}: {}", line.times, shown_time(line.at_ms), line.text);
        let _ = writeln!(out, "{}", paint.bad(&error));
    }
    out
}

fn task_line(task: &TaskBody) -> String {
    let model = match (&task.package, &task.missing) {
        (Some(package), _) => package.clone(),
        (None, missing) => format!("no model ({})", missing.as_deref().unwrap_or("unknown")),
    };
    let Counts { rule, model: by_model, escalated, refused, repeated, unrecorded: _ } = task.counts;
    let promise = task.promise.as_ref().map(|promise| format!("\n  {promise}"));
    format!(
        "{model}\n  {rule} by rule, {by_model} by model, {escalated} escalated, {refused} refused, \
         {repeated} repeated{}",
        promise.unwrap_or_default()
    )
}

fn store_line(store: &StoreBody) -> String {
    let (bytes, bytes_max) = (size(store.bytes), size(store.bytes_max));
    let refused = (store.refused > 0).then(|| format!(", {} refused by the hub", store.refused));
    let refusing = store.refusing.as_ref().map(|why| format!("; REFUSES RECORDS: {why}"));
    format!(
        "{bytes} of {bytes_max}, backlog {} records, {} open tickets, {} lost{}{}",
        store.backlog,
        store.tickets_open,
        store.lost,
        refused.unwrap_or_default(),
        refusing.unwrap_or_default()
    )
}

fn unrecorded_line(unrecorded: &UnrecordedBody) -> Option<String> {
    let UnrecordedBody { answers: _, decisions, untold } = unrecorded;
    if *decisions == 0 && untold.is_none() {
        return None;
    }
    let untold = untold.map_or(0, |gap| gap.decisions);
    Some(format!("WITHOUT A RECORD: {decisions} decisions; the hub is to be told of {untold}"))
}

fn release_line(release: &ReleaseBody) -> String {
    let mut line = release.current.clone().unwrap_or_else(|| "as configured".to_owned());
    if let (Some(wanted), Some(stage)) = (&release.wanted, &release.stage) {
        let _ = write!(line, ", next {wanted} ({stage})");
    }
    if let Some(fetching) = &release.fetching {
        let (missing, total) = (size(fetching.bytes_missing), size(fetching.bytes_total));
        let _ = write!(line, ", {missing} of {total} missing");
        if let Some(why) = &fetching.waits_for {
            let _ = write!(line, ", waits: {why}");
        }
    }
    if let Some(failed) = &release.failed {
        let _ = write!(line, "; NOT USED: {failed}");
    }
    line
}

fn clock_line(clock: &ClockBody) -> String {
    let (now, wall) = (shown_time(clock.now_ms), shown_time(clock.wall_ms));
    match clock.source.as_str() {
        "wall-clock" => now,
        "wall-clock-confirmed" => {
            let off_ms = clock.hub_ahead_ms.unwrap_or(0).unsigned_abs();
            format!("{now}, {} s off the hub's", off_ms / 1000)
        }
        "hub" => format!("{now} by the hub; THE CLOCK IS WRONG: it shows {wall}"),
        _ => format!("{now} at least; THE CLOCK IS NOT SET: it shows {wall}"),
    }
}

fn link_line(link: &LinkBody) -> String {
    let error = link.last_error.as_ref().filter(|_| link.state != "online");
    let error = error.map(|error| format!(" ({error})"));
    format!(
        "{} {}{}, {} up, {} down",
        link.hub,
        link.state,
        error.unwrap_or_default(),
        size(link.bytes_up),
        size(link.bytes_down)
    )
}
