//! Who is let in, and which models run: wrong certificates, a hub that is not there, packages
//! that were tampered with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site, TASK, ask};
use landfall_tests::api::Status;
use landfall_tests::site::{Device, DeviceConfig};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn status(device: &Device) -> Value {
    device.address.client().get("/v1/status").unwrap().success().unwrap()
}

/// Waits until the device says why it has no link.
fn wait_for_link_error(device: &Device) -> String {
    wait::until("an error of the link", PATIENCE, || {
        let status = status(device);
        match status["link"]["last_error"].as_str() {
            Some(error) => ControlFlow::Break(error.to_owned()),
            None => ControlFlow::Continue(status["link"].clone()),
        }
    })
    .unwrap()
}

#[test]
fn a_device_of_another_hub_is_not_let_in_and_goes_on_deciding() {
    let (ours, theirs) = (Site::without_devices(), Site::without_devices());
    let mut stranger = theirs.enroll("ship-7");
    // Its certificate is by their CA, its link leads to our hub.
    stranger.link.retarget(ours.hub.mqtt);
    stranger.start().unwrap();
    let client = stranger.address.client();
    let reply = ask(&client, &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    assert_eq!(reply.status, Status::Answered);
    let error = wait_for_link_error(&stranger);
    assert!(!error.is_empty());
    assert_eq!(ours.stats().outcomes, 0, "{error}");
    // Nothing is lost: where it belongs, it delivers.
    stranger.link.retarget(theirs.hub.mqtt);
    theirs.wait_for_outcomes(1);
}

#[test]
fn a_device_does_not_talk_to_a_false_hub() {
    let (ours, theirs) = (Site::without_devices(), Site::without_devices());
    let mut device = ours.enroll("ship-7");
    // The same name is enrolled there too; only the CA tells the hubs apart.
    let _same_name = theirs.enroll("ship-7");
    device.link.retarget(theirs.hub.mqtt);
    device.start().unwrap();
    ask(&device.address.client(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    let error = wait_for_link_error(&device);
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    assert_eq!(theirs.stats().outcomes, 0);
}

#[test]
fn a_revoked_device_is_shut_out() {
    let site = Site::start(&["ship-7"]);
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    site.hub.command(&["revoke", "ship-7"]).unwrap();
    wait_for_link_error(&site.devices[0]);
    ask(&site.device(), &json!({ "id": "wo-2", "text": "hyd pump leaking" }));
    assert_eq!(site.stats().outcomes, 1);
}

#[test]
fn an_agent_starts_and_decides_without_its_hub() {
    let mut site = Site::without_devices();
    let mut device = site.enroll("ship-7");
    site.hub.kill().unwrap();
    device.start().unwrap();
    let reply = ask(&device.address.client(), &json!({ "id": "wo-1", "text": "pump leaking" }));
    assert_eq!(reply.status, Status::Answered);
    assert_eq!(status(&device)["store"]["backlog"].as_u64().map(|count| count > 0), Some(true));
    site.hub.restart().unwrap();
    device.link.retarget(site.hub.mqtt);
    site.wait_for_outcomes(1);
}

#[test]
fn a_tampered_package_is_not_run_and_nothing_is_lost() {
    let site = Site::without_devices();
    let shipped = DeviceConfig::shipped().unwrap();
    let package = site.path("package");
    copy_dir(&shipped.packages[0], &package);
    let blob = fs::read_dir(package.join("blobs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let config = DeviceConfig { packages: vec![package], ..shipped };
    let mut device = Device::enroll(&site.hub, &site.path("ship-7"), "ship-7", &config).unwrap();

    let checked = device.spec(&["check-config"]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success(), "{said}");
    assert!(said.contains("digest") || said.contains("changed"), "{said}");

    // The agent runs: rules decide, what the model would have decided goes to the hub.
    device.start().unwrap();
    let client = device.address.client();
    let by_rule = ask(&client, &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    assert_eq!((by_rule.status, by_rule.mechanism.kind.as_str()), (Status::Answered, "rule"));
    let by_nobody = ask(&client, &json!({ "id": "wo-2", "text": "fan seized" }));
    assert_eq!(by_nobody.status, Status::Escalated, "{by_nobody:?}");
    assert!(!status(&device)["faults"].as_array().unwrap().is_empty());
    site.wait_for_outcomes(2);
}

#[test]
fn a_package_with_a_changed_manifest_is_not_run() {
    let site = Site::without_devices();
    let shipped = DeviceConfig::shipped().unwrap();
    let package = site.path("package");
    copy_dir(&shipped.packages[0], &package);
    // One character of the manifest: the signature does not hold any more.
    let manifest = package.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"maintenance\"", "\"maintenancE\"", 1)).unwrap();
    let config = DeviceConfig { packages: vec![package], ..shipped };
    let mut device = Device::enroll(&site.hub, &site.path("ship-7"), "ship-7", &config).unwrap();
    device.start().unwrap();
    let faults = status(&device)["faults"].to_string();
    assert!(faults.contains("signed"), "{faults}");
    let reply = device
        .address
        .client()
        .post(&format!("/v1/tasks/{TASK}"), &json!({ "text": "fan seized" }))
        .unwrap();
    assert_eq!(reply.success().unwrap()["status"], "escalated");
}
