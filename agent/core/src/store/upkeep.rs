//! Upkeep of generations and tickets, by the engine between commits: sealing, removing what the
//! hub has, making room, expiring.

use super::engine::Engine;
use super::generation::Generation;
use super::medium::{Changes, Notice};
use super::run::Cursor;
use super::state::{Failed, Health, State};
use super::ticket::{Stage, TicketRecord};
use super::value::Value;
use super::{StoreError, WhenFull, keys, load};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Loss, LossReason, StreamId};

/// Changes made in one commit of upkeep: bounds memory and the time that others wait.
pub(super) const CHANGES_MAX: usize = 256;

impl Engine {
    /// Seals the newest generation if it is large, by beginning another.
    pub(super) fn rotate_if_large(&mut self) {
        let config = &self.shared.config;
        let large = self.shared.state().generations.last().is_some_and(|newest| {
            newest.bytes >= config.generation_bytes_max
                || newest.records >= config.generation_records_max
        });
        if large {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        let created = {
            let state = self.shared.state();
            let Some(newest) = state.generations.last() else { return };
            load::create(&mut *self.medium, newest.number + 1, &state.meta, Some(newest), None)
        };
        match created {
            Ok((generation, meta)) => {
                let mut state = self.shared.state_mut();
                state.meta = meta;
                state.generations.push(generation);
            }
            // The old one goes on a little; the next commit tries again.
            Err(error) => self.upkeep_failed("begin a generation", &error),
        }
        self.renew();
    }

    /// Removes the oldest generations while the hub has all of them and nothing keeps them. Open
    /// tickets move on. Says whether any space came back.
    pub(super) fn collect(&mut self) -> bool {
        let mut collected = false;
        while self.is_oldest_over() {
            if !self.carry(false) || !self.remove_oldest() {
                break;
            }
            collected = true;
        }
        // There is room now, perhaps enough.
        if collected
            && self.shared.state().health == Health::DiskFull
            && let Err(error) = self.ensure_ballast()
        {
            self.upkeep_failed("find room on a full disk", &error);
        }
        collected
    }

    /// Whether the hub has all of the oldest generation, and it is kept neither for retries nor
    /// for audit: the store's limit counts for more than both, a full disk for more than audit.
    fn is_oldest_over(&self) -> bool {
        let (state, config) = (self.shared.state(), &self.shared.config);
        let [oldest, .., _] = &state.generations[..] else { return false };
        if !oldest.is_finished(&state.meta) {
            return false;
        }
        let age = state.meta.outcomes.saturating_sub(oldest.outcomes);
        let for_retries = age < config.retry_window_outcomes;
        let for_audit = state.health == Health::Writable && self.is_journal(&state, oldest);
        state.full(config).is_some() || !(for_retries || for_audit)
    }

    /// Whether the oldest generation is within the limits of what is kept for audit.
    fn is_journal(&self, state: &State, oldest: &Generation) -> bool {
        let config = &self.shared.config;
        let (_, sealed) = state.generations.split_last().expect("there is an oldest");
        let finished = sealed.iter().take_while(|generation| generation.is_finished(&state.meta));
        let bytes: u64 = finished.map(|generation| generation.bytes).sum();
        let young = self.now_ms().saturating_sub(oldest.until_ms) < config.journal_ms;
        young && bytes <= config.journal_bytes_max
    }

    /// Drops the oldest generation with what the hub does not have of it, and writes down what
    /// is lost. Escalations and events move on, unless escalations may be dropped too.
    pub(super) fn make_room(&mut self) {
        if self.shared.state().generations.len() == 1 {
            self.rotate();
        }
        if self.shared.state().generations.len() > 1 && self.carry(true) && self.shed() {
            self.remove_oldest();
        }
    }

    /// Writes the losses and moves the floors; durable before anything is deleted.
    fn shed(&mut self) -> bool {
        let ends = self.shared.state().generations[0].ends.clone();
        self.renew();
        for ((stream, epoch), end) in ends {
            let dropped = stream == StreamId::Outcome || self.drops_escalations(stream);
            let Some(known) = self.draft.meta.stream_mut(stream, epoch).filter(|_| dropped) else {
                continue;
            };
            let first = known.acked;
            if first < end {
                known.acked = end;
                known.floor = end;
                let reason = LossReason::Shed;
                let loss = Loss { stream, epoch, first, end, reason };
                self.medium.notice(Notice::Shed { stream: stream.name(), first, end });
                if let Err(failed) = self.record_loss(loss) {
                    self.failed(failed);
                    return false;
                }
            }
        }
        self.draft.moved = true;
        self.commit()
    }

    /// The loss, and what bridges it in the hash chain.
    fn record_loss(&mut self, loss: Loss) -> Result<(), Failed> {
        let bridge = self.shared.state().bridge(&loss)?;
        self.draft.loss(loss).map_err(Failed::Store)?;
        bridge.into_iter().try_for_each(|mark| self.draft.mark(mark)).map_err(Failed::Store)
    }

    /// Tells the hub of outcomes that stand without a mark for long.
    pub(super) fn mark_by_time(&mut self) -> Result<(), Failed> {
        let (epoch, now_ms) = (self.draft.meta.epoch, self.now_ms());
        let due = self.draft.meta.chain.as_mut();
        let due = due.and_then(|chain| chain.due_by_time(epoch, now_ms));
        due.map_or(Ok(()), |mark| self.draft.mark(mark)).map_err(Failed::Store)
    }

    fn drops_escalations(&self, stream: StreamId) -> bool {
        stream == StreamId::Escalation
            && self.shared.config.escalations_when_full == WhenFull::DropOldest
    }

    /// Copies what must outlive the oldest generation into the newest: tickets that are not
    /// over, directives, and, if it is dropped unfinished, records that may not be lost.
    fn carry(&mut self, unfinished: bool) -> bool {
        let carried = self.carry_tickets(unfinished);
        let carried = carried.and_then(|()| self.carry_directives());
        let carried = carried.and_then(|()| self.carry_refused()).and_then(|()| {
            if !unfinished {
                return Ok(());
            }
            let ends: Vec<_> = self.shared.state().generations[0].ends.keys().copied().collect();
            ends.into_iter()
                .filter(|(stream, _)| {
                    *stream != StreamId::Outcome && !self.drops_escalations(*stream)
                })
                .collect::<Vec<_>>()
                .into_iter()
                .try_for_each(|(stream, epoch)| self.carry_records(stream, epoch))
        });
        match carried {
            Ok(()) => self.commit(),
            Err(failed) => {
                self.failed(failed);
                false
            }
        }
    }

    /// If the generation is dropped unfinished with its escalations, nobody will answer those that
    /// the hub does not have: their tickets are over.
    fn carry_tickets(&mut self, unfinished: bool) -> Result<(), Failed> {
        self.renew();
        let dropped = unfinished && self.drops_escalations(StreamId::Escalation);
        let mut from = keys::TICKETS.to_vec();
        loop {
            let pair = self.shared.state().first(0, &from, keys::TICKETS_END)?;
            let Some((key, bytes)) = pair else { return Ok(()) };
            from = [key.as_slice(), &[0]].concat();
            let parsed = Value::open(&bytes).and_then(|value| TicketRecord::parse(&value));
            let superseded = is_newer_elsewhere(&self.shared.state(), &key)?;
            if let Some((ticket, record)) = parsed.filter(|(_, record)| self.is_wanted(record))
                && !superseded
            {
                let is_dropped = dropped && self.is_unsent(ticket);
                if is_dropped && record.stage == Stage::Open {
                    self.draft.no_answer(&self.shared.state(), ticket)?;
                } else {
                    self.draft.open_ticket(ticket, record);
                }
                self.flush_carried()?;
            }
        }
    }

    /// Whether the oldest generation holds the escalation, and the hub does not.
    fn is_unsent(&self, ticket: Ticket) -> bool {
        let state = self.shared.state();
        let Ticket { epoch, seq } = ticket;
        let end = state.generations[0].ends.get(&(StreamId::Escalation, epoch));
        let acked = state.meta.acked(StreamId::Escalation, epoch);
        end.is_some_and(|end| (acked..*end).contains(&seq))
    }

    /// An answer that nobody fetched is kept for its time to live; so is the news that there will be
    /// none.
    fn is_wanted(&self, record: &TicketRecord) -> bool {
        match record.stage {
            // If one that is given up were forgotten, an answer to the other question of its name
            // would make it known again. They are few.
            Stage::Open | Stage::GivenUp => true,
            Stage::Answered | Stage::Expired => record.deadline_ms > self.now_ms(),
            Stage::Delivered => false,
        }
    }

    fn carry_records(&mut self, stream: StreamId, epoch: Epoch) -> Result<(), Failed> {
        let acked = self.shared.state().meta.acked(stream, epoch);
        if acked == u64::MAX {
            return Ok(());
        }
        let mut cursor = Cursor::of(stream, epoch, vec![0]);
        let mut next = acked;
        loop {
            let run = cursor.next(&self.shared.state(), next..u64::MAX)?;
            let Some(run) = run else { return Ok(()) };
            next = run.numbers().end;
            let (numbers, sealed) = run.into_whole();
            self.draft.copy(stream, epoch, numbers, sealed);
            self.flush_carried()?;
        }
    }

    pub(super) fn flush_carried(&mut self) -> Result<(), Failed> {
        if self.draft.changes.put.len() < CHANGES_MAX || self.commit() {
            return Ok(());
        }
        let detail = "what must outlive a generation could not be copied".to_owned();
        Err(Failed::Store(StoreError::Closed { detail }))
    }

    /// The floor is durable before the files go: an empty queue never restarts at zero.
    fn remove_oldest(&mut self) -> bool {
        let ends = self.shared.state().generations[0].ends.clone();
        self.renew();
        for ((stream, epoch), end) in ends {
            if let Some(known) = self.draft.meta.stream_mut(stream, epoch) {
                known.floor = known.floor.max(end.min(known.acked));
            }
        }
        self.draft.moved = true;
        if !self.commit() {
            return false;
        }
        let unsealed = self.shared.state_mut().generations.get_mut(1).map(|next| {
            let number = next.number;
            next.unseal().map_err(|error| Failed::Generation(number, error))
        });
        if let Some(Err(failed)) = unsealed {
            self.failed(failed);
            return false;
        }
        let oldest: Generation = self.shared.state_mut().generations.remove(0);
        if let Err(error) = load::remove(&mut *self.medium, oldest) {
            self.upkeep_failed("remove a finished generation", &error);
        }
        true
    }

    /// Ends the waiting of tickets whose time to live is over.
    pub(super) fn expire(&mut self) -> Result<(), Failed> {
        self.renew();
        let to = keys::deadlines_after(self.now_ms());
        let count = self.shared.state().generations.len();
        for at in 0..count {
            let mut over: Vec<Vec<u8>> = Vec::new();
            let mut from = keys::DEADLINES.to_vec();
            while over.len() < CHANGES_MAX {
                let pair = self.shared.state().first(at, &from, &to)?;
                let Some((key, _)) = pair else { break };
                from = [key.as_slice(), &[0]].concat();
                if let Some((_, ticket)) = keys::parse_deadline(&key) {
                    self.expire_one(ticket)?;
                }
                over.push(key);
            }
            // First the tickets, durable; then their places among the deadlines.
            if over.is_empty() || !self.commit() {
                continue;
            }
            let state = self.shared.state();
            let Some(generation) = state.generations.get(at) else { continue };
            let changes = Changes { put: Vec::new(), remove: over };
            let removed = generation.table.commit(changes);
            removed.map_err(|error| Failed::Generation(generation.number, error))?;
        }
        Ok(())
    }

    fn expire_one(&mut self, ticket: Ticket) -> Result<(), Failed> {
        if self.draft.expire(&self.shared.state(), ticket)? {
            self.medium.notice(Notice::Expired(ticket));
        }
        Ok(())
    }

    /// The end of the shortest time to live.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let state = self.shared.state();
        (0..state.generations.len())
            .filter_map(|at| {
                let first = state.first(at, keys::DEADLINES, keys::DEADLINES_END);
                keys::parse_deadline(&first.ok()??.0).map(|(deadline_ms, _)| deadline_ms)
            })
            .min()
    }
}

/// Whether a newer generation than the oldest knows the key.
pub(super) fn is_newer_elsewhere(state: &State, key: &[u8]) -> Result<bool, Failed> {
    for generation in &state.generations[1..] {
        let found = generation.table.get(key);
        if found.map_err(|e| Failed::Generation(generation.number, e))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
