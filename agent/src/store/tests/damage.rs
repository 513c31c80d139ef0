//! Damaged files: what can be read is delivered under its old epoch, what cannot is a loss.

use super::*;
use std::collections::BTreeSet;
use std::fs;

const COUNT: u64 = 3000;

/// A store with many outcomes and some escalations; returns its epoch.
fn filled(dir: &TempDir) -> Epoch {
    let store = open(dir, small());
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

/// Flips bytes at these fractions of the file.
fn damage(dir: &TempDir, at: &[f64]) {
    // Without its snapshot, sled reads all of the file, and so comes upon the damage.
    let generation = dir.path().join("q/1");
    for entry in fs::read_dir(&generation).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let path = generation.join("db");
    let mut bytes = fs::read(&path).unwrap();
    // Only where there is data: the end of the file is preallocated.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for at in at {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction")]
        let at = (used as f64 * at) as usize;
        bytes[at] ^= 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

/// Opens a damaged store and checks that what is held and what is lost make up the whole.
fn check_salvage(dir: &TempDir, old: Epoch) -> Opened {
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
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
    assert!(dir.path().join("damaged-1").is_dir(), "kept for a person to look at");
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
    damage(&dir, &[0.3, 0.31, 0.5, 0.7]);
    let opened = check_salvage(&dir, old);
    assert!(opened.salvaged > COUNT * 8 / 10, "{opened:?}");
}

#[test]
fn a_store_that_was_cut_off_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    filled(&dir);
    let path = dir.path().join("q/1/db");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2 + 1000]).unwrap();
    // Whether sled opens what is left or not: opening never fails, and new records are taken.
    let (store, _) = Store::open(dir.path(), small()).unwrap();
    runtime().block_on(store.commit(entry(1, None), None, true)).unwrap();
}

#[test]
fn tickets_and_retry_keys_survive_damage() {
    let dir = tempfile::tempdir().unwrap();
    let old = filled(&dir);
    damage(&dir, &[0.3, 0.31, 0.5, 0.7]);
    let (store, opened) = Store::open(dir.path(), small()).unwrap();
    assert_eq!(opened.damaged, 1, "{opened:?}");
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
    runtime().block_on(store.apply_answers(answer_mark(1), answers)).unwrap();
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
