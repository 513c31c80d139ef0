//! A site of real processes, load on it, and what must hold afterwards.

#![allow(dead_code, reason = "each test binary uses its part of what is shared")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and may print"
)]

use landfall_tests::api::{HubStats, Reply};
use landfall_tests::caller::{Asked, Caller};
use landfall_tests::client::Client;
use landfall_tests::demo::{all_outcomes, compare};
use landfall_tests::input::Day;
use landfall_tests::site::{Device, DeviceConfig, Hub};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The task of every test.
pub(crate) const TASK: &str = "failure-mode";

/// Longest wait for anything. A device that found no hub for a while pauses up to two minutes
/// before it tries again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The executable that becomes agent and hub.
pub(crate) fn executable() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_landfall-demo"))
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
        let mut site = Site::without_devices();
        for name in names {
            let mut device = site.enroll(name);
            device.start().unwrap();
            site.devices.push(device);
        }
        site
    }

    pub(crate) fn without_devices() -> Site {
        let dir = tempfile::Builder::new().prefix("landfall-test-").tempdir().unwrap();
        let hub = Hub::start(executable(), &dir.path().join("hub")).unwrap();
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

/// One request that must be decided.
pub(crate) fn ask(device: &Client, body: &Value) -> Reply {
    let body = device.post(&format!("/v1/tasks/{TASK}"), body).unwrap().success().unwrap();
    serde_json::from_value(body).unwrap()
}

/// Callers of a device that ask one thing after the other.
pub(crate) struct Load {
    told: Arc<Mutex<BTreeMap<String, String>>>,
    finish: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `callers` callers of each device. Their texts are decided by rules, by the model
    /// and by nobody.
    pub(crate) fn start(devices: &[Device], callers: usize) -> Load {
        let day = Arc::new(Day::sample().unwrap());
        let mut load = Load { told: Arc::default(), finish: Arc::default(), callers: Vec::new() };
        for device in devices {
            for number in 0..callers {
                let caller = Caller {
                    address: device.address.clone(),
                    task: TASK,
                    stop: Arc::default(),
                    repeated: Arc::new(AtomicU64::new(0)),
                };
                let (told, finish) = (Arc::clone(&load.told), Arc::clone(&load.finish));
                let (day, device) = (Arc::clone(&day), device.name.clone());
                load.callers.push(thread::spawn(move || {
                    for round in 0.. {
                        if finish.load(Ordering::Relaxed) {
                            return;
                        }
                        let id = format!("{number}-{round}");
                        let text = &day.orders[(number * 97 + round) % day.orders.len()].text;
                        match caller.ask(&json!({ "id": id, "text": text })) {
                            Asked::Told(reply) => {
                                told.lock().unwrap().insert(format!("{device}/{id}"), reply.outcome)
                            }
                            other => panic!("{device}/{id}: {other:?}"),
                        };
                    }
                }));
            }
        }
        load
    }

    pub(crate) fn told(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Waits until `more` further requests were told.
    pub(crate) fn wait_for(&self, more: usize) {
        let wanted = self.told() + more;
        wait::until(&format!("{wanted} requests told"), PATIENCE, || match self.told() {
            told if told >= wanted => ControlFlow::Break(()),
            told => ControlFlow::Continue(told),
        })
        .unwrap();
    }

    /// Lets every caller finish its request and returns what was told: `device/id` to record.
    pub(crate) fn finish(self) -> BTreeMap<String, String> {
        self.finish.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().expect("a caller was told nothing");
        }
        self.told.lock().unwrap().clone()
    }
}

/// Random moments that can be repeated with `LANDFALL_SEED`.
pub(crate) struct Moments {
    pub(crate) seed: u64,
    state: u64,
}

impl Moments {
    pub(crate) fn new() -> Moments {
        let given = std::env::var("LANDFALL_SEED").ok().map(|seed| seed.parse().unwrap());
        let random = || std::hash::RandomState::new().build_hasher().finish();
        let seed = given.unwrap_or_else(random) | 1;
        println!("LANDFALL_SEED={seed}");
        Moments { seed, state: seed }
    }

    /// A number in `range`, by xorshift64.
    pub(crate) fn pick(&mut self, range: Range<usize>) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let width = (range.end - range.start) as u64;
        range.start + usize::try_from(self.state % width).unwrap()
    }
}
