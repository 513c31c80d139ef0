//! "And decide like this from now on": an answer becomes a rule of the devices, with the real
//! agent and hub.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site, TASK, ask};
use landfall_tests::site::Device;
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// A text that a rule of the sites leaves to the hub.
fn ammonia(more: &str) -> Value {
    json!({ "text": format!("smell of ammonia at the compressor {more}") })
}

/// The open question at the hub, once there is one.
fn question(site: &Site) -> Value {
    wait::until("a question at the hub", PATIENCE, || {
        let client = site.hub.client();
        let body = client.get("/api/v1/escalations?state=open").unwrap().success().unwrap();
        match body["escalations"].as_array().unwrap().first() {
            Some(found) => ControlFlow::Break(found.clone()),
            None => ControlFlow::Continue(body),
        }
    })
    .unwrap()
}

/// Waits until the device says this of the hub's rules.
fn wait_rules(device: &Device, want: &Value) {
    wait::until("the device to follow", PATIENCE, || {
        let status = device.address.client().get("/v1/status").unwrap().success().unwrap();
        match &status["rules"] == want {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(status["rules"].clone()),
        }
    })
    .unwrap();
}

/// Waits until the hub has heard this of a rule: state, sent, used, refused.
fn wait_hub(site: &Site, rule: i64, want: &Value) -> Value {
    wait::until("the hub to hear of it", PATIENCE, || {
        let client = site.hub.client();
        let found = client.get(&format!("/api/v1/rules/{rule}")).unwrap().success().unwrap();
        let seen = json!([found["state"], found["sent"], found["used"], found["refused"]]);
        if seen == *want { ControlFlow::Break(found) } else { ControlFlow::Continue(found) }
    })
    .unwrap()
}

#[test]
fn an_answer_becomes_a_rule_of_the_site_until_it_is_removed() {
    let mut site = Site::start(&["ship-7", "quay-1"]);
    site.hub.command(&["label", "ship-7", "site:ship"]).unwrap();
    let first = ask(&site.device(), &ammonia("room"));
    assert_eq!((first.mechanism.name.as_deref(), first.label), (Some("ammonia"), None));
    let asked = question(&site);
    let labels = asked["labels"].as_array().unwrap();
    let label = labels[0].as_str().unwrap().to_owned();
    let path = format!("/api/v1/escalations/ship-7/{}/answer", asked["ticket"].as_str().unwrap());
    let client = site.hub.client();
    let answer = |rule: Value| {
        client.post(&path, &json!({ "label": label, "by": "ann", "rule": rule })).unwrap()
    };
    // A rule that cannot be meant keeps the answer from being given.
    for (rule, why) in [
        (json!({ "all_words": ["ammonia", "pump"] }), "does not hold for the text"),
        (json!({ "label": "site:ship" }), "no condition"),
        (json!({ "label": "site:none", "words": ["ammonia"] }), "no device has the label"),
        (json!({ "regex": "(" }), "not a regular expression"),
    ] {
        let refused = answer(rule);
        assert_eq!(refused.error_code(), "bad-rule");
        assert!(refused.body["error"]["message"].as_str().unwrap().contains(why), "{refused:?}");
    }
    assert_eq!(question(&site)["ticket"], asked["ticket"]);
    let given = answer(json!({ "label": "site:ship", "all_words": ["ammonia", "compressor"] }));
    given.success().unwrap();

    let listed = client.get("/api/v1/rules").unwrap().success().unwrap();
    let rule = listed["rules"][0]["rule"].as_i64().unwrap();
    let name = format!("hub:{}", listed["rules"][0]["names"][0].as_str().unwrap());
    let used = json!([{ "rule": rule, "task": TASK, "refused": null }]);
    wait_rules(&site.devices[0], &used);
    let by_rule = |site: &Site, which: usize, more: &str| {
        let reply = ask(&site.devices[which].address.client(), &ammonia(more));
        (reply.mechanism.name.unwrap_or_default(), reply.label)
    };
    assert_eq!(by_rule(&site, 0, "again"), (name.clone(), Some(label.clone())));
    assert_eq!(by_rule(&site, 1, "at the quay"), ("ammonia".to_owned(), None), "another site");
    wait_hub(&site, rule, &json!(["holds", 1, 1, 0]));
    let shown = site.hub.command(&["rules", "list"]).unwrap();
    assert!(shown.contains("site:ship") && shown.contains("1 of 1"), "{shown}");

    // It is remembered, also by one that is started without its hub.
    site.hub.kill().unwrap();
    site.devices[0].kill().unwrap();
    site.devices[0].start().unwrap();
    assert_eq!(by_rule(&site, 0, "after a restart"), (name, Some(label)));
    site.hub.restart().unwrap();
    site.hub.command(&["rules", "remove", &rule.to_string()]).unwrap();
    wait_rules(&site.devices[0], &json!([]));
    assert_eq!(by_rule(&site, 0, "at last"), ("ammonia".to_owned(), None));
    wait_hub(&site, rule, &json!(["removed", 0, 0, 0]));
}

#[test]
fn a_file_from_the_command_line_is_checked_and_reaches_every_device() {
    let site = Site::start(&["ship-7"]);
    // The device has told its tasks once it has a question here.
    ask(&site.device(), &ammonia("room"));
    question(&site);
    let file = site.path("rules.toml");
    std::fs::write(&file, "[[rule]]\nname = \"odd\"\nwords = [\"hum\"]\nanswer = \"No such\"\n")
        .unwrap();
    let add = ["rules", "add", "--task", TASK, file.to_str().unwrap()];
    let refused = site.hub.command(&add).unwrap_err().to_string();
    assert!(refused.contains("'No such' is not a label of the task"), "{refused}");
    std::fs::write(&file, "[[rule]]\nname = \"hum\"\nwords = [\"hum\"]\nout_of_scope = true\n")
        .unwrap();
    site.hub.command(&add).unwrap();
    let listed = site.hub.client().get("/api/v1/rules").unwrap().success().unwrap();
    let rule = listed["rules"][0]["rule"].as_i64().unwrap();
    wait_hub(&site, rule, &json!(["holds", 1, 1, 0]));
    let reply = ask(&site.device(), &json!({ "text": "a hum in the galley" }));
    assert_eq!(reply.mechanism.name.as_deref(), Some("hub:hum"));
}
