//! The HTTP intake of the real binary, above all with input that is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Agent, RULES, Site, http};
use serde_json::{Value, json};

fn started() -> (Site, Agent) {
    let site = Site::new(RULES);
    let agent = site.start();
    (site, agent)
}

fn error(reply: &(u16, Value)) -> (u16, &str, &str) {
    let body = &reply.1["error"];
    let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("no {key} in {reply:?}"));
    (reply.0, text("code"), text("message"))
}

#[test]
fn decides_by_rule_and_says_what_it_did() {
    let (_site, agent) = started();
    let reply = agent.ask("hyd hose LEAKING at boom", Some("wo-1"));
    let want = json!({
        "task": "failure-mode", "id": "wo-1", "status": "answered",
        "mechanism": {"kind": "rule", "name": "leak"}, "label": "Leaking", "confidence": 1.0,
        "provisional": false, "repeated": false, "recorded": true,
        "outcome": reply["outcome"], "decide_ms": reply["decide_ms"],
    });
    assert_eq!(reply, want);
    assert!(reply["decide_ms"].as_f64().is_some_and(|ms| ms < 1000.0), "{reply}");

    let out_of_scope = agent.ask("fire drill at noon", None);
    assert_eq!(out_of_scope.get("label"), Some(&Value::Null), "{out_of_scope}");
    assert_eq!(out_of_scope["status"], "answered");
}

#[test]
fn bad_requests_are_named_and_record_nothing() {
    let (_site, agent) = started();
    let malformed = agent.post("{\"text\": \"a\",\n  oops}");
    let (status, code, message) = error(&malformed);
    assert_eq!((status, code), (400, "malformed-json"));
    assert!(message.contains("line 2 column 3"), "{message}");

    let cut = agent.post("[{\"text\": \"a\"}");
    assert_eq!((error(&cut).0, error(&cut).1), (400, "malformed-json"));

    let not_utf8 = agent.post(b"{\"text\": \"caf\xE9\"}");
    let (status, code, message) = error(&not_utf8);
    assert_eq!((status, code), (400, "not-utf8"));
    assert!(message.contains("byte 13"), "{message}");

    for wrong in ["\"text\"", "{}", "{\"text\": 5}", "{\"text\": \"a\", \"txt\": \"b\"}"] {
        let reply = agent.post(wrong);
        assert_eq!((error(&reply).0, error(&reply).1), (422, "invalid-request"), "{wrong}");
    }
    let long_id = json!({"text": "a", "id": "x".repeat(129)}).to_string();
    let reply = agent.post(long_id);
    assert_eq!((error(&reply).0, error(&reply).1), (422, "invalid-request"));

    let unknown = agent.post_to("failure-modes", "{\"text\": \"a\"}");
    let (status, code, message) = error(&unknown);
    assert_eq!((status, code), (404, "unknown-task"));
    assert!(message.contains("the tasks are: failure-mode"), "{message}");

    let large = agent.post(json!({"text": "x".repeat(3 << 20)}).to_string());
    assert_eq!((error(&large).0, error(&large).1), (413, "too-large"));

    let many = vec![json!({"text": "a"}); 257];
    let reply = agent.post(Value::from(many).to_string());
    assert_eq!((error(&reply).0, error(&reply).1), (422, "too-many-items"));

    assert_eq!(agent.get("/v1/tasks/failure-mode").0, 405);
    assert_eq!(agent.get("/nothing").0, 404);
    assert_eq!(agent.end_of("outcome"), 0);
}

#[test]
fn empty_and_huge_texts_are_refused_with_a_reason_and_recorded() {
    let (_site, agent) = started();
    for text in ["", "   ", &"pump ".repeat(200_000)] {
        let reply = agent.ask(text, None);
        assert_eq!(reply["status"], "refused", "{reply}");
        assert_eq!(reply["mechanism"]["kind"], "guard", "{reply}");
        assert!(reply["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{reply}");
    }
    assert_eq!(agent.end_of("outcome"), 3);
}

#[test]
fn batches_keep_their_order_and_one_bad_item_spoils_no_other() {
    let (_site, agent) = started();
    let items: Vec<Value> = (0..100)
        .map(|n| {
            if n == 7 { json!({"txt": "x"}) } else { json!({"text": "leak", "id": n.to_string()}) }
        })
        .collect();
    let (status, replies) = agent.post(Value::from(items).to_string());
    assert_eq!(status, 200);
    for (n, reply) in replies.as_array().unwrap().iter().enumerate() {
        if n == 7 {
            assert_eq!(reply["error"]["code"], "invalid-request", "{reply}");
        } else {
            assert_eq!(reply["id"], n.to_string());
            assert_eq!(reply["label"], "Leaking");
        }
    }
    assert_eq!(agent.end_of("outcome"), 99);
}

#[test]
fn the_same_id_is_decided_once() {
    let (_site, agent) = started();
    let first = agent.ask("pump leak", Some("wo-1"));
    let again = agent.ask("pump leak", Some("wo-1"));
    assert_eq!(again["repeated"], true);
    assert_eq!(again["outcome"], first["outcome"]);
    assert_eq!(again["label"], first["label"]);

    let other = agent.post(json!({"text": "other text", "id": "wo-1"}).to_string());
    assert_eq!((error(&other).0, error(&other).1), (409, "id-conflict"));
    assert_eq!(agent.end_of("outcome"), 1);
}

#[test]
fn the_same_id_at_the_same_time_is_decided_once() {
    let (_site, agent) = started();
    let replies: Vec<Value> = std::thread::scope(|scope| {
        let asks: Vec<_> =
            (0..16).map(|_| scope.spawn(|| agent.ask("noise in gearbox", Some("wo-2")))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    let fresh = replies.iter().filter(|reply| reply["repeated"] == false).count();
    assert_eq!(fresh, 1, "{replies:?}");
    assert!(replies.iter().all(|reply| reply["outcome"] == replies[0]["outcome"]), "{replies:?}");
    assert!(replies.iter().all(|r| r["escalation"] == replies[0]["escalation"]), "{replies:?}");
    assert_eq!((agent.end_of("outcome"), agent.end_of("escalation")), (1, 1));
}

#[test]
fn what_needs_a_missing_model_is_escalated_and_can_be_followed() {
    let (_site, agent) = started();
    let reply = agent.ask("noise in gearbox", None);
    assert_eq!(reply["status"], "escalated", "{reply}");
    assert_eq!(reply["provisional"], false, "{reply}");
    let ticket = reply["escalation"].as_str().unwrap();
    let path = format!("/v1/escalations/{ticket}");
    assert_eq!(agent.get(&path), (200, json!({"ticket": ticket, "state": "queued"})));
    assert_eq!(agent.get(&format!("{path}?wait=50ms")).1["state"], "queued");
    assert_eq!(error(&agent.get(&format!("{path}?wait=soon"))).1, "invalid-query");
    assert_eq!(error(&agent.get("/v1/escalations/x")).1, "invalid-ticket");
    let unknown = agent.get("/v1/escalations/0123456789abcdef-1");
    assert_eq!((error(&unknown).0, error(&unknown).1), (404, "unknown-ticket"));
    let status = agent.status();
    assert!(
        status["faults"][0].as_str().is_some_and(|f| f.contains("no model package")),
        "{status}"
    );
}

#[test]
fn requests_from_web_pages_are_kept_out() {
    let (_site, agent) = started();
    let post = |header: &str, value: &str| {
        let url = format!("{}/v1/tasks/failure-mode", agent.url);
        let mut response =
            http().post(url).header(header, value).send(&b"{\"text\":\"leak\"}"[..]).unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap())
    };
    for (header, value) in [("Host", "evil.example"), ("Origin", "https://evil.example")] {
        let reply = post(header, value);
        assert_eq!((error(&reply).0, error(&reply).1), (403, "foreign-origin"), "{header}");
    }
    assert_eq!(post("Host", "localhost").0, 200);
    assert_eq!(agent.end_of("outcome"), 1);
}

#[test]
fn status_metrics_and_document_are_served() {
    let (_site, agent) = started();
    agent.ask("leak", None);
    let status = agent.status();
    assert_eq!(status["tasks"]["failure-mode"]["counts"]["rule"], 1, "{status}");
    assert_eq!(status["times"]["decide"]["count"], 1, "{status}");
    assert!(status["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{status}");
    let (code, health) = agent.get("/healthz");
    assert_eq!((code, &health["instance"]), (200, &status["instance"]));
    let metrics = agent.get_text("/metrics");
    for line in [
        "landfall_decisions_total{task=\"failure-mode\",by=\"rule\"} 1",
        "landfall_stage_seconds_count{stage=\"decide\"} 1",
        "landfall_stage_seconds_bucket{stage=\"decide\",le=\"+Inf\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no '{line}' in\n{metrics}");
    }
    assert_eq!(agent.get("/openapi.json").1["openapi"], "3.1.0");
}
