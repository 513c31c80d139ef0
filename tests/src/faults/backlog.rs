//! A long outage: outcomes pile up in the store, the agent is killed, starts again, and catches
//! up.

use super::{Rig, Row, Stage, Verdict};
use crate::api::{AgentStatus, HubStats};
use crate::site::Address;
use crate::wait;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests of one HTTP call.
const BATCH: usize = 256;

/// Calls at once.
const CALLERS: usize = 4;

/// Room for the largest backlog.
const STORE: &str = "\n[store]\nbytes_max = \"8 GiB\"\n";

/// Longest wait without any progress of the catching up.
const STALLED_AFTER: Duration = Duration::from_secs(180);

/// How often the callers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Memory that a backlog may cost, beyond what an empty agent takes: caches of sled, each
/// generation's page table, and one window of the sender.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// Piles `outcomes` up, and lets them go.
pub(super) fn backlog(stage: &mut Stage<'_>, outcomes: usize) -> Result<Row> {
    let mut rig = Rig::with(stage.executable, STORE)?;
    rig.device.link.cut();
    rig.device.start()?;
    let empty = status(&rig)?.memory_bytes.unwrap_or(0);
    let told = AtomicUsize::new(0);
    let calls = AtomicUsize::new(outcomes.div_ceil(BATCH));
    std::thread::scope(|scope| {
        let fill = || pile_up(&rig.device.address, &calls, &told);
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(fill)).collect();
        let mut shown = 0;
        while !callers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let now = told.load(Ordering::Relaxed);
            if now >= shown {
                (stage.progress)(&format!("backlog: {now} of {outcomes}"));
                shown = now + outcomes.div_ceil(20);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let mut done = callers.into_iter().map(|caller| caller.join());
        done.try_for_each(|done| done.map_err(|_| anyhow!("a caller panicked"))?)
    })?;
    let told = told.into_inner();
    let disk_full = bytes(&rig.device.data())?;
    rig.device.kill()?;
    let start = Instant::now();
    rig.device.start()?;
    let ready_ms = start.elapsed().as_millis();
    let full = status(&rig)?;
    ensure!(full.store.backlog >= told as u64, "a backlog of {}", full.store.backlog);
    let full = full.memory_bytes.unwrap_or(0);
    rig.device.link.restore();
    // At once, instead of after the pause of a device that found no hub.
    rig.device.start()?;
    let start = Instant::now();
    let mut peak = full;
    let (mut seen, mut moved_at) = (0, Instant::now());
    let within = Duration::from_secs(4 * 3600);
    let stats = wait::until("an empty backlog", within, || {
        let now = match (stats(&rig), status(&rig)) {
            (Ok(stats), Ok(status)) => (stats, status),
            (Err(error), _) | (_, Err(error)) => return ControlFlow::Break(Err(error)),
        };
        peak = peak.max(now.1.memory_bytes.unwrap_or(0));
        if now.1.store.backlog == 0 {
            return ControlFlow::Break(Ok(now.0));
        }
        if now.0.outcomes != seen {
            (seen, moved_at) = (now.0.outcomes, Instant::now());
        }
        if moved_at.elapsed() > STALLED_AFTER {
            return ControlFlow::Break(Err(anyhow!("no progress at {seen} of {told}")));
        }
        ControlFlow::Continue(format!("{seen} of {told}"))
    })??;
    let seconds = start.elapsed().as_secs();
    let disk_empty = bytes(&rig.device.data())?;
    let mb = |bytes: u64| bytes >> 20;
    ensure!(
        peak < empty + GROWTH_BYTES_MAX,
        "memory grew from {} MB to {} MB with {told} outcomes",
        mb(empty),
        mb(peak)
    );
    let at_hub = usize::try_from(stats.outcomes)?;
    Ok(Row {
        fault: "outage with a backlog, then `kill -9`, then the hub is back".to_owned(),
        times: 1,
        told,
        lost: told.saturating_sub(at_hub),
        on_record: 0,
        doubled: at_hub.saturating_sub(told),
        note: format!(
            "ready {ready_ms} ms after the start; resident {} MB empty, {} MB with the backlog, \
             {} MB at the peak while catching up, which took {seconds} s; on disk {} MB, then {} MB",
            mb(empty),
            mb(full),
            mb(peak),
            mb(disk_full),
            mb(disk_empty)
        ),
        verdict: Verdict::Whole,
    })
}

fn pile_up(device: &Address, calls: &AtomicUsize, told: &AtomicUsize) -> Result<()> {
    let client = device.client();
    let path = format!("/v1/tasks/{}", crate::load::TASK);
    let next = |left: usize| left.checked_sub(1);
    while let Ok(left) = calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
        let item = |at: usize| json!({ "text": format!("pump {left}-{at} leaking at the seal") });
        let items: Vec<Value> = (0..BATCH).map(item).collect();
        let replies = client.post(&path, &Value::from(items))?.success()?;
        let replies = replies.as_array().context("replies to a batch")?;
        let recorded = replies.iter().filter(|reply| reply["outcome"].is_string()).count();
        ensure!(recorded == BATCH, "{recorded} of {BATCH} recorded");
        told.fetch_add(recorded, Ordering::Relaxed);
    }
    Ok(())
}

fn status(rig: &Rig) -> Result<AgentStatus> {
    let body = rig.device.address.client().get("/v1/status")?.success()?;
    serde_json::from_value(body).context("the agent's status")
}

fn stats(rig: &Rig) -> Result<HubStats> {
    let body = rig.hub.client().get("/api/v1/stats")?.success()?;
    serde_json::from_value(body).context("the hub's totals")
}

/// Bytes of all files below a directory.
fn bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { bytes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}
