//! Directives of the hub that hold, the latest of each kind and subject.
//!
//! They are written with the mark of the hub's stream, copied on when their generation goes, and
//! read into memory when the store is opened: they are few.

use super::draft::Draft;
use super::engine::Engine;
use super::keys;
use super::state::{Failed, Shared, State};
use super::upkeep;
use super::value::{Kind, Value};
use landfall_wire::directive::Directive;
use landfall_wire::frame::Position;
use landfall_wire::record::{Record, StreamId};
use std::collections::BTreeMap;

/// Most directives that a device keeps: a few kinds, some of them for each task and each package.
pub const DIRECTIVES_MAX: usize = 256;

/// A directive, and where it stood in the hub's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stood.
    pub at: Position,
    /// What the hub wants.
    pub directive: Directive,
}

/// By kind and subject.
pub(super) type Directives = BTreeMap<(u16, String), Standing>;

impl Standing {
    pub(super) fn parse(value: &Value<'_>) -> Option<Standing> {
        if value.kind != Kind::Directive {
            return None;
        }
        let Ok(Record::Directive(directive)) = Record::decode(value.payload) else { return None };
        let (stream, epoch, next) = (StreamId::Answer, value.epoch, value.seq);
        Some(Standing { at: Position { stream, epoch, next }, directive })
    }

    pub(super) fn seal(&self) -> Option<Vec<u8>> {
        let payload = Record::Directive(self.directive.clone()).encode().ok()?;
        let Position { epoch, next: seq, .. } = self.at;
        Value { kind: Kind::Directive, epoch, seq, before: None, payload: &payload }.seal()
    }

    /// Whether this takes the other's place. One that is sent again because the mark was older
    /// than the directives does not.
    pub(super) fn follows(&self, other: &Standing) -> bool {
        self.at.epoch != other.at.epoch || self.at.next > other.at.next
    }
}

impl Shared {
    /// Every directive that holds, in the order of kind and subject.
    pub fn directives(&self) -> Vec<Standing> {
        self.state().directives.values().cloned().collect()
    }
}

impl State {
    /// Reads what the tables hold.
    pub(super) fn find_directives(&mut self) -> Result<(), Failed> {
        self.directives.clear();
        // The newest generation that knows one has the latest.
        for at in 0..self.generations.len() {
            let mut from = keys::DIRECTIVES.to_vec();
            while let Some((key, bytes)) = self.first(at, &from, keys::DIRECTIVES_END)? {
                from = [key.as_slice(), &[0]].concat();
                if let Some(standing) = Value::open(&bytes).and_then(|v| Standing::parse(&v)) {
                    self.directives.insert(standing.directive.key(), standing);
                }
            }
        }
        Ok(())
    }
}

impl Draft {
    /// Keeps a directive; says whether there was room.
    pub(super) fn directive(&mut self, state: &State, standing: Standing) -> bool {
        let key = standing.directive.key();
        let known = self.directives.get(&key).or_else(|| state.directives.get(&key));
        match known {
            Some(known) if !standing.follows(known) => return true,
            None if self.directives_kept(state) >= DIRECTIVES_MAX => return false,
            Some(_) | None => {}
        }
        self.keep_directive(standing);
        true
    }

    fn directives_kept(&self, state: &State) -> usize {
        let new = self.directives.keys().filter(|key| !state.directives.contains_key(key));
        state.directives.len() + new.count()
    }

    /// Writes it, in this place.
    pub(super) fn keep_directive(&mut self, standing: Standing) {
        // It came as a record, which leaves room for the head of a value.
        let Some(sealed) = standing.seal() else { return };
        let (kind, subject) = standing.directive.key();
        self.changes.put.push((keys::directive(kind, &subject), sealed));
        self.directives.insert((kind, subject), standing);
    }
}

impl Engine {
    /// Copies the directives of the oldest generation that no newer one knows.
    pub(super) fn carry_directives(&mut self) -> Result<(), Failed> {
        let mut from = keys::DIRECTIVES.to_vec();
        loop {
            let pair = self.shared.state().first(0, &from, keys::DIRECTIVES_END)?;
            let Some((key, bytes)) = pair else { return Ok(()) };
            from = [key.as_slice(), &[0]].concat();
            let standing = Value::open(&bytes).and_then(|value| Standing::parse(&value));
            let superseded = upkeep::is_newer_elsewhere(&self.shared.state(), &key)?;
            if let Some(standing) = standing.filter(|_| !superseded) {
                self.draft.keep_directive(standing);
                self.flush_carried()?;
            }
        }
    }
}

/// What the hub is told of what this version cannot do.
#[derive(Debug, Default)]
pub(super) struct NotDone {
    /// Records that cannot be read, or that the hub no longer has.
    pub(super) unreadable: u64,
    /// Directives that wait for a newer version: kind and subject.
    pub(super) unknown: Vec<String>,
    /// Directives that there is no room for.
    pub(super) refused: Vec<String>,
}

impl NotDone {
    /// One sentence for all of it, if there is anything.
    pub(super) fn detail(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.unreadable > 0 {
            let count = self.unreadable;
            parts.push(format!("{count} records of the hub cannot be read by this version"));
        }
        if !self.unknown.is_empty() {
            let which = self.unknown.join(", ");
            parts.push(format!("not known to this version, kept for a newer one: {which}"));
        }
        if !self.refused.is_empty() {
            let which = self.refused.join(", ");
            parts.push(format!("more than {DIRECTIVES_MAX} directives, left out: {which}"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// A directive for people.
pub(super) fn named(directive: &Directive) -> String {
    let (kind, subject) = directive.key();
    match directive {
        Directive::Unknown(_) => format!("directive of kind {kind} about '{subject}'"),
        Directive::Reporting(_)
        | Directive::Release(_)
        | Directive::Certificate(_)
        | Directive::Rules(_) => {
            format!("directive {} '{subject}'", directive.kind())
        }
    }
}
