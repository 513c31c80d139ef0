//! Every record once, whatever happens on the way.

use crate::client::{Device, EPOCH, at, batch, outcomes, raw_batch, task};
use crate::process::{Hub, wait_with};
use landfall_wire::frame::{Batch, Frame, Position};
use landfall_wire::record::{Event, Record, Refusal, StreamId, TaskKind};

#[tokio::test]
async fn duplicates_reordering_and_cut_connections_leave_each_outcome_once() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, welcome) =
        Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 40)]).await;
    assert_eq!(welcome.marks, [at(StreamId::Outcome, 0)]);
    for frame in [
        outcomes(0, 10),
        outcomes(20, 30), // ahead of the mark: dropped, to be sent again
        outcomes(0, 10),  // known
        outcomes(5, 20),  // half known
    ] {
        device.send(&frame).await;
    }
    device.acked(StreamId::Outcome, 20).await;
    // Cut while a batch is on its way: committed or not, it is sent again.
    device.send(&outcomes(20, 30)).await;
    device.flush().await;
    drop(device);

    let (mut device, welcome) =
        Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 40)]).await;
    let mark = welcome.marks[0].next;
    assert!(mark == 20 || mark == 30, "{mark}");
    device.send(&outcomes(20, 40)).await;
    device.acked(StreamId::Outcome, 40).await;
    let stats = hub.stats();
    assert_eq!((stats.outcomes, stats.distinct_caller_ids, stats.losses), (40, 40, 0));
    assert!(stats.records.repeated >= 15, "{stats:?}");
    let rows = hub.get_json("/api/v1/outcomes?limit=100");
    let mut names: Vec<_> = rows["outcomes"].as_array().unwrap().iter().collect();
    names.sort_by_key(|row| row["at"].as_str().unwrap().to_owned());
    for (seq, row) in names.iter().enumerate() {
        assert_eq!(row["text"], format!("pump {seq} leaks"));
        assert_eq!(row["outcome"], format!("{EPOCH}-{seq}"));
    }
}

#[tokio::test]
async fn a_hub_killed_between_commit_and_acknowledgement_applies_nothing_twice() {
    let mut hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    for round in 0..3_u64 {
        let (first, end) = (round * 50, round * 50 + 50);
        device.send(&outcomes(first, end)).await;
        device.flush().await;
        // The device reads nothing more: whatever the hub acknowledged is lost with it.
        hub.wait_stats("the commit", |stats| stats.outcomes == end);
        hub.kill();
        hub.start();
        let (again, welcome) =
            Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, end)]).await;
        assert_eq!(welcome.marks, [at(StreamId::Outcome, end)], "what was committed is there");
        device = again;
        // A device that did not hear of the mark sends everything again.
        device.send(&outcomes(0, end)).await;
        device.acked(StreamId::Outcome, end).await;
        assert_eq!(hub.stats().outcomes, end);
    }
    hub.stop();
    if hub.is_file() {
        let sql = "PRAGMA integrity_check";
        let check: String = hub.ask(|it| it.row(sql, &[], |row| row.get(0)).unwrap());
        assert_eq!(check, "ok");
    }
}

#[tokio::test]
async fn records_that_no_one_knows_are_kept_and_the_device_is_told() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let Frame::Batch(Batch { mut records, .. }) = outcomes(0, 3) else { unreachable!() };
    records[1] = vec![250, 1, 2, 3];
    records.push(task("failure-mode", TaskKind::Classification, &["a"]).encode().unwrap());
    device.send(&raw_batch(StreamId::Outcome, 0, records)).await;
    device.acked(StreamId::Outcome, 4).await;
    let stats = hub.stats();
    assert_eq!((stats.outcomes, stats.records.rejected, stats.records.applied), (2, 2, 2));
    let rejected = hub.get_json("/api/v1/rejected");
    let reasons = rejected["rejected"].to_string();
    assert!(reasons.contains("known kind") && reasons.contains("outcome stream"), "{reasons}");
    let sql = "SELECT record FROM rejected WHERE seq = 1";
    let raw: Vec<u8> = hub.ask(|database| database.row(sql, &[], |row| row.get(0)).unwrap());
    assert_eq!(raw, [250, 1, 2, 3], "as it came");
    // The device hears of it at the next greeting if not before, and once is enough.
    drop(device);
    let (mut device, welcome) = Device::greeted(&hub, "ship-7", vec![]).await;
    assert_eq!(welcome.answers.next, 2);
    let Frame::Batch(batch) = device.frame().await else { panic!("not a batch") };
    assert_eq!((batch.stream, batch.first), (StreamId::Answer, 0));
    let told: Vec<Record> =
        batch.records.iter().map(|record| Record::decode(record).unwrap()).collect();
    for (told, seq) in told.iter().zip([1, 3]) {
        let Record::Refusal(refusal) = told else { panic!("{told:?}") };
        let Refusal { stream, epoch, seq: of, reason } = refusal;
        assert_eq!((*stream, *epoch, *of), (StreamId::Outcome, EPOCH, seq));
        assert!(
            reason.contains(if seq == 1 { "known kind" } else { "outcome stream" }),
            "{reason}"
        );
    }
    assert_eq!(told.len(), 2);
    let waiting = "SELECT count(*) FROM down WHERE delivered_ms IS NULL";
    let count =
        |hub: &Hub| -> i64 { hub.ask(|it| it.row(waiting, &[], |row| row.get(0)).unwrap()) };
    assert_eq!(count(&hub), 2, "not acknowledged yet");
    device
        .send(&Frame::Ack(Position { stream: StreamId::Answer, epoch: batch.epoch, next: 2 }))
        .await;
    device.flush().await;
    wait_with("delivery", || match count(&hub) {
        0 => Ok(()),
        left => Err(left.to_string()),
    });
}

#[tokio::test]
async fn decisions_without_a_record_are_counted_once_although_told_twice() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let told = |from_ms, decisions| {
        let until_ms = from_ms + decisions * 1000;
        Record::Event(Event::Unrecorded { from_ms, until_ms, decisions })
    };
    let (first, second) = (1_780_000_000_123, 1_780_000_600_123);
    let events = [told(first, 3), told(second, 1), told(first, 5)];
    device.send(&batch(StreamId::Event, 0, &events)).await;
    device.acked(StreamId::Event, 3).await;
    let sql = "SELECT detail FROM event WHERE kind = 'unrecorded' ORDER BY id";
    let details: Vec<String> = hub.ask(|it| it.rows(sql, &[], |row| row.get(0)).unwrap());
    let decisions: Vec<u64> = details
        .iter()
        .map(|detail| serde_json::from_str::<serde_json::Value>(detail).unwrap())
        .map(|detail| detail["decisions"].as_u64().unwrap())
        .collect();
    assert_eq!(decisions, [5, 1]);
}

#[tokio::test]
async fn a_gap_is_recorded_and_never_waited_for() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    device.send(&outcomes(0, 5)).await;
    let Frame::Batch(late) = outcomes(9, 12) else { unreachable!() };
    device.send(&Frame::Batch(Batch { floor: 8, ..late })).await;
    device.acked(StreamId::Outcome, 5).await;
    device.acked(StreamId::Outcome, 8).await;
    device.send(&outcomes(8, 12)).await;
    device.acked(StreamId::Outcome, 12).await;
    assert_eq!((hub.stats().outcomes, hub.stats().losses), (9, 3));
    let losses = hub.get_json("/api/v1/losses");
    let loss = &losses["losses"][0];
    assert_eq!((loss["first"].as_u64(), loss["end"].as_u64()), (Some(5), Some(8)));
    assert_eq!(loss["reason"], "gap");
}

#[tokio::test]
async fn a_database_that_cannot_be_written_acknowledges_nothing_until_it_can() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    device.send(&outcomes(0, 5)).await;
    device.acked(StreamId::Outcome, 5).await;
    hub.refuse_writes(true);
    device.send(&outcomes(5, 1005)).await;
    device.ended().await;
    assert_eq!(hub.stats().outcomes, 5, "nothing of it was kept");
    assert!(hub.log().contains("cannot be written"), "{}", hub.log());
    hub.refuse_writes(false);
    let (mut device, welcome) =
        Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 1005)]).await;
    assert_eq!(welcome.marks, [at(StreamId::Outcome, 5)]);
    device.send(&outcomes(5, 1005)).await;
    device.acked(StreamId::Outcome, 1005).await;
    assert_eq!(hub.stats().outcomes, 1005);
}

#[tokio::test]
async fn the_fleet_shows_backlog_and_tasks() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let up = vec![at(StreamId::Outcome, 30), at(StreamId::Event, 1)];
    let (mut device, _) = Device::greeted(&hub, "ship-7", up).await;
    device.send(&outcomes(0, 10)).await;
    device.acked(StreamId::Outcome, 10).await;
    let labels = task("failure-mode", TaskKind::Classification, &["Leaking", "Stuck"]);
    device.send(&batch(StreamId::Event, 0, &[labels])).await;
    device.acked(StreamId::Event, 1).await;
    let fleet = hub.get_json("/api/v1/fleet");
    let ship = &fleet["devices"][0];
    assert_eq!((ship["device"].as_str(), ship["online"].as_bool()), (Some("ship-7"), Some(true)));
    assert_eq!(ship["backlog"], 20);
    assert_eq!(ship["tasks"][0]["labels"][1], "Stuck");
    assert_eq!(fleet["devices"][1]["online"], false);
    let detail = hub.get_json("/api/v1/devices/ship-7");
    assert_eq!(detail["events"][0]["kind"], "task");
}
