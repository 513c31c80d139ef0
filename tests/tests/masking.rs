//! A model that finds what must not leave, beside the patterns: what reaches the hub.
//!
//! The package is the shipped one with a task `redact` added, which runs the head of
//! `work-order-fields`: it masks items where a real one masks names, and the way is the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site};
use landfall_models::package::sign;
use landfall_tests::site::{Device, DeviceConfig};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const TEXT: &str = "replace leaking hydraulic hose, call 555-123-4567";

/// Copies the shipped package, adds the task and signs it with a key of its own.
fn package_that_masks(home: &Path) -> (PathBuf, PathBuf) {
    let shipped = DeviceConfig::shipped().unwrap().packages.remove(0);
    let package = home.join("masking");
    fs::create_dir_all(package.join("blobs")).unwrap();
    for entry in fs::read_dir(shipped.join("blobs")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, package.join("blobs").join(path.file_name().unwrap())).unwrap();
    }
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(shipped.join("manifest.json")).unwrap()).unwrap();
    manifest["tasks"]["redact"] = manifest["tasks"]["work-order-fields"].clone();
    fs::write(package.join("manifest.json"), manifest.to_string()).unwrap();
    let (secret, public) = (home.join("maker.key"), home.join("maker.pub"));
    sign::keygen(&secret, &public).unwrap();
    sign::sign(&package, &secret).unwrap();
    (package, public)
}

fn device(site: &Site, more: &str, spoil: impl FnOnce(&Path)) -> Device {
    let (package, key) = package_that_masks(&site.path(""));
    spoil(&package);
    let tasks = format!(
        "[task.failure-mode]\nthreshold = 1.0\nleave = {{ text = true }}\n\
         [[task.failure-mode.rule]]\nname = \"drill\"\nwords = [\"drill\"]\nout_of_scope = true\n\
         {more}"
    );
    let config = DeviceConfig {
        tasks,
        packages: vec![package],
        trust: vec![key],
        hub: None,
        keep_alive_secs: None,
    };
    let mut device = Device::enroll(&site.hub, &site.path("ship-7"), "ship-7", &config).unwrap();
    device.start().unwrap();
    device
}

fn ask(device: &Device, text: &str) -> Value {
    let body = json!({ "text": text });
    let reply = device.address.client().post("/v1/tasks/failure-mode", &body).unwrap();
    reply.success().unwrap()
}

/// The outcomes at the hub, the first first, once there are so many.
fn outcomes(site: &Site, count: usize) -> Vec<Value> {
    wait::until("the outcomes at the hub", PATIENCE, || {
        let body = site.hub.client().get("/api/v1/outcomes").unwrap().success().unwrap();
        let mut rows = body["outcomes"].as_array().cloned().unwrap_or_default();
        rows.reverse();
        if rows.len() >= count { ControlFlow::Break(rows) } else { ControlFlow::Continue(body) }
    })
    .unwrap()
}

#[test]
fn a_models_masks_are_in_whatever_leaves() {
    let site = Site::without_devices();
    let device = device(&site, "", |_| {});
    let reply = ask(&device, TEXT);
    assert_eq!(reply["status"], "escalated", "{reply}");
    assert_eq!(reply["read"]["words"], 6, "{reply}");
    // A rule decides without its task's model; what leaves is masked all the same.
    assert_eq!(ask(&device, "drill with hydraulic hose")["mechanism"]["kind"], "rule");
    for outcome in outcomes(&site, 2) {
        let text = outcome["text"].as_str().unwrap();
        assert!(text.contains("<item>") && !text.contains("hose"), "{outcome}");
        assert_eq!(outcome["masking"], "patterns-and-model", "{outcome}");
    }
    let ticket = reply["escalation"].as_str().unwrap();
    let path = format!("/api/v1/escalations/ship-7/{ticket}");
    let question = wait::until("the question at the hub", PATIENCE, || {
        match site.hub.client().get(&path).unwrap() {
            response if response.is_success() => ControlFlow::Break(response.body),
            response => ControlFlow::Continue(response.body),
        }
    })
    .unwrap();
    let text = question["text"].as_str().unwrap_or_else(|| panic!("{question}"));
    assert!(text.contains("<item>") && text.contains("<phone>"), "{text}");
    assert!(!text.contains("hose") && !text.contains("555"), "{text}");
}

#[test]
fn a_site_may_choose_labels_or_patterns_alone() {
    let site = Site::without_devices();
    let device = device(&site, "[redact]\nmodel = false\n", |_| {});
    ask(&device, TEXT);
    let outcome = outcomes(&site, 1).remove(0);
    assert_eq!(outcome["text"], "replace leaking hydraulic hose, call <phone>", "{outcome}");
    assert_eq!(outcome["masking"], "patterns", "{outcome}");
    drop(device);

    let site = Site::without_devices();
    let chosen = "[redact]\nmodel_labels = [\"Activity\"]\nmodel_floor = 0.5\n";
    let device = self::device(&site, chosen, |_| {});
    ask(&device, TEXT);
    let text = outcomes(&site, 1).remove(0)["text"].as_str().unwrap().to_owned();
    assert!(text.contains("<activity>") && text.contains("hose"), "{text}");
}

#[test]
fn without_its_model_the_patterns_mask_and_the_hub_is_told() {
    let site = Site::without_devices();
    let device = device(&site, "", |package| {
        let blob = fs::read_dir(package.join("blobs")).unwrap().next().unwrap().unwrap().path();
        fs::write(blob, b"damaged").unwrap();
    });
    for text in [TEXT, "another hose, call 555-123-4567"] {
        ask(&device, text);
    }
    for outcome in outcomes(&site, 2) {
        assert_eq!(outcome["masking"], "model-unavailable", "{outcome}");
        assert!(outcome["text"].as_str().unwrap().ends_with("call <phone>"), "{outcome}");
    }
    let events = wait::until("the trouble at the hub", PATIENCE, || {
        let body = site.hub.client().get("/api/v1/devices/ship-7").unwrap().success().unwrap();
        let events = body["events"].as_array().cloned().unwrap_or_default();
        let told: Vec<Value> = events.into_iter().filter(|e| e["kind"] == "trouble").collect();
        if told.is_empty() { ControlFlow::Continue(body) } else { ControlFlow::Break(told) }
    })
    .unwrap();
    assert_eq!(events.len(), 1, "once, not for each text: {events:?}");
    let detail = events[0]["detail"]["detail"].as_str().unwrap();
    assert!(detail.contains("masked by patterns alone"), "{detail}");
}

/// Three thousand words reach their end: the field there comes back, and both sides are told how
/// much was read.
#[test]
fn a_long_text_is_read_to_its_end() {
    let site = Site::without_devices();
    let fields = "[task.work-order-fields]\nthreshold = 0.0\n";
    let device = device(&site, fields, |_| {});
    let text = format!("{}replace hydraulic hose", "meeting was held as planned ".repeat(600));
    let body = json!({ "id": "long", "text": text });
    let client = device.address.client();
    let ask = || client.post("/v1/tasks/work-order-fields", &body).unwrap().success().unwrap();
    let reply = ask();
    assert_eq!(reply["read"]["words"], 3003, "{reply}");
    assert!(reply["read"]["windows"].as_u64().unwrap() > 20, "{reply}");
    assert_eq!(reply["fields_left_out"], Value::Null, "the first reply has them all");
    let last = reply["fields"].as_array().unwrap().last().unwrap();
    assert!(last["value"].as_str().unwrap().contains("hose"), "{last}");
    assert_eq!(last["end"], text.len(), "{last}");
    let again = ask();
    assert_eq!((&again["repeated"], &again["read"]), (&json!(true), &reply["read"]));
    let outcome = outcomes(&site, 1).remove(0);
    assert_eq!(outcome["read"], reply["read"], "{outcome}");
    let (all, kept) = (reply["fields"].as_array().unwrap().len(), &outcome["decision"]["fields"]);
    let kept = kept.as_array().unwrap().len();
    assert_eq!(outcome["fields_left_out"], json!(all - kept), "{outcome}");
}
