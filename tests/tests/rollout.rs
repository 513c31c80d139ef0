//! Releases on their way to devices, with the real agent and hub: over a link that breaks in the
//! middle of a file, ring by ring, and halted by a package that does not come out as it should.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site, ask};
use landfall_models::package::sign;
use landfall_tests::faults::CLOCK_VARIABLE;
use landfall_tests::site::{Device, DeviceConfig};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A file of a release that no device has: some seconds of a satellite link.
const EXTRA_BYTES: usize = 3_000_000;

/// A link for files that gives so many bytes and then nothing, until it is told otherwise.
struct Valve {
    address: SocketAddr,
    left: Arc<AtomicI64>,
    passed: Arc<AtomicU64>,
}

impl Valve {
    fn new(target: SocketAddr, bytes: i64) -> Valve {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (left, passed) = (Arc::new(AtomicI64::new(bytes)), Arc::new(AtomicU64::new(0)));
        let valve = Valve { address, left: Arc::clone(&left), passed: Arc::clone(&passed) };
        std::thread::spawn(move || {
            for device in listener.incoming().map_while(Result::ok) {
                if left.load(Ordering::Relaxed) <= 0 {
                    continue; // Closed at once.
                }
                let Ok(hub) = TcpStream::connect(target) else { continue };
                let (mut up_from, mut up_to) =
                    (device.try_clone().unwrap(), hub.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _closed = std::io::copy(&mut up_from, &mut up_to);
                });
                let (left, passed) = (Arc::clone(&left), Arc::clone(&passed));
                std::thread::spawn(move || pour(hub, device, &left, &passed));
            }
        });
        valve
    }

    fn open(&self) {
        self.left.store(i64::MAX / 2, Ordering::Relaxed);
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

fn pour(mut hub: TcpStream, mut device: TcpStream, left: &AtomicI64, passed: &AtomicU64) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = hub.read(&mut piece) {
        let bytes = i64::try_from(count).unwrap();
        if left.fetch_sub(bytes, Ordering::Relaxed) < bytes
            || device.write_all(&piece[..count]).is_err()
        {
            break;
        }
        passed.fetch_add(count as u64, Ordering::Relaxed);
    }
    let _closed = device.shutdown(std::net::Shutdown::Both);
    let _closed = hub.shutdown(std::net::Shutdown::Both);
}

/// Whoever makes releases of the shipped package.
struct Maker {
    home: PathBuf,
    shipped: PathBuf,
}

impl Maker {
    fn new(site: &Site) -> Maker {
        let home = site.path("maker");
        fs::create_dir_all(&home).unwrap();
        sign::keygen(&home.join("maker.key"), &home.join("maker.pub")).unwrap();
        let shipped = DeviceConfig::shipped().unwrap().packages.remove(0);
        Maker { home, shipped }
    }

    fn public_key(&self) -> PathBuf {
        self.home.join("maker.pub")
    }

    /// A signed release with another version, and some files changed.
    fn release(&self, version: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
        let dir = self.home.join(version);
        fs::create_dir_all(dir.join("blobs")).unwrap();
        let manifest = fs::read(self.shipped.join("manifest.json")).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["version"] = version.into();
        for entry in fs::read_dir(self.shipped.join("blobs")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.join("blobs").join(entry.file_name())).unwrap();
        }
        for (name, content) in files {
            let digest = landfall_wire::id::Digest::of(content);
            fs::write(dir.join("blobs").join(digest.to_string()), content).unwrap();
            manifest["files"][*name] =
                json!({ "sha256": digest.to_string(), "bytes": content.len() });
        }
        fs::write(dir.join("manifest.json"), serde_json::to_vec_pretty(&manifest).unwrap())
            .unwrap();
        sign::sign(&dir, &self.home.join("maker.key")).unwrap();
        dir
    }

    fn shipped_file(&self, name: &str) -> Vec<u8> {
        let manifest = fs::read(self.shipped.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let digest = manifest["files"][name]["sha256"].as_str().unwrap();
        fs::read(self.shipped.join("blobs").join(digest)).unwrap()
    }
}

fn enroll(site: &Site, maker: &Maker, name: &str, releases: &str) -> Device {
    let shipped = DeviceConfig::shipped().unwrap();
    let trust = [shipped.trust.clone(), vec![maker.public_key()]].concat();
    let tasks = format!("{}\n[releases]\n{releases}\n", shipped.tasks);
    let config = DeviceConfig { trust, tasks, ..shipped };
    Device::enroll(&site.hub, &site.path(name), name, &config).unwrap()
}

fn hub(site: &Site, args: &[&str]) -> Value {
    serde_json::from_str(&site.hub.command(args).unwrap()).unwrap()
}

fn add(site: &Site, maker: &Maker, dir: &Path) {
    let (dir, key) = (dir.to_str().unwrap(), maker.public_key());
    let args = ["models", "add", dir, "--trust", key.to_str().unwrap(), "--json"];
    assert_eq!(hub(site, &args)["added"], true);
    assert_eq!(hub(site, &args)["added"], false, "again");
}

fn wait_for_phase(site: &Site, rollout: i64, phase: &str) -> Value {
    let id = rollout.to_string();
    wait::until(&format!("rollout {id} is {phase}"), PATIENCE, || {
        let shown = hub(site, &["rollout", "show", &id, "--json"]);
        if shown["phase"] == phase {
            ControlFlow::Break(shown)
        } else {
            ControlFlow::Continue(shown)
        }
    })
    .unwrap()
}

/// The version behind the tasks of a device.
fn version(device: &Device) -> String {
    let status = device.address.client().get("/v1/status").unwrap().success().unwrap();
    let task = status["tasks"].as_object().unwrap().values().next().unwrap();
    task["package"].as_str().unwrap().to_owned()
}

fn wait_for_version(device: &Device, wanted: &str) {
    wait::until(&format!("{} runs {wanted}", device.name), PATIENCE, || {
        let status = device.address.client().get("/v1/status").unwrap().success().unwrap();
        let entry = &status["releases"]["maintenance"];
        if version(device) == wanted && entry["stage"].is_null() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(entry.to_string())
        }
    })
    .unwrap();
}

fn states(rollout: &Value) -> Vec<&str> {
    let devices = rollout["devices"].as_array().unwrap();
    devices.iter().map(|device| device["state"].as_str().unwrap()).collect()
}

/// Noise that nothing compresses, the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn a_release_reaches_a_fleet_ring_by_ring_over_a_link_that_breaks() {
    let site = Site::without_devices();
    let maker = Maker::new(&site);
    let most = i64::try_from(EXTRA_BYTES).unwrap() * 6 / 10;
    let valve = Valve::new(site.hub.files, most);
    // The canary gets files from the hub; the other one has it as a neighbour, and no hub.
    let neighbour = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut canary = enroll(
        &site,
        &maker,
        "ship-1",
        &format!("hub = \"{}\"\nserve = \"{neighbour}\"", valve.address),
    );
    let nowhere = "hub = \"127.0.0.1:1\"";
    let mut other =
        enroll(&site, &maker, "ship-2", &format!("{nowhere}\npeers = [\"{neighbour}\"]"));
    canary.start().unwrap();
    other.start().unwrap();
    let shipped = version(&canary);
    let extra = [("notes.bin", noise(EXTRA_BYTES))];
    add(&site, &maker, &maker.release("9.0.0", &extra));

    let rings = ["--ring", "canary:device=ship-1", "--ring", "rest", "--trial", "1s", "--json"];
    let started = hub(&site, &[&["rollout", "start", "maintenance@9.0.0"], &rings[..]].concat());
    let rollout = started["id"].as_i64().unwrap();

    // The link breaks in the middle of the file, and then the power.
    let part = canary.data().join("blobs");
    let half = wait::until("half of a file", PATIENCE, || {
        let parts = fs::read_dir(&part).into_iter().flatten().flatten();
        let sizes: Vec<u64> = parts
            .filter(|entry| entry.path().extension().is_some())
            .map(|entry| entry.metadata().map_or(0, |found| found.len()))
            .collect();
        match sizes.iter().max() {
            Some(size) if *size > 1_000_000 => ControlFlow::Break(*size),
            size => ControlFlow::Continue(format!("{size:?}")),
        }
    })
    .unwrap();
    assert!(half < EXTRA_BYTES as u64, "{half}");
    canary.kill().unwrap();
    canary.start().unwrap();
    assert_eq!(version(&canary), shipped);
    let shown = hub(&site, &["rollout", "show", &rollout.to_string(), "--json"]);
    assert_eq!(shown["devices"][1]["state"], "waiting", "{shown}");
    valve.open();
    wait_for_version(&canary, "maintenance 9.0.0");
    // What was there was not fetched again, nor what the configured package has.
    let passed = valve.passed();
    assert!(passed < EXTRA_BYTES as u64 * 3 / 2, "{passed} bytes for a file of {EXTRA_BYTES}");

    // Then the rest, from the neighbour.
    wait_for_phase(&site, rollout, "done");
    wait_for_version(&other, "maintenance 9.0.0");
    assert_eq!(valve.passed(), passed, "the hub was asked for nothing more");
    ask(&other.address.client(), &json!({ "id": "wo-1", "text": "fan seized" }));

    // It survives a restart, and goes back by order.
    other.kill().unwrap();
    other.start().unwrap();
    assert_eq!(version(&other), "maintenance 9.0.0");
    hub(&site, &["rollout", "rollback", &rollout.to_string(), "--json"]);
    for device in [&canary, &other] {
        wait_for_version(device, &shipped);
    }
    let shown = hub(&site, &["rollout", "show", &rollout.to_string(), "--json"]);
    assert_eq!(states(&shown), ["returned", "returned"], "{shown}");
}

#[test]
fn a_package_that_does_not_come_out_as_it_should_halts_its_rollout() {
    let site = Site::without_devices();
    let maker = Maker::new(&site);
    let mut canary = enroll(&site, &maker, "ship-1", "");
    let mut other = enroll(&site, &maker, "ship-2", "");
    canary.start().unwrap();
    other.start().unwrap();
    let shipped = version(&canary);
    let golden = String::from_utf8(maker.shipped_file("failure-mode.golden.jsonl")).unwrap();
    let spoiled = golden.replacen("0.", "0.9", 40).into_bytes();
    let bad = maker.release("9.1.0", &[("failure-mode.golden.jsonl", spoiled)]);
    add(&site, &maker, &bad);
    // Signed by somebody else, it would not even be added.
    let stranger = site.path("stranger.pub");
    sign::keygen(&site.path("stranger.key"), &stranger).unwrap();
    let refused = site.hub.command(&[
        "models",
        "add",
        bad.to_str().unwrap(),
        "--trust",
        stranger.to_str().unwrap(),
    ]);
    assert!(refused.unwrap_err().to_string().contains("not trusted"));

    // Over the API, which says what is wrong with it first.
    let client = site.hub.client();
    let start = |version: &str, ring: &str| {
        let asked = json!({ "package": "maintenance", "version": version, "trial": "1s",
                            "rings": [ring, "rest"] });
        client.post("/api/v1/rollouts", &asked).unwrap()
    };
    for (version, ring, code) in [
        ("9.1.0", "canary:colour=red", "bad-rollout"),
        ("9.9.9", "canary:device=ship-1", "not-found"),
        ("9.1.0", "rest", "not-possible"),
    ] {
        assert_eq!(start(version, ring).error_code(), code);
    }
    let started = start("9.1.0", "canary:device=ship-1").success().unwrap();
    let rollout = started["id"].as_i64().unwrap();
    let halted = wait_for_phase(&site, rollout, "halted");
    assert_eq!(states(&halted), ["failed", "waiting"], "{halted}");
    let reason = halted["reason"].as_str().unwrap();
    assert!(reason.contains("ship-1") && reason.contains("golden"), "{reason}");
    for device in [&canary, &other] {
        assert_eq!(version(device), shipped);
        ask(&device.address.client(), &json!({ "text": "fan seized" }));
    }
    // Nobody gets it later either.
    hub(&site, &["rollout", "rollback", &rollout.to_string(), "--json"]);
    let shown = wait_for_phase(&site, rollout, "rolled-back");
    assert_eq!(states(&shown), ["failed", "waiting"], "{shown}");
    site.hub.command(&["models", "remove", "maintenance@9.1.0"]).unwrap();
}

/// The JSON that a courier's command prints, which must succeed.
fn courier(device: &Device, verb: &str, stick: &Path) -> Value {
    let args = ["courier", verb, stick.to_str().unwrap(), "--json"];
    let output = device.spec(&args).output().unwrap();
    assert!(output.status.success(), "{verb}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn wait_for_file(device: &Device, name: &str) {
    let path = device.data().join("identity").join(name);
    wait::until(&format!("{name} of {}", device.name), PATIENCE, || {
        let status = device.address.client().get("/v1/status").unwrap().success().unwrap();
        match path.is_file() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(status["link"].clone()),
        }
    })
    .unwrap();
}

/// Everything that a certificate is for goes by the renewed one while the agent runs: here the
/// first ones count for nothing any more, because their authority is gone.
#[test]
fn files_neighbours_and_courier_go_by_the_renewed_certificate() {
    let mut site = Site::bendable();
    let maker = Maker::new(&site);
    let neighbour = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut canary = enroll(&site, &maker, "ship-1", &format!("serve = \"{neighbour}\""));
    let from_it = format!("hub = \"127.0.0.1:1\"\npeers = [\"{neighbour}\"]");
    let mut other = enroll(&site, &maker, "ship-2", &from_it);
    let stick = site.path("stick");
    let stick_at_hub = |site: &Site, verb: &str| {
        site.hub.command(&["courier", verb, stick.to_str().unwrap(), "--json"]).unwrap();
    };
    // Sealed for the key that it has now.
    courier(&canary, "export", &stick);
    stick_at_hub(&site, "import");
    stick_at_hub(&site, "export");

    site.hub.command(&["ca", "rotate"]).unwrap();
    site.hub.restart().unwrap();
    for device in [&mut canary, &mut other] {
        // By its clock more than a third of the time is over, until the hub says otherwise.
        let ahead = -400_i64 * 86_400;
        device.env = vec![(CLOCK_VARIABLE.into(), ahead.to_string().into())];
        device.start().unwrap();
        wait_for_file(device, "trial.pem");
    }
    // They are heard of again, and then nobody is let in with what was there first.
    site.hub.restart().unwrap();
    wait::until("the hub to know that all are renewed", PATIENCE, || {
        match site.hub.command(&["ca", "finish"]) {
            Ok(_) => ControlFlow::Break(()),
            Err(error) => ControlFlow::Continue(error.to_string()),
        }
    })
    .unwrap();
    site.hub.restart().unwrap();

    add(&site, &maker, &maker.release("9.2.0", &[("notes.bin", noise(100_000))]));
    let rings = ["--ring", "canary:device=ship-1", "--ring", "rest", "--trial", "1s", "--json"];
    hub(&site, &[&["rollout", "start", "maintenance@9.2.0"], &rings[..]].concat());
    wait_for_version(&canary, "maintenance 9.2.0");
    wait_for_version(&other, "maintenance 9.2.0");

    courier(&canary, "import", &stick);
    ask(&canary.address.client(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    canary.kill().unwrap();
    canary.env.clear();
    for _running_or_not in 0..2 {
        courier(&canary, "export", &stick);
        stick_at_hub(&site, "import");
        stick_at_hub(&site, "export");
        courier(&canary, "import", &stick);
        canary.start().unwrap();
    }
    assert_eq!(site.stats().outcomes, 1);
}

/// Bytes of model files count like any others: they leave a share of the day to records, and the
/// rest waits for the next day, or for another link.
#[test]
fn model_files_wait_once_their_share_of_the_day_is_used_up() {
    const BUDGET: u64 = 2 * 1024 * 1024;
    let day = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
    let began = day();
    let site = Site::without_devices();
    let maker = Maker::new(&site);
    let valve = Valve::new(site.hub.files, i64::MAX / 2);
    let tables = format!(
        "hub = \"{}\"\n[[link]]\nname = 'satellite'\nclass = 5\nbytes_per_day = '2 MiB'\n\
         models = true\n[[link]]\nname = 'port'\nclass = 9\n",
        valve.address
    );
    let mut device = enroll(&site, &maker, "ship-1", &tables);
    device.start().unwrap();
    let get = |device: &Device, path: &str| -> Value {
        device.address.client().get(path).unwrap().success().unwrap()
    };
    let waits = |device: &Device| {
        wait::until("the day's share to be used up", PATIENCE, || {
            let status = get(device, "/v1/status")["releases"].to_string();
            match status.contains("for files are used up until") || day() != began {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(status),
            }
        })
        .unwrap();
        get(device, "/v1/link")["links"][0]["spent_bytes"].as_u64().unwrap()
    };
    add(&site, &maker, &maker.release("9.3.0", &[("notes.bin", noise(EXTRA_BYTES))]));
    let started = ["rollout", "start", "maintenance@9.3.0", "--ring", "all", "--trial", "1s"];
    hub(&site, &[&started[..], &["--json"]].concat());
    let spent = waits(&device);
    let passed = valve.passed();
    // Records go on.
    ask(&device.address.client(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    device.kill().unwrap();
    device.start().unwrap();
    let again = waits(&device);
    let after = valve.passed();
    if day() != began {
        // The budget was renewed at midnight, as it should be: what follows is of one day.
        return model_files_wait_once_their_share_of_the_day_is_used_up();
    }
    assert!((BUDGET / 2..=BUDGET * 3 / 4 + 64 * 1024).contains(&spent), "{spent}");
    // The valve sees what comes, and no headers.
    assert!(passed <= spent && passed >= BUDGET / 2, "{passed} of {spent}");
    assert!(again >= spent && again <= BUDGET + BUDGET / 100, "{again} after {spent}");
    assert!(after < passed + 64 * 1024, "no new day by a restart: {after} after {passed}");

    let word = json!({ "link": "port", "state": "up" });
    device.address.client().put("/v1/link", &word).unwrap().success().unwrap();
    wait_for_version(&device, "maintenance 9.3.0");
    let passed = valve.passed();
    assert!(passed < EXTRA_BYTES as u64 * 11 / 10, "nothing comes twice: {passed}");
}
