//! Releases on a device, with the package that ships and others made of it: their files lie in
//! the data directory already, as a courier brings them. The network is in `tests/`.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use landfall_agent::config::Config;
use landfall_agent::pipeline::{Pace, Recording};
use landfall_agent::release::{Desk, DeskConfig, DeskStatus, Gate, blobs};
use landfall_agent::service::{Opened, open, runtime};
use landfall_agent_core::request::Request;
use landfall_freight::blobs::Blobs;
use landfall_models::package::sign;
use landfall_wire::release::{ReleaseFault, ReleaseOrder, ReleaseRef};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Longest wait: a debug build loads and evaluates a model on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/packages").canonicalize().unwrap()
}

/// A device with the shipped package, whose releases a key of the test may sign.
struct Device {
    dir: tempfile::TempDir,
}

impl Device {
    fn new(tasks: &str) -> Device {
        let device = Device { dir: tempfile::tempdir().unwrap() };
        sign::keygen(&device.path("maker.key"), &device.path("maker.pub")).unwrap();
        device.configure(tasks);
        device
    }

    fn configure(&self, tasks: &str) {
        let (package, key) =
            (shipped().join("maintenance"), shipped().join("landfall-development.pub"));
        let text = format!(
            "data_dir = \"data\"\n[models]\npackages = [{package:?}]\n\
             trust = [{key:?}, \"maker.pub\"]\n{tasks}"
        );
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn blobs(&self) -> Blobs {
        blobs(&self.path("data")).unwrap()
    }

    /// A release made of the shipped package, changed and signed, with its changed files lying
    /// where a courier puts them. What it shares with the shipped package does not.
    fn release(&self, version: &str, change: impl FnOnce(&mut Value, &Blobs)) -> ReleaseRef {
        let package = self.path(&format!("release-{version}"));
        fs::create_dir_all(&package).unwrap();
        let from = shipped().join("maintenance");
        let manifest = fs::read(from.join("manifest.json")).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["version"] = version.into();
        let blobs = self.blobs();
        change(&mut manifest, &blobs);
        fs::create_dir_all(package.join("blobs")).unwrap();
        for entry in manifest["files"].as_object().unwrap().values() {
            let name = entry["sha256"].as_str().unwrap();
            let here = blobs.path(name.parse().unwrap());
            let source = if here.is_file() { here } else { from.join("blobs").join(name) };
            fs::hard_link(&source, package.join("blobs").join(name))
                .or_else(|_| fs::copy(&source, package.join("blobs").join(name)).map(drop))
                .or_else(|error| {
                    if package.join("blobs").join(name).exists() { Ok(()) } else { Err(error) }
                })
                .unwrap();
        }
        let text = serde_json::to_vec_pretty(&manifest).unwrap();
        fs::write(package.join("manifest.json"), text).unwrap();
        sign::sign(&package, &self.path("maker.key")).unwrap();
        let manifest = fs::read(package.join("manifest.json")).unwrap();
        let signature = fs::read(package.join("manifest.json.minisig")).unwrap();
        ReleaseRef {
            version: version.to_owned(),
            manifest: blobs.put(&manifest).unwrap(),
            manifest_bytes: u32::try_from(manifest.len()).unwrap(),
            signature: blobs.put(&signature).unwrap(),
            signature_bytes: u32::try_from(signature.len()).unwrap(),
        }
    }

    fn open(&self) -> Opened {
        open(Config::load(&self.path("agent.toml")).unwrap()).unwrap()
    }
}

fn order(number: u64, release: Option<ReleaseRef>, trial_secs: u32) -> ReleaseOrder {
    ReleaseOrder { package: "maintenance".to_owned(), number, release, trial_secs }
}

/// Puts a file in the place of one of the manifest.
fn replace(manifest: &mut Value, blobs: &Blobs, name: &str, content: &[u8]) {
    let digest = blobs.put(content).unwrap();
    manifest["files"][name] =
        serde_json::json!({ "sha256": digest.to_string(), "bytes": content.len() });
}

fn content(manifest: &Value, name: &str) -> Vec<u8> {
    let digest = manifest["files"][name]["sha256"].as_str().unwrap();
    fs::read(shipped().join("maintenance/blobs").join(digest)).unwrap()
}

/// A started desk with what it works on.
struct Running {
    desk: Desk,
    opened_pipeline: landfall_agent::pipeline::Pipeline,
    status: watch::Receiver<DeskStatus>,
}

fn start(opened: Opened) -> Running {
    let Opened { config, pipeline, models, clock, faults } = opened;
    assert_eq!(faults, Vec::<String>::new());
    let (tell, status) = watch::channel(DeskStatus::default());
    let parts = DeskConfig {
        config: Arc::new(config),
        wallet: None,
        clock,
        models,
        pipeline: pipeline.clone(),
        gate: Gate::default(),
    };
    Running { desk: Desk::start(parts, tell).unwrap(), opened_pipeline: pipeline, status }
}

impl Running {
    async fn wait(&mut self, what: &str, done: impl Fn(&DeskStatus) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, self.status.wait_for(|status| done(status)));
        if waited.await.is_err() {
            panic!("{what}: {:?}", self.status.borrow());
        }
    }

    fn package(&self) -> String {
        let served = self.opened_pipeline.served();
        served.tasks.values().next().unwrap().backing.package().to_owned()
    }

    /// Whether it was decided and recorded.
    async fn ask(&self, text: &str) -> bool {
        let task = "failure-mode".parse().unwrap();
        let request =
            Request { task, text: text.to_owned(), caller_id: None, meta: BTreeMap::new() };
        let decided = self.opened_pipeline.decide(request, Pace::Urgent).await.unwrap();
        matches!(decided.record, Recording::Durable { .. })
    }

    async fn stop(self) {
        self.desk.stop().await;
        self.opened_pipeline.store().close().await;
    }
}

fn current(status: &DeskStatus) -> Option<&str> {
    let entry = status.book.packages.get("maintenance")?;
    entry.current.as_ref().map(|release| release.version.as_str())
}

fn fault(status: &DeskStatus) -> Option<ReleaseFault> {
    let entry = status.book.packages.get("maintenance")?;
    entry.failed.as_ref().map(|failure| failure.fault)
}

const TASKS: &str = "[task.failure-mode]\nerror_max = 0.20\n";

#[test]
fn a_release_takes_the_place_of_the_configured_package_and_survives_restarts() {
    let runtime = runtime().unwrap();
    let device = Device::new(TASKS);
    let release = device.release("9.0.0", |manifest, blobs| {
        let card = content(manifest, "failure-mode.evaluation.jsonl");
        let fewer = card.split_inclusive(|b| *b == b'\n').skip(1).collect::<Vec<_>>().concat();
        replace(manifest, blobs, "failure-mode.evaluation.jsonl", &fewer);
    });
    let manifest = release.manifest;
    let _guard = runtime.enter();
    let mut running = start(device.open());
    assert!(running.package().starts_with("maintenance 0."), "{}", running.package());
    runtime.block_on(async {
        running.desk.order(order(1, Some(release), 0)).await;
        // Requests are answered all the while.
        assert!(running.ask("pump leaking").await);
        running.wait("the release runs", |status| current(status) == Some("9.0.0")).await;
        assert_eq!(running.package(), "maintenance 9.0.0");
        assert!(running.ask("pump leaking").await);
        running.stop().await;
    });
    // The encoder came from the configured package, and is one file with it where that is possible.
    assert!(device.path(&format!("data/releases/{manifest}/manifest.json")).is_file());

    let mut running = start(device.open());
    assert_eq!(running.package(), "maintenance 9.0.0");
    runtime.block_on(async {
        // Back to what is configured, by order.
        running.desk.order(order(2, None, 0)).await;
        let back = |status: &DeskStatus| {
            let entry = status.book.packages.get("maintenance");
            entry.is_some_and(|entry| entry.current.is_none() && entry.candidate.is_none())
        };
        running.wait("what is configured runs", back).await;
        assert!(running.package().starts_with("maintenance 0."), "{}", running.package());
        running.stop().await;
    });
}

#[test]
fn what_does_not_come_out_as_stated_is_rolled_back() {
    let runtime = runtime().unwrap();
    let device = Device::new(TASKS);
    let golden = device.release("9.1.0", |manifest, blobs| {
        let golden = content(manifest, "failure-mode.golden.jsonl");
        let other = String::from_utf8(golden).unwrap().replacen("0.", "0.9", 40);
        replace(manifest, blobs, "failure-mode.golden.jsonl", other.as_bytes());
    });
    let stated = device.release("9.2.0", |manifest, _| {
        let metrics = &mut manifest["tasks"]["failure-mode"]["metrics"];
        // No set of sixty texts that it gets right four times of five lets that pass.
        (metrics["accuracy"], metrics["accuracy_low"]) = (1.2.into(), 1.2.into());
    });
    let unsigned = {
        let good = device.release("9.3.0", |_, _| {});
        let forged = device.blobs().put(b"untrusted comment: none\n").unwrap();
        ReleaseRef { signature: forged, signature_bytes: 24, ..good }
    };
    let _guard = runtime.enter();
    let mut running = start(device.open());
    let before = running.package();
    runtime.block_on(async {
        for (number, release, expected) in [
            (1, golden, ReleaseFault::Evaluation),
            (2, stated, ReleaseFault::Evaluation),
            (3, unsigned, ReleaseFault::Package),
        ] {
            running.desk.order(order(number, Some(release), 0)).await;
            let failed = |status: &DeskStatus| {
                let entry = status.book.packages.get("maintenance");
                entry.is_some_and(|entry| entry.order == number && entry.failed.is_some())
            };
            running.wait("it is rolled back", failed).await;
            assert_eq!(fault(&running.status.borrow()), Some(expected), "{number}");
            assert_eq!(running.package(), before);
        }
        running.wait("reports are told", |status| status.book.untold.is_empty()).await;
        running.stop().await;
    });
}

#[test]
fn a_release_without_a_configured_task_does_not_fit() {
    let runtime = runtime().unwrap();
    let device = Device::new(TASKS);
    let release = device.release("9.4.0", |manifest, _| {
        let tasks = manifest["tasks"].as_object_mut().unwrap();
        tasks.remove("failure-mode").unwrap();
    });
    let _guard = runtime.enter();
    let mut running = start(device.open());
    runtime.block_on(async {
        running.desk.order(order(1, Some(release), 0)).await;
        running.wait("it is rolled back", |status| fault(status).is_some()).await;
        assert_eq!(fault(&running.status.borrow()), Some(ReleaseFault::Misfit));
        running.stop().await;
    });
}

#[test]
fn a_kill_during_the_trial_runs_what_ran_before() {
    let runtime = runtime().unwrap();
    let device = Device::new(TASKS);
    let release = device.release("9.5.0", |_, _| {});
    let _guard = runtime.enter();
    for start_number in 1..=2 {
        let mut running = start(device.open());
        assert!(running.package().starts_with("maintenance 0."), "start {start_number}");
        runtime.block_on(async {
            running.desk.order(order(1, Some(release.clone()), 3600)).await;
            let on_trial = |status: &DeskStatus| {
                status.book.untold.is_empty()
                    && status.book.packages.get("maintenance").is_some_and(|entry| {
                        entry.candidate.as_ref().is_some_and(|c| c.trials == start_number)
                    })
            };
            running.wait("it is on trial", on_trial).await;
            // As a kill does: the book stays as it is on disk.
            drop(running.desk);
            running.opened_pipeline.store().close().await;
        });
    }
    let mut running = start(device.open());
    runtime.block_on(async {
        running.wait("it is rolled back", |status| fault(status).is_some()).await;
        assert_eq!(fault(&running.status.borrow()), Some(ReleaseFault::Crash));
        assert!(running.package().starts_with("maintenance 0."));
        running.stop().await;
    });
}

#[test]
fn a_configuration_that_does_not_fit_a_release_any_more_runs_what_it_names() {
    let runtime = runtime().unwrap();
    let device = Device::new("[task.work-order-fields]\nerror_max = 0.50\n");
    let release = device.release("9.6.0", |manifest, _| {
        let tasks = manifest["tasks"].as_object_mut().unwrap();
        tasks.remove("failure-mode").unwrap();
    });
    let _guard = runtime.enter();
    let mut running = start(device.open());
    runtime.block_on(async {
        running.desk.order(order(1, Some(release), 0)).await;
        running.wait("the release runs", |status| current(status) == Some("9.6.0")).await;
        running.stop().await;
    });
    device.configure(TASKS);
    let opened = device.open();
    assert!(opened.faults.iter().any(|fault| fault.contains("do not fit")), "{:?}", opened.faults);
    let served = opened.pipeline.served();
    assert!(served.tasks.values().next().unwrap().backing.package().starts_with("maintenance 0."));
    runtime.block_on(opened.pipeline.store().close());
}
