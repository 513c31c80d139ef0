//! Callers: they ask, ask again under the same id if they hear nothing, and follow their tickets.

use crate::book::{Request, Seen, Told, may_become};
use crate::device::Heard;
use crate::fault::Fault;
use crate::hub::label_for;
use crate::invariant::Invariant;
use crate::plan::RETRY_WINDOW;
use crate::plant::Plant;
use crate::world::{Event, World};
use landfall_agent_core::judgement::Ruling;
use landfall_agent_core::reply::Reply;
use landfall_agent_core::store::{
    CallerKey, Committed, Failed, Op, StoreError, TicketState, TicketStatus,
};
use landfall_agent_core::task::Entry;
use landfall_wire::id::{Confidence, ShortDigest, TaskName, Ticket};
use landfall_wire::record::{
    Decision, Escalation, EscalationReason, Mechanism, Outcome, RedactedText, Verdict,
};

/// A caller that heard nothing asks again after at most this time; the store recognises retries
/// within its window, which is counted in outcomes.
const RETRY_MS: u64 = 8_000;

/// Then it gives up.
const PATIENCE_MS: u64 = 30_000;

/// Between two looks at a ticket.
const POLL_MS: u64 = 1_500;

impl World {
    /// A new request.
    pub(crate) fn request(&mut self, device: usize) {
        let number = self.books[device].requests.len() as u64;
        let full = number >= self.plan.requests_max;
        if !full || self.healed {
            let escalated = self.rng.permille(self.plan.escalated_permille);
            let ttl_secs = escalated.then(|| if self.rng.permille(300) { 4 } else { 45 });
            let request = Request { ttl_secs, asked_ms: self.now_ms, waiting: None, told: None };
            self.books[device].requests.insert(number, request);
            self.submit(device, number);
        }
        if !full && !self.healed {
            self.within(2 * self.plan.request_every_ms, Event::Request(device));
        }
    }

    fn submit(&mut self, device: usize, number: u64) {
        let Some(life) = &self.devices[device].life else {
            return self.within(RETRY_MS, Event::Retry(device, number));
        };
        let life_number = life.number;
        let request = self.books[device].requests.get_mut(&number).expect("it was just asked");
        request.waiting = Some(life_number);
        let entry = Box::new(entry(number, request.ttl_secs));
        let key = (self.plant != Some(Plant::RetryForgotten)).then(|| key(number));
        let urgent = self.rng.permille(500);
        self.ask(device, |life, disk| Op::Commit {
            entry,
            key,
            urgent,
            reply: life.inbox(disk, move |result| Heard::Committed { request: number, result }),
        });
        self.within(RETRY_MS, Event::Retry(device, number));
    }

    /// Whoever heard nothing asks again.
    pub(crate) fn retry(&mut self, device: usize, number: u64) {
        let life = self.devices[device].life.as_ref().map(|life| life.number);
        let now_ms = self.now_ms;
        let Some(request) = self.books[device].requests.get(&number) else { return };
        let waits = request.waiting.is_some() && request.waiting == life;
        // Later requests, and retries of earlier ones, are outcomes that count in the window.
        let later = self.books[device].requests.len() as u64 - number;
        let tired =
            now_ms.saturating_sub(request.asked_ms) > PATIENCE_MS || later > RETRY_WINDOW / 3;
        if request.told.is_some() || waits || tired {
            return;
        }
        if request.waiting.is_some() {
            self.happened(Fault::CallerRetry);
        }
        self.submit(device, number);
    }

    pub(crate) fn hear(&mut self, device: usize, heard: Heard) {
        match heard {
            Heard::Committed { request, result } => self.committed(device, request, result),
            Heard::Delivered { ticket, result } => {
                if result.is_ok()
                    && let Some(seen) = self.books[device].tickets.get_mut(&ticket)
                {
                    seen.over = true;
                }
            }
            Heard::Done => {}
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "handed over with the event")]
    fn committed(&mut self, device: usize, number: u64, result: Result<Committed, StoreError>) {
        let book = &mut self.books[device];
        let Some(request) = book.requests.get_mut(&number) else { return };
        request.waiting = None;
        match result {
            Ok(Committed { epoch, outcome_seq, ticket, .. }) => {
                let told =
                    Told { epoch, seq: outcome_seq, ticket, erased: false, question_erased: false };
                request.told = Some(told);
                let other = book.numbers.insert((epoch, outcome_seq), number);
                if let Some(ticket) = ticket {
                    let (state, answer) = (TicketState::Queued, None);
                    let seen = Seen {
                        request: number,
                        state,
                        answer,
                        shaken: false,
                        over: false,
                        delivering: false,
                    };
                    book.tickets.insert(ticket, seen);
                }
                self.note(|_| {
                    format!("d{device} tells request {number}: {epoch}-{outcome_seq} {ticket:?}")
                });
                if other.is_some_and(|other| other != number) {
                    let detail = format!(
                        "d{device} told {number} and {other:?} that they are {epoch}-{outcome_seq}"
                    );
                    self.broken(Invariant::NumberUsedOnce, detail);
                }
            }
            Err(StoreError::Full { .. }) => self.happened(Fault::StoreFull),
            Err(_) => {}
        }
    }

    /// Looks at all tickets that are not over, and fetches answers.
    pub(crate) fn poll(&mut self, device: usize) {
        let open: Vec<Ticket> = self.books[device]
            .tickets
            .iter()
            .filter(|(_, seen)| !seen.over || seen.state == TicketState::Expired)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in open {
            let Some(life) = &self.devices[device].life else { break };
            match life.shared.ticket_status(ticket) {
                Ok(Some(status)) => self.seen(device, &status),
                Ok(None) => self.forgotten(device, ticket),
                Err(Failed::Generation(number, error)) => {
                    let detail = format!("{error:?}");
                    self.ask(device, |_, _| Op::Suspect { number, detail });
                    break;
                }
                Err(Failed::Store(_)) => break,
            }
        }
        self.within(2 * POLL_MS, Event::Poll(device));
    }

    fn seen(&mut self, device: usize, status: &TicketStatus) {
        let TicketStatus { ticket, state, answer } = status.clone();
        let Some(seen) = self.books[device].tickets.get_mut(&ticket) else { return };
        let (before, shaken) = (seen.state, std::mem::take(&mut seen.shaken));
        let other = seen.answer.clone().filter(|known| Some(known) != answer.as_ref());
        let expected = label_for(seen.request);
        seen.state = state;
        seen.answer.clone_from(&answer);
        seen.over |= matches!(state, TicketState::Delivered | TicketState::Expired);
        if !shaken && (!may_become(before, state) || (other.is_some() && answer.is_some())) {
            let detail = format!(
                "d{device} {ticket} went from {before:?} {other:?} to {state:?} {answer:?}"
            );
            self.broken(Invariant::TicketEndsOnce, detail);
        }
        // After an old image and damage, a ticket that is not known may be made known by an answer
        // to another question of its name.
        let fate = self.books[device].fate;
        if let Some(answer) = answer
            && !(fate.restored && fate.damaged)
            && answer.decision != Decision::Label(expected.clone())
        {
            let detail =
                format!("d{device} {ticket} gets {:?} and asked for {expected}", answer.decision);
            self.broken(Invariant::AnswerFitsQuestion, detail);
        }
        if state == TicketState::Answered {
            if let Some(seen) = self.books[device].tickets.get_mut(&ticket) {
                seen.delivering = true;
            }
            self.ask(device, |life, disk| Op::Delivered {
                ticket,
                reply: life.inbox(disk, move |result| Heard::Delivered { ticket, result }),
            });
        }
    }

    /// The device does not know a ticket that it gave out.
    fn forgotten(&mut self, device: usize, ticket: Ticket) {
        let book = &mut self.books[device];
        let shaken = book.fate.damaged || book.fate.restored || book.fate.full;
        let Some(seen) = book.tickets.get_mut(&ticket) else { return };
        // A ticket that is over is kept no longer than its generation.
        let ended = matches!(seen.state, TicketState::Delivered | TicketState::Expired);
        let was_over = seen.over || seen.delivering || ended;
        seen.over = true;
        if !was_over && !shaken {
            let detail = format!("d{device} has forgotten {ticket}, which was {:?}", seen.state);
            self.broken(Invariant::TicketEndsOnce, detail);
        }
    }
}

fn task() -> TaskName {
    "failure-mode".parse().expect("a task's name")
}

fn key(number: u64) -> CallerKey {
    let caller_id = number.to_string();
    CallerKey { task: task(), caller_id, text_digest: ShortDigest::default() }
}

/// A decision whose text is its request's number.
fn entry(number: u64, ttl_secs: Option<u32>) -> Entry {
    let text = Some(RedactedText::new(&number.to_string()));
    let reason = EscalationReason::LowConfidence;
    let (verdict, ruling) = match ttl_secs {
        Some(_) => (
            Verdict::Escalated { reason: reason.clone(), seq: 0 },
            Ruling::Escalated(reason.clone()),
        ),
        None => (Verdict::Answered, Ruling::Answered),
    };
    let outcome = Outcome {
        task: task(),
        caller_id: Some(number.to_string()),
        at_ms: 0,
        mechanism: Mechanism::Model,
        verdict,
        decision: None,
        confidence: Confidence::CERTAIN,
        package: ShortDigest::default(),
        config: ShortDigest::default(),
        decide_us: 1,
        read: None,
        fields_left_out: 0,
        text: text.clone(),
        masking: None,
        meta: Vec::new(),
    };
    let escalation = ttl_secs.map(|ttl_secs| Escalation {
        outcome_seq: 0,
        task: task(),
        at_ms: 0,
        reason,
        text,
        provisional: None,
        candidates: Vec::new(),
        meta: Vec::new(),
        ttl_secs,
    });
    let reply = Reply {
        ruling,
        mechanism: Mechanism::Model,
        answer: None,
        confidence: Confidence::CERTAIN,
        candidates: Vec::new(),
        reason: None,
        read: None,
    };
    Entry { outcome, escalation, reply }
}
