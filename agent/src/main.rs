//! The agent's binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall_agent::cli::main(std::env::args_os())
}
