//! What is read. Lists are paged by key, so that page 10,000 costs what page 1 does.

use super::views::{
    AnswerView, DeviceView, EscalationCounts, EscalationView, EventView, FrameCounts, LossView,
    OutcomeView, RecordCounts, RejectedView, Stats, StreamView, TaskView, kind, time,
};
use super::{signed, unsigned};
use landfall_hub_core::desk::{State, Task};
use landfall_hub_core::fleet::{backlog, lost_records};
use landfall_hub_core::session::Fetch;
use landfall_wire::frame::Position;
use landfall_wire::id::{DeviceId, Epoch, Ticket};
use landfall_wire::record::StreamId;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

/// Most rows of one page.
pub const PAGE_ROWS_MAX: u32 = 500;

/// Losses and rejected records that are listed, newest first; the totals count all.
const TROUBLE_ROWS_MAX: u32 = 500;

/// Events that a device's page shows, newest first.
const EVENT_ROWS_MAX: u32 = 50;

/// Changes whenever another connection, of this process or another, has committed.
///
/// # Errors
/// Those of SQLite.
pub fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// Where devices were told to find the hub when it last ran.
///
/// # Errors
/// Those of SQLite.
pub fn address(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = 'address'", [], |row| row.get(0))
        .optional()
}

/// Where the files of a broker were written, if any were.
///
/// # Errors
/// Those of SQLite.
pub fn broker_dir(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM meta WHERE key = 'broker-dir'", [], |row| row.get(0))
        .optional()
}

/// What the endpoint needs to know of who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Row of a device that may connect.
    Granted(i64),
    /// Row of a device that is revoked, or whose certificate is.
    Revoked(i64),
    /// Signed by the hub's authority, but not in its books.
    NotEnrolled,
}

/// Whether a device may connect with the certificate of this serial number.
///
/// # Errors
/// Those of SQLite.
pub fn admission(
    connection: &Connection,
    device: &DeviceId,
    serial: &str,
) -> rusqlite::Result<Admission> {
    let found: Option<(i64, bool)> = connection
        .prepare_cached(
            "SELECT device.id, device.revoked_ms IS NOT NULL OR certificate.revoked_ms IS NOT NULL
             FROM certificate JOIN device ON device.id = certificate.device
             WHERE certificate.serial = ?1 AND device.name = ?2",
        )?
        .query_row(params![serial, device.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((id, false)) => Admission::Granted(id),
        Some((id, true)) => Admission::Revoked(id),
        None => Admission::NotEnrolled,
    })
}

/// How a device stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Whether it is revoked.
    pub revoked: bool,
    /// When its last valid certificate ends.
    pub expires_ms: Option<i64>,
}

/// Looks a device up.
///
/// # Errors
/// Those of SQLite.
pub fn enrolment(
    connection: &Connection,
    device: &DeviceId,
) -> rusqlite::Result<Option<Enrolment>> {
    connection
        .query_row(
            "SELECT revoked_ms IS NOT NULL,
                 (SELECT max(expires_ms) FROM certificate
                  WHERE certificate.device = device.id AND certificate.revoked_ms IS NULL)
             FROM device WHERE name = ?1",
            [device.as_str()],
            |row| Ok(Enrolment { revoked: row.get(0)?, expires_ms: row.get(1)? }),
        )
        .optional()
}

/// Serial numbers that must not be connected.
///
/// # Errors
/// Those of SQLite.
pub fn revoked_serials(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT serial FROM certificate WHERE revoked_ms IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Devices that are not heard.
///
/// # Errors
/// Those of SQLite.
pub fn revoked_devices(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT id FROM device WHERE revoked_ms IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Whether a device may be heard whose name somebody else has proved: a broker.
///
/// # Errors
/// Those of SQLite.
pub fn admission_by_name(
    connection: &Connection,
    device: &DeviceId,
) -> rusqlite::Result<Admission> {
    let found: Option<(i64, bool)> = connection
        .prepare_cached("SELECT id, revoked_ms IS NOT NULL FROM device WHERE name = ?1")?
        .query_row([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((id, false)) => Admission::Granted(id),
        Some((id, true)) => Admission::Revoked(id),
        None => Admission::NotEnrolled,
    })
}

/// Names of the devices that may be heard.
///
/// # Errors
/// Those of SQLite.
pub fn valid_devices(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT name FROM device WHERE revoked_ms IS NULL ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Ends of the answer streams that have something undelivered.
///
/// # Errors
/// Those of SQLite.
pub fn answers_waiting(connection: &Connection) -> rusqlite::Result<Vec<(i64, Position)>> {
    connection
        .prepare_cached(
            "SELECT id, answers_epoch, answers_end FROM device
             WHERE id IN (SELECT DISTINCT device FROM answer WHERE delivered_ms IS NULL)",
        )?
        .query_map([], |row| {
            let epoch = Epoch(row.get::<_, i64>(1)?.cast_unsigned());
            let next = unsigned(row.get(2)?);
            Ok((row.get(0)?, Position { stream: StreamId::Answer, epoch, next }))
        })?
        .collect()
}

/// Encoded answers from `fetch.first` on, at least one if there is one.
///
/// # Errors
/// Those of SQLite.
pub fn answers(
    connection: &Connection,
    device: i64,
    fetch: Fetch,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = connection.prepare_cached(
        "SELECT record FROM answer
         WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq >= ?3 AND stream_seq < ?4
         ORDER BY stream_seq LIMIT ?5",
    )?;
    let (first, end) = (super::number(fetch.first), super::number(fetch.end));
    let mut rows = statement.query(params![
        device,
        signed(fetch.epoch.0),
        first,
        end,
        super::number(fetch.records_max as u64)
    ])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(0)?;
        bytes += record.len();
        if bytes > fetch.bytes_max && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

/// What an answer is checked against.
#[derive(Debug)]
pub struct FoundQuestion {
    /// Its task.
    pub task: String,
    /// Its text, if it left the device.
    pub text: Option<String>,
    /// Where it stands.
    pub state: State,
}

/// The row of a device.
///
/// # Errors
/// Those of SQLite.
pub fn device_id(connection: &Connection, device: &DeviceId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM device WHERE name = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()
}

/// Finds an escalation of a device by its name.
///
/// # Errors
/// Those of SQLite.
pub fn question(
    connection: &Connection,
    device: i64,
    ticket: Ticket,
) -> rusqlite::Result<Option<FoundQuestion>> {
    connection
        .prepare_cached(
            "SELECT task, text, state FROM escalation
             WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
        )?
        .query_row(params![device, signed(ticket.epoch.0), super::number(ticket.seq)], |row| {
            Ok(FoundQuestion { task: row.get(0)?, text: row.get(1)?, state: state(row, 2)? })
        })
        .optional()
}

/// What a device said of a task.
///
/// # Errors
/// Those of SQLite.
pub fn task(connection: &Connection, device: i64, task: &str) -> rusqlite::Result<Option<Task>> {
    connection
        .prepare_cached("SELECT kind, labels FROM task WHERE device = ?1 AND task = ?2")?
        .query_row(params![device, task], |row| {
            let kind = kind(&row.get::<_, String>(0)?);
            Ok(Task { kind, labels: parsed(row, 1)? })
        })
        .optional()
}

/// Reads a state column.
pub(super) fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<State> {
    let text: String = row.get(index)?;
    text.parse().map_err(|error: String| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into())
    })
}

/// Reads a JSON column.
fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str().unwrap_or("null");
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.into()))
}

/// Which rows of a list, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of this task.
    pub task: Option<String>,
    /// Only escalations in this state.
    pub state: Option<State>,
    /// Go on after the row of this id.
    pub after: Option<i64>,
    /// Rows at most; [`PAGE_ROWS_MAX`] at the very most.
    pub limit: u32,
}

impl Page {
    /// Rows to ask for: one more than wanted, to see whether there is a next page.
    fn rows(&self) -> u32 {
        self.limit.clamp(1, PAGE_ROWS_MAX) + 1
    }
}

/// Rows, and the id to go on after if there are more.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Pass as `after` for the next page.
    pub next: Option<i64>,
}

fn page<T>(mut rows: Vec<T>, limit: u32, id: impl Fn(&T) -> i64) -> Rows<T> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(id);
    Rows { rows, next }
}

/// Outcomes, newest first.
///
/// # Errors
/// Those of SQLite.
pub fn outcomes(connection: &Connection, wanted: &Page) -> rusqlite::Result<Rows<OutcomeView>> {
    // One statement per filter, so that each uses its index.
    let filter = match (&wanted.device, &wanted.task) {
        (None, None) => "?2 IS NULL AND ?3 IS NULL",
        (Some(_), None) => {
            "outcome.device = (SELECT id FROM device WHERE name = ?2) AND ?3 IS NULL"
        }
        (None, Some(_)) => "task = ?3 AND ?2 IS NULL",
        (Some(_), Some(_)) => {
            "outcome.device = (SELECT id FROM device WHERE name = ?2) AND task = ?3"
        }
    };
    let sql = format!(
        "SELECT outcome.id, device.name, epoch, seq, task, caller_id, at_ms, received_ms,
             mechanism, mechanism_name, status, reason, escalation_seq, decision, confidence_bp,
             package, outcome.config, decide_us, text, text_bytes, meta, read, fields_left_out,
             masking
         FROM outcome JOIN device ON device.id = outcome.device
         WHERE outcome.id < ?1 AND {filter}
         ORDER BY outcome.id DESC LIMIT ?4"
    );
    let device = wanted.device.as_ref().map(DeviceId::as_str);
    let rows = connection
        .prepare_cached(&sql)?
        .query_map(
            params![wanted.after.unwrap_or(i64::MAX), device, wanted.task, wanted.rows()],
            outcome,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(rows, wanted.limit, |row| row.id))
}

/// One outcome by its id.
fn outcome(row: &Row<'_>) -> rusqlite::Result<OutcomeView> {
    let epoch = Epoch(row.get::<_, i64>(2)?.cast_unsigned());
    let ticket = |seq: i64| Ticket { epoch, seq: seq.cast_unsigned() }.to_string();
    let text: Option<String> = row.get(18)?;
    Ok(OutcomeView {
        id: row.get(0)?,
        device: row.get(1)?,
        outcome: ticket(row.get(3)?),
        task: row.get(4)?,
        caller_id: row.get(5)?,
        at: time(row.get(6)?),
        received_at: time(row.get(7)?),
        mechanism: row.get(8)?,
        mechanism_name: row.get(9)?,
        status: row.get(10)?,
        reason: row.get(11)?,
        escalation: row.get::<_, Option<i64>>(12)?.map(ticket),
        decision: parsed(row, 13)?,
        confidence: row.get::<_, f64>(14)? / 10_000.0,
        package: row.get(15)?,
        config: row.get(16)?,
        decide_ms: row.get::<_, f64>(17)? / 1_000.0,
        text_cut: is_cut(text.as_deref(), row.get(19)?),
        text,
        meta: parsed(row, 20)?,
        read: parsed(row, 21)?,
        fields_left_out: row.get(22)?,
        masking: row.get(23)?,
    })
}

fn is_cut(text: Option<&str>, bytes_full: Option<i64>) -> bool {
    text.is_some_and(|text| bytes_full.is_some_and(|full| (text.len() as u64) < unsigned(full)))
}

const ESCALATION_COLUMNS: &str =
    "SELECT escalation.id, device.name, escalation.epoch, escalation.seq,
         escalation.outcome_seq, escalation.task, task.kind, task.labels, escalation.at_ms,
         escalation.received_ms, escalation.state, escalation.reason, escalation.text,
         escalation.text_bytes, escalation.provisional, escalation.candidates, escalation.meta,
         escalation.ttl_secs, answer.decision, answer.given_by, answer.at_ms, answer.note,
         answer.delivered_ms
     FROM escalation JOIN device ON device.id = escalation.device
     LEFT JOIN task ON task.device = escalation.device AND task.task = escalation.task
     LEFT JOIN answer ON answer.escalation = escalation.id";

/// Escalations: open ones oldest first, as they should be answered; others newest first.
///
/// # Errors
/// Those of SQLite.
pub fn escalations(
    connection: &Connection,
    wanted: &Page,
) -> rusqlite::Result<Rows<EscalationView>> {
    let oldest_first = wanted.state == Some(State::Open);
    let (beyond, start, order) =
        if oldest_first { (">", i64::MIN, "ASC") } else { ("<", i64::MAX, "DESC") };
    let filter = match (&wanted.state, &wanted.device) {
        (None, None) => "?2 IS NULL AND ?3 IS NULL",
        (Some(_), None) => "escalation.state = ?2 AND ?3 IS NULL",
        (None, Some(_)) => {
            "?2 IS NULL AND escalation.device = (SELECT id FROM device WHERE name = ?3)"
        }
        (Some(_), Some(_)) => {
            "escalation.state = ?2 AND escalation.device = (SELECT id FROM device WHERE name = ?3)"
        }
    };
    let sql = format!(
        "{ESCALATION_COLUMNS} WHERE escalation.id {beyond} ?1 AND {filter}
         ORDER BY escalation.id {order} LIMIT ?4"
    );
    let rows = connection
        .prepare_cached(&sql)?
        .query_map(
            params![
                wanted.after.unwrap_or(start),
                wanted.state.map(State::name),
                wanted.device.as_ref().map(DeviceId::as_str),
                wanted.rows()
            ],
            escalation_row,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok(page(rows, wanted.limit, |row| row.id))
}

/// One escalation by its name.
///
/// # Errors
/// Those of SQLite.
pub fn escalation(
    connection: &Connection,
    device: &DeviceId,
    ticket: Ticket,
) -> rusqlite::Result<Option<EscalationView>> {
    let sql = format!(
        "{ESCALATION_COLUMNS} WHERE device.name = ?1 AND escalation.epoch = ?2
         AND escalation.seq = ?3"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(
            params![device.as_str(), signed(ticket.epoch.0), super::number(ticket.seq)],
            escalation_row,
        )
        .optional()
}

fn escalation_row(row: &Row<'_>) -> rusqlite::Result<EscalationView> {
    let epoch = Epoch(row.get::<_, i64>(2)?.cast_unsigned());
    let name = |seq: i64| Ticket { epoch, seq: seq.cast_unsigned() }.to_string();
    let text: Option<String> = row.get(12)?;
    let answer = match parsed::<Option<Value>>(row, 18)? {
        None => None,
        Some(decision) => Some(AnswerView {
            decision,
            by: row.get(19)?,
            at: time(row.get(20)?),
            note: row.get(21)?,
            delivered_at: row.get::<_, Option<i64>>(22)?.map(time),
        }),
    };
    Ok(EscalationView {
        id: row.get(0)?,
        device: row.get(1)?,
        ticket: name(row.get(3)?),
        outcome: name(row.get(4)?),
        task: row.get(5)?,
        kind: row.get(6)?,
        labels: parsed::<Option<Vec<String>>>(row, 7)?.unwrap_or_default(),
        at: time(row.get(8)?),
        received_at: time(row.get(9)?),
        state: row.get(10)?,
        reason: row.get(11)?,
        text_cut: is_cut(text.as_deref(), row.get(13)?),
        text,
        provisional: parsed(row, 14)?,
        candidates: parsed(row, 15)?,
        meta: parsed(row, 16)?,
        ttl_secs: row.get(17)?,
        answer,
    })
}

/// Tasks that any device told of, for the filter of a page.
///
/// # Errors
/// Those of SQLite.
pub fn task_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT DISTINCT task FROM task ORDER BY task")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Names of the devices, for the filter of a page.
///
/// # Errors
/// Those of SQLite.
pub fn device_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT name FROM device ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

const DEVICE_COLUMNS: &str = "SELECT id, name, connected_ms IS NOT NULL, revoked_ms IS NOT NULL,
         (SELECT max(expires_ms) FROM certificate
          WHERE certificate.device = device.id AND certificate.revoked_ms IS NULL),
         contact_ms, version, config, clock_offset_ms, outcomes,
         (SELECT count(*) FROM escalation
          WHERE escalation.device = device.id AND state = 'open'),
         (SELECT count(*) FROM answer
          WHERE answer.device = device.id AND delivered_ms IS NULL),
         (SELECT count(*) FROM rejected WHERE rejected.device = device.id),
         frames_received, frames_malformed, frames_refused, problem, problem_ms
     FROM device";

/// The fleet, by name.
///
/// # Errors
/// Those of SQLite.
pub fn devices(connection: &Connection) -> rusqlite::Result<Vec<DeviceView>> {
    let sql = format!("{DEVICE_COLUMNS} ORDER BY name");
    let rows: Vec<(i64, DeviceView)> = connection
        .prepare_cached(&sql)?
        .query_map([], device_row)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(|(id, view)| with_details(connection, id, view)).collect()
}

/// One device.
///
/// # Errors
/// Those of SQLite.
pub fn device(connection: &Connection, name: &DeviceId) -> rusqlite::Result<Option<DeviceView>> {
    let sql = format!("{DEVICE_COLUMNS} WHERE name = ?1");
    let found =
        connection.prepare_cached(&sql)?.query_row([name.as_str()], device_row).optional()?;
    found.map(|(id, view)| with_details(connection, id, view)).transpose()
}

fn device_row(row: &Row<'_>) -> rusqlite::Result<(i64, DeviceView)> {
    let count = |index| row.get::<_, i64>(index).map(unsigned);
    let view = DeviceView {
        device: row.get(1)?,
        online: row.get(2)?,
        revoked: row.get(3)?,
        certificate_expires_at: row.get::<_, Option<i64>>(4)?.map(time),
        last_contact_at: row.get::<_, Option<i64>>(5)?.map(time),
        version: row.get(6)?,
        config: row.get(7)?,
        clock_offset_ms: row.get(8)?,
        outcomes: count(9)?,
        escalations_open: count(10)?,
        answers_waiting: count(11)?,
        rejected: count(12)?,
        frames: FrameCounts { received: count(13)?, malformed: count(14)?, refused: count(15)? },
        problem: row.get(16)?,
        problem_at: row.get::<_, Option<i64>>(17)?.map(time),
        backlog: 0,
        streams: Vec::new(),
        tasks: Vec::new(),
        losses: 0,
    };
    Ok((row.get(0)?, view))
}

fn with_details(
    connection: &Connection,
    id: i64,
    mut view: DeviceView,
) -> rusqlite::Result<DeviceView> {
    view.streams = connection
        .prepare_cached(
            "SELECT stream, epoch, mark, device_end FROM mark WHERE device = ?1
             ORDER BY stream, epoch",
        )?
        .query_map([id], |row| {
            let mark = unsigned(row.get(2)?);
            Ok(StreamView {
                stream: row.get(0)?,
                epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()).to_string(),
                mark,
                backlog: backlog(unsigned(row.get(3)?), mark),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    view.backlog = view.streams.iter().map(|stream| stream.backlog).sum();
    view.tasks = connection
        .prepare_cached("SELECT task, kind, labels, package FROM task WHERE device = ?1")?
        .query_map([id], |row| {
            let (task, kind, package) = (row.get(0)?, row.get(1)?, row.get(3)?);
            Ok(TaskView { task, kind, labels: parsed(row, 2)?, package })
        })?
        .collect::<rusqlite::Result<_>>()?;
    view.losses = lost(connection, Some(id))?;
    Ok(view)
}

/// Records lost, each counted once, of one device or of all.
fn lost(connection: &Connection, device: Option<i64>) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT device, epoch, stream, first, end FROM loss WHERE ?1 IS NULL OR device = ?1
         ORDER BY device, epoch, stream",
    )?;
    let mut rows = statement.query([device])?;
    let (mut total, mut current, mut ranges) = (0_u64, None, Vec::new());
    while let Some(row) = rows.next()? {
        let key: (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if current.as_ref() != Some(&key) {
            total = total.saturating_add(lost_records(std::mem::take(&mut ranges)));
            current = Some(key);
        }
        ranges.push(unsigned(row.get(3)?)..unsigned(row.get(4)?));
    }
    Ok(total.saturating_add(lost_records(ranges)))
}

/// Recent events of a device, newest first.
///
/// # Errors
/// Those of SQLite.
pub fn events(connection: &Connection, device: &DeviceId) -> rusqlite::Result<Vec<EventView>> {
    connection
        .prepare_cached(
            "SELECT received_ms, kind, detail FROM event
             WHERE device = (SELECT id FROM device WHERE name = ?1) ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![device.as_str(), EVENT_ROWS_MAX], |row| {
            let (received_at, kind) = (time(row.get(0)?), row.get(1)?);
            Ok(EventView { received_at, kind, detail: parsed(row, 2)? })
        })?
        .collect()
}

/// Losses, newest first.
///
/// # Errors
/// Those of SQLite.
pub fn losses(connection: &Connection) -> rusqlite::Result<Vec<LossView>> {
    connection
        .prepare_cached(
            "SELECT device.name, stream, epoch, first, end, reason, received_ms
             FROM loss JOIN device ON device.id = loss.device ORDER BY loss.id DESC LIMIT ?1",
        )?
        .query_map([TROUBLE_ROWS_MAX], |row| {
            Ok(LossView {
                device: row.get(0)?,
                stream: row.get(1)?,
                epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()).to_string(),
                first: unsigned(row.get(3)?),
                end: unsigned(row.get(4)?),
                reason: row.get(5)?,
                received_at: time(row.get(6)?),
            })
        })?
        .collect()
}

/// Records that this hub could not use, newest first.
///
/// # Errors
/// Those of SQLite.
pub fn rejected(connection: &Connection) -> rusqlite::Result<Vec<RejectedView>> {
    connection
        .prepare_cached(
            "SELECT device.name, stream, epoch, seq, reason, length(record), received_ms
             FROM rejected JOIN device ON device.id = rejected.device
             ORDER BY rejected.id DESC LIMIT ?1",
        )?
        .query_map([TROUBLE_ROWS_MAX], |row| {
            let epoch = Epoch(row.get::<_, i64>(2)?.cast_unsigned());
            Ok(RejectedView {
                device: row.get(0)?,
                stream: row.get(1)?,
                record: Ticket { epoch, seq: unsigned(row.get(3)?) }.to_string(),
                reason: row.get(4)?,
                bytes: unsigned(row.get(5)?),
                received_at: time(row.get(6)?),
            })
        })?
        .collect()
}

/// The totals, from counts kept while writing: they cost the same at a million rows.
///
/// # Errors
/// Those of SQLite.
pub fn stats(connection: &Connection) -> rusqlite::Result<Stats> {
    let mut stats = connection
        .prepare_cached(
            "SELECT count(*), count(connected_ms), coalesce(sum(outcomes), 0),
                 coalesce(sum(caller_ids), 0), coalesce(sum(frames_received), 0),
                 coalesce(sum(frames_malformed), 0), coalesce(sum(frames_refused), 0),
                 coalesce(sum(records_applied), 0), coalesce(sum(records_repeated), 0),
                 (SELECT count(*) FROM rejected),
                 coalesce((SELECT value FROM counter WHERE name = 'connections_refused'), 0)
             FROM device",
        )?
        .query_row([], |row| {
            let count = |index| row.get::<_, i64>(index).map(unsigned);
            Ok(Stats {
                devices: count(0)?,
                devices_online: count(1)?,
                outcomes: count(2)?,
                distinct_caller_ids: count(3)?,
                frames: FrameCounts {
                    received: count(4)?,
                    malformed: count(5)?,
                    refused: count(6)?,
                },
                records: RecordCounts {
                    applied: count(7)?,
                    repeated: count(8)?,
                    rejected: count(9)?,
                },
                connections_refused: count(10)?,
                ..Stats::default()
            })
        })?;
    stats.escalations = escalation_counts(connection)?;
    stats.losses = lost(connection, None)?;
    Ok(stats)
}

fn escalation_counts(connection: &Connection) -> rusqlite::Result<EscalationCounts> {
    let mut counts = EscalationCounts::default();
    let mut statement =
        connection.prepare_cached("SELECT state, count(*) FROM escalation GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = unsigned(row.get(1)?);
        match state(row, 0)? {
            State::Open => counts.open = count,
            State::Answered => counts.answered = count,
            State::Delivered => counts.delivered = count,
            State::Expired => counts.expired = count,
        }
    }
    Ok(counts)
}
