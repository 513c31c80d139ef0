//! `kill -9` of a process that appends, and what opening must clean up.

use super::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const CHILD_DIR: &str = "LANDFALL_STORE_TEST_DIR";

/// Not a test: the process that the next test kills. Says each number once it is durable.
#[test]
#[ignore = "started by another test, to be killed"]
fn child_that_appends() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let config = StoreConfig { generation_records_max: 200, ..small() };
    let (store, opened) = Store::open(dir.as_ref(), config).unwrap();
    assert_eq!(opened.damaged, 0);
    let first = stream(&store, StreamId::Outcome).end;
    runtime().block_on(async {
        let local = tokio::task::LocalSet::new();
        for worker in 0..4_u64 {
            let store = store.clone();
            local.spawn_local(async move {
                for number in (first + worker * 1_000_000).. {
                    let id = key(&format!("{first}-{number}"), 1);
                    let ttl_secs = number.is_multiple_of(3).then_some(3600);
                    let urgent = worker == 0;
                    let done = store.commit(entry(number, ttl_secs), Some(id), urgent).await;
                    let done = done.unwrap();
                    println!("durable {} {number} {first}", done.outcome_seq);
                }
            });
        }
        local.await;
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u64, u64)> = Vec::new();
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::child_that_appends"])
            .args(["--ignored", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = acknowledged.len() + 40 + 37 * round;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let numbers: Vec<u64> = line
                .strip_prefix("durable ")
                .into_iter()
                .flat_map(|rest| rest.split(' ').filter_map(|n| n.parse().ok()))
                .collect();
            if let [seq, number, first] = numbers[..] {
                acknowledged.push((seq, number, first));
            }
            // Killed at a moment of its own; what it said until then still comes through.
            if acknowledged.len() == wanted {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "it was killed");
        assert!(acknowledged.len() >= wanted, "round {round}: the child ended by itself");
    }
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
    assert_eq!(opened, Opened::default());
    let of = stream(&store, StreamId::Outcome);
    let numbers = numbers(&store, of);
    assert_eq!(numbers.len() as u64, of.end, "no number of the stream is missing");
    for (seq, number, first) in acknowledged {
        assert_eq!(numbers[usize::try_from(seq).unwrap()], number, "outcome {seq}");
        let kept = store.recall(&key(&format!("{first}-{number}"), 1)).unwrap();
        let Recall::Same(kept) = kept else { panic!("the retry key of {number} is lost") };
        assert_eq!(kept.outcome_seq, seq);
        assert_eq!(kept.ticket.is_some(), number.is_multiple_of(3));
        if let Some(ticket) = kept.ticket {
            assert_eq!(store.ticket(ticket).unwrap().unwrap().state, TicketState::Queued);
        }
    }
}

fn with_ten() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    for number in 0..10 {
        runtime().block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    runtime().block_on(store.close());
    let generation = dir.path().join("q/1");
    (dir, generation)
}

fn assert_ten(dir: &TempDir) {
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
    assert_eq!(opened, Opened::default(), "nothing was damaged");
    let of = stream(&store, StreamId::Outcome);
    assert_eq!(numbers(&store, of), (0..10).collect::<Vec<_>>());
    runtime().block_on(store.close());
}

#[test]
fn a_snapshot_left_half_written_is_removed() {
    let (dir, generation) = with_ten();
    fs::write(generation.join("snap.00000000000000FF.generating"), b"half").unwrap();
    assert_ten(&dir);
}

#[test]
fn a_damaged_snapshot_is_done_without() {
    let (dir, generation) = with_ten();
    // sled writes its snapshot when it opens.
    assert_ten(&dir);
    let snapshots = fs::read_dir(&generation).unwrap().flatten().map(|entry| entry.path());
    let snapshots: Vec<_> = snapshots.filter(|p| p.to_string_lossy().contains("snap.")).collect();
    assert!(!snapshots.is_empty(), "sled left a snapshot");
    for path in snapshots {
        fs::write(path, b"rubbish").unwrap();
    }
    assert_ten(&dir);
}

#[test]
fn a_generation_that_was_being_created_is_removed() {
    let (dir, _) = with_ten();
    let next = dir.path().join("q/2");
    fs::create_dir_all(next.join("blobs")).unwrap();
    fs::write(next.join("db"), b"").unwrap();
    assert_ten(&dir);
    // And one in which only the first commit is missing.
    drop(table::SledTable::open(&dir.path().join("q/3")).map_err(|_| "open").unwrap());
    assert_ten(&dir);
}
