//! What is wrong gets a clear error, changes nothing, and harms nobody else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Site, TASK, ask};
use landfall_tests::client::Response;
use landfall_tests::demo::all_outcomes;
use serde_json::{Value, json};
use std::fs;

fn post(site: &Site, task: &str, body: &[u8]) -> Response {
    site.device().post_bytes(&format!("/v1/tasks/{task}"), body).unwrap()
}

/// An error that says what, and what to do.
fn check_error(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.body);
    let error = &response.body["error"];
    for key in ["code", "message", "remedy"] {
        assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {error}");
    }
}

#[test]
fn a_request_that_cannot_be_read_is_refused_and_the_next_is_decided() {
    let site = Site::start(&["ship-7"]);
    check_error(&post(&site, TASK, b"{\"text\": \"pump"), 400);
    check_error(&post(&site, TASK, b"{\"text\": \"\xff\xfe\"}"), 400);
    check_error(&post(&site, TASK, b"{\"txt\": \"pump\"}"), 422);
    check_error(&post(&site, TASK, b"{\"text\": 7}"), 422);
    check_error(&post(&site, "no-such-task", b"{\"text\": \"pump\"}"), 404);
    let long_id = json!({ "id": "x".repeat(1000), "text": "pump" }).to_string();
    check_error(&post(&site, TASK, long_id.as_bytes()), 422);
    let over = vec![b'x'; 3 * 1024 * 1024];
    check_error(&post(&site, TASK, &over), 413);

    let reply = ask(&site.device(), &json!({ "id": "wo-1", "text": "hyd pump leaking" }));
    assert_eq!(reply.label.as_deref(), Some("Leaking"));
    site.wait_for_outcomes(1);
    assert_eq!(all_outcomes(&site.hub.client()).unwrap().len(), 1, "errors are no outcomes");
}

#[test]
fn empty_and_huge_texts_are_recorded_refusals() {
    let site = Site::start(&["ship-7"]);
    let mega = "pump leaking ".repeat(80_000);
    assert!(mega.len() > 1_000_000);
    for (id, text) in [("wo-1", ""), ("wo-2", " \t\n"), ("wo-3", mega.as_str())] {
        let response = post(&site, TASK, json!({ "id": id, "text": text }).to_string().as_bytes());
        let body = response.success().unwrap();
        assert_eq!(body["status"], "refused", "{body}");
        assert_eq!(body["mechanism"]["kind"], "guard", "{body}");
        assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    }
    site.wait_for_outcomes(3);
}

#[test]
fn one_bad_item_does_not_spoil_its_batch() {
    let site = Site::start(&["ship-7"]);
    let batch = json!([
        { "id": "wo-1", "text": "hyd pump leaking" },
        { "id": "wo-2" },
        { "id": "wo-3", "text": "valve weeping" }
    ]);
    let replies = post(&site, TASK, batch.to_string().as_bytes()).success().unwrap();
    let statuses: Vec<&Value> = (0..3).map(|at| &replies[at]["status"]).collect();
    assert_eq!(statuses, [&json!("answered"), &Value::Null, &json!("answered")], "{replies}");
    assert!(replies[1]["error"]["message"].is_string(), "{replies}");
    site.wait_for_outcomes(2);
}

#[test]
fn every_mistake_in_a_configuration_is_named_with_its_line() {
    let site = Site::without_devices();
    let device = site.enroll("ship-7");
    let good = fs::read_to_string(device.config_path()).unwrap();
    let bad = good
        .replace("error_max = 0.20", "error_max = 20")
        .replace("ttl = \"72h\"", "ttl = \"soon\"")
        .replace("[http]", "[htpp]");
    assert_eq!(good.lines().count(), bad.lines().count());
    fs::write(device.config_path(), &bad).unwrap();
    for command in ["run", "check-config"] {
        let output = device.spec(&[command]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for mistake in ["error_max = 20", "ttl = \"soon\"", "[htpp]"] {
            let line = bad.lines().position(|line| line == mistake).unwrap() + 1;
            assert!(
                error.contains(&format!("agent.toml:{line}:")),
                "{mistake}, line {line}: {error}"
            );
        }
        assert!(error.matches("remedy:").count() >= 3, "{error}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let site = Site::without_devices();
    let device = site.enroll("ship-7");
    fs::remove_file(device.config_path()).unwrap();
    let output = device.spec(&["run"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("agent.toml") && error.contains("remedy:"), "{error}");
}
