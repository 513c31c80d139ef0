//! Questions on their routes, as the hub moves them.

use super::{
    CASE, Request, Which, case, close, day, hold, put_case, put_request, release, reserve,
};
use crate::database::ledger::SqlLedger;
use crate::database::sql::{self, Connection, params};
use crate::database::{Command, number, queries, unsigned};
use landfall_hub_core::desk::Draft;
use landfall_hub_core::desk::route::{Came, Case, Place, Plan, Stage, Subject};
use landfall_hub_core::ledger::{self, Refused};
use std::sync::Arc;

/// New questions that get their place in one transaction; the rest follows in the next.
const NEW_MAX: u32 = 200;

/// Cases that are looked at in one transaction.
const DUE_MAX: u32 = 100;

/// Gives new questions their place, goes on with those whose time is over, and says what is to
/// be asked and sent. Asks for nothing itself.
#[derive(Debug)]
pub struct LookAround {
    /// The routes.
    pub plan: Arc<Plan>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Todo {
    /// To be asked, with their places.
    pub ask: Vec<(Which, Place)>,
    /// Answers that people agree on, to be sent.
    pub send: Vec<Which>,
    /// When to look again at the latest.
    pub next_ms: Option<u64>,
    /// Whether there is more to look at now.
    pub more: bool,
}

impl Command for LookAround {
    type Done = Todo;

    fn apply(&self, tx: &Connection) -> sql::Result<Todo> {
        let fresh = self.begin(tx)?;
        let (ask, over) = self.due(tx)?;
        let send = tx.rows(
            &format!("{WHICH} WHERE desk_case.send_ms <= ?1 ORDER BY send_ms LIMIT ?2"),
            params![number(self.now_ms), DUE_MAX],
            which,
        )?;
        let next_ms: Option<i64> = tx.row(
            "SELECT min(at) FROM (
                 SELECT min(due_ms) AS at FROM desk_case WHERE due_ms > ?1
                 UNION ALL SELECT min(send_ms) AS at FROM desk_case WHERE send_ms > ?1) AS next",
            params![number(self.now_ms)],
            |row| row.get(0),
        )?;
        // What waits for a model that is busy stays due, and a finished request wakes the desk: only
        // what this look moved itself says that there is more for the next.
        let moved = over > ask.len();
        let more = fresh == NEW_MAX as usize || (over == DUE_MAX as usize && moved);
        Ok(Todo { ask, send, next_ms: next_ms.map(unsigned), more })
    }
}

/// Columns for [`which`].
const WHICH: &str = "SELECT escalation.id, escalation.device, escalation.epoch, escalation.seq
    FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation";

fn which(row: &sql::Row<'_>) -> sql::Result<Which> {
    let ticket = super::ticket(row, 2, 3)?;
    Ok(Which { escalation: row.get(0)?, device: row.get(1)?, ticket })
}

impl LookAround {
    fn begin(&self, tx: &Connection) -> sql::Result<usize> {
        let sql = "SELECT escalation.id, device.name, task, reason, meta FROM escalation
                   JOIN device ON device.id = escalation.device
                   WHERE escalation.state = 'open' AND escalation.at_desk = 0
                   ORDER BY escalation.id LIMIT ?1";
        let fresh = tx.rows(sql, params![NEW_MAX], |row| {
            let text = |index| row.get::<String>(index);
            let meta: Vec<(String, String)> = serde_json::from_str(&text(4)?).unwrap_or_default();
            Ok((row.get::<i64>(0)?, text(1)?, text(2)?, text(3)?, meta))
        })?;
        for (id, device, task, reason, meta) in &fresh {
            let subject = Subject { task, device, reason, meta };
            let case = self.plan.begin(subject, self.now_ms);
            let place = &self.plan.step(&case).place;
            tx.execute(
                "INSERT INTO desk_case (escalation, route, step, place, stage, tries, review)
                 VALUES (?1, ?2, 0, ?3, 'ready', 0, ?4) ON CONFLICT (escalation) DO NOTHING",
                params![id, case.route, place.name(), u32::from(self.plan.review(&case.route))],
            )?;
            put_case(tx, *id, (&case, place), None)?;
            tx.execute("UPDATE escalation SET at_desk = 1 WHERE id = ?1", params![id])?;
        }
        Ok(fresh.len())
    }

    /// What is to be asked, and how many cases were looked at.
    fn due(&self, tx: &Connection) -> sql::Result<(Vec<(Which, Place)>, usize)> {
        let sql = format!(
            "SELECT escalation.id, escalation.device, escalation.epoch, escalation.seq,
                 escalation.state, {CASE}
             FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation
             WHERE due_ms <= ?1 AND (holder IS NULL OR held_until_ms <= ?1)
             ORDER BY due_ms LIMIT ?2"
        );
        let due = tx.rows(&sql, params![number(self.now_ms), DUE_MAX], |row| {
            Ok((which(row)?, row.get::<String>(4)?, case(row, 5)?))
        })?;
        let looked_at = due.len();
        let mut ask = Vec::new();
        for (which, state, case) in due {
            if state != "open" {
                close(tx, which.escalation)?;
            } else if self.plan.is_over(&case, self.now_ms) {
                go_on(
                    tx,
                    &self.plan,
                    (which.escalation, &case),
                    (Came::TimedOut, self.now_ms),
                    None,
                )?;
            } else {
                let place = self.plan.step(&case).place.clone();
                ask.push((which, place));
            }
        }
        Ok((ask, looked_at))
    }
}

fn go_on(
    tx: &Connection,
    plan: &Plan,
    (escalation, case): (i64, &Case),
    (came, now_ms): (Came, u64),
    trouble: Option<&str>,
) -> sql::Result<()> {
    let case = plan.go_on(case, came, now_ms);
    put_case(tx, escalation, (&case, &plan.step(&case).place), trouble)
}

/// Takes a question in order to ask somebody, and sets aside what that may cost.
#[derive(Debug)]
pub struct Take {
    /// Which.
    pub which: Which,
    /// Whom, as [`Place::name`].
    pub place: String,
    /// The hub.
    pub holder: String,
    /// Until when it is this hub's: longer than the request can take.
    pub until_ms: u64,
    /// What the request may cost, in millionths.
    pub reserve_micros: u64,
    /// What may be spent in a day.
    pub spend_micros_max: Option<u64>,
    /// The routes.
    pub plan: Arc<Plan>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What came of a [`Take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The request may be sent; the row of its record.
    Granted(i64),
    /// Another hub has it, or it is gone.
    Elsewhere,
    /// The day's money is spent: the question went to its next step.
    Spent,
}

impl Command for Take {
    type Done = Taken;

    fn apply(&self, tx: &Connection) -> sql::Result<Taken> {
        let Take { which: Which { escalation, .. }, place, holder, now_ms, .. } = self;
        let sql = format!(
            "SELECT {CASE} FROM desk_case
             JOIN escalation ON escalation.id = desk_case.escalation
             WHERE desk_case.escalation = ?1 AND escalation.state = 'open'
               AND desk_case.stage = 'ready' AND desk_case.due_ms <= ?2"
        );
        let found = tx.maybe(&sql, params![escalation, number(*now_ms)], |row| case(row, 0))?;
        let Some(case) = found else { return Ok(Taken::Elsewhere) };
        if !hold(tx, *escalation, holder, (*now_ms, self.until_ms))? {
            return Ok(Taken::Elsewhere);
        }
        let today = (place.as_str(), day(*now_ms));
        if !reserve(tx, today, self.reserve_micros, self.spend_micros_max)? {
            let trouble = format!("{place}: what may be spent today is spent");
            let came = (Came::Declined, *now_ms);
            go_on(tx, &self.plan, (*escalation, &case), came, Some(&trouble))?;
            return Ok(Taken::Spent);
        }
        let id = tx.row(
            "INSERT INTO desk_request (escalation, place, at_ms, cost_micros, result)
             VALUES (?1, ?2, ?3, ?4, 'under way') RETURNING id",
            params![escalation, place, number(*now_ms), number(self.reserve_micros)],
            |row| row.get(0),
        )?;
        Ok(Taken::Granted(id))
    }
}

/// What came of asking.
#[derive(Debug)]
pub struct Settle {
    /// Which.
    pub which: Which,
    /// Whom, as [`Place::name`].
    pub place: String,
    /// The hub that asked.
    pub holder: String,
    /// The request.
    pub request: Request,
    /// An answer, or what else came.
    pub came: Result<Draft, Came>,
    /// What went wrong.
    pub trouble: Option<String>,
    /// The routes.
    pub plan: Arc<Plan>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What came of a [`Settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The answer is on its way to the device.
    Answered,
    /// The question goes on.
    GoesOn,
    /// Somebody was quicker, or the hub took too long: what came is not used.
    TooLate,
}

impl Command for Settle {
    type Done = Settled;

    fn device(&self) -> Option<i64> {
        Some(self.which.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Settled> {
        let escalation = self.which.escalation;
        let mut request = self.request.clone();
        let sql = format!("SELECT {CASE} FROM desk_case WHERE escalation = ?1 AND holder = ?2");
        let held = tx.maybe(&sql, params![escalation, self.holder], |row| case(row, 0))?;
        let Some(case) = held.filter(|_| is_open(tx, escalation).unwrap_or(false)) else {
            request.result = format!("{}; too late", request.result);
            put_request(tx, &self.place, &request)?;
            release(tx, escalation, &self.holder)?;
            return Ok(Settled::TooLate);
        };
        let (came, trouble) = match &self.came {
            Ok(draft) => {
                let mut ledger = SqlLedger::new(tx, self.which.device, self.now_ms);
                match ledger::give_answer(
                    &mut ledger,
                    self.which.ticket,
                    draft.clone(),
                    self.now_ms,
                )? {
                    Ok(_) => {
                        put_request(tx, &self.place, &request)?;
                        close(tx, escalation)?;
                        return Ok(Settled::Answered);
                    }
                    // The labels are checked before; a field may not be in the text.
                    Err(Refused::Answer(error)) => {
                        request.result = format!("no answer: {error}");
                        (Came::Failed { after_ms: None }, Some(error.to_string()))
                    }
                    Err(Refused::NotFound) => (Came::Declined, None),
                }
            }
            Err(came) => (*came, self.trouble.clone()),
        };
        put_request(tx, &self.place, &request)?;
        let trouble = trouble.map(|what| format!("{}: {what}", self.place));
        go_on(tx, &self.plan, (escalation, &case), (came, self.now_ms), trouble.as_deref())?;
        Ok(Settled::GoesOn)
    }
}

fn is_open(tx: &Connection, escalation: i64) -> sql::Result<bool> {
    let sql = "SELECT state FROM escalation WHERE id = ?1";
    let state = tx.maybe(sql, params![escalation], |row| queries::state(row, 0))?;
    Ok(state == Some(landfall_hub_core::desk::State::Open))
}

/// A question goes on without having been asked: it cannot be asked there.
#[derive(Debug)]
pub struct PassOn {
    /// Which.
    pub which: Which,
    /// The hub.
    pub holder: String,
    /// What follows.
    pub came: Came,
    /// Why.
    pub trouble: String,
    /// The routes.
    pub plan: Arc<Plan>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for PassOn {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let sql = format!(
            "SELECT {CASE} FROM desk_case WHERE escalation = ?1 AND stage = ?2 AND due_ms <= ?3"
        );
        let escalation = self.which.escalation;
        let ready = super::stage_name(Stage::Ready);
        let found =
            tx.maybe(&sql, params![escalation, ready, number(self.now_ms)], |row| case(row, 0))?;
        let Some(case) = found else { return Ok(()) };
        if hold(tx, escalation, &self.holder, (self.now_ms, self.now_ms))? {
            let came = (self.came, self.now_ms);
            go_on(tx, &self.plan, (escalation, &case), came, Some(&self.trouble))?;
        }
        Ok(())
    }
}
