//! The `landfall-models` tool; all of it is in [`landfall_models::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    landfall_models::cli::main(std::env::args_os())
}
