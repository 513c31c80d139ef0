//! The command line of `landfall-models`.
//!
//! Exit codes: 0 done; 1 failed, and the error says why; 2 wrong usage.

mod bench;
mod commands;
mod coverage;
mod evaluate;
mod import;
mod out;

use crate::engine::EngineError;
use crate::import::ImportError;
use crate::package::PackageError;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Check, inspect, measure and sign model packages.
#[derive(Parser)]
#[command(name = "landfall-models", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the signature, every digest, and that the model loads.
    Verify {
        #[command(flatten)]
        which: Which,
    },
    /// Show what a package says about itself.
    Inspect {
        #[command(flatten)]
        which: Which,
        /// Print JSON, one package a line.
        #[arg(long)]
        json: bool,
    },
    /// Run the golden vectors on this processor.
    Golden {
        #[command(flatten)]
        which: Which,
        /// Also print what is answered to every Nth frozen text, to compare processors.
        #[arg(long, value_name = "N")]
        answers: Option<NonZeroUsize>,
    },
    /// Measure a task on labelled lines.
    Eval(evaluate::EvalArgs),
    /// Make a package of a Hugging Face model, in int8, calibrated on labelled lines.
    Import(import::ImportArgs),
    /// Show what a tolerated error buys: how much is answered without asking.
    Coverage(coverage::CoverageArgs),
    /// Measure the time of a decision and the memory it takes, one text at a time.
    Bench(bench::BenchArgs),
    /// Sign a package; what makes it quick to check is added to its manifest.
    Sign {
        /// The package's directory.
        dir: PathBuf,
        /// Unencrypted minisign secret key file.
        #[arg(long)]
        key: PathBuf,
    },
    /// Make a key pair: PATH.key, which is secret, and PATH.pub.
    Keygen {
        /// Where, without an ending.
        path: PathBuf,
    },
}

/// Which packages, and whose signature counts.
#[derive(Args)]
struct Which {
    /// The package's directory [default: the shipped packages].
    dir: Option<PathBuf>,
    /// Trusted public key file, repeatable [default: the shipped packages' key].
    #[arg(long, value_name = "KEY")]
    trust: Vec<PathBuf>,
}

/// Runs the tool; the first argument is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nothing is left to do when standard error is closed.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Verify { which } => commands::verify(&which),
        Command::Inspect { which, json } => commands::inspect(&which, json),
        Command::Golden { which, answers } => commands::golden(&which, answers),
        Command::Eval(args) => evaluate::eval(&args),
        Command::Import(args) => import::import(&args),
        Command::Coverage(args) => coverage::coverage(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Sign { dir, key } => commands::sign(&dir, &key),
        Command::Keygen { path } => commands::keygen(&path),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if out::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out::error(&error, remedy(&error));
            ExitCode::FAILURE
        }
    }
}

/// What the errors of the library advise.
fn remedy(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<ImportError>() {
            return Some(error.remedy());
        }
        let package = cause.downcast_ref::<PackageError>().map(PackageError::remedy);
        package.or_else(|| cause.downcast_ref::<EngineError>().map(EngineError::remedy))
    })
}
