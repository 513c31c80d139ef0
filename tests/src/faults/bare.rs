//! sled alone under the same power cuts: with `flush` only it loses what it said was durable,
//! with `fdatasync` after it nothing. Without the first, the shim would prove nothing.

use super::orders::{Cut, Orders, VARIABLE};
use super::{Row, Stage, Verdict};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// First argument of a process that writes to sled, or that reads back.
const ARGUMENT: &str = "__sled";

/// Bytes of a value: a record of an outcome with a short text.
const VALUE_BYTES: usize = 300;

/// Operations of the longest run; a record takes about three.
const OPS_MAX: usize = 600;

/// What the writer does after `flush`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    Flush,
    Fdatasync,
}

impl Barrier {
    fn name(self) -> &'static str {
        match self {
            Barrier::Flush => "flush",
            Barrier::Fdatasync => "fdatasync",
        }
    }
}

/// Becomes the program that writes to sled if the arguments say so.
pub fn become_writer() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let (what, dir) = (args.next()?, args.next()?);
    let dir = Path::new(&dir);
    let done = match what.to_str() {
        Some("flush") => append(dir, Barrier::Flush),
        Some("fdatasync") => append(dir, Barrier::Fdatasync),
        _ => count(dir),
    };
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn open(dir: &Path) -> Result<sled::Db> {
    let config = sled::Config::new().path(dir).cache_capacity(8 << 20).flush_every_ms(None);
    config.open().context("sled does not open")
}

/// Writes record after record, and says each number once sled said that it is durable.
fn append(dir: &Path, barrier: Barrier) -> Result<()> {
    let db = open(dir)?;
    let file = File::options().write(true).open(dir.join("db")).context("the file of sled")?;
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        db.insert(number.to_be_bytes(), vec![b'x'; VALUE_BYTES])?;
        db.flush()?;
        if barrier == Barrier::Fdatasync {
            file.sync_data()?;
        }
        writeln!(out, "{}", number + 1)?;
        out.flush()?;
    }
    Ok(())
}

/// Says how many records are there, without a gap from the first on.
fn count(dir: &Path) -> Result<()> {
    let db = open(dir)?;
    let mut found = 0_u64;
    while db.get(found.to_be_bytes())?.is_some_and(|value| value.len() == VALUE_BYTES) {
        found += 1;
    }
    writeln!(std::io::stdout().lock(), "{found}").context("cannot say the number")
}

/// Cuts the power of sled with either barrier, `times` times each.
pub(super) fn power_cuts(stage: &mut Stage<'_>, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (barrier, verdict) in
        [(Barrier::Flush, Verdict::Control), (Barrier::Fdatasync, Verdict::Whole)]
    {
        let (mut told, mut lost, mut unopened) = (0, 0, 0);
        for time in 0..times {
            let name = barrier.name();
            (stage.progress)(&format!("power cut of bare sled with {name} {}/{times}", time + 1));
            let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
            let (said, found) = one(stage, dir.path(), barrier)?;
            told += said;
            lost += said.saturating_sub(found.unwrap_or(0));
            unopened += usize::from(found.is_none());
        }
        rows.push(Row {
            fault: match barrier {
                Barrier::Flush => "power cut of sled alone, `flush` only",
                Barrier::Fdatasync => "power cut of sled alone, `flush` and `fdatasync`",
            }
            .to_owned(),
            times,
            told,
            lost,
            on_record: 0,
            doubled: 0,
            note: match verdict {
                Verdict::Control => format!("must lose; {unopened} could not be opened"),
                _ => format!("{unopened} could not be opened"),
            },
            verdict,
        });
    }
    Ok(rows)
}

/// How many records sled said were durable, and how many are there; `None` if it does not open.
fn one(stage: &mut Stage<'_>, dir: &Path, barrier: Barrier) -> Result<(usize, Option<usize>)> {
    let data = dir.join("data");
    // Creation apart: the directory's names are synced by nobody here, and that is not the point.
    run(stage.executable, "count", &data, None)?.context("sled does not open a new directory")?;
    let cut = Cut {
        at_op: stage.moments.pick(OPS_MAX / 4..OPS_MAX) as u64,
        keep_percent: [0, 50, 90][stage.moments.pick(0..3)],
        seed: stage.moments.number(),
    };
    let orders = Orders::new(&data, &dir.join("scratch"), Some(cut))?;
    let said = run(stage.executable, barrier.name(), &data, Some(&orders))?;
    if orders.taken()?.is_none() {
        bail!("sled ended before its power was cut");
    }
    let found = run(stage.executable, "count", &data, None)?;
    Ok((said.unwrap_or(0), found))
}

/// The last number that the program says; `None` if it says none.
fn run(
    executable: &Path,
    what: &str,
    dir: &Path,
    orders: Option<&Orders>,
) -> Result<Option<usize>> {
    let mut command = Command::new(executable);
    command.args([ARGUMENT, what]).arg(dir);
    if let Some(orders) = orders {
        command.env(VARIABLE, serde_json::to_string(orders).context("a path that is not UTF-8")?);
    }
    let output = command.output().context("cannot start the program that writes to sled")?;
    let said = String::from_utf8_lossy(&output.stdout).lines().last().map(str::to_owned);
    said.map(|number| number.parse().context("not a number")).transpose()
}
