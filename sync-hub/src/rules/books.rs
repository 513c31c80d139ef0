//! Rules in the database: what people give and take away, what is sent to which device, what
//! devices say of it.

use super::Signer;
use crate::database::accounts::trail;
use crate::database::commands::send_down;
use crate::database::sql::{self, Connection, SqlError, params};
use crate::database::views::EscalationView;
use crate::database::{Command, number, queries, unsigned};
use landfall_agent_core::request::Request;
use landfall_agent_core::rules::{Action, RuleSpec};
use landfall_hub_core::desk::DraftDecision;
use landfall_rules::{FileError, PREFIX, RuleFile, read, write};
use landfall_wire::directive::Directive;
use landfall_wire::id::{DeviceId, TaskName};
use landfall_wire::record::{Record, TaskKind};
use landfall_wire::rules::{RULES_SLOTS_MAX, RulesOrder, RulesReport};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Devices whose labels are looked through when a rule is checked: their tasks repeat.
const TASKS_LOOKED_AT_MAX: u32 = 1000;

/// Orders that are looked for at once.
const DUE_MAX: u32 = 500;

/// The rules that devices should have: those that came with an answer once it was given.
pub(super) const HOLDS: &str = "site_rule.removed_ms IS NULL
    AND (site_rule.escalation IS NULL
         OR EXISTS (SELECT 1 FROM answer WHERE answer.escalation = site_rule.escalation
                    AND answer.decision = site_rule.decision))";

/// Whether a rule is for a device, and the device has its task.
const IS_FOR: &str = "(site_rule.label = ''
     OR EXISTS (SELECT 1 FROM device_label WHERE device_label.device = device.id
                AND device_label.label = site_rule.label))
    AND EXISTS (SELECT 1 FROM task WHERE task.device = device.id AND task.task = site_rule.task)";

/// Why a rule is not taken. Nothing is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// No device has the label.
    #[error("no device has the label '{0}'")]
    Label(String),
    /// No device that it is for has the task.
    #[error("no device that the rule is for has a task '{0}'")]
    Task(String),
    /// Not a label of the task.
    #[error("'{label}' is not a label of the task; it has: {}", labels.join(", "))]
    Answer {
        /// What the rule answers.
        label: String,
        /// What it could.
        labels: Vec<String>,
    },
    /// The answer has fields, and so has the task.
    #[error("a rule answers with a label or out of scope; this task has fields")]
    Fields,
    /// It would decide on everything.
    #[error("the rule has no condition: it would decide on every text")]
    Everything,
    /// It would not have decided on what was asked.
    #[error("the rule does not hold for the text of this question")]
    NotThisText,
    /// The name is taken.
    #[error("rule {rule} has the name '{name}' already")]
    Name {
        /// The name.
        name: String,
        /// The other rule.
        rule: i64,
    },
    /// Devices have no more room.
    #[error(
        "a device that the rule is for has {RULES_SLOTS_MAX} rules of the hub, and keeps no more"
    )]
    Full,
    /// There is no such rule.
    #[error("there is no rule {0}")]
    NotFound(i64),
    /// It is gone already.
    #[error("rule {0} was removed before")]
    Removed(i64),
}

impl RuleError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            RuleError::File(error) => error.remedy(),
            RuleError::Label(_) => {
                "`landfall-hub label DEVICE LABEL` gives it one; without a label a rule is \
                 for all"
                    .to_owned()
            }
            RuleError::Task(_) => {
                "see the tasks of the devices on their pages; a device tells them when it first \
                 connects"
                    .to_owned()
            }
            RuleError::Answer { .. } => "use one of the labels".to_owned(),
            RuleError::Fields => "answer this question alone".to_owned(),
            RuleError::Everything => "give words, all_words, regex or meta".to_owned(),
            RuleError::NotThisText => {
                "use whole words of the text as it is shown, or a regex".to_owned()
            }
            RuleError::Name { rule, .. } => {
                format!("use another name, or remove rule {rule} first")
            }
            RuleError::Full => {
                "remove rules that are not needed; join several in one file; lasting ones belong \
                 in agent.toml"
                    .to_owned()
            }
            RuleError::NotFound(_) | RuleError::Removed(_) => {
                "`landfall-hub rules list` shows them".to_owned()
            }
        }
    }
}

/// A file of rules for devices.
#[derive(Debug)]
pub struct Add {
    /// For devices with this label; `None` for all.
    pub label: Option<String>,
    /// The task.
    pub task: TaskName,
    /// The file.
    pub file: String,
    /// Who gives it.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Add {
    type Done = Result<i64, RuleError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let Add { label, task, file, by, now_ms } = self;
        let read = match read(file) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.into())),
        };
        let label = label.as_deref().unwrap_or_default();
        let checked = check(tx, label, task.as_str(), &read)?;
        if let Err(error) = checked.and(free(&taken(tx, task.as_str(), None)?, &read)) {
            return Ok(Err(error));
        }
        let ready = Ready {
            label: label.to_owned(),
            task: task.to_string(),
            file: file.clone(),
            names: names(&read),
            escalation: None,
        };
        ready.keep(tx, None, by, *now_ms).map(Ok)
    }
}

/// "And decide like this from now on", said with an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// For devices with this label; none for all.
    #[serde(default)]
    pub label: Option<String>,
    /// Any of these words or phrases.
    #[serde(default)]
    pub words: Vec<String>,
    /// All of these words or phrases.
    #[serde(default)]
    pub all_words: Vec<String>,
    /// A pattern.
    #[serde(default)]
    pub regex: Option<String>,
    /// Its name; one is made otherwise.
    #[serde(default)]
    pub name: Option<String>,
}

/// A rule that was checked.
#[derive(Debug)]
pub(crate) struct Ready {
    label: String,
    task: String,
    file: String,
    names: String,
    escalation: Option<i64>,
}

impl Wish {
    /// Checks the rule of an answer to a question, before that is given.
    pub(crate) fn ready(
        &self,
        tx: &Connection,
        (escalation, by): (i64, &str),
        decision: &DraftDecision,
    ) -> sql::Result<Result<Ready, RuleError>> {
        let Some(question) = queries::escalation_by_id(tx, escalation)? else {
            return Ok(Err(RuleError::Task(String::new())));
        };
        let action = match decision {
            DraftDecision::Label(label) => Action::Answer(label.trim().to_owned()),
            DraftDecision::OutOfScope => Action::OutOfScope,
            DraftDecision::Fields(_) => return Ok(Err(RuleError::Fields)),
        };
        // What they gave with an earlier answer to this is taken back with that.
        let taken = taken(tx, &question.task, Some((escalation, by)))?;
        let given = |text: &Option<String>| {
            text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let spec = RuleSpec {
            name: given(&self.name).unwrap_or_else(|| next_name(escalation, &taken)),
            words: self.words.clone(),
            all_words: self.all_words.clone(),
            regex: given(&self.regex),
            meta: BTreeMap::new(),
            action,
        };
        let file = write(&spec);
        let read = match read(&file) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.into())),
        };
        let label = given(&self.label).unwrap_or_default();
        let checked = check(tx, &label, &question.task, &read)?.and(free(&taken, &read));
        if let Err(error) = checked {
            return Ok(Err(error));
        }
        if !holds_for(&read, &question) {
            return Ok(Err(RuleError::NotThisText));
        }
        let names = names(&read);
        Ok(Ok(Ready { label, task: question.task, file, names, escalation: Some(escalation) }))
    }
}

/// Whether it would have decided. Of a text that did not leave its device, or not whole, that
/// cannot be said.
fn holds_for(read: &RuleFile, question: &EscalationView) -> bool {
    let (Some(text), Ok(task)) = (&question.text, question.task.parse()) else { return true };
    let pairs: Vec<(String, String)> =
        serde_json::from_value(question.meta.clone()).unwrap_or_default();
    let meta = pairs.into_iter().collect();
    let request = Request { task, text: text.clone(), caller_id: None, meta };
    question.text_cut || read.rules.decide(&request).is_some()
}

impl Ready {
    /// Takes back what the same person gave with an earlier answer to the same question.
    pub(crate) fn replace(&self, tx: &Connection, by: &str, now_ms: u64) -> sql::Result<()> {
        self.escalation.map_or(Ok(()), |escalation| take_back(tx, escalation, by, now_ms))
    }

    /// Keeps it, with the answer that it came with.
    pub(crate) fn keep(
        self,
        tx: &Connection,
        decision: Option<&str>,
        by: &str,
        now_ms: u64,
    ) -> sql::Result<i64> {
        let Ready { label, task, file, names, escalation } = self;
        let rule: i64 = tx.row(
            "INSERT INTO site_rule (label, task, names, file, escalation, decision, made_by, made_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id",
            params![label, task, names, file, escalation, decision, by, number(now_ms)],
            |row| row.get(0),
        )?;
        let detail = format!("for {task}: {}", names.replace('\n', ", "));
        trail(tx, now_ms, (by, "added a rule", &rule.to_string(), &detail))?;
        Ok(rule)
    }
}

fn names(read: &RuleFile) -> String {
    let names = read.specs.iter().map(|spec| spec.name.trim_start_matches(PREFIX));
    names.collect::<Vec<_>>().join("\n")
}

/// Everything that the parser cannot know.
fn check(
    tx: &Connection,
    label: &str,
    task: &str,
    read: &RuleFile,
) -> sql::Result<Result<(), RuleError>> {
    let is_everything = |spec: &RuleSpec| {
        let RuleSpec { words, all_words, regex, meta, .. } = spec;
        words.is_empty() && all_words.is_empty() && regex.is_none() && meta.is_empty()
    };
    if read.specs.iter().any(is_everything) {
        return Ok(Err(RuleError::Everything));
    }
    let sql = "SELECT 1 FROM device_label WHERE label = ?1 LIMIT 1";
    if !label.is_empty() && tx.maybe(sql, params![label], |row| row.get::<i64>(0))?.is_none() {
        return Ok(Err(RuleError::Label(label.to_owned())));
    }
    if let Err(error) = check_answers(tx, label, task, read)? {
        return Ok(Err(error));
    }
    // Those that wait for their answer count: they may come to hold at any moment.
    let sql = format!(
        "SELECT 1 FROM site_rule
         JOIN device ON device.revoked_ms IS NULL AND {IS_FOR}
         WHERE site_rule.removed_ms IS NULL
           AND (?1 = '' OR EXISTS (SELECT 1 FROM device_label its WHERE its.device = device.id
                                   AND its.label = ?1))
         GROUP BY device.id HAVING count(*) >= ?2 LIMIT 1"
    );
    let full =
        tx.maybe(&sql, params![label, i64::from(RULES_SLOTS_MAX)], |row| row.get::<i64>(0))?;
    Ok(if full.is_some() { Err(RuleError::Full) } else { Ok(()) })
}

/// Names of a task's rules, and whose they are; without those that somebody gave with an answer.
fn taken(
    tx: &Connection,
    task: &str,
    but: Option<(i64, &str)>,
) -> sql::Result<BTreeMap<String, i64>> {
    let (escalation, by) = but.unwrap_or((0, ""));
    let rows = tx.rows(
        "SELECT id, names FROM site_rule WHERE task = ?1 AND removed_ms IS NULL
             AND NOT (coalesce(escalation, 0) = ?2 AND made_by = ?3)",
        params![task, escalation, by],
        |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?)),
    )?;
    let each = rows.into_iter().flat_map(|(rule, names)| {
        names.lines().map(|name| (name.to_owned(), rule)).collect::<Vec<_>>()
    });
    Ok(each.collect())
}

/// The name of a rule that comes with an answer.
fn next_name(escalation: i64, taken: &BTreeMap<String, i64>) -> String {
    let first = format!("answer-{escalation}");
    let others = (2..).map(|count| format!("{first}-{count}"));
    let mut names = std::iter::once(first.clone()).chain(others);
    names.find(|name| !taken.contains_key(name)).unwrap_or(first)
}

fn free(taken: &BTreeMap<String, i64>, read: &RuleFile) -> Result<(), RuleError> {
    let clash = |name: &str| {
        let rule = *taken.get(name)?;
        Some(RuleError::Name { name: name.to_owned(), rule })
    };
    names(read).lines().find_map(clash).map_or(Ok(()), Err)
}

fn check_answers(
    tx: &Connection,
    label: &str,
    task: &str,
    read: &RuleFile,
) -> sql::Result<Result<(), RuleError>> {
    let sql = "SELECT DISTINCT task.kind, task.labels FROM task
         JOIN device ON device.id = task.device AND device.revoked_ms IS NULL
         WHERE task.task = ?1
           AND (?2 = '' OR EXISTS (SELECT 1 FROM device_label WHERE device_label.device = device.id
                                   AND device_label.label = ?2))
         LIMIT ?3";
    let tasks = tx.rows(sql, params![task, label, TASKS_LOOKED_AT_MAX], |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?))
    })?;
    if tasks.is_empty() {
        return Ok(Err(RuleError::Task(task.to_owned())));
    }
    let classifies = |kind: &str| crate::database::views::kind(kind) == TaskKind::Classification;
    let labels: BTreeSet<String> = tasks
        .iter()
        .filter(|(kind, _)| classifies(kind))
        .flat_map(|(_, labels)| serde_json::from_str::<Vec<String>>(labels).unwrap_or_default())
        .collect();
    let answers = read.specs.iter().filter_map(|spec| match &spec.action {
        Action::Answer(label) => Some(label),
        Action::OutOfScope | Action::Escalate | Action::Refuse(_) => None,
    });
    for answer in answers {
        if !tasks.iter().any(|(kind, _)| classifies(kind)) {
            return Ok(Err(RuleError::Fields));
        }
        if !labels.contains(answer) {
            let (label, labels) = (answer.clone(), labels.into_iter().collect());
            return Ok(Err(RuleError::Answer { label, labels }));
        }
    }
    Ok(Ok(()))
}

/// Takes a rule away: devices forget it at their next contact.
#[derive(Debug)]
pub struct Remove {
    /// Its number.
    pub rule: i64,
    /// Who takes it away.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Remove {
    type Done = Result<(), RuleError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let Remove { rule, by, now_ms } = self;
        let sql = "UPDATE site_rule SET removed_by = ?2, removed_ms = ?3
                   WHERE id = ?1 AND removed_ms IS NULL";
        if tx.execute(sql, params![rule, by, number(*now_ms)])? == 0 {
            let sql = "SELECT 1 FROM site_rule WHERE id = ?1";
            let known = tx.maybe(sql, params![rule], |row| row.get::<i64>(0))?;
            return Ok(Err(match known {
                Some(_) => RuleError::Removed(*rule),
                None => RuleError::NotFound(*rule),
            }));
        }
        trail(tx, *now_ms, (by, "removed a rule", &rule.to_string(), ""))?;
        Ok(Ok(()))
    }
}

/// Somebody takes back an answer, and with it the rule that they gave with it.
pub(crate) fn take_back(
    tx: &Connection,
    escalation: i64,
    by: &str,
    now_ms: u64,
) -> sql::Result<()> {
    tx.execute(
        "UPDATE site_rule SET removed_by = ?2, removed_ms = ?3
         WHERE escalation = ?1 AND made_by = ?2 AND removed_ms IS NULL",
        params![escalation, by, number(now_ms)],
    )
    .map(drop)
}

/// A device that is to be sent something: a rule, or nothing in a slot that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) device: i64,
    pub(super) name: DeviceId,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// This rule, signed anew if it was sent before.
    Rule(i64),
    /// This slot is to be empty.
    Empty(i64),
}

/// Tells whether anything may be due: it costs nothing while there are no rules.
pub(super) fn stamp(connection: &Connection) -> sql::Result<(i64, i64)> {
    let sql = format!("SELECT count(*), count(CASE WHEN {HOLDS} THEN 1 END) FROM site_rule");
    connection.row(&sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// What is due, at most so much at once: slots to be emptied first.
pub(super) fn due(connection: &Connection, signer: &str) -> sql::Result<Vec<Due>> {
    let found =
        |row: &sql::Row<'_>| Ok((row.get::<i64>(0)?, row.get::<String>(1)?, row.get::<i64>(2)?));
    let empty = format!(
        "SELECT device.id, device.name, rule_slot.slot FROM rule_slot
         JOIN device ON device.id = rule_slot.device AND device.revoked_ms IS NULL
         WHERE rule_slot.rule IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM site_rule WHERE site_rule.id = rule_slot.rule
                           AND {HOLDS} AND {IS_FOR})
         LIMIT ?1"
    );
    let missing = format!(
        "SELECT device.id, device.name, site_rule.id FROM site_rule
         JOIN device ON device.revoked_ms IS NULL AND {IS_FOR}
         WHERE {HOLDS}
           AND NOT EXISTS (SELECT 1 FROM rule_slot WHERE rule_slot.device = device.id
                           AND rule_slot.rule = site_rule.id AND rule_slot.signer = ?2)
         ORDER BY site_rule.id, device.id LIMIT ?1"
    );
    let emptied = connection.rows(&empty, params![DUE_MAX], found)?;
    let missing = connection.rows(&missing, params![DUE_MAX, signer], found)?;
    let due = |(device, name, which): (i64, String, i64), what: fn(i64) -> What| {
        Some(Due { device, name: name.parse().ok()?, what: what(which) })
    };
    let emptied = emptied.into_iter().filter_map(|it| due(it, What::Empty));
    let missing = missing.into_iter().filter_map(|it| due(it, What::Rule));
    Ok(emptied.chain(missing).collect())
}

/// Sends a device what is due.
#[derive(Debug)]
pub(super) struct SendRule {
    pub(super) due: Due,
    pub(super) signer: Arc<Signer>,
    pub(super) now_ms: u64,
}

/// A slot as it is.
struct Slot {
    slot: i64,
    task: String,
    rule: Option<i64>,
    number: u64,
    signer: String,
}

impl Command for SendRule {
    /// Whether there was a slot for it.
    type Done = bool;

    fn device(&self) -> Option<i64> {
        Some(self.due.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Due { device, what, .. } = &self.due;
        let slots = tx.rows(
            "SELECT slot, task, rule, number, signer FROM rule_slot WHERE device = ?1 ORDER BY slot",
            params![*device],
            |row| {
                Ok(Slot {
                    slot: row.get(0)?,
                    task: row.get(1)?,
                    rule: row.get(2)?,
                    number: unsigned(row.get(3)?),
                    signer: row.get(4)?,
                })
            },
        )?;
        match *what {
            What::Empty(at) => {
                let found = slots.into_iter().find(|slot| slot.slot == at && slot.rule.is_some());
                // Another hub may have done it.
                let Some(Slot { slot, task, number, .. }) = found else { return Ok(true) };
                self.order(tx, (slot, number), &task, None)?;
                Ok(true)
            }
            What::Rule(rule) => self.send(tx, rule, &slots),
        }
    }
}

impl SendRule {
    fn send(&self, tx: &Connection, rule: i64, slots: &[Slot]) -> sql::Result<bool> {
        let sql = "SELECT task, file FROM site_rule WHERE id = ?1 AND removed_ms IS NULL";
        let file = |row: &sql::Row<'_>| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
        let Some((task, file)) = tx.maybe(sql, params![rule], file)? else { return Ok(true) };
        let held = slots.iter().find(|slot| slot.rule == Some(rule));
        if held.is_some_and(|slot| slot.signer == self.signer.name) {
            return Ok(true);
        }
        let empty = || slots.iter().find(|slot| slot.rule.is_none());
        let at = match held.or_else(empty) {
            Some(slot) => Some((slot.slot, slot.number)),
            None => (0..i64::from(RULES_SLOTS_MAX))
                .find(|slot| !slots.iter().any(|taken| taken.slot == *slot))
                .map(|slot| (slot, 0)),
        };
        let Some(at) = at else { return Ok(false) };
        self.order(tx, at, &task, Some((rule, file)))?;
        Ok(true)
    }

    fn order(
        &self,
        tx: &Connection,
        (slot, last): (i64, u64),
        task: &str,
        content: Option<(i64, String)>,
    ) -> sql::Result<()> {
        let Due { device, name, .. } = &self.due;
        let encode = |error: Box<dyn std::error::Error + Send + Sync>| SqlError::Encode(error);
        let number_of = self.now_ms.max(last + 1);
        let (rule, file) = match content {
            Some((rule, file)) => (Some(rule), file),
            None => (None, String::new()),
        };
        let order = RulesOrder {
            slot: u16::try_from(slot).unwrap_or(u16::MAX),
            number: number_of,
            rule: rule.map_or(0, unsigned),
            task: task.parse().map_err(|error| encode(Box::new(error)))?,
            file,
            signature: Vec::new(),
        };
        let order = self.signer.sign(name, order).map_err(|error| encode(Box::new(error)))?;
        send_down(tx, *device, &Record::Directive(Directive::Rules(order)), self.now_ms)?;
        tx.execute(
            "INSERT INTO rule_slot (device, slot, task, rule, number, signer, sent_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (device, slot) DO UPDATE SET task = excluded.task, rule = excluded.rule,
                 number = excluded.number, signer = excluded.signer, sent_ms = excluded.sent_ms,
                 said_ms = NULL, refused = NULL",
            params![
                *device,
                slot,
                task,
                rule,
                number(number_of),
                self.signer.name,
                number(self.now_ms)
            ],
        )
        .map(drop)
    }
}

/// What a device says of an order.
pub(crate) fn reported(
    tx: &Connection,
    device: i64,
    now_ms: i64,
    report: &RulesReport,
) -> sql::Result<()> {
    tx.execute(
        "UPDATE rule_slot SET said_ms = ?4, refused = ?5
         WHERE device = ?1 AND slot = ?2 AND number = ?3",
        params![device, i64::from(report.slot), number(report.number), now_ms, report.refused],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::commands::GiveAnswer;
    use crate::database::testing::on_both;
    use crate::database::{apply, open};
    use crate::identity::Authority;
    use crate::rules::views;
    use landfall_hub_core::desk::Draft;
    use landfall_wire::id::{Epoch, Ticket};

    const ONE: &str = "[[rule]]\nname = \"bilge\"\nwords = [\"bilge\"]\nanswer = \"Leaking\"\n";

    /// Two devices with a task, the first with a label and a question.
    fn fill(books: &Connection) {
        for (name, epoch) in [("ship-7", 7), ("quay-1", 8)] {
            let device: i64 = books
                .row(
                    "INSERT INTO device (name, created_ms, answers_epoch) VALUES (?1, 1, ?2)
                     RETURNING id",
                    params![name, epoch],
                    |row| row.get(0),
                )
                .unwrap();
            for (task, kind, labels) in [
                ("failure-mode", "classification", r#"["Leaking","Noise"]"#),
                ("fields", "extraction", r#"["Item"]"#),
            ] {
                books
                    .execute(
                        "INSERT INTO task (device, task, kind, labels, package)
                         VALUES (?1, ?2, ?3, ?4, 'maintenance 1')",
                        params![device, task, kind, labels],
                    )
                    .unwrap();
            }
        }
        let label = "INSERT INTO device_label (device, label)
                     SELECT id, 'site:ship' FROM device WHERE name = 'ship-7'";
        books.execute(label, &[]).unwrap();
        books
            .execute(
                "INSERT INTO escalation (device, epoch, seq, received_ms, outcome_seq, task, at_ms,
                     reason, text, text_bytes, candidates, meta, ttl_secs, state)
                 SELECT id, 3, 0, 1, 0, 'failure-mode', 1, 'low-confidence', 'water in the bilge',
                     18, '[]', '[]', 60, 'open' FROM device WHERE name = 'ship-7'",
                &[],
            )
            .unwrap();
    }

    fn add(label: Option<&str>, task: &str, file: &str) -> Add {
        Add {
            label: label.map(str::to_owned),
            task: task.parse().unwrap(),
            file: file.to_owned(),
            by: "ann".to_owned(),
            now_ms: 10,
        }
    }

    /// Sends what is due: which device is sent what.
    fn send(books: &mut Connection, signer: &Arc<Signer>, now_ms: u64) -> Vec<String> {
        let mut sent = Vec::new();
        for due in due(books, &signer.name).unwrap() {
            let shown = match due.what {
                What::Rule(rule) => format!("{} {rule}", due.name),
                What::Empty(slot) => format!("{} empties {slot}", due.name),
            };
            let command = SendRule { due, signer: Arc::clone(signer), now_ms };
            assert!(apply(books, &command).unwrap());
            // A second time it changes nothing.
            let before = count(books);
            assert!(apply(books, &command).unwrap());
            assert_eq!(count(books), before);
            sent.push(shown);
        }
        assert_eq!(due(books, &signer.name).unwrap(), []);
        sent
    }

    fn count(books: &Connection) -> i64 {
        books.row("SELECT count(*) FROM down", &[], |row| row.get(0)).unwrap()
    }

    fn last_order(books: &Connection) -> RulesOrder {
        let sql = "SELECT record FROM down ORDER BY id DESC LIMIT 1";
        let record: Vec<u8> = books.row(sql, &[], |row| row.get(0)).unwrap();
        match Record::decode(&record).unwrap() {
            Record::Directive(Directive::Rules(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn devices_are_sent_what_they_should_have_once_and_it_is_taken_back() {
        on_both(|source| {
            let dir = tempfile::tempdir().unwrap();
            let authority = Authority::open(dir.path(), 1).unwrap();
            let signer = Arc::new(Signer::of(&authority).unwrap());
            let mut books = open(source).unwrap();
            fill(&books);
            assert_eq!(stamp(&books).unwrap(), (0, 0));
            let all = apply(&mut books, &add(None, "failure-mode", ONE)).unwrap().unwrap();
            let other = ONE.replace("bilge", "hum");
            let ship = add(Some("site:ship"), "failure-mode", &other);
            let ship = apply(&mut books, &ship).unwrap().unwrap();
            assert_eq!(stamp(&books).unwrap(), (2, 2));
            let want = [format!("ship-7 {all}"), format!("quay-1 {all}"), format!("ship-7 {ship}")];
            assert_eq!(send(&mut books, &signer, 20), want);
            let order = last_order(&books);
            assert_eq!((order.slot, order.rule, order.number), (1, ship.cast_unsigned(), 20));
            // What the device says is shown.
            let report = |refused: Option<&str>| RulesReport {
                at_ms: 1,
                slot: 1,
                number: 20,
                rule: order.rule,
                refused: refused.map(str::to_owned),
            };
            let ship_7 = queries::device_id(&books, &"ship-7".parse().unwrap()).unwrap().unwrap();
            reported(&books, ship_7, 30, &report(Some("no such task"))).unwrap();
            let shown = views::rule(&books, ship).unwrap().unwrap();
            assert_eq!((shown.sent, shown.used, shown.refused), (1, 0, 1));
            assert_eq!(shown.refusals[0].reason, "no such task");
            reported(&books, ship_7, 30, &report(None)).unwrap();
            let shown = views::rule(&books, ship).unwrap().unwrap();
            assert_eq!((shown.state.as_str(), shown.used, shown.refused), ("holds", 1, 0));
            // The label goes, and so does the rule; its slot is used again, with a higher number.
            books.execute("DELETE FROM device_label", &[]).unwrap();
            assert_eq!(send(&mut books, &signer, 20), ["ship-7 empties 1"]);
            let order = last_order(&books);
            assert_eq!((order.slot, order.number, order.file.as_str()), (1, 21, ""));
            let remove = Remove { rule: all, by: "ann".to_owned(), now_ms: 40 };
            apply(&mut books, &remove).unwrap().unwrap();
            assert_eq!(apply(&mut books, &remove).unwrap(), Err(RuleError::Removed(all)));
            let mut sent = send(&mut books, &signer, 50);
            sent.sort();
            assert_eq!(sent, ["quay-1 empties 0", "ship-7 empties 0"]);
            let again = apply(&mut books, &add(None, "failure-mode", ONE)).unwrap().unwrap();
            assert_eq!(send(&mut books, &signer, 60).len(), 2);
            assert_eq!(last_order(&books).slot, 0);
            assert_eq!(views::rules(&books, true).unwrap().len(), 3);
            assert_eq!(views::rules(&books, false).unwrap()[0].rule, again);
            // Another authority signs everything anew, in the same slots.
            let other = Authority::open(&dir.path().join("other"), 1).unwrap();
            let other = Arc::new(Signer::of(&other).unwrap());
            assert_eq!(send(&mut books, &other, 60).len(), 2);
            assert_eq!((last_order(&books).slot, last_order(&books).number), (0, 61));
        });
    }

    #[test]
    fn a_rule_that_comes_with_an_answer_holds_once_that_is_the_answer() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            fill(&books);
            let answer = |rule: Wish, label: &str| GiveAnswer {
                device: "ship-7".parse().unwrap(),
                ticket: Ticket { epoch: Epoch(3), seq: 0 },
                voter: "ann".to_owned(),
                draft: Draft {
                    decision: DraftDecision::Label(label.to_owned()),
                    by: "ann".to_owned(),
                    note: None,
                },
                rule: Some(rule),
                now_ms: 10,
            };
            let wish = Wish { all_words: vec!["bilge".to_owned()], ..Wish::default() };
            // Two people must agree: until they do, nobody hears of it.
            let review =
                "INSERT INTO desk_case (escalation, route, step, place, stage, tries, review)
                          SELECT id, 'r', 0, 'people', 'ready', 0, 2 FROM escalation";
            books.execute(review, &[]).unwrap();
            apply(&mut books, &answer(wish.clone(), "Leaking")).unwrap().unwrap();
            assert_eq!(stamp(&books).unwrap(), (1, 0));
            let shown = views::rules(&books, false).unwrap();
            assert_eq!((shown.len(), shown[0].state.as_str()), (1, "waiting"));
            // Said again, it takes the place of the first.
            apply(&mut books, &answer(wish.clone(), "Noise")).unwrap().unwrap();
            assert_eq!((views::rules(&books, false).unwrap().len(), count(&books)), (1, 0));
            let agree = GiveAnswer { voter: "bob".to_owned(), ..answer(wish, "Noise") };
            apply(&mut books, &agree).unwrap().unwrap();
            let shown = views::rules(&books, false).unwrap();
            assert_eq!(shown.len(), 2, "each has said so");
            assert!(shown.iter().all(|rule| rule.state == "holds"), "{shown:?}");
            assert!(shown[0].question.as_deref().is_some_and(|it| it.starts_with("ship-7/")));
            assert_ne!(shown[0].names, shown[1].names);
        });
    }

    #[test]
    fn what_devices_could_not_use_is_refused_and_nothing_is_kept() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            fill(&books);
            let field = ONE.replace("Leaking", "Item");
            let every = "[[rule]]\nname = \"all\"\nanswer = \"Noise\"\n";
            apply(&mut books, &add(None, "failure-mode", &ONE.replace("bilge", "taken")))
                .unwrap()
                .unwrap();
            for (rule, why) in [
                (add(None, "failure-mode", "x"), "not a file of rules"),
                (add(None, "failure-mode", every), "no condition"),
                (add(Some("site:none"), "failure-mode", ONE), "no device has the label"),
                (add(None, "unknown", ONE), "has a task 'unknown'"),
                (add(None, "failure-mode", &field), "it has: Leaking, Noise"),
                (add(None, "fields", &field), "this task has fields"),
                (add(None, "failure-mode", &ONE.replace("bilge", "taken")), "has the name 'taken'"),
            ] {
                let error = apply(&mut books, &rule).unwrap().unwrap_err();
                assert!(error.to_string().contains(why), "{error}");
                assert!(!error.remedy().is_empty());
            }
            for number in 1..RULES_SLOTS_MAX {
                let one = ONE.replace("bilge", &format!("word{number}"));
                apply(&mut books, &add(None, "failure-mode", &one)).unwrap().unwrap();
            }
            let full = apply(&mut books, &add(Some("site:ship"), "failure-mode", ONE)).unwrap();
            assert_eq!(full, Err(RuleError::Full));
            assert_eq!(stamp(&books).unwrap(), (128, 128));
            let missing = Remove { rule: 9_999, by: "ann".to_owned(), now_ms: 1 };
            assert_eq!(apply(&mut books, &missing).unwrap(), Err(RuleError::NotFound(9_999)));
            assert_eq!(count(&books), 0, "nothing is sent by adding");
        });
    }
}
