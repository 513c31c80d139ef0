//! The desk: models, ticket systems and people answer, each question once.

use crate::client::{Device, EPOCH, batch, escalation, task};
use crate::double::{Double, Reply, silence};
use crate::process::{Hub, wait_for, wait_with};
use landfall_hub::database::desk::reads::{self, DeskView};
use landfall_wire::frame::{Batch, Frame};
use landfall_wire::id::Ticket;
use landfall_wire::record::{Answer, Record, StreamId, TaskKind};
use serde_json::{Value, json};

const KEY: &str = "sk-of-the-test";

/// A hub whose questions go to a model, tries without a pause, then to people.
fn config(hub: &Hub, model: &Double, more: &str) -> Vec<String> {
    let key = hub.path("key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let text = format!(
        "[desk]\nundo_secs = 0\n\
         [[desk.model]]\nname = \"big\"\nurl = \"http://{}/v1\"\nmodel = \"double-70b\"\n\
         key_file = \"{}\"\ntimeout_secs = 1\ntries = 5\npause_secs = 0\n\
         price_in = 1000.0\nprice_out = 2000.0\n{more}",
        model.address,
        key.display()
    );
    with(hub, &text)
}

fn with(hub: &Hub, text: &str) -> Vec<String> {
    let path = hub.path("hub.toml");
    std::fs::write(&path, text).unwrap();
    vec!["--config".to_owned(), path.to_str().unwrap().to_owned()]
}

const TO_MODEL: &str = "[[desk.route]]\nname = \"all\"\nto = [{ model = \"big\" }]\n";

fn started(hub: &mut Hub, args: &[String]) {
    hub.enroll("ship-7");
    hub.start_more(args);
}

/// A device that told its tasks.
async fn told(hub: &Hub) -> Device {
    let (mut device, _) = Device::greeted(hub, "ship-7", vec![]).await;
    let tasks = [
        task("failure-mode", TaskKind::Classification, &["Leaking", "Stuck"]),
        task("work-order-fields", TaskKind::Extraction, &["Item", "Activity"]),
    ];
    device.send(&batch(StreamId::Event, 0, &tasks)).await;
    device.acked(StreamId::Event, 2).await;
    device
}

async fn ask(device: &mut Device, seq: u64, task: &str, text: &str) -> String {
    device.send(&batch(StreamId::Escalation, seq, &[escalation(task, text)])).await;
    device.acked(StreamId::Escalation, seq + 1).await;
    Ticket { epoch: EPOCH, seq }.to_string()
}

async fn answered(device: &mut Device) -> Answer {
    let Frame::Batch(Batch { records, .. }) = device.frame().await else { panic!("not a batch") };
    match Record::decode(&records[0]).unwrap() {
        Record::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn desk(hub: &Hub, ticket: &str) -> Option<DeskView> {
    let id = hub.escalation("ship-7", ticket).id;
    hub.ask(|connection| reads::desk(connection, id)).unwrap()
}

/// Waits until a question stands at a place.
fn wait_place(hub: &Hub, ticket: &str, place: &str) -> DeskView {
    wait_with(&format!("{ticket} at {place}"), || match desk(hub, ticket) {
        Some(desk) if desk.place == place => Ok(desk),
        other => Err(format!("{other:?}")),
    })
}

fn spent(hub: &Hub) -> f64 {
    hub.ask(reads::spending).unwrap().iter().map(|row| row.spent).sum()
}

#[tokio::test]
async fn a_model_answers_within_the_labels_and_its_cost_is_kept() {
    let mut hub = Hub::new();
    let model = Double::new(vec![
        Reply::label("Stuck"),
        Reply::says(r#"{"why":"","fields":[{"label":"Item","value":"pump"}],"sure":true}"#),
    ]);
    let args = config(&hub, &model, TO_MODEL);
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    let first = ask(&mut device, 0, "failure-mode", "valve won't move").await;
    let answer = answered(&mut device).await;
    assert_eq!(answer.ticket.to_string(), first);
    assert_eq!(
        (answer.by.as_str(), answer.note.as_deref()),
        ("model double-70b", Some("as I see it"))
    );
    ask(&mut device, 1, "work-order-fields", "replace the pump").await;
    let answer = answered(&mut device).await;
    assert!(format!("{answer:?}").contains("pump"), "{answer:?}");

    let request = &model.requests()[0];
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(request.header("authorization"), Some(&*format!("Bearer {KEY}")));
    let body = request.json();
    let schema = &body["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["properties"]["label"]["enum"], json!(["Leaking", "Stuck", null]));
    assert!(body["messages"][1]["content"].as_str().unwrap().contains("valve won't move"));
    // 200 tokens at 1,000 and 20 at 2,000 for a million, twice.
    wait_for("the cost", || ((spent(&hub) - 0.48).abs() < 1e-9).then_some(()));
    assert!(!hub.log().contains(KEY), "the key is in the log");
}

#[tokio::test]
async fn whatever_a_model_does_people_get_what_it_cannot_answer() {
    let mut hub = Hub::new();
    let (held, never) = silence();
    let model = Double::new(vec![
        Reply::Status(503, "busy".into()),
        Reply::Cut,
        Reply::says("Leaking"),
        Reply::label("Rusty"),
        Reply::label("Leaking"),
    ]);
    let args = config(&hub, &model, TO_MODEL);
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    ask(&mut device, 0, "failure-mode", "pump drips").await;
    assert_eq!(answered(&mut device).await.by, "model double-70b");
    assert_eq!(model.requests().len(), 5, "four faults, then an answer");

    model.then(never);
    for _ in 0..4 {
        model.then(Reply::Status(500, "no".into()));
    }
    let slow = ask(&mut device, 1, "failure-mode", "slow").await;
    let desk = wait_place(&hub, &slow, "people");
    assert!(desk.trouble.unwrap().contains("500"), "the last trouble");
    assert!(desk.requests[0].result.contains("timeout"), "{:?}", desk.requests[0]);
    drop(held);

    model.then(Reply::says(r#"{"why":"odd","label":"Stuck","sure":false}"#));
    let unsure = ask(&mut device, 2, "failure-mode", "odd").await;
    let desk = wait_place(&hub, &unsure, "people");
    assert!(desk.trouble.unwrap().contains("not sure"));
    model.then(Reply::Status(401, "wrong key".into()));
    let refused = ask(&mut device, 3, "failure-mode", "refused").await;
    let desk = wait_place(&hub, &refused, "people");
    assert_eq!(desk.requests.len(), 1, "what will not work is not tried again");
    assert_eq!(hub.stats().escalations.open, 3, "all of them wait for people");
}

#[tokio::test]
async fn the_days_money_is_a_limit() {
    let mut hub = Hub::new();
    let model = Double::new(vec![Reply::label("Stuck"), Reply::label("Stuck")]);
    // A request sets aside some 1,500 tokens at most: two units; the first costs 0.24.
    let args = config(&hub, &model, &format!("spend_per_day_max = 2.3\n{TO_MODEL}"));
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    ask(&mut device, 0, "failure-mode", "valve won't move").await;
    answered(&mut device).await;
    let mut last = String::new();
    for seq in 1..20 {
        model.then(Reply::label("Stuck"));
        last = Ticket { epoch: EPOCH, seq }.to_string();
        let question = [escalation("failure-mode", "valve won't move")];
        device.send(&batch(StreamId::Escalation, seq, &question)).await;
        // Answers to the questions before come in between.
        while !matches!(device.frame().await, Frame::Ack(at) if at.next == seq + 1) {}
        let at = wait_with("an answer or people", || match desk(&hub, &last) {
            None => Ok("answered"),
            Some(desk) if desk.place == "people" => Ok("people"),
            Some(desk) => Err(format!("{desk:?}")),
        });
        if at == "people" {
            break;
        }
    }
    let desk = wait_place(&hub, &last, "people");
    assert!(desk.trouble.unwrap().contains("spent"), "says why");
    assert!(desk.requests.is_empty() && spent(&hub) <= 2.3, "{}", spent(&hub));
}

#[tokio::test]
async fn a_ticket_system_gets_signed_questions_and_answers_through_the_api() {
    let mut hub = Hub::new();
    let tickets =
        Double::new(vec![Reply::Status(503, String::new()), Reply::Status(202, String::new())]);
    let secret = hub.path("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let text = format!(
        "[desk]\naddress = \"https://hub.example.org\"\n\
         [[desk.webhook]]\nname = \"tickets\"\nurl = \"http://{}/in?x=1\"\nsecret_file = \"{}\"\n\
         pause_secs = 0\n\
         [[desk.route]]\nname = \"t\"\ntask = [\"failure-mode\"]\n\
         to = [{{ webhook = \"tickets\", within_secs = 600 }}]\n\
         [[desk.route]]\nname = \"short\"\nto = [{{ webhook = \"tickets\", within_secs = 1 }}]\n",
        tickets.address,
        secret.display()
    );
    let args = with(&hub, &text);
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    let ticket = ask(&mut device, 0, "failure-mode", "valve won't move").await;
    let request = wait_for("the second try", || tickets.requests().get(1).cloned());
    assert_eq!(request.line, "POST /in?x=1 HTTP/1.1");
    let body = request.json();
    assert_eq!(body["escalation"]["text"], "valve won't move");
    let url = format!("https://hub.example.org/api/v1/escalations/ship-7/{ticket}/answer");
    assert_eq!(body["answer"], json!(url));
    // As the receiver checks it.
    let signature = request.header("Landfall-Signature").unwrap();
    let (time, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let mac: Vec<u8> = (0..mac.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap())
        .collect();
    ring::hmac::verify(&key, format!("{time}.{}", request.body).as_bytes(), &mac).unwrap();

    let answer = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    let (status, body) = hub.post_json(&answer, &json!({"label": "Stuck", "by": "ticket 4711"}));
    assert_eq!(status, 200, "{body}");
    assert_eq!(answered(&mut device).await.by, "ticket 4711");
    // Nobody answers this one in time.
    tickets.then(Reply::Status(200, String::new()));
    let late = ask(&mut device, 1, "work-order-fields", "replace the pump").await;
    wait_place(&hub, &late, "people");
}

/// Signs nobody in: the page is open, and the name is given.
fn form(hub: &Hub, path: &str, body: &str) -> (u16, String) {
    hub.post_form(path, body)
}

#[tokio::test]
async fn people_claim_answer_skip_and_take_back() {
    let mut hub = Hub::new();
    let args = with(&hub, "[desk]\nundo_secs = 3600\n");
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    let first = ask(&mut device, 0, "failure-mode", "valve won't move").await;
    let second = ask(&mut device, 1, "failure-mode", "valve is stuck").await;
    wait_place(&hub, &second, "people");
    let at = |ticket: &str| format!("/desk/ship-7/{ticket}");
    let (_, page) = hub.get("/desk");
    assert!(page.contains("valve won&#39;t move") && page.contains("<b>2</b> people"), "{page}");

    let (status, _) = form(&hub, "/desk/next", "by=ann");
    assert_eq!((status, desk(&hub, &first).unwrap().holder.as_deref()), (303, Some("ann")));
    form(&hub, "/desk/next", "by=bob");
    assert_eq!(desk(&hub, &second).unwrap().holder.as_deref(), Some("bob"), "not the same");
    let (_, page) = hub.get(&at(&first));
    assert!(page.contains("data-key=\"1\"") && page.contains("Leaking"), "{page}");
    // An answer to another question is a similar case to this one, once it is sent.
    form(&hub, &at(&second), "by=bob&action=skip");
    form(&hub, &at(&first), "by=ann&action=answer&label=Stuck&note=seen");
    let view = desk(&hub, &first).unwrap();
    assert_eq!((view.votes.len(), view.votes[0].by.as_str()), (1, "ann"));
    assert!(view.sends_at.is_some() && hub.stats().escalations.open == 2, "not sent yet");
    assert_eq!(desk(&hub, &second).unwrap().holder.as_deref(), Some("ann"), "the next one");

    form(&hub, &at(&first), "by=ann&action=undo");
    let view = desk(&hub, &first).unwrap();
    assert!(view.votes.is_empty() && view.sends_at.is_none(), "{view:?}");
    let (status, page) = form(&hub, &at(&first), "by=ann&action=answer&label=Rusty");
    assert!(status == 422 && page.contains("Leaking, Stuck"), "{page}");
    let trail = hub.run_ok(&["trail"]);
    assert!(trail.contains("took back") && trail.contains("answered"), "{trail}");
    hub.stop();
    // Without time for second thoughts it is sent at once.
    let args = with(&hub, "[desk]\nundo_secs = 0\n");
    hub.start_more(&args);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    form(&hub, &at(&first), "by=ann&action=answer&label=Stuck&note=seen");
    let answer = answered(&mut device).await;
    assert_eq!((answer.by.as_str(), answer.note.as_deref()), ("ann", Some("seen")));
    let (_, page) = hub.get(&at(&second));
    assert!(page.contains("Similar cases") && page.contains("valve won&#39;t move"), "{page}");
    assert_eq!(desk(&hub, &first), None, "it has left the desk");
}

#[tokio::test]
async fn two_people_must_agree_where_the_route_says_so() {
    let mut hub = Hub::new();
    let args = with(
        &hub,
        "[desk]\nundo_secs = 0\n\
         [[desk.route]]\nname = \"two\"\nto = [{ people = true }]\nreview = 2\n",
    );
    started(&mut hub, &args);
    let mut device = told(&hub).await;
    let ticket = ask(&mut device, 0, "failure-mode", "valve won't move").await;
    wait_place(&hub, &ticket, "people");
    let at = format!("/desk/ship-7/{ticket}");
    form(&hub, &at, "by=ann&action=answer&label=Stuck");
    form(&hub, &at, "by=ann&action=answer&label=Stuck");
    form(&hub, &at, "by=bob&action=answer&label=Leaking");
    assert_eq!(hub.stats().escalations.open, 1, "two opinions, and one of them twice");
    // The command line asks for a second person, too.
    let name = format!("ship-7/{ticket}");
    let output = hub.run(&["escalations", "answer", &name, "--by", "dan", "--out-of-scope"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let path = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    let (status, _) = hub.post_json(&path, &json!({"label": "Stuck", "by": "cid"}));
    assert_eq!(status, 200, "cid agrees with ann");
    let answer = answered(&mut device).await;
    assert_eq!(answer.by, "ann, cid");
}

#[tokio::test]
async fn answers_become_labelled_data() {
    let mut hub = Hub::new();
    started(&mut hub, &[]);
    let mut device = told(&hub).await;
    let ticket = ask(&mut device, 0, "failure-mode", "valve won't move").await;
    hub.run_ok(&[
        "escalations",
        "answer",
        &format!("ship-7/{ticket}"),
        "--by",
        "ann",
        "--label",
        "Stuck",
    ]);
    let lines = hub.run_ok(&["labels", "export", "--task", "failure-mode"]);
    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["text"], &line["label"]), (&json!("valve won't move"), &json!("Stuck")));
    let (_, exported) = hub.get("/api/v1/export/labels?task=failure-mode");
    assert_eq!(exported, lines);
    let (_, csv) = hub.get("/api/v1/export/escalations?format=csv");
    let rows: Vec<&str> = csv.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with("id,device,ticket"), "{csv}");
    let (status, body) = hub.get("/api/v1/export/outcomes?format=xls");
    assert!(status == 400 && body.contains("csv or jsonl"), "{body}");
}

#[tokio::test]
async fn two_hubs_on_one_database_ask_once() {
    let mut hub = Hub::new();
    if !hub.is_shared() {
        return;
    }
    let model = Double::new((0..20).map(|_| Reply::label("Stuck")).collect());
    let args = config(&hub, &model, TO_MODEL);
    started(&mut hub, &args);
    let mut other = Hub::beside(&hub);
    other.start_more(&args);
    let mut device = told(&hub).await;
    let questions: Vec<Record> =
        (0..20).map(|n| escalation("failure-mode", &format!("valve {n} won't move"))).collect();
    device.send(&batch(StreamId::Escalation, 0, &questions)).await;
    device.acked(StreamId::Escalation, 20).await;
    hub.wait_stats("every question answered", |stats| stats.escalations.open == 0);
    assert_eq!(model.requests().len(), 20, "each was asked once");
}
