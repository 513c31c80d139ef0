//! What the hub refused is kept, within a limit, and can be sent once more.

use super::*;
use landfall_agent_core::store::REFUSED_MAX;
use landfall_wire::record::Refusal;

fn refusal(of: StreamStatus, seq: u64) -> Down {
    let StreamStatus { stream, epoch, .. } = of;
    Down::Refusal(Refusal { stream, epoch, seq, reason: format!("no use of {seq}") })
}

fn apply(store: &Store, next: u64, down: Vec<Down>) {
    runtime().block_on(store.apply_down(down_until(next, down))).unwrap();
}

fn ack_all(store: &Store) {
    for of in store.streams() {
        runtime().block_on(store.acked(mark(of, of.end))).unwrap();
    }
}

/// Stream, number, whether the record is here.
fn kept(store: &Store) -> Vec<(StreamId, u64, bool)> {
    let all = store.refused().unwrap();
    all.iter().map(|one| (one.id.stream, one.id.seq, one.record.is_some())).collect()
}

#[test]
fn a_refused_outcome_outlives_its_acknowledgement_and_is_sent_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { generation_records_max: 20, ..small() };
    let store = open(&dir, config.clone());
    for number in 0..3 {
        runtime().block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    ack_all(&store);
    let of = stream(&store, StreamId::Outcome);
    apply(&store, 1, vec![refusal(of, 1)]);
    apply(&store, 1, vec![refusal(of, 1)]);
    assert_eq!((kept(&store), store.status().refused), (vec![(StreamId::Outcome, 1, true)], 1));
    // Generations come and go.
    for number in 3..60 {
        runtime().block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
    ack_all(&store);
    wait_for("one generation", &store, |store| store.status().generations == 1);
    runtime().block_on(store.close());
    drop(store);
    let store = open(&dir, config.clone());
    let [refused] = &store.refused().unwrap()[..] else { panic!("{:?}", store.refused()) };
    assert_eq!(refused.reason, "no use of 1");
    let end = stream(&store, StreamId::Outcome).end;
    let resent = runtime().block_on(store.resend(Some(refused.id))).unwrap();
    assert_eq!((resent[0].now.1, resent[0].ticket), (end, None));
    assert_eq!(kept(&store), []);
    let of = stream(&store, StreamId::Outcome);
    assert_eq!(numbers(&store, of), [1], "what waits is the refused decision");
    let raw = store.read(of.stream, of.epoch, end, end + 1, 1).unwrap().records;
    assert_eq!(raw[0], *refused.record.as_ref().unwrap(), "byte for byte");
    let again = runtime().block_on(store.resend(Some(refused.id)));
    assert_eq!(again.unwrap_err(), StoreError::NotRefused);
    assert_eq!(runtime().block_on(store.resend(None)).unwrap(), []);
    runtime().block_on(store.close());
    drop(store);
    assert_eq!(kept(&open(&dir, config)), [], "not back after a start");
}

#[test]
fn a_refused_question_expires_at_once_and_gets_a_new_ticket_when_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let committed = runtime().block_on(store.commit(entry(1, Some(600)), None, true)).unwrap();
    let ticket = committed.ticket.unwrap();
    ack_all(&store);
    let state = |ticket| store.ticket(ticket).unwrap().unwrap().state;
    assert_eq!(state(ticket), TicketState::Received);
    apply(&store, 1, vec![refusal(stream(&store, StreamId::Escalation), ticket.seq)]);
    assert_eq!((state(ticket), store.status().tickets_open), (TicketState::Expired, 0));
    let resent = runtime().block_on(store.resend(None)).unwrap();
    let new = resent[0].ticket.unwrap();
    assert_eq!((state(new), store.status().tickets_open), (TicketState::Queued, 1));
    apply(&store, 2, vec![Down::Answer(answer_to(new, "Leaking"))]);
    assert_eq!((state(new), state(ticket)), (TicketState::Answered, TicketState::Expired));
}

#[test]
fn one_whose_record_is_gone_is_known_but_cannot_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let of = StreamStatus { epoch: Epoch(77), ..stream(&store, StreamId::Event) };
    apply(&store, 1, vec![refusal(of, 4)]);
    assert_eq!(kept(&store), [(StreamId::Event, 4, false)]);
    let id = store.refused().unwrap()[0].id;
    let gone = runtime().block_on(store.resend(Some(id)));
    assert_eq!(gone.unwrap_err(), StoreError::RefusedGone);
    assert_eq!(
        runtime().block_on(store.resend(None)).unwrap(),
        [],
        "all means those that are here"
    );
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let max = REFUSED_MAX as u64;
    for number in 0..max + 3 {
        runtime().block_on(store.commit(entry(number, None), None, false)).unwrap();
    }
    ack_all(&store);
    let of = stream(&store, StreamId::Outcome);
    apply(&store, max + 3, (0..max + 3).map(|seq| refusal(of, seq)).collect());
    let want: Vec<_> = (3..max + 3).map(|seq| (StreamId::Outcome, seq, true)).collect();
    assert_eq!(kept(&store), want);
    runtime().block_on(store.close());
    drop(store);
    assert_eq!(kept(&open(&dir, small())), want);
}
