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
use super::meta::Meta;
use super::state::Failed;
use super::types::StreamStatus;
use super::upkeep::CHANGES_MAX;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Event, Loss, LossReason, Record, StreamId};
use std::ops::Range;

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
        if hub.epoch == meta.epoch {
            self.begin_anew(&meta, hub, known.reach)
        } else {
            self.give_up_known(hub, known)
        }
    }

    /// The epoch of new records: all its streams end at their reach, because their records name
    /// each other.
    fn begin_anew(&mut self, meta: &Meta, hub: Position, reach: u64) -> Result<(), Failed> {
        let of_epoch: Vec<StreamStatus> =
            meta.streams.iter().filter(|s| s.epoch == hub.epoch).copied().collect();
        let told = self.losses_told(&of_epoch)?;
        let escalations = of_epoch.iter().find(|s| s.stream == StreamId::Escalation);
        let tickets = escalations.map_or(0..0, |s| s.reach..s.end);
        self.give_tickets_up(hub.epoch, tickets)?;
        let new = self.medium.epoch()?;
        let given_up = self.draft.meta.begin_epoch(new, &*self.medium);
        let lost: u64 = of_epoch.iter().map(|s| s.end - s.reach.max(s.acked)).sum();
        let detail = format!(
            "the store was restored from an old image: the hub has {} records of stream {}, \
             of which it can have had {reach} from here; {lost} written since are given up",
            hub.next,
            hub.stream.name(),
        );
        let event = Event::StoreReplaced { old: Some(hub.epoch), salvaged: 0, detail };
        self.draft.event(Record::Event(event))?;
        give_up(&*self.medium, &mut self.draft, given_up)?;
        for status in of_epoch {
            let StreamStatus { stream, epoch, reach, acked, end, .. } = status;
            let first = reach.max(acked);
            if let Some(known) = self.draft.meta.stream_mut(stream, epoch) {
                known.end = first;
                if stream == hub.stream {
                    known.acked = first;
                }
            }
            self.lose(stream, epoch, first..end)?;
        }
        told.into_iter().try_for_each(|loss| self.draft.event(Record::Loss(loss)))?;
        let stream = hub.stream.name();
        self.medium.notice(Notice::RolledBack { stream, hub: hub.next, reach, lost });
        Ok(())
    }

    /// A former epoch, of a store that was damaged since it was put back, or whose positions
    /// were: what the hub has above the reach may be of this life or of the other.
    fn give_up_known(&mut self, hub: Position, known: StreamStatus) -> Result<(), Failed> {
        let (first, end) = (known.reach.max(known.acked), hub.next.min(known.end));
        if hub.stream == StreamId::Escalation {
            self.give_tickets_up(hub.epoch, known.reach..end)?;
        }
        if let Some(known) = self.draft.meta.stream_mut(hub.stream, hub.epoch) {
            (known.acked, known.reach) = (known.acked.max(end), known.end);
        }
        self.draft.moved = true;
        self.lose(hub.stream, hub.epoch, first..end)?;
        let (stream, reach) = (hub.stream.name(), known.reach);
        let lost = end.saturating_sub(first);
        self.medium.notice(Notice::RolledBack { stream, hub: hub.next, reach, lost });
        Ok(())
    }

    /// Losses that are told by events which are going to be given up themselves.
    fn losses_told(&self, of_epoch: &[StreamStatus]) -> Result<Vec<Loss>, Failed> {
        let mut told = Vec::new();
        let Some(events) = of_epoch.iter().find(|s| s.stream == StreamId::Event) else {
            return Ok(told);
        };
        let state = self.shared.state();
        let mut next = events.reach.max(events.acked);
        let mut cursor = state.cursor(StreamId::Event, events.epoch, next);
        while let Some(run) = cursor.next(&state, next..events.end)? {
            for (_, payload) in run.records() {
                if let Ok(Record::Loss(loss)) = Record::decode(payload) {
                    told.push(loss);
                }
            }
            next = run.numbers().end;
        }
        Ok(told)
    }

    fn lose(
        &mut self,
        stream: StreamId,
        epoch: Epoch,
        numbers: Range<u64>,
    ) -> Result<(), StoreError> {
        let Range { start: first, end } = numbers;
        if first < end {
            let reason = LossReason::Damaged;
            self.draft.loss(Loss { stream, epoch, first, end, reason })?;
        }
        Ok(())
    }

    fn give_tickets_up(&mut self, epoch: Epoch, numbers: Range<u64>) -> Result<(), Failed> {
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
