//! What is written, apart from batches: greetings, deliveries, answers, identities, contact.

use super::{Command, ingest, number, queries, signed, unsigned};
use landfall_hub_core::desk::{self, AnswerError, Checked, Draft, Question, State};
use landfall_hub_core::fleet::clock_offset_ms;
use landfall_hub_core::ingest::EPOCHS_PER_DEVICE_MAX;
use landfall_hub_core::session::{Greeting, Resume, resume};
use landfall_wire::frame::{Hello, Position};
use landfall_wire::id::{DeviceId, Epoch, Ticket};
use landfall_wire::record::{Record, StreamId};
use rusqlite::{Connection, OptionalExtension, params};

/// Longest version text that is kept of a hello, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// A device greets: its marks are looked up, and what it has of the answers is noted.
#[derive(Debug)]
pub struct Greet {
    /// Row of the device.
    pub device: i64,
    /// What it said.
    pub hello: Hello,
    /// Now, by the hub's clock.
    pub now_ms: u64,
    /// Used if the answer stream needs a new epoch.
    pub spare_epoch: Epoch,
}

impl Command for Greet {
    type Done = Greeting;

    fn apply(&self, tx: &Connection) -> rusqlite::Result<Greeting> {
        let Greet { device, hello, now_ms, spare_epoch } = self;
        tx.prepare_cached(
            "UPDATE device SET contact_ms = ?2, version = ?3, clock_offset_ms = ?4,
                 frames_received = frames_received + 1 WHERE id = ?1",
        )?
        .execute(params![
            device,
            number(*now_ms),
            landfall_wire::record::cut(&hello.version, VERSION_BYTES_MAX),
            clock_offset_ms(hello.at_ms, *now_ms),
        ])?;
        let marks = hello
            .up
            .iter()
            .filter(|position| StreamId::UP.contains(&position.stream))
            .map(|position| mark_of(tx, *device, *position))
            .collect::<rusqlite::Result<_>>()?;
        let mut answers = answers_end(tx, *device)?;
        let answers_mark = match resume(answers, hello.answers) {
            Resume::Start => 0,
            Resume::From(mark) => {
                deliver(tx, *device, Position { next: mark, ..answers }, *now_ms)?;
                mark
            }
            Resume::NewEpoch => {
                answers = renumber(tx, *device, *spare_epoch)?;
                0
            }
        };
        Ok(Greeting { at_ms: *now_ms, marks, answers_mark, answers })
    }
}

/// The mark of a stream, and a row for it; what the device has of it is noted for the backlog.
fn mark_of(tx: &Connection, device: i64, position: Position) -> rusqlite::Result<Position> {
    let Position { stream, epoch, next } = position;
    let key = params![device, signed(epoch.0), stream.name(), number(next)];
    let mark: Option<i64> = tx
        .prepare_cached(
            "UPDATE mark SET device_end = ?4 WHERE device = ?1 AND epoch = ?2 AND stream = ?3
             RETURNING mark",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if mark.is_none() && ingest::epochs(tx, device, epoch)? < EPOCHS_PER_DEVICE_MAX {
        tx.prepare_cached(
            "INSERT INTO mark (device, epoch, stream, mark, device_end)
             VALUES (?1, ?2, ?3, 0, ?4)",
        )?
        .execute(key)?;
    }
    Ok(Position { next: mark.map_or(0, unsigned), ..position })
}

fn answers_end(tx: &Connection, device: i64) -> rusqlite::Result<Position> {
    tx.prepare_cached("SELECT answers_epoch, answers_end FROM device WHERE id = ?1")?.query_row(
        [device],
        |row| {
            let epoch = Epoch(row.get::<_, i64>(0)?.cast_unsigned());
            Ok(Position { stream: StreamId::Answer, epoch, next: unsigned(row.get(1)?) })
        },
    )
}

/// Moves what is undelivered into a new epoch, numbered from 0.
fn renumber(tx: &Connection, device: i64, epoch: Epoch) -> rusqlite::Result<Position> {
    let waiting: Vec<i64> = tx
        .prepare(
            "SELECT escalation FROM answer WHERE device = ?1 AND delivered_ms IS NULL
             ORDER BY stream_seq",
        )?
        .query_map([device], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut end = 0;
    for escalation in waiting {
        tx.execute(
            "UPDATE answer SET stream_epoch = ?2, stream_seq = ?3 WHERE escalation = ?1",
            params![escalation, signed(epoch.0), number(end)],
        )?;
        end += 1;
    }
    tx.execute(
        "UPDATE device SET answers_epoch = ?2, answers_end = ?3, answers_mark = 0 WHERE id = ?1",
        params![device, signed(epoch.0), number(end)],
    )?;
    Ok(Position { stream: StreamId::Answer, epoch, next: end })
}

/// The device has every answer below a position.
#[derive(Debug)]
pub struct Deliver {
    /// Row of the device.
    pub device: i64,
    /// What it acknowledged.
    pub position: Position,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Deliver {
    type Done = ();

    fn apply(&self, tx: &Connection) -> rusqlite::Result<()> {
        tx.prepare_cached(
            "UPDATE device SET contact_ms = ?2, frames_received = frames_received + 1
             WHERE id = ?1",
        )?
        .execute(params![self.device, number(self.now_ms)])?;
        deliver(tx, self.device, self.position, self.now_ms)
    }
}

fn deliver(tx: &Connection, device: i64, upto: Position, now_ms: u64) -> rusqlite::Result<()> {
    let (epoch, next) = (signed(upto.epoch.0), number(upto.next));
    let delivered: Vec<i64> = tx
        .prepare_cached(
            "UPDATE answer SET delivered_ms = ?4
             WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq < ?3
               AND delivered_ms IS NULL
             RETURNING escalation",
        )?
        .query_map(params![device, epoch, next, number(now_ms)], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for escalation in delivered {
        change_state(tx, escalation, State::delivered)?;
    }
    tx.prepare_cached(
        "UPDATE device SET answers_mark = max(answers_mark, ?3)
         WHERE id = ?1 AND answers_epoch = ?2",
    )?
    .execute(params![device, epoch, next])
    .map(drop)
}

/// Applies a transition of [`desk`] to one escalation.
pub(super) fn change_state(
    tx: &Connection,
    escalation: i64,
    transition: impl FnOnce(State) -> State,
) -> rusqlite::Result<()> {
    let state = tx
        .prepare_cached("SELECT state FROM escalation WHERE id = ?1")?
        .query_row([escalation], |row| queries::state(row, 0))?;
    tx.prepare_cached("UPDATE escalation SET state = ?2 WHERE id = ?1")?
        .execute(params![escalation, transition(state).name()])
        .map(drop)
}

/// An operator answers.
#[derive(Debug)]
pub struct GiveAnswer {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// The answer as typed.
    pub draft: Draft,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GiveAnswerError {
    /// There is no such escalation.
    #[error("there is no escalation {ticket} of device {device}")]
    NotFound {
        /// The device named.
        device: DeviceId,
        /// The ticket named.
        ticket: Ticket,
    },
    /// The answer is not right for it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Command for GiveAnswer {
    type Done = Result<Checked, GiveAnswerError>;

    fn apply(&self, tx: &Connection) -> rusqlite::Result<Self::Done> {
        let not_found =
            || GiveAnswerError::NotFound { device: self.device.clone(), ticket: self.ticket };
        let Some(found) = queries::question(tx, &self.device, self.ticket)? else {
            return Ok(Err(not_found()));
        };
        let task = queries::task(tx, found.device, &found.task)?;
        let question = Question {
            ticket: self.ticket,
            state: found.state,
            task: task.as_ref(),
            text: found.text.as_deref(),
        };
        let checked = match desk::check(question, self.draft.clone(), self.now_ms) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.into())),
        };
        let answer = &checked.answer;
        let Ok(record) = Record::Answer(answer.clone()).encode() else {
            return Ok(Err(AnswerError::TooLarge.into()));
        };
        let end = answers_end(tx, found.device)?;
        tx.execute(
            "INSERT INTO answer (escalation, device, stream_epoch, stream_seq, decision,
                 given_by, at_ms, note, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                found.id,
                found.device,
                signed(end.epoch.0),
                number(end.next),
                super::views::decision(&answer.decision).to_string(),
                answer.by,
                number(answer.at_ms),
                answer.note,
                record,
            ],
        )?;
        tx.execute(
            "UPDATE device SET answers_end = answers_end + 1 WHERE id = ?1",
            [found.device],
        )?;
        change_state(tx, found.id, |_| State::Answered)?;
        Ok(Ok(checked))
    }
}

/// A certificate was issued to a device.
#[derive(Debug)]
pub struct Enroll {
    /// The device.
    pub device: DeviceId,
    /// Serial number of the certificate in hex.
    pub serial: String,
    /// When it ends.
    pub expires_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
    /// Epoch of the answer stream, if the device is new.
    pub answers_epoch: Epoch,
}

impl Command for Enroll {
    type Done = ();

    fn apply(&self, tx: &Connection) -> rusqlite::Result<()> {
        let now_ms = number(self.now_ms);
        let device: i64 = tx.query_row(
            "INSERT INTO device (name, created_ms, answers_epoch) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET revoked_ms = NULL RETURNING id",
            params![self.device.as_str(), now_ms, signed(self.answers_epoch.0)],
            |row| row.get(0),
        )?;
        tx.execute(
            "INSERT INTO certificate (serial, device, issued_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4)",
            params![self.serial, device, now_ms, number(self.expires_ms)],
        )
        .map(drop)
    }
}

/// A device is refused from now on, with every certificate it has.
#[derive(Debug)]
pub struct Revoke {
    /// The device.
    pub device: DeviceId,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What a [`Revoke`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It was valid until now.
    Now,
    /// It was revoked already.
    Already,
    /// No such device.
    Unknown,
}

impl Command for Revoke {
    type Done = Revoked;

    fn apply(&self, tx: &Connection) -> rusqlite::Result<Revoked> {
        let found: Option<(i64, Option<i64>)> = tx
            .query_row(
                "SELECT id, revoked_ms FROM device WHERE name = ?1",
                [self.device.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((device, revoked_ms)) = found else { return Ok(Revoked::Unknown) };
        let now_ms = number(self.now_ms);
        tx.execute(
            "UPDATE certificate SET revoked_ms = ?2 WHERE device = ?1 AND revoked_ms IS NULL",
            params![device, now_ms],
        )?;
        if revoked_ms.is_some() {
            return Ok(Revoked::Already);
        }
        tx.execute("UPDATE device SET revoked_ms = ?2 WHERE id = ?1", params![device, now_ms])?;
        Ok(Revoked::Now)
    }
}

/// A device connected or left.
#[derive(Debug)]
pub struct Contact {
    /// Row of the device.
    pub device: i64,
    /// Whether it is connected.
    pub online: bool,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Contact {
    type Done = ();

    fn apply(&self, tx: &Connection) -> rusqlite::Result<()> {
        let now_ms = number(self.now_ms);
        tx.prepare_cached("UPDATE device SET contact_ms = ?2, connected_ms = ?3 WHERE id = ?1")?
            .execute(params![self.device, now_ms, self.online.then_some(now_ms)])
            .map(drop)
    }
}

/// The hub starts: nobody is connected, and this is where it serves.
#[derive(Debug)]
pub struct Starting {
    /// `HOST:PORT` for devices, the default of `enroll`.
    pub address: String,
}

impl Command for Starting {
    type Done = ();

    fn apply(&self, tx: &Connection) -> rusqlite::Result<()> {
        tx.execute("UPDATE device SET connected_ms = NULL WHERE connected_ms IS NOT NULL", [])?;
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('address', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [&self.address],
        )
        .map(drop)
    }
}

/// Something was wrong with what a device sent.
#[derive(Debug)]
pub struct Problem {
    /// Row of the device; `None` if it could not be told who it was.
    pub device: Option<i64>,
    /// Of which kind.
    pub kind: ProblemKind,
    /// What was wrong.
    pub detail: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Kinds of problems, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A payload that is no frame, or one that makes no sense.
    Malformed,
    /// Outside the device's own topics.
    Refused,
    /// A connection that was not let in.
    Connection,
}

impl Command for Problem {
    type Done = ();

    fn apply(&self, tx: &Connection) -> rusqlite::Result<()> {
        let (malformed, refused) = match self.kind {
            ProblemKind::Malformed => (1, 0),
            ProblemKind::Refused => (0, 1),
            ProblemKind::Connection => {
                tx.prepare_cached(
                    "INSERT INTO counter (name, value) VALUES ('connections_refused', 1)
                     ON CONFLICT (name) DO UPDATE SET value = value + 1",
                )?
                .execute([])?;
                (0, 0)
            }
        };
        tx.prepare_cached(
            "UPDATE device SET frames_malformed = frames_malformed + ?2,
                 frames_refused = frames_refused + ?3, problem = ?4, problem_ms = ?5
             WHERE id = ?1",
        )?
        .execute(params![self.device, malformed, refused, self.detail, number(self.now_ms)])
        .map(drop)
    }
}
