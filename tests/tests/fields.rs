//! Extraction through all of it: spans in the caller's own text, questions about them, and
//! answers with fields back on the device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{PATIENCE, Site};
use landfall_tests::site::{Device, DeviceConfig};
use landfall_tests::wait;
use serde_json::{Value, json};
use std::ops::ControlFlow;

const TASK: &str = "work-order-fields";
const TEXT: &str = "  replace hyd hose on L/H crane – leaking  ";

/// A running device that answers at `threshold` and above.
fn device(site: &Site, threshold: &str) -> Device {
    let tasks = format!(
        "[task.{TASK}]\nthreshold = {threshold}\nleave = {{ text = true, fields = [\"Item\"] }}\n"
    );
    let config = DeviceConfig { tasks, ..DeviceConfig::shipped().unwrap() };
    let mut device = Device::enroll(&site.hub, &site.path("ship-7"), "ship-7", &config).unwrap();
    device.start().unwrap();
    device
}

fn ask(device: &Device) -> Value {
    let body = json!({ "id": "wo-1", "text": TEXT });
    let reply = device.address.client().post(&format!("/v1/tasks/{TASK}"), &body).unwrap();
    reply.success().unwrap()
}

/// Every value is what stands between its offsets, in characters of the text as it was given.
fn check_values(fields: &Value) -> usize {
    let fields = fields.as_array().unwrap_or_else(|| panic!("no fields: {fields}"));
    for field in fields {
        let at = |key: &str| usize::try_from(field[key].as_u64().unwrap()).unwrap();
        let (start, end) = (at("start"), at("end"));
        let value: String = TEXT.chars().skip(start).take(end - start).collect();
        assert_eq!(field["value"], json!(value), "{field}");
    }
    fields.len()
}

#[test]
fn spans_are_cut_out_of_the_callers_text() {
    let site = Site::without_devices();
    let device = device(&site, "0.0");
    let reply = ask(&device);
    assert_eq!(reply["status"], "answered", "{reply}");
    assert!(check_values(&reply["fields"]) >= 2, "{reply}");
    let again = ask(&device);
    assert_eq!(again["fields"], reply["fields"], "a retry is told the same");
    assert_eq!(again["outcome"], reply["outcome"]);
    site.wait_for_outcomes(1);
}

#[test]
fn an_answer_with_fields_comes_back() {
    let site = Site::without_devices();
    let device = device(&site, "1.0");
    let reply = ask(&device);
    assert_eq!(reply["status"], "escalated", "{reply}");
    check_values(&reply["fields"]);
    let ticket = reply["escalation"].as_str().unwrap();
    let hub = site.hub.client();
    let path = format!("/api/v1/escalations/ship-7/{ticket}");
    wait::until("the question at the hub", PATIENCE, || match hub.get(&path).unwrap() {
        response if response.is_success() => ControlFlow::Break(()),
        response => ControlFlow::Continue(response.body),
    })
    .unwrap();
    let start = TEXT.chars().position(|c| c == 'h').unwrap();
    let given = json!([{ "label": "Item", "value": "hyd hose", "start": start, "end": start + 8 }]);
    let answer = json!({ "fields": given, "by": "ann" });
    hub.post(&format!("{path}/answer"), &answer).unwrap().success().unwrap();
    let ticket = format!("/v1/escalations/{ticket}?wait=30s");
    let back = wait::until("the answer", PATIENCE, || {
        let body = device.address.client().get(&ticket).unwrap().success().unwrap();
        if body["by"].is_null() { ControlFlow::Continue(body) } else { ControlFlow::Break(body) }
    })
    .unwrap();
    let field = &back["fields"][0];
    assert_eq!((&field["label"], &field["value"]), (&json!("Item"), &json!("hyd hose")), "{back}");
    assert_eq!((&field["start"], &field["end"]), (&json!(start), &json!(start + 8)), "{back}");
}
