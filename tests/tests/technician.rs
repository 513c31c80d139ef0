//! What a technician has at hand on a box: `enroll`, `doctor`, `diag`, completions and manual pages;
//! that no secret comes out of any of it; and a box that does not know what time it is.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves out"
)]

mod common;

use common::{PATIENCE, Site, ask};
use landfall_tests::faults::CLOCK_VARIABLE;
use landfall_tests::site::Device;
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

fn doctor(device: &Device) -> (Option<i32>, Value) {
    let output = device.spec(&["doctor", "--json"]).output().unwrap();
    let page = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (output.status.code(), page)
}

/// The lines of an area: level and text.
fn lines<'a>(page: &'a Value, area: &str) -> Vec<(&'a str, &'a str)> {
    let checks = page["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["area"] == area)
        .map(|check| (check["level"].as_str().unwrap(), check["says"].as_str().unwrap()))
        .collect()
}

fn level<'a>(page: &'a Value, area: &str) -> &'a str {
    lines(page, area).first().unwrap_or_else(|| panic!("no {area} in {page:#}")).0
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn status(device: &Device) -> Value {
    device.address.client().get("/v1/status").unwrap().success().unwrap()
}

fn wait_online(device: &Device) {
    wait::until("the device to be online", PATIENCE, || {
        let status = status(device);
        match status["link"]["state"] == "online" {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(status["link"].clone()),
        }
    })
    .unwrap();
}

#[test]
fn doctor_walks_to_the_hub_with_the_agent_running_or_not() {
    let mut site = Site::start(&["ship-7"]);
    wait_online(&site.devices[0]);
    let (code, page) = doctor(&site.devices[0]);
    assert_eq!(code, Some(0), "{page:#}");
    assert_eq!((&page["running"], &page["device"]), (&json!(true), &json!("ship-7")));
    for area in
        ["configuration", "agent", "identity", "authority", "clock", "hub TLS", "hub", "queue"]
    {
        assert_eq!(level(&page, area), "ok", "{area}: {page:#}");
    }
    assert!(lines(&page, "model").iter().all(|(level, _)| *level == "ok"), "{page:#}");
    assert!(lines(&page, "clock")[0].1.contains("off the hub's"), "{page:#}");
    let for_people = text(&site.devices[0].spec(&["doctor"]).output().unwrap());
    assert!(for_people.contains("0 failed") && !for_people.contains('\u{1b}'), "{for_people}");

    // Without the agent it takes the last steps itself, and leaves the store as it is.
    site.devices[0].kill().unwrap();
    let before = tree(&site.devices[0].data());
    let (code, page) = doctor(&site.devices[0]);
    assert_eq!(code, Some(3), "{page:#}");
    assert!(lines(&page, "hub")[0].1.contains("answers the greeting"), "{page:#}");
    assert_eq!(level(&page, "hub door"), "ok");
    assert_eq!(tree(&site.devices[0].data()), before, "nothing was changed");

    // Each way to the hub that is closed is named.
    site.hub.command(&["revoke", "ship-7"]).unwrap();
    let (code, page) = doctor(&site.devices[0]);
    assert_eq!((code, level(&page, "hub door")), (Some(1), "failed"), "{page:#}");
    site.hub.kill().unwrap();
    let (code, page) = doctor(&site.devices[0]);
    assert_eq!(code, Some(1), "{page:#}");
    assert!(
        lines(&page, "hub TLS").iter().chain(&lines(&page, "hub port")).any(|it| it.0 == "failed")
    );
    let checks = page["checks"].as_array().unwrap().iter();
    for bad in checks.filter(|check| check["level"] == "failed" || check["level"] == "warning") {
        assert!(bad["remedy"].as_str().is_some_and(|it| !it.is_empty()), "{bad}");
    }
}

/// Names and content of all files below a directory.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn doctor_says_what_is_wrong_with_the_configuration_and_the_identity() {
    let site = Site::without_devices();
    let device = site.enroll("ship-7");
    let config = std::fs::read_to_string(device.config_path()).unwrap();
    std::fs::write(device.config_path(), format!("nonsense = 1\n{config}")).unwrap();
    let (code, page) = doctor(&device);
    assert_eq!((code, level(&page, "configuration")), (Some(2), "failed"), "{page:#}");
    std::fs::write(device.config_path(), config).unwrap();
    std::fs::remove_file(device.identity().join("device.key")).unwrap();
    let (code, page) = doctor(&device);
    assert_eq!((code, level(&page, "identity")), (Some(1), "failed"), "{page:#}");
}

/// Every line of a file in PEM that is worth keeping secret.
fn secrets(key: &Path) -> Vec<String> {
    let pem = std::fs::read_to_string(key).unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() > 16);
    lines.map(str::to_owned).collect()
}

#[test]
fn no_secret_is_in_a_bundle_a_log_or_a_command_line() {
    const TEXT: &str = "hyd pump leaking at the captain's cabin";
    let mut site = Site::start(&["ship-7"]);
    ask(&site.device(), &json!({ "id": "wo-1", "text": TEXT }));
    site.wait_for_outcomes(1);
    let device = &site.devices[0];
    let config = std::fs::read_to_string(device.config_path()).unwrap();
    // What people write where nothing asks for it.
    std::fs::write(device.config_path(), format!("# password = \"hunter2\"\n{config}")).unwrap();
    let mut secrets_of_all = secrets(&device.identity().join("device.key"));
    secrets_of_all.extend(secrets(&site.path("hub").join("data/ca.key")));
    secrets_of_all.extend(secrets(&site.path("hub").join("data/server.key")));
    secrets_of_all.push("hunter2".to_owned());

    let out = site.path("bundle.tar");
    let spec = device.spec(&["diag", "--json", "--out", out.to_str().unwrap()]);
    let output = spec.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    for part in ["doctor.txt", "status.json", "config.json", "system.txt", "identity.json"] {
        assert!(said["parts"].as_array().unwrap().contains(&json!(part)), "{said}");
    }
    let bundle = String::from_utf8_lossy(&std::fs::read(&out).unwrap()).into_owned();
    assert!(bundle.contains("landfall-diag/doctor.txt") && bundle.contains("failure-mode"));
    assert!(!bundle.contains("captain"), "no text of a request");

    let mut seen = vec![("bundle".to_owned(), bundle)];
    for log in [site.path("hub").join("hub.log"), site.path("ship-7").join("agent.log")] {
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(!text.contains("captain"), "no text of a request in {}", log.display());
        seen.push((log.display().to_string(), text));
    }
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for line in processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok()) {
        seen.push(("a command line".to_owned(), String::from_utf8_lossy(&line).into_owned()));
    }
    for (place, text) in &seen {
        for secret in &secrets_of_all {
            assert!(!text.contains(secret.as_str()), "a secret is in {place}");
        }
    }
    drop(site.devices.pop());
}

#[test]
fn shells_and_manual_know_every_command() {
    let site = Site::without_devices();
    let device = site.enroll("ship-7");
    // Neither takes --config: they are about the command line itself.
    let mut completions = device.spec(&[]);
    completions.args = ["completions", "bash"].map(Into::into).into();
    let script = text(&completions.output().unwrap());
    assert!(script.contains("doctor") && script.contains("--json"), "{script}");
    let pages = site.path("man");
    let mut man = device.spec(&[]);
    man.args = ["man-pages".into(), pages.clone().into()].into();
    assert!(man.output().unwrap().status.success());
    for page in ["landfall-agent.1", "landfall-agent-doctor.1", "landfall-agent-queue-list.1"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
    let hub = site.path("hub-man");
    site.hub.command(&["man-pages", hub.to_str().unwrap()]).unwrap();
    assert!(hub.join("landfall-hub.1").is_file() && hub.join("landfall-hub-enroll.1").is_file());
    let script = site.hub.command(&["completions", "zsh"]).unwrap();
    assert!(script.contains("escalations"), "{script}");
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Seconds of a time as the hub writes it.
fn secs(time: &Value) -> u64 {
    let time = humantime::parse_rfc3339_weak(time.as_str().unwrap()).unwrap();
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_box_that_starts_in_1970_decides_connects_and_puts_its_times_right() {
    let site = Site::bendable();
    let mut device = site.enroll("ship-7");
    // An hour into 1970, on every start.
    let behind = now_secs() - 3600;
    device.env = vec![(CLOCK_VARIABLE.into(), behind.to_string().into())];
    device.link.cut();
    let built_secs = 1_793_491_200;
    for (run, id) in ["wo-1", "wo-2"].into_iter().enumerate() {
        device.start().unwrap();
        ask(&device.address.client(), &json!({ "id": id, "text": "hyd pump leaking" }));
        let clock = status(&device)["clock"].clone();
        assert_eq!(clock["source"], "last-known", "{clock}");
        assert!(clock["now_ms"].as_u64().unwrap() / 1000 >= built_secs, "{clock}");
        let (_, page) = doctor(&device);
        assert_eq!(level(&page, "clock"), "warning", "{page:#}");
        if run == 0 {
            device.kill().unwrap();
        }
    }
    // The hub's certificates are not valid in 1970, nor was the hub ever heard: it connects.
    device.link.restore();
    wait_online(&device);
    let clock = status(&device)["clock"].clone();
    assert_eq!(clock["source"], "hub", "{clock}");
    assert!(clock["now_ms"].as_u64().unwrap().abs_diff(now_secs() * 1000) < 60_000, "{clock}");
    ask(&device.address.client(), &json!({ "id": "wo-3", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(3);

    let rows = wait::until("the times to be put right", PATIENCE, || {
        let page = site.hub.client().get("/api/v1/outcomes").unwrap().success().unwrap();
        let rows = page["outcomes"].as_array().unwrap().clone();
        let fixed = rows.iter().filter(|row| row["clock_off_ms"].is_number()).count();
        if fixed == 2 { ControlFlow::Break(rows) } else { ControlFlow::Continue(page) }
    })
    .unwrap();
    for row in &rows {
        assert!(secs(&row["at"]).abs_diff(now_secs()) < 300, "about now: {row}");
    }
    let of = |id: &str| rows.iter().find(|row| row["caller_id"] == id).unwrap();
    assert_eq!(of("wo-1")["clock_exact"], false, "the box was off after it: {rows:?}");
    assert_eq!(of("wo-2")["clock_exact"], true, "{rows:?}");
    assert!(of("wo-3").get("clock_off_ms").is_none(), "{rows:?}");

    // It goes on from there at the next start, with no hub to ask.
    device.link.cut();
    device.node().take().unwrap().stop().unwrap();
    device.start().unwrap();
    let clock = status(&device)["clock"].clone();
    assert_eq!(clock["source"], "last-known", "{clock}");
    assert!(clock["now_ms"].as_u64().unwrap().abs_diff(now_secs() * 1000) < 300_000, "{clock}");
}

/// `enroll` on a device that has no identity; the token comes on standard input.
fn enroll(site: &Site, device: &Device, token: &str, more: &[&str]) -> Output {
    let hub = site.hub.mqtt.to_string();
    let spec = device.spec(&[&["enroll", &hub, token], more].concat());
    spec.output().unwrap()
}

#[test]
fn a_device_enrolls_itself_with_a_token_once() {
    let site = Site::without_devices();
    let mut device = site.enroll("ship-7");
    let new_token = |more: &[&str]| {
        let hub = device.link.address().to_string();
        let args = [&["token", "new", "ship-8", "--hub", &hub], more].concat();
        site.hub.command(&args).unwrap().trim().to_owned()
    };
    let token = new_token(&[]);
    let refused = enroll(&site, &device, &token, &[]);
    assert!(text(&refused).contains("ship-7"), "an identity is not replaced by accident");
    std::fs::remove_dir_all(device.identity()).unwrap();

    // Mistyped, of another hub, expired.
    let mut mistyped = token.clone().into_bytes();
    mistyped[3] = if mistyped[3] == b'7' { b'8' } else { b'7' };
    let refused = enroll(&site, &device, &String::from_utf8(mistyped).unwrap(), &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let other = Site::without_devices();
    other.enroll("ship-9");
    let theirs = other.hub.command(&["token", "new", "ship-8"]).unwrap();
    let refused = enroll(&site, &device, theirs.trim(), &[]);
    assert!(text(&refused).contains("cannot prove that it is the hub"), "{refused:?}");
    let expired = new_token(&["--valid", "0s"]);
    let refused = enroll(&site, &device, &expired, &[]);
    assert!(text(&refused).contains("remedy: make a new one"), "{refused:?}");

    let enrolled = enroll(&site, &device, &token, &["--json"]);
    assert!(enrolled.status.success(), "{enrolled:?}");
    assert!(text(&enrolled).contains("ship-8"), "{enrolled:?}");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(device.identity().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("device.key"), 0o600);
    // Again with another key: it is used up.
    let kept = std::fs::read_to_string(device.identity().join("device.pem")).unwrap();
    let again = enroll(&site, &device, &token, &["--renew"]);
    assert!(!again.status.success(), "{again:?}");
    assert_eq!(std::fs::read_to_string(device.identity().join("device.pem")).unwrap(), kept);

    device.start().unwrap();
    ask(&device.address.client(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    let fleet = site.hub.client().get("/api/v1/fleet").unwrap().success().unwrap();
    assert!(fleet.to_string().contains("ship-8"), "{fleet}");
    let log = std::fs::read_to_string(site.path("hub").join("hub.log")).unwrap();
    assert!(!log.contains(&token), "no token in a log");
}

#[test]
fn many_wrong_tokens_close_the_door_for_tokens_only() {
    let site = Site::start(&["ship-7"]);
    let device = site.enroll("ship-8");
    std::fs::remove_dir_all(device.identity()).unwrap();
    let good = site.hub.command(&["token", "new", "ship-9"]).unwrap();
    let mut wrong: landfall_wire::token::Token = good.trim().parse().unwrap();
    let mut last = String::new();
    for guess in 0..12 {
        wrong.secret = [guess; 8];
        last = text(&enroll(&site, &device, &wrong.to_string(), &[]));
    }
    assert!(last.contains("for a minute"), "{last}");
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
}

#[test]
fn an_authority_is_replaced_while_devices_go_on() {
    let mut site = Site::start(&["ship-7"]);
    wait_online(&site.devices[0]);
    let said = site.hub.command(&["ca", "rotate"]).unwrap();
    assert!(said.contains("two authorities"), "{said}");
    site.hub.restart().unwrap();
    site.devices[0].link.retarget(site.hub.mqtt);
    // The old device goes on, and new ones trust both.
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    let mut young = site.enroll("ship-8");
    let trusted = std::fs::read_to_string(young.identity().join("ca.pem")).unwrap();
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 2);
    young.start().unwrap();
    ask(&young.address.client(), &json!({ "id": "wo-2", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(2);

    // The old device would be shut out, which nobody does by accident.
    let refused = site.hub.command(&["ca", "finish"]).unwrap_err().to_string();
    assert!(refused.contains("1 device (ship-7) knows"), "{refused}");
    let shown = site.hub.command(&["ca", "show"]).unwrap();
    assert!(shown.contains("1 device (ship-7) knows the old one only"), "{shown}");
    let said = site.hub.command(&["ca", "finish", "--force"]).unwrap();
    assert!(said.contains("taken over"), "{said}");
    site.hub.restart().unwrap();
    for device in [&site.devices[0], &young] {
        device.link.retarget(site.hub.mqtt);
    }
    ask(&young.address.client(), &json!({ "id": "wo-3", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(3);
    let error = wait::until("the old device to be shut out", PATIENCE, || {
        let status = status(&site.devices[0]);
        match status["link"]["last_error"].as_str() {
            Some(error) if status["link"]["state"] != "online" => {
                ControlFlow::Break(error.to_owned())
            }
            _ => ControlFlow::Continue(status["link"].clone()),
        }
    })
    .unwrap();
    assert!(!error.is_empty());
}

/// A client of TLS that is not ours: what it says, and what the hub shows it.
#[test]
fn openssl_is_told_nothing_without_a_certificate() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed (apt: openssl)");
        return;
    }
    let site = Site::start(&["ship-7"]);
    let connect = |more: &[&str]| {
        let hub = site.hub.mqtt.to_string();
        let ca = site.devices[0].identity().join("ca.pem");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &hub, "-verify_return_error", "-CAfile"]);
        command.arg(ca).args(more).stdin(Stdio::null());
        text(&command.output().unwrap())
    };
    for version in ["-tls1_2", "-tls1_3"] {
        // Without a certificate the alert comes after the handshake: wait for it.
        let said = connect(&[version, "-ign_eof"]);
        assert!(said.contains("alert") || !said.contains("Verify return code: 0"), "{said}");
    }
    assert!(!connect(&["-tls1_1"]).contains("Verify return code: 0 (ok)\n---\nread R BLOCK"));
    let (pem, key) = (
        site.devices[0].identity().join("device.pem"),
        site.devices[0].identity().join("device.key"),
    );
    let own = ["-cert", pem.to_str().unwrap(), "-key", key.to_str().unwrap()];
    let said = connect(&own);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    // Who asks to enroll is shown the authority, and gets no further without a token.
    let said = connect(&["-alpn", "landfall-enroll/1", "-showcerts"]);
    assert!(said.matches("BEGIN CERTIFICATE").count() >= 2, "{said}");
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
}

/// A Python that has paho-mqtt: `tests/run` makes one.
fn python_with_paho() -> Option<std::path::PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-venv/bin/python");
    let named = std::env::var_os("LANDFALL_TEST_PYTHON").map(Into::into);
    named.into_iter().chain([venv, "python3".into()]).find(|python| {
        let found = Command::new(python).args(["-c", "import paho.mqtt.client"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}

/// A device in another language, written from the description of the protocol alone.
#[test]
fn a_client_made_from_the_protocols_description_works_and_is_confined() {
    let Some(python) = python_with_paho() else {
        eprintln!("skipped: no Python with paho-mqtt (tests/run installs it)");
        return;
    };
    let site = Site::start(&["ship-8"]);
    let device = site.enroll("ship-7");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/device.py");
    let run = |more: &[&str]| -> Value {
        let hub = site.hub.mqtt;
        let mut command = Command::new(&python);
        command.arg(&script).arg(device.identity());
        command.args([&hub.ip().to_string(), &hub.port().to_string(), "5"]).args(more);
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    };
    let said = run(&[]);
    assert_eq!(said, json!({ "mark": 0, "acked": 5, "disconnected": false }));
    assert_eq!(site.stats().outcomes, 5);
    // Under another client id it is still who its certificate says.
    assert_eq!(run(&["--client-id", "ship-8"])["acked"], 5);
    let page = site.hub.client().get("/api/v1/outcomes").unwrap().success().unwrap();
    let devices = page["outcomes"].as_array().unwrap().iter();
    assert!(devices.map(|row| &row["device"]).all(|device| device == "ship-7"), "{page}");
    // What is not its own, and what makes no sense, ends its connection and is counted.
    for more in [&["--topic", "landfall/1/ship-8/up"][..], &["--garbage"]] {
        assert_eq!(run(more)["disconnected"], true, "{more:?}");
    }
    let stats = site.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
    let counted = |what: &str| stats["frames"][what].as_u64().unwrap_or(0);
    assert!(counted("refused") >= 1 && counted("malformed") >= 16, "{stats}");
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(11);
}

/// More connections that say nothing than the hub waits for at once.
#[test]
fn silent_connections_hold_up_nobody_who_is_in() {
    let site = Site::start(&["ship-7"]);
    wait_online(&site.devices[0]);
    let open = || std::net::TcpStream::connect(site.hub.mqtt).unwrap();
    let silent: Vec<_> = std::iter::repeat_with(open).take(300).collect();
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    let metrics = site.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
    assert!(metrics.is_object(), "{metrics}");
    drop(silent);
    let mut late = site.enroll("ship-8");
    late.start().unwrap();
    wait_online(&late);
}

#[test]
fn a_device_renews_its_certificate_by_itself() {
    let site = Site::bendable();
    let mut device = site.enroll("ship-7");
    // By its clock more than a third of the time is over.
    let ahead = -400_i64 * 86_400;
    device.env = vec![(CLOCK_VARIABLE.into(), ahead.to_string().into())];
    device.start().unwrap();
    let renewed = device.data().join("identity");
    let has = |name: &str| renewed.join(name).is_file();
    wait::until("a new certificate", PATIENCE, || match has("trial.pem") {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(status(&device)["link"].clone()),
    })
    .unwrap();
    assert!(!has("renew.key"), "its key is with it");
    // The old one is good until the new one was used.
    device.env.clear();
    device.start().unwrap();
    wait_online(&device);
    ask(&device.address.client(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    device.node().take().unwrap().stop().unwrap();
    assert!(has("current.pem") && !has("trial.pem"));
    let (_, page) = doctor(&device);
    assert!(lines(&page, "identity")[0].1.contains("renewed"), "{page:#}");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&renewed.join("current.pem")), 0o600);

    // Revoked is revoked, with every certificate that it has.
    site.hub.command(&["revoke", "ship-7"]).unwrap();
    let (code, page) = doctor(&device);
    assert_eq!((code, level(&page, "hub door")), (Some(1), "failed"), "{page:#}");
}
