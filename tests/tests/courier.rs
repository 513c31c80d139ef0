//! A device without a link: its records go to the hub on a stick, and what the hub says comes
//! back on it. With the real agent and hub, files that were copied by half, and everything twice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site, ask};
use landfall_tests::api::Status;
use landfall_tests::site::Device;
use landfall_tests::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// A command of a device; its JSON and its exit code.
fn on(device: &Device, verb: &str, stick: &Path) -> (Value, i32) {
    let args = ["courier", verb, stick.to_str().unwrap(), "--json"];
    let output = device.spec(&args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap())
}

fn at_hub(site: &Site, verb: &str, stick: &Path) -> Value {
    let said = site.hub.command(&["courier", verb, stick.to_str().unwrap(), "--json"]).unwrap();
    serde_json::from_str(&said).unwrap()
}

fn backlog(device: &Device) -> u64 {
    let status = device.address.client().get("/v1/status").unwrap().success().unwrap();
    status["store"]["backlog"].as_u64().unwrap()
}

fn sum(report: &Value, key: &str) -> u64 {
    report["parcels"].as_array().unwrap().iter().map(|p| p[key].as_u64().unwrap()).sum()
}

#[test]
fn a_stick_carries_everything_once_in_both_directions() {
    let site = Site::without_devices();
    let (mut ship, mut depot) = (site.enroll("ship-7"), site.enroll("depot-1"));
    for device in [&mut ship, &mut depot] {
        device.link.cut();
        device.start().unwrap();
    }
    let mut told = BTreeMap::new();
    let mut tickets = Vec::new();
    let texts = ["hyd pump leaking", "the thing does what it should not", "fan seized"];
    for (number, text) in texts.iter().enumerate() {
        for (name, device) in [("ship-7", &ship), ("depot-1", &depot)] {
            let id = format!("{name}-wo-{number}");
            let reply = ask(&device.address.client(), &json!({ "id": id, "text": text }));
            if reply.status == Status::Escalated {
                tickets.push((name, reply.escalation.clone().unwrap()));
            }
            told.insert(format!("{name}/{id}"), reply.outcome);
        }
    }
    assert!(!tickets.is_empty(), "nothing was escalated");

    // One stick, both devices.
    let stick = site.path("stick");
    for device in [&ship, &depot] {
        let (said, code) = on(device, "export", &stick);
        assert_eq!(code, 0, "{said}");
        assert!(said["records"].as_u64().unwrap() >= 3, "{said}");
        assert!(backlog(device) > 0, "nothing is acknowledged by writing it down");
    }

    // Copied by half: nothing of it is used, and the hub says so.
    let torn = site.path("torn");
    let up = Path::new("landfall/up");
    fs::create_dir_all(torn.join(up)).unwrap();
    for entry in fs::read_dir(stick.join(up)).unwrap() {
        let entry = entry.unwrap();
        let parcel = fs::read(entry.path()).unwrap();
        let half = &parcel[..parcel.len() / 2];
        fs::write(torn.join(up).join(entry.file_name()), half).unwrap();
    }
    let refused = site.hub.command(&["courier", "import", torn.to_str().unwrap(), "--json"]);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(site.stats().outcomes, 0);

    // Whole, and again, and again after more has been written down.
    let first = at_hub(&site, "import", &stick);
    assert_eq!(first["troubles"], json!([]));
    assert_eq!(site.stats().outcomes, told.len() as u64);
    let again = at_hub(&site, "import", &stick);
    assert_eq!((sum(&again, "applied"), sum(&again, "lost")), (0, 0), "{again}");
    let late = site.path("late");
    let more = json!({ "id": "wo-9", "text": "hyd pump leaking" });
    told.insert("ship-7/wo-9".to_owned(), ask(&ship.address.client(), &more).outcome);
    on(&ship, "export", &late);
    at_hub(&site, "import", &late);
    let older = at_hub(&site, "import", &stick);
    assert_eq!(sum(&older, "applied"), 0, "an older parcel after a newer one: {older}");
    assert_eq!(site.stats().outcomes, told.len() as u64);

    // The questions are answered, and the answers go back with the acknowledgements.
    for (device, ticket) in &tickets {
        let escalation = format!("{device}/{ticket}");
        let label = ["--label", "Leaking", "--by", "ann"];
        let answer = [&["escalations", "answer", &escalation], &label[..]].concat();
        site.hub.command(&answer).unwrap();
    }
    at_hub(&site, "export", &stick);
    let down = stick.join("landfall/down");
    let mine = fs::read(down.join("ship-7-0.parcel")).unwrap();
    // Torn, and another's under its name: neither is used.
    fs::write(down.join("ship-7-0.parcel"), &mine[..mine.len() - 3]).unwrap();
    assert_eq!(on(&ship, "import", &stick).1, 3);
    fs::copy(down.join("depot-1-0.parcel"), down.join("ship-7-0.parcel")).unwrap();
    let (said, code) = on(&ship, "import", &stick);
    assert_eq!((code, &said["arrived"]), (3, &json!(0)), "{said}");
    assert!(backlog(&ship) > 0);
    fs::write(down.join("ship-7-0.parcel"), mine).unwrap();
    for device in [&ship, &depot] {
        let (said, code) = on(device, "import", &stick);
        assert_eq!(code, 0, "{said}");
        let (said, code) = on(device, "import", &stick);
        assert_eq!((code, &said["arrived"]), (0, &json!(0)), "a second time: {said}");
        assert_eq!(backlog(device), 0, "what the hub has is released");
    }
    for (name, ticket) in &tickets {
        let device = if *name == "ship-7" { &ship } else { &depot };
        let path = format!("/v1/escalations/{ticket}");
        let shown = device.address.client().get(&path).unwrap().success().unwrap();
        assert_eq!(shown["label"], "Leaking", "{shown}");
    }

    // A stopped agent's store is read and written by the command itself.
    depot.kill().unwrap();
    assert_eq!(on(&depot, "export", &stick).1, 0);
    assert_eq!(on(&depot, "import", &stick).1, 0);
    depot.start().unwrap();

    // Then the link is back: the same once more over the air changes nothing.
    for device in [&ship, &depot] {
        device.link.restore();
    }
    let last = json!({ "id": "wo-10", "text": "fan seized" });
    told.insert("ship-7/wo-10".to_owned(), ask(&ship.address.client(), &last).outcome);
    wait::until("everything is at the hub", PATIENCE, || {
        let waiting = backlog(&ship) + backlog(&depot);
        if waiting == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(waiting) }
    })
    .unwrap();
    site.check_exactly_once(&told, 0);
}
