//! Disks that fill up or turn read-only, under load and at the start, and are well again later.
//! While they are not, callers are told that nothing was recorded, with a decision or without, as
//! the device is configured; nobody restarts anything.

use super::{Rig, Row, Stage, Verdict};
use crate::load::Load;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Callers at once.
const CALLERS: usize = 4;

/// Size of the small disk: the ballast, a second one to prove that it fits, and some 10 MB.
const DISK_BYTES: u64 = 24 << 20;

/// Requests told between two steps.
const TOLD_BETWEEN: usize = 30;

/// Attempts that must fail while the disk is not well: each caller's, more than once.
const FAILURES: u64 = 12;

/// A small disk of its own on a directory, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Result<SmallDisk> {
        std::fs::create_dir_all(dir).context("cannot create a directory")?;
        let options = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir)
            .status()
            .context("cannot run mount")?;
        ensure!(mounted.success(), "mounting a small disk needs root");
        Ok(SmallDisk(dir.to_owned()))
    }

    /// Somebody else's file takes all that is left.
    fn fill(&self) -> Result<()> {
        let mut hog = File::create(self.hog()).context("cannot create a file")?;
        while hog.write_all(&[1; 64 * 1024]).is_ok() {}
        while hog.write_all(&[1; 512]).is_ok() {}
        Ok(())
    }

    /// `ro` or `rw`.
    fn remount(&self, how: &str) -> Result<()> {
        let options = format!("remount,{how},size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        ensure!(mounted.context("cannot run mount")?.success(), "cannot remount {how}");
        Ok(())
    }

    fn free(&self) -> Result<()> {
        std::fs::remove_file(self.hog()).context("cannot free the space")
    }

    fn hog(&self) -> PathBuf {
        self.0.join("hog")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_with_the_machine = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the disk `times` times under load, then at the start.
pub(super) fn full(stage: &mut Stage<'_>, times: usize) -> Result<Vec<Row>> {
    let mut rig = Rig::start(stage.executable)?;
    let disk = SmallDisk::mount(&rig.device.data())?;
    let mut rows = vec![first_open(&mut rig, &disk)?];
    let mut refused = 0;
    for time in 0..times {
        (stage.progress)(&format!("full disk under load {}/{times}", time + 1));
        let load = rig.load(CALLERS)?;
        load.wait_for(stage.moments.pick(1..TOLD_BETWEEN))?;
        disk.fill()?;
        refused += unwell(&rig, &load)?;
        disk.free()?;
        load.wait_for(TOLD_BETWEEN)?;
        rig.finish(load)?;
    }
    rows.push(row("disk full under load, then space freed", times, refused, &mut rig)?);
    let mut refused = 0;
    for time in 0..times {
        (stage.progress)(&format!("full disk at the start {}/{times}", time + 1));
        rig.device.kill()?;
        disk.fill()?;
        rig.device.start().context("on a full disk")?;
        let load = rig.load(CALLERS)?;
        refused += unwell(&rig, &load)?;
        disk.free()?;
        load.wait_for(TOLD_BETWEEN)?;
        rig.finish(load)?;
    }
    rows.push(row("disk full at the start, then space freed", times, refused, &mut rig)?);
    // The disk is unmounted after the agent is gone.
    rig.device.kill()?;
    drop(disk);
    Ok(rows)
}

/// The very first start finds a full disk.
fn first_open(rig: &mut Rig, disk: &SmallDisk) -> Result<Row> {
    disk.fill()?;
    rig.device.start().context("on a full disk")?;
    let load = rig.load(CALLERS)?;
    let refused = unwell(rig, &load)?;
    disk.free()?;
    load.wait_for(TOLD_BETWEEN)?;
    rig.finish(load)?;
    row("first start ever on a full disk, then space freed", 1, refused, rig)
}

/// A real read-only remount, of a disk that an agent finds at its start; then it is made writable
/// again. A disk with files open for writing cannot be remounted, so under load the shim stands in.
pub(super) fn remounted(stage: &mut Stage<'_>, times: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (mode, config) in [("refuses", ""), ("answers without a record", ANSWERS)] {
        let mut rig = Rig::with(stage.executable, config)?;
        let disk = SmallDisk::mount(&rig.device.data())?;
        let mut told = 0;
        // The very first start is one of them.
        for time in 0..times {
            (stage.progress)(&format!("read-only at the start, {mode} {}/{times}", time + 1));
            disk.remount("ro")?;
            rig.device.start().context("on a read-only disk")?;
            let load = rig.load(CALLERS)?;
            if config.is_empty() {
                unwell(&rig, &load)?;
            } else {
                load.wait_for_failures(FAILURES)?;
                told += unsure(&rig)?;
            }
            disk.remount("rw")?;
            load.wait_for(TOLD_BETWEEN)?;
            let unrecorded = load.unrecorded();
            rig.finish(load)?;
            told += unrecorded.load(Ordering::Relaxed);
            all_told(&rig)?;
            rig.device.kill()?;
        }
        rig.device.start()?;
        let fault = format!("disk remounted read-only at the start, {mode}; then writable");
        let row = row(&fault, times, 0, &mut rig)?;
        let heard = rig.unrecorded()?;
        ensure!(heard == told, "{told} decisions without a record, the hub heard of {heard}");
        let note = match config {
            "" => "the first start ever is one of them; recovers by itself".to_owned(),
            _ => format!("{told} decisions told without a record, and the hub was told of {heard}"),
        };
        rows.push(Row { note, ..row });
        rig.device.kill()?;
        drop(disk);
    }
    Ok(rows)
}

/// Turns the disk read-only `times` times under load, and at the start.
pub(super) fn read_only(stage: &mut Stage<'_>, times: usize) -> Result<Row> {
    let mut rig = Rig::start(stage.executable)?;
    let orders = rig.shim(None)?;
    rig.device.start()?;
    let mut refused = 0;
    for time in 0..times {
        (stage.progress)(&format!("read-only disk {}/{times}", time + 1));
        let load = rig.load(CALLERS)?;
        load.wait_for(stage.moments.pick(1..TOLD_BETWEEN))?;
        orders.make_read_only()?;
        refused += unwell(&rig, &load)?;
        orders.make_writable()?;
        load.wait_for(TOLD_BETWEEN)?;
        rig.finish(load)?;
    }
    row("disk read-only under load, then writable", times, refused, &mut rig)
}

/// A device that decides all the same.
const ANSWERS: &str = "\n[store]\nwhen_unrecordable = \"answer\"\n";

/// Longest wait for the hub to hear of decisions without a record.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// Fills the disk under load of a device that answers without a record.
pub(super) fn full_answered(stage: &mut Stage<'_>, times: usize) -> Result<Row> {
    let mut rig = Rig::with(stage.executable, ANSWERS)?;
    let disk = SmallDisk::mount(&rig.device.data())?;
    let outage = Outage { begin: &|| disk.fill(), end: &|| disk.free() };
    let row = answered(stage, &mut rig, times, &outage)?;
    // The disk is unmounted after the agent is gone.
    rig.device.kill()?;
    drop(disk);
    Ok(Row { fault: "disk full under load, answered without a record".to_owned(), ..row })
}

/// The same with a disk that turns read-only, on which not even the count can be kept.
pub(super) fn read_only_answered(stage: &mut Stage<'_>, times: usize) -> Result<Row> {
    let mut rig = Rig::with(stage.executable, ANSWERS)?;
    let orders = rig.shim(None)?;
    let outage = Outage { begin: &|| orders.make_read_only(), end: &|| orders.make_writable() };
    let row = answered(stage, &mut rig, times, &outage)?;
    Ok(Row { fault: "disk read-only under load, answered without a record".to_owned(), ..row })
}

/// How the disk becomes unwell, and well again.
struct Outage<'a> {
    begin: &'a dyn Fn() -> Result<()>,
    end: &'a dyn Fn() -> Result<()>,
}

/// Every decision that callers were told without a record is counted, and the hub hears of as
/// many; with a record none is lost.
fn answered(
    stage: &mut Stage<'_>,
    rig: &mut Rig,
    times: usize,
    outage: &Outage<'_>,
) -> Result<Row> {
    rig.device.start()?;
    let mut told = 0;
    for time in 0..times {
        (stage.progress)(&format!("answered without a record {}/{times}", time + 1));
        let load = rig.load(CALLERS)?;
        load.wait_for(stage.moments.pick(1..TOLD_BETWEEN))?;
        (outage.begin)()?;
        load.wait_for_failures(FAILURES)?;
        told += unsure(rig)?;
        (outage.end)()?;
        load.wait_for(TOLD_BETWEEN)?;
        let unrecorded = load.unrecorded();
        rig.finish(load)?;
        told += unrecorded.load(Ordering::Relaxed);
    }
    all_told(rig)?;
    let row = row("", times, 0, rig)?;
    let heard = rig.unrecorded()?;
    ensure!(heard == told, "{told} decisions were told without a record, the hub heard of {heard}");
    let note = format!("{told} decisions told without a record, and the hub was told of {heard}");
    Ok(Row { note, ..row })
}

/// Waits until the hub is to be told of no decision without a record any more.
fn all_told(rig: &Rig) -> Result<()> {
    wait::until("nothing to be told", HEARD_WITHIN, || match untold(rig) {
        Ok(Value::Null) => ControlFlow::Break(()),
        Ok(untold) => ControlFlow::Continue(untold.to_string()),
        Err(error) => ControlFlow::Continue(format!("{error:#}")),
    })
}

/// What is for the hub is refused with the reason, and has no ticket. Says how many decisions
/// that were.
fn unsure(rig: &Rig) -> Result<u64> {
    let device = rig.device.address.client();
    let path = format!("/v1/tasks/{}", crate::load::TASK);
    let reply = device.post(&path, &json!({ "text": "strange hum in the gearbox" }))?.success()?;
    let reason = reply["reason"].as_str().unwrap_or_default();
    let is_refused = reply["status"] == "refused" && reply["recorded"] == false;
    let says_so = reason.contains("the hub cannot be asked now");
    ensure!(is_refused && says_so && reply.get("escalation").is_none(), "{reply}");
    Ok(1)
}

/// Decisions that the hub has not been told of.
fn untold(rig: &Rig) -> Result<Value> {
    let status = rig.device.address.client().get("/v1/status")?.success()?;
    Ok(status["unrecorded"]["untold"].clone())
}

/// While the disk is not well every caller is refused, and told that nothing was recorded; and
/// the agent still answers about itself.
fn unwell(rig: &Rig, load: &Load) -> Result<u64> {
    let before = load.repeated();
    load.wait_for_failures(FAILURES)?;
    let device = rig.device.address.client();
    let path = format!("/v1/tasks/{}", crate::load::TASK);
    let response = device.post(&path, &json!({ "text": "hyd pump leaking" }))?;
    if response.status != 503 || response.error_code() != "not-recorded" {
        bail!("the disk is not well, and the agent says {response:?}");
    }
    let remedy = response.body["error"]["remedy"].as_str().unwrap_or_default();
    ensure!(!remedy.is_empty(), "no remedy: {response:?}");
    device.get("/v1/status")?.success().context("the status while the disk is not well")?;
    Ok(load.repeated() - before)
}

fn row(fault: &str, times: usize, refused: u64, rig: &mut Rig) -> Result<Row> {
    let account = rig.settle()?;
    Ok(account.row(
        fault.to_owned(),
        times,
        Verdict::Whole,
        format!("{refused} attempts refused meanwhile; recovers by itself"),
    ))
}
