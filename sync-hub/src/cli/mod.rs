//! The commands. Exit codes: 0 done, 1 failed, 2 wrong usage or invalid configuration, 3 nothing
//! is wrong but not everything is there (`audit`).
//!
//! Commands work on the data directory itself, whether a hub runs on it or not; a running one
//! notices within a tenth of a second.

mod alarms;
mod args;
mod audit;
mod backup;
mod broker_config;
mod courier;
mod desk;
mod failure;
mod generate;
mod labels;
mod lists;
mod models;
mod out;
mod people;
mod report;
mod rollout;
mod rules;
mod run;
mod token;
mod user;

use crate::database::sql::Connection;
use crate::database::{self, Source};
use args::{Cli, Command};
use clap::Parser;
use failure::Failure;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Who stands in the trail for what is done here: whoever may write the data directory.
const BY: &str = "command line";

pub use run::check_text;

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
    let outcome =
        Home::find(cli.data, cli.database.as_ref()).and_then(|home| execute(&home, cli.command));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out::error(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// Returns the exit code.
fn execute(home: &Home, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Audit { device, json } => return audit::audit(home, &device, json),
        Command::Courier(command) => return courier::courier(home, command),
        Command::Run(args) => run::run(home, &args)?,
        Command::CheckConfig { file } => run::check_config(&file)?,
        Command::Enroll(args) => people::enroll(home, &args)?,
        Command::Revoke { device } => people::revoke(home, &device)?,
        Command::Token(command) => token::token(home, &command)?,
        Command::Ca(command) => token::ca(home, command)?,
        Command::BrokerConfig(command) => broker_config::broker_config(home, command)?,
        Command::Backup { file } => backup::backup(home, &file)?,
        Command::Restore { file } => backup::restore(home, &file)?,
        Command::Devices { json } => lists::devices(home, json)?,
        Command::Escalations(command) => return desk::escalations(home, command),
        Command::Outcomes(args) => lists::outcomes(home, args)?,
        Command::Report { device, task, mode, json } => {
            report::report(home, &device, task, mode, json)?;
        }
        Command::User(command) => user::user(home, command)?,
        Command::Trail { limit, json } => user::trail(home, limit, json)?,
        Command::Labels(command) => labels::labels(home, command)?,
        Command::Stats { json } => lists::stats(home, json)?,
        Command::Models(command) => models::models(home, command)?,
        Command::Rollout(command) => rollout::rollout_command(home, command)?,
        Command::Label(args) => rollout::label(home, args)?,
        Command::Alarms(command) => alarms::alarms(home, command)?,
        Command::Rules(command) => rules::rules(home, command)?,
        Command::Completions { shell } => generate::completions(shell),
        Command::ManPages { dir } => generate::man_pages(&dir)?,
    }
    Ok(0)
}

/// The hub that a command is for.
#[derive(Debug)]
struct Home {
    /// Directory of its certificates.
    data: PathBuf,
    database: Source,
    /// Whether the command line said so.
    is_named: bool,
}

impl Home {
    fn find(data: PathBuf, named: Option<&Source>) -> Result<Home, Failure> {
        let database = Source::find(&data, named)?;
        Ok(Home { data, database, is_named: named.is_some() })
    }

    /// The database, unless it was not named and the configuration file names one.
    fn database_or(&self, configured: Option<&str>) -> Result<Source, Failure> {
        match configured {
            Some(url) if !self.is_named => Ok(url.parse()?),
            Some(_) | None => Ok(self.database.clone()),
        }
    }

    /// Whether there is a database: a mistyped path makes no new hub.
    fn exists(&self) -> bool {
        match &self.database {
            Source::Sqlite(path) => path.is_file(),
            Source::Postgres(_) => self.data.is_dir(),
        }
    }
}

/// Opens the database of a hub that must exist.
fn open(home: &Home) -> Result<Connection, Failure> {
    if !home.exists() {
        return Err(Failure::new(
            format!("{} holds no hub", home.data.display()),
            "pass the hub's directory with --data, or start one with `landfall-hub run`",
        ));
    }
    Ok(database::open(&home.database)?)
}
