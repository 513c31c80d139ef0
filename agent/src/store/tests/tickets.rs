//! Tickets from question to answer.

use super::*;

fn state(store: &Store, ticket: Ticket) -> TicketState {
    store.ticket(ticket).unwrap().unwrap().state
}

fn escalate(store: &Store, ttl_secs: u32) -> Ticket {
    let committed = runtime().block_on(store.commit(entry(1, Some(ttl_secs)), None, true));
    committed.unwrap().ticket.unwrap()
}

#[test]
fn a_ticket_goes_from_queued_to_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let ticket = escalate(&store, 60);
    let changes = store.ticket_changes();
    assert_eq!(state(&store, ticket), TicketState::Queued);
    let of = stream(&store, StreamId::Escalation);
    store.sent(mark(of, 1));
    assert_eq!(state(&store, ticket), TicketState::Sent);
    assert!(changes.has_changed().unwrap());
    runtime().block_on(store.acked(mark(of, 1))).unwrap();
    assert_eq!(state(&store, ticket), TicketState::Received);
    let answer = answer_to(ticket, "Leaking");
    runtime().block_on(store.apply_down(answers_until(1, vec![answer.clone()]))).unwrap();
    assert_eq!(state(&store, ticket), TicketState::Answered);
    assert_eq!(store.ticket(ticket).unwrap().unwrap().answer, Some(answer.clone()));
    assert_eq!(store.status().tickets_open, 0);
    assert_eq!(store.tickets(10).unwrap().len(), 1);
    for _ in 0..2 {
        runtime().block_on(store.delivered(ticket)).unwrap();
    }
    runtime().block_on(store.close());
    drop(store);
    let store = open(&dir, small());
    let status = store.ticket(ticket).unwrap().unwrap();
    assert_eq!((status.state, status.answer), (TicketState::Delivered, Some(answer)));
    assert_eq!(store.tickets(10).unwrap(), [], "neither open nor to be fetched");
    assert_eq!(store.answers(), Some(answer_mark(1)));
}

#[test]
fn an_answer_counts_once_and_a_later_one_does_not_replace_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let ticket = escalate(&store, 60);
    for (next, label) in [(1, "Leaking"), (2, "Breakdown")] {
        let answers = vec![answer_to(ticket, label)];
        runtime().block_on(store.apply_down(answers_until(next, answers))).unwrap();
    }
    let answer = store.ticket(ticket).unwrap().unwrap().answer.unwrap();
    assert_eq!(answer.decision, Decision::Label("Leaking".into()));
    assert_eq!(store.answers(), Some(answer_mark(2)), "the mark moves all the same");
}

#[test]
fn an_answer_to_a_ticket_that_was_lost_makes_it_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let ticket = Ticket { epoch: Epoch(77), seq: 3 };
    assert_eq!(store.ticket(ticket).unwrap(), None);
    let missing = runtime().block_on(store.delivered(ticket));
    assert!(matches!(missing, Err(StoreError::UnknownTicket)), "{missing:?}");
    let answers = vec![answer_to(ticket, "Leaking")];
    runtime().block_on(store.apply_down(answers_until(1, answers))).unwrap();
    assert_eq!(state(&store, ticket), TicketState::Answered);
}

#[test]
fn a_ticket_expires_in_running_time_and_the_hub_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let ticket = escalate(&store, 1);
    let patient = escalate(&store, 3600);
    assert_eq!(store.status().tickets_open, 2);
    wait_for("expiry", &store, |store| state(store, ticket) == TicketState::Expired);
    assert_eq!(state(&store, patient), TicketState::Queued);
    wait_for("the count", &store, |store| store.status().tickets_open == 1);
    assert_eq!(events(&store), [Record::Event(Event::Expired { ticket })]);
    // Better late than never.
    let answers = vec![answer_to(ticket, "Leaking")];
    runtime().block_on(store.apply_down(answers_until(1, answers))).unwrap();
    assert_eq!(state(&store, ticket), TicketState::Answered);
}

#[test]
fn time_while_the_store_is_closed_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    let ticket = escalate(&store, 2);
    runtime().block_on(store.close());
    drop(store);
    std::thread::sleep(Duration::from_millis(2100));
    let store = open(&dir, small());
    assert_eq!(state(&store, ticket), TicketState::Queued, "a blackout expires nothing");
    wait_for("expiry", &store, |store| state(store, ticket) == TicketState::Expired);
}
