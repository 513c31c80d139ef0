//! Ordinary life: what is committed is there, once, after any number of openings.

use super::*;
use std::fs;

#[test]
fn everything_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let mut want = Vec::new();
    let mut epochs = std::collections::BTreeSet::new();
    for round in 0..3 {
        let store = open(&dir, small());
        epochs.insert(store.status().epoch);
        for number in round * 10..round * 10 + 10 {
            let committed = runtime.block_on(store.commit(entry(number, None), None, true));
            assert_eq!(committed.unwrap().outcome_seq, number);
            want.push(number);
        }
        assert_eq!(numbers(&store, stream(&store, StreamId::Outcome)), want);
        runtime.block_on(store.close());
    }
    assert_eq!(epochs.len(), 1, "opening an undamaged store keeps its epoch");
}

#[test]
fn outcome_and_escalation_name_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let runtime = runtime();
    runtime.block_on(store.commit(entry(0, None), None, true)).unwrap();
    let committed = runtime.block_on(store.commit(entry(1, Some(60)), None, true)).unwrap();
    let epoch = store.status().epoch;
    assert_eq!(committed.outcome_seq, 1);
    assert_eq!(committed.ticket, Some(Ticket { epoch, seq: 0 }));
    let outcomes = records(&store, stream(&store, StreamId::Outcome));
    let Record::Outcome(Outcome { verdict: Verdict::Escalated { seq: 0, .. }, .. }) = outcomes[1].1
    else {
        panic!("{outcomes:?}")
    };
    let escalations = records(&store, stream(&store, StreamId::Escalation));
    assert!(
        matches!(escalations[0].1, Record::Escalation(Escalation { outcome_seq: 1, .. })),
        "{escalations:?}"
    );
}

#[test]
fn a_retry_gets_the_first_reply_and_another_text_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let store = open(&dir, small());
    assert_eq!(store.recall(&key("a", 1)).unwrap(), Recall::Unknown);
    let first =
        runtime.block_on(store.commit(entry(1, Some(60)), Some(key("a", 1)), true)).unwrap();
    assert_eq!(first.repeated, None);
    runtime.block_on(store.close());
    drop(store);

    let store = open(&dir, small());
    let Recall::Same(kept) = store.recall(&key("a", 1)).unwrap() else { panic!("forgotten") };
    assert_eq!((kept.outcome_seq, kept.ticket), (first.outcome_seq, first.ticket));
    assert_eq!(kept.reply, entry(1, Some(60)).reply);
    assert_eq!(store.recall(&key("a", 2)).unwrap(), Recall::Conflict);
    let again = runtime.block_on(store.commit(entry(2, None), Some(key("a", 1)), true)).unwrap();
    assert_eq!(again.repeated, Some(entry(1, Some(60)).reply), "the first reply counts");
    assert_eq!(again.ticket, first.ticket);
    let conflict = runtime.block_on(store.commit(entry(2, None), Some(key("a", 2)), true));
    assert!(matches!(conflict, Err(StoreError::Conflict)), "{conflict:?}");
    assert_eq!(numbers(&store, stream(&store, StreamId::Outcome)), [1]);
}

#[test]
fn two_requests_at_once_with_one_id_are_one_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let (a, b) = runtime().block_on(async {
        tokio::join!(
            store.commit(entry(1, None), Some(key("a", 1)), false),
            store.commit(entry(2, None), Some(key("a", 1)), true),
        )
    });
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.outcome_seq, b.outcome_seq);
    assert_eq!(u8::from(a.repeated.is_some()) + u8::from(b.repeated.is_some()), 1);
    assert_eq!(numbers(&store, stream(&store, StreamId::Outcome)).len(), 1);
}

#[test]
fn a_reply_or_record_that_is_too_large_is_refused_and_uses_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let mut large = entry(1, Some(60));
    large.reply.reason = Some("x".repeat(5000));
    let refused = runtime().block_on(store.commit(large, Some(key("a", 1)), true));
    assert!(matches!(refused, Err(StoreError::Record(_))), "{refused:?}");
    let next = runtime().block_on(store.commit(entry(2, Some(60)), None, true)).unwrap();
    assert_eq!((next.outcome_seq, next.ticket.unwrap().seq), (0, 0));
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let second = Store::open(dir.path(), small()).map(drop).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    assert!(second.remedy().contains("data_dir"));
    runtime().block_on(store.close());
    let after = runtime().block_on(store.commit(entry(1, None), None, true));
    assert!(matches!(after, Err(StoreError::Stopped)), "{after:?}");
    Store::open(dir.path(), small()).unwrap();
}

#[test]
fn generations_rotate_and_give_space_back_once_the_hub_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let config = StoreConfig { generation_records_max: 50, ..small() };
    let store = open(&dir, config.clone());
    let open_ticket = runtime.block_on(store.commit(entry(0, Some(3600)), None, true)).unwrap();
    for number in 1..200 {
        runtime.block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    let before = store.status();
    assert!(before.generations >= 4, "{before:?}");
    let of = stream(&store, StreamId::Outcome);
    assert_eq!(numbers(&store, of), (0..200).collect::<Vec<_>>(), "read across generations");
    runtime.block_on(store.acked(mark(of, 200))).unwrap();
    let escalations = stream(&store, StreamId::Escalation);
    runtime.block_on(store.acked(mark(escalations, 1))).unwrap();
    let events = stream(&store, StreamId::Event);
    runtime.block_on(store.acked(mark(events, events.end))).unwrap();
    wait_for("one generation", &store, |store| store.status().generations == 1);
    assert!(store.status().bytes < before.bytes, "{:?}", store.status());
    wait_for("the files' removal", &store, |_| {
        fs::read_dir(dir.path().join("q")).unwrap().count() == 1
    });

    // What must outlive its generation does: numbers go on, the open ticket is known.
    runtime.block_on(store.close());
    drop(store);
    let store = open(&dir, config);
    let next = runtime.block_on(store.commit(entry(200, None), None, true)).unwrap();
    assert_eq!(next.outcome_seq, 200);
    let status = store.ticket(open_ticket.ticket.unwrap()).unwrap().unwrap();
    assert_eq!(status.state, TicketState::Received);
    assert_eq!(store.status().tickets_open, 1);
}

#[test]
fn retry_keys_keep_their_generation() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let retry_window_outcomes = 100;
    let store =
        open(&dir, StoreConfig { generation_records_max: 20, retry_window_outcomes, ..small() });
    runtime.block_on(store.commit(entry(0, None), Some(key("a", 1)), true)).unwrap();
    let ack_all = |store: &Store| {
        let of = stream(store, StreamId::Outcome);
        runtime.block_on(store.acked(mark(of, of.end))).unwrap();
    };
    for number in 1..80 {
        runtime.block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    ack_all(&store);
    assert!(matches!(store.recall(&key("a", 1)).unwrap(), Recall::Same(_)), "within the window");
    for number in 80..200 {
        runtime.block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    ack_all(&store);
    wait_for("forgetting", &store, |store| store.recall(&key("a", 1)).unwrap() == Recall::Unknown);
}

#[test]
fn an_acknowledgement_past_the_end_or_of_another_epoch_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let store = open(&dir, small());
    runtime.block_on(store.commit(entry(0, None), None, true)).unwrap();
    let of = stream(&store, StreamId::Outcome);
    runtime.block_on(store.acked(mark(StreamStatus { epoch: Epoch(1), ..of }, 1))).unwrap();
    assert_eq!(stream(&store, StreamId::Outcome).acked, 0);
    runtime.block_on(store.acked(mark(of, 99))).unwrap();
    assert_eq!(stream(&store, StreamId::Outcome).acked, 1, "at most what there is");
    runtime.block_on(store.acked(mark(of, 0))).unwrap();
    assert_eq!(stream(&store, StreamId::Outcome).acked, 1, "never back");
}

#[test]
fn a_store_restored_from_an_old_image_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let store = open(&dir, small());
    for number in 0..3 {
        runtime.block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    let of = stream(&store, StreamId::Outcome);
    runtime.block_on(store.acked(mark(of, 1))).unwrap();
    runtime.block_on(store.rolled_back(mark(of, 7))).unwrap();
    assert_ne!(store.status().epoch, of.epoch);
    let events = events(&store);
    assert!(
        matches!(&events[0], Record::Event(Event::StoreReplaced { old: Some(old), .. }) if *old == of.epoch),
        "{events:?}"
    );
    assert!(
        matches!(&events[1], Record::Loss(loss) if loss.epoch == of.epoch && (loss.first, loss.end) == (1, 3)),
        "{events:?}"
    );
    let next = runtime.block_on(store.commit(entry(9, None), None, true)).unwrap();
    assert_eq!((next.epoch, next.outcome_seq), (store.status().epoch, 0));
}
