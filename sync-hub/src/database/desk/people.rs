//! Questions before people: claim, answer, skip, take back, send.
//!
//! An answer is a word ([`landfall_hub_core::desk::votes`]): as soon as enough people say the
//! same, it is sent, after a moment in which it can be taken back.

use super::{Which, close, draft, find, hold, release, votes};
use crate::database::accounts::trail;
use crate::database::commands::GiveAnswerError;
use crate::database::ledger::SqlLedger;
use crate::database::sql::{self, Connection, params};
use crate::database::{Command, lock, number, views};
use crate::rules::books::{Ready, RuleError, Wish, take_back};
use landfall_hub_core::desk::votes::{Standing, standing};
use landfall_hub_core::desk::{BY_BYTES_MAX, Checked, Draft, Question, check};
use landfall_hub_core::ledger::{self, Ledger, Refused};
use landfall_wire::id::{DeviceId, Ticket};
use landfall_wire::record::{Record, cut};

/// A question that was claimed by nobody is looked for among this many: those before it are
/// held by others or were skipped.
const LOOK_MAX: u32 = 500;

/// Claims the next question that waits for people.
#[derive(Debug)]
pub struct ClaimNext {
    /// Who.
    pub by: String,
    /// Only of this task.
    pub task: Option<String>,
    /// How long it is theirs.
    pub claim_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for ClaimNext {
    type Done = Option<(DeviceId, Ticket)>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        // Those that they have already; then what was begun by another; then the oldest.
        let sql = "SELECT escalation.id, device.name, escalation.epoch, escalation.seq
             FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation
             JOIN device ON device.id = escalation.device
             WHERE desk_case.place = 'people' AND desk_case.send_ms IS NULL
               AND escalation.state = 'open'
               AND (desk_case.holder IS NULL OR desk_case.holder = ?1
                    OR desk_case.held_until_ms <= ?2)
               AND (?3 = '' OR escalation.task = ?3)
               AND NOT EXISTS (SELECT 1 FROM desk_skip WHERE desk_skip.escalation = escalation.id
                               AND skipped_by = ?1)
               AND NOT EXISTS (SELECT 1 FROM desk_vote WHERE desk_vote.escalation = escalation.id
                               AND given_by = ?1)
             ORDER BY CASE WHEN desk_case.holder = ?1 THEN 0 ELSE 1 END, desk_case.escalation
             LIMIT ?4";
        let task = self.task.as_deref().unwrap_or_default();
        let now_ms = number(self.now_ms);
        let found = tx.rows(sql, params![self.by, now_ms, task, LOOK_MAX], |row| {
            Ok((row.get::<i64>(0)?, row.get::<String>(1)?, super::ticket(row, 2, 3)?))
        })?;
        for (escalation, device, ticket) in found {
            let until_ms = self.now_ms.saturating_add(self.claim_ms);
            if let Ok(device) = device.parse()
                && hold(tx, escalation, &self.by, (self.now_ms, until_ms))?
            {
                return Ok(Some((device, ticket)));
            }
        }
        Ok(None)
    }
}

/// Claims one question.
#[derive(Debug)]
pub struct Claim {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// Who.
    pub by: String,
    /// How long it is theirs.
    pub claim_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Claim {
    /// Whether they have it.
    type Done = bool;

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Some(which) = find(tx, &self.device, self.ticket)? else { return Ok(false) };
        let sql = "DELETE FROM desk_skip WHERE escalation = ?1 AND skipped_by = ?2";
        tx.execute(sql, params![which.escalation, self.by])?;
        let until_ms = self.now_ms.saturating_add(self.claim_ms);
        hold(tx, which.escalation, &self.by, (self.now_ms, until_ms))
    }
}

/// Leaves a question to others, for good (`skip`) or until one comes back to it.
#[derive(Debug)]
pub struct Leave {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// Who.
    pub by: String,
    /// Whether it is not offered to them again.
    pub skip: bool,
}

impl Command for Leave {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let Some(which) = find(tx, &self.device, self.ticket)? else { return Ok(()) };
        if self.skip {
            tx.execute(
                "INSERT INTO desk_skip (escalation, skipped_by) VALUES (?1, ?2)
                 ON CONFLICT (escalation, skipped_by) DO NOTHING",
                params![which.escalation, self.by],
            )?;
        }
        release(tx, which.escalation, &self.by).map(drop)
    }
}

/// Somebody answers a question at the desk.
#[derive(Debug)]
pub struct Say {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// Whose word it is: one person's, whatever name stands in the draft.
    pub voter: String,
    /// The answer as typed.
    pub draft: Draft,
    /// Whether it is to be decided like this from now on, once the answer is sent.
    pub rule: Option<Wish>,
    /// How long it can be taken back.
    pub undo_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What came of a [`Say`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The answer, as checked.
    pub checked: Checked,
    /// When it is sent; `None` while others must agree.
    pub send_ms: Option<u64>,
    /// How many must agree.
    pub review: u8,
}

impl Command for Say {
    type Done = Result<Noted, GiveAnswerError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let not_found =
            || GiveAnswerError::NotFound { device: self.device.clone(), ticket: self.ticket };
        let Some(which) = find(tx, &self.device, self.ticket)? else { return Ok(Err(not_found())) };
        lock(tx, which.device)?;
        let asked = SqlLedger::new(tx, which.device, self.now_ms).asked(self.ticket)?;
        let Some(asked) = asked else { return Ok(Err(not_found())) };
        let question = Question {
            ticket: self.ticket,
            state: asked.state,
            task: asked.task.as_ref(),
            text: asked.text.as_deref(),
        };
        let checked = match check(question, self.draft.clone(), self.now_ms) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.into())),
        };
        let at = (which.device, self.ticket);
        let rule = match ready(tx, at, self.rule.as_ref(), (&self.voter, &self.draft))? {
            Ok(rule) => rule,
            Err(error) => return Ok(Err(error.into())),
        };
        vote(tx, &which, (&self.voter, self.now_ms), &checked)?;
        // One that they gave with an earlier word is taken back with it.
        take_back(tx, which.escalation, &self.voter, self.now_ms)?;
        keep_rule(tx, rule, &checked, (&self.voter, self.now_ms))?;
        let review = review(tx, which.escalation)?;
        let send_ms = count(tx, which.escalation, review, self.undo_ms)?;
        release(tx, which.escalation, &self.voter)?;
        let subject = format!("{}/{}", self.device, self.ticket);
        trail(tx, self.now_ms, (&self.voter, "answered", &subject, ""))?;
        Ok(Ok(Noted { checked, send_ms, review }))
    }
}

/// Keeps a word; the last one of a person counts.
fn vote(
    tx: &Connection,
    which: &Which,
    (voter, now_ms): (&str, u64),
    checked: &Checked,
) -> sql::Result<()> {
    let record = Record::Answer(checked.answer.clone()).encode();
    let record = record.map_err(|error| sql::SqlError::Encode(Box::new(error)))?;
    tx.execute(
        "INSERT INTO desk_vote (escalation, given_by, at_ms, record) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (escalation, given_by) DO UPDATE
         SET at_ms = excluded.at_ms, record = excluded.record",
        params![which.escalation, voter, number(now_ms), record],
    )
    .map(drop)
}

/// How many people must agree on a question.
fn review(tx: &Connection, escalation: i64) -> sql::Result<u8> {
    let sql = "SELECT review FROM desk_case WHERE escalation = ?1";
    let review: Option<u32> = tx.maybe(sql, params![escalation], |row| row.get(0))?;
    Ok(review.and_then(|review| u8::try_from(review).ok()).unwrap_or(1))
}

/// Counts the words, and notes when the answer is sent, if there is one.
fn count(tx: &Connection, escalation: i64, review: u8, undo_ms: u64) -> sql::Result<Option<u64>> {
    let (votes, _): (Vec<_>, Vec<_>) = votes(tx, escalation)?.into_iter().unzip();
    let send_ms = match standing(&votes, review, undo_ms) {
        Standing::Agreed { send_ms, .. } => Some(send_ms),
        Standing::Open { .. } => None,
    };
    tx.execute(
        "UPDATE desk_case SET send_ms = ?2 WHERE escalation = ?1",
        params![escalation, send_ms.map(number)],
    )?;
    Ok(send_ms)
}

/// Somebody takes back what they said, before it is sent.
#[derive(Debug)]
pub struct TakeBack {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// Who.
    pub by: String,
    /// How long the question is theirs again.
    pub claim_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for TakeBack {
    /// Whether there was anything to take back.
    type Done = bool;

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Some(which) = find(tx, &self.device, self.ticket)? else { return Ok(false) };
        lock(tx, which.device)?;
        let sql = "SELECT 1 FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation
                   WHERE desk_case.escalation = ?1 AND escalation.state = 'open'";
        let escalation = which.escalation;
        if tx.maybe(sql, params![escalation], |row| row.get::<i64>(0))?.is_none() {
            return Ok(false);
        }
        let sql = "DELETE FROM desk_vote WHERE escalation = ?1 AND given_by = ?2";
        if tx.execute(sql, params![escalation, self.by])? == 0 {
            return Ok(false);
        }
        take_back(tx, escalation, &self.by, self.now_ms)?;
        count(tx, escalation, review(tx, escalation)?, 0)?;
        let until_ms = self.now_ms.saturating_add(self.claim_ms);
        hold(tx, escalation, &self.by, (self.now_ms, until_ms))?;
        let subject = format!("{}/{}", self.device, self.ticket);
        trail(tx, self.now_ms, (&self.by, "took back", &subject, ""))?;
        Ok(true)
    }
}

/// Sends the answer that people agree on, when its time has come.
#[derive(Debug)]
pub struct Send {
    /// Which question.
    pub which: Which,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Send {
    /// Whether it was sent by this call.
    type Done = bool;

    fn device(&self) -> Option<i64> {
        Some(self.which.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let escalation = self.which.escalation;
        // Taken back or sent meanwhile: its time is not there any more.
        let sql = "SELECT review FROM desk_case WHERE escalation = ?1 AND send_ms <= ?2";
        let review: Option<u32> =
            tx.maybe(sql, params![escalation, number(self.now_ms)], |row| row.get(0))?;
        let Some(review) = review.and_then(|review| u8::try_from(review).ok()) else {
            return Ok(false);
        };
        send(tx, &self.which, review, self.now_ms).map(|given| given.is_ok())
    }
}

/// Makes the word that people agree on the answer; the question leaves the desk.
fn send(
    tx: &Connection,
    which: &Which,
    review: u8,
    now_ms: u64,
) -> sql::Result<Result<Checked, Refused>> {
    let (votes, answers): (Vec<_>, Vec<_>) = votes(tx, which.escalation)?.into_iter().unzip();
    let Standing::Agreed { last, .. } = standing(&votes, review, 0) else {
        let sql = "UPDATE desk_case SET send_ms = NULL WHERE escalation = ?1";
        tx.execute(sql, params![which.escalation])?;
        return Ok(Err(Refused::NotFound));
    };
    // Everybody who agrees stands under it, and the last remark of them.
    let agree = |at: &usize| {
        landfall_hub_core::desk::votes::same(&votes[*at].decision, &votes[last].decision)
    };
    let names: Vec<&str> =
        (0..votes.len()).filter(agree).map(|at| answers[at].by.as_str()).collect();
    let by = cut(&names.join(", "), BY_BYTES_MAX).to_owned();
    let note = (0..votes.len()).rev().filter(agree).find_map(|at| answers[at].note.clone());
    let draft = draft(answers[last].decision.clone(), by, note);
    let mut ledger = SqlLedger::new(tx, which.device, now_ms);
    let given = ledger::give_answer(&mut ledger, which.ticket, draft, now_ms)?;
    // Given, or not wanted any more: in both cases it is no question for the desk.
    close(tx, which.escalation)?;
    Ok(given)
}

/// Checks the rule that somebody wishes for with an answer; `None` if they do not, or there is no
/// such question, which giving the answer tells.
pub(in crate::database) fn ready(
    tx: &Connection,
    (device, ticket): (i64, Ticket),
    wish: Option<&Wish>,
    (by, draft): (&str, &Draft),
) -> sql::Result<Result<Option<Ready>, RuleError>> {
    let Some(wish) = wish else { return Ok(Ok(None)) };
    let sql = "SELECT id FROM escalation WHERE device = ?1 AND epoch = ?2 AND seq = ?3";
    let (epoch, seq) = (crate::database::signed(ticket.epoch.0), number(ticket.seq));
    let found = tx.maybe(sql, params![device, epoch, seq], |row| row.get::<i64>(0))?;
    let Some(escalation) = found else { return Ok(Ok(None)) };
    Ok(wish.ready(tx, (escalation, by), &draft.decision)?.map(Some))
}

/// Keeps it with the answer: it holds once that is the answer.
pub(in crate::database) fn keep_rule(
    tx: &Connection,
    rule: Option<Ready>,
    checked: &Checked,
    (by, now_ms): (&str, u64),
) -> sql::Result<()> {
    let Some(rule) = rule else { return Ok(()) };
    rule.replace(tx, by, now_ms)?;
    let decision = views::decision(&checked.answer.decision).to_string();
    rule.keep(tx, Some(&decision), by, now_ms).map(drop)
}

/// Whether an answer that is given at once (API, command line) needs others to agree; if so it
/// is noted, and given when they do.
pub(in crate::database) fn give(
    tx: &Connection,
    (device, ticket): (i64, Ticket),
    (voter, draft): (&str, &Draft),
    now_ms: u64,
) -> sql::Result<Result<Given, Refused>> {
    let mut ledger = SqlLedger::new(tx, device, now_ms);
    let sql = "SELECT id FROM escalation WHERE device = ?1 AND epoch = ?2 AND seq = ?3";
    let (epoch, seq) = (crate::database::signed(ticket.epoch.0), number(ticket.seq));
    let found: Option<i64> = tx.maybe(sql, params![device, epoch, seq], |row| row.get(0))?;
    let Some(escalation) = found else { return Ok(Err(Refused::NotFound)) };
    let review = review(tx, escalation)?;
    if review <= 1 {
        let given = ledger::give_answer(&mut ledger, ticket, draft.clone(), now_ms)?;
        if given.is_ok() {
            close(tx, escalation)?;
        }
        return Ok(given.map(Given::Sent));
    }
    let Some(asked) = ledger.asked(ticket)? else { return Ok(Err(Refused::NotFound)) };
    let question = Question {
        ticket,
        state: asked.state,
        task: asked.task.as_ref(),
        text: asked.text.as_deref(),
    };
    let checked = match check(question, draft.clone(), now_ms) {
        Ok(checked) => checked,
        Err(error) => return Ok(Err(Refused::Answer(error))),
    };
    let which = Which { escalation, device, ticket };
    vote(tx, &which, (voter, now_ms), &checked)?;
    match count(tx, escalation, review, 0)? {
        Some(_) => Ok(send(tx, &which, review, now_ms)?.map(Given::Sent)),
        None => Ok(Ok(Given::Noted(checked))),
    }
}

/// What came of an answer that was given at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// It is on its way to the device.
    Sent(Checked),
    /// It waits for somebody else to say the same.
    Noted(Checked),
}

impl Given {
    /// The answer as checked.
    pub fn checked(&self) -> &Checked {
        match self {
            Given::Sent(checked) | Given::Noted(checked) => checked,
        }
    }
}

/// Takes questions off the desk that nobody waits for any more: their devices gave up.
#[derive(Debug)]
pub struct Sweep;

/// Cases swept in one transaction.
const SWEEP_MAX: u32 = 500;

impl Command for Sweep {
    /// How many.
    type Done = usize;

    fn apply(&self, tx: &Connection) -> sql::Result<usize> {
        let sql = "SELECT desk_case.escalation FROM desk_case
                   JOIN escalation ON escalation.id = desk_case.escalation
                   WHERE escalation.state <> 'open' LIMIT ?1";
        let gone = tx.rows(sql, params![SWEEP_MAX], |row| row.get::<i64>(0))?;
        gone.iter().try_for_each(|escalation| close(tx, *escalation))?;
        Ok(gone.len())
    }
}
