//! Alarms in the database.

use super::causes::Cause;
use crate::database::accounts::trail;
use crate::database::sql::{self, Connection, Row, params};
use crate::database::views::time;
use crate::database::{Command, number, unsigned};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Alarms that a list shows: those that hold, then the newest of the others.
pub const ALARMS_SHOWN_MAX: u32 = 500;

/// Posts that are looked for at once.
const POSTS_MAX: u32 = 50;

/// Longest pause between two tries: half an hour.
const PAUSE_MS_MAX: u64 = 30 * 60 * 1_000;

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmView {
    /// Its number.
    pub alarm: i64,
    /// `silent`, `desk`, `drift`, `error`, `rollout`, `refused` or `chain`.
    pub kind: String,
    /// What it is about: a device, a task, a task with the digest of its package, a rollout; empty
    /// for the fleet as a whole.
    pub subject: String,
    /// In words, as it was last found.
    pub detail: String,
    /// Since when.
    pub raised_at: String,
    /// When it was over; null while it holds.
    pub cleared_at: Option<String>,
    /// Who has seen it.
    pub acknowledged_by: Option<String>,
    /// When.
    pub acknowledged_at: Option<String>,
    /// Webhooks that could not be told, and why.
    pub untold: Vec<UntoldView>,
}

/// A webhook that was not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntoldView {
    /// Which.
    pub webhook: String,
    /// Of what: `raised` or `cleared`.
    pub what: String,
    /// Why not, the last time.
    pub trouble: String,
    /// Whether it is tried again.
    pub again: bool,
}

/// Alarms, those that hold first; those that are over only if `cleared` asks for them.
///
/// # Errors
/// Those of the database.
pub fn alarms(connection: &Connection, cleared: bool) -> sql::Result<Vec<AlarmView>> {
    let which = if cleared { "" } else { "WHERE cleared_ms IS NULL" };
    let sql = format!(
        "{COLUMNS} {which} ORDER BY CASE WHEN cleared_ms IS NULL THEN 0 ELSE 1 END, id DESC
         LIMIT ?1"
    );
    let found = connection.rows(&sql, params![ALARMS_SHOWN_MAX], view)?;
    found.into_iter().map(|alarm| with_untold(connection, alarm)).collect()
}

/// One alarm.
///
/// # Errors
/// Those of the database.
pub fn alarm(connection: &Connection, id: i64) -> sql::Result<Option<AlarmView>> {
    let found = connection.maybe(&format!("{COLUMNS} WHERE id = ?1"), params![id], view)?;
    found.map(|alarm| with_untold(connection, alarm)).transpose()
}

/// How many hold, and how many of them nobody has seen.
///
/// # Errors
/// Those of the database.
pub fn count(connection: &Connection) -> sql::Result<(u64, u64)> {
    let sql = "SELECT count(*), count(CASE WHEN acked_ms IS NULL THEN 1 END) FROM alarm
               WHERE cleared_ms IS NULL";
    connection.row(sql, &[], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))
}

const COLUMNS: &str = "SELECT id, kind, subject, detail, raised_ms, cleared_ms, acked_by, acked_ms
                       FROM alarm";

fn view(row: &Row<'_>) -> sql::Result<AlarmView> {
    Ok(AlarmView {
        alarm: row.get(0)?,
        kind: row.get(1)?,
        subject: row.get(2)?,
        detail: row.get(3)?,
        raised_at: time(row.get(4)?),
        cleared_at: row.get::<Option<i64>>(5)?.map(time),
        acknowledged_by: row.get(6)?,
        acknowledged_at: row.get::<Option<i64>>(7)?.map(time),
        untold: Vec::new(),
    })
}

fn with_untold(connection: &Connection, alarm: AlarmView) -> sql::Result<AlarmView> {
    let untold = connection.rows(
        "SELECT webhook, what, trouble, due_ms IS NOT NULL FROM alarm_post
         WHERE alarm = ?1 AND done_ms IS NULL AND trouble IS NOT NULL ORDER BY id",
        params![alarm.alarm],
        |row| {
            Ok(UntoldView {
                webhook: row.get(0)?,
                what: row.get(1)?,
                trouble: row.get(2)?,
                again: row.get(3)?,
            })
        },
    )?;
    Ok(AlarmView { untold, ..alarm })
}

/// What holds now: what is new is raised, what does not hold any more is cleared, and each is
/// to be told.
#[derive(Debug)]
pub(super) struct Reconcile {
    pub(super) found: Vec<Cause>,
    /// Who is to be told.
    pub(super) webhooks: Vec<String>,
    pub(super) now_ms: u64,
}

impl Command for Reconcile {
    /// What was raised, and what was cleared.
    type Done = (Vec<Cause>, Vec<i64>);

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let sql = "SELECT id, kind, subject, detail FROM alarm WHERE cleared_ms IS NULL";
        let mut open: BTreeMap<(String, String), (i64, String)> = tx
            .rows(sql, &[], |row| Ok(((row.get(1)?, row.get(2)?), (row.get(0)?, row.get(3)?))))?
            .into_iter()
            .collect();
        let (mut raised, mut seen) = (Vec::new(), BTreeSet::new());
        for cause in &self.found {
            let key = (cause.kind.to_owned(), cause.subject.clone());
            if !seen.insert(key.clone()) {
                continue;
            }
            match open.remove(&key) {
                // It goes on; what is said of it may have changed.
                Some((_, detail)) if detail == cause.detail => {}
                Some((alarm, _)) => {
                    let sql = "UPDATE alarm SET detail = ?2 WHERE id = ?1";
                    tx.execute(sql, params![alarm, cause.detail])?;
                }
                None => raised.extend(self.raise(tx, cause)?.then(|| cause.clone())),
            }
        }
        let mut cleared = Vec::new();
        for (alarm, _) in open.into_values() {
            let sql = "UPDATE alarm SET cleared_ms = ?2 WHERE id = ?1 AND cleared_ms IS NULL";
            if tx.execute(sql, params![alarm, number(self.now_ms)])? > 0 {
                self.tell(tx, alarm, "cleared")?;
                cleared.push(alarm);
            }
        }
        Ok((raised, cleared))
    }
}

impl Reconcile {
    /// Whether it was raised here: another hub may have.
    fn raise(&self, tx: &Connection, cause: &Cause) -> sql::Result<bool> {
        let raised: Option<i64> = tx.maybe(
            "INSERT INTO alarm (kind, subject, detail, raised_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING RETURNING id",
            params![cause.kind, cause.subject, cause.detail, number(self.now_ms)],
            |row| row.get(0),
        )?;
        let Some(alarm) = raised else { return Ok(false) };
        self.tell(tx, alarm, "raised")?;
        Ok(true)
    }

    fn tell(&self, tx: &Connection, alarm: i64, what: &str) -> sql::Result<()> {
        for webhook in &self.webhooks {
            tx.execute(
                "INSERT INTO alarm_post (alarm, what, webhook, tries, due_ms)
                 VALUES (?1, ?2, ?3, 0, ?4)",
                params![alarm, what, webhook, number(self.now_ms)],
            )?;
        }
        Ok(())
    }
}

/// Something that a webhook is to be told.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) id: i64,
    pub(super) what: String,
    pub(super) webhook: String,
    pub(super) alarm: AlarmView,
}

/// Takes what is due, in order, so that no other hub tells it too; it is due again when `held_ms`
/// are over, if this hub does not come back.
#[derive(Debug)]
pub(super) struct TakePosts {
    pub(super) now_ms: u64,
    pub(super) held_ms: u64,
}

impl Command for TakePosts {
    type Done = Vec<Post>;

    fn apply(&self, tx: &Connection) -> sql::Result<Vec<Post>> {
        let now_ms = number(self.now_ms);
        let sql = "SELECT id, due_ms, alarm, what, webhook FROM alarm_post
                   WHERE due_ms <= ?1 ORDER BY id LIMIT ?2";
        let due = tx.rows(sql, params![now_ms, POSTS_MAX], |row| {
            let which = (row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?);
            Ok((which, row.get::<String>(3)?, row.get::<String>(4)?))
        })?;
        let mut posts = Vec::new();
        for ((id, due_ms, of), what, webhook) in due {
            let sql = "UPDATE alarm_post SET tries = tries + 1, due_ms = ?3
                       WHERE id = ?1 AND due_ms = ?2";
            let held = now_ms.saturating_add(number(self.held_ms));
            if tx.execute(sql, params![id, due_ms, held])? == 0 {
                continue;
            }
            if let Some(alarm) = alarm(tx, of)? {
                posts.push(Post { id, what, webhook, alarm });
            }
        }
        Ok(posts)
    }
}

/// How it went.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) id: i64,
    /// What went wrong; `None` if it was taken.
    pub(super) trouble: Option<String>,
    /// Whether it may work later.
    pub(super) later: bool,
    pub(super) tries_max: u16,
    pub(super) pause_ms: u64,
    pub(super) now_ms: u64,
}

impl Command for Posted {
    /// Whether it is tried again.
    type Done = bool;

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let now_ms = number(self.now_ms);
        let Some(trouble) = &self.trouble else {
            let sql = "UPDATE alarm_post SET due_ms = NULL, done_ms = ?2, trouble = NULL
                       WHERE id = ?1";
            tx.execute(sql, params![self.id, now_ms])?;
            return Ok(false);
        };
        let sql = "SELECT tries FROM alarm_post WHERE id = ?1";
        let tries: i64 = tx.maybe(sql, params![self.id], |row| row.get(0))?.unwrap_or(i64::MAX);
        let again = self.later && tries < i64::from(self.tries_max);
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(20);
        let pause_ms = self.pause_ms.saturating_mul(1 << doublings).min(PAUSE_MS_MAX);
        let due_ms = again.then(|| now_ms.saturating_add(number(pause_ms)));
        let sql = "UPDATE alarm_post SET due_ms = ?2, trouble = ?3 WHERE id = ?1";
        tx.execute(sql, params![self.id, due_ms, trouble])?;
        Ok(again)
    }
}

/// The chain of a device was looked at.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) device: i64,
    pub(super) findings: u64,
    pub(super) now_ms: u64,
}

impl Command for Checked {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute(
            "INSERT INTO chain_check (device, at_ms, findings) VALUES (?1, ?2, ?3)
             ON CONFLICT (device) DO UPDATE SET at_ms = excluded.at_ms,
                 findings = excluded.findings",
            params![self.device, number(self.now_ms), number(self.findings)],
        )
        .map(drop)
    }
}

/// A person has seen an alarm.
#[derive(Debug)]
pub struct Acknowledge {
    /// Which.
    pub alarm: i64,
    /// Who.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Why an alarm is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlarmError {
    /// There is no such alarm.
    #[error("there is no alarm {0}")]
    NotFound(i64),
    /// Somebody has.
    #[error("alarm {0} was acknowledged by {1}")]
    Already(i64, String),
}

impl Command for Acknowledge {
    type Done = Result<(), AlarmError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let Acknowledge { alarm: id, by, now_ms } = self;
        let Some(found) = alarm(tx, *id)? else { return Ok(Err(AlarmError::NotFound(*id))) };
        if let Some(other) = found.acknowledged_by {
            return Ok(Err(AlarmError::Already(*id, other)));
        }
        let sql = "UPDATE alarm SET acked_by = ?2, acked_ms = ?3 WHERE id = ?1";
        tx.execute(sql, params![id, by, number(*now_ms)])?;
        let detail = format!("{} {}: {}", found.kind, found.subject, found.detail);
        trail(tx, *now_ms, (by, "acknowledged an alarm", &id.to_string(), &detail))?;
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::AlarmsConfig;
    use crate::alarms::causes::{causes, check_chain};
    use crate::database::testing::on_both;
    use crate::database::{apply, open};

    const HOUR: u64 = 3_600_000;

    fn cause(subject: &str) -> Cause {
        Cause { kind: "silent", subject: subject.to_owned(), detail: "since noon".to_owned() }
    }

    fn reconcile(books: &mut Connection, found: &[Cause], now_ms: u64) -> (usize, usize) {
        let webhooks = vec!["ops".to_owned()];
        let command = Reconcile { found: found.to_vec(), webhooks, now_ms };
        let (raised, cleared) = apply(books, &command).unwrap();
        (raised.len(), cleared.len())
    }

    #[test]
    fn one_alarm_for_a_cause_until_it_is_over_and_another_when_it_comes_back() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            assert_eq!(reconcile(&mut books, &[cause("a"), cause("a"), cause("b")], 10), (2, 0));
            let mut longer = cause("a");
            longer.detail = "since yesterday".to_owned();
            assert_eq!(reconcile(&mut books, &[longer, cause("b")], 20), (0, 0));
            let shown = alarms(&books, false).unwrap();
            let first = shown.iter().find(|alarm| alarm.subject == "a").unwrap();
            assert_eq!(
                (first.detail.as_str(), count(&books).unwrap()),
                ("since yesterday", (2, 2))
            );
            let seen = Acknowledge { alarm: first.alarm, by: "ann".to_owned(), now_ms: 25 };
            assert_eq!(apply(&mut books, &seen).unwrap(), Ok(()));
            let again = AlarmError::Already(first.alarm, "ann".to_owned());
            assert_eq!(apply(&mut books, &seen).unwrap(), Err(again));
            let missing = Acknowledge { alarm: 99, ..seen };
            assert_eq!(apply(&mut books, &missing).unwrap(), Err(AlarmError::NotFound(99)));
            assert_eq!(count(&books).unwrap(), (2, 1));
            assert_eq!(reconcile(&mut books, &[cause("b")], 30), (0, 1));
            assert_eq!(reconcile(&mut books, &[cause("a"), cause("b")], 40), (1, 0));
            let all = alarms(&books, true).unwrap();
            assert_eq!((all.len(), count(&books).unwrap()), (3, (2, 2)), "history is kept");
            assert!(all[2].cleared_at.is_some() && all[2].acknowledged_by.is_some());
        });
    }

    #[test]
    fn what_is_to_be_told_is_tried_again_with_longer_pauses_and_then_given_up() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            reconcile(&mut books, &[cause("a")], 1_000);
            let take = |books: &mut Connection, now_ms| {
                apply(books, &TakePosts { now_ms, held_ms: 60_000 }).unwrap()
            };
            let posts = take(&mut books, 1_000);
            assert_eq!((posts.len(), posts[0].what.as_str()), (1, "raised"));
            assert_eq!(take(&mut books, 1_000).len(), 0, "another hub has it");
            let failed = |now_ms| Posted {
                id: posts[0].id,
                trouble: Some("status 503".to_owned()),
                later: true,
                tries_max: 3,
                pause_ms: 2_000,
                now_ms,
            };
            assert!(apply(&mut books, &failed(1_000)).unwrap());
            assert_eq!((take(&mut books, 2_999).len(), take(&mut books, 3_000).len()), (0, 1));
            assert!(apply(&mut books, &failed(3_000)).unwrap());
            assert_eq!((take(&mut books, 6_999).len(), take(&mut books, 7_000).len()), (0, 1));
            assert!(!apply(&mut books, &failed(7_000)).unwrap(), "given up");
            assert_eq!(take(&mut books, 9_000_000).len(), 0);
            let shown = alarms(&books, false).unwrap();
            let untold = &shown[0].untold[0];
            assert_eq!((untold.trouble.as_str(), untold.again), ("status 503", false));
            reconcile(&mut books, &[], 8_000);
            let posts = take(&mut books, 8_000);
            assert_eq!(posts[0].what, "cleared");
            let done = Posted { id: posts[0].id, trouble: None, ..failed(8_000) };
            assert!(!apply(&mut books, &done).unwrap());
            assert_eq!(take(&mut books, 9_000_000).len(), 0);
        });
    }

    #[test]
    fn every_cause_is_found_and_is_over_when_it_is() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            for sql in [
                "INSERT INTO device (name, created_ms, answers_epoch, contact_ms, rejected, outcomes)
                     VALUES ('ship-7', 1, 1, 1000, 1, 1)",
                "INSERT INTO device (name, created_ms, answers_epoch, contact_ms, connected_ms)
                     VALUES ('quay-1', 1, 1, 1000, 1000)",
                "INSERT INTO device (name, created_ms, answers_epoch) VALUES ('new', 1, 1)",
                "INSERT INTO escalation (device, epoch, seq, received_ms, outcome_seq, task, at_ms,
                     reason, candidates, meta, ttl_secs, state)
                     SELECT id, 3, 0, 1000, 0, 'failure-mode', 1, 'low-confidence', '[]', '[]', 60,
                     'open' FROM device WHERE name = 'ship-7'",
                "INSERT INTO desk_case (escalation, route, step, place, stage, tries, review)
                     SELECT id, 'r', 0, 'people', 'ready', 0, 1 FROM escalation",
                "INSERT INTO rollout (package, version, manifest, plan, phase, reason, created_ms,
                     changed_ms) VALUES ('maintenance', '2', 'm', '{}', 'halted', 'crash', 1, 1)",
            ] {
                books.execute(sql, &[]).unwrap();
            }
            let late = 5 * 24 * HOUR;
            books
                .execute(
                    "INSERT INTO rejected (device, epoch, stream, seq, received_ms, reason, record)
                     SELECT id, 1, 'event', 0, ?1, 'not known', ?2 FROM device
                     WHERE name = 'ship-7'",
                    params![number(late - HOUR), b"x".to_vec()],
                )
                .unwrap();
            let ship_7 = crate::database::queries::device_id(&books, &"ship-7".parse().unwrap());
            let device = ship_7.unwrap().unwrap();
            assert_eq!(check_chain(&books).unwrap(), Some((device, 0)));
            apply(&mut books, &Checked { device, findings: 2, now_ms: late }).unwrap();
            let config = AlarmsConfig::default();
            let found = |config: &AlarmsConfig, now_ms| {
                let found = causes(&books, config, now_ms).unwrap();
                let names = found.iter().map(|it| format!("{} {}", it.kind, it.subject));
                names.collect::<Vec<_>>()
            };
            assert_eq!(
                found(&config, late),
                [
                    "silent ship-7",
                    "desk failure-mode",
                    "rollout 1",
                    "refused ship-7",
                    "chain ship-7"
                ]
            );
            let off = AlarmsConfig { silent_ms: 0, wait_ms: 0, ..config.clone() };
            assert_eq!(found(&off, late), ["rollout 1", "refused ship-7", "chain ship-7"]);
            // A day later the record is known; the rest still holds.
            assert!(!found(&config, late + 24 * HOUR).contains(&"refused ship-7".to_owned()));
            assert!(!found(&config, 2_000).iter().any(|it| it.starts_with("silent")));
        });
    }
}
