//! A commit in the making: changes, the positions after it, and who waits for it.

use super::StoreError;
use super::keys;
use super::medium::{Changes, Pair};
use super::meta::Meta;
use super::pack::{Numbered, Pack};
use super::refused::RefusedId;
use super::standing::{Directives, NotDone, Standing, named};
use super::state::{Failed, State, encode};
use super::ticket::{RetryRecord, Stage, TicketRecord};
use super::types::{CallerKey, Committed, Kept};
use crate::session::{Arrived, Down, DownBatch};
use crate::task::Entry;
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::directive::Directive;
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::limits::RECORD_BYTES_MAX;
use landfall_wire::record::{Answer, Event, Loss, Record, StreamId, Verdict};
use std::collections::BTreeMap;
use std::ops::Range;

/// Told how the commit went.
pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Draft {
    pub(super) meta: Meta,
    pub(super) changes: Changes,
    /// Values with new records that are full, and one for each stream that is not.
    full: Vec<Pair>,
    packs: Vec<Pack>,
    pub(super) ends: BTreeMap<(StreamId, Epoch), u64>,
    pub(super) records: u64,
    /// Tickets that open and close with this commit.
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) tickets_changed: bool,
    pub(super) acked_changed: bool,
    pub(super) lost: u64,
    /// The positions changed, even if nothing else did.
    pub(super) moved: bool,
    tickets: BTreeMap<Ticket, TicketRecord>,
    retries: BTreeMap<Vec<u8>, (CallerKey, Kept)>,
    /// Directives that this commit writes.
    pub(super) directives: Directives,
    /// Refused records that this commit keeps, and those that it lets go.
    pub(super) refused: BTreeMap<RefusedId, Option<Position>>,
    done: Vec<Done>,
}

impl Draft {
    pub(super) fn new(meta: Meta) -> Draft {
        Draft {
            meta,
            changes: Changes::default(),
            full: Vec::new(),
            packs: Vec::new(),
            ends: BTreeMap::new(),
            records: 0,
            opened: 0,
            closed: 0,
            tickets_changed: false,
            acked_changed: false,
            lost: 0,
            moved: false,
            tickets: BTreeMap::new(),
            retries: BTreeMap::new(),
            directives: Directives::new(),
            refused: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// Whether there is something to write.
    pub(super) fn is_dirty(&self) -> bool {
        let Changes { put, remove } = &self.changes;
        self.moved || !put.is_empty() || !remove.is_empty() || !self.packs.is_empty()
    }

    /// What is to be written, the positions after it included. Records come before what names
    /// them: of a write that is torn, the one may be found without the other.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = std::mem::take(&mut self.changes);
        let records = self.full.drain(..).chain(self.packs.drain(..).map(Pack::seal));
        changes.put.splice(..0, records);
        changes.put.push((keys::META.to_vec(), self.meta.seal()));
        changes
    }

    pub(super) fn then(&mut self, done: Done) {
        self.done.push(done);
    }

    pub(super) fn finish(self, result: &Result<(), StoreError>) {
        self.done.into_iter().for_each(|done| done(result.clone()));
    }

    /// A decision with its escalation, ticket and retry key.
    pub(super) fn entry(
        &mut self,
        state: &State,
        entry: Entry,
        key: Option<CallerKey>,
    ) -> Result<Committed, Failed> {
        if let Some(key) = &key {
            let retry_key = keys::retry(key);
            let known = match self.retries.get(&retry_key) {
                Some(known) => Some(known.clone()),
                None => state.retry(key)?,
            };
            if let Some((known, kept)) = known {
                return repeat(key, &known, kept).map_err(Failed::Store);
            }
        }
        Ok(self.new_entry(entry, key)?)
    }

    /// Nothing is changed before everything is known to fit.
    fn new_entry(&mut self, entry: Entry, key: Option<CallerKey>) -> Result<Committed, StoreError> {
        let Entry { mut outcome, escalation, reply } = entry;
        let epoch = self.meta.epoch;
        let outcome_seq = self.meta.end(StreamId::Outcome);
        let mut asked = None;
        if let Some(mut escalation) = escalation {
            let seq = self.meta.end(StreamId::Escalation);
            let (ticket, ttl_secs) = (Ticket { epoch, seq }, escalation.ttl_secs);
            escalation.outcome_seq = outcome_seq;
            if let Verdict::Escalated { seq: in_outcome, .. } = &mut outcome.verdict {
                *in_outcome = seq;
            }
            let payload = encode(&Record::Escalation(escalation).fit())?;
            asked = Some((ticket, ttl_secs, payload));
        }
        let ticket = asked.as_ref().map(|(ticket, ..)| *ticket);
        let payload = encode(&Record::Outcome(outcome).fit())?;
        if let Some(key) = key {
            let too_large = || StoreError::Record("the reply is too large to keep".to_owned());
            let reply = reply.kept();
            let kept = Kept { reply: reply.clone(), epoch, outcome_seq, ticket };
            let record = RetryRecord { key, ticket, reply };
            let value = record.seal(epoch, outcome_seq).ok_or_else(too_large)?;
            let retry_key = keys::retry(&record.key);
            self.changes.put.push((retry_key.clone(), value));
            self.retries.insert(retry_key, (record.key, kept));
        }
        if let Some((ticket, ttl_secs, payload)) = asked {
            self.append(StreamId::Escalation, &payload)?;
            self.ask(ticket, ttl_secs);
        }
        self.append_outcome(&payload)?;
        Ok(Committed { epoch, outcome_seq, ticket, repeated: None })
    }

    /// An event or loss, for the hub.
    pub(super) fn event(&mut self, record: Record) -> Result<(), StoreError> {
        self.append(StreamId::Event, &encode(&record.fit())?).map(drop)
    }

    /// Any record but an outcome, encoded; returns its number.
    pub(super) fn append(&mut self, stream: StreamId, payload: &[u8]) -> Result<u64, StoreError> {
        check_size(payload)?;
        Ok(self.number(stream, None, payload))
    }

    /// An outcome, encoded, which takes its place in the hash chain.
    pub(super) fn append_outcome(&mut self, payload: &[u8]) -> Result<u64, StoreError> {
        check_size(payload)?;
        let (epoch, running_ms) = (self.meta.epoch, self.meta.running_ms);
        let begins = self.meta.chain.as_mut().and_then(|chain| chain.beginning(epoch));
        let chain = self.meta.chain.as_mut();
        let chain = chain.map(|chain| (chain.follow(payload, running_ms), chain.value));
        let seq = self.number(StreamId::Outcome, chain, payload);
        self.meta.outcomes += 1;
        let due = self.meta.chain.as_mut().and_then(|chain| chain.due(epoch));
        begins.into_iter().chain(due).try_for_each(|mark| self.mark(mark))?;
        Ok(seq)
    }

    /// Gives a record its number and its place in a value.
    fn number(
        &mut self,
        stream: StreamId,
        chain: Option<(ChainValue, ChainValue)>,
        payload: &[u8],
    ) -> u64 {
        let (epoch, seq) = (self.meta.epoch, self.meta.take_seq(stream));
        let record = Numbered { stream, epoch, seq, chain, payload };
        match self.packs.iter_mut().find(|pack| pack.is_of(stream, epoch)) {
            Some(pack) => {
                if !pack.push(record) {
                    let full = std::mem::replace(pack, Pack::begin(record));
                    self.full.push(full.seal());
                }
            }
            None => self.packs.push(Pack::begin(record)),
        }
        self.wrote(stream, epoch, seq..seq + 1);
        seq
    }

    /// A question waits for an answer.
    pub(super) fn ask(&mut self, ticket: Ticket, ttl_secs: u32) {
        let deadline_ms = self.meta.running_ms.saturating_add(u64::from(ttl_secs) * 1000);
        self.open_ticket(ticket, TicketRecord { stage: Stage::Open, deadline_ms, answer: None });
        self.opened += 1;
    }

    /// Nobody will answer: the waiting is over. An answer that comes all the same counts.
    pub(super) fn no_answer(&mut self, state: &State, ticket: Ticket) -> Result<(), Failed> {
        let known = self.ticket(state, ticket)?;
        if let Some(known) = known.filter(|known| known.stage == Stage::Open) {
            self.put_ticket(ticket, TicketRecord { stage: Stage::Expired, ..known });
            self.closed += 1;
        }
        Ok(())
    }

    pub(super) fn loss(&mut self, loss: Loss) -> Result<(), StoreError> {
        self.lost += loss.end - loss.first;
        self.event(Record::Loss(loss))
    }

    /// Tells the hub the hash chain at a position.
    pub(super) fn mark(&mut self, mark: ChainMark) -> Result<(), StoreError> {
        self.event(Record::Event(Event::Chain(mark)))
    }

    /// The hub has everything below.
    pub(super) fn acked(&mut self, mark: Position) {
        if let Some(stream) = self.meta.stream_mut(mark.stream, mark.epoch) {
            let acked = mark.next.min(stream.end);
            if acked > stream.acked {
                stream.acked = acked;
                self.moved = true;
                self.acked_changed = true;
                self.tickets_changed |= mark.stream == StreamId::Escalation;
            }
        }
    }

    /// What came from the hub, with the mark that it reaches.
    pub(super) fn down(&mut self, state: &State, batch: DownBatch) -> Result<(), Failed> {
        let DownBatch { mark, arrived, gone, at_ms } = batch;
        let mut not_done = NotDone { unreadable: gone, ..NotDone::default() };
        for Arrived { seq, down } in arrived {
            match down {
                Down::Answer(answer) => self.answered(state, answer)?,
                Down::Refusal(refusal) => {
                    self.refusal(state, Position { next: seq, ..mark }, refusal)?;
                }
                Down::Directive(directive) => {
                    if let Directive::Unknown(_) = &directive {
                        not_done.unknown.push(named(&directive));
                    }
                    let standing = Standing { at: Position { next: seq, ..mark }, directive };
                    let name = named(&standing.directive);
                    if !self.directive(state, standing) {
                        not_done.refused.push(name);
                    }
                }
                Down::Unreadable => not_done.unreadable += 1,
            }
        }
        if let Some(detail) = not_done.detail() {
            self.event(Record::Event(Event::Trouble { at_ms, detail })).map_err(Failed::Store)?;
        }
        self.meta.answers = Some(mark);
        self.moved = true;
        Ok(())
    }

    fn answered(&mut self, state: &State, answer: Answer) -> Result<(), Failed> {
        let ticket = answer.ticket;
        let known = self.ticket(state, ticket)?;
        // A ticket lost with a damaged store is known again by its answer.
        let was_open = known.as_ref().is_some_and(|known| known.stage == Stage::Open);
        let deadline_ms = known.as_ref().map_or(self.meta.running_ms, |k| k.deadline_ms);
        if known.is_none_or(|known| known.stage < Stage::Answered) {
            let record = TicketRecord { stage: Stage::Answered, deadline_ms, answer: Some(answer) };
            self.put_ticket(ticket, record);
            self.closed += u64::from(was_open);
        }
        Ok(())
    }

    /// The hub may be given everything that this commit writes.
    pub(super) fn offer(&mut self) {
        self.moved |= self.meta.offer();
    }

    /// The ticket's name means another question at the hub: nobody will answer this one. That is
    /// written even of a ticket that is forgotten, or the other's answer would make it known.
    pub(super) fn give_ticket_up(&mut self, state: &State, ticket: Ticket) -> Result<(), Failed> {
        let known = self.ticket(state, ticket)?;
        self.closed += u64::from(known.as_ref().is_some_and(|known| known.stage == Stage::Open));
        let deadline_ms = known.map_or(self.meta.running_ms, |known| known.deadline_ms);
        let record = TicketRecord { stage: Stage::GivenUp, deadline_ms, answer: None };
        self.put_ticket(ticket, record);
        Ok(())
    }

    /// The caller has the answer.
    pub(super) fn delivered(&mut self, state: &State, ticket: Ticket) -> Result<(), Failed> {
        let known = self.ticket(state, ticket)?;
        let known = known.ok_or(Failed::Store(StoreError::UnknownTicket))?;
        if known.stage == Stage::Answered {
            self.put_ticket(ticket, TicketRecord { stage: Stage::Delivered, ..known });
        }
        Ok(())
    }

    /// The time to live is over; says whether that ends the waiting.
    pub(super) fn expire(&mut self, state: &State, ticket: Ticket) -> Result<bool, Failed> {
        let Some(known) = self.ticket(state, ticket)? else { return Ok(false) };
        if known.stage != Stage::Open {
            return Ok(false);
        }
        self.event(Record::Event(Event::Expired { ticket })).map_err(Failed::Store)?;
        self.put_ticket(ticket, TicketRecord { stage: Stage::Expired, ..known });
        self.closed += 1;
        Ok(true)
    }

    /// Copies a value with records that are already numbered.
    pub(super) fn copy(
        &mut self,
        stream: StreamId,
        epoch: Epoch,
        numbers: Range<u64>,
        sealed: Vec<u8>,
    ) {
        self.changes.put.push((keys::record(stream, epoch, numbers.start), sealed));
        self.wrote(stream, epoch, numbers);
    }

    /// Writes a ticket with its place among the deadlines.
    pub(super) fn open_ticket(&mut self, ticket: Ticket, record: TicketRecord) {
        if record.stage == Stage::Open {
            self.changes.put.push((keys::deadline(record.deadline_ms, ticket), Vec::new()));
        }
        self.put_ticket(ticket, record);
    }

    fn put_ticket(&mut self, ticket: Ticket, record: TicketRecord) {
        // An answer is at most a record of 4,000 bytes, and the rest takes 40.
        let Some(value) = record.seal(ticket) else { return };
        self.changes.put.push((keys::ticket(ticket), value));
        self.tickets.insert(ticket, record);
        self.tickets_changed = true;
    }

    fn ticket(&self, state: &State, ticket: Ticket) -> Result<Option<TicketRecord>, Failed> {
        match self.tickets.get(&ticket) {
            Some(record) => Ok(Some(record.clone())),
            None => state.ticket(ticket),
        }
    }

    fn wrote(&mut self, stream: StreamId, epoch: Epoch, numbers: Range<u64>) {
        let end = self.ends.entry((stream, epoch)).or_default();
        *end = (*end).max(numbers.end);
        self.records += numbers.end - numbers.start;
    }
}

fn check_size(payload: &[u8]) -> Result<(), StoreError> {
    let fits = payload.len() <= RECORD_BYTES_MAX;
    fits.then_some(()).ok_or_else(|| StoreError::Record("it is too large".to_owned()))
}

fn repeat(key: &CallerKey, known: &CallerKey, kept: Kept) -> Result<Committed, StoreError> {
    if known.text_digest != key.text_digest {
        return Err(StoreError::Conflict);
    }
    let Kept { reply, epoch, outcome_seq, ticket } = kept;
    Ok(Committed { epoch, outcome_seq, ticket, repeated: Some(reply) })
}
