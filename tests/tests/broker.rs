//! A real Mosquitto between agent and hub, set up by `landfall-hub broker-config`: what holds at
//! the hub's own endpoint holds behind it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod common;

use common::{PATIENCE, Site, ask};
use landfall_tests::api::{Status, Ticket};
use landfall_tests::load::Load;
use landfall_tests::mosquitto::{Mosquitto, Tool};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Whether the tests can run here; says so if not.
fn is_possible() -> bool {
    let possible = Mosquitto::is_installed();
    if !possible {
        println!("SKIPPED: mosquitto is not installed (apt: mosquitto, mosquitto-clients)");
    }
    possible
}

/// Asks something that a rule hands to the hub; returns the ticket.
fn escalate(site: &Site, id: &str) -> String {
    let text = "ammonia smell in the plant room";
    let reply = ask(&site.device(), &json!({ "id": id, "text": text }));
    assert_eq!(reply.status, Status::Escalated, "{reply:?}");
    reply.escalation.expect("an escalation has a ticket")
}

/// Answers as soon as the hub has the question.
fn answer(site: &Site, ticket: &str) {
    let path = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    let body = json!({ "label": "Leaking", "by": "ann" });
    wait::until("the question at the hub", PATIENCE, || {
        let response = site.hub.client().post(&path, &body).unwrap();
        match response.is_success() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(response.body),
        }
    })
    .unwrap();
}

fn wait_for_answer(site: &Site, ticket: &str) {
    let path = format!("/v1/escalations/{ticket}");
    wait::until("the answer on the device", PATIENCE, || {
        let body = site.device().get(&path).unwrap().success().unwrap();
        let ticket: Ticket = serde_json::from_value(body.clone()).unwrap();
        match ticket.by.as_deref() {
            Some("ann") => ControlFlow::Break(()),
            _ => ControlFlow::Continue(body),
        }
    })
    .unwrap();
}

fn at_hub(site: &Site, device: &str) -> Value {
    let path = format!("/api/v1/devices/{device}");
    site.hub.client().get(&path).unwrap().success().unwrap()
}

fn wait_at_hub(what: &str, site: &Site, device: &str, wanted: impl Fn(&Value) -> bool) {
    wait::until(what, PATIENCE, || {
        let seen = at_hub(site, device);
        if wanted(&seen) { ControlFlow::Break(()) } else { ControlFlow::Continue(seen) }
    })
    .unwrap();
}

#[test]
fn outcomes_questions_and_answers_pass_once_while_everything_restarts() {
    if !is_possible() {
        return;
    }
    let mut site = Site::behind_broker(&["ship-7", "depot-1"]);
    let load = Load::start(&site.devices, 2, "broker").unwrap();
    site.wait_for_outcomes(10);
    site.hub.broker().unwrap().kill().unwrap();
    load.wait_for(20).unwrap();
    site.hub.broker().unwrap().restart().unwrap();
    site.wait_for_outcomes(site.stats().outcomes + 10);
    site.hub.kill().unwrap();
    load.wait_for(20).unwrap();
    site.hub.restart().unwrap();
    site.wait_for_outcomes(site.stats().outcomes + 10);
    site.devices[0].kill().unwrap();
    site.devices[0].start().unwrap();
    let told = load.finish().unwrap();
    site.check_exactly_once(&told, 0);
    let ticket = escalate(&site, "question");
    answer(&site, &ticket);
    wait_for_answer(&site, &ticket);
    let delivered = site.stats().escalations.delivered;
    wait::until("the hub to hear of the delivery", PATIENCE, || {
        match site.stats().escalations.delivered {
            0 => ControlFlow::Continue(delivered),
            _ => ControlFlow::Break(()),
        }
    })
    .unwrap();
}

#[test]
fn a_device_that_did_not_see_the_hub_go_gets_its_answer_when_it_is_back() {
    if !is_possible() {
        return;
    }
    let mut site = Site::behind_broker(&["ship-7"]);
    let ticket = escalate(&site, "question");
    site.wait_for_outcomes(1);
    wait_at_hub("the question", &site, "ship-7", |device| device["escalations_open"] == 1);
    let connections = |site: &Site| {
        let status = site.device().get("/v1/status").unwrap().success().unwrap();
        status["link"]["connections"].as_u64().unwrap()
    };
    let before = connections(&site);
    site.hub.kill().unwrap();
    site.hub.restart().unwrap();
    // The device has nothing to send: only the roll call tells the hub that it is there.
    wait_at_hub("the device to be called", &site, "ship-7", |device| device["online"] == true);
    answer(&site, &ticket);
    wait_for_answer(&site, &ticket);
    assert_eq!(connections(&site), before, "its connection to the broker never ended");
}

#[test]
fn a_device_has_its_own_two_topics_at_the_broker_and_no_others() {
    if !is_possible() {
        return;
    }
    let mut site = Site::behind_broker(&["ship-7"]);
    let rogue = site.enroll("rogue");
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    let broker = site.hub.broker().unwrap().address();
    let tool = |name, identity| Tool { name, identity, broker };
    let publish = tool("mosquitto_pub", rogue.identity());

    // What it sends as another never arrives; what it sends as itself does.
    let malformed = |device: &Value| device["frames"]["malformed"].as_u64().unwrap();
    for topic in ["landfall/1/ship-7/up", "landfall/1/ship-7/down", "landfall/1/rogue/up"] {
        publish.run(&["-t", topic, "-s"], b"no frame").unwrap();
    }
    wait_at_hub("its own", &site, "rogue", |device| malformed(device) == 1);
    assert_eq!(malformed(&at_hub(&site, "ship-7")), 0);

    // What others are sent never reaches it, whatever it subscribes to; what it is sent does.
    let listen = tool("mosquitto_sub", rogue.identity());
    let filters = ["#", "landfall/1/+/down", "landfall/1/ship-7/up", "$share/hub/landfall/1/+/up"];
    let mut args = vec!["-F", "%t", "-C", "2", "-W", "120"];
    filters.iter().for_each(|filter| args.extend(["-t", filter]));
    let heard = std::thread::scope(|scope| {
        let heard = scope.spawn(|| listen.run(&args, b"").unwrap().1);
        let mut asked = 0;
        while !heard.is_finished() {
            // To and fro for the other device, and then a call for each of the two.
            let text = format!("pump {asked} leaking");
            ask(&site.device(), &json!({ "id": format!("more-{asked}"), "text": text }));
            asked += 1;
            site.wait_for_outcomes(1 + asked);
            site.hub.kill().unwrap();
            site.hub.restart().unwrap();
            wait_at_hub("the other to be called", &site, "ship-7", |it| it["online"] == true);
        }
        String::from_utf8(heard.join().unwrap()).unwrap()
    });
    assert!(!heard.is_empty(), "not even what is its own");
    assert!(heard.lines().all(|topic| topic == "landfall/1/rogue/down"), "{heard}");

    // Without a certificate there is nothing at all.
    let nobody = site.path("nobody");
    std::fs::create_dir(&nobody).unwrap();
    std::fs::copy(rogue.identity().join("ca.pem"), nobody.join("ca.pem")).unwrap();
    let (code, _) =
        tool("mosquitto_pub", nobody).run(&["-t", "landfall/1/ship-7/up", "-s"], b"x").unwrap();
    assert_ne!(code, Some(0));
}

#[test]
fn a_revoked_device_is_not_heard_and_a_restarted_broker_does_not_let_it_in() {
    if !is_possible() {
        return;
    }
    let mut site = Site::behind_broker(&["ship-7"]);
    ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    site.wait_for_outcomes(1);
    site.hub.command(&["revoke", "ship-7"]).unwrap();
    wait_at_hub("the end of the conversation", &site, "ship-7", |it| it["online"] == false);
    ask(&site.device(), &json!({ "id": "wo-2", "text": "hyd pump leaking" }));
    // It is still connected to the broker; the hub does not listen.
    wait_at_hub("the refusal", &site, "ship-7", |device| {
        device["frames"]["refused"].as_u64().is_some_and(|refused| refused > 0)
    });
    site.hub.broker().unwrap().restart().unwrap();
    wait::until("the broker's refusal", PATIENCE, || {
        let status = site.device().get("/v1/status").unwrap().success().unwrap();
        let link = &status["link"];
        match link["last_error"].as_str() {
            Some(error) if error.contains("certificate") => ControlFlow::Break(()),
            _ => ControlFlow::Continue(link.clone()),
        }
    })
    .unwrap();
    assert_eq!(site.stats().outcomes, 1);
}
