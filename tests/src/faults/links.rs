//! Bad links between the agent and the hub, each in its own network namespace. Callers are at
//! the agent's side of it, and must not notice.

use super::{Rig, Row, Stage, Verdict};
use crate::tunnel::{Line, Tunnel};
use anyhow::Result;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Callers at once.
const CALLERS: usize = 4;

/// Addresses of the device; it moves from one to the next.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];

/// A good link to begin with.
const GOOD: Line = Line {
    delay: Duration::from_millis(20),
    bytes_per_sec: Some(1 << 20),
    loss_permille: 0,
    queue_bytes: 256 << 10,
};

/// What is wrong with the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It is like this all the time.
    Bad(Line),
    /// Nothing passes for as long as some requests take.
    Cuts,
    /// A box in between forgets the connection; neither end hears of it.
    HalfOpen,
    /// The device gets another address.
    Address,
}

/// Every trouble; those that a device notices only after a minute or more in the long run only.
pub(super) fn links(stage: &mut Stage<'_>, long: bool) -> Result<Vec<Row>> {
    let ms = Duration::from_millis;
    let satellite = Line {
        delay: ms(300),
        bytes_per_sec: Some(32 << 10),
        loss_permille: 30,
        queue_bytes: 64 << 10,
    };
    let narrow = Line { delay: ms(50), bytes_per_sec: Some(8_000), ..satellite };
    let narrow = Line { loss_permille: 0, ..narrow };
    let many = if long { 20 } else { 1 };
    let mut cases = vec![
        ("link of 600 ms round trip and 3 % loss", Trouble::Bad(satellite), many),
        ("link of 64 kbit/s", Trouble::Bad(narrow), many),
        ("link cut for a random time", Trouble::Cuts, if long { 50 } else { 3 }),
    ];
    if long {
        cases.push(("connection half-open: forgotten in between", Trouble::HalfOpen, 3));
        cases.push(("address of the device changed", Trouble::Address, 3));
    }
    cases.into_iter().map(|(fault, trouble, times)| link(stage, fault, trouble, times)).collect()
}

fn link(stage: &mut Stage<'_>, fault: &str, trouble: Trouble, times: usize) -> Result<Row> {
    let line = match trouble {
        Trouble::Bad(line) => line,
        Trouble::Cuts | Trouble::HalfOpen | Trouble::Address => GOOD,
    };
    let tunnel = Tunnel::open(FAR[0], line, stage.moments.number())?;
    let executable = stage.executable;
    let mut rig = tunnel.near(|| Rig::at(executable, Tunnel::NEAR.into()))?;
    tunnel.far(|| rig.device.start())?;
    for time in 0..times {
        (stage.progress)(&format!("{fault} {}/{times}", time + 1));
        let load = tunnel.far(|| rig.load(CALLERS))?;
        let told = stage.moments.pick(30..150);
        match trouble {
            Trouble::Bad(_) => load.wait_for(told)?,
            Trouble::Cuts => {
                // Something arrives: it is connected.
                tunnel.near(|| rig.wait_for_outcomes(rig.outcomes()? + 1))?;
                tunnel.cut();
                load.wait_for(told)?;
                tunnel.restore();
            }
            Trouble::HalfOpen => {
                tunnel.near(|| rig.wait_for_outcomes(rig.outcomes()? + 1))?;
                tunnel.forget_flows();
                load.wait_for(told)?;
            }
            Trouble::Address => {
                tunnel.near(|| rig.wait_for_outcomes(rig.outcomes()? + 1))?;
                tunnel.move_far(FAR[time % 2], FAR[(time + 1) % 2])?;
                load.wait_for(told)?;
            }
        }
        rig.finish(load)?;
        let told = rig.told.len() as u64;
        tunnel.near(|| rig.wait_for_outcomes(told))?;
    }
    let account = tunnel.near(|| rig.account())?;
    let (passed, dropped) = tunnel.packets();
    Ok(Row {
        fault: fault.to_owned(),
        times,
        told: account.told,
        lost: account.lost.len(),
        on_record: account.on_record,
        doubled: account.doubled.len(),
        note: format!("{passed} packets passed, {dropped} lost"),
        verdict: Verdict::Whole,
    })
}
