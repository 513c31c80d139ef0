//! Bad links between the agent and the hub, each in its own network namespace. Callers are at
//! the agent's side of it, and must not notice.
//!
//! A connection that died in silence is noticed by the keep-alive: by the device after at most
//! twice as long, by the hub after at most one and a half times as long, or when the device is
//! back before.

use super::{Rig, Row, Stage, Verdict};
use crate::load::Load;
use crate::moments::Moments;
use crate::tunnel::{Line, Tunnel};
use crate::wait;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Callers at once.
const CALLERS: usize = 4;

/// Addresses of the device; it moves from one to the next.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];

/// A good link to begin with, and long enough that something is always on its way.
const GOOD: Line = Line {
    delay: Duration::from_millis(150),
    bytes_per_sec: Some(1 << 20),
    loss_permille: 0,
    queue_bytes: 256 << 10,
};

/// Keep-alive of the device where a silent death is to be noticed: the shortest there is.
const KEEP_ALIVE_SECS: u32 = 5;

/// Longest wait for both ends to notice, on a machine that may be busy.
const NOTICED_WITHIN: Duration = Duration::from_secs(120);

/// Longest wait for something to be on its way.
const FLYING_WITHIN: Duration = Duration::from_secs(60);

/// What is wrong with the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It is like this all the time.
    Bad(Line),
    /// Nothing passes for as long as some requests take.
    Cuts,
    /// A box in between forgets the connection; neither end hears of it.
    HalfOpen,
    /// The device gets another address; its connection keeps the old one.
    Address,
    /// The hub loses its power and comes back without any session, while nothing passes.
    HubGone,
}

/// Every trouble.
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
    let times = |short: usize, many: usize| if long { many } else { short };
    let cases = [
        ("link of 600 ms round trip and 3 % loss", Trouble::Bad(satellite), times(1, 20)),
        ("link of 64 kbit/s", Trouble::Bad(narrow), times(1, 20)),
        ("link cut for a random time", Trouble::Cuts, times(3, 50)),
        ("connection half-open: forgotten in between", Trouble::HalfOpen, times(2, 20)),
        ("address of the device changed", Trouble::Address, times(2, 20)),
        ("hub back without its sessions", Trouble::HubGone, times(2, 20)),
    ];
    cases.into_iter().map(|(fault, trouble, times)| link(stage, fault, trouble, times)).collect()
}

fn link(stage: &mut Stage<'_>, fault: &str, trouble: Trouble, times: usize) -> Result<Row> {
    let (line, keep_alive_secs) = match trouble {
        Trouble::Bad(line) => (line, None),
        Trouble::Cuts => (GOOD, None),
        Trouble::HalfOpen | Trouble::Address | Trouble::HubGone => (GOOD, Some(KEEP_ALIVE_SECS)),
    };
    let tunnel = Tunnel::open(FAR[0], line, stage.moments.number())?;
    let executable = stage.executable;
    let rig = tunnel.near(|| Rig::at(executable, Tunnel::NEAR.into(), keep_alive_secs))?;
    let mut scene = Scene { tunnel, rig, noticed: Noticed::default(), flying: 0 };
    scene.tunnel.far(|| scene.rig.device.start())?;
    for time in 0..times {
        (stage.progress)(&format!("{fault} {}/{times}", time + 1));
        scene.once(&mut stage.moments, trouble, time)?;
    }
    scene.row(fault, trouble, times)
}

/// A hub and a device with a link between them.
struct Scene {
    tunnel: Tunnel,
    rig: Rig,
    noticed: Noticed,
    /// Records told and not at the hub at the moment of the fault, of all times.
    flying: u64,
}

/// How long it took each end to notice, at worst.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Noticed {
    device: Duration,
    hub: Duration,
}

impl Scene {
    fn once(&mut self, moments: &mut Moments, trouble: Trouble, time: usize) -> Result<()> {
        let load = self.tunnel.far(|| self.rig.load(CALLERS))?;
        let told = moments.pick(30..150);
        match trouble {
            Trouble::Bad(_) => load.wait_for(told)?,
            Trouble::Cuts => {
                self.something_flies(&load)?;
                self.tunnel.cut();
                load.wait_for(told)?;
                self.tunnel.restore();
            }
            Trouble::HalfOpen => {
                self.something_flies(&load)?;
                let connections = self.connections()?;
                self.tunnel.forget_flows();
                self.wait_for_notice(connections)?;
            }
            Trouble::Address => {
                self.something_flies(&load)?;
                let connections = self.connections()?;
                self.tunnel.move_far(FAR[time % 2], FAR[(time + 1) % 2])?;
                self.wait_for_notice(connections)?;
            }
            Trouble::HubGone => {
                self.something_flies(&load)?;
                self.tunnel.cut();
                self.rig.hub.kill()?;
                load.wait_for(told)?;
                let Scene { tunnel, rig, .. } = self;
                tunnel.near(|| rig.hub.restart())?;
                self.tunnel.restore();
            }
        }
        self.rig.finish(load)?;
        let told = self.rig.told.len() as u64;
        self.tunnel.near(|| self.rig.wait_for_outcomes(told))
    }

    /// Waits until the device is connected and callers were told more than the hub has.
    fn something_flies(&mut self, load: &Load) -> Result<()> {
        let before = self.tunnel.near(|| self.rig.outcomes())?;
        self.tunnel.near(|| self.rig.wait_for_outcomes(before + 1))?;
        let known = self.rig.told.len();
        self.flying += wait::until("records on their way", FLYING_WITHIN, || {
            let outcomes = match self.tunnel.near(|| self.rig.outcomes()) {
                Ok(outcomes) => outcomes,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            match ((known + load.told()) as u64).saturating_sub(outcomes) {
                0 => ControlFlow::Continue("none"),
                flying => ControlFlow::Break(Ok(flying)),
            }
        })??;
        Ok(())
    }

    /// The device's link, as it sees it.
    fn link(&self) -> Result<Value> {
        let client = self.rig.device.address.client();
        Ok(self.tunnel.far(|| client.get("/v1/status")?.success())?["link"].take())
    }

    /// Connections that the device has made.
    fn connections(&self) -> Result<u64> {
        self.link()?["connections"].as_u64().context("connections of the device")
    }

    /// Waits until the device has given its connection up, and the hub the device; and notes
    /// how long that took.
    fn wait_for_notice(&mut self, connections: u64) -> Result<()> {
        let start = Instant::now();
        let path = format!("/api/v1/devices/{}", self.rig.device.name);
        let hub = self.rig.hub.client();
        let (mut by_device, mut by_hub) = (None, None);
        wait::until("both ends to notice", NOTICED_WITHIN, || {
            let looked = self.link().and_then(|link| {
                let device = self.tunnel.near(|| hub.get(&path)?.success())?;
                Ok((link, device["online"] == true))
            });
            let (link, is_online) = match looked {
                Ok(looked) => looked,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            let is_back = link["connections"].as_u64().is_some_and(|now| now > connections);
            if is_back || link["state"] != "online" {
                by_device.get_or_insert_with(|| start.elapsed());
            }
            if is_back || !is_online {
                by_hub.get_or_insert_with(|| start.elapsed());
            }
            match (by_device, by_hub) {
                (Some(_), Some(_)) => ControlFlow::Break(Ok(())),
                _ => ControlFlow::Continue(format!("device {by_device:?}, hub {by_hub:?}")),
            }
        })??;
        let Noticed { device, hub } = &mut self.noticed;
        *device = by_device.unwrap_or_default().max(*device);
        *hub = by_hub.unwrap_or_default().max(*hub);
        Ok(())
    }

    fn row(&self, fault: &str, trouble: Trouble, times: usize) -> Result<Row> {
        let account = self.tunnel.near(|| self.rig.account())?;
        let (passed, dropped) = self.tunnel.packets();
        let flying = self.flying;
        let note = match trouble {
            Trouble::Bad(_) => format!("{passed} packets passed, {dropped} lost"),
            Trouble::Cuts | Trouble::HubGone => {
                format!("{flying} records on their way; {passed} packets passed, {dropped} lost")
            }
            Trouble::HalfOpen | Trouble::Address => {
                let Noticed { device, hub } = self.noticed;
                format!(
                    "{flying} records on their way; noticed by the device after {:.1} s, by the hub \
                     after {:.1} s, at worst, with a keep-alive of {KEEP_ALIVE_SECS} s",
                    device.as_secs_f64(),
                    hub.as_secs_f64()
                )
            }
        };
        Ok(account.row(fault.to_owned(), times, Verdict::Whole, note))
    }
}
