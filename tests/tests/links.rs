//! Links that go away, questions to the hub, and answers back on the device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site, ask};
use landfall_tests::api::{HubEscalation, HubOutcome, Status, Ticket};
use landfall_tests::client::Client;
use landfall_tests::demo::all_outcomes;
use landfall_tests::load::{Load, TASK};
use landfall_tests::wait;
use serde_json::json;
use std::ops::ControlFlow;

/// Asks something that a rule hands to the hub; returns the ticket.
fn escalate(device: &Client, id: &str) -> String {
    let text = "ammonia smell in the plant room, ask for a.reader@example.com";
    let reply = ask(device, &json!({ "id": id, "text": text }));
    assert_eq!(reply.status, Status::Escalated, "{reply:?}");
    reply.escalation.expect("an escalation has a ticket")
}

fn at_hub(hub: &Client, ticket: &str) -> HubEscalation {
    let path = format!("/api/v1/escalations/ship-7/{ticket}");
    wait::until(&format!("{ticket} at the hub"), PATIENCE, || match hub.get(&path).unwrap() {
        response if response.is_success() => {
            ControlFlow::Break(serde_json::from_value(response.body).unwrap())
        }
        response => ControlFlow::Continue(format!("{} {}", response.status, response.body)),
    })
    .unwrap()
}

fn wait_for_state(what: &str, path: &str, client: &Client, wanted: &[&str]) -> Ticket {
    wait::until(what, PATIENCE, || {
        let body = client.get(path).unwrap().success().unwrap();
        let ticket: Ticket = serde_json::from_value(body.clone()).unwrap();
        if wanted.contains(&ticket.state.as_str()) {
            ControlFlow::Break(ticket)
        } else {
            ControlFlow::Continue(body)
        }
    })
    .unwrap()
}

fn answer(hub: &Client, ticket: &str, label: Option<&str>) {
    let path = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    hub.post(&path, &json!({ "label": label, "by": "ann" })).unwrap().success().unwrap();
}

#[test]
fn an_answer_finds_its_way_back_to_the_asker() {
    let site = Site::start(&["ship-7"]);
    let (device, hub) = (site.device(), site.hub.client());
    let ticket = escalate(&device, "wo-1");
    let question = at_hub(&hub, &ticket);
    assert_eq!(question.state, "open");
    assert!(question.labels.iter().any(|label| label == "Leaking"), "{:?}", question.labels);
    answer(&hub, &ticket, Some("Leaking"));
    let path = format!("/v1/escalations/{ticket}?wait=30s");
    let back = wait_for_state("the answer", &path, &device, &["answered", "delivered"]);
    assert_eq!((back.label.as_deref(), back.by.as_deref()), (Some("Leaking"), Some("ann")));
    wait::until("the hub knows of the delivery", PATIENCE, || {
        match at_hub(&hub, &ticket).state.as_str() {
            "delivered" => ControlFlow::Break(()),
            other => ControlFlow::Continue(other.to_owned()),
        }
    })
    .unwrap();
}

#[test]
fn an_answer_given_while_the_link_is_down_arrives_later() {
    let mut site = Site::start(&["ship-7"]);
    let ticket = escalate(&site.device(), "wo-1");
    at_hub(&site.hub.client(), &ticket);
    site.devices[0].link.cut();
    answer(&site.hub.client(), &ticket, None);
    // The device restarts meanwhile: the ticket must be in its store, not in its memory.
    site.devices[0].kill().unwrap();
    site.devices[0].start().unwrap();
    let path = format!("/v1/escalations/{ticket}");
    let waiting: Ticket =
        serde_json::from_value(site.device().get(&path).unwrap().success().unwrap()).unwrap();
    assert_eq!(waiting.by, None, "{waiting:?}");
    site.devices[0].link.restore();
    let back = wait_for_state("the answer", &path, &site.device(), &["answered", "delivered"]);
    assert_eq!((back.label, back.by.as_deref()), (None, Some("ann")), "out of scope");
}

#[test]
fn only_labels_of_the_task_are_taken_as_answers_and_only_once() {
    let site = Site::start(&["ship-7"]);
    let hub = site.hub.client();
    let ticket = escalate(&site.device(), "wo-1");
    at_hub(&hub, &ticket);
    let path = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    let unknown = hub.post(&path, &json!({ "label": "Haunted", "by": "ann" })).unwrap();
    assert!((400..500).contains(&unknown.status), "{unknown:?}");
    assert!(!unknown.error_code().is_empty(), "{unknown:?}");
    answer(&hub, &ticket, Some("Leaking"));
    let again = hub.post(&path, &json!({ "label": "Noise", "by": "bob" })).unwrap();
    assert!((400..500).contains(&again.status), "{again:?}");
    let back = wait_for_state(
        "the answer",
        &format!("/v1/escalations/{ticket}"),
        &site.device(),
        &["answered", "delivered"],
    );
    assert_eq!(back.by.as_deref(), Some("ann"));
}

#[test]
fn a_cut_link_stops_nobody_and_loses_nothing() {
    let site = Site::start(&["ship-7", "depot-1"]);
    let load = Load::start(&site.devices, 2, "cut").unwrap();
    for _ in 0..3 {
        load.wait_for(20).unwrap();
        site.devices.iter().for_each(|device| device.link.cut());
        load.wait_for(40).unwrap();
        site.devices.iter().for_each(|device| device.link.restore());
        site.wait_for_outcomes(site.stats().outcomes + 1);
    }
    let told = load.finish().unwrap();
    site.check_exactly_once(&told, 0);
}

#[test]
fn what_leaves_the_device_is_masked() {
    let site = Site::start(&["ship-7"]);
    let ticket = escalate(&site.device(), "wo-1");
    let path = format!("/api/v1/escalations/ship-7/{ticket}");
    at_hub(&site.hub.client(), &ticket);
    let question = site.hub.client().get(&path).unwrap().success().unwrap().to_string();
    assert!(question.contains("plant room"), "{question}");
    assert!(!question.contains("a.reader"), "{question}");
    site.wait_for_outcomes(1);
    let outcomes: Vec<HubOutcome> = all_outcomes(&site.hub.client()).unwrap();
    let text = outcomes[0].text.as_deref().expect("this task lets its text leave");
    assert!(text.contains("plant room") && !text.contains("a.reader"), "{text}");
}

#[test]
fn a_retry_is_told_the_same_and_another_text_is_refused() {
    let mut site = Site::start(&["ship-7"]);
    let body = json!({ "id": "wo-1", "text": "hyd pump leaking" });
    let first = ask(&site.device(), &body);
    assert!(!first.repeated);
    site.devices[0].kill().unwrap();
    site.devices[0].start().unwrap();
    let again = ask(&site.device(), &body);
    assert!(again.repeated, "{again:?}");
    assert_eq!(again.outcome, first.outcome);
    let path = format!("/v1/tasks/{TASK}");
    let other = site.device().post(&path, &json!({ "id": "wo-1", "text": "fan noisy" })).unwrap();
    assert_eq!(other.status, 409, "{other:?}");
    site.wait_for_outcomes(1);
    assert_eq!(all_outcomes(&site.hub.client()).unwrap().len(), 1);
}
