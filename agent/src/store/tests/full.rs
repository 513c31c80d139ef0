//! The byte limit, and a disk that is full.

use super::*;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Commits in groups until the store refuses; returns how many it took and why it stopped.
fn fill(store: &Store, from: u64, most: u64) -> (u64, Option<StoreError>) {
    runtime().block_on(async {
        let mut taken = from;
        while taken < from + most {
            let group: Vec<_> = (taken..taken + 32)
                .map(|number| {
                    let store = store.clone();
                    tokio::spawn(async move { store.commit(entry(number, None), None, true).await })
                })
                .collect();
            for committed in group {
                match committed.await.unwrap() {
                    Ok(_) => taken += 1,
                    Err(error) => return (taken, Some(error)),
                }
            }
        }
        (taken, None)
    })
}

#[test]
fn a_full_store_refuses_new_decisions_and_keeps_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let (taken, error) = fill(&store, 0, 200_000);
    assert!(matches!(error, Some(StoreError::Full { .. })), "{taken}: {error:?}");
    let status = store.status();
    assert!(status.bytes <= status.bytes_max, "{status:?}");
    assert!(status.refusing.is_some());
    let disk = u64_of(&["du", "-sB1"], dir.path());
    assert!(disk <= status.bytes_max + (1 << 20), "{disk} bytes on disk: {status:?}");
    runtime()
        .block_on(store.event(Event::Expired { ticket: Ticket { epoch: Epoch(1), seq: 0 } }))
        .unwrap();
    // Once the hub has the records, decisions are taken again.
    for of in [StreamId::Outcome, StreamId::Event].map(|of| stream(&store, of)) {
        runtime().block_on(store.acked(mark(of, of.end))).unwrap();
    }
    wait_for("room", &store, |store| store.status().refusing.is_none());
    runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
}

#[test]
fn dropping_the_oldest_keeps_escalations_and_tells_of_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let outcomes_when_full = WhenFull::DropOldest;
    let store = open(&dir, StoreConfig { outcomes_when_full, ..small() });
    let ticket = runtime().block_on(store.commit(entry(0, Some(3600)), None, true)).unwrap().ticket;
    let mut taken = 1;
    while store.status().lost == 0 {
        let (now, error) = fill(&store, taken, 2000);
        assert!(error.is_none() && now < 200_000, "{now}: {error:?}");
        taken = now;
    }
    let status = store.status();
    assert!(status.bytes <= status.bytes_max, "{status:?}");
    let of = stream(&store, StreamId::Outcome);
    assert_eq!(of.end, taken, "all were taken");
    let held = records(&store, of);
    assert_eq!(held.first().unwrap().0, of.floor);
    let events = events(&store);
    assert!(
        events.iter().any(|event| matches!(event,
            Record::Loss(loss) if loss.first == 0 && loss.stream == StreamId::Outcome)),
        "{events:?}"
    );
    let lost: u64 = events
        .iter()
        .map(|event| match event {
            Record::Loss(loss) => loss.end - loss.first,
            Record::Event(Event::Chain(_)) => 0,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(lost + held.len() as u64, taken, "each outcome is held or lost");
    assert_eq!(lost, status.lost);
    let escalations = records(&store, stream(&store, StreamId::Escalation));
    assert_eq!(escalations.len(), 1, "the escalation is still there to be sent");
    assert_eq!(store.ticket(ticket.unwrap()).unwrap().unwrap().state, TicketState::Queued);
}

#[test]
fn escalations_are_dropped_where_the_site_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (outcomes_when_full, escalations_when_full) = (WhenFull::DropOldest, WhenFull::DropOldest);
    let store = open(&dir, StoreConfig { outcomes_when_full, escalations_when_full, ..small() });
    let asked = runtime().block_on(store.commit(entry(0, Some(3600)), None, true)).unwrap();
    let ticket = asked.ticket.unwrap();
    let mut taken = 1;
    while store.status().lost == 0 {
        let (now, error) = fill(&store, taken, 2000);
        assert!(error.is_none() && now < 200_000, "{now}: {error:?}");
        taken = now;
    }
    let dropped = events(&store).into_iter().filter_map(|event| match event {
        Record::Loss(loss) => Some((loss.stream, loss.first, loss.reason)),
        _ => None,
    });
    let dropped: Vec<_> = dropped.collect();
    assert!(dropped.contains(&(StreamId::Escalation, 0, LossReason::Shed)), "{dropped:?}");
    assert!(dropped.contains(&(StreamId::Outcome, 0, LossReason::Shed)), "{dropped:?}");
    assert_eq!(records(&store, stream(&store, StreamId::Escalation)), []);
    // Nobody will answer, and whoever asked hears so.
    assert_eq!(store.ticket(ticket).unwrap().unwrap().state, TicketState::Expired);
    assert_eq!(store.status().tickets_open, 0);
}

#[test]
fn the_space_of_a_backlog_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    fill(&store, 0, 200_000);
    let before = u64_of(&["du", "-sB1"], dir.path());
    for of in [StreamId::Outcome, StreamId::Event].map(|of| stream(&store, of)) {
        runtime().block_on(store.acked(mark(of, of.end))).unwrap();
    }
    wait_for("the files' removal", &store, |_| {
        fs::read_dir(dir.path().join("q")).unwrap().count() == 1
    });
    let after = u64_of(&["du", "-sB1"], dir.path());
    // What is left is the ballast and the generation that is written to.
    assert!(after * 10 <= before * 7, "{before} bytes before, {after} after: {:?}", store.status());
}

fn u64_of(command: &[&str], path: &Path) -> u64 {
    let output = Command::new(command[0]).args(&command[1..]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// A small disk of its own, unmounted at the end.
pub(super) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(super) fn mount(bytes: u64) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| SmallDisk(dir))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount(24 << 20) else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let dir = disk.path();
    let config = StoreConfig { retry_window_outcomes: 0, ..StoreConfig::new(512 << 20) };
    let (store, _) = Store::open(dir, config.clone()).unwrap();
    let (taken, error) = fill(&store, 0, 500_000);
    let error = error.expect("the disk fills up");
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    assert!(error.is_temporary());
    // Refused for good, and readable.
    let refused = runtime().block_on(store.commit(entry(1, None), None, true));
    assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
    let of = stream(&store, StreamId::Outcome);
    assert!(of.end >= taken, "{taken} acknowledged, {of:?}");
    let held = numbers(&store, of);
    assert_eq!(held.len() as u64, of.end, "all are there, {taken} acknowledged");
    // The hub takes them: acknowledgements are written on the full disk.
    runtime().block_on(store.acked(mark(of, of.end))).unwrap();
    runtime().block_on(store.close());
    drop(store);

    let (store, _) = Store::open(dir, config).unwrap();
    assert_eq!(stream(&store, StreamId::Outcome).acked, of.end);
    let refused = runtime().block_on(store.commit(entry(1, None), None, true));
    assert!(matches!(refused, Err(StoreError::DiskFull)), "{refused:?}");
    runtime().block_on(store.close());
}

#[test]
fn a_disk_filled_by_others_is_survived_and_left_behind() {
    let Some(disk) = SmallDisk::mount(24 << 20) else {
        println!("skipped: mounting a tmpfs needs root");
        return;
    };
    let dir = disk.path();
    let config = StoreConfig::new(512 << 20);
    let (store, _) = Store::open(dir, config.clone()).unwrap();
    let (taken, error) = fill(&store, 0, 64);
    assert!(error.is_none(), "{error:?}");
    runtime().block_on(store.close());
    drop(store);
    let hog = dir.join("hog");
    fill_disk(&hog);
    let (store, _) = Store::open(dir, config).unwrap();
    let of = stream(&store, StreamId::Outcome);
    assert_eq!(numbers(&store, of).len() as u64, taken, "opened with the ballast's space");
    let (_, error) = fill(&store, 0, 50_000);
    assert!(matches!(error, Some(StoreError::DiskFull)), "{error:?}");
    assert!(store.status().refusing.is_some());
    fs::remove_file(&hog).unwrap();
    runtime().block_on(store.reopen()).unwrap();
    let next = runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
    assert!(next.outcome_seq >= taken);
    runtime().block_on(store.close());
}

fn fill_disk(path: &Path) {
    use std::io::Write;
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 64 * 1024]).is_ok() {}
    while file.write_all(&[1; 512]).is_ok() {}
}
