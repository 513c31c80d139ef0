//! A store that was put back to an old image, as a restored disk or a swapped card does.
//!
//! The hub then has more than this store, under numbers that this store is going to give out
//! again: new records would pass for known ones and be ignored, and an answer to a question of
//! the life that is gone would reach another question of the same name. The hub's mark shows
//! it, because it lies above the stream's reach (see `meta`).
//!
//! What the image holds, the hub has, or can have under the same numbers. What was written since
//! cannot be told apart from what the hub has: it is given up with a loss record, its tickets
//! end, and a new epoch begins.

use super::StoreError;
use super::engine::Engine;
use super::load::give_up;
use super::medium::Notice;
use super::state::Failed;
use super::upkeep::CHANGES_MAX;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Event, Loss, LossReason, Record, StreamId};

impl Engine {
    /// The hub has `hub`, which is more than it can have had from this store.
    pub(super) fn roll_back(&mut self, hub: Position) -> Result<(), Failed> {
        // What came before it is written first, and counts.
        if !self.commit() {
            let detail = "it failed before the old image could be dealt with".to_owned();
            return Err(Failed::Store(StoreError::Closed { detail }));
        }
        let meta = self.meta();
        let known = meta.stream(hub.stream, hub.epoch).copied();
        // Settled meanwhile, or of a store that is forgotten.
        let Some(known) = known.filter(|known| hub.next > known.reach) else { return Ok(()) };
        let escalations = meta.stream(StreamId::Escalation, hub.epoch);
        let tickets = escalations.map_or(0..0, |s| s.reach.max(s.acked)..s.end);
        self.give_tickets_up(hub.epoch, tickets)?;
        let mut given_up = Vec::new();
        // A former epoch, if the store was damaged since it was put back.
        if hub.epoch == meta.epoch {
            let new = self.medium.epoch().map_err(Failed::Store)?;
            given_up = self.draft.meta.begin_epoch(new, &*self.medium);
        }
        let of_epoch = meta.streams.iter().filter(|s| s.epoch == hub.epoch);
        let lost: u64 = of_epoch.map(|s| s.end - s.reach.max(s.acked)).sum();
        let detail = format!(
            "the store was restored from an old image: the hub has {} records of stream {}, \
             of which it can have had {} from here; {lost} written since are given up",
            hub.next,
            hub.stream.name(),
            known.reach,
        );
        let event = Event::StoreReplaced { old: Some(hub.epoch), salvaged: 0, detail };
        self.draft.event(Record::Event(event)).map_err(Failed::Store)?;
        give_up(&*self.medium, &mut self.draft, given_up).map_err(Failed::Store)?;
        // All streams of the epoch: their records name each other.
        for stream in StreamId::UP {
            let next = if stream == hub.stream { hub.next } else { 0 };
            self.give_up_range(Position { stream, epoch: hub.epoch, next })
                .map_err(Failed::Store)?;
        }
        let (stream, reach) = (hub.stream.name(), known.reach);
        self.medium.notice(Notice::RolledBack { stream, hub: hub.next, reach, lost });
        Ok(())
    }

    /// Ends a former epoch's stream at its reach, or where the hub has it; the rest is lost.
    fn give_up_range(&mut self, hub: Position) -> Result<(), StoreError> {
        let Position { stream, epoch, next } = hub;
        let Some(known) = self.draft.meta.stream_mut(stream, epoch) else { return Ok(()) };
        let first = known.reach.max(known.acked);
        let end = known.end;
        if next > known.reach {
            known.acked = end;
        }
        known.end = first.max(known.acked);
        self.draft.moved = true;
        if first < end {
            let reason = LossReason::Damaged;
            self.draft.loss(Loss { stream, epoch, first, end, reason })?;
        }
        Ok(())
    }

    fn give_tickets_up(
        &mut self,
        epoch: Epoch,
        numbers: std::ops::Range<u64>,
    ) -> Result<(), Failed> {
        for seq in numbers {
            self.draft.give_ticket_up(&self.shared.state(), Ticket { epoch, seq })?;
            if self.draft.changes.put.len() >= CHANGES_MAX && !self.commit() {
                let detail = "tickets of a restored store could not be closed".to_owned();
                return Err(Failed::Store(StoreError::Closed { detail }));
            }
        }
        Ok(())
    }
}
