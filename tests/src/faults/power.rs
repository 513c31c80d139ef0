//! Power cuts of the agent: at random operations on its disk, from the first one of its start on.

use super::orders::Cut;
use super::{Rig, Row, Stage, Verdict};
use anyhow::Result;

/// Operations of the longest run: a first start takes some 200, a commit about four.
const OPS_MAX: usize = 700;

/// Operations of a later start, about; a third of the cuts fall into it.
const START_OPS: usize = 40;

/// Callers at once: alone, every commit holds one record; together they share commits.
const CALLERS: [usize; 2] = [1, 12];

/// `times` cuts for each share of unsynced pages that survives.
pub(super) fn cuts(stage: &mut Stage<'_>, times: usize) -> Result<Vec<Row>> {
    [0, 50, 90].into_iter().map(|keep_percent| cuts_keeping(stage, times, keep_percent)).collect()
}

fn cuts_keeping(stage: &mut Stage<'_>, times: usize, keep_percent: u64) -> Result<Row> {
    let mut rig = Rig::start(stage.executable)?;
    let (mut pages, mut names, mut torn, mut starting) = (0, 0, 0, 0);
    for time in 0..times {
        (stage.progress)(&format!("power cut {}/{times}, {keep_percent} % survive", time + 1));
        let ops_max = if stage.moments.pick(0..3) == 0 { START_OPS } else { OPS_MAX };
        let at_op = stage.moments.pick(1..ops_max) as u64;
        let orders = rig.shim(Some(Cut { at_op, keep_percent, seed: stage.moments.number() }))?;
        // Half of the time the queue is being drained.
        if stage.moments.coin() {
            rig.device.link.cut();
        } else {
            rig.device.link.restore();
        }
        let load = match rig.device.start() {
            Ok(()) => {
                let load = rig.load(CALLERS[time % CALLERS.len()])?;
                rig.wait_for_cut()?;
                Some(load)
            }
            Err(error) if orders.taken()?.is_none() => return Err(error),
            Err(_) => {
                starting += 1;
                None
            }
        };
        let taken = orders.taken()?.unwrap_or_default();
        pages += taken.pages_lost;
        names += taken.names_lost;
        torn += usize::from(taken.torn);
        rig.device.disk = None;
        rig.device.start()?;
        if let Some(load) = load {
            rig.finish(load)?;
        }
    }
    let account = rig.settle()?;
    let fault = format!("power cut of the agent, {keep_percent} % of what was not synced survives");
    let note = format!(
        "{pages} pages and {names} names lost, {torn} torn writes, {starting} cuts while starting, \
             {} stores salvaged",
        account.replaced
    );
    Ok(account.row(fault, times, Verdict::Whole, note))
}
