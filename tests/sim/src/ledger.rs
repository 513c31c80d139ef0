//! The hub's database in memory: rows, and what must hold of them whenever they change.

use crate::invariant::{Invariant, Violation};
use crate::plant::Plant;
use landfall_hub_core::desk::State;
use landfall_hub_core::ledger::{Answers, Asked, Ledger, Lost, Place};
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{
    Answer, Escalation, Event, Loss, Outcome, Record, RedactedText, StreamId,
};
use landfall_wire::sketch::Withheld;
use std::collections::{BTreeMap, BTreeSet};

type Key = (StreamId, Epoch);

/// An escalation's row.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The request that it came from.
    pub(crate) request: u64,
    pub(crate) state: State,
}

/// A row of the answer stream.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Of an answer.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) record: Vec<u8>,
    pub(crate) delivered: bool,
}

/// One device's rows.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) marks: BTreeMap<Key, u64>,
    /// The request that each outcome records.
    pub(crate) outcomes: BTreeMap<(Epoch, u64), u64>,
    pub(crate) questions: BTreeMap<Ticket, Question>,
    pub(crate) events: BTreeSet<(Epoch, u64)>,
    pub(crate) lost: Vec<Lost>,
    /// What was set aside, with the request that it came from.
    pub(crate) rejected: BTreeMap<(StreamId, Epoch, u64), u64>,
    early: BTreeSet<Ticket>,
    pub(crate) answers: Answers,
    pub(crate) given: BTreeMap<(Epoch, u64), Given>,
    answered: BTreeSet<Ticket>,
}

impl Rows {
    pub(crate) fn new(answers_epoch: Epoch) -> Rows {
        Rows {
            marks: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            questions: BTreeMap::new(),
            events: BTreeSet::new(),
            lost: Vec::new(),
            rejected: BTreeMap::new(),
            early: BTreeSet::new(),
            answers: Answers { epoch: answers_epoch, end: 0, reach: 0, mark: 0 },
            given: BTreeMap::new(),
            answered: BTreeSet::new(),
        }
    }

    fn is_applied(&self, stream: StreamId, epoch: Epoch, seq: u64) -> bool {
        let is_rejected = self.rejected.contains_key(&(stream, epoch, seq));
        is_rejected
            || match stream {
                StreamId::Outcome => self.outcomes.contains_key(&(epoch, seq)),
                StreamId::Escalation => self.questions.contains_key(&Ticket { epoch, seq }),
                StreamId::Event => self.events.contains(&(epoch, seq)),
                StreamId::Answer => false,
            }
    }

    /// Whether a loss on record covers the number.
    pub(crate) fn is_lost(&self, stream: StreamId, epoch: Epoch, seq: u64) -> bool {
        self.lost.iter().any(|lost| {
            let (of, range) = range(lost);
            of == (stream, epoch) && range.contains(&seq)
        })
    }
}

fn range(lost: &Lost) -> (Key, std::ops::Range<u64>) {
    match *lost {
        Lost::Told(Loss { stream, epoch, first, end, .. })
        | Lost::Gap { stream, epoch, first, end } => ((stream, epoch), first..end),
    }
}

/// One transaction on a device's rows.
pub(crate) struct MemLedger<'a> {
    pub(crate) rows: &'a mut Rows,
    pub(crate) plant: Option<Plant>,
    /// The first number of the batch that is applied, for the plants.
    pub(crate) first: u64,
    pub(crate) violations: Vec<Violation>,
    /// The last number applied in this transaction.
    last: Option<(Key, u64)>,
}

impl<'a> MemLedger<'a> {
    pub(crate) fn new(rows: &'a mut Rows, plant: Option<Plant>, first: u64) -> MemLedger<'a> {
        MemLedger { rows, plant, first, violations: Vec::new(), last: None }
    }

    fn broken(&mut self, invariant: Invariant, detail: String) {
        self.violations.push(Violation { invariant, detail });
    }

    /// A record comes to its place.
    fn applied(&mut self, place: Place) {
        let Place { stream, epoch, seq } = place;
        let name = stream.name();
        if self.rows.is_applied(stream, epoch, seq) {
            self.broken(Invariant::AppliedOnce, format!("{name} {epoch}-{seq} is applied again"));
        }
        let mark = self.rows.marks.get(&(stream, epoch)).copied().unwrap_or(0);
        let last = self.last.filter(|(key, _)| *key == (stream, epoch)).map(|(_, last)| last);
        if seq < mark || last.is_some_and(|last| seq <= last) {
            self.broken(
                Invariant::OrderKept,
                format!("{name} {epoch}-{seq} comes after {last:?}, the mark is {mark}"),
            );
        }
        self.last = Some(((stream, epoch), seq));
    }
}

impl MemLedger<'_> {
    fn give(&mut self, at: Position, given: Given) {
        if self.rows.given.insert((at.epoch, at.next), given).is_some() {
            self.broken(
                Invariant::NumberUsedOnce,
                format!("two records of the hub have number {} of {}", at.next, at.epoch),
            );
        }
    }
}

/// No record begins with it.
const UNKNOWN: [u8; 2] = [0xfa, 0x07];

/// What a hub that is too old makes of a record: bytes that it cannot use. It knows most records.
pub(crate) fn as_too_old(raw: &[u8]) -> Option<Vec<u8>> {
    let request = match Record::decode(raw) {
        Ok(Record::Outcome(outcome)) => request_of(outcome.text.as_ref()),
        Ok(Record::Escalation(escalation)) => request_of(escalation.text.as_ref()),
        _ => return None,
    };
    (request % 5 == 3).then(|| [&UNKNOWN[..], &request.to_be_bytes()].concat())
}

/// The request of a record that was not known.
fn misread(raw: &[u8]) -> Option<u64> {
    let request = raw.strip_prefix(&UNKNOWN)?;
    Some(u64::from_be_bytes(request.try_into().ok()?))
}

/// The request that a text names.
pub(crate) fn request_of(text: Option<&RedactedText>) -> u64 {
    text.and_then(|text| text.text.parse().ok()).unwrap_or(u64::MAX)
}

impl Ledger for MemLedger<'_> {
    type Error = Violation;

    fn mark(&mut self, stream: StreamId, epoch: Epoch) -> Result<Option<u64>, Violation> {
        let mark = self.rows.marks.get(&(stream, epoch)).copied();
        Ok(match self.plant {
            Some(Plant::NoDeduplication) => mark.map(|mark| mark.min(self.first)),
            Some(Plant::MarkNotContiguous) => mark.map(|mark| mark.max(self.first)),
            Some(_) | None => mark,
        })
    }

    fn set_mark(&mut self, mark: Position) -> Result<(), Violation> {
        let Position { stream, epoch, mut next } = mark;
        if self.plant == Some(Plant::CursorOffByOne) && next % 7 == 3 {
            next += 1;
        }
        let before = self.rows.marks.insert((stream, epoch), next).unwrap_or(0);
        if next < before {
            self.broken(Invariant::OrderKept, format!("a mark went from {before} to {next}"));
        }
        let missing = (before..next).find(|seq| {
            !self.rows.is_applied(stream, epoch, *seq) && !self.rows.is_lost(stream, epoch, *seq)
        });
        if let Some(seq) = missing {
            let name = stream.name();
            self.broken(
                Invariant::GapsRecorded,
                format!("{name} {epoch}-{seq} is below the mark {next}, neither here nor lost"),
            );
        }
        Ok(())
    }

    fn note_end(&mut self, end: Position) -> Result<(), Violation> {
        self.rows.marks.entry((end.stream, end.epoch)).or_default();
        Ok(())
    }

    fn other_epochs(&mut self, epoch: Epoch) -> Result<usize, Violation> {
        let epochs: BTreeSet<Epoch> =
            self.rows.marks.keys().map(|key| key.1).filter(|other| *other != epoch).collect();
        Ok(epochs.len())
    }

    fn outcome(&mut self, place: Place, outcome: &Outcome) -> Result<(), Violation> {
        self.applied(place);
        let request = request_of(outcome.text.as_ref());
        self.rows.outcomes.insert((place.epoch, place.seq), request);
        Ok(())
    }

    fn escalation(
        &mut self,
        place: Place,
        escalation: &Escalation,
        state: State,
    ) -> Result<(), Violation> {
        self.applied(place);
        let ticket = Ticket { epoch: place.epoch, seq: place.seq };
        let request = request_of(escalation.text.as_ref());
        self.rows.questions.insert(ticket, Question { request, state });
        Ok(())
    }

    fn event(&mut self, place: Place, _event: &Event) -> Result<(), Violation> {
        self.applied(place);
        self.rows.events.insert((place.epoch, place.seq));
        Ok(())
    }

    fn rejected(&mut self, place: Place, reason: &str, raw: &[u8]) -> Result<(), Violation> {
        self.applied(place);
        let Place { stream, epoch, seq } = place;
        if let Some(request) = misread(raw) {
            self.rows.rejected.insert((stream, epoch, seq), request);
            return Ok(());
        }
        let name = stream.name();
        self.broken(
            Invariant::ToldIsKept,
            format!("{name} {epoch}-{seq} came as what the hub cannot use: {reason}"),
        );
        Ok(())
    }

    /// No hub asks for less than all here.
    fn withheld(&mut self, place: Place, _why: Withheld) -> Result<(), Violation> {
        self.applied(place);
        Ok(())
    }

    fn loss(&mut self, place: Place, loss: &Lost) -> Result<(), Violation> {
        match loss {
            Lost::Gap { .. } if self.plant == Some(Plant::GapForgotten) => return Ok(()),
            Lost::Gap { .. } => {}
            Lost::Told(_) => {
                self.applied(place);
                self.rows.events.insert((place.epoch, place.seq));
            }
        }
        self.rows.lost.push(*loss);
        Ok(())
    }

    fn state(&mut self, ticket: Ticket) -> Result<Option<State>, Violation> {
        Ok(self.rows.questions.get(&ticket).map(|question| question.state))
    }

    fn set_state(&mut self, ticket: Ticket, state: State) -> Result<(), Violation> {
        if let Some(question) = self.rows.questions.get_mut(&ticket) {
            let before = std::mem::replace(&mut question.state, state);
            if state < before {
                self.broken(
                    Invariant::TicketEndsOnce,
                    format!("at the hub {ticket} went from {before} back to {state}"),
                );
            }
        }
        Ok(())
    }

    fn expired_early(&mut self, ticket: Ticket) -> Result<(), Violation> {
        self.rows.early.insert(ticket);
        Ok(())
    }

    fn take_expired_early(&mut self, ticket: Ticket) -> Result<bool, Violation> {
        Ok(self.rows.early.remove(&ticket))
    }

    fn asked(&mut self, ticket: Ticket) -> Result<Option<Asked>, Violation> {
        let question = self.rows.questions.get(&ticket);
        Ok(question.map(|question| Asked {
            state: match self.plant {
                Some(Plant::AnsweredTwice) => State::Open,
                Some(_) | None => question.state,
            },
            task: None,
            text: None,
        }))
    }

    fn answers(&mut self) -> Result<Answers, Violation> {
        let answers = self.rows.answers;
        Ok(match self.plant {
            Some(Plant::OldCopyUnnoticed) => Answers { reach: answers.end, ..answers },
            Some(_) | None => answers,
        })
    }

    fn set_answers(&mut self, answers: Answers) -> Result<(), Violation> {
        let before = std::mem::replace(&mut self.rows.answers, answers);
        let back = before.epoch == answers.epoch
            && (answers.end < before.end || answers.mark < before.mark);
        if back || answers.mark > answers.end {
            self.broken(
                Invariant::NumberUsedOnce,
                format!("the answer stream went from {before:?} to {answers:?}"),
            );
        }
        Ok(())
    }

    fn answer(&mut self, at: Position, answer: &Answer) -> Result<(), Violation> {
        let ticket = answer.ticket;
        if !self.rows.answered.insert(ticket) {
            self.broken(Invariant::TicketEndsOnce, format!("{ticket} is answered again"));
        }
        let record = Record::Answer(answer.clone()).encode().unwrap_or_default();
        self.give(at, Given { ticket: Some(ticket), record, delivered: false });
        Ok(())
    }

    fn down(&mut self, at: Position, record: &Record) -> Result<(), Violation> {
        let record = record.encode().unwrap_or_default();
        self.give(at, Given { ticket: None, record, delivered: false });
        Ok(())
    }

    fn take_delivered(&mut self, below: Position) -> Result<Vec<Ticket>, Violation> {
        let range = (below.epoch, 0)..(below.epoch, below.next);
        let given = self.rows.given.range_mut(range).filter(|(_, given)| !given.delivered);
        Ok(given
            .filter_map(|(_, given)| {
                given.delivered = true;
                given.ticket
            })
            .collect())
    }

    fn undelivered(&mut self) -> Result<Vec<Position>, Violation> {
        let mut waiting: Vec<(u64, Epoch)> = Vec::new();
        for ((epoch, seq), given) in &self.rows.given {
            waiting.extend((!given.delivered).then_some((*seq, *epoch)));
        }
        waiting.sort_unstable();
        let stream = StreamId::Answer;
        Ok(waiting.into_iter().map(|(next, epoch)| Position { stream, epoch, next }).collect())
    }

    fn renumber(&mut self, from: Position, to: Position) -> Result<(), Violation> {
        if let Some(given) = self.rows.given.remove(&(from.epoch, from.next)) {
            self.rows.given.insert((to.epoch, to.next), given);
        }
        Ok(())
    }
}
