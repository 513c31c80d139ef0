//! What the page and the API show of the desk.

use super::votes;
use crate::database::queries::{self};
use crate::database::sql::{self, Connection, ToParam, params};
use crate::database::views::{EscalationView, time};
use crate::database::{number, unsigned};
use landfall_hub_core::desk::similar::{PAST_MAX, SIMILAR_MAX, similar};
use landfall_wire::id::{DeviceId, Ticket};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a question stands at the desk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeskView {
    /// Its route.
    pub route: String,
    /// `people`, `model NAME` or `webhook NAME`.
    pub place: String,
    /// Tries there so far.
    pub tries: u32,
    /// When the place's time is over.
    pub deadline_at: Option<String>,
    /// How many people must agree.
    pub review: u32,
    /// Who works on it now.
    pub holder: Option<String>,
    /// Until when it is theirs.
    pub held_until: Option<String>,
    /// When the agreed answer is sent.
    pub sends_at: Option<String>,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// What people said so far.
    pub votes: Vec<VoteView>,
    /// What models and ticket systems were asked.
    pub requests: Vec<RequestView>,
}

/// One person's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoteView {
    /// Who.
    pub by: String,
    /// `{"label": …}` or `{"fields": […]}`.
    pub decision: Value,
    /// When.
    pub at: String,
}

/// One request to a model or a ticket system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Whom.
    pub place: String,
    /// When.
    pub at: String,
    /// How long it took.
    pub took_ms: Option<u64>,
    /// Tokens sent.
    pub tokens_in: Option<u64>,
    /// Tokens that came back.
    pub tokens_out: Option<u64>,
    /// What it cost, in whole units of the configured currency.
    pub cost: f64,
    /// What came of it.
    pub result: String,
}

/// Where a question stands; `None` if it never was at the desk.
///
/// # Errors
/// Those of the database, here and below.
pub fn desk(connection: &Connection, escalation: i64) -> sql::Result<Option<DeskView>> {
    let sql = "SELECT route, place, tries, deadline_ms, review, holder, held_until_ms, send_ms,
                   trouble
               FROM desk_case WHERE escalation = ?1";
    let at = |value: Option<i64>| value.map(time);
    let found = connection.maybe(sql, params![escalation], |row| {
        Ok(DeskView {
            route: row.get(0)?,
            place: row.get(1)?,
            tries: row.get(2)?,
            deadline_at: at(row.get(3)?),
            review: row.get(4)?,
            holder: row.get(5)?,
            held_until: at(row.get(6)?),
            sends_at: at(row.get(7)?),
            trouble: row.get(8)?,
            votes: Vec::new(),
            requests: Vec::new(),
        })
    })?;
    let Some(mut view) = found else { return Ok(None) };
    view.votes = votes(connection, escalation)?
        .into_iter()
        .map(|(vote, answer)| VoteView {
            by: vote.by,
            decision: super::said(&answer.decision),
            at: time(number(vote.at_ms)),
        })
        .collect();
    view.requests = requests(connection, escalation)?;
    Ok(Some(view))
}

/// Where a question stands, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `people`, `model NAME` or `webhook NAME`.
    pub place: String,
    /// How many people must agree.
    pub review: u32,
    /// Who works on it now.
    pub holder: Option<String>,
    /// Until when it is theirs.
    pub held_until: Option<String>,
    /// When the agreed answer is sent.
    pub sends_at: Option<String>,
    /// How many people have said something.
    pub votes: u64,
}

impl From<&DeskView> for Standing {
    fn from(view: &DeskView) -> Standing {
        let DeskView { place, review, holder, held_until, sends_at, votes, .. } = view.clone();
        let votes = votes.len() as u64;
        Standing { place, review, holder, held_until, sends_at, votes }
    }
}

/// Where questions stand, by their rows, in one query; without those that never were at the desk.
///
/// # Errors
/// Those of the database.
pub fn standings(
    connection: &Connection,
    escalations: &[i64],
) -> sql::Result<BTreeMap<i64, Standing>> {
    if escalations.is_empty() {
        return Ok(BTreeMap::new());
    }
    let places = (1..=escalations.len()).map(|at| format!("?{at}"));
    let sql = format!(
        "SELECT escalation, place, review, holder, held_until_ms, send_ms,
             (SELECT count(*) FROM desk_vote WHERE desk_vote.escalation = desk_case.escalation)
         FROM desk_case WHERE escalation IN ({})",
        places.collect::<Vec<_>>().join(", ")
    );
    let params: Vec<_> = escalations.iter().map(ToParam::to_param).collect();
    let at = |value: Option<i64>| value.map(time);
    let rows = connection.rows(&sql, &params, |row| {
        let standing = Standing {
            place: row.get(1)?,
            review: row.get(2)?,
            holder: row.get(3)?,
            held_until: at(row.get(4)?),
            sends_at: at(row.get(5)?),
            votes: unsigned(row.get(6)?),
        };
        Ok((row.get(0)?, standing))
    })?;
    Ok(rows.into_iter().collect())
}

fn requests(connection: &Connection, escalation: i64) -> sql::Result<Vec<RequestView>> {
    let sql = "SELECT place, at_ms, took_ms, tokens_in, tokens_out, cost_micros, result
               FROM desk_request WHERE escalation = ?1 ORDER BY id";
    connection.rows(sql, params![escalation], |row| {
        let count = |index| row.get::<Option<i64>>(index).map(|value| value.map(unsigned));
        Ok(RequestView {
            place: row.get(0)?,
            at: time(row.get(1)?),
            took_ms: count(2)?,
            tokens_in: count(3)?,
            tokens_out: count(4)?,
            cost: units(row.get(5)?),
            result: row.get(6)?,
        })
    })
}

/// Whole units of what is kept in millionths.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn units(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// A past case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastCase {
    /// Its device.
    pub device: String,
    /// Its ticket.
    pub ticket: String,
    /// Its text.
    pub text: String,
    /// How it was answered.
    pub decision: Value,
    /// By whom.
    pub by: String,
}

/// Answered questions of the same task that read like this one, best first.
///
/// # Errors
/// Those of the database.
pub fn past(connection: &Connection, question: &EscalationView) -> sql::Result<Vec<PastCase>> {
    let Some(text) = &question.text else { return Ok(Vec::new()) };
    let sql = "SELECT device.name, escalation.epoch, escalation.seq, escalation.text,
                   answer.decision, answer.given_by
               FROM escalation JOIN answer ON answer.escalation = escalation.id
               JOIN device ON device.id = escalation.device
               WHERE escalation.task = ?1 AND escalation.id <> ?2 AND escalation.text IS NOT NULL
               ORDER BY escalation.id DESC LIMIT ?3";
    let most = i64::try_from(PAST_MAX).unwrap_or(i64::MAX);
    let mut cases = connection.rows(sql, params![question.task, question.id, most], |row| {
        let decision: String = row.get(4)?;
        Ok(Some(PastCase {
            device: row.get(0)?,
            ticket: super::ticket(row, 1, 2)?.to_string(),
            text: row.get(3)?,
            decision: serde_json::from_str(&decision).unwrap_or_default(),
            by: row.get(5)?,
        }))
    })?;
    let texts: Vec<&str> = cases.iter().flatten().map(|case| case.text.as_str()).collect();
    let best = similar(text, &texts, SIMILAR_MAX);
    Ok(best.into_iter().filter_map(|at| cases[at].take()).collect())
}

/// A question with all that is needed to answer it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Brief {
    /// The question.
    #[serde(flatten)]
    pub question: EscalationView,
    /// Where it stands.
    pub desk: Option<DeskView>,
    /// Past cases that read like it.
    pub similar: Vec<PastCase>,
}

/// Reads a question with all that belongs to it.
///
/// # Errors
/// Those of the database.
pub fn brief(
    connection: &Connection,
    device: &DeviceId,
    ticket: Ticket,
) -> sql::Result<Option<Brief>> {
    let Some(question) = queries::escalation(connection, device, ticket)? else { return Ok(None) };
    let desk = desk(connection, question.id)?;
    let similar = past(connection, &question)?;
    Ok(Some(Brief { question, desk, similar }))
}

/// How many questions wait, by place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceView {
    /// `people`, `model NAME` or `webhook NAME`.
    pub place: String,
    /// Questions there.
    pub waiting: u64,
    /// When the oldest of them came to this hub.
    pub oldest_at: Option<String>,
}

/// How many questions wait where.
///
/// # Errors
/// Those of the database.
pub fn places(connection: &Connection) -> sql::Result<Vec<PlaceView>> {
    let sql = "SELECT desk_case.place, count(*), min(escalation.received_ms)
               FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation
               WHERE escalation.state = 'open' GROUP BY desk_case.place ORDER BY desk_case.place";
    connection.rows(sql, &[], |row| {
        Ok(PlaceView {
            place: row.get(0)?,
            waiting: unsigned(row.get(1)?),
            oldest_at: row.get::<Option<i64>>(2)?.map(time),
        })
    })
}

/// What a model cost on a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendView {
    /// The place.
    pub place: String,
    /// The day.
    pub day: String,
    /// What was spent or is set aside, in whole units of the configured currency.
    pub spent: f64,
}

/// Days of spending that are shown.
const SPEND_ROWS_MAX: u32 = 100;

/// What was spent, newest day first.
///
/// # Errors
/// Those of the database.
pub fn spending(connection: &Connection) -> sql::Result<Vec<SpendView>> {
    let sql = "SELECT place, day, micros FROM desk_spend WHERE micros > 0
               ORDER BY day DESC, place LIMIT ?1";
    connection.rows(sql, params![SPEND_ROWS_MAX], |row| {
        let day: i64 = row.get(1)?;
        let date = time(day.saturating_mul(24 * 60 * 60 * 1_000));
        Ok(SpendView {
            place: row.get(0)?,
            day: date.get(..10).unwrap_or(&date).to_owned(),
            spent: units(row.get(2)?),
        })
    })
}

/// Words that one person can still take back, the newest first.
///
/// # Errors
/// Those of the database.
pub fn unsent(connection: &Connection, by: &str) -> sql::Result<Vec<(String, Ticket)>> {
    let sql = "SELECT device.name, escalation.epoch, escalation.seq
               FROM desk_vote JOIN desk_case ON desk_case.escalation = desk_vote.escalation
               JOIN escalation ON escalation.id = desk_case.escalation
               JOIN device ON device.id = escalation.device
               WHERE desk_vote.given_by = ?1 AND escalation.state = 'open'
               ORDER BY desk_vote.at_ms DESC LIMIT 20";
    connection.rows(sql, params![by], |row| Ok((row.get(0)?, super::ticket(row, 1, 2)?)))
}
