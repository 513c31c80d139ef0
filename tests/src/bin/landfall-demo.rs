//! The demo; also the agent and the hub that it starts, and those of the end-to-end tests.

use clap::Parser;
use landfall_tests::{demo, node};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = node::become_node() {
        return code;
    }
    let args = demo::Args::parse();
    let done = std::env::current_exe().map_err(anyhow::Error::from);
    match done.and_then(|executable| demo::run(&args, &executable)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
