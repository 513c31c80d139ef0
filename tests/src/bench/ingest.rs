//! Outcomes a second into the hub's SQLite, beside bulk insertion of the same rows by SQLite's
//! own tool.
//!
//! * through the endpoint: frames of several devices, over MQTT and mutual TLS, to the real hub as
//!   a process of its own, until the hub has acknowledged the last, and so committed it;
//! * without the network: the same frames, decoded and handed to the hub's writer in this process;
//! * `.import`: the same rows as CSV into a table with the same columns, indexes and constraints,
//!   in one transaction. CSV knows no bytes, so the record is hexadecimal text there, and the
//!   table is not STRICT;
//! * `INSERT … SELECT`: the same rows from another database into the hub's own schema, in one
//!   transaction: no format is read at all.
//!
//! Everything is in WAL mode with `synchronous = FULL`. The same on PostgreSQL is in `postgres`.

mod postgres;

use super::load::{Frames, Sender};
use super::{Rounds, machine, rate};
use crate::site::Hub;
use anyhow::{Context, Result, bail, ensure};
use landfall_agent::clock::Clock;
use landfall_agent::sync::Identity;
use landfall_hub::database::commands::Enroll;
use landfall_hub::database::ingest::Ingest;
use landfall_hub::database::sql::ToParam;
use landfall_hub::database::{self, Database, Source};
use landfall_wire::frame::Frame;
use landfall_wire::id::Epoch;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tokio::runtime::Runtime;

/// Batches of a device that wait for their commit, without the network.
const PENDING_MAX: usize = 24;

const SQLITE: [&str; 4] = [
    "the hub, over MQTT and TLS",
    "the hub, without the network",
    "`sqlite3 .import`",
    "`sqlite3`, `INSERT … SELECT`",
];
const POSTGRES: [&str; 4] = [
    "the hub, over MQTT and TLS",
    "the hub, without the network",
    "`psql`, `COPY`",
    "`psql`, `INSERT … SELECT`",
];
const IMPORT: usize = 2;
const SELECT: usize = 3;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Outcomes of a round.
    pub outcomes: usize,
    /// Rounds.
    pub rounds: usize,
    /// Devices that send them.
    pub devices: usize,
}

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    names: [&'static str; 4],
    size: Size,
    frame_records: f64,
    rounds: Rounds,
}

impl Rates {
    /// As Markdown.
    pub fn text(&self) -> String {
        let Rates { names, size: Size { outcomes, rounds, devices }, frame_records, .. } = self;
        let [_, _, import, select] = names;
        let mut text = format!(
            "{outcomes} outcomes of {devices} devices a round, {frame_records:.0} in a frame, \
             {rounds} rounds. On {}.\n\n\
             | | outcomes a second | to {import} | to {select} |\n|---|---|---|---|\n",
            machine()
        );
        for (at, name) in names.iter().enumerate() {
            let to = |other| self.rounds.ratio(at, other);
            let speed = rate(self.rounds.rate(at));
            let _infallible =
                writeln!(text, "| {name} | {speed} | {:.2} | {:.2} |", to(IMPORT), to(SELECT));
        }
        text
    }
}

/// Measures all four on PostgreSQL.
///
/// # Errors
/// As [`run`]; when there is no PostgreSQL.
pub fn run_postgres(executable: &Path, size: Size, progress: &dyn Fn(&str)) -> Result<Rates> {
    postgres::run(executable, size, progress)
}

/// Measures all four.
///
/// # Errors
/// When something cannot be set up, or rows are missing afterwards; when there is no `sqlite3`
/// and it cannot be installed.
pub fn run(executable: &Path, size: Size, progress: &dyn Fn(&str)) -> Result<Rates> {
    ensure_sqlite(progress)?;
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
        // The rows to be inserted by the tool come from here.
        let direct = || {
            let path = dir.path().join("direct");
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            in_process(&runtime, &Source::file(&path), &frames)
        };
        let network = || endpoint(&runtime, executable, &dir.path().join("network"), None, &frames);
        let (network, direct) = if round.is_multiple_of(2) {
            let network = network()?;
            (network, direct()?)
        } else {
            let direct = direct()?;
            (network()?, direct)
        };
        let seconds = [network, direct, import(dir.path())?, select(dir.path())?];
        for name in ["direct", "network/data", "import", "select"] {
            let found = count(&dir.path().join(name).join(database::FILE))?;
            ensure!(found == outcomes, "{name} has {found} of {outcomes} rows");
        }
        let rates: Vec<f64> = seconds.iter().map(|seconds| outcomes as f64 / seconds).collect();
        let said: Vec<String> = rates.iter().map(|speed| rate(*speed)).collect();
        progress(&format!("{}/{}: {}", round + 1, size.rounds, said.join(", ")));
        rounds.0.push(rates);
    }
    let frame_records = outcomes as f64 / frame_count as f64;
    Ok(Rates { names: SQLITE, size: Size { outcomes, ..size }, frame_records, rounds })
}

/// The name of a device.
fn name(device: usize) -> String {
    format!("load-{device}")
}

/// Over the real endpoint; seconds.
fn endpoint(
    runtime: &Runtime,
    executable: &Path,
    dir: &Path,
    database: Option<&str>,
    frames: &[Frames],
) -> Result<f64> {
    let hub = Hub::start_on(executable, dir, database)?;
    let mut identities = Vec::new();
    for device in 0..frames.len() {
        let out = dir.join(name(device));
        let path = out.to_str().context("a directory name that is not UTF-8")?;
        hub.command(&["enroll", &name(device), "--out", path])?;
        identities.push(Identity::load(&out, &Clock::open(&out))?);
    }
    runtime.block_on(async {
        let mut senders = Vec::new();
        for (identity, frames) in identities.iter().zip(frames) {
            senders.push(Sender::greet(identity, frames).await?);
        }
        let start = Instant::now();
        tokio_join(senders.iter_mut().zip(frames).map(|(sender, frames)| sender.deliver(frames)))
            .await?;
        Ok(start.elapsed().as_secs_f64())
    })
}

/// Drives all futures in this task; the first error ends it.
async fn tokio_join<F: Future<Output = Result<()>>>(
    futures: impl Iterator<Item = F>,
) -> Result<()> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        let mut failed = None;
        running.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(done) => {
                failed = failed.take().or(done.err());
                false
            }
        });
        match failed {
            Some(error) => std::task::Poll::Ready(Err(error)),
            None if running.is_empty() => std::task::Poll::Ready(Ok(())),
            None => std::task::Poll::Pending,
        }
    })
    .await
}

/// Decoded and handed to the writer in this process; seconds.
fn in_process(runtime: &Runtime, source: &Source, frames: &[Frames]) -> Result<f64> {
    let devices = enroll(source, frames.len())?;
    let (database, writer) = Database::start(source)?;
    let took = runtime.block_on(async {
        let start = Instant::now();
        let all = devices.iter().zip(frames).map(|(device, frames)| {
            let database = database.clone();
            async move { apply(&database, *device, frames).await }
        });
        tokio_join(all).await?;
        let took = start.elapsed().as_secs_f64();
        database.stop().await;
        Ok::<_, anyhow::Error>(took)
    })?;
    if writer.join().is_err() {
        bail!("the hub's writer panicked");
    }
    Ok(took)
}

async fn apply(database: &Database, device: i64, frames: &Frames) -> Result<()> {
    let mut pending = VecDeque::new();
    for (_, frame) in &frames.frames {
        let Frame::Batch(batch) = Frame::decode(frame)? else { bail!("not a batch") };
        let now_ms = landfall_hub::hub::now_ms();
        pending.push_back(database.submit(Ingest { device, batch, now_ms }).await?);
        if pending.len() >= PENDING_MAX
            && let Some(first) = pending.pop_front()
        {
            first.await???;
        }
    }
    for reply in pending {
        reply.await???;
    }
    Ok(())
}

/// Puts the devices into a new database; returns their rows.
fn enroll(source: &Source, devices: usize) -> Result<Vec<i64>> {
    let mut connection = database::open(source)?;
    let mut rows = Vec::new();
    for device in 0..devices {
        let enroll = Enroll {
            device: name(device).parse()?,
            serial: format!("{device:02x}"),
            authority: "landfall hub".into(),
            expires_ms: u64::MAX >> 1,
            now_ms: 0,
            answers_epoch: Epoch(1),
        };
        database::apply(&mut connection, &enroll)?;
        let sql = "SELECT id FROM device WHERE name = ?1";
        rows.push(connection.row(sql, &[name(device).to_param()], |row| row.get(0))?);
    }
    Ok(rows)
}

fn count(path: &Path) -> Result<usize> {
    let connection = rusqlite::Connection::open(path)?;
    let count: i64 = connection.query_row("SELECT count(*) FROM outcome", [], |row| row.get(0))?;
    Ok(usize::try_from(count)?)
}

/// Settings of the hub, for the tool.
const SETTINGS: &str = "PRAGMA journal_mode = WAL;\nPRAGMA synchronous = FULL;\n";

/// `.import` of the rows that the hub wrote in `direct`; seconds.
fn import(dir: &Path) -> Result<f64> {
    let source = dir.join("direct").join(database::FILE);
    let hub = rusqlite::Connection::open(&source)?;
    let columns: Vec<String> = hub
        .prepare("SELECT name FROM pragma_table_info('outcome') ORDER BY cid")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let list: Vec<String> = columns
        .iter()
        .map(|name| if name == "record" { "hex(record)".to_owned() } else { name.clone() })
        .collect();
    let csv = dir.join("rows.csv");
    let (csv, list) = (csv.to_str().context("a path that is not UTF-8")?, list.join(", "));
    sqlite(
        &source,
        &format!(".mode csv\n.output {csv}\nSELECT {list} FROM outcome ORDER BY id;\n"),
    )?;
    let schema: Vec<String> = hub
        .prepare("SELECT sql FROM sqlite_schema WHERE tbl_name = 'outcome' AND sql IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let schema = schema.join(";\n").replace(") STRICT", ")");
    let target = dir.join("import");
    std::fs::create_dir(&target).context("cannot create a directory")?;
    let target = target.join(database::FILE);
    sqlite(&target, &format!("{SETTINGS}{schema};\n"))?;
    sqlite(&target, &format!("{SETTINGS}.import --csv {csv} outcome\n"))
}

/// `INSERT … SELECT` of the same rows into a database as the hub makes it; seconds.
fn select(dir: &Path) -> Result<f64> {
    let source = dir.join("direct").join(database::FILE);
    let source = source.to_str().context("a path that is not UTF-8")?;
    let target = dir.join("select");
    std::fs::create_dir(&target).context("cannot create a directory")?;
    drop(database::open(&Source::file(&target))?);
    let script = format!(
        "{SETTINGS}ATTACH '{source}' AS source;\nINSERT INTO outcome SELECT * FROM source.outcome;\n"
    );
    sqlite(&target.join(database::FILE), &script)
}

/// Runs the tool with a script; seconds.
fn sqlite(path: &Path, script: &str) -> Result<f64> {
    let start = Instant::now();
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start sqlite3")?;
    child.stdin.take().context("standard input of sqlite3")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output().context("cannot wait for sqlite3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "sqlite3: {said}");
    Ok(start.elapsed().as_secs_f64())
}

/// Installs the tool where it is missing and that can be done.
fn ensure_sqlite(progress: &dyn Fn(&str)) -> Result<()> {
    let is_there = || Command::new("sqlite3").arg("--version").output().is_ok();
    if is_there() {
        return Ok(());
    }
    progress("there is no sqlite3: installing the package sqlite3 with apt-get");
    let installed = Command::new("apt-get").args(["install", "-y", "sqlite3"]).output();
    let worked = installed.is_ok_and(|output| output.status.success());
    ensure!(
        worked && is_there(),
        "sqlite3 is missing and cannot be installed here\nremedy: apt-get install sqlite3"
    );
    Ok(())
}
