//! The benchmarks run, and what they measure arrives whole; in a small size. No time is judged.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

use landfall_tests::bench::{catchup, ingest, store, wire};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Becomes the agent and the hub.
const EXECUTABLE: &str = env!("CARGO_BIN_EXE_landfall-bench");

fn quiet(_: &str) {}

#[test]
fn the_store_and_its_peers_write_batches_of_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let effort = store::Effort { rounds: 1, turn: Duration::from_millis(1) };
    let rates = store::run(dir.path(), effort, &quiet).unwrap();
    let batches: Vec<usize> = rates.iter().map(|rates| rates.batch).collect();
    assert_eq!(batches, store::BATCHES);
    assert!(rates.iter().all(|rates| rates.ratio_to_raw() > 0.0), "{rates:?}");
    let text = store::text(&[store::Disk { extra_ms: 5, rates }]);
    assert!(text.contains("| 512 |") && text.contains("5 ms longer"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn the_hub_and_the_database_tool_take_the_same_rows() {
    let size = ingest::Size { outcomes: 1_000, rounds: 1, devices: 2 };
    // Fails if any of them has more or fewer rows.
    let text = ingest::run(Path::new(EXECUTABLE), size, &quiet).unwrap().text();
    assert!(text.starts_with("1000 outcomes of 2 devices") && text.contains(".import"), "{text}");
}

#[test]
fn the_hub_and_psql_take_the_same_rows() {
    if let Err(why) = landfall_cluster::server_that_syncs() {
        println!("SKIPPED: {why}");
        return;
    }
    let size = ingest::Size { outcomes: 1_000, rounds: 1, devices: 2 };
    let text = ingest::run_postgres(Path::new(EXECUTABLE), size, &quiet).unwrap().text();
    assert!(text.starts_with("1000 outcomes of 2 devices") && text.contains("COPY"), "{text}");
}

#[test]
fn a_backlog_arrives_whole_over_a_slow_line_that_loses_packets() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: network namespaces need root");
        return;
    }
    let control = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    let controls = [control.trim().to_owned()];
    let backlog = catchup::Backlog { outcomes: 300, escalations: 10 };
    let caught = catchup::run(Path::new(EXECUTABLE), backlog, &controls, &quiet).unwrap();
    let [caught] = &caught[..] else { panic!("{caught:?}") };
    assert_eq!((caught.backlog, caught.losses), (backlog, 0));
    assert!(caught.packets.0 > 0 && caught.frame_bytes > 0, "{caught:?}");
    assert!(caught.up_bytes > caught.frame_bytes, "headers are counted: {caught:?}");
    assert!(caught.ratio() >= 0.95, "faster than the line: {caught:?}");
}

#[test]
fn a_device_that_comes_back_resumes_its_session() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: network namespaces need root");
        return;
    }
    let pace = wire::Pace { delay_ms: 60, keep_alives: 1 };
    let plan = wire::Plan { orders: None, outcomes: 0, pace };
    let costs = wire::run(Path::new(EXECUTABLE), &plan, &quiet).unwrap().costs;
    let both = |what: &str| {
        let cost = costs.iter().find(|cost| cost.what.contains(what)).unwrap();
        cost.up_bytes + cost.down_bytes
    };
    let (first, again) = (both("the first"), both("a second time"));
    assert!(again + 1_000 < first && again < 2_500, "no certificates again: {costs:?}");
    assert!(both("hub is down") < 1_000, "{costs:?}");
}
