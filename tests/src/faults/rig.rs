//! A hub and one device without a model, and the account between them.
//!
//! The device decides by its rules and asks the hub about everything else; every decision is a
//! record all the same. Without a model it starts in a fraction of the time, which is spent on
//! more faults.

use super::orders::Cut;
use super::{Orders, Row, Verdict};
use crate::api::{AgentStatus, HubStats};
use crate::client::Client;
use crate::demo::{all_outcomes, compare};
use crate::load::{Load, Told};
use crate::site::{Device, DeviceConfig, Hub};
use crate::wait;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for the hub to have everything: a device that found no hub for a while pauses
/// up to a minute before it tries again.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// Longest wait for a process that is about to lose its power.
const CUT_WITHIN: Duration = Duration::from_secs(120);

/// Name of the device.
const DEVICE: &str = "ship-7";

/// A hub and a device.
pub struct Rig {
    /// The hub.
    pub hub: Hub,
    /// The device.
    pub device: Device,
    /// What its callers were told.
    pub told: Told,
    loads: usize,
    /// What the hub listed of losses and replaced stores: it lists the newest only, and after many
    /// damages there are more.
    listed: Mutex<Listed>,
    // Last, so that the processes are gone before it is removed.
    dir: TempDir,
}

/// What callers were told against what the hub has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Outcomes told.
    pub told: usize,
    /// Not at the hub, and nobody says so.
    pub lost: Vec<String>,
    /// Not at the hub, and on record as lost.
    pub on_record: usize,
    /// At the hub twice, or under another record.
    pub doubled: Vec<String>,
    /// How often the device set a damaged store aside.
    pub replaced: usize,
}

impl Account {
    /// The row of a fault that happened so many times.
    pub(super) fn row(&self, fault: String, times: usize, verdict: Verdict, note: String) -> Row {
        Row {
            fault,
            times,
            told: self.told,
            lost: self.lost.len(),
            on_record: self.on_record,
            doubled: self.doubled.len(),
            note,
            verdict,
        }
    }
}

/// A range of records that will never arrive, as the hub lists it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct LossRow {
    stream: String,
    epoch: String,
    first: u64,
    end: u64,
}

#[derive(Debug, Default)]
struct Listed {
    losses: BTreeSet<LossRow>,
    replaced: BTreeSet<String>,
}

impl Rig {
    /// Sets up and starts the hub; the device is enrolled and does not run yet.
    ///
    /// # Errors
    /// When something cannot be started or written.
    pub fn start(executable: &Path) -> Result<Rig> {
        Rig::with(executable, "")
    }

    /// The same with more tables in the device's configuration.
    ///
    /// # Errors
    /// When something cannot be started or written.
    pub fn with(executable: &Path, tables: &str) -> Result<Rig> {
        let dir = new_dir()?;
        let hub = Hub::start(executable, &dir.path().join("hub"))?;
        Rig::of(dir, hub, |config| config.tasks += tables)
    }

    /// The same with the hub at an address of the machine, where the device looks for it, and
    /// with another keep-alive than the usual.
    ///
    /// # Errors
    /// When something cannot be started or written.
    pub fn at(executable: &Path, address: IpAddr, keep_alive_secs: Option<u32>) -> Result<Rig> {
        let dir = new_dir()?;
        let hub = Hub::start_at(executable, &dir.path().join("hub"), address)?;
        let mqtt = hub.mqtt;
        Rig::of(dir, hub, |config| {
            (config.hub, config.keep_alive_secs) = (Some(mqtt), keep_alive_secs);
        })
    }

    /// The same with a Mosquitto between the hub and the device.
    ///
    /// # Errors
    /// When something cannot be started or written.
    pub fn behind_broker(executable: &Path) -> Result<Rig> {
        let dir = new_dir()?;
        let hub = Hub::start_behind_broker(executable, &dir.path().join("hub"))?;
        Rig::of(dir, hub, |_| {})
    }

    fn of(dir: TempDir, hub: Hub, change: impl FnOnce(&mut DeviceConfig)) -> Result<Rig> {
        let mut config = Rig::config(&dir)?;
        change(&mut config);
        let device = Device::enroll(&hub, &dir.path().join(DEVICE), DEVICE, &config)?;
        Ok(Rig { hub, device, told: Told::new(), loads: 0, listed: Mutex::default(), dir })
    }

    /// The demo's tasks on a package that is not there.
    fn config(dir: &TempDir) -> Result<DeviceConfig> {
        let empty = dir.path().join("no-package");
        std::fs::create_dir(&empty).context("cannot create a directory")?;
        Ok(DeviceConfig { packages: vec![empty], ..DeviceConfig::shipped()? })
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts callers.
    ///
    /// # Errors
    /// None in practice.
    pub fn load(&mut self, callers: usize) -> Result<Load> {
        self.loads += 1;
        Load::start(std::slice::from_ref(&self.device), callers, &format!("load{}", self.loads))
    }

    /// Ends callers and notes what they were told.
    ///
    /// # Errors
    /// When one was told nothing.
    pub fn finish(&mut self, load: Load) -> Result<()> {
        self.told.extend(load.finish()?);
        Ok(())
    }

    /// Puts the shim's disk under the device, from its next start on.
    ///
    /// # Errors
    /// When its directories cannot be created.
    pub fn shim(&mut self, cut: Option<Cut>) -> Result<Orders> {
        let orders = Orders::new(&self.device.data(), &self.path("scratch"), cut)?;
        self.device.disk = Some(orders.clone());
        Ok(orders)
    }

    /// Waits until the agent has lost its power.
    ///
    /// # Errors
    /// When it has not.
    pub fn wait_for_cut(&mut self) -> Result<()> {
        let node = self.device.node().take().context("the agent does not run")?;
        node.ended("a power cut", CUT_WITHIN).map(drop)
    }

    /// Waits until the hub has at least `wanted` outcomes.
    ///
    /// # Errors
    /// When it does not get them.
    pub fn wait_for_outcomes(&self, wanted: u64) -> Result<()> {
        let what = format!("{wanted} outcomes at the hub");
        wait::until(&what, SETTLED_WITHIN, || match self.outcomes() {
            Ok(found) if found >= wanted => ControlFlow::Break(()),
            Ok(found) => ControlFlow::Continue(found.to_string()),
            Err(error) => ControlFlow::Continue(format!("{error:#}")),
        })
    }

    /// Outcomes at the hub.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn outcomes(&self) -> Result<u64> {
        let stats = self.hub.client().get("/api/v1/stats")?.success()?;
        let stats: HubStats = serde_json::from_value(stats).context("the hub's totals")?;
        Ok(stats.outcomes)
    }

    /// Brings the link up, starts the device again on the real disk, waits until the hub has
    /// everything, and compares.
    ///
    /// # Errors
    /// When that does not come about.
    pub fn settle(&mut self) -> Result<Account> {
        self.device.disk = None;
        self.device.link.retarget(self.hub.mqtt);
        self.device.link.restore();
        self.device.start()?;
        let device = self.device.address.client();
        wait::until("an empty backlog", SETTLED_WITHIN, || match backlog(&device) {
            Ok(0) => ControlFlow::Break(()),
            Ok(backlog) => ControlFlow::Continue(format!("{backlog} records")),
            Err(error) => ControlFlow::Continue(format!("{error:#}")),
        })?;
        self.account()
    }

    /// Decisions without a record that the hub was told of.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn unrecorded(&self) -> Result<u64> {
        let path = format!("/api/v1/devices/{DEVICE}");
        let device = self.hub.client().get(&path)?.success()?;
        let events = device["events"].as_array().context("the hub's events")?;
        let told = events.iter().filter(|event| event["kind"] == "unrecorded");
        Ok(told.filter_map(|event| event["detail"]["decisions"].as_u64()).sum())
    }

    /// Compares what callers were told with what the hub has now.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn account(&self) -> Result<Account> {
        let hub = self.hub.client();
        let ledger = compare(&self.told, &all_outcomes(&hub)?);
        let mut losses = hub.get("/api/v1/losses")?.success()?;
        let newest: Vec<LossRow> =
            serde_json::from_value(losses["losses"].take()).context("the hub's losses")?;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let Listed { losses, replaced } = &mut *listed;
        losses.extend(newest);
        let is_on_record = |name: &String| {
            let (epoch, seq) = self.told.get(name)?.rsplit_once('-')?;
            let seq: u64 = seq.parse().ok()?;
            losses.iter().find(|loss| {
                loss.stream == "outcome"
                    && loss.epoch == epoch
                    && (loss.first..loss.end).contains(&seq)
            })
        };
        let (on_record, lost): (Vec<_>, Vec<_>) =
            ledger.lost.into_iter().partition(|name| is_on_record(name).is_some());
        let doubled = ledger.doubled.into_iter().chain(ledger.changed).collect();
        let device = hub.get(&format!("/api/v1/devices/{DEVICE}"))?.success()?;
        let events = device["events"].as_array().context("the hub's events")?;
        let newest = events.iter().filter(|event| event["kind"] == "store-replaced");
        replaced.extend(newest.map(ToString::to_string));
        let (on_record, replaced) = (on_record.len(), replaced.len());
        Ok(Account { told: self.told.len(), lost, on_record, doubled, replaced })
    }
}

fn new_dir() -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("landfall-break-").tempdir();
    dir.context("cannot create a temporary directory")
}

/// Records that the hub does not have yet.
fn backlog(device: &Client) -> Result<u64> {
    let body = device.get("/v1/status")?.success()?;
    let status: AgentStatus = serde_json::from_value(body).context("the agent's status")?;
    Ok(status.store.backlog)
}
