//! Damage to the files of a store, while the agent is down: it must start, save what can be
//! read, tell the hub what it could not, and go on. What a caller was told is at the hub, or on
//! record there as lost.

use super::{Rig, Row, Stage, Verdict};
use crate::moments::Moments;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Callers at once.
const CALLERS: usize = 8;

/// Outcomes of the largest store that is damaged: several of sled's segments of 512 kB.
const OUTCOMES_MAX: usize = 400;

/// Bits that are flipped at once, at most.
const BITS_MAX: usize = 8;

/// What is done to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Bits,
    Truncation,
}

/// Damages a store `times` times, each time with records that the hub does not have.
pub(super) fn damage(stage: &mut Stage<'_>, times: usize, damage: Damage) -> Result<Row> {
    let mut rig = Rig::start(stage.executable)?;
    let mut account = super::Account::default();
    for time in 0..times {
        rig.device.link.cut();
        rig.device.start()?;
        let load = rig.load(CALLERS)?;
        load.wait_for(stage.moments.pick(20..OUTCOMES_MAX))?;
        rig.finish(load)?;
        rig.device.kill()?;
        let done = match damage {
            Damage::Bits => flip(&rig.device.data(), &mut stage.moments),
            Damage::Truncation => truncate(&rig.device.data(), &mut stage.moments),
        }?;
        (stage.progress)(&format!("{}/{times}: {done}", time + 1));
        rig.device.start().with_context(|| done.clone())?;
        // It goes on before anybody sees to it, and before the hub is there.
        let load = rig.load(1)?;
        load.wait_for(3)?;
        rig.finish(load)?;
        let before = account.lost.len();
        account = rig.settle().with_context(|| done.clone())?;
        if account.lost.len() > before {
            (stage.progress)(&format!("{} lost in silence", account.lost.len() - before));
        }
    }
    Ok(account.row(
        match damage {
            Damage::Bits => format!("up to {BITS_MAX} bits of the store flipped"),
            Damage::Truncation => "the store's file truncated".to_owned(),
        },
        times,
        Verdict::Damaged,
        format!("starts and goes on every time; {} stores set aside", account.replaced),
    ))
}

/// The files of all generations, the databases first, and the witness.
fn files(data: &Path) -> Result<Vec<PathBuf>> {
    let (mut databases, mut others) = (Vec::new(), Vec::new());
    for generation in fs::read_dir(data.join("q")).context("the store has no generations")? {
        for file in fs::read_dir(generation?.path())? {
            let path = file?.path();
            if path.ends_with("db") {
                databases.push(path);
            } else if path.is_file() {
                others.push(path);
            }
        }
    }
    others.push(data.join("witness"));
    databases.sort();
    others.sort();
    databases.extend(others);
    Ok(databases)
}

/// Flips bits, mostly in the newest database, and says which.
fn flip(data: &Path, moments: &mut Moments) -> Result<String> {
    let files = files(data)?;
    let databases = files.iter().filter(|path| path.ends_with("db")).count();
    let any = moments.pick(0..4) == 0;
    let path = if any { &files[moments.pick(0..files.len())] } else { &files[databases - 1] };
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    // The end of the file is preallocated.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used == 0 {
        return Ok(format!("{} is empty", path.display()));
    }
    let mut done = format!("{} ({used} bytes in use), bits at", path.display());
    for _ in 0..=moments.pick(0..BITS_MAX) {
        let (at, bit) = (moments.pick(0..used), moments.pick(0..8));
        bytes[at] ^= 1 << bit;
        done += &format!(" {at}.{bit}");
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(done)
}

/// Cuts the newest database off, and says where.
fn truncate(data: &Path, moments: &mut Moments) -> Result<String> {
    let files = files(data)?;
    let path = files.iter().rfind(|path| path.ends_with("db")).context("no database")?;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let at = moments.pick(0..used + 1);
    fs::write(path, &bytes[..at]).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{} cut off at {at} of {used} bytes in use", path.display()))
}
