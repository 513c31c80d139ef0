//! Dead letters: records that the hub has, and has set aside because it cannot use them.
//!
//! The hub's stream says which, and why. The device then keeps a copy of the record, beyond its
//! acknowledgement, until someone has it sent once more under a new number, as after an update of
//! the hub. The hub keeps what it refused too, so the oldest go when there are too many.
//!
//! A question that was refused gets no answer: its ticket expires at once.

use super::draft::Draft;
use super::engine::Engine;
use super::keys;
use super::state::{Failed, Shared, State};
use super::value::{Kind, Value};
use super::{StoreError, upkeep};
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Record, Refusal, StreamId};
use std::collections::BTreeMap;

/// Most refused records that a device keeps: a megabyte at their largest. A hub that refuses more
/// than this refuses a whole kind, and of that the newest do.
pub const REFUSED_MAX: usize = 256;

/// Names a refused record: stream, epoch and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedId {
    /// Its stream.
    pub stream: StreamId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub seq: u64,
}

impl RefusedId {
    fn of(refusal: &Refusal) -> RefusedId {
        let Refusal { stream, epoch, seq, .. } = *refusal;
        RefusedId { stream, epoch, seq }
    }
}

/// A record that the hub refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub id: RefusedId,
    /// Why.
    pub reason: String,
    /// The record as it was sent; `None` if it was no longer held when the refusal came.
    pub record: Option<Vec<u8>>,
}

/// A refused record that is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resent {
    /// As it was refused.
    pub id: RefusedId,
    /// Its new epoch and number, in the same stream.
    pub now: (Epoch, u64),
    /// The new ticket of a question.
    pub ticket: Option<Ticket>,
}

/// Where each refusal stood in the hub's stream.
pub(super) type RefusedAt = BTreeMap<RefusedId, Position>;

impl Shared {
    /// Records that the hub refused, and that are kept.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn refused(&self) -> Result<Vec<Refused>, Failed> {
        let state = self.state();
        state.check_open()?;
        let mut all = Vec::new();
        for id in state.refused.keys().copied() {
            let bytes = state.get(&keys::refused(id))?;
            let Some((_, refusal)) = bytes.as_deref().and_then(parse) else { continue };
            let record = state.refused_record(id)?;
            all.push(Refused { id, reason: refusal.reason, record });
        }
        Ok(all)
    }
}

fn parse(bytes: &[u8]) -> Option<(Position, Refusal)> {
    let value = Value::open(bytes).filter(|value| value.kind == Kind::Refused)?;
    let Ok(Record::Refusal(refusal)) = Record::decode(value.payload) else { return None };
    let (stream, epoch, next) = (StreamId::Answer, value.epoch, value.seq);
    Some((Position { stream, epoch, next }, refusal))
}

impl State {
    /// Reads what the tables hold.
    pub(super) fn find_refused(&mut self) -> Result<(), Failed> {
        self.refused.clear();
        for at in 0..self.generations.len() {
            let mut from = keys::REFUSED.to_vec();
            while let Some((key, bytes)) = self.first(at, &from, keys::REFUSED_END)? {
                let Some(id) = keys::parse_refused(&key) else { break };
                from = [key.as_slice(), &[0]].concat();
                match parse(&bytes) {
                    Some((at, _)) => self.refused.insert(id, at),
                    // It was sent once more, or had to go.
                    None => self.refused.remove(&id),
                };
            }
        }
        Ok(())
    }

    fn refused_record(&self, id: RefusedId) -> Result<Option<Vec<u8>>, Failed> {
        let sealed = self.get(&keys::refused_record(id))?;
        Ok(sealed.as_deref().and_then(Value::open).map(|value| value.payload.to_vec()))
    }
}

impl Draft {
    /// Keeps what the hub refused.
    pub(super) fn refusal(
        &mut self,
        state: &State,
        at: Position,
        refusal: Refusal,
    ) -> Result<(), Failed> {
        let id = RefusedId::of(&refusal);
        if !StreamId::UP.contains(&id.stream) || self.is_refused(state, id) {
            return Ok(());
        }
        if id.stream == StreamId::Escalation {
            self.no_answer(state, Ticket { epoch: id.epoch, seq: id.seq })?;
        }
        // At most as many; the rest of the look is for when there may be too many.
        if state.refused.len() + self.refused.len() >= REFUSED_MAX {
            let kept = self.refused_now(state);
            let oldest = kept.iter().min_by_key(|(_, one)| (one.epoch == at.epoch, one.next));
            if let Some((oldest, _)) = oldest.filter(|_| kept.len() >= REFUSED_MAX) {
                self.forget_refused(*oldest);
            }
        }
        // As it lies there; it may be gone, if the hub was slow to say so.
        let held = state.held(id.stream, id.epoch, id.seq)?.and_then(|run| run.first_alone());
        let payload = Record::Refusal(refusal).encode();
        let payload = payload.map_err(|e| StoreError::Record(e.to_string()))?;
        let (kind, Position { epoch, next: seq, .. }) = (Kind::Refused, at);
        let value = Value { kind, epoch, seq, before: None, payload: &payload };
        self.changes.put.extend(value.seal().map(|value| (keys::refused(id), value)));
        self.changes.put.extend(held.map(|held| (keys::refused_record(id), held)));
        self.refused.insert(id, Some(at));
        Ok(())
    }

    fn is_refused(&self, state: &State, id: RefusedId) -> bool {
        let here = self.refused.get(&id).map(Option::is_some);
        here.unwrap_or_else(|| state.refused.contains_key(&id))
    }

    fn refused_now(&self, state: &State) -> RefusedAt {
        let mut now = state.refused.clone();
        for (id, at) in &self.refused {
            match at {
                Some(at) => now.insert(*id, *at),
                None => now.remove(id),
            };
        }
        now
    }

    /// Something empty stands where older generations may have it.
    fn forget_refused(&mut self, id: RefusedId) {
        self.changes.put.push((keys::refused(id), Vec::new()));
        self.changes.put.push((keys::refused_record(id), Vec::new()));
        self.refused.insert(id, None);
    }

    /// Appends a refused record to its stream once more, under a new number.
    pub(super) fn resend(&mut self, state: &State, id: RefusedId) -> Result<Resent, Failed> {
        if !self.is_refused(state, id) {
            return Err(StoreError::NotRefused.into());
        }
        let record = state.refused_record(id)?;
        let record = record.ok_or(StoreError::RefusedGone)?;
        let epoch = self.meta.epoch;
        let mut ticket = None;
        let seq = match id.stream {
            StreamId::Outcome => self.append_outcome(&record)?,
            StreamId::Escalation | StreamId::Event | StreamId::Answer => {
                let seq = self.append(id.stream, &record)?;
                if let Ok(Record::Escalation(escalation)) = Record::decode(&record) {
                    ticket = Some(Ticket { epoch, seq });
                    self.ask(Ticket { epoch, seq }, escalation.ttl_secs);
                }
                seq
            }
        };
        self.forget_refused(id);
        Ok(Resent { id, now: (epoch, seq), ticket })
    }
}

impl Engine {
    /// Has one refused record sent once more, or all of them.
    pub(super) fn resend(&mut self, which: Option<RefusedId>) -> Result<Vec<Resent>, Failed> {
        let state = self.shared.state();
        let all: Vec<RefusedId> = match which {
            Some(id) => vec![id],
            None => state.refused.keys().copied().collect(),
        };
        drop(state);
        let mut resent = Vec::new();
        for id in all {
            self.admit().map_err(Failed::Store)?;
            match self.draft.resend(&self.shared.state(), id) {
                // Of all of them, those that are still here.
                Err(Failed::Store(StoreError::RefusedGone)) if which.is_none() => {}
                done => resent.push(done?),
            }
        }
        Ok(resent)
    }

    /// Copies the refused records of the oldest generation that no newer one knows.
    pub(super) fn carry_refused(&mut self) -> Result<(), Failed> {
        let kept: Vec<RefusedId> = self.shared.state().refused.keys().copied().collect();
        for key in kept.into_iter().flat_map(|id| [keys::refused(id), keys::refused_record(id)]) {
            let found = {
                let state = self.shared.state();
                match upkeep::is_newer_elsewhere(&state, &key)? {
                    true => None,
                    false => state.get(&key)?,
                }
            };
            if let Some(value) = found {
                self.draft.changes.put.push((key, value));
                self.flush_carried()?;
            }
        }
        Ok(())
    }
}
