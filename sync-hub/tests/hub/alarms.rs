//! Alarms: raised once, told to a webhook until it takes them, acknowledged, over.

use crate::client::{Device, EPOCH, batch, escalation, task};
use crate::double::{Double, Reply};
use crate::process::{Hub, wait_with};
use landfall_wire::id::Ticket;
use landfall_wire::record::{StreamId, TaskKind};
use serde_json::{Value, json};

/// The alarms of a kind.
fn alarms(hub: &Hub, kind: &str) -> Vec<Value> {
    let body = hub.get_json("/api/v1/alarms?cleared=true");
    let all = body["alarms"].as_array().unwrap().clone();
    all.into_iter().filter(|alarm| alarm["kind"] == kind).collect()
}

#[tokio::test]
async fn an_alarm_is_raised_once_told_until_it_is_taken_and_over_with_its_cause() {
    let mut hub = Hub::new();
    let ops = Double::new(vec![
        Reply::Status(503, String::new()),
        Reply::Status(200, String::new()),
        Reply::Status(200, String::new()),
    ]);
    let secret = hub.path("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let text = format!(
        "[alarms]\nwait_secs = 1\nsilent_secs = 0\naddress = \"https://hub.example.org\"\n\
         [[alarms.webhook]]\nname = \"ops\"\nurl = \"http://{}/alarm\"\nsecret_file = \"{}\"\n\
         pause_secs = 0.1\n",
        ops.address,
        secret.display()
    );
    let path = hub.path("hub.toml");
    std::fs::write(&path, text).unwrap();
    hub.enroll("ship-7");
    hub.start_more(&["--config".to_owned(), path.to_str().unwrap().to_owned()]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let tasks = [task("failure-mode", TaskKind::Classification, &["Leaking", "Stuck"])];
    device.send(&batch(StreamId::Event, 0, &tasks)).await;
    device.acked(StreamId::Event, 1).await;
    let question = [escalation("failure-mode", "valve won't move")];
    device.send(&batch(StreamId::Escalation, 0, &question)).await;
    device.acked(StreamId::Escalation, 1).await;

    let raised = wait_with("the alarm", || match &alarms(&hub, "desk")[..] {
        [alarm] => Ok(alarm.clone()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!((&raised["subject"], &raised["cleared_at"]), (&json!("failure-mode"), &Value::Null));
    wait_with("the second try", || match ops.requests().len() {
        2 => Ok(()),
        count => Err(format!("{count} requests")),
    });
    let requests = ops.requests();
    let told = requests[1].json();
    assert_eq!((&told["what"], &told["alarm"]["alarm"]), (&json!("raised"), &raised["alarm"]));
    assert_eq!(told["link"], "https://hub.example.org/alarms");
    let signature = requests[1].header("Landfall-Signature").unwrap();
    let (secs, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let signed = format!("{secs}.{}", requests[1].body);
    let tag: Vec<u8> = (0..tag.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap())
        .collect();
    assert!(ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok());

    // Seen by a person, who is in the trail.
    let number = raised["alarm"].as_i64().unwrap();
    let (status, body) = hub.post_form("/alarms", &format!("alarm={number}&by=ann"));
    assert!(status == 303 || status == 200, "{status} {body}");
    let (status, body) = hub.post_json(&format!("/api/v1/alarms/{number}/acknowledge"), &json!({}));
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("not-possible")), "{body}");
    let trail = hub.run_ok(&["trail"]);
    assert!(trail.contains("ann") && trail.contains("acknowledged an alarm"), "{trail}");
    let (_, page) = hub.get("/alarms");
    assert!(page.contains("failure-mode") && page.contains("ann"), "{page}");
    let (code, error) = hub.run_err(&["alarms", "acknowledge", "999"]);
    assert!(code == 1 && error.contains("there is no alarm 999"), "{error}");

    // Its cause is over, and so is the alarm; that is told, too.
    let ticket = Ticket { epoch: EPOCH, seq: 0 };
    let answer = format!("/api/v1/escalations/ship-7/{ticket}/answer");
    let (status, body) = hub.post_json(&answer, &json!({ "label": "Stuck", "by": "ann" }));
    assert_eq!(status, 200, "{body}");
    wait_with("the end of the alarm", || match &alarms(&hub, "desk")[..] {
        [alarm] if !alarm["cleared_at"].is_null() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_with("the webhook to hear of it", || match ops.requests().len() {
        3 => Ok(()),
        count => Err(format!("{count} requests")),
    });
    assert_eq!(ops.requests()[2].json()["what"], "cleared");
    let listed = hub.run_ok(&["alarms", "list", "--cleared"]);
    assert!(listed.contains("desk") && listed.contains("ann"), "{listed}");
}
