//! A site of real processes, load on it, and what must hold afterwards.

#![allow(dead_code, reason = "each test binary uses its part of what is shared")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and may print"
)]

use landfall_tests::api::{HubStats, Reply};
use landfall_tests::client::Client;
use landfall_tests::demo::{all_outcomes, compare};
pub(crate) use landfall_tests::load::TASK;
use landfall_tests::moments::Moments;
use landfall_tests::site::{Device, DeviceConfig, Hub};
use landfall_tests::wait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for anything. A device that found no hub for a while pauses up to two minutes
/// before it tries again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The executable that becomes agent and hub.
pub(crate) fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_landfall-demo"))
}

/// The same, with a disk and a clock that can be bent.
pub(crate) fn bendable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_landfall-break"))
}

/// A hub and running devices in a directory of their own.
pub(crate) struct Site {
    pub(crate) hub: Hub,
    pub(crate) devices: Vec<Device>,
    // Last, so that the processes are gone before it is removed.
    dir: tempfile::TempDir,
}

impl Site {
    /// With a hub and these devices, enrolled and running.
    pub(crate) fn start(names: &[&str]) -> Site {
        Site::without_devices().with(names)
    }

    fn with(mut self, names: &[&str]) -> Site {
        for name in names {
            let mut device = self.enroll(name);
            device.start().unwrap();
            self.devices.push(device);
        }
        self
    }

    /// The same, with a Mosquitto between the hub and the devices.
    pub(crate) fn behind_broker(names: &[&str]) -> Site {
        let dir = new_dir();
        let hub = Hub::start_behind_broker(executable(), &dir.path().join("hub")).unwrap();
        Site { hub, devices: Vec::new(), dir }.with(names)
    }

    pub(crate) fn without_devices() -> Site {
        let dir = new_dir();
        let hub = Hub::start(executable(), &dir.path().join("hub")).unwrap();
        Site { hub, devices: Vec::new(), dir }
    }

    /// Whose processes can be bent.
    pub(crate) fn bendable() -> Site {
        let dir = new_dir();
        let hub = Hub::start(bendable(), &dir.path().join("hub")).unwrap();
        Site { hub, devices: Vec::new(), dir }
    }

    /// A device that does not run yet.
    pub(crate) fn enroll(&self, name: &str) -> Device {
        let config = DeviceConfig::shipped().unwrap();
        Device::enroll(&self.hub, &self.path(name), name, &config).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client of the first device.
    pub(crate) fn device(&self) -> Client {
        self.devices[0].address.client()
    }

    pub(crate) fn stats(&self) -> HubStats {
        let body = self.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
        serde_json::from_value(body).unwrap()
    }

    /// Waits until the hub has at least `count` outcomes.
    pub(crate) fn wait_for_outcomes(&self, count: u64) {
        wait::until(&format!("{count} outcomes at the hub"), PATIENCE, || {
            let stats = self.stats();
            if stats.outcomes >= count {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(format!("{stats:?}"))
            }
        })
        .unwrap();
    }

    /// Every outcome that callers were told is at the hub, once, as it was told; and nothing
    /// else is.
    pub(crate) fn check_exactly_once(&self, told: &BTreeMap<String, String>, seed: u64) {
        self.wait_for_outcomes(told.len() as u64);
        let ledger = compare(told, &all_outcomes(&self.hub.client()).unwrap());
        assert!(ledger.is_clean(), "seed {seed}: {ledger:?}");
        assert_eq!(ledger.at_hub, ledger.recorded, "seed {seed}: {ledger:?}");
        assert_eq!(self.stats().losses, 0, "seed {seed}");
    }
}

fn new_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap()
}

/// One request that must be decided.
pub(crate) fn ask(device: &Client, body: &Value) -> Reply {
    let body = device.post(&format!("/v1/tasks/{TASK}"), body).unwrap().success().unwrap();
    serde_json::from_value(body).unwrap()
}

/// Random moments that can be repeated with `LANDFALL_SEED`; says with which.
pub(crate) fn moments() -> Moments {
    let given = std::env::var("LANDFALL_SEED").ok().map(|seed| seed.parse().unwrap());
    let moments = Moments::new(given);
    println!("LANDFALL_SEED={}", moments.seed);
    moments
}
