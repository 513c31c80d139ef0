//! What is read. Lists are paged by key, so that page 10,000 costs what page 1 does.

use super::sql::{self, Connection, Engine, Filter, Row, SqlError, ValueRef, params};
use super::views::{
    AnswerView, DeviceView, EscalationCounts, EscalationView, EventView, FrameCounts, LossView,
    OutcomeView, RecordCounts, RejectedView, Stats, StreamView, TaskView, kind, time,
};
use super::{number, signed, unsigned};
use landfall_hub_core::desk::{State, Task};
use landfall_hub_core::fleet::{backlog, lost_records};
use landfall_hub_core::session::Fetch;
use landfall_wire::frame::Position;
use landfall_wire::id::{DeviceId, Epoch, Ticket};
use landfall_wire::record::StreamId;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

/// Most rows of one page.
pub const PAGE_ROWS_MAX: u32 = 500;

/// Losses and rejected records that are listed, newest first; the totals count all.
const TROUBLE_ROWS_MAX: u32 = 500;

/// Events that a device's page shows, newest first.
const EVENT_ROWS_MAX: u32 = 50;

/// Changes whenever another connection, of this process or another, has committed.
///
/// # Errors
/// Those of the database.
pub fn data_version(connection: &Connection) -> sql::Result<i64> {
    match connection.engine() {
        Engine::Sqlite => connection.row("PRAGMA data_version", &[], |row| row.get(0)),
        // Which transactions a reader would see: the same text, the same data. It costs those who
        // write nothing, where a notification would make their commits wait for each other.
        Engine::Postgres => connection.row(
            "SELECT hashtextextended(CAST(pg_current_snapshot() AS TEXT), 0)",
            &[],
            |row| row.get(0),
        ),
    }
}

/// Where devices were told to find the hub when it last ran.
///
/// # Errors
/// Those of the database.
pub fn address(connection: &Connection) -> sql::Result<Option<String>> {
    connection.maybe("SELECT value FROM meta WHERE key = 'address'", &[], |row| row.get(0))
}

/// Where devices were told to find files of releases when the hub last ran, if it had any.
///
/// # Errors
/// Those of the database.
pub fn files_address(connection: &Connection) -> sql::Result<Option<String>> {
    connection.maybe("SELECT value FROM meta WHERE key = 'files'", &[], |row| row.get(0))
}

/// Where the files of a broker were written, if any were.
///
/// # Errors
/// Those of the database.
pub fn broker_dir(connection: &Connection) -> sql::Result<Option<String>> {
    connection.maybe("SELECT value FROM meta WHERE key = 'broker-dir'", &[], |row| row.get(0))
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
/// Those of the database.
pub fn admission(
    connection: &Connection,
    device: &DeviceId,
    serial: &str,
) -> sql::Result<Admission> {
    let found: Option<(i64, bool)> = connection.maybe(
        "SELECT device.id, device.revoked_ms IS NOT NULL OR certificate.revoked_ms IS NOT NULL
             FROM certificate JOIN device ON device.id = certificate.device
             WHERE certificate.serial = ?1 AND device.name = ?2",
        params![serial, device.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
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
/// Those of the database.
pub fn enrolment(connection: &Connection, device: &DeviceId) -> sql::Result<Option<Enrolment>> {
    connection.maybe(
        "SELECT revoked_ms IS NOT NULL,
                 (SELECT max(expires_ms) FROM certificate
                  WHERE certificate.device = device.id AND certificate.revoked_ms IS NULL)
             FROM device WHERE name = ?1",
        params![device.as_str()],
        |row| Ok(Enrolment { revoked: row.get(0)?, expires_ms: row.get(1)? }),
    )
}

/// A device that wants a new certificate.
#[derive(Debug)]
pub struct Renewal {
    /// Row of the device.
    pub device: i64,
    /// Its name.
    pub name: DeviceId,
    /// The signing request.
    pub request: Vec<u8>,
    /// How long its last certificate was made for.
    pub lifetime_ms: u64,
    /// How many certificates it got lately.
    pub lately: i64,
}

/// Requests that are looked at together: the others have their turn right after.
const RENEWALS_MAX: i64 = 64;

/// Devices that want a new certificate, and may have one; `since_ms` is what "lately" means.
///
/// # Errors
/// Those of the database.
pub fn renewals(connection: &Connection, since_ms: u64) -> sql::Result<Vec<Renewal>> {
    connection.rows(
        "SELECT device.id, device.name, renewal.request,
                (SELECT max(last.expires_ms - last.issued_ms) FROM certificate last
                 WHERE last.device = device.id),
                (SELECT count(*) FROM certificate lately
                 WHERE lately.device = device.id AND lately.issued_ms >= ?1)
             FROM renewal JOIN device ON device.id = renewal.device
             WHERE device.revoked_ms IS NULL ORDER BY renewal.received_ms LIMIT ?2",
        params![number(since_ms), RENEWALS_MAX],
        |row| {
            let name: String = row.get(1)?;
            Ok(Renewal {
                device: row.get(0)?,
                // The books hold names that were parsed.
                name: name.parse().map_err(|error| SqlError::Encode(Box::new(error)))?,
                request: row.get(2)?,
                lifetime_ms: row.get::<Option<i64>>(3)?.unwrap_or(0).cast_unsigned(),
                lately: row.get(4)?,
            })
        },
    )
}

/// Devices that have no certificate of this authority, or were not heard of since they were issued
/// one: without the others they would be shut out. By name; revoked ones are out already.
///
/// # Errors
/// Those of the database.
pub fn left_behind(connection: &Connection, authority: &str) -> sql::Result<Vec<String>> {
    connection.rows(
        "SELECT device.name FROM device
             WHERE device.revoked_ms IS NULL AND NOT EXISTS
                 (SELECT 1 FROM certificate
                  WHERE certificate.device = device.id AND certificate.revoked_ms IS NULL
                      AND certificate.authority = ?1
                      AND device.contact_ms > certificate.issued_ms)
             ORDER BY device.name",
        params![authority],
        |row| row.get(0),
    )
}

/// Serial numbers that must not be connected.
///
/// # Errors
/// Those of the database.
pub fn revoked_serials(connection: &Connection) -> sql::Result<Vec<String>> {
    connection
        .rows("SELECT serial FROM certificate WHERE revoked_ms IS NOT NULL", &[], |row| row.get(0))
}

/// Devices that are not heard.
///
/// # Errors
/// Those of the database.
pub fn revoked_devices(connection: &Connection) -> sql::Result<Vec<i64>> {
    connection.rows("SELECT id FROM device WHERE revoked_ms IS NOT NULL", &[], |row| row.get(0))
}

/// Whether a device may be heard whose name somebody else has proved: a broker.
///
/// # Errors
/// Those of the database.
pub fn admission_by_name(connection: &Connection, device: &DeviceId) -> sql::Result<Admission> {
    let found: Option<(i64, bool)> = connection.maybe(
        "SELECT id, revoked_ms IS NOT NULL FROM device WHERE name = ?1",
        params![device.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(match found {
        Some((id, false)) => Admission::Granted(id),
        Some((id, true)) => Admission::Revoked(id),
        None => Admission::NotEnrolled,
    })
}

/// Names of the devices that may be heard; of all, or of those that no hub speaks with.
///
/// # Errors
/// Those of the database.
pub fn valid_devices(connection: &Connection, only_without_hub: bool) -> sql::Result<Vec<String>> {
    let more = if only_without_hub { "AND hub IS NULL" } else { "" };
    let sql = format!("SELECT name FROM device WHERE revoked_ms IS NULL {more} ORDER BY name");
    connection.rows(&sql, &[], |row| row.get(0))
}

/// Ends of the answer streams that have something undelivered.
///
/// # Errors
/// Those of the database.
pub fn answers_waiting(connection: &Connection) -> sql::Result<Vec<(i64, Position)>> {
    connection.rows(
        "SELECT id, answers_epoch, answers_end FROM device
             WHERE id IN (SELECT DISTINCT device FROM answer WHERE delivered_ms IS NULL)
                OR id IN (SELECT DISTINCT device FROM down WHERE delivered_ms IS NULL)",
        &[],
        |row| {
            let epoch = Epoch(row.get::<i64>(1)?.cast_unsigned());
            let next = unsigned(row.get(2)?);
            Ok((row.get(0)?, Position { stream: StreamId::Answer, epoch, next }))
        },
    )
}

/// What the device has of its answer stream.
///
/// # Errors
/// Those of the database.
pub fn answers_mark(connection: &Connection, device: i64) -> sql::Result<Position> {
    let sql = "SELECT answers_epoch, answers_mark FROM device WHERE id = ?1";
    connection.row(sql, params![device], |row| {
        let epoch = Epoch(row.get::<i64>(0)?.cast_unsigned());
        Ok(Position { stream: StreamId::Answer, epoch, next: unsigned(row.get(1)?) })
    })
}

/// The hub that speaks with a device.
///
/// # Errors
/// Those of the database.
pub fn hub_of(connection: &Connection, device: i64) -> sql::Result<Option<String>> {
    connection.row("SELECT hub FROM device WHERE id = ?1", params![device], |row| row.get(0))
}

/// Encoded records of the answer stream from `fetch.first` on, at least one if there is one.
///
/// # Errors
/// Those of the database.
pub fn answers(connection: &Connection, device: i64, fetch: Fetch) -> sql::Result<Vec<Vec<u8>>> {
    let (first, end) = (number(fetch.first), number(fetch.end));
    let records_max = number(fetch.records_max as u64);
    let (mut records, mut bytes) = (Vec::new(), 0);
    connection.each(
        "SELECT stream_seq, record FROM answer
         WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq >= ?3 AND stream_seq < ?4
         UNION ALL
         SELECT stream_seq, record FROM down
         WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq >= ?3 AND stream_seq < ?4
         ORDER BY stream_seq LIMIT ?5",
        params![device, signed(fetch.epoch.0), first, end, records_max],
        |row| {
            let record: Vec<u8> = row.get(1)?;
            bytes += record.len();
            if bytes > fetch.bytes_max && !records.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
            records.push(record);
            Ok(ControlFlow::Continue(()))
        },
    )?;
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
/// Those of the database.
pub fn device_id(connection: &Connection, device: &DeviceId) -> sql::Result<Option<i64>> {
    connection
        .maybe("SELECT id FROM device WHERE name = ?1", params![device.as_str()], |row| row.get(0))
}

/// Finds an escalation of a device by its name.
///
/// # Errors
/// Those of the database.
pub fn question(
    connection: &Connection,
    device: i64,
    ticket: Ticket,
) -> sql::Result<Option<FoundQuestion>> {
    connection.maybe(
        "SELECT task, text, state FROM escalation
             WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
        params![device, signed(ticket.epoch.0), number(ticket.seq)],
        |row| Ok(FoundQuestion { task: row.get(0)?, text: row.get(1)?, state: state(row, 2)? }),
    )
}

/// What a device said of a task.
///
/// # Errors
/// Those of the database.
pub fn task(connection: &Connection, device: i64, task: &str) -> sql::Result<Option<Task>> {
    connection.maybe(
        "SELECT kind, labels FROM task WHERE device = ?1 AND task = ?2",
        params![device, task],
        |row| {
            let kind = kind(&row.get::<String>(0)?);
            Ok(Task { kind, labels: parsed(row, 1)? })
        },
    )
}

/// Reads a state column.
pub(super) fn state(row: &Row<'_>, index: usize) -> sql::Result<State> {
    let text: String = row.get(index)?;
    text.parse().map_err(|problem: String| SqlError::Column { index, problem })
}

/// Reads a JSON column.
fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> sql::Result<T> {
    let text = match row.value(index)? {
        ValueRef::Text(text) => text,
        _ => "null",
    };
    serde_json::from_str(text)
        .map_err(|error| SqlError::Column { index, problem: error.to_string() })
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

/// Only of one device, given by its name.
const OF_DEVICE: &str = "device = (SELECT id FROM device WHERE name = ?)";

/// Outcomes, newest first.
///
/// # Errors
/// Those of the database.
pub fn outcomes(connection: &Connection, wanted: &Page) -> sql::Result<Rows<OutcomeView>> {
    let after = wanted.after.unwrap_or(i64::MAX);
    let mut filter = Filter::default()
        .and("outcome.id < ?", &after)
        .and_if(&format!("outcome.{OF_DEVICE}"), wanted.device.as_ref().map(DeviceId::as_str))
        .and_if("task = ?", wanted.task.as_ref());
    let rows = wanted.rows();
    let limit = filter.param(&rows);
    let sql = format!(
        "SELECT outcome.id, device.name, epoch, seq, task, caller_id, at_ms, received_ms,
             mechanism, mechanism_name, status, reason, escalation_seq, decision, confidence_bp,
             package, outcome.config, decide_us, text, text_bytes, meta, read, fields_left_out,
             masking, {} AS off_ms, {} AS exact
         FROM outcome JOIN device ON device.id = outcome.device
         {} ORDER BY outcome.id DESC LIMIT {limit}",
        clock_fix("off_ms"),
        clock_fix("exact"),
        filter.where_clause()
    );
    let rows = connection.rows(&sql, filter.params(), outcome)?;
    Ok(page(rows, wanted.limit, |row| row.id))
}

/// What the device told last of the time of an outcome.
fn clock_fix(column: &str) -> String {
    format!(
        "(SELECT fix.{column} FROM clock_fix fix
          WHERE fix.device = outcome.device AND fix.epoch = outcome.epoch
              AND fix.first <= outcome.seq AND fix.until > outcome.seq
          ORDER BY fix.seq DESC LIMIT 1)"
    )
}

/// One outcome by its id.
fn outcome(row: &Row<'_>) -> sql::Result<OutcomeView> {
    let epoch = Epoch(row.get::<i64>(2)?.cast_unsigned());
    let ticket = |seq: i64| Ticket { epoch, seq: seq.cast_unsigned() }.to_string();
    let text: Option<String> = row.get(18)?;
    let off_ms: Option<i64> = row.get(24)?;
    let exact: Option<i64> = row.get(25)?;
    Ok(OutcomeView {
        id: row.get(0)?,
        device: row.get(1)?,
        outcome: ticket(row.get(3)?),
        task: row.get(4)?,
        caller_id: row.get(5)?,
        at: time(row.get::<i64>(6)?.saturating_add(off_ms.unwrap_or(0))),
        clock_off_ms: off_ms,
        clock_exact: exact.map(|exact| exact == 1),
        received_at: time(row.get(7)?),
        mechanism: row.get(8)?,
        mechanism_name: row.get(9)?,
        status: row.get(10)?,
        reason: row.get(11)?,
        escalation: row.get::<Option<i64>>(12)?.map(ticket),
        decision: parsed(row, 13)?,
        confidence: row.get::<f64>(14)? / 10_000.0,
        package: row.get(15)?,
        config: row.get(16)?,
        decide_ms: row.get::<f64>(17)? / 1_000.0,
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
/// Those of the database.
pub fn escalations(connection: &Connection, wanted: &Page) -> sql::Result<Rows<EscalationView>> {
    let oldest_first = wanted.state == Some(State::Open);
    let (beyond, start, order) =
        if oldest_first { (">", i64::MIN, "ASC") } else { ("<", i64::MAX, "DESC") };
    let condition = format!("escalation.id {beyond} ?");
    let after = wanted.after.unwrap_or(start);
    let mut filter = Filter::default()
        .and(&condition, &after)
        .and_if("escalation.state = ?", wanted.state.map(State::name))
        .and_if("escalation.task = ?", wanted.task.as_deref())
        .and_if(&format!("escalation.{OF_DEVICE}"), wanted.device.as_ref().map(DeviceId::as_str));
    let rows = wanted.rows();
    let limit = filter.param(&rows);
    let sql = format!(
        "{ESCALATION_COLUMNS} {} ORDER BY escalation.id {order} LIMIT {limit}",
        filter.where_clause()
    );
    let rows = connection.rows(&sql, filter.params(), escalation_row)?;
    Ok(page(rows, wanted.limit, |row| row.id))
}

/// One escalation by its name.
///
/// # Errors
/// Those of the database.
pub fn escalation(
    connection: &Connection,
    device: &DeviceId,
    ticket: Ticket,
) -> sql::Result<Option<EscalationView>> {
    let sql = format!(
        "{ESCALATION_COLUMNS} WHERE device.name = ?1 AND escalation.epoch = ?2
         AND escalation.seq = ?3"
    );
    connection.maybe(
        &sql,
        params![device.as_str(), signed(ticket.epoch.0), number(ticket.seq)],
        escalation_row,
    )
}

/// One escalation by its row.
///
/// # Errors
/// Those of the database.
pub fn escalation_by_id(connection: &Connection, id: i64) -> sql::Result<Option<EscalationView>> {
    let sql = format!("{ESCALATION_COLUMNS} WHERE escalation.id = ?1");
    connection.maybe(&sql, params![id], escalation_row)
}

fn escalation_row(row: &Row<'_>) -> sql::Result<EscalationView> {
    let epoch = Epoch(row.get::<i64>(2)?.cast_unsigned());
    let name = |seq: i64| Ticket { epoch, seq: seq.cast_unsigned() }.to_string();
    let text: Option<String> = row.get(12)?;
    let answer = match parsed::<Option<Value>>(row, 18)? {
        None => None,
        Some(decision) => Some(AnswerView {
            decision,
            by: row.get(19)?,
            at: time(row.get(20)?),
            note: row.get(21)?,
            delivered_at: row.get::<Option<i64>>(22)?.map(time),
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
/// Those of the database.
pub fn task_names(connection: &Connection) -> sql::Result<Vec<String>> {
    connection.rows("SELECT DISTINCT task FROM task ORDER BY task", &[], |row| row.get(0))
}

/// Names of the devices, for the filter of a page.
///
/// # Errors
/// Those of the database.
pub fn device_names(connection: &Connection) -> sql::Result<Vec<String>> {
    connection.rows("SELECT name FROM device ORDER BY name", &[], |row| row.get(0))
}

const DEVICE_COLUMNS: &str = "SELECT id, name, connected_ms IS NOT NULL, revoked_ms IS NOT NULL,
         (SELECT max(expires_ms) FROM certificate
          WHERE certificate.device = device.id AND certificate.revoked_ms IS NULL),
         contact_ms, version, config, clock_offset_ms, outcomes, escalations_open,
         (SELECT count(*) FROM answer
          WHERE answer.device = device.id AND delivered_ms IS NULL),
         rejected, frames_received, frames_malformed, frames_refused, problem, problem_ms, lost,
         link
     FROM device";

/// The fleet, by name.
///
/// # Errors
/// Those of the database.
pub fn devices(connection: &Connection) -> sql::Result<Vec<DeviceView>> {
    described(connection, None)
}

/// One device.
///
/// # Errors
/// Those of the database.
pub fn device(connection: &Connection, name: &DeviceId) -> sql::Result<Option<DeviceView>> {
    let Some(id) = device_id(connection, name)? else { return Ok(None) };
    Ok(described(connection, Some(id))?.into_iter().next())
}

/// Devices with what is known of them, by name: three statements however many there are.
fn described(connection: &Connection, only: Option<i64>) -> sql::Result<Vec<DeviceView>> {
    let of = |column: &str| Filter::default().and_if(&format!("{column} = ?"), only.as_ref());
    let filter = of("device.id");
    let sql = format!("{DEVICE_COLUMNS} {} ORDER BY name", filter.where_clause());
    let devices = connection.rows(&sql, filter.params(), device_row)?;
    let filter = of("device");
    let filtered = filter.where_clause();
    let sql = format!(
        "SELECT device, stream, epoch, mark, device_end FROM mark {filtered}
         ORDER BY device, stream, epoch"
    );
    let mut streams = by_device(connection.rows(&sql, filter.params(), stream_row)?);
    let sql = format!("SELECT device, task, kind, labels, package FROM task {filtered}");
    let mut tasks = by_device(connection.rows(&sql, filter.params(), task_row)?);
    let with_details = |(id, mut view): (i64, DeviceView)| {
        view.streams = streams.remove(&id).unwrap_or_default();
        view.backlog = view.streams.iter().map(|stream| stream.backlog).sum();
        view.tasks = tasks.remove(&id).unwrap_or_default();
        view.tasks.sort_by(|a, b| a.task.cmp(&b.task));
        view
    };
    Ok(devices.into_iter().map(with_details).collect())
}

fn by_device<T>(rows: Vec<(i64, T)>) -> BTreeMap<i64, Vec<T>> {
    let mut map: BTreeMap<i64, Vec<T>> = BTreeMap::new();
    for (device, row) in rows {
        map.entry(device).or_default().push(row);
    }
    map
}

fn device_row(row: &Row<'_>) -> sql::Result<(i64, DeviceView)> {
    let count = |index| row.get::<i64>(index).map(unsigned);
    let view = DeviceView {
        device: row.get(1)?,
        online: row.get(2)?,
        revoked: row.get(3)?,
        certificate_expires_at: row.get::<Option<i64>>(4)?.map(time),
        last_contact_at: row.get::<Option<i64>>(5)?.map(time),
        version: row.get(6)?,
        config: row.get(7)?,
        clock_offset_ms: row.get(8)?,
        outcomes: count(9)?,
        escalations_open: count(10)?,
        answers_waiting: count(11)?,
        rejected: count(12)?,
        frames: FrameCounts { received: count(13)?, malformed: count(14)?, refused: count(15)? },
        problem: row.get(16)?,
        problem_at: row.get::<Option<i64>>(17)?.map(time),
        link: row.get::<Option<String>>(19)?.and_then(|link| serde_json::from_str(&link).ok()),
        backlog: 0,
        streams: Vec::new(),
        tasks: Vec::new(),
        losses: count(18)?,
    };
    Ok((row.get(0)?, view))
}

fn stream_row(row: &Row<'_>) -> sql::Result<(i64, StreamView)> {
    let mark = unsigned(row.get(3)?);
    let view = StreamView {
        stream: row.get(1)?,
        epoch: Epoch(row.get::<i64>(2)?.cast_unsigned()).to_string(),
        mark,
        backlog: backlog(unsigned(row.get(4)?), mark),
    };
    Ok((row.get(0)?, view))
}

fn task_row(row: &Row<'_>) -> sql::Result<(i64, TaskView)> {
    let (task, kind, package) = (row.get(1)?, row.get(2)?, row.get(4)?);
    Ok((row.get(0)?, TaskView { task, kind, labels: parsed(row, 3)?, package }))
}

/// Records of a device that are lost, each counted once.
pub(super) fn lost(connection: &Connection, device: i64) -> sql::Result<u64> {
    let mut streams: BTreeMap<(i64, String), Vec<Range<u64>>> = BTreeMap::new();
    connection.each(
        "SELECT epoch, stream, first, \"end\" FROM loss WHERE device = ?1",
        params![device],
        |row| {
            let range = unsigned(row.get(2)?)..unsigned(row.get(3)?);
            streams.entry((row.get(0)?, row.get(1)?)).or_default().push(range);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(streams.into_values().map(lost_records).fold(0, u64::saturating_add))
}

/// Recent events of a device, newest first.
///
/// # Errors
/// Those of the database.
pub fn events(connection: &Connection, device: &DeviceId) -> sql::Result<Vec<EventView>> {
    connection.rows(
        "SELECT received_ms, kind, detail FROM event
             WHERE device = (SELECT id FROM device WHERE name = ?1) ORDER BY id DESC LIMIT ?2",
        params![device.as_str(), EVENT_ROWS_MAX],
        |row| {
            let (received_at, kind) = (time(row.get(0)?), row.get(1)?);
            Ok(EventView { received_at, kind, detail: parsed(row, 2)? })
        },
    )
}

/// Losses, newest first.
///
/// # Errors
/// Those of the database.
pub fn losses(connection: &Connection) -> sql::Result<Vec<LossView>> {
    connection.rows(
        "SELECT device.name, stream, epoch, first, \"end\", reason, received_ms
             FROM loss JOIN device ON device.id = loss.device ORDER BY loss.id DESC LIMIT ?1",
        params![TROUBLE_ROWS_MAX],
        |row| {
            Ok(LossView {
                device: row.get(0)?,
                stream: row.get(1)?,
                epoch: Epoch(row.get::<i64>(2)?.cast_unsigned()).to_string(),
                first: unsigned(row.get(3)?),
                end: unsigned(row.get(4)?),
                reason: row.get(5)?,
                received_at: time(row.get(6)?),
            })
        },
    )
}

/// Records that this hub could not use, newest first.
///
/// # Errors
/// Those of the database.
pub fn rejected(connection: &Connection) -> sql::Result<Vec<RejectedView>> {
    connection.rows(
        "SELECT device.name, stream, epoch, seq, reason, length(record), received_ms
             FROM rejected JOIN device ON device.id = rejected.device
             ORDER BY rejected.id DESC LIMIT ?1",
        params![TROUBLE_ROWS_MAX],
        |row| {
            let epoch = Epoch(row.get::<i64>(2)?.cast_unsigned());
            Ok(RejectedView {
                device: row.get(0)?,
                stream: row.get(1)?,
                record: Ticket { epoch, seq: unsigned(row.get(3)?) }.to_string(),
                reason: row.get(4)?,
                bytes: unsigned(row.get(5)?),
                received_at: time(row.get(6)?),
            })
        },
    )
}

/// The totals, from counts kept while writing: they cost the same at a million rows.
///
/// # Errors
/// Those of the database.
pub fn stats(connection: &Connection) -> sql::Result<Stats> {
    const SUMS: [&str; 14] = [
        "outcomes",
        "caller_ids",
        "frames_received",
        "frames_malformed",
        "frames_refused",
        "records_applied",
        "records_repeated",
        "rejected",
        "escalations_open",
        "escalations_answered",
        "escalations_delivered",
        "escalations_expired",
        "lost",
        "1",
    ];
    let sums = SUMS.map(|column| format!("CAST(coalesce(sum({column}), 0) AS BIGINT)")).join(", ");
    let sql = format!(
        "SELECT {sums}, count(connected_ms),
             coalesce((SELECT value FROM counter WHERE name = 'connections_refused'), 0)
         FROM device"
    );
    connection.row(&sql, &[], |row| {
        let count = |index| row.get::<i64>(index).map(unsigned);
        Ok(Stats {
            outcomes: count(0)?,
            distinct_caller_ids: count(1)?,
            frames: FrameCounts { received: count(2)?, malformed: count(3)?, refused: count(4)? },
            records: RecordCounts { applied: count(5)?, repeated: count(6)?, rejected: count(7)? },
            escalations: EscalationCounts {
                open: count(8)?,
                answered: count(9)?,
                delivered: count(10)?,
                expired: count(11)?,
            },
            losses: count(12)?,
            devices: count(13)?,
            devices_online: count(14)?,
            connections_refused: count(15)?,
        })
    })
}
