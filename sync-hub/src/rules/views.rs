//! Rules as they are shown.

use super::books::HOLDS;
use crate::database::sql::{self, Connection, Row, params};
use crate::database::unsigned;
use crate::database::views::time;
use landfall_wire::id::{Epoch, Ticket};
use serde::{Deserialize, Serialize};

/// Rules that a list shows, newest first.
pub const RULES_SHOWN_MAX: u32 = 500;

/// Refusals of one rule that are shown.
const REFUSALS_SHOWN_MAX: u32 = 20;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its number. Of two that hold, the one with the higher number decides.
    pub rule: i64,
    /// For devices with this label; null for all.
    pub label: Option<String>,
    /// The task.
    pub task: String,
    /// Names in the file; records have them with `hub:` before.
    pub names: Vec<String>,
    /// The file.
    pub file: String,
    /// The question that it came with the answer to: `DEVICE/TICKET`.
    pub question: Option<String>,
    /// `waiting` for its answer to be given, `holds`, or `removed`.
    pub state: String,
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: String,
    /// Who took it away.
    pub removed_by: Option<String>,
    /// When.
    pub removed_at: Option<String>,
    /// Devices that were sent it.
    pub sent: u64,
    /// Devices that say that they decide by it.
    pub used: u64,
    /// Devices that say why they do not.
    pub refused: u64,
    /// The first of those.
    pub refusals: Vec<RefusalView>,
}

/// Why a device does not decide by a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// The device.
    pub device: String,
    /// Why.
    pub reason: String,
}

/// Rules, newest first; those that were removed only if `removed` asks for them.
///
/// # Errors
/// Those of the database.
pub fn rules(connection: &Connection, removed: bool) -> sql::Result<Vec<RuleView>> {
    let which = if removed { "" } else { "WHERE site_rule.removed_ms IS NULL" };
    let sql = format!("{} {which} ORDER BY site_rule.id DESC LIMIT ?1", columns());
    let rules = connection.rows(&sql, params![RULES_SHOWN_MAX], view)?;
    rules.into_iter().map(|rule| with_refusals(connection, rule)).collect()
}

/// One rule.
///
/// # Errors
/// Those of the database.
pub fn rule(connection: &Connection, rule: i64) -> sql::Result<Option<RuleView>> {
    let sql = format!("{} WHERE site_rule.id = ?1", columns());
    let found = connection.maybe(&sql, params![rule], view)?;
    found.map(|rule| with_refusals(connection, rule)).transpose()
}

fn columns() -> String {
    format!(
        "SELECT site_rule.id, site_rule.label, site_rule.task, site_rule.names, site_rule.file,
             asker.name, escalation.epoch, escalation.seq,
             CASE WHEN site_rule.removed_ms IS NOT NULL THEN 'removed'
                  WHEN {HOLDS} THEN 'holds' ELSE 'waiting' END,
             site_rule.made_by, site_rule.made_ms, site_rule.removed_by, site_rule.removed_ms,
             (SELECT count(*) FROM rule_slot WHERE rule_slot.rule = site_rule.id),
             (SELECT count(*) FROM rule_slot WHERE rule_slot.rule = site_rule.id
                 AND rule_slot.said_ms IS NOT NULL AND rule_slot.refused IS NULL),
             (SELECT count(*) FROM rule_slot WHERE rule_slot.rule = site_rule.id
                 AND rule_slot.refused IS NOT NULL)
         FROM site_rule
         LEFT JOIN escalation ON escalation.id = site_rule.escalation
         LEFT JOIN device asker ON asker.id = escalation.device"
    )
}

fn view(row: &Row<'_>) -> sql::Result<RuleView> {
    let label: String = row.get(1)?;
    let names: String = row.get(3)?;
    let asker: Option<String> = row.get(5)?;
    let (epoch, seq): (Option<i64>, Option<i64>) = (row.get(6)?, row.get(7)?);
    let question = asker.zip(epoch.zip(seq)).map(|(device, (epoch, seq))| {
        let ticket = Ticket { epoch: Epoch(epoch.cast_unsigned()), seq: unsigned(seq) };
        format!("{device}/{ticket}")
    });
    Ok(RuleView {
        rule: row.get(0)?,
        label: Some(label).filter(|label| !label.is_empty()),
        task: row.get(2)?,
        names: names.lines().map(str::to_owned).collect(),
        file: row.get(4)?,
        question,
        state: row.get(8)?,
        by: row.get(9)?,
        at: time(row.get(10)?),
        removed_by: row.get(11)?,
        removed_at: row.get::<Option<i64>>(12)?.map(time),
        sent: unsigned(row.get(13)?),
        used: unsigned(row.get(14)?),
        refused: unsigned(row.get(15)?),
        refusals: Vec::new(),
    })
}

fn with_refusals(connection: &Connection, rule: RuleView) -> sql::Result<RuleView> {
    if rule.refused == 0 {
        return Ok(rule);
    }
    let refusals = connection.rows(
        "SELECT device.name, rule_slot.refused FROM rule_slot
         JOIN device ON device.id = rule_slot.device
         WHERE rule_slot.rule = ?1 AND rule_slot.refused IS NOT NULL
         ORDER BY device.name LIMIT ?2",
        params![rule.rule, REFUSALS_SHOWN_MAX],
        |row| Ok(RefusalView { device: row.get(0)?, reason: row.get(1)? }),
    )?;
    Ok(RuleView { refusals, ..rule })
}

/// Labels of a device, for who chooses what a rule is for.
///
/// # Errors
/// Those of the database.
pub fn labels(connection: &Connection, device: &str) -> sql::Result<Vec<String>> {
    connection.rows(
        "SELECT label FROM device_label JOIN device ON device.id = device_label.device
         WHERE device.name = ?1 ORDER BY label",
        params![device],
        |row| row.get(0),
    )
}

/// Every label that a device has.
///
/// # Errors
/// Those of the database.
pub fn every_label(connection: &Connection) -> sql::Result<Vec<String>> {
    let sql = "SELECT DISTINCT label FROM device_label ORDER BY label";
    connection.rows(sql, &[], |row| row.get(0))
}
