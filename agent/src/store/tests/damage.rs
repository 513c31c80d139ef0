//! Damaged files: what can be read is delivered under its old epoch, what cannot is a loss.

use super::*;
use landfall_agent_core::store::{Changes, PACK_RECORDS_MAX, Table};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const COUNT: u64 = 3000;

/// A store with many outcomes and some escalations in two generations; returns its epoch.
fn filled(dir: &TempDir) -> Epoch {
    let store = open(dir, StoreConfig { generation_records_max: COUNT * 2 / 3, ..small() });
    runtime().block_on(async {
        for start in (0..COUNT).step_by(50) {
            let group = (start..start + 50).map(|number| {
                let ttl_secs = number.is_multiple_of(10).then_some(3600);
                let store = store.clone();
                let id = Some(key(&number.to_string(), 1));
                tokio::spawn(async move { store.commit(entry(number, ttl_secs), id, true).await })
            });
            for committed in group.collect::<Vec<_>>() {
                committed.await.unwrap().unwrap();
            }
        }
        let of = stream(&store, StreamId::Outcome);
        store.acked(mark(of, 100)).await.unwrap();
        store.close().await;
    });
    store.status().epoch
}

/// Flips bytes in this many places of the first generation that still matter.
///
/// sled writes over old places, and where it does so depends on timing: a flip in one that is
/// outdated is no damage, and leaves everything readable.
fn damage(dir: &TempDir, places: usize) {
    // Without its snapshot, sled reads all of the file, and so comes upon the damage.
    let generation = dir.path().join("q/1");
    for entry in fs::read_dir(&generation).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let (path, whole, used) = used(dir, 1);
    let mut bytes = whole.clone();
    let mut found = 0;
    for percent in (30..100).step_by(3) {
        let at = used * percent / 100;
        let mut flipped = whole.clone();
        flipped[at] ^= 0x5a;
        fs::write(&path, flipped).unwrap();
        if !is_whole(dir) {
            bytes[at] ^= 0x5a;
            found += 1;
        }
        if found == places {
            fs::write(path, bytes).unwrap();
            return;
        }
    }
    panic!("{found} places of {used} bytes matter");
}

/// Opens a damaged store. What sled lost without a word is noticed when it is read, and salvaged
/// as if it had been found at the opening.
fn open_damaged(dir: &TempDir) -> (Store, Opened) {
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
    if opened.damaged > 0 {
        return (store, opened);
    }
    let old = store.status().epoch;
    let error = read_all(&store).expect_err("it is damaged");
    assert!(matches!(error, StoreError::Closed { .. }), "{error}");
    wait_for("a new epoch", &store, |store| store.status().epoch != old);
    wait_for("writing", &store, |store| store.status().refusing.is_none());
    let salvaged = events(&store).iter().find_map(|event| match event {
        Record::Event(Event::StoreReplaced { salvaged, .. }) => Some(*salvaged),
        _ => None,
    });
    let (salvaged, lost) = (salvaged.expect("it says so"), store.status().lost);
    (store, Opened { created: false, damaged: 1, salvaged, lost })
}

/// Opens a damaged store and checks that what is held and what is lost make up the whole.
fn check_salvage(dir: &TempDir, old: Epoch) -> Opened {
    let (store, opened) = open_damaged(dir);
    assert_eq!(opened.damaged, 1, "{opened:?}");
    assert_ne!(store.status().epoch, old, "a new epoch");
    let events = events(&store);
    assert!(
        matches!(&events[0], Record::Event(Event::StoreReplaced { old: Some(e), salvaged, .. })
            if *e == old && *salvaged == opened.salvaged),
        "{events:?}"
    );
    let of = store.streams().into_iter().find(|s| s.epoch == old && s.stream == StreamId::Outcome);
    let of = of.expect("the old stream is delivered");
    assert_eq!((of.acked, of.end), (100, COUNT), "its positions are known");
    let held: BTreeSet<u64> = records(&store, of).into_iter().map(|(seq, _)| seq).collect();
    let lost: BTreeSet<u64> = events
        .iter()
        .filter_map(|event| match event {
            Record::Loss(loss) if (loss.stream, loss.epoch) == (of.stream, old) => {
                Some(loss.first..loss.end)
            }
            _ => None,
        })
        .flatten()
        .collect();
    let both: Vec<_> = held.intersection(&lost).collect();
    assert!(both.is_empty(), "held and lost: {both:?} {events:?}");
    let all: BTreeSet<u64> = held.union(&lost).copied().collect();
    assert_eq!(all, (100..COUNT).collect::<BTreeSet<_>>(), "each is held or lost");
    // The new epoch works, and is kept.
    let epoch = store.status().epoch;
    let next = runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
    assert_eq!((next.epoch, next.outcome_seq), (epoch, 0));
    runtime().block_on(store.close());
    drop(store);
    let (store, again) = Store::open(dir.path(), small()).unwrap();
    assert_eq!((store.status().epoch, again.damaged), (epoch, 0), "salvaged once");
    // Once the hub has the old stream, it is forgotten.
    runtime().block_on(store.acked(mark(of, COUNT))).unwrap();
    wait_for("forgetting", &store, |store| {
        !store.streams().iter().any(|s| (s.stream, s.epoch) == (of.stream, old))
    });
    opened
}

#[test]
fn a_store_with_flipped_bytes_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let old = filled(&dir);
    damage(&dir, 4);
    let opened = check_salvage(&dir, old);
    assert!(opened.salvaged > COUNT / 2 && opened.lost < COUNT / 10, "{opened:?}");
    assert!(dir.path().join("damaged-1").is_dir(), "kept for a person to look at");
}

/// The same store in a directory of its own.
fn copy(dir: &TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_files(dir.path(), to.path());
    to
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_files(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Whether a copy of the store opens as it was, with every record.
fn is_whole(dir: &TempDir) -> bool {
    let dir = copy(dir);
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
    if opened != Opened::default() {
        return false;
    }
    let of = stream(&store, StreamId::Outcome);
    assert_eq!((of.acked, of.end), (100, COUNT));
    match read_all(&store) {
        Ok(held) => {
            let all = COUNT - 100 + COUNT / 10;
            assert_eq!(held, all, "a hole is damage");
            true
        }
        Err(_) => false,
    }
}

/// Records of outcomes and escalations that wait for the hub.
fn read_all(store: &Store) -> Result<u64, StoreError> {
    let mut held = 0;
    for of in store.streams().into_iter().filter(|of| of.stream != StreamId::Event) {
        let mut next = of.acked;
        while next < of.end {
            let chunk = store.read(of.stream, of.epoch, next, of.end, 16 * 1024)?;
            held += chunk.records.len() as u64;
            next = chunk.next_held;
        }
    }
    Ok(held)
}

/// The used bytes of one of its two databases.
fn used(dir: &TempDir, number: u64) -> (PathBuf, Vec<u8>, usize) {
    let path = dir.path().join(format!("q/{number}/db"));
    let bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, bytes, used)
}

#[test]
fn whatever_is_cut_off_is_on_record() {
    let whole = tempfile::tempdir().unwrap();
    let old = filled(&whole);
    // sled opens some of these as if the rest had never been written, and others not at all.
    for (number, percent) in [0, 1, 30, 60, 90, 97, 99].map(|p| [(1, p), (2, p)]).concat() {
        let dir = copy(&whole);
        let (path, bytes, used) = used(&dir, number);
        fs::write(&path, &bytes[..used * percent / 100]).unwrap();
        if is_whole(&dir) {
            // sled writes over old places: what was cut off was outdated.
            assert!(percent >= 90, "{percent} % cannot hold it");
            continue;
        }
        let opened = check_salvage(&dir, old);
        // The last percent may have held positions alone.
        assert!(opened.lost > 0 || percent >= 97, "{percent} % of {number} are left: {opened:?}");
    }
}

#[test]
fn a_generation_that_is_gone_is_on_record() {
    let whole = tempfile::tempdir().unwrap();
    let old = filled(&whole);
    let newest = fs::read_dir(whole.path().join("q")).unwrap().count();
    assert!(newest > 1, "the oldest is sealed");
    for number in [1, newest] {
        let dir = copy(&whole);
        fs::remove_dir_all(dir.path().join(format!("q/{number}"))).unwrap();
        let opened = check_salvage(&dir, old);
        assert!(!opened.created && opened.lost > 0, "{number}: {opened:?}");
    }
    let dir = copy(&whole);
    fs::remove_dir_all(dir.path().join("q")).unwrap();
    let opened = check_salvage(&dir, old);
    assert_eq!((opened.created, opened.salvaged), (false, 0), "{opened:?}");
}

#[test]
fn damage_in_the_last_segment_costs_what_it_hits() {
    let whole = tempfile::tempdir().unwrap();
    filled(&whole);
    for back in [200_usize, 5_000, 50_000, 250_000] {
        let dir = copy(&whole);
        let (path, mut bytes, used) = used(&dir, 2);
        bytes[used - back] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        if is_whole(&dir) {
            // It hit what was outdated, or a snapshot made up for it.
            continue;
        }
        let (_, opened) = open_damaged(&dir);
        assert!(opened.lost <= 20, "{back} before the end: {opened:?}");
        assert!(dir.path().join("damaged-1").is_dir());
    }
}

#[test]
fn damage_to_the_witness_is_harmless() {
    let whole = tempfile::tempdir().unwrap();
    let epoch = filled(&whole);
    let good = fs::read(whole.path().join("witness")).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    let one = [&bad[..4096], &good[4096..]].concat();
    let other = [&good[..4096], &bad[..4096]].concat();
    let cases: [Option<&[u8]>; 7] = [
        None,
        Some(b""),
        Some(b"rubbish"),
        Some(&[0; 8192]),
        Some(&one),
        Some(&other),
        Some(&good),
    ];
    for (at, case) in cases.into_iter().enumerate() {
        let dir = copy(&whole);
        let path = dir.path().join("witness");
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = case {
            fs::write(&path, bytes).unwrap();
        }
        let (store, opened) = Store::open(dir.path(), small()).unwrap();
        assert_eq!(opened, Opened::default(), "case {at}");
        let of = stream(&store, StreamId::Outcome);
        assert_eq!((of.epoch, of.acked, of.end), (epoch, 100, COUNT), "case {at}");
        runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 8192, "made again, case {at}");
        // It is about this store from the first commit on.
        runtime().block_on(store.close());
        drop(store);
        let (path, bytes, used) = used(&dir, 2);
        fs::write(&path, &bytes[..used / 2]).unwrap();
        let (_, opened) = Store::open(dir.path(), small()).unwrap();
        assert_eq!(opened.damaged, 1, "case {at}");
    }
}

#[test]
fn what_the_engine_lost_without_a_word_is_noticed_when_it_is_read() {
    let whole = tempfile::tempdir().unwrap();
    let old = filled(&whole);
    let record = |seq: u64| [&b"r\x00"[..], &old.0.to_be_bytes(), &seq.to_be_bytes()].concat();
    // In the middle, and at the end; a value may hold as many records.
    for gone in [500..500 + PACK_RECORDS_MAX, COUNT - PACK_RECORDS_MAX..COUNT] {
        let dir = copy(&whole);
        for number in [1, 2] {
            let table = table::SledTable::open(&dir.path().join(format!("q/{number}"))).unwrap();
            let remove = gone.clone().map(record).collect();
            table.commit(Changes { put: Vec::new(), remove }).unwrap();
        }
        assert!(!is_whole(&dir), "{gone:?}");
        // The bytes are still in the file.
        let opened = check_salvage(&dir, old);
        assert_eq!(opened.lost, 0, "{gone:?}: {opened:?}");
    }
}

#[test]
fn tickets_and_retry_keys_survive_damage() {
    let dir = tempfile::tempdir().unwrap();
    let old = filled(&dir);
    damage(&dir, 4);
    let (store, _) = open_damaged(&dir);
    let tickets = (0..COUNT / 10).map(|seq| Ticket { epoch: old, seq });
    let known: Vec<Ticket> = tickets.filter(|t| store.ticket(*t).unwrap().is_some()).collect();
    assert!(known.len() as u64 >= COUNT / 10 * 8 / 10, "{} tickets", known.len());
    assert_eq!(store.status().tickets_open, known.len() as u64);
    let kept =
        (0..COUNT).filter_map(|number| match store.recall(&key(&number.to_string(), 1)).unwrap() {
            Recall::Same(kept) => Some((kept, number)),
            Recall::Unknown => None,
            Recall::Conflict => panic!("{number} is another"),
        });
    let kept: Vec<_> = kept.collect();
    assert!(kept.len() as u64 >= COUNT * 8 / 10, "{} retry keys", kept.len());
    for (kept, number) in kept {
        assert_eq!(kept.epoch, old);
        assert_eq!(kept.reply.reason, Some(number.to_string()));
    }
    let ticket = known[0];
    assert_eq!(store.ticket(ticket).unwrap().unwrap().state, TicketState::Queued);
    let answers = vec![answer_to(ticket, "Leaking")];
    runtime().block_on(store.apply_down(answers_until(1, answers))).unwrap();
    assert_eq!(store.ticket(ticket).unwrap().unwrap().state, TicketState::Answered);
}

#[test]
fn damage_found_while_reading_is_salvaged_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    for number in 0..10 {
        let ttl_secs = (number == 3).then_some(3600);
        runtime().block_on(store.commit(entry(number, ttl_secs), None, true)).unwrap();
    }
    let old = store.status().epoch;
    let detail = "page 7 does not match its checksum".to_owned();
    store.ops.send(Op::Suspect { number: 1, detail }).unwrap();
    wait_for("a new epoch", &store, |store| store.status().epoch != old);
    let of = store.streams().into_iter().find(|s| s.epoch == old && s.stream == StreamId::Outcome);
    assert_eq!(numbers(&store, of.unwrap()), (0..10).collect::<Vec<_>>(), "all were readable");
    assert_eq!(store.status().lost, 0);
    assert_eq!(store.status().tickets_open, 1);
    wait_for("writing", &store, |store| store.status().refusing.is_none());
    runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
}
