//! The commands. Exit codes: 0 done, 1 failed, 2 wrong usage or invalid configuration, 3 nothing
//! is wrong but not everything is there (`audit`).
//!
//! Commands work on the data directory itself, whether a hub runs on it or not; a running one
//! notices within a tenth of a second.

mod args;
mod audit;
mod broker_config;
mod desk;
mod failure;
mod lists;
mod out;
mod people;
mod run;

use args::{Cli, Command};
use clap::Parser;
use failure::Failure;
use rusqlite::Connection;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command line; the first argument is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // To standard error, or for --help and --version to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let data = &cli.data;
    let outcome = execute(data, cli.command);
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out::error(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Returns the exit code.
fn execute(data: &Path, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Audit { device, json } => return audit::audit(data, &device, json),
        Command::Run(args) => run::run(data, &args)?,
        Command::Enroll(args) => people::enroll(data, &args)?,
        Command::Revoke { device } => people::revoke(data, &device)?,
        Command::BrokerConfig(command) => broker_config::broker_config(data, command)?,
        Command::Devices { json } => lists::devices(data, json)?,
        Command::Escalations(command) => desk::escalations(data, command)?,
        Command::Outcomes(args) => lists::outcomes(data, args)?,
        Command::Stats { json } => lists::stats(data, json)?,
    }
    Ok(0)
}

/// Opens the database of a data directory that must exist: a mistyped path makes no new hub.
fn open(data: &Path) -> Result<Connection, Failure> {
    if !data.join(crate::database::FILE).is_file() {
        return Err(Failure::new(
            format!("{} holds no hub", data.display()),
            "pass the hub's directory with --data, or start one with `landfall-hub run`",
        ));
    }
    Ok(crate::database::open(data)?)
}
