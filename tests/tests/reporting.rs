//! The hub asks a device for less than every outcome.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, TASK, bendable, executable};
use landfall_tests::faults::{CLOCK_VARIABLE, Rig};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;

fn decide(rig: &Rig, count: usize) {
    decide_of(rig, TASK, count);
}

fn decide_of(rig: &Rig, task: &str, count: usize) {
    let items = vec![json!({ "text": "hyd hose leaking at boom cyl" }); count];
    let client = rig.device.address.client();
    client.post(&format!("/v1/tasks/{task}"), &json!(items)).unwrap().success().unwrap();
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

/// Sketches at the hub, newest first, once there are so many.
fn sketches(rig: &Rig, count: usize) -> Vec<Value> {
    wait::until(&format!("{count} sketches at the hub"), PATIENCE, || {
        let path = "/api/v1/devices/ship-7/sketches";
        let body = rig.hub.client().get(path).unwrap().success().unwrap();
        let found = body["sketches"].as_array().unwrap().clone();
        if found.len() >= count { ControlFlow::Break(found) } else { ControlFlow::Continue(body) }
    })
    .unwrap()
}

fn sum(sketches: &[Value], of: &str) -> u64 {
    sketches.iter().map(|sketch| sketch["counts"].pointer(of).unwrap().as_u64().unwrap()).sum()
}

#[test]
fn a_day_that_is_over_is_told_as_a_sketch_and_days_add_up() {
    let mut rig = Rig::start(bendable()).unwrap();
    rig.device.start().unwrap();
    ask(&rig, "sketch");
    decide(&rig, 120);
    assert_eq!(settled(&rig), 0, "none of them comes");
    // The next days, and no link: nobody but the wall clock says what time it is.
    rig.device.link.cut();
    for (days, told) in [(1, 1), (2, 2)] {
        let ahead = days * -86_400_i64;
        rig.device.env = vec![(CLOCK_VARIABLE.into(), ahead.to_string().into())];
        rig.device.start().unwrap();
        let path = "/v1/queue/event?kept=true&limit=256";
        wait::until("the sketch of the day before", PATIENCE, || {
            let body = rig.device.address.client().get(path).unwrap().success().unwrap();
            let found = body.to_string().matches("\"event\":\"sketch\"").count();
            if found >= told { ControlFlow::Break(()) } else { ControlFlow::Continue(body) }
        })
        .unwrap();
        decide(&rig, 30);
    }
    rig.device.link.restore();
    let found = sketches(&rig, 2);
    assert_eq!(sum(&found, "/outcomes"), 150, "{found:?}");
    assert_eq!(sum(&found, "/answered"), 150, "{found:?}");
    assert_eq!(sum(&found, "/labels/Leaking"), 150, "{found:?}");
    assert!(found.iter().all(|sketch| sketch["task"] == TASK), "{found:?}");
    assert_eq!(settled(&rig), 0);
    let stats = rig.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
    assert_eq!(stats["losses"], 0, "{stats}");
}

#[test]
fn what_a_site_keeps_from_dear_links_is_told_as_a_sketch_and_nothing_waits_for_it() {
    let tables = "[task.chatter]\nthreshold = 0.9\nreport_class_max = 2\n\
                  [[task.chatter.rule]]\nname = 'leak'\nwords = ['leaking']\nanswer = 'Leaking'\n\
                  [[link]]\nname = 'satellite'\nclass = 5\n\
                  [[link]]\nname = 'port'\nclass = 1\nprobe = ['false']\n";
    let mut rig = Rig::with(executable(), tables).unwrap();
    rig.device.start().unwrap();
    for _ in 0..5 {
        decide(&rig, 10);
        decide_of(&rig, "chatter", 10);
    }
    assert_eq!(settled(&rig), 50, "of the other task alone");
    let word = json!({ "link": "port", "state": "up" });
    rig.device.address.client().put("/v1/link", &word).unwrap().success().unwrap();
    decide_of(&rig, "chatter", 10);
    wait::until("those over the cheap link", PATIENCE, || {
        let count = settled(&rig);
        if count == 60 { ControlFlow::Break(()) } else { ControlFlow::Continue(count) }
    })
    .unwrap();
    let stats = rig.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
    assert_eq!(stats["losses"], 0, "{stats}");
    let status = rig.device.address.client().get("/v1/status").unwrap().success().unwrap();
    let shown = status["reporting"]["chatter"].as_str().unwrap();
    assert!(shown.contains("above class 2"), "{status}");
}
