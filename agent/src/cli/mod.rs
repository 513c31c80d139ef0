//! The command line: `run`, `ask`, `batch`, `status`, `rules`, `ticket`, `queue`, `replay`, `check-config`,
//! `doctor`, `diag`.
//!
//! All but `run` and `check-config` talk to the running agent of the data directory. Without one,
//! `ask`, `batch` and `ticket` open the store themselves; a store has one owner at a time, so
//! never both. `queue`, `replay`, `doctor` and `diag`, which only look, open a copy.

mod args;
mod ask;
mod batch;
mod check;
mod client;
mod courier;
mod desk;
mod diag;
mod doctor;
mod enroll;
mod failure;
mod generate;
mod link;
mod output;
mod queue;
mod refused;
mod replay;
mod rules;
mod shelf;
mod status;
mod verify;

use crate::config::Config;
use crate::service;
use args::{Args, Command, QueueCommand};
use clap::Parser;
use failure::Failure;
use landfall_systemd::log_to_stderr;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// Exit 0.
    Done,
    /// Exit 3: nothing is lost, but something is still open.
    Open,
}

/// Runs the command line; the first argument is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors; a closed pipe is nobody's concern here.
            let _closed = error.print();
            return ExitCode::from(if error.use_stderr() { failure::USAGE } else { 0 });
        }
    };
    let done = execute(&args.command);
    match done {
        Ok(Done::Done) => ExitCode::SUCCESS,
        Ok(Done::Open) => ExitCode::from(failure::OPEN),
        Err(failure) => {
            output::error(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn execute(command: &Command) -> Result<Done, Failure> {
    log_to_stderr(if matches!(command, Command::Run(_)) { "info" } else { "error" });
    match command {
        Command::Run(args) => run(&args.config()),
        Command::Ask(args) => ask::ask(args),
        Command::Batch(args) => batch::batch(args),
        Command::Status(args) => status::status(args),
        Command::Link(args) => link::link(args),
        Command::Rules(args) => rules::rules(args),
        Command::Ticket(args) => ask::ticket(args),
        Command::Queue { command } => match command {
            QueueCommand::List(args) => queue::list(args),
            QueueCommand::Verify(args) => verify::verify(args),
            QueueCommand::Export(args) => queue::export(args),
            QueueCommand::Resend(args) => refused::resend(args),
        },
        Command::Replay(args) => replay::replay(args),
        Command::Courier { command } => courier::courier(command),
        Command::CheckConfig(args) => check::check(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Enroll(args) => enroll::enroll(args),
        Command::Diag(args) => diag::diag(args),
        Command::Completions { shell } => generate::completions(*shell),
        Command::ManPages { dir } => generate::man_pages(dir),
        Command::ConfigReference => generate::config_reference(),
    }
}

fn run(path: &Path) -> Result<Done, Failure> {
    let config = load(path)?;
    for warning in &config.warnings {
        tracing::warn!(%warning, "the configuration may not mean what it says");
    }
    service::run(config, |http| {
        let http = http.map_or_else(|| "-".to_owned(), |address| address.to_string());
        // Whoever started us and closed the pipe does not wait for it.
        let _closed = output::line(format_args!("ready http={http}"));
        tracing::info!(http, version = crate::VERSION, "ready");
    })?;
    Ok(Done::Done)
}

/// A device's time, as `2026-11-21T04:00:00Z`.
fn shown_time(at_ms: u64) -> String {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(at_ms));
    at.map_or_else(
        || "(no time)".to_owned(),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

fn load(path: &Path) -> Result<Config, Failure> {
    Config::load_to_run(&whole(path)).map_err(Failure::from)
}

/// With its directory: paths in the configuration start there, wherever we are called from.
fn whole(path: &Path) -> PathBuf {
    // Without a current directory the file is not found, and that is said.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
