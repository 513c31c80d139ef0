//! The same into PostgreSQL, beside `COPY` and `INSERT … SELECT` of the same rows by `psql`, into
//! the hub's own tables. Everything is synced to the disk at its commit.

use super::{Frames, POSTGRES, Rates, Rounds, Size, endpoint, in_process};
use crate::bench::rate;
use anyhow::{Context, Result, anyhow, ensure};
use landfall_cluster::Server;
use landfall_hub::database::{self, Source};
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;

pub(super) fn run(executable: &Path, size: Size, progress: &dyn Fn(&str)) -> Result<Rates> {
    let server = landfall_cluster::server_that_syncs().map_err(|why| anyhow!(why))?;
    let each = size.outcomes.checked_div(size.devices).context("no devices")?;
    let made: Result<Vec<Frames>> = (0..size.devices).map(|at| Frames::new(at, each)).collect();
    let frames = made?;
    let outcomes = each * size.devices;
    let frame_count: usize = frames.iter().map(|frames| frames.frames.len()).sum();
    let runtime = Runtime::new().context("a runtime")?;
    let mut rounds = Rounds::default();
    for round in 0..size.rounds {
        let dir = tempfile::Builder::new().prefix("landfall-bench-").tempdir();
        let dir = dir.context("cannot create a temporary directory")?;
        let (over_network, direct) = (new_database(&server)?, new_database(&server)?);
        let network = || endpoint(&runtime, executable, dir.path(), Some(&over_network), &frames);
        let in_process = || in_process(&runtime, &source(&direct)?, &frames);
        let (network, straight) = if round.is_multiple_of(2) {
            let network = network()?;
            (network, in_process()?)
        } else {
            let straight = in_process()?;
            (network()?, straight)
        };
        let seconds =
            [network, straight, copy(&server, &direct, dir.path())?, select(&server, &direct)?];
        for url in [&over_network, &direct] {
            let found = count(url)?;
            ensure!(found == outcomes, "{url} has {found} of {outcomes} rows");
        }
        let rates: Vec<f64> = seconds.iter().map(|seconds| outcomes as f64 / seconds).collect();
        let said: Vec<String> = rates.iter().map(|speed| rate(*speed)).collect();
        progress(&format!("{}/{}: {}", round + 1, size.rounds, said.join(", ")));
        rounds.0.push(rates);
    }
    let frame_records = outcomes as f64 / frame_count as f64;
    Ok(Rates { names: POSTGRES, size: Size { outcomes, ..size }, frame_records, rounds })
}

fn new_database(server: &Server) -> Result<String> {
    server.database().map_err(|why| anyhow!(why))
}

fn source(url: &str) -> Result<Source> {
    Ok(url.parse()?)
}

fn count(url: &str) -> Result<usize> {
    let connection = database::open(&source(url)?)?;
    let count: i64 = connection.row("SELECT count(*) FROM outcome", &[], |row| row.get(0))?;
    Ok(usize::try_from(count)?)
}

/// `COPY` from a file into the table as the hub has it, without its rows; seconds.
fn copy(server: &Server, url: &str, dir: &Path) -> Result<f64> {
    let file = dir.join("rows.copy");
    let file = file.to_str().context("a path that is not UTF-8")?;
    psql(server, url, &format!("\\copy outcome TO '{file}'"))?;
    psql(server, url, "TRUNCATE outcome")?;
    psql(server, url, &format!("\\copy outcome FROM '{file}'"))
}

/// `INSERT … SELECT` from a table without indexes; seconds.
fn select(server: &Server, url: &str) -> Result<f64> {
    psql(server, url, "CREATE TABLE staged AS SELECT * FROM outcome ORDER BY id")?;
    psql(server, url, "TRUNCATE outcome")?;
    psql(server, url, "INSERT INTO outcome SELECT * FROM staged ORDER BY id")
}

/// Runs one command; seconds.
fn psql(server: &Server, url: &str, command: &str) -> Result<f64> {
    let start = Instant::now();
    let run =
        server.tool("psql").args(["-qX", "-v", "ON_ERROR_STOP=1", "-c", command, url]).output();
    let output = run.context("cannot start psql")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql: {said}");
    Ok(start.elapsed().as_secs_f64())
}
