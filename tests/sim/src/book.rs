//! What callers asked and were told: the truth that the product is held to.

use landfall_agent_core::store::TicketState;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::Answer;
use std::collections::BTreeMap;

/// One caller's request, under one id however often it is repeated.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) ttl_secs: Option<u32>,
    pub(crate) asked_ms: u64,
    /// A reply is awaited from this life of the device.
    pub(crate) waiting: Option<u64>,
    pub(crate) told: Option<Told>,
}

/// What the caller was told: it is recorded, under this name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
    pub(crate) ticket: Option<Ticket>,
    /// The device's disk was put back to an image without it before the hub had it: the
    /// outcome, and the question.
    pub(crate) erased: bool,
    pub(crate) question_erased: bool,
}

/// A ticket as its asker saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) request: u64,
    pub(crate) state: TicketState,
    pub(crate) answer: Option<Answer>,
    /// Its device was damaged or put back since: it may be forgotten, or stand where it stood.
    pub(crate) shaken: bool,
    pub(crate) over: bool,
    /// The device was told of its delivery, and may have no more of it, although it said that it
    /// could not write that down.
    pub(crate) delivering: bool,
}

/// What befell a device that explains losses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    pub(crate) damaged: bool,
    /// A commit failed on damage: half of what nobody was told of is there to be read.
    pub(crate) torn: bool,
    pub(crate) restored: bool,
    pub(crate) shed: bool,
    /// Its store was at its limit, where making room takes the memory of retries too.
    pub(crate) full: bool,
}

/// The request behind each number.
pub(crate) type Numbers = BTreeMap<(Epoch, u64), u64>;

/// The truth about one device.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) tickets: BTreeMap<Ticket, Seen>,
    /// What was told and can be on the disk.
    pub(crate) numbers: Numbers,
    pub(crate) fate: Fate,
}

impl Book {
    /// The disk was put back to when it had these; `at_hub` tells whether the hub has a request's
    /// outcome, and its question.
    pub(crate) fn put_back(
        &mut self,
        numbers: Numbers,
        at_hub: impl Fn(Told, u64) -> (bool, bool),
    ) {
        self.fate.restored = true;
        self.numbers = numbers;
        let numbers = &self.numbers;
        let had = |told: &Told, number: u64| numbers.get(&(told.epoch, told.seq)) == Some(&number);
        for (number, request) in &mut self.requests {
            request.waiting = None;
            if let Some(told) = &mut request.told {
                let (outcome, question) = at_hub(*told, *number);
                let gone = !had(told, *number);
                told.erased |= gone && !outcome;
                told.question_erased |= gone && !question;
            }
        }
        // Whoever asked since the image holds a name that the device no longer knows.
        let requests = &self.requests;
        self.tickets.retain(|ticket, seen| {
            let told = requests.get(&seen.request).and_then(|request| request.told);
            told.is_some_and(|told| told.ticket == Some(*ticket) && had(&told, seen.request))
        });
        self.shake();
    }

    /// What was seen of tickets may be undone.
    pub(crate) fn shake(&mut self) {
        for seen in self.tickets.values_mut() {
            (seen.shaken, seen.over) = (true, false);
        }
    }
}

/// Whether a ticket may go from one state to the other, as its asker sees it. A restart forgets
/// what was sent, and may forget what the hub has; nothing else goes back.
pub(crate) fn may_become(from: TicketState, to: TicketState) -> bool {
    let open = |state| match state {
        TicketState::Queued | TicketState::Sent | TicketState::Received => true,
        TicketState::Answered | TicketState::Delivered | TicketState::Expired => false,
    };
    match (from, to) {
        (from, _) if open(from) => true,
        (TicketState::Expired, TicketState::Expired | TicketState::Answered) => true,
        (TicketState::Answered, TicketState::Answered | TicketState::Delivered) => true,
        (TicketState::Delivered, TicketState::Delivered) => true,
        (_, _) => false,
    }
}
