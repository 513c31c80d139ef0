//! The commands. Exit codes: 0 done, 1 failed, 2 wrong usage or invalid configuration.

mod args;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line; the first argument is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::Cli::try_parse_from(args) {
        Ok(_cli) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
