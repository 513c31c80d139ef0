//! `kill -9` under load: of the agent, of the hub, of a broker between them, and of all at the
//! same moment. A broker that was killed comes back without its sessions.

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
    /// The broker between them.
    Broker,
    /// The hub, whose devices are behind a broker and do not see it go.
    HubBehindBroker,
    /// All three.
    All,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Victim::Agent => "agent",
            Victim::Hub => "hub",
            Victim::Both => "agent and hub at once",
            Victim::Broker => "Mosquitto between them",
            Victim::HubBehindBroker => "hub behind Mosquitto",
            Victim::All => "agent, Mosquitto and hub at once",
        }
    }

    fn has_broker(self) -> bool {
        matches!(self, Victim::Broker | Victim::HubBehindBroker | Victim::All)
    }

    fn is_agent(self) -> bool {
        matches!(self, Victim::Agent | Victim::Both | Victim::All)
    }

    fn is_hub(self) -> bool {
        matches!(self, Victim::Hub | Victim::Both | Victim::HubBehindBroker | Victim::All)
    }

    fn is_broker(self) -> bool {
        matches!(self, Victim::Broker | Victim::All)
    }
}

/// Kills it `times` times.
pub(super) fn kills(stage: &mut Stage<'_>, times: usize, victim: Victim) -> Result<Row> {
    let mut rig = match victim.has_broker() {
        true => Rig::behind_broker(stage.executable)?,
        false => Rig::start(stage.executable)?,
    };
    rig.device.start()?;
    let load = rig.load(CALLERS)?;
    for time in 0..times {
        (stage.progress)(&format!("kill of the {} {}/{times}", victim.name(), time + 1));
        if victim.is_agent() {
            load.wait_for(stage.moments.pick(1..TOLD_MAX))?;
        } else {
            // Only what arrives shows that the device is connected again.
            rig.wait_for_outcomes(rig.outcomes()? + stage.moments.pick(1..TOLD_MAX) as u64)?;
        }
        if victim.is_broker() {
            rig.hub.broker()?.kill()?;
        }
        if victim.is_hub() {
            rig.hub.kill()?;
        }
        if victim.is_agent() {
            rig.device.kill()?;
        } else {
            load.wait_for(stage.moments.pick(1..TOLD_MAX / 2))?;
        }
        if victim.is_broker() {
            rig.hub.broker()?.restart()?;
        }
        if victim.is_hub() {
            rig.hub.restart()?;
            rig.device.link.retarget(rig.hub.mqtt);
        }
        if victim.is_agent() {
            rig.device.start()?;
        }
    }
    let repeated = load.repeated();
    rig.finish(load)?;
    let account = rig.settle()?;
    Ok(account.row(
        format!("`kill -9` of the {}", victim.name()),
        times,
        Verdict::Whole,
        format!("{repeated} attempts repeated by callers"),
    ))
}
