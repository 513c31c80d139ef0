//! `landfall-hub audit` on what a device sent, and on what was then done to the database.

use crate::client::{Device, EPOCH, at, batch, outcome, outcomes, raw_batch};
use crate::process::Hub;
use landfall_hub::database::sql::ToParam;
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::frame::{Batch, Frame};
use landfall_wire::record::{Event, Loss, LossReason, Record, StreamId};
use landfall_wire::sketch::{Sketch, TaskSketch, Withheld};
use serde_json::Value;

/// The chain's value at each position of [`outcomes`].
fn values(end: u64) -> Vec<ChainValue> {
    let device = "ship-7".parse().unwrap();
    let mut values = vec![ChainValue::begin(Some(&device), EPOCH, 0)];
    for seq in 0..end {
        let record = outcome(seq, &format!("pump {seq} leaks")).encode().unwrap();
        values.push(values.last().unwrap().after(&record));
    }
    values
}

fn mark(at: u64) -> Record {
    let value = values(at)[usize::try_from(at).unwrap()];
    Record::Event(Event::Chain(ChainMark { epoch: EPOCH, at, value, begins: false }))
}

/// A hub that holds 20 outcomes and marks at 8, 16 and 20.
async fn hub() -> Hub {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 20)]).await;
    device.send(&batch(StreamId::Event, 0, &[mark(8), mark(16), mark(20)])).await;
    device.acked(StreamId::Event, 3).await;
    device.send(&outcomes(0, 20)).await;
    device.acked(StreamId::Outcome, 20).await;
    hub
}

/// Exit code and report.
fn audit(hub: &Hub) -> (i32, Value) {
    let output = hub.run(&["audit", "ship-7", "--json"]);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), report)
}

fn findings(hub: &Hub) -> Value {
    let (code, report) = audit(hub);
    assert_eq!((code, &report["verdict"]), (1, &"broken".into()), "{report}");
    report["epochs"][0]["findings"].clone()
}

#[tokio::test]
async fn a_whole_log_is_proven() {
    let hub = hub().await;
    let (code, report) = audit(&hub);
    assert_eq!((code, &report["verdict"]), (0, &"proven".into()), "{report}");
    let epoch = &report["epochs"][0];
    assert_eq!((&epoch["held"], &epoch["proven"]), (&20.into(), &20.into()));
    assert_eq!(epoch["head"]["value"], values(20)[20].to_string());
    let text = hub.run_ok(&["audit", "ship-7"]);
    assert!(text.contains("complete and unaltered") && text.contains("20 proven"), "{text}");
}

#[tokio::test]
async fn whatever_is_done_to_the_log_is_found() {
    let hub = hub().await;
    let change = |sql: &str| hub.alter(sql, &[]);
    change("UPDATE outcome SET decision = '{\"label\":\"Other\"}' WHERE seq = 5");
    let found = findings(&hub);
    assert_eq!(found[0]["finding"], "differs", "{found}");
    assert_eq!((&found[0]["seq"], &found[0]["what"]), (&5.into(), &"decision".into()));
    // Changed in the record too: then the chain tells.
    let forged = outcome(5, "all is well").encode().unwrap();
    hub.alter("UPDATE outcome SET record = ?1 WHERE seq = 5", &[forged.to_param()]);
    let found = findings(&hub);
    let altered = found.as_array().unwrap().iter().find(|f| f["finding"] == "altered").unwrap();
    assert_eq!((&altered["first"], &altered["end"]), (&0.into(), &8.into()), "{found}");
    change("DELETE FROM outcome WHERE seq = 5");
    let found = findings(&hub);
    assert_eq!(found[0]["finding"], "missing");
    assert_eq!((&found[0]["first"], &found[0]["end"]), (&5.into(), &6.into()), "{found}");
    let text = String::from_utf8(hub.run(&["audit", "ship-7"]).stdout).unwrap();
    assert!(text.contains("no loss record tells why: 5\n"), "{text}");
    // A log of another device.
    let (code, message) = hub.run_err(&["audit", "ship-8"]);
    assert_eq!(code, 1);
    assert!(message.contains("no device ship-8"), "{message}");
}

#[tokio::test]
async fn a_loss_is_bridged_and_a_gap_without_one_is_told() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 20)]).await;
    device.send(&outcomes(0, 6)).await;
    device.acked(StreamId::Outcome, 6).await;
    // The device dropped 6 to 11.
    let Frame::Batch(rest) = outcomes(12, 20) else { unreachable!() };
    device.send(&Frame::Batch(Batch { floor: 12, ..rest })).await;
    device.acked(StreamId::Outcome, 20).await;
    let missing = findings(&hub);
    assert_eq!((&missing[0]["first"], &missing[0]["end"]), (&6.into(), &12.into()));
    let (stream, reason) = (StreamId::Outcome, LossReason::Shed);
    let loss = Record::Loss(Loss { stream, epoch: EPOCH, first: 6, end: 12, reason });
    device.send(&batch(StreamId::Event, 0, &[loss, mark(6), mark(12)])).await;
    device.acked(StreamId::Event, 3).await;
    let (code, report) = audit(&hub);
    assert_eq!((code, &report["verdict"]), (3, &"not-proven".into()), "the end waits: {report}");
    assert_eq!(report["epochs"][0]["pending"], 8);
    device.send(&batch(StreamId::Event, 3, &[mark(20)])).await;
    device.acked(StreamId::Event, 4).await;
    let (code, report) = audit(&hub);
    assert_eq!((code, &report["epochs"][0]["lost"]), (0, &6.into()), "{report}");
}

#[tokio::test]
async fn a_record_that_the_hub_cannot_read_is_part_of_the_chain() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 1)]).await;
    let strange = vec![250, 1, 2, 3];
    device.send(&raw_batch(StreamId::Outcome, 0, vec![strange.clone()])).await;
    device.acked(StreamId::Outcome, 1).await;
    let value = values(0)[0].after(&strange);
    let mark = ChainMark { epoch: EPOCH, at: 1, value, begins: false };
    device.send(&batch(StreamId::Event, 0, &[Record::Event(Event::Chain(mark))])).await;
    device.acked(StreamId::Event, 1).await;
    let (code, report) = audit(&hub);
    assert_eq!((code, &report["epochs"][0]["proven"]), (0, &1.into()), "{report}");
}

#[tokio::test]
async fn outcomes_of_a_hub_that_kept_no_records_stay_and_are_not_proven() {
    let hub = hub().await;
    let sql = "UPDATE outcome SET record = NULL WHERE seq < 3";
    assert_eq!(hub.ask(|database| database.execute(sql, &[]).unwrap()), 3);
    let (code, report) = audit(&hub);
    let epoch = &report["epochs"][0];
    assert_eq!((code, &epoch["unproven"], &epoch["proven"]), (3, &8.into(), &12.into()));
    assert_eq!(epoch["unproven_at"][0]["end"], 8, "{report}");
}

#[tokio::test]
async fn what_stays_on_the_device_as_asked_is_no_loss() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 20)]).await;
    device.send(&outcomes(0, 8)).await;
    device.acked(StreamId::Outcome, 8).await;
    let stays = |why: Withheld| Record::Withheld(why);
    let mut records = vec![stays(Withheld::Sketched); 4];
    records.push(outcome(12, "pump 12 leaks"));
    records.extend(vec![stays(Withheld::Sampled); 3]);
    device.send(&batch(StreamId::Outcome, 8, &records)).await;
    device.acked(StreamId::Outcome, 16).await;
    device.send(&outcomes(16, 20)).await;
    device.acked(StreamId::Outcome, 20).await;
    let sketch = TaskSketch {
        task: "failure-mode".parse().unwrap(),
        epoch: EPOCH,
        first: 8,
        end: 16,
        from_ms: 5,
        until_ms: 6,
        sketch: Sketch { outcomes: 8, answered: 8, ..Sketch::default() },
    };
    let more = TaskSketch {
        end: 20,
        sketch: Sketch { outcomes: 12, ..Sketch::default() },
        ..sketch.clone()
    };
    let told = |sketch: &TaskSketch| Record::Event(Event::Sketch(Box::new(sketch.clone())));
    let events = [mark(8), mark(16), mark(20), told(&sketch), told(&more), told(&sketch)];
    device.send(&batch(StreamId::Event, 0, &events)).await;
    device.acked(StreamId::Event, 6).await;

    let (code, report) = audit(&hub);
    assert_eq!((code, &report["verdict"]), (3, &"not-proven".into()), "{report}");
    let epoch = &report["epochs"][0];
    assert_eq!((&epoch["withheld"], &epoch["lost"]), (&7.into(), &0.into()), "{report}");
    assert_eq!((&epoch["held"], &epoch["proven"]), (&13.into(), &12.into()), "{report}");
    let ranges: i64 = hub.ask(|database| {
        database.row("SELECT count(*) FROM withheld", &[], |row| row.get(0)).unwrap()
    });
    assert_eq!(ranges, 2, "neighbours are one range");
    let sketches = hub.get_json("/api/v1/devices/ship-7/sketches");
    let sketches = sketches["sketches"].as_array().unwrap();
    assert_eq!(sketches.len(), 1, "told again under the same beginning: {sketches:?}");
    assert_eq!((&sketches[0]["end"], &sketches[0]["counts"]["outcomes"]), (&20.into(), &12.into()));
}
