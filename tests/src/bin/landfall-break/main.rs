//! Breaks the real agent and hub in every way that they must survive, and writes the account.
//! Also the agent and the hub that it starts, on a disk that can lose its power.

mod shim;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use landfall_tests::faults::{self, Fault, Row, Stage};
use landfall_tests::moments::Moments;
use landfall_tests::{node, results};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Name of the table in the results.
const PLACE: &str = "landfall-break";

/// Breaks the real agent and the real hub, and holds what callers were told against what the
/// hub has. Everything is in temporary directories and on free ports.
///
/// Exit status: 0 when every fault came as it should; 1 when not; 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "landfall-break", version)]
struct Args {
    /// The long run: hundreds of each fault, most of an hour.
    #[arg(long)]
    long: bool,
    /// Only these faults [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Repeats the random moments of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Replace the table in this file, such as tests/RESULTS.md; with --only, those faults' rows.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Print the rows as JSON on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if let Some(code) = node::become_node().or_else(faults::become_writer) {
        return code;
    }
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let executable = std::env::current_exe().context("cannot find this executable")?;
    let moments = Moments::new(args.seed);
    let mut progress = |text: &str| {
        let _closed = writeln!(std::io::stderr(), "{text}");
    };
    progress(&format!("seed {}", moments.seed));
    let mut stage = Stage { executable: &executable, moments, progress: &mut progress };
    let all = Fault::value_variants().to_vec();
    let faults = if args.only.is_empty() { all } else { args.only.clone() };
    let mut rows: Vec<Row> = Vec::new();
    for fault in faults {
        rows.extend(fault.run(&mut stage, args.long)?);
    }
    if let Some(path) = &args.results {
        let table = match args.only.is_empty() {
            true => faults::table(&rows),
            false => faults::updated(&results::read(path, PLACE)?, &rows),
        };
        results::replace(path, PLACE, &table)?;
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&rows).context("the rows as JSON")?,
        false => faults::table(&rows),
    };
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write the rows")?;
    Ok(rows.iter().all(Row::is_as_it_should))
}
