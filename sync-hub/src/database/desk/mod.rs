//! The desk's part of the database: where each open question stands, who works on it, what
//! people said, and what requests cost.
//!
//! * [`cases`]: questions on their routes, as the hub moves them.
//! * [`people`]: questions before people: claim, answer, skip, take back, send.
//! * [`reads`]: what the page and the API show.
//!
//! Invariants:
//! * who works on a question holds it (`hold`), and what comes of it counts only while they
//!   still do; so of several hubs one asks, and a hub that died is followed by another;
//! * an answer passes through [`landfall_hub_core::ledger::give_answer`] like any other: the
//!   first one is taken, later ones are refused;
//! * what a request may cost is set aside before it is sent.

pub mod cases;
pub mod people;
pub mod reads;

use super::sql::{self, Connection, Row, SqlError, params};
use super::{number, signed, unsigned, views};
use landfall_hub_core::desk::prompt::Usage;
use landfall_hub_core::desk::route::{Case, Place, Stage};
use landfall_hub_core::desk::votes::Vote;
use landfall_hub_core::desk::{Draft, DraftDecision, DraftField};
use landfall_wire::id::{DeviceId, Epoch, Ticket};
use landfall_wire::record::{Answer, Decision, Record};

/// One question, by its row and by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// Row of the escalation.
    pub escalation: i64,
    /// Row of its device.
    pub device: i64,
    /// Its name.
    pub ticket: Ticket,
}

/// Finds an open question.
fn find(tx: &Connection, device: &DeviceId, ticket: Ticket) -> sql::Result<Option<Which>> {
    let sql = "SELECT escalation.id, device.id FROM escalation
               JOIN device ON device.id = escalation.device
               WHERE device.name = ?1 AND escalation.epoch = ?2 AND escalation.seq = ?3";
    let (epoch, seq) = (signed(ticket.epoch.0), number(ticket.seq));
    tx.maybe(sql, params![device.as_str(), epoch, seq], |row| {
        Ok(Which { escalation: row.get(0)?, device: row.get(1)?, ticket })
    })
}

/// Columns of a case, for [`case`].
const CASE: &str = "desk_case.route, desk_case.step, desk_case.stage, desk_case.tries,
    desk_case.due_ms, desk_case.deadline_ms";

/// Reads [`CASE`] from column `from` on.
fn case(row: &Row<'_>, from: usize) -> sql::Result<Case> {
    let stage: String = row.get(from + 2)?;
    let small = |index| row.get::<u32>(index).map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    Ok(Case {
        route: row.get(from)?,
        step: small(from + 1)?,
        stage: if stage == "ready" { Stage::Ready } else { Stage::Waiting },
        tries: small(from + 3)?,
        due_ms: row.get::<Option<i64>>(from + 4)?.map(unsigned),
        deadline_ms: row.get::<Option<i64>>(from + 5)?.map(unsigned),
    })
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Ready => "ready",
        Stage::Waiting => "waiting",
    }
}

/// Moves a case, and lets go of it.
fn put_case(
    tx: &Connection,
    escalation: i64,
    (case, place): (&Case, &Place),
    trouble: Option<&str>,
) -> sql::Result<()> {
    tx.execute(
        "UPDATE desk_case SET step = ?2, place = ?3, stage = ?4, tries = ?5, due_ms = ?6,
             deadline_ms = ?7, trouble = coalesce(?8, trouble), holder = NULL,
             held_until_ms = NULL
         WHERE escalation = ?1",
        params![
            escalation,
            u32::from(case.step),
            place.name(),
            stage_name(case.stage),
            u32::from(case.tries),
            case.due_ms.map(number),
            case.deadline_ms.map(number),
            trouble,
        ],
    )
    .map(drop)
}

/// Takes a case for `holder`, unless somebody else has it.
fn hold(
    tx: &Connection,
    escalation: i64,
    holder: &str,
    (now_ms, until_ms): (u64, u64),
) -> sql::Result<bool> {
    let changed = tx.execute(
        "UPDATE desk_case SET holder = ?2, held_until_ms = ?4
         WHERE escalation = ?1
           AND (holder IS NULL OR holder = ?2 OR held_until_ms <= ?3)",
        params![escalation, holder, number(now_ms), number(until_ms)],
    )?;
    Ok(changed == 1)
}

/// Lets go of a case.
fn release(tx: &Connection, escalation: i64, holder: &str) -> sql::Result<bool> {
    let changed = tx.execute(
        "UPDATE desk_case SET holder = NULL, held_until_ms = NULL
         WHERE escalation = ?1 AND holder = ?2",
        params![escalation, holder],
    )?;
    Ok(changed == 1)
}

/// The question has an answer or nobody waits for one: it leaves the desk. Words and requests
/// stay.
fn close(tx: &Connection, escalation: i64) -> sql::Result<()> {
    tx.execute("DELETE FROM desk_skip WHERE escalation = ?1", params![escalation])?;
    tx.execute("DELETE FROM desk_case WHERE escalation = ?1", params![escalation]).map(drop)
}

/// What people said of a question, in that order, with their answers.
fn votes(tx: &Connection, escalation: i64) -> sql::Result<Vec<(Vote, Answer)>> {
    let sql = "SELECT given_by, at_ms, record FROM desk_vote WHERE escalation = ?1
               ORDER BY at_ms, given_by";
    tx.rows(sql, params![escalation], |row| {
        let record: Vec<u8> = row.get(2)?;
        let Ok(Record::Answer(answer)) = Record::decode(&record) else {
            return Err(SqlError::Column { index: 2, problem: "no answer".to_owned() });
        };
        let at_ms = unsigned(row.get(1)?);
        let vote = Vote { by: row.get(0)?, decision: answer.decision.clone(), at_ms };
        Ok((vote, answer))
    })
}

/// A checked decision as if it were typed again.
fn draft(decision: Decision, by: String, note: Option<String>) -> Draft {
    let decision = match decision {
        Decision::Label(label) => DraftDecision::Label(label),
        Decision::OutOfScope => DraftDecision::OutOfScope,
        Decision::Fields(fields) => DraftDecision::Fields(
            fields
                .into_iter()
                .map(|field| DraftField {
                    label: field.label,
                    value: field.value,
                    start: Some(field.start),
                    end: Some(field.end),
                })
                .collect(),
        ),
    };
    Draft { decision, by, note }
}

fn ticket(row: &Row<'_>, epoch: usize, seq: usize) -> sql::Result<Ticket> {
    let epoch = Epoch(row.get::<i64>(epoch)?.cast_unsigned());
    Ok(Ticket { epoch, seq: unsigned(row.get(seq)?) })
}

/// Sets an amount aside for today, unless that is more than the limit; `false` then.
fn reserve(
    tx: &Connection,
    (place, day): (&str, u64),
    micros: u64,
    max: Option<u64>,
) -> sql::Result<bool> {
    tx.execute(
        "INSERT INTO desk_spend (place, day, micros) VALUES (?1, ?2, 0)
         ON CONFLICT (place, day) DO NOTHING",
        params![place, number(day)],
    )?;
    let changed = tx.execute(
        "UPDATE desk_spend SET micros = micros + ?3
         WHERE place = ?1 AND day = ?2 AND micros + ?3 <= ?4",
        params![
            place,
            number(day),
            number(micros),
            number(max.unwrap_or(i64::MAX.cast_unsigned() / 2))
        ],
    )?;
    Ok(changed == 1)
}

/// The day of a time, in days since 1970 (UTC).
pub fn day(ms: u64) -> u64 {
    ms / (24 * 60 * 60 * 1_000)
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its row.
    pub id: i64,
    /// When it was sent: the day that it is counted for.
    pub at_ms: u64,
    /// What was set aside for it, in millionths.
    pub reserved_micros: u64,
    /// What it cost.
    pub cost_micros: u64,
    /// Tokens used, if the service tells.
    pub usage: Option<Usage>,
    /// How long it took.
    pub took_ms: u64,
    /// What came of it, in a few words.
    pub result: String,
}

fn put_request(tx: &Connection, place: &str, request: &Request) -> sql::Result<()> {
    let (tokens_in, tokens_out) =
        request.usage.map(|usage| (number(usage.tokens_in), number(usage.tokens_out))).unzip();
    let changed = tx.execute(
        "UPDATE desk_request SET took_ms = ?2, tokens_in = ?3, tokens_out = ?4,
             cost_micros = ?5, result = ?6
         WHERE id = ?1 AND took_ms IS NULL",
        params![
            request.id,
            number(request.took_ms),
            tokens_in,
            tokens_out,
            number(request.cost_micros),
            request.result,
        ],
    )?;
    if changed == 1 {
        tx.execute(
            "UPDATE desk_spend SET micros = micros - ?3 + ?4 WHERE place = ?1 AND day = ?2",
            params![
                place,
                number(day(request.at_ms)),
                number(request.reserved_micros),
                number(request.cost_micros),
            ],
        )?;
    }
    Ok(())
}

/// An answer for the page and the API.
fn said(decision: &Decision) -> serde_json::Value {
    views::decision(decision)
}
