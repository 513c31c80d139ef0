//! Questions are answered, answers reach the device, and the hub knows when they did.

use crate::client::{Device, EPOCH, at, batch, escalation, expired, task};
use crate::process::{Hub, wait_with};
use landfall_wire::frame::{Batch, Frame, Position};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Answer, Decision, Record, StreamId, TaskKind};
use serde_json::json;

/// A device that has asked two questions and told its tasks.
async fn asked(hub: &Hub) -> Device {
    let (mut device, _) = Device::greeted(hub, "ship-7", vec![]).await;
    let tasks = [
        task("failure-mode", TaskKind::Classification, &["Leaking", "Stuck"]),
        task("work-order-fields", TaskKind::Extraction, &["Item", "Activity"]),
    ];
    device.send(&batch(StreamId::Event, 0, &tasks)).await;
    device.acked(StreamId::Event, 2).await;
    let questions = [
        escalation("failure-mode", "valve won't move"),
        escalation("work-order-fields", "replace the pump"),
    ];
    device.send(&batch(StreamId::Escalation, 0, &questions)).await;
    device.acked(StreamId::Escalation, 2).await;
    device
}

fn ticket(seq: u64) -> String {
    Ticket { epoch: EPOCH, seq }.to_string()
}

async fn answer_batch(device: &mut Device) -> (Position, Vec<Answer>) {
    let Frame::Batch(Batch { stream, epoch, first, records, .. }) = device.frame().await else {
        panic!("not a batch");
    };
    assert_eq!(stream, StreamId::Answer);
    let answers = records.iter().map(|record| match Record::decode(record).unwrap() {
        Record::Answer(answer) => answer,
        other => panic!("{other:?}"),
    });
    let answers: Vec<Answer> = answers.collect();
    (Position { stream, epoch, next: first + answers.len() as u64 }, answers)
}

fn wait_state(hub: &Hub, seq: u64, state: &str) {
    wait_with(&format!("state {state}"), || {
        let found = hub.escalation("ship-7", &ticket(seq)).state;
        if found == state { Ok(()) } else { Err(found) }
    });
}

#[tokio::test]
async fn an_answer_from_the_api_reaches_the_device_and_is_marked_delivered() {
    let hub = Hub::with_devices(&["ship-7"]);
    let mut device = asked(&hub).await;
    let path = format!("/api/v1/escalations/ship-7/{}/answer", ticket(0));
    let (status, body) = hub.post_json(&path, &json!({"label": "Wrong", "by": "ann"}));
    assert_eq!((status, body["error"]["code"].as_str()), (422, Some("bad-answer")));
    assert!(body["error"]["message"].as_str().unwrap().contains("Leaking, Stuck"), "{body}");

    let (status, body) =
        hub.post_json(&path, &json!({"label": "Stuck", "by": "ann", "note": "seen before"}));
    assert_eq!((status, body["escalation"]["state"].as_str()), (200, Some("answered")), "{body}");
    let (position, answers) = answer_batch(&mut device).await;
    assert_eq!(answers[0].ticket.to_string(), ticket(0));
    assert_eq!(answers[0].decision, Decision::Label("Stuck".into()));
    assert_eq!((answers[0].by.as_str(), answers[0].note.as_deref()), ("ann", Some("seen before")));

    assert_eq!(hub.escalation("ship-7", &ticket(0)).state, "answered", "not acknowledged yet");
    device.send(&Frame::Ack(position)).await;
    device.flush().await;
    wait_state(&hub, 0, "delivered");
    let (status, body) = hub.post_json(&path, &json!({"label": null, "by": "ann"}));
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("not-open")), "{body}");
    assert_eq!(hub.stats().escalations.delivered, 1);
}

#[tokio::test]
async fn an_answer_from_the_command_line_is_delivered_by_the_running_hub() {
    let hub = Hub::with_devices(&["ship-7"]);
    let mut device = asked(&hub).await;
    let name = format!("ship-7/{}", ticket(1));
    let list = hub.run_ok(&["escalations", "list"]);
    assert!(list.contains(&name) && list.contains("replace the pump"), "{list}");
    let (code, error) = hub.run_err(&[
        "escalations",
        "answer",
        &name,
        "--by",
        "ann",
        "--fields",
        r#"[{"label":"Item","value":"valve"}]"#,
    ]);
    assert!(code == 1 && error.contains("not in the text"), "{error}");
    hub.run_ok(&[
        "escalations",
        "answer",
        &name,
        "--by",
        "ann",
        "--fields",
        r#"[{"label":"Item","value":"pump"}]"#,
    ]);
    let (_, answers) = answer_batch(&mut device).await;
    let Decision::Fields(fields) = &answers[0].decision else { panic!("{answers:?}") };
    assert_eq!((fields[0].value.as_str(), fields[0].start, fields[0].end), ("pump", 12, 16));
    let shown = hub.run_ok(&["escalations", "show", &name]);
    assert!(shown.contains("Item=pump") && shown.contains("not yet"), "{shown}");
}

#[tokio::test]
async fn an_answer_given_while_the_hub_is_down_is_delivered_later_and_again_if_unheard() {
    let mut hub = Hub::with_devices(&["ship-7"]);
    drop(asked(&hub).await);
    hub.stop();
    let name = format!("ship-7/{}", ticket(0));
    hub.run_ok(&["escalations", "answer", &name, "--by", "ann", "--out-of-scope"]);
    hub.start();
    let (mut device, welcome) = Device::greeted(&hub, "ship-7", vec![]).await;
    assert_eq!(welcome.answers.next, 1);
    let (_, answers) = answer_batch(&mut device).await;
    assert_eq!(answers[0].decision, Decision::OutOfScope);
    // Lost on the way: the next connection gets it again.
    drop(device);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let (position, _) = answer_batch(&mut device).await;
    drop(device);
    // The acknowledgement was lost, but the hello says the same.
    let mut device = Device::connect(&hub, "ship-7").await;
    device.greet(vec![], Some(position)).await;
    wait_state(&hub, 0, "delivered");
}

#[tokio::test]
async fn a_device_that_has_more_than_the_hub_wrote_gets_a_new_answer_stream() {
    let hub = Hub::with_devices(&["ship-7"]);
    let mut device = asked(&hub).await;
    hub.run_ok(&[
        "escalations",
        "answer",
        &format!("ship-7/{}", ticket(0)),
        "--by",
        "ann",
        "--label",
        "Stuck",
    ]);
    let (position, _) = answer_batch(&mut device).await;
    drop(device);
    let mut device = Device::connect(&hub, "ship-7").await;
    // As after the hub's database was put back to an older copy.
    let beyond = Position { next: 9, ..position };
    let welcome = device.greet(vec![], Some(beyond)).await;
    assert_ne!(welcome.answers.epoch, position.epoch);
    let (again, answers) = answer_batch(&mut device).await;
    assert_eq!((again.epoch, again.next), (welcome.answers.epoch, 1));
    assert_eq!(answers[0].ticket.to_string(), ticket(0));
}

#[tokio::test]
async fn a_question_that_the_device_gave_up_takes_no_answer() {
    let hub = Hub::with_devices(&["ship-7"]);
    let mut device = asked(&hub).await;
    // One known to the hub, one whose escalation comes later.
    device.send(&batch(StreamId::Event, 2, &[expired(0), expired(2)])).await;
    device.acked(StreamId::Event, 4).await;
    let late = [escalation("failure-mode", "late")];
    device.send(&batch(StreamId::Escalation, 2, &late)).await;
    device.acked(StreamId::Escalation, 3).await;
    for seq in [0, 2] {
        assert_eq!(hub.escalation("ship-7", &ticket(seq)).state, "expired");
        let name = format!("ship-7/{}", ticket(seq));
        let (_, error) =
            hub.run_err(&["escalations", "answer", &name, "--by", "ann", "--label", "Stuck"]);
        assert!(error.contains("expired"), "{error}");
    }
    let missing = Ticket { epoch: Epoch(1), seq: 0 };
    let (code, error) = hub.run_err(&["escalations", "show", &format!("ship-7/{missing}")]);
    assert!(code == 1 && error.contains("no escalation"), "{error}");
}

#[tokio::test]
async fn labels_that_the_hub_has_not_heard_of_give_a_warning() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Escalation, 1)]).await;
    device.send(&batch(StreamId::Escalation, 0, &[escalation("failure-mode", "x")])).await;
    device.acked(StreamId::Escalation, 1).await;
    let path = format!("/api/v1/escalations/ship-7/{}/answer", ticket(0));
    let (status, body) = hub.post_json(&path, &json!({"label": "Anything", "by": "ann"}));
    assert_eq!(status, 200, "{body}");
    assert!(body["warning"].as_str().unwrap().contains("not checked"), "{body}");
    let (_, answers) = answer_batch(&mut device).await;
    assert_eq!(answers[0].decision, Decision::Label("Anything".into()));
}
