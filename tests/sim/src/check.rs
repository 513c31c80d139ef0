//! What must have come about in the end: everything has drained, and what was told is there.

use crate::book::{Request, Told};
use crate::invariant::Invariant;
use crate::world::World;
use landfall_agent_core::store::{RefusedId, TicketState};
use landfall_wire::id::Ticket;
use landfall_wire::record::StreamId;
use std::collections::BTreeMap;

impl World {
    /// What has not drained yet.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        if self.hub.waits() {
            waiting.push("commands wait for the hub's commit".to_owned());
        }
        for device in 0..self.devices.len() {
            self.device_waits(device, &mut waiting);
            let rows = &self.hub.rows[device];
            let undelivered = rows.given.values().filter(|given| !given.delivered).count();
            if undelivered > 0 {
                waiting.push(format!("{undelivered} answers wait for d{device}"));
            }
        }
        waiting
    }

    fn device_waits(&self, device: usize, waiting: &mut Vec<String>) {
        let Some(life) = &self.devices[device].life else {
            return waiting.push(format!("d{device} is down"));
        };
        if !life.ops.is_empty() {
            waiting.push(format!("d{device} has {} requests to write", life.ops.len()));
        }
        let idle = life.conn.as_ref().is_some_and(|conn| conn.session.is_idle());
        if !idle {
            waiting.push(format!("d{device} has no idle connection"));
        }
        for stream in life.shared.streams() {
            if stream.backlog() > 0 {
                let (name, backlog) = (stream.stream.name(), stream.backlog());
                waiting.push(format!("{backlog} of d{device}'s {name} wait"));
            }
        }
        if self.refused(device).iter().any(|one| one.record.is_some()) {
            waiting.push(format!("d{device} has records that the hub refused, and could resend"));
        }
        let status = life.shared.status();
        if let Some(why) = status.refusing {
            waiting.push(format!("d{device} refuses: {why}"));
        }
        if status.tickets_open > 0 {
            waiting.push(format!("{} tickets of d{device} are open", status.tickets_open));
        }
        for (ticket, seen) in self.books[device].tickets.iter().filter(|(_, seen)| !seen.over) {
            waiting.push(format!("who asked for {ticket} of d{device} waits, {:?}", seen.state));
        }
    }

    /// Everything has drained: what was told is at the hub, once, or on record as lost.
    pub(crate) fn settle(&mut self) {
        for device in 0..self.devices.len() {
            self.settle_told(device);
            self.settle_once(device);
            self.settle_answers(device);
            self.settle_losses(device);
            self.settle_refused(device);
        }
    }

    fn settle_told(&mut self, device: usize) {
        let (book, rows) = (&self.books[device], &self.hub.rows[device]);
        let mut missing = Vec::new();
        for (number, request) in &book.requests {
            let Some(told) = request.told else { continue };
            let Told { epoch, seq, ticket, erased, question_erased } = told;
            let is_kept = |stream, seq| rows.rejected.get(&(stream, epoch, seq)) == Some(number);
            let applied =
                rows.outcomes.get(&(epoch, seq)) == Some(number) || is_kept(StreamId::Outcome, seq);
            // A hub that was put back to an old copy may hear no more of a former epoch, of which
            // it had everything.
            let former = book.fate.restored || book.fate.damaged || book.fate.torn;
            // The loss record of what was dropped may be among what was damaged.
            let both = book.fate.restored && book.fate.damaged;
            let former = former && (self.hub.restored || book.fate.full || both);
            if !applied && !erased && !former && !rows.is_lost(StreamId::Outcome, epoch, seq) {
                missing.push(format!("d{device} request {number}, told as {epoch}-{seq}"));
            }
            let Some(Ticket { epoch, seq }) = ticket else { continue };
            let asked = rows.questions.get(&Ticket { epoch, seq });
            let asked = asked.is_some_and(|question| question.request == *number)
                || is_kept(StreamId::Escalation, seq);
            if !asked
                && !question_erased
                && !former
                && !rows.is_lost(StreamId::Escalation, epoch, seq)
            {
                missing.push(format!("d{device} question {number}, told as {epoch}-{seq}"));
            }
        }
        if !missing.is_empty() {
            let detail =
                format!("{} at the hub nor lost: {}", neither(&missing), missing.join(", "));
            self.broken(Invariant::ToldIsKept, detail);
        }
    }

    /// A request is one outcome, however often it was asked. A device that was damaged, put back
    /// or full may have forgotten that it knew it.
    fn settle_once(&mut self, device: usize) {
        let fate = self.books[device].fate;
        if fate.damaged || fate.restored || fate.full {
            return;
        }
        // A hub that was put back to an old copy takes what it had refused, which was sent once
        // more meanwhile.
        if self.plan.old_hub && self.hub.restored {
            return;
        }
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for request in self.hub.rows[device].outcomes.values() {
            *times.entry(*request).or_default() += 1;
        }
        if let Some((request, times)) = times.into_iter().find(|(_, times)| *times > 1) {
            let detail = format!("d{device} request {request} is {times} outcomes");
            self.broken(Invariant::AppliedOnce, detail);
        }
    }

    fn settle_answers(&mut self, device: usize) {
        let rows = &self.hub.rows[device];
        let mut broken = None;
        for given in rows.given.values().filter(|given| given.delivered) {
            let Some(ticket) = given.ticket else { continue };
            let Some(seen) = self.books[device].tickets.get(&ticket) else { continue };
            let question = rows.questions.get(&ticket);
            let same = question.is_some_and(|question| question.request == seen.request);
            let life = self.devices[device].life.as_ref();
            let state = life.and_then(|life| life.shared.ticket_status(ticket).ok()?);
            let state = state.map_or(seen.state, |status| status.state);
            let there = matches!(state, TicketState::Answered | TicketState::Delivered);
            let fate = self.books[device].fate;
            // A ticket of a store that was damaged, put back or full may have been forgotten or
            // given up before its answer came.
            if same && !there && !fate.damaged && !fate.restored && !fate.full {
                broken = Some(format!(
                    "the hub holds the answer to {ticket} of d{device} for delivered, it is \
                     {state:?} there"
                ));
            }
        }
        if let Some(detail) = broken {
            self.broken(Invariant::DeliveredIsThere, detail);
        }
    }

    /// The device knows what the hub set aside, or had it sent once more. A store that was damaged
    /// or put back, or a hub that was, may have forgotten.
    fn settle_refused(&mut self, device: usize) {
        let (fate, rows) = (self.books[device].fate, &self.hub.rows[device]);
        if fate.damaged || fate.torn || fate.restored || self.hub.restored {
            return;
        }
        let known = self.refused(device);
        let unknown = rows.rejected.iter().find(|((stream, epoch, seq), request)| {
            let id = RefusedId { stream: *stream, epoch: *epoch, seq: *seq };
            let is_known = known.iter().any(|one| one.id == id);
            let is_resent = match stream {
                StreamId::Escalation => rows.questions.values().any(|q| q.request == **request),
                _ => rows.outcomes.values().any(|of| of == *request),
            };
            !is_known && !is_resent
        });
        if let Some(((stream, epoch, seq), request)) = unknown {
            let name = stream.name();
            let detail = format!(
                "the hub refused {name} {epoch}-{seq} of d{device}, request {request}, which is \
                 neither known there nor sent once more"
            );
            self.broken(Invariant::RefusedIsKnown, detail);
        }
    }

    fn settle_losses(&mut self, device: usize) {
        let fate = self.books[device].fate;
        let explained = fate.damaged || fate.restored || fate.shed || self.hub.restored;
        if let Some(lost) = self.hub.rows[device].lost.first().filter(|_| !explained) {
            let detail = format!("d{device}: {lost:?}");
            self.broken(Invariant::LossHasCause, detail);
        }
    }

    /// Requests that were told, and tickets that are over.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let told = |request: &&Request| request.told.is_some();
        let told = self.books.iter().map(|book| book.requests.values().filter(told).count());
        let over = self.books.iter().map(|book| book.tickets.values().filter(|t| t.over).count());
        (told.sum::<usize>() as u64, over.sum::<usize>() as u64)
    }
}

fn neither(missing: &[String]) -> String {
    format!("{} neither", missing.len())
}
