//! What a connection takes that carries nothing.

use super::{FAR, PATIENCE, Pace, SEED, line, quiet};
use crate::faults::Rig;
use crate::tunnel::{Carried, Tunnel};
use crate::wait;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Keep-alive of the device.
const KEEP_ALIVE_SECS: u32 = 5;

/// Keep-alive for which an idle hour is told: the default.
const USUAL_KEEP_ALIVE_SECS: u32 = 60;

/// The line is silent between two things for so many of its delays, which is less than a
/// keep-alive.
const SILENT_DELAYS: u64 = 8;

/// What something took.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// What.
    pub what: String,
    /// Bytes from the device, and to it.
    pub up_bytes: u64,
    /// See `up_bytes`.
    pub down_bytes: u64,
    /// Packets, both ways.
    pub packets: u64,
    /// Round trips until the hub's welcome was here.
    pub round_trips: Option<f64>,
}

impl Cost {
    pub(super) fn row(&self) -> String {
        let Cost { what, up_bytes, down_bytes, packets, round_trips } = self;
        let trips = round_trips.map_or_else(|| "–".to_owned(), |trips| format!("{trips:.1}"));
        let both = up_bytes + down_bytes;
        format!("| {what} | {up_bytes} | {down_bytes} | **{both}** | {packets} | {trips} |\n")
    }
}

struct Bench<'a> {
    tunnel: &'a Tunnel,
    rig: Rig,
    delay_ms: u64,
    before: (Carried, u64),
}

/// Measures connections.
pub(super) fn run(executable: &Path, pace: Pace, progress: &dyn Fn(&str)) -> Result<Vec<Cost>> {
    let Pace { delay_ms, keep_alives } = pace;
    let tunnel = Tunnel::open(FAR, line(delay_ms), SEED)?;
    let rig = tunnel.near(|| Rig::at(executable, Tunnel::NEAR.into(), Some(KEEP_ALIVE_SECS)))?;
    let before = quiet(&tunnel, Duration::ZERO)?;
    let mut bench = Bench { tunnel: &tunnel, rig, delay_ms, before };
    let tunnel = bench.tunnel;
    tunnel.far(|| bench.rig.device.start())?;
    bench.until("online")?;
    let mut costs = vec![bench.cost("the first, with its first records")?];
    progress("connected");
    bench.say("down")?;
    bench.until("offline")?;
    costs.push(bench.cost("the end of one")?);
    for what in ["again, resumed", "again, resumed, a second time"] {
        let start = wall_ms()?;
        bench.say("auto")?;
        let since_ms = bench.until("online")?;
        let trips = since_ms.saturating_sub(start) as f64 / (2 * delay_ms) as f64;
        let cost = bench.cost(what)?;
        costs.push(Cost { round_trips: Some(trips), ..cost });
        bench.say("down")?;
        bench.until("offline")?;
        bench.cost("the end of one")?;
    }
    bench.say("auto")?;
    bench.until("online")?;
    bench.cost("")?;
    progress("idle");
    std::thread::sleep(Duration::from_secs((KEEP_ALIVE_SECS * keep_alives).into()));
    let idle = bench.cost("")?;
    let pings = u64::from(keep_alives);
    let an_hour = u64::from(3600 / USUAL_KEEP_ALIVE_SECS);
    // Silence is waited for after the pings, in which there may be one more.
    costs.push(Cost {
        what: format!("an idle hour, keep-alive {USUAL_KEEP_ALIVE_SECS} s"),
        up_bytes: idle.up_bytes * an_hour / pings,
        down_bytes: idle.down_bytes * an_hour / pings,
        packets: idle.packets * an_hour / pings,
        round_trips: None,
    });
    progress("refused");
    bench.say("down")?;
    bench.until("offline")?;
    tunnel.near(|| bench.rig.hub.command(&["revoke", "ship-7"]).map(drop))?;
    bench.cost("")?;
    bench.try_in_vain()?;
    costs.push(bench.cost("an attempt of a revoked device")?);
    tunnel.near(|| bench.rig.hub.kill())?;
    bench.try_in_vain()?;
    costs.push(bench.cost("an attempt while the hub is down")?);
    Ok(costs)
}

impl Bench<'_> {
    /// What went over the line since the last time.
    fn cost(&mut self, what: &str) -> Result<Cost> {
        let (carried, packets) =
            quiet(self.tunnel, Duration::from_millis(SILENT_DELAYS * self.delay_ms))?;
        let (before, packets_before) = std::mem::replace(&mut self.before, (carried, packets));
        Ok(Cost {
            what: what.to_owned(),
            up_bytes: carried.to_near_bytes - before.to_near_bytes,
            down_bytes: carried.to_far_bytes - before.to_far_bytes,
            packets: packets - packets_before,
            round_trips: None,
        })
    }

    /// What the site says of its links.
    fn say(&self, state: &str) -> Result<()> {
        let client = self.rig.device.address.client();
        self.tunnel.far(|| client.put("/v1/link", &json!({ "state": state }))?.success().map(drop))
    }

    /// Waits until the connection is in this state; says since when, milliseconds since 1970.
    fn until(&self, state: &str) -> Result<u64> {
        self.wait(&format!("the link {state}"), |link| link["state"] == state)
    }

    fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool + Send + Sync) -> Result<u64> {
        let client = self.rig.device.address.client();
        self.tunnel.far(|| {
            wait::until(what, PATIENCE, || {
                let status = client.get("/v1/status").and_then(|response| response.success());
                match status {
                    Ok(status) if is_it(&status["link"]) => {
                        ControlFlow::Break(status["link"]["since_ms"].as_u64())
                    }
                    Ok(status) => ControlFlow::Continue(status["link"].to_string()),
                    Err(error) => ControlFlow::Continue(format!("{error:#}")),
                }
            })?
            .context("since when it is")
        })
    }

    /// One attempt to connect that fails.
    fn try_in_vain(&self) -> Result<()> {
        self.say("auto")?;
        self.wait("an attempt that fails", |link| link["last_error"].is_string())?;
        self.say("down")
    }
}

fn wall_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}
