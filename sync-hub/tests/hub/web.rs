//! The API and the pages.

use crate::client::{Device, EPOCH, batch, escalation, outcome, outcomes, task};
use crate::process::Hub;
use landfall_wire::id::Ticket;
use landfall_wire::record::{Record, StreamId, TaskKind};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// A hub with a device whose every text is hostile.
async fn hostile() -> (Hub, Device) {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let records = [outcome(0, HOSTILE), outcome(1, "plain")];
    device.send(&batch(StreamId::Outcome, 0, &records)).await;
    device.acked(StreamId::Outcome, 2).await;
    let events = [
        task("failure-mode", TaskKind::Classification, &["Stuck", HOSTILE]),
        task("work-order-fields", TaskKind::Extraction, &["Item"]),
    ];
    device.send(&batch(StreamId::Event, 0, &events)).await;
    device.acked(StreamId::Event, 2).await;
    let mut questions =
        [escalation("failure-mode", HOSTILE), escalation("work-order-fields", "replace the pump")];
    for question in &mut questions {
        let Record::Escalation(question) = question else { unreachable!() };
        question.meta = vec![(HOSTILE.into(), HOSTILE.into())];
        question.candidates[0].0 = HOSTILE.into();
    }
    device.send(&batch(StreamId::Escalation, 0, &questions)).await;
    device.acked(StreamId::Escalation, 2).await;
    (hub, device)
}

fn page_of(seq: u64) -> String {
    format!("/escalations/ship-7/{}", Ticket { epoch: EPOCH, seq })
}

#[tokio::test]
async fn no_text_of_a_device_becomes_html() {
    let (hub, _device) = hostile().await;
    let desk = |seq| page_of(seq).replace("/escalations", "/desk");
    let pages = ["/", "/devices/ship-7", "/outcomes", "/escalations", "/desk", "/quality"];
    let pages = pages.map(str::to_owned);
    for path in pages.iter().chain(&[page_of(0), page_of(1), desk(0), desk(1)]) {
        let (status, body) = hub.get(path);
        assert_eq!(status, 200, "{path}");
        let scripts = body.matches("<script").count();
        assert!(scripts == 1 && body.contains("<script src=\"/hub.js\" defer>"), "{path}: {body}");
        assert!(body.contains("lang=\"en\"") && body.contains("<h1>"), "{path}");
    }
    let (_, body) = hub.get("/outcomes");
    assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"), "{body}");
    let (status, body) = hub.get("/devices/%3Cscript%3E");
    assert!(status == 404 && !body.contains("<script>"), "{body}");
}

#[tokio::test]
async fn the_form_answers_and_says_what_is_wrong() {
    let (hub, _device) = hostile().await;
    let (status, body) =
        hub.post_form(&page_of(0), "decision=label&label=Stuck&by=+&note=n%3Cb%3E");
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("role=\"alert\"") && body.contains("n&lt;b&gt;"), "{body}");
    let (status, _) = hub.post_form(&page_of(0), "decision=label&label=Stuck&by=Ann+B&note=");
    assert_eq!(status, 303);
    let answer = hub.escalation("ship-7", page_of(0).rsplit('/').next().unwrap()).answer.unwrap();
    assert_eq!((answer.by.as_str(), answer.decision["label"].as_str()), ("Ann B", Some("Stuck")));

    let fields = "field-label=Item&field-value=pump&field-label=Item&field-value=";
    let (status, body) = hub.post_form(&page_of(1), &format!("{fields}&by=ann&decision=fields"));
    assert_eq!(status, 303, "{body}");
    let (_, body) = hub.get(&page_of(1));
    assert!(
        body.contains("<b>Item</b> pump") && !body.contains("<form class=\"answer\""),
        "{body}"
    );
    let (status, _) = hub.post_form(&page_of(1), "decision=fields&by=ann");
    assert_eq!(status, 409);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    for name in ["ship-7", "ship-8"] {
        let (mut device, _) = Device::greeted(&hub, name, vec![]).await;
        device.send(&outcomes(0, 25)).await;
        device.acked(StreamId::Outcome, 25).await;
    }
    let (mut path, mut seen) = ("/api/v1/outcomes?device=ship-7&limit=10".to_owned(), Vec::new());
    loop {
        let page = hub.get_json(&path);
        for row in page["outcomes"].as_array().unwrap() {
            assert_eq!(row["device"], "ship-7");
            seen.push(row["id"].as_i64().unwrap());
        }
        let Some(next) = page["next"].as_i64() else { break };
        path = format!("/api/v1/outcomes?device=ship-7&limit=10&after={next}");
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first: {seen:?}");
    assert_eq!(hub.get_json("/api/v1/outcomes?task=other")["outcomes"], serde_json::json!([]));
    let (_, body) = hub.get("/outcomes?limit=10");
    assert!(body.contains("rel=\"next\""), "{body}");
    for query in ["limit=0", "limit=9999", "after=x", "device=A!", "what=1", "state=open"] {
        let (status, body) = hub.get(&format!("/api/v1/outcomes?{query}"));
        assert!(status == 400 && body.contains("\"remedy\""), "{query}: {body}");
    }
    let listed = hub.run_ok(&["outcomes", "--device", "ship-8", "--limit", "5", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["outcomes"].as_array().unwrap().len(), 5);
}

/// One request by hand, with headers that a client would not let through.
fn request(hub: &Hub, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(hub.web()).unwrap();
    write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let (hub, _device) = hostile().await;
    let rebound = request(&hub, "GET /api/v1/stats HTTP/1.1\r\nHost: evil.example\r\n", "");
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    let post = format!("POST {} HTTP/1.1\r\nHost: localhost\r\n", page_of(0));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = "decision=label&label=Stuck&by=mallory";
    for origin in ["", "Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        let response = request(&hub, &format!("{post}{form}{origin}"), body);
        assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    }
    assert_eq!(hub.stats().escalations.open, 2, "nothing was answered");
    let good = request(&hub, &format!("{post}{form}Origin: http://localhost\r\n"), body);
    assert!(good.starts_with("HTTP/1.1 303"), "{good}");
    assert!(good.contains("content-security-policy: default-src 'none'"), "{good}");
}

#[tokio::test]
async fn the_api_is_as_its_description_says() {
    let (hub, _device) = hostile().await;
    let description = hub.get_json("/api/v1/openapi.json");
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        if methods.get("get").is_none() {
            continue;
        }
        let path = path
            .replace("{device}", "ship-7")
            .replace("{ticket}", &Ticket { epoch: EPOCH, seq: 0 }.to_string());
        let (status, body) = hub.get(&path);
        // Nothing is rolled out at this hub, and there are no rules.
        let want = if path.contains("{rollout}") || path.contains("{rule}") { 404 } else { 200 };
        assert_eq!(status, want, "{path}: {body}");
    }
    let stats = hub.get_json("/api/v1/stats");
    assert_eq!(
        (stats["outcomes"].as_u64(), stats["escalations"]["open"].as_u64()),
        (Some(2), Some(2))
    );
    let (status, body) = hub.get("/api/v1/nothing");
    assert!(status == 404 && body.contains("\"code\":\"not-found\""), "{body}");
    let (status, body) = hub.get("/api/v1/escalations/ship-7/nonsense");
    assert!(status == 404, "{body}");
    let (status, body) = hub.post_json(
        &format!("/api/v1{}/answer", page_of(0)),
        &serde_json::json!({"label": "Stuck", "fields": [], "by": "ann"}),
    );
    assert_eq!(status, 400, "{body}");
    let (_, metrics) = hub.get("/metrics");
    assert!(metrics.contains("landfall_hub_outcomes 2\n"), "{metrics}");
    assert_eq!(hub.get("/healthz"), (200, "ok\n".to_owned()));
}

#[test]
fn a_rollout_that_cannot_be_started_is_told_on_the_page_and_in_the_api() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (status, page) =
        hub.post_form("/rollouts", "release=maintenance%409.0&rings=canary%3Apercent%3D0");
    assert_eq!(status, 422, "{page}");
    assert!(page.contains("percent is 1 to 100, not 0"), "{page}");
    let (status, page) = hub.post_form("/rollouts", "release=maintenance%409.0&error-max=many");
    assert!(status == 400 && page.contains("is no share"), "{status} {page}");
    let (status, page) = hub.post_form("/rollouts", "release=maintenance%409.0&rings=&trial=");
    assert!(status == 404 && page.contains("there is no release 9.0"), "{status} {page}");
    let asked = serde_json::json!({ "package": "maintenance", "version": "9.0", "trial": "soon" });
    let (status, body) = hub.post_json("/api/v1/rollouts", &asked);
    assert_eq!((status, body["error"]["code"].as_str()), (422, Some("bad-rollout")), "{body}");
    assert_eq!(hub.get_json("/api/v1/rollouts")["rollouts"], serde_json::json!([]));
}
