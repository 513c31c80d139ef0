//! `kill -9` under load: of the agent, of the hub, and of both at the same moment.

use super::{Rig, Row, Stage, Verdict};
use anyhow::Result;

/// Callers at once: several requests are in flight at every kill.
const CALLERS: usize = 4;

/// Requests told between two kills, at most.
const TOLD_MAX: usize = 40;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Agent,
    Hub,
    Both,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Victim::Agent => "agent",
            Victim::Hub => "hub",
            Victim::Both => "agent and hub at once",
        }
    }
}

/// Kills it `times` times.
pub(super) fn kills(stage: &mut Stage<'_>, times: usize, victim: Victim) -> Result<Row> {
    let mut rig = Rig::start(stage.executable)?;
    rig.device.start()?;
    let load = rig.load(CALLERS)?;
    for time in 0..times {
        (stage.progress)(&format!("kill of the {} {}/{times}", victim.name(), time + 1));
        if victim == Victim::Hub {
            // Only what arrives shows that the device is connected again.
            rig.wait_for_outcomes(rig.outcomes()? + stage.moments.pick(1..TOLD_MAX) as u64)?;
        } else {
            load.wait_for(stage.moments.pick(1..TOLD_MAX))?;
        }
        if victim != Victim::Agent {
            rig.hub.kill()?;
        }
        if victim != Victim::Hub {
            rig.device.kill()?;
        }
        if victim == Victim::Hub {
            load.wait_for(stage.moments.pick(1..TOLD_MAX / 2))?;
        }
        if victim != Victim::Agent {
            rig.hub.restart()?;
            rig.device.link.retarget(rig.hub.mqtt);
        }
        if victim != Victim::Hub {
            rig.device.start()?;
        }
    }
    let repeated = load.repeated();
    rig.finish(load)?;
    let account = rig.settle()?;
    Ok(Row {
        fault: format!("`kill -9` of the {}", victim.name()),
        times,
        told: account.told,
        lost: account.lost.len(),
        on_record: account.on_record,
        doubled: account.doubled.len(),
        note: format!("{repeated} attempts repeated by callers"),
        verdict: Verdict::Whole,
    })
}
