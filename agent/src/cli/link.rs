//! `link`: which link is used, what is left of it, and when what waits will have left.

use super::args::LinkArgs;
use super::failure::Failure;
use super::output::{self, size};
use super::{Done, desk, shown_time};
use crate::http::LinkWord;
use crate::link::{LinkView, UplinkReport, WaitReport};
use std::fmt::Write;

pub(super) fn link(args: &LinkArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let Some(client) = desk::running(&config) else {
        if args.json {
            output::json_pretty(&serde_json::json!({"running": false}))?;
        } else {
            output::line(format_args!("not running, or without HTTP"))?;
        }
        return Ok(Done::Open);
    };
    let report = match word(args) {
        Some(word) => client.put_link(&word)?,
        None => client.link()?,
    };
    if args.json {
        output::json_pretty(&report)?;
    } else {
        output::line(format_args!("{}", render(&report).trim_end()))?;
    }
    Ok(Done::Done)
}

fn word(args: &LinkArgs) -> Option<LinkWord> {
    let state = args.state?;
    Some(LinkWord {
        link: args.name.clone(),
        state,
        until: args.until.clone(),
        how_long: args.how_long.clone(),
    })
}

/// For `status` too.
pub(super) fn render(report: &UplinkReport) -> String {
    let mut out = String::new();
    // Writing to a string does not fail; the results below are ignored for that.
    let _ = match (&report.link, &report.waiting) {
        (Some(link), _) => writeln!(out, "link in use: {link}"),
        (None, Some(WaitReport { link, what, until_ms })) => {
            let what = if what == "hours" { "its hours" } else { "the next day's budget" };
            writeln!(out, "link: waits for {what} of {link}, {}", shown_time(*until_ms))
        }
        (None, None) => writeln!(out, "link: none is there"),
    };
    if let Some(site) = &report.site {
        let link = site.link.as_deref().unwrap_or("all links");
        let how_long = site.for_secs.map_or_else(String::new, |secs| {
            let how_long = humantime::format_duration(std::time::Duration::from_secs(secs));
            format!(", for {how_long} more")
        });
        let _ = writeln!(out, "  the site says: {link} {}{how_long}", site.state);
    }
    for link in &report.links {
        let _ = writeln!(out, "  {}", link_line(link));
    }
    for stream in report.backlog.iter().filter(|stream| stream.records > 0) {
        let (name, records) = (&stream.stream, stream.records);
        let _ = writeln!(out, "  waiting: {records} of {name}, about {}", size(stream.bytes));
    }
    if report.backlog.iter().any(|stream| stream.records > 0) {
        let _ = match report.drained_ms {
            Some(at_ms) => writeln!(out, "  gone by {} if nothing is added", shown_time(at_ms)),
            None => {
                writeln!(out, "  gone: not known, no link is there or its rate is not known yet")
            }
        };
    }
    out
}

fn link_line(link: &LinkView) -> String {
    let state = match (link.is_up, link.is_open) {
        (true, true) => "up",
        (true, false) => "up, outside its hours",
        (false, _) => "down",
    };
    let mut line = format!("{}: class {}, {state}", link.name, link.class);
    if let (Some(budget), Some(left)) = (link.budget_bytes, link.left_bytes) {
        let renews = link
            .renews_ms
            .map_or_else(String::new, |at_ms| format!(", renewed {}", shown_time(at_ms)));
        let _ = write!(line, "; {} of {} a day left{renews}", size(left), size(budget));
    }
    if let Some(rate) = link.rate_bytes_per_sec {
        let _ = write!(line, "; at most {}/s", size(rate));
    }
    if let Some(rate) = link.measured_bytes_per_sec {
        let _ = write!(line, "; {}/s measured", size(rate));
    }
    let _ = write!(line, "; {} carried", size(link.carried_bytes));
    line
}
