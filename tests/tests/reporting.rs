//! The hub asks a device for less than every outcome.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, TASK, executable};
use landfall_tests::faults::Rig;
use landfall_tests::wait;
use serde_json::json;
use std::ops::ControlFlow;

fn decide(rig: &Rig, count: usize) {
    let items = vec![json!({ "text": "hyd hose leaking at boom cyl" }); count];
    let client = rig.device.address.client();
    client.post(&format!("/v1/tasks/{TASK}"), &json!(items)).unwrap().success().unwrap();
}

/// Waits until nothing waits on the device; returns how many outcomes the hub has.
fn settled(rig: &Rig) -> u64 {
    wait::until("an empty backlog", PATIENCE, || {
        let status = rig.device.address.client().get("/v1/status").unwrap().success().unwrap();
        match status["store"]["backlog"].as_u64() {
            Some(0) => ControlFlow::Break(()),
            backlog => ControlFlow::Continue(format!("{backlog:?}")),
        }
    })
    .unwrap();
    rig.outcomes().unwrap()
}

fn ask(rig: &Rig, mode: &str) {
    rig.hub.command(&["report", "ship-7", "--task", TASK, mode]).unwrap();
    let shown = if mode.starts_with("sampled") { "sampled:0.1" } else { mode };
    wait::until("the device to follow", PATIENCE, || {
        let status = rig.device.address.client().get("/v1/status").unwrap().success().unwrap();
        match status["reporting"][TASK] == shown {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(status["reporting"].clone()),
        }
    })
    .unwrap();
}

#[test]
fn what_the_hub_does_not_ask_for_stays_on_the_device_and_nothing_is_lost() {
    let mut rig = Rig::start(executable()).unwrap();
    rig.device.start().unwrap();
    decide(&rig, 100);
    assert_eq!(settled(&rig), 100);
    ask(&rig, "sketch");
    decide(&rig, 200);
    assert_eq!(settled(&rig), 100, "none of them comes");
    // It is remembered.
    rig.device.kill().unwrap();
    rig.device.start().unwrap();
    decide(&rig, 100);
    assert_eq!(settled(&rig), 100);
    ask(&rig, "sampled:0.1");
    decide(&rig, 250);
    let sampled = settled(&rig) - 100;
    assert!((10..50).contains(&sampled), "{sampled} of 250");
    ask(&rig, "full");
    decide(&rig, 50);
    assert_eq!(settled(&rig), 150 + sampled);

    let stats = rig.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
    assert_eq!(
        (&stats["losses"], &stats["records"]["rejected"]),
        (&json!(0), &json!(0)),
        "{stats}"
    );
    let asked = rig.hub.command(&["report", "ship-7"]).unwrap();
    assert!(asked.contains("failure-mode: full"), "{asked}");
    let client = rig.device.address.client();
    let held = client.get("/v1/queue/outcome?kept=true&limit=256").unwrap().success().unwrap();
    assert_eq!(held["entries"].as_array().unwrap().len(), 256, "the journal has them");
}
