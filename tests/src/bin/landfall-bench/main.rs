//! Measures the real agent and hub beside something known; also the agent and hub that it starts.

mod flush;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use landfall_tests::bench::{catchup, ingest, store, wire};
use landfall_tests::{month, node, results};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measures the store, the hub's ingest, catching up over a bad line and bytes on the line, each
/// beside something known in the same run. Build it with --release.
///
/// Exit status: 0 measured, whatever came of it; 1 it could not be measured; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "landfall-bench", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// Replace what was measured before in this file, such as tests/RESULTS.md.
    #[arg(long, value_name = "FILE", global = true)]
    results: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Durable records a second, beside raw appends and SQLite.
    Store(StoreArgs),
    /// Outcomes a second into the hub's database, beside bulk insertion by the database's own tool.
    Ingest(IngestArgs),
    /// A backlog over 64 kbit/s, 600 ms and 3 % loss, beside the line's rate; needs root.
    CatchUp(CatchUpArgs),
    /// Bytes of an outcome and of connections, everything on the line counted, beside JSON over
    /// MQTT; needs root.
    Wire(WireArgs),
    /// A month of a ship's life in minutes: a satellite with hours and a budget, days in port,
    /// blackouts, power cuts.
    Month(MonthArgs),
}

#[derive(Debug, Args)]
struct StoreArgs {
    /// Rounds for each size of batch.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Milliseconds of each contender in a round.
    #[arg(long, default_value_t = 400)]
    turn_ms: u64,
    /// Where the files are made: what is measured is this disk.
    #[arg(long, default_value = ".", value_name = "DIR")]
    disk: PathBuf,
    /// Milliseconds that every flush takes longer than this disk's, as on a flash card; a table
    /// for each.
    #[arg(long, value_delimiter = ',', default_value = "0,5")]
    flush_ms: Vec<u64>,
}

#[derive(Debug, Args)]
struct IngestArgs {
    /// Outcomes of each round.
    #[arg(long, default_value_t = 60_000)]
    outcomes: usize,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Devices that send at once.
    #[arg(long, default_value_t = 4)]
    devices: usize,
    /// Into PostgreSQL, on a server that is made for it.
    #[arg(long)]
    postgres: bool,
}

#[derive(Debug, Args)]
struct CatchUpArgs {
    /// Outcomes of the backlog.
    #[arg(long, default_value_t = 60_000)]
    outcomes: usize,
    /// Outcomes of it that are escalated.
    #[arg(long, default_value_t = 600)]
    escalations: usize,
    /// Congestion controls of the kernel, all at once. cubic is what most systems have.
    #[arg(long, value_delimiter = ',', default_value = "cubic,bbr")]
    control: Vec<String>,
}

#[derive(Debug, Args)]
struct WireArgs {
    /// A CSV file with a column `OriginalShorttext`; without it only connections are measured.
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// At most so many of its work orders.
    #[arg(long, default_value_t = 10_000)]
    outcomes: usize,
}

#[derive(Debug, Args)]
struct MonthArgs {
    /// Days.
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Seconds that a day takes.
    #[arg(long, default_value_t = 24)]
    day_secs: u64,
    /// Texts of an hour.
    #[arg(long, default_value_t = 150)]
    texts: usize,
    /// Draw it into this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = node::become_node() {
        return code;
    }
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let executable = std::env::current_exe().context("cannot find this executable")?;
    let progress = |text: &str| {
        let _closed = writeln!(std::io::stderr(), "{text}");
    };
    let (name, text) = match &cli.what {
        What::Store(args) => ("landfall-bench store", measure_store(args, &progress)?),
        What::Ingest(args) => {
            let name = if args.postgres {
                "landfall-bench ingest --postgres"
            } else {
                "landfall-bench ingest"
            };
            (name, measure_ingest(args, &executable, &progress)?)
        }
        What::CatchUp(CatchUpArgs { outcomes, escalations, control }) => {
            let backlog = catchup::Backlog { outcomes: *outcomes, escalations: *escalations };
            let caught = catchup::run(&executable, backlog, control, &progress)?;
            ("landfall-bench catch-up", catchup::text(&caught))
        }
        What::Wire(WireArgs { orders, outcomes }) => {
            let plan = wire::Plan {
                orders: orders.clone(),
                outcomes: *outcomes,
                pace: wire::Pace::SATELLITE,
            };
            ("landfall-bench wire", wire::run(&executable, &plan, &progress)?.text())
        }
        What::Month(args) => ("landfall-bench month", live_a_month(args, &executable, &progress)?),
    };
    if let Some(path) = &cli.results {
        results::replace(path, name, &text)?;
    }
    write!(std::io::stdout().lock(), "{text}").context("cannot write the results")
}

fn measure_store(args: &StoreArgs, progress: &dyn Fn(&str)) -> Result<String> {
    let turn = Duration::from_millis(args.turn_ms);
    let effort = store::Effort { rounds: args.rounds, turn };
    let mut disks = Vec::new();
    for extra_ms in &args.flush_ms {
        progress(&format!("each flush {extra_ms} ms longer than this disk's"));
        flush::slow_down(*extra_ms);
        disks.push(store::Disk {
            extra_ms: *extra_ms,
            rates: store::run(&args.disk, effort, progress)?,
        });
    }
    Ok(store::text(&disks))
}

fn measure_ingest(args: &IngestArgs, executable: &Path, progress: &dyn Fn(&str)) -> Result<String> {
    let IngestArgs { outcomes, rounds, devices, postgres } = *args;
    let size = ingest::Size { outcomes, rounds, devices };
    let run = if postgres { ingest::run_postgres } else { ingest::run };
    Ok(run(executable, size, progress)?.text())
}

fn live_a_month(args: &MonthArgs, executable: &Path, progress: &dyn Fn(&str)) -> Result<String> {
    let MonthArgs { days, day_secs, texts, plot } = args;
    let plan = month::Plan { first: 0, days: *days, day_secs: *day_secs, texts: *texts };
    let lived = month::run(executable, plan, progress)?;
    if let Some(path) = plot {
        std::fs::write(path, month::svg(&lived))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let name = plot.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    Ok(lived.text(name))
}
