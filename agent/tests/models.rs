//! The agent with the package that ships, and with packages and identities that are broken.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Agent, RULES, Site, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TASKS: &str = "
[task.failure-mode]
error_max = 0.20
leave = { text = true }
[task.work-order-fields]
error_max = 0.50
leave = { text = true }
";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/packages").canonicalize().unwrap()
}

fn with_shipped(mut command: Command) -> Command {
    command.env("LANDFALL_PACKAGES", shipped());
    command
}

fn start(site: &Site) -> Agent {
    Agent::start(with_shipped(site.command(&["run"])), site.path())
}

/// A copy of the shipped package that may be spoiled, and the lines that configure it.
fn copied(site: &Site) -> (PathBuf, String) {
    let package = site.path().join("package");
    fs::create_dir_all(package.join("blobs")).unwrap();
    for folder in ["", "blobs"] {
        for entry in fs::read_dir(shipped().join("maintenance").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, package.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    let key = shipped().join("landfall-development.pub");
    let models = format!("[models]\npackages = [\"package\"]\ntrust = [\"{}\"]\n", key.display());
    (package, models)
}

/// Rules go on, the model's questions go to the hub, and the status says why.
fn runs_without_its_model(site: &Site, why: &str) {
    let agent = site.start();
    assert_eq!(agent.ask("pump leak", None)["mechanism"]["name"], "leak");
    let reply = agent.ask("noise in gearbox", None);
    assert_eq!(reply["status"], "escalated", "{reply}");
    let status = agent.status();
    assert!(status["faults"][0].as_str().is_some_and(|f| f.contains(why)), "{why}: {status}");
    assert!(agent.log().contains("ERROR"), "{}", agent.log());
    let check = site.run(&["check-config"]);
    assert!(!check.status.success() && text(&check).contains(why), "{}", text(&check));
}

#[test]
fn the_shipped_model_classifies_and_extracts() {
    let site = Site::new(TASKS);
    let check = with_shipped(site.command(&["check-config"])).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    assert!(text(&check).contains("task failure-mode: maintenance "), "{}", text(&check));

    let agent = start(&site);
    let order = "replace leaking hydraulic hose on boom";
    let reply = agent.ask(order, None);
    assert_eq!(reply["mechanism"]["kind"], "model", "{reply}");
    assert!(reply["confidence"].as_f64().is_some_and(|p| p > 0.0 && p <= 1.0), "{reply}");
    assert!(reply["label"].is_string(), "{reply}");

    let body = serde_json::json!({ "text": order }).to_string();
    let (code, reply) = agent.post_to("work-order-fields", body);
    assert_eq!(code, 200, "{reply}");
    let fields = reply["fields"].as_array().unwrap_or_else(|| panic!("{reply}"));
    assert!(!fields.is_empty(), "{reply}");
    for field in fields {
        let at = |key: &str| usize::try_from(field[key].as_u64().unwrap()).unwrap();
        assert_eq!(field["value"], order[at("start")..at("end")], "{reply}");
    }
    assert!(agent.status()["faults"].as_array().is_some_and(Vec::is_empty), "{}", agent.status());
}

#[test]
fn a_retry_gets_its_fields_again() {
    let site = Site::new(TASKS);
    let agent = start(&site);
    let body = r#"{"text": "replace leaking hydraulic hose", "id": "wo-1"}"#;
    let first = agent.post_to("work-order-fields", body).1;
    let mut again = agent.post_to("work-order-fields", body).1;
    assert_eq!(again["repeated"], true, "{again}");
    again["repeated"] = Value::Bool(false);
    again["decide_ms"] = first["decide_ms"].clone();
    assert_eq!(again, first);
}

/// The answer to a text does not depend on its neighbours in a file, nor on their order.
#[test]
fn a_text_is_answered_alike_whatever_stands_beside_it() {
    let texts = [
        "pump leaking at seal",
        "hyd hose burst on boom, replace",
        "what time is lunch",
        "brg noise and vib, left hand drive motor",
        "engine overheating; coolant low",
    ];
    let answers = |order: &[usize]| -> Vec<(String, Value, Value)> {
        let site = Site::new(TASKS);
        let lines: Vec<String> = order
            .iter()
            .map(|&at| serde_json::json!({"id": at.to_string(), "text": texts[at]}).to_string())
            .collect();
        let (input, out) = (site.path().join("in.jsonl"), site.path().join("out.jsonl"));
        fs::write(&input, lines.join("\n")).unwrap();
        let mut command = with_shipped(site.command(&["batch", "failure-mode"]));
        let output = command.arg(&input).arg("--out").arg(&out).output().unwrap();
        assert!(out.is_file(), "{}", text(&output));
        let mut answers: Vec<(String, Value, Value)> = fs::read_to_string(&out)
            .unwrap()
            .lines()
            .map(|line| {
                let reply: Value = serde_json::from_str(line).unwrap();
                let id = reply["id"].as_str().unwrap().to_owned();
                (id, reply["label"].clone(), reply["confidence"].clone())
            })
            .collect();
        answers.sort_by(|a, b| a.0.cmp(&b.0));
        answers
    };
    let all = answers(&[0, 1, 2, 3, 4]);
    assert_eq!(answers(&[4, 2, 0, 3, 1]), all);
    for at in [0, 3] {
        assert_eq!(answers(&[at]), all[at..=at], "alone");
    }
}

#[test]
fn a_task_that_no_package_has_is_a_mistake_of_the_configuration() {
    let site = Site::new("[task.failure-mood]\nerror_max = 0.1\n");
    for command in [&["check-config"][..], &["ask", "failure-mood", "leak"]] {
        let output = with_shipped(site.command(command)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("agent.toml:6: "), "{}", text(&output));
        assert!(text(&output).contains("failure-mode"), "{}", text(&output));
    }
}

#[test]
fn a_tampered_blob_is_not_run() {
    let site = Site::new("");
    let (package, models) = copied(&site);
    site.configure(&format!("{models}{RULES}"));
    let blob = fs::read_dir(package.join("blobs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    runs_without_its_model(&site, "is damaged or was changed");
}

#[test]
fn a_changed_manifest_is_not_run() {
    let site = Site::new("");
    let (package, models) = copied(&site);
    site.configure(&format!("{models}{RULES}"));
    let manifest = package.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"version\": \"", "\"version\": \"9", 1)).unwrap();
    runs_without_its_model(&site, "changed after it was signed");
}

#[test]
fn a_missing_package_is_named() {
    let site = Site::new("");
    let (package, models) = copied(&site);
    site.configure(&format!("{models}{RULES}"));
    fs::remove_dir_all(&package).unwrap();
    runs_without_its_model(&site, package.to_str().unwrap());
}

#[test]
fn a_broken_identity_leaves_the_agent_deciding() {
    let site = Site::new("");
    let identity = site.path().join("identity");
    fs::create_dir(&identity).unwrap();
    for file in ["ca.pem", "device.pem", "device.key"] {
        fs::write(identity.join(file), "not PEM").unwrap();
    }
    fs::write(identity.join("bundle.toml"), "device = \"ship-7\"\nhub = \"127.0.0.1:1\"\n")
        .unwrap();
    site.configure(&format!("[hub]\nidentity = \"identity\"\n{RULES}"));
    let agent = site.start();
    assert_eq!(agent.ask("pump leak", None)["status"], "answered");
    let status = agent.status();
    let faults = status["faults"].to_string();
    assert!(faults.contains("no link to the hub") && faults.contains("ca.pem"), "{faults}");
    assert_eq!(status["link"], Value::Null);
}
