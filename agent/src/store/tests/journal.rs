//! What the hub has is kept for audit: within its bytes, its days, and the store's limit.

use super::*;
use landfall_agent_core::store::BALLAST_BYTES;
use std::sync::atomic::{AtomicUsize, Ordering};

const DAY: u64 = DAY_MS;

fn engine(dir: &TempDir, config: StoreConfig) -> Engine {
    Engine::open(Box::new(Files::new(dir.path(), None)), config, 0).unwrap().0
}

/// Writes outcomes in groups of 50, each a generation of its own, and has them acknowledged.
fn write(engine: &mut Engine, now_ms: u64, groups: u64) {
    for _ in 0..groups {
        let commit = |number| Op::Commit {
            entry: Box::new(entry(number, None)),
            key: None,
            urgent: true,
            reply: Box::new(|result| drop(result.unwrap())),
        };
        engine.process(now_ms, (0..50).map(commit).collect());
    }
    for of in engine.shared().streams() {
        let reply = Box::new(|result: Result<(), StoreError>| result.unwrap());
        engine.process(now_ms, vec![Op::Acked { mark: mark(of, of.end), reply }]);
    }
}

fn kept(engine: &Engine) -> usize {
    engine.shared().status().generations
}

/// Every outcome that is held, page by page.
fn walk(engine: &Engine, page: usize) -> Vec<HeldOutcome> {
    let mut found: Vec<HeldOutcome> = Vec::new();
    loop {
        let from = found.last().map(|last| OutcomeId { seq: last.id.seq + 1, ..last.id });
        let more = engine.shared().outcomes(from, page).unwrap();
        if more.is_empty() {
            return found;
        }
        assert!(more.len() <= page);
        found.extend(more);
    }
}

fn config(journal_bytes_max: u64, journal_ms: u64) -> StoreConfig {
    StoreConfig { generation_records_max: 50, journal_bytes_max, journal_ms, ..small() }
}

#[test]
fn what_the_hub_has_is_kept_for_its_days_of_running_time_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = engine(&dir, config(1 << 30, 3 * DAY));
    write(&mut first, 0, 3);
    assert!(kept(&first) > 1, "{:?}", first.shared().status());
    first.housekeep(2 * DAY);
    first.stop(2 * DAY);
    drop(first);
    // The time without power does not count; the clock of the process starts again.
    let mut again = engine(&dir, config(1 << 30, 3 * DAY));
    again.housekeep(DAY - 1);
    assert!(kept(&again) > 1, "{:?}", again.shared().status());
    let of = again.shared().streams().into_iter().find(|s| s.stream == StreamId::Outcome).unwrap();
    assert_eq!((of.floor, of.acked), (0, 150), "still held");
    again.housekeep(DAY);
    assert_eq!(kept(&again), 1, "{:?}", again.shared().status());
}

#[test]
fn what_the_hub_has_is_kept_within_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = |engine: &Engine| {
        let status = engine.shared().status();
        status.bytes - BALLAST_BYTES
    };
    let other = tempfile::tempdir().unwrap();
    let mut unlimited = engine(&other, config(1 << 30, DAY));
    write(&mut unlimited, 0, 8);
    let all = sealed(&unlimited);
    let mut engine = engine(&dir, config(all / 2, DAY));
    write(&mut engine, 0, 8);
    let status = engine.shared().status();
    assert!(status.generations > 1, "{status:?}");
    // The generation that is written to lies beside it.
    assert!(sealed(&engine) <= all / 2 + all / 6, "{status:?}, all would be {all}");
    // The oldest went first.
    let first = engine.shared().outcomes(None, 1).unwrap();
    assert!(first[0].id.seq > 0 && first[0].id.seq < 400 && first[0].at_hub, "{first:?}");
    let next = config(0, DAY);
    engine.stop(0);
    drop(engine);
    let (mut engine, _) = Engine::open(Box::new(Files::new(dir.path(), None)), next, 0).unwrap();
    engine.housekeep(0);
    assert_eq!(kept(&engine), 1, "nothing is kept if nothing may be");
}

#[test]
fn what_is_kept_for_audit_goes_before_anything_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = engine(&dir, config(1 << 30, 1000 * DAY));
    // Far more than the store's 16 MiB; `write` fails if one is refused.
    write(&mut engine, 0, 20);
    write(&mut engine, 0, 20);
    let status = engine.shared().status();
    assert!(status.bytes <= status.bytes_max && status.generations > 1, "{status:?}");
    assert_eq!((status.lost, status.backlog()), (0, 0));
}

#[test]
fn what_is_kept_and_what_waits_is_read_in_the_order_in_which_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = engine(&dir, config(1 << 30, DAY));
    write(&mut engine, 0, 3);
    let old = engine.shared().status().epoch;
    // Damage begins a new epoch; what the hub has of the old one is still read back, as far as it
    // lies in other generations.
    let number = 4;
    let detail = "page 7 does not match its checksum".to_owned();
    engine.process(0, vec![Op::Suspect { number, detail }]);
    let new = engine.shared().status().epoch;
    assert_ne!(old, new);
    let commit = |number| Op::Commit {
        entry: Box::new(entry(number, None)),
        key: None,
        urgent: true,
        reply: Box::new(|result| drop(result.unwrap())),
    };
    engine.process(0, (0..7).map(commit).collect());
    let held = walk(&engine, 64);
    let ids: Vec<(Epoch, u64)> = held.iter().map(|held| (held.id.epoch, held.id.seq)).collect();
    let wanted = (0..150).map(|seq| (old, seq)).chain((0..7).map(|seq| (new, seq)));
    assert_eq!(ids, wanted.collect::<Vec<_>>());
    assert!(held.iter().all(|held| held.at_hub == (held.id.epoch == old)), "{ids:?}");
    assert_eq!(walk(&engine, 1), held, "however large the pages");
    for (at, held) in held.iter().enumerate() {
        let Record::Outcome(outcome) = Record::decode(&held.record).unwrap() else { panic!() };
        assert_eq!(outcome.caller_id, Some((at % 150 % 50).to_string()));
    }
    let chain = held.windows(2).filter(|two| two[0].id.epoch == two[1].id.epoch);
    for two in chain {
        assert_eq!(two[0].before.unwrap().after(&two[0].record), two[1].before.unwrap());
    }
    // One by its name, and names that are not held.
    let id: OutcomeId = format!("{old}-42").parse().unwrap();
    assert_eq!(engine.shared().outcomes(Some(id), 1).unwrap()[0].id.to_string(), id.to_string());
    let unknown = OutcomeId { epoch: Epoch(1), seq: 0 };
    assert_eq!(engine.shared().outcomes(Some(unknown), 9).unwrap(), []);
    let past = OutcomeId { epoch: new, seq: 7 };
    assert_eq!(engine.shared().outcomes(Some(past), 9).unwrap(), []);
}

#[test]
fn a_full_disk_takes_what_is_only_kept() {
    let Some(disk) = full::SmallDisk::mount(28 << 20) else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let config = StoreConfig {
        generation_bytes_max: 4 << 20,
        journal_bytes_max: 1 << 30,
        retry_window_outcomes: 0,
        ..StoreConfig::new(512 << 20)
    };
    let files = Files::new(disk.path(), None);
    let (mut engine, _) = Engine::open(Box::new(files), config, 0).unwrap();
    let mut taken = 0;
    let refused = Arc::new(AtomicUsize::new(0));
    // More than the disk holds; the hub has nearly everything at every moment.
    while taken < 60_000 {
        let commit = |number| {
            let refused = refused.clone();
            Op::Commit {
                entry: Box::new(entry(number, None)),
                key: None,
                urgent: true,
                reply: Box::new(move |result| {
                    if result.is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }),
            }
        };
        engine.process(0, (taken..taken + 64).map(commit).collect());
        taken += 64;
        for of in engine.shared().streams() {
            let reply = Box::new(|result: Result<(), StoreError>| drop(result));
            engine.process(0, vec![Op::Acked { mark: mark(of, of.end), reply }]);
        }
    }
    let refused = refused.load(Ordering::Relaxed);
    let status = engine.shared().status();
    assert!(refused < 64 * 8, "{refused} of {taken} refused: {status:?}");
    assert_eq!(status.refusing, None, "{status:?}");
    let oldest = engine.shared().outcomes(None, 1).unwrap();
    assert!(oldest[0].id.seq > 0, "the disk was full: {status:?}");
}
