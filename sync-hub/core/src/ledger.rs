//! What becomes of a frame or an answer in the hub's database, decided on one device's part of
//! one transaction. The shell opens the transaction, hands it in as a [`Ledger`], commits, and
//! only then tells anyone; in the simulator the ledger is memory.
//!
//! Invariants, as long as a transaction is atomic:
//! * the mark moves with the records that it covers, so a record is applied once;
//! * a gap, and every loss that a device tells of, is written down;
//! * a record that cannot be used is kept as it came, and the device is told in the same
//!   transaction;
//! * an escalation has at most one answer, and its state never goes back;
//! * an answer gets its number in the answer stream when it is given, and the stream's reach
//!   covers it before it is sent. A device that has more than the reach has it from a later
//!   life of this database, which was put back to an older copy: then the answers that wait
//!   get a new epoch, or they would pass for known ones.

use crate::desk::{self, AnswerError, Checked, Draft, Question, State, Task};
use crate::ingest::{BatchError, Content, EPOCHS_PER_DEVICE_MAX, plan};
use crate::session::{Greeting, Resume, resume};
use landfall_wire::frame::{Batch, Hello, Position};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Answer, Escalation, Event, Loss, Outcome, Record, Refusal, StreamId};
use landfall_wire::sketch::Withheld;

/// One device's part of a transaction.
pub trait Ledger {
    /// Why the database failed; the transaction is then undone as a whole.
    type Error;

    /// Everything of the stream below is committed; `None` if nothing is known of it.
    ///
    /// # Errors
    /// Those of the database, here and below.
    fn mark(&mut self, stream: StreamId, epoch: Epoch) -> Result<Option<u64>, Self::Error>;
    /// Sets the mark.
    ///
    /// # Errors
    /// Those of the database.
    fn set_mark(&mut self, mark: Position) -> Result<(), Self::Error>;
    /// Notes where a stream ends on the device; its mark is zero if nothing is known of it.
    ///
    /// # Errors
    /// Those of the database.
    fn note_end(&mut self, end: Position) -> Result<(), Self::Error>;
    /// How many epochs other than this have marks.
    ///
    /// # Errors
    /// Those of the database.
    fn other_epochs(&mut self, epoch: Epoch) -> Result<usize, Self::Error>;

    /// Keeps a decision.
    ///
    /// # Errors
    /// Those of the database.
    fn outcome(&mut self, place: Place, outcome: &Outcome) -> Result<(), Self::Error>;
    /// Keeps a question.
    ///
    /// # Errors
    /// Those of the database.
    fn escalation(
        &mut self,
        place: Place,
        escalation: &Escalation,
        state: State,
    ) -> Result<(), Self::Error>;
    /// Keeps an event.
    ///
    /// # Errors
    /// Those of the database.
    fn event(&mut self, place: Place, event: &Event) -> Result<(), Self::Error>;
    /// Keeps what the hub cannot use, as it came.
    ///
    /// # Errors
    /// Those of the database.
    fn rejected(&mut self, place: Place, reason: &str, raw: &[u8]) -> Result<(), Self::Error>;
    /// Keeps a loss. `place` is that of the record that tells of it, or of the gap's first
    /// number.
    ///
    /// # Errors
    /// Those of the database.
    fn loss(&mut self, place: Place, loss: &Lost) -> Result<(), Self::Error>;

    /// Notes that the outcome at this place stays on the device, as the hub asked.
    ///
    /// # Errors
    /// Those of the database.
    fn withheld(&mut self, place: Place, why: Withheld) -> Result<(), Self::Error>;

    /// Where an escalation stands; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the database.
    fn state(&mut self, ticket: Ticket) -> Result<Option<State>, Self::Error>;
    /// Changes where it stands.
    ///
    /// # Errors
    /// Those of the database.
    fn set_state(&mut self, ticket: Ticket, state: State) -> Result<(), Self::Error>;
    /// Remembers that the device gave up on an escalation that has not come yet.
    ///
    /// # Errors
    /// Those of the database.
    fn expired_early(&mut self, ticket: Ticket) -> Result<(), Self::Error>;
    /// Whether it did, and forgets it.
    ///
    /// # Errors
    /// Those of the database.
    fn take_expired_early(&mut self, ticket: Ticket) -> Result<bool, Self::Error>;
    /// What an answer is checked against; `None` if there is no such escalation.
    ///
    /// # Errors
    /// Those of the database.
    fn asked(&mut self, ticket: Ticket) -> Result<Option<Asked>, Self::Error>;

    /// The answer stream.
    ///
    /// # Errors
    /// Those of the database.
    fn answers(&mut self) -> Result<Answers, Self::Error>;
    /// Changes it.
    ///
    /// # Errors
    /// Those of the database.
    fn set_answers(&mut self, answers: Answers) -> Result<(), Self::Error>;
    /// Keeps an answer at its place in the answer stream.
    ///
    /// # Errors
    /// Those of the database.
    fn answer(&mut self, at: Position, answer: &Answer) -> Result<(), Self::Error>;
    /// Keeps any other record for the device at its place in the answer stream.
    ///
    /// # Errors
    /// Those of the database.
    fn down(&mut self, at: Position, record: &Record) -> Result<(), Self::Error>;
    /// Notes that the device has everything of the answer stream below, and returns which
    /// questions that answers, without those of which that was known.
    ///
    /// # Errors
    /// Those of the database.
    fn take_delivered(&mut self, below: Position) -> Result<Vec<Ticket>, Self::Error>;
    /// Where what is undelivered stands in the answer stream, in order.
    ///
    /// # Errors
    /// Those of the database.
    fn undelivered(&mut self) -> Result<Vec<Position>, Self::Error>;
    /// Moves what stands at a place of the answer stream to another.
    ///
    /// # Errors
    /// Those of the database.
    fn renumber(&mut self, from: Position, to: Position) -> Result<(), Self::Error>;
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its stream.
    pub stream: StreamId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub seq: u64,
}

/// Records that will never arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The device says so.
    Told(Loss),
    /// The device holds them no more, which its batches show.
    Gap {
        /// Of this stream.
        stream: StreamId,
        /// Its epoch.
        epoch: Epoch,
        /// The first.
        first: u64,
        /// One past the last.
        end: u64,
    },
}

/// What an answer is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where the escalation stands.
    pub state: State,
    /// What the device said of its task.
    pub task: Option<Task>,
    /// The text, if it left the device.
    pub text: Option<String>,
}

/// The answer stream for one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Its epoch.
    pub epoch: Epoch,
    /// One past the last answer.
    pub end: u64,
    /// Nothing from here on was ever sent.
    pub reach: u64,
    /// The device has everything below.
    pub mark: u64,
}

impl Answers {
    /// Its end.
    pub fn end(self) -> Position {
        Position { stream: StreamId::Answer, epoch: self.epoch, next: self.end }
    }
}

/// A batch as it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// What to acknowledge.
    pub position: Position,
    /// Records applied.
    pub applied: u64,
    /// Records of the batch that were known.
    pub repeated: u64,
    /// Records that are kept as they came.
    pub rejected: u64,
    /// Records that will never arrive, told by this batch.
    pub lost: u64,
}

/// Why a batch was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// It makes no sense.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// More epochs than a device can have.
    #[error("the device has used {EPOCHS_PER_DEVICE_MAX} epochs already")]
    Epochs,
}

/// Applies a batch.
///
/// # Errors
/// Those of the database; in the result, why the batch is refused.
pub fn ingest<L: Ledger>(
    ledger: &mut L,
    batch: &Batch,
) -> Result<Result<Ingested, IngestError>, L::Error> {
    let Batch { stream, epoch, .. } = *batch;
    let known = ledger.mark(stream, epoch)?;
    if known.is_none() && ledger.other_epochs(epoch)? >= EPOCHS_PER_DEVICE_MAX {
        return Ok(Err(IngestError::Epochs));
    }
    let plan = match plan(known.unwrap_or(0), batch) {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error.into())),
    };
    let position = Position { stream, epoch, next: plan.mark };
    let mut done = Ingested { position, applied: 0, repeated: plan.repeated, rejected: 0, lost: 0 };
    if let Some(gap) = plan.gap {
        done.lost += gap.end - gap.start;
        let place = Place { stream, epoch, seq: gap.start };
        ledger.loss(place, &Lost::Gap { stream, epoch, first: gap.start, end: gap.end })?;
    }
    for entry in &plan.entries {
        let place = Place { stream, epoch, seq: entry.seq };
        match &entry.content {
            Content::Record(record) => {
                done.applied += 1;
                done.lost += apply(ledger, place, record)?;
            }
            Content::Rejected { reason, raw } => {
                done.rejected += 1;
                ledger.rejected(place, reason, raw)?;
                let (seq, reason) = (entry.seq, reason.clone());
                let refusal = Record::Refusal(Refusal { stream, epoch, seq, reason }).fit();
                send_down(ledger, &refusal)?;
            }
        }
    }
    ledger.set_mark(position)?;
    Ok(Ok(done))
}

/// Returns how many records it says are lost.
fn apply<L: Ledger>(ledger: &mut L, place: Place, record: &Record) -> Result<u64, L::Error> {
    match record {
        Record::Outcome(outcome) => ledger.outcome(place, outcome)?,
        Record::Escalation(escalation) => {
            let ticket = Ticket { epoch: place.epoch, seq: place.seq };
            let gave_up = ledger.take_expired_early(ticket)?;
            let state = if gave_up { State::Expired } else { State::Open };
            ledger.escalation(place, escalation, state)?;
        }
        Record::Event(event) => {
            if let Event::Expired { ticket } = event {
                expire(ledger, *ticket)?;
            }
            ledger.event(place, event)?;
        }
        Record::Loss(loss) => {
            ledger.loss(place, &Lost::Told(*loss))?;
            return Ok(loss.end.saturating_sub(loss.first));
        }
        // The plan lets none of the hub's own records into a stream of a device.
        Record::Withheld(why) => ledger.withheld(place, *why)?,
        Record::Answer(_) | Record::Refusal(_) | Record::Directive(_) => {}
    }
    Ok(0)
}

fn expire<L: Ledger>(ledger: &mut L, ticket: Ticket) -> Result<(), L::Error> {
    match ledger.state(ticket)? {
        Some(state) => ledger.set_state(ticket, state.expired()),
        None => ledger.expired_early(ticket),
    }
}

/// A device greets: its marks are looked up, and what it has of the answers is noted.
/// `spare_epoch` is used if the answer stream needs a new one.
///
/// # Errors
/// Those of the database.
pub fn greet<L: Ledger>(
    ledger: &mut L,
    hello: &Hello,
    now_ms: u64,
    spare_epoch: Epoch,
) -> Result<Greeting, L::Error> {
    let mut marks = Vec::new();
    for end in hello.up.iter().filter(|end| StreamId::UP.contains(&end.stream)) {
        let known = ledger.mark(end.stream, end.epoch)?;
        if known.is_some() || ledger.other_epochs(end.epoch)? < EPOCHS_PER_DEVICE_MAX {
            ledger.note_end(*end)?;
        }
        marks.push(Position { next: known.unwrap_or(0), ..*end });
    }
    let known = ledger.answers()?;
    let reach = Position { next: known.reach, ..known.end() };
    let answers_mark = match resume(reach, hello.answers) {
        Resume::Start => 0,
        Resume::From(mark) => {
            deliver(ledger, Position { next: mark, ..reach })?;
            mark
        }
        Resume::NewEpoch => {
            begin_answers(ledger, spare_epoch)?;
            0
        }
    };
    // What waits may be sent as soon as this is committed.
    let answers = ledger.answers()?;
    ledger.set_answers(Answers { reach: answers.end, ..answers })?;
    Ok(Greeting { at_ms: now_ms, marks, answers_mark, answers: answers.end() })
}

/// Moves what is undelivered into a new epoch, numbered from zero.
fn begin_answers<L: Ledger>(ledger: &mut L, epoch: Epoch) -> Result<(), L::Error> {
    let mut end = 0;
    for from in ledger.undelivered()? {
        ledger.renumber(from, Position { stream: StreamId::Answer, epoch, next: end })?;
        end += 1;
    }
    ledger.set_answers(Answers { epoch, end, reach: 0, mark: 0 })
}

/// Puts any record at the end of the answer stream: the device has it as soon as there is a link.
/// Returns its place.
///
/// # Errors
/// Those of the database.
pub fn send_down<L: Ledger>(ledger: &mut L, record: &Record) -> Result<Position, L::Error> {
    debug_assert!(StreamId::Answer.accepts(record), "{record:?}");
    let answers = ledger.answers()?;
    ledger.down(answers.end(), record)?;
    ledger.set_answers(Answers { end: answers.end + 1, ..answers })?;
    Ok(answers.end())
}

/// The device has every answer below. What was never sent it cannot have: that is of a later life
/// of this database, and its next greeting tells.
///
/// # Errors
/// Those of the database.
pub fn deliver<L: Ledger>(ledger: &mut L, below: Position) -> Result<(), L::Error> {
    let known = ledger.answers()?;
    if known.epoch == below.epoch && known.reach < below.next {
        return Ok(());
    }
    for ticket in ledger.take_delivered(below)? {
        if let Some(state) = ledger.state(ticket)? {
            ledger.set_state(ticket, state.delivered())?;
        }
    }
    let answers = ledger.answers()?;
    if answers.epoch == below.epoch && answers.mark < below.next {
        ledger.set_answers(Answers { mark: below.next, ..answers })?;
    }
    Ok(())
}

/// Answers below are about to be sent.
///
/// # Errors
/// Those of the database.
pub fn offer<L: Ledger>(ledger: &mut L, end: Position) -> Result<(), L::Error> {
    let answers = ledger.answers()?;
    if answers.epoch == end.epoch && answers.reach < end.next {
        ledger.set_answers(Answers { reach: end.next.min(answers.end), ..answers })?;
    }
    Ok(())
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such escalation.
    #[error("there is no such escalation")]
    NotFound,
    /// The answer is not right for it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Someone answers.
///
/// # Errors
/// Those of the database; in the result, why the answer is refused.
pub fn give_answer<L: Ledger>(
    ledger: &mut L,
    ticket: Ticket,
    draft: Draft,
    now_ms: u64,
) -> Result<Result<Checked, Refused>, L::Error> {
    let Some(asked) = ledger.asked(ticket)? else { return Ok(Err(Refused::NotFound)) };
    let Asked { state, task, text } = asked;
    let question = Question { ticket, state, task: task.as_ref(), text: text.as_deref() };
    let checked = match desk::check(question, draft, now_ms) {
        Ok(checked) => checked,
        Err(error) => return Ok(Err(error.into())),
    };
    let answers = ledger.answers()?;
    ledger.answer(answers.end(), &checked.answer)?;
    ledger.set_answers(Answers { end: answers.end + 1, ..answers })?;
    ledger.set_state(ticket, State::Answered)?;
    Ok(Ok(checked))
}
