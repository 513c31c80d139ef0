//! `doctor`: one page about everything that keeps a box from doing its work, each with what to do
//! about it. It works whether the agent runs or not, and changes nothing on the box.
//!
//! * `identity`: who the device is, certificates, clock.
//! * `disk`: space, rights, wear, what the store holds.
//! * `hub`: from the network to the hub's answer, step by step.
//! * `parts`: models, what waits, what went wrong last.

mod disk;
mod hub;
mod identity;
mod parts;

use super::args::StatusArgs;
use super::failure::{Failure, USAGE};
use super::output::{self, Paint};
use super::{Done, desk, shown_time};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::StatusBody;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing needs to be done.
    Note,
    /// It works, but not for long, or not as well as it could.
    Warning,
    /// It does not work.
    Failed,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "WARN",
            Level::Failed => "FAIL",
        }
    }
}

/// One line of the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    pub(super) area: &'static str,
    /// How it is.
    pub(super) level: Level,
    /// What was found.
    pub(super) says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(area: &'static str, says: impl Into<String>) -> Check {
        Check { area, level: Level::Ok, says: says.into(), remedy: None }
    }

    pub(super) fn note(area: &'static str, says: impl Into<String>) -> Check {
        Check { level: Level::Note, ..Check::ok(area, says) }
    }

    pub(super) fn warning(
        area: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check { level: Level::Warning, remedy: Some(remedy.into()), ..Check::ok(area, says) }
    }

    pub(super) fn failed(
        area: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check { level: Level::Failed, remedy: Some(remedy.into()), ..Check::ok(area, says) }
    }
}

/// The page.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    device: Option<String>,
    /// Milliseconds since 1970, as the device knows it.
    at_ms: u64,
    running: bool,
    /// The worst of all.
    result: Level,
    checks: Vec<Check>,
    /// Whether the configuration could be read.
    #[serde(skip)]
    configured: bool,
}

pub(super) fn doctor(args: &StatusArgs) -> Result<Done, Failure> {
    let report = examine(&super::whole(&args.common.config()));
    if args.json {
        output::json_pretty(&report)?;
    } else {
        output::line(format_args!("{}", report.page(Paint::of_stdout()).trim_end()))?;
    }
    match report.result {
        _ if !report.configured => {
            Err(Failure { code: USAGE, ..Failure::new("the configuration is not valid") })
        }
        Level::Failed => Err(Failure::new("something does not work; see FAIL above")),
        Level::Ok | Level::Note | Level::Warning if !report.running => Ok(Done::Open),
        Level::Ok | Level::Note | Level::Warning => Ok(Done::Done),
    }
}

/// Looks at everything.
pub(super) fn examine(path: &Path) -> Report {
    let config = match Config::load_to_run(path) {
        Ok(config) => config,
        Err(error) => {
            let remedy = "correct it; `landfall-agent check-config` checks again";
            let check = Check::failed("configuration", error.to_string(), remedy);
            return Report::of(None, None, crate::stamp::wall_ms(), vec![check], false);
        }
    };
    let clock = Clock::open(&config.data_dir);
    let mut checks = vec![configuration(&config)];
    let (status, agent) = agent(&config);
    checks.push(agent);
    let status = status.as_ref();
    let identity = identity::checks(&config, &clock, &mut checks);
    checks.push(identity::time(&clock, status));
    disk::checks(&config, status, &mut checks);
    hub::checks(&config, identity.as_ref(), status, &mut checks);
    parts::checks(&config, status, &mut checks);
    let device = identity.map(|identity| identity.device.to_string());
    Report::of(status, device, clock.now_ms(), checks, true)
}

fn configuration(config: &Config) -> Check {
    let (file, digest) = (config.file.display(), config.digest);
    let tasks = config.tasks.len();
    let says = format!("{file}, digest {digest}, {tasks} task(s)");
    match config.warnings.first() {
        None => Check::ok("configuration", says),
        Some(_) => {
            let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
            let says = format!("{says}; {}", warnings.join("; "));
            Check::warning("configuration", says, "see `landfall-agent check-config`")
        }
    }
}

/// The running agent, asked.
fn agent(config: &Config) -> (Option<StatusBody>, Check) {
    let start = "start it: systemctl start landfall-agent; its log: journalctl -u landfall-agent";
    let Some(client) = desk::running(config) else {
        let says = "does not run, or its HTTP is off: looked at what is on the disk";
        return (None, Check::warning("agent", says, start));
    };
    match client.status() {
        Ok(status) => {
            let up = std::time::Duration::from_secs(status.uptime_secs);
            let (version, pid) = (&status.version, status.pid);
            let up = humantime::format_duration(up);
            let says = format!("{version} runs as process {pid}, up {up}");
            let check = if status.faults.is_empty() {
                Check::ok("agent", says)
            } else {
                let faults = status.faults.join("; ");
                Check::warning("agent", format!("{says}; {faults}"), "see the lines below")
            };
            (Some(status), check)
        }
        Err(failure) => (None, Check::failed("agent", failure.message, start)),
    }
}

impl Report {
    fn of(
        status: Option<&StatusBody>,
        device: Option<String>,
        at_ms: u64,
        checks: Vec<Check>,
        configured: bool,
    ) -> Report {
        let result = checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
        let running = status.is_some();
        Report { version: crate::VERSION, device, at_ms, running, result, checks, configured }
    }

    /// For people.
    pub(super) fn page(&self, paint: Paint) -> String {
        let device = self.device.as_deref().unwrap_or("a device without a name");
        let at = shown_time(self.at_ms);
        let mut page = format!("landfall-agent {} on {device}, {at}\n\n", self.version);
        let width = self.checks.iter().map(|check| check.area.len()).max().unwrap_or(0);
        for Check { area, level, says, remedy } in &self.checks {
            let word = format!("{:<4}", level.word());
            let word = match level {
                Level::Ok => paint.good(&word),
                Level::Note => word,
                Level::Warning => paint.doubtful(&word),
                Level::Failed => paint.bad(&word),
            };
            // Writing to a string does not fail.
            let _never = writeln!(page, "{word}  {area:<width$}  {says}");
            if let Some(remedy) = remedy {
                let _never = writeln!(page, "{:width$}        -> {remedy}", "");
            }
        }
        let bad = self.checks.iter().filter(|check| check.level == Level::Failed).count();
        let doubtful = self.checks.iter().filter(|check| check.level == Level::Warning).count();
        let _never = writeln!(page, "\n{bad} failed, {doubtful} to look at");
        page
    }
}
