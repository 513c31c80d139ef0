//! Links that the site declares, with the real agent and hub: what may travel when, a budget that
//! holds to the byte, and what the site's software knows better.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, TASK, executable};
use landfall_tests::client::Client;
use landfall_tests::faults::Rig;
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Answered by a rule.
const LEAK: &str = "hyd hose leaking at boom cyl";
/// Handed to the hub by a rule.
const AMMONIA: &str = "ammonia smell in the plant room";

fn decide(device: &Client, texts: &[&str]) {
    let items: Vec<Value> = texts.iter().map(|text| json!({ "text": text })).collect();
    for items in items.chunks(256) {
        device.post(&format!("/v1/tasks/{TASK}"), &json!(items)).unwrap().success().unwrap();
    }
}

/// Waits until the agent's report of its links is as `wanted`.
fn links(device: &Client, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || {
        let report = device.get("/v1/link").unwrap().success().unwrap();
        if wanted(&report) { ControlFlow::Break(report) } else { ControlFlow::Continue(report) }
    })
    .unwrap()
}

/// Waits until the hub has so many outcomes and escalations.
fn at_hub(rig: &Rig, outcomes: u64, escalations: u64) {
    wait::until("records at the hub", PATIENCE, || {
        let stats = rig.hub.client().get("/api/v1/stats").unwrap().success().unwrap();
        let there = (&stats["outcomes"], &stats["escalations"]["open"]);
        if there == (&json!(outcomes), &json!(escalations)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(stats)
        }
    })
    .unwrap();
}

fn put(device: &Client, word: &Value) -> Value {
    device.put("/v1/link", word).unwrap().success().unwrap()
}

#[test]
fn each_link_carries_what_it_may_and_the_site_knows_better() {
    let flags = tempfile::tempdir().unwrap();
    let (sky, port) = (flags.path().join("sky"), flags.path().join("port"));
    let probe = |flag: &std::path::Path| {
        format!("probe = ['test', '-e', '{}']\nprobe_every = '1s'", flag.display())
    };
    let tables = format!(
        "[[link]]\nname = 'satellite'\nclass = 5\nstreams = ['escalation', 'event']\n\
         bytes_per_day = '1 MiB'\n{}\n[[link]]\nname = 'port-wifi'\nclass = 1\n{}\n",
        probe(&sky),
        probe(&port)
    );
    let mut rig = Rig::with(executable(), &tables).unwrap();
    rig.device.start().unwrap();
    let device = rig.device.address.client();
    decide(&device, &[LEAK, LEAK, LEAK, AMMONIA]);
    let report = links(&device, "no link", |report| report["link"].is_null());
    assert_eq!(report["drained_ms"], Value::Null);
    assert_eq!(
        report["backlog"][2],
        json!({"stream": "outcome", "records": 4, "bytes": 60, "sent_bytes": 0})
    );

    std::fs::write(&sky, "").unwrap();
    links(&device, "the satellite", |report| report["link"] == "satellite");
    at_hub(&rig, 0, 1);
    links(&device, "its bytes counted", |report| {
        let spent = report["links"][0]["spent_bytes"].as_u64().unwrap();
        (1_000..20_000).contains(&spent)
    });

    std::fs::write(&port, "").unwrap();
    at_hub(&rig, 4, 1);
    links(&device, "the port", |report| report["link"] == "port-wifi");

    let report = put(&device, &json!({ "link": "satellite", "state": "up", "for": "1h" }));
    assert_eq!(report["link"], "satellite", "{report}");
    put(&device, &json!({ "state": "down" }));
    decide(&device, &[AMMONIA]);
    links(&device, "all down", |report| report["link"].is_null());
    at_hub(&rig, 4, 1);
    put(&device, &json!({ "state": "auto" }));
    at_hub(&rig, 5, 2);
    let refused = device.put("/v1/link", &json!({ "link": "x", "state": "up" })).unwrap();
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("port-wifi"));
    let metrics = device.text("/metrics").unwrap();
    assert!(metrics.contains("landfall_link_in_use{link=\"port-wifi\"} 1"), "{metrics}");
}

#[test]
fn what_would_break_a_budget_waits_and_a_restart_renews_nothing() {
    const BUDGET: u64 = 128 * 1024;
    let day = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
    let began = day();
    let tables = "[[link]]\nname = 'satellite'\nclass = 5\nbytes_per_day = '128 KiB'\n";
    let mut rig = Rig::with(executable(), tables).unwrap();
    rig.device.start().unwrap();
    // An attempt that fails would cost some of it.
    put(&rig.device.address.client(), &json!({ "state": "down" }));
    // Each with its own text, so that they take more than the budget.
    let letters = |number: u128| -> String {
        let letter = |at: u32| char::from(b'a' + u8::try_from((number >> (4 * at)) & 15).unwrap());
        (0..24).map(letter).collect()
    };
    let text =
        |at: u128| format!("leak {}", letters(at.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060)));
    let texts: Vec<String> = (1..12_000).map(text).collect();
    decide(&rig.device.address.client(), &texts.iter().map(String::as_str).collect::<Vec<_>>());
    put(&rig.device.address.client(), &json!({ "state": "auto" }));
    let spent = |device: &Client| {
        let report = links(device, "the budget spent", |report| {
            report["waiting"]["what"] == "budget" && report["link"].is_null()
        });
        assert_eq!(report["waiting"]["link"], "satellite");
        report["links"][0]["spent_bytes"].as_u64().unwrap()
    };
    let counted = spent(&rig.device.address.client());
    if day() != began {
        // The budget was renewed at midnight, as it should be: what follows is of one day.
        return what_would_break_a_budget_waits_and_a_restart_renews_nothing();
    }
    assert!(counted <= BUDGET + BUDGET / 100, "{counted}");
    // The proxy sees neither headers nor what TCP itself says.
    let passed = rig.device.link.traffic();
    let passed = passed.up_bytes + passed.down_bytes;
    assert!(passed <= counted && passed >= BUDGET * 3 / 4, "{passed} of {counted}");
    rig.device.kill().unwrap();
    rig.device.start().unwrap();
    let after = spent(&rig.device.address.client());
    assert!(after >= counted, "{after} after {counted}");
    let now = rig.device.link.traffic();
    assert!(now.up_bytes + now.down_bytes < passed + 16 * 1024, "no new day by a restart");
}
