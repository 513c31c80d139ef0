//! What is an alarm now. Queries only: nothing here remembers what was.

use super::AlarmsConfig;
use crate::database::quality::{Window, quality};
use crate::database::sql::{self, Connection, params};
use crate::database::views::time;
use crate::database::{audit, number};
use landfall_wire::id::DeviceId;

/// Days of which quality is looked at: as long as the quality page does by default.
const QUALITY_DAYS: u64 = 28;

/// A record that was refused is an alarm for this long: then it is known.
const REFUSED_MS: u64 = 24 * 60 * 60 * 1_000;

/// Most devices of one kind that each have an alarm of their own; a fleet that is cut off as a
/// whole is one more, which says so.
const DEVICES_MAX: u32 = 100;

/// A cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    /// `silent`, `desk`, `drift`, `error`, `rollout`, `refused`, `chain`.
    pub(super) kind: &'static str,
    /// What it is about.
    pub(super) subject: String,
    /// In words.
    pub(super) detail: String,
}

/// Every cause that holds at `now_ms`.
pub(super) fn causes(
    connection: &Connection,
    config: &AlarmsConfig,
    now_ms: u64,
) -> sql::Result<Vec<Cause>> {
    let mut found = silent(connection, config, now_ms)?;
    found.extend(desk(connection, config, now_ms)?);
    found.extend(of_quality(connection, config, now_ms)?);
    found.extend(rollouts(connection)?);
    found.extend(refused(connection, now_ms)?);
    found.extend(chains(connection)?);
    Ok(found)
}

/// Devices that were not heard for too long. One that was never heard has not begun.
fn silent(connection: &Connection, config: &AlarmsConfig, now_ms: u64) -> sql::Result<Vec<Cause>> {
    if config.silent_ms == 0 {
        return Ok(Vec::new());
    }
    let before = number(now_ms.saturating_sub(config.silent_ms));
    let of = "FROM device WHERE revoked_ms IS NULL AND connected_ms IS NULL AND contact_ms < ?1";
    let sql = format!("SELECT name, contact_ms {of} ORDER BY name LIMIT ?2");
    let mut found = connection.rows(&sql, params![before, DEVICES_MAX], |row| {
        let since = time(row.get(1)?);
        let detail = format!("not heard since {since}");
        Ok(Cause { kind: "silent", subject: row.get(0)?, detail })
    })?;
    if found.len() == DEVICES_MAX as usize {
        let sql = format!("SELECT count(*) {of}");
        let count: i64 = connection.row(&sql, params![before], |row| row.get(0))?;
        if count > i64::from(DEVICES_MAX) {
            let detail = format!("more than {DEVICES_MAX} devices are not heard; some are named");
            found.push(Cause { kind: "silent", subject: String::new(), detail });
        }
    }
    Ok(found)
}

/// Questions that wait for people for too long.
fn desk(connection: &Connection, config: &AlarmsConfig, now_ms: u64) -> sql::Result<Vec<Cause>> {
    if config.wait_ms == 0 {
        return Ok(Vec::new());
    }
    let before = number(now_ms.saturating_sub(config.wait_ms));
    let sql = "SELECT escalation.task, min(escalation.received_ms)
               FROM desk_case JOIN escalation ON escalation.id = desk_case.escalation
               WHERE escalation.state = 'open' AND desk_case.place = 'people'
                 AND desk_case.send_ms IS NULL AND escalation.received_ms < ?1
               GROUP BY escalation.task ORDER BY escalation.task";
    connection.rows(sql, params![before], |row| {
        let since = time(row.get(1)?);
        let detail = format!("a question waits for people since {since}");
        Ok(Cause { kind: "desk", subject: row.get(0)?, detail })
    })
}

fn of_quality(
    connection: &Connection,
    config: &AlarmsConfig,
    now_ms: u64,
) -> sql::Result<Vec<Cause>> {
    if config.drift_max <= 0.0 && config.error_max.is_none() {
        return Ok(Vec::new());
    }
    let window = Window { days: QUALITY_DAYS, now_ms, ..Window::default() };
    let mut found = Vec::new();
    for row in quality(connection, &window)? {
        let subject = format!("{} {}", row.task, row.package);
        let over = |drift: Option<f64>| {
            drift.filter(|drift| config.drift_max > 0.0 && *drift > config.drift_max)
        };
        let drifts = [("confidence", row.confidence_drift), ("labels", row.label_drift)];
        let drifts: Vec<String> = drifts
            .into_iter()
            .filter_map(|(of, drift)| Some(format!("{of} {:.2}", over(drift)?)))
            .collect();
        if !drifts.is_empty() {
            let detail = format!("drift of {} is over {}", drifts.join(" and "), config.drift_max);
            found.push(Cause { kind: "drift", subject: subject.clone(), detail });
        }
        if let Some(most) = config.error_max.filter(|most| row.error.low > *most) {
            let (of, total) = (row.error.of, row.error.total);
            let detail = format!(
                "{of} of {total} audited answers are wrong: with 95 % confidence more than {most}"
            );
            found.push(Cause { kind: "error", subject, detail });
        }
    }
    Ok(found)
}

fn rollouts(connection: &Connection) -> sql::Result<Vec<Cause>> {
    let sql = "SELECT id, package, version, reason FROM rollout WHERE phase = 'halted' ORDER BY id";
    connection.rows(sql, &[], |row| {
        let (package, version): (String, String) = (row.get(1)?, row.get(2)?);
        let reason: Option<String> = row.get(3)?;
        let detail = format!("{package} {version} is halted: {}", reason.unwrap_or_default());
        Ok(Cause { kind: "rollout", subject: row.get::<i64>(0)?.to_string(), detail })
    })
}

/// Records that this hub could not use, of the last day.
fn refused(connection: &Connection, now_ms: u64) -> sql::Result<Vec<Cause>> {
    let after = number(now_ms.saturating_sub(REFUSED_MS));
    // Few: what is refused is a fault of a version, and each is refused once.
    let sql = "SELECT device.name, count(*), min(rejected.reason)
               FROM rejected JOIN device ON device.id = rejected.device
               WHERE rejected.received_ms > ?1 AND device.rejected > 0
               GROUP BY device.name ORDER BY device.name LIMIT ?2";
    connection.rows(sql, params![after, DEVICES_MAX], |row| {
        let (count, reason): (i64, String) = (row.get(1)?, row.get(2)?);
        let detail = format!("{count} records could not be used in a day, such as: {reason}");
        Ok(Cause { kind: "refused", subject: row.get(0)?, detail })
    })
}

fn chains(connection: &Connection) -> sql::Result<Vec<Cause>> {
    let sql = "SELECT device.name, chain_check.findings, chain_check.at_ms
               FROM chain_check JOIN device ON device.id = chain_check.device
               WHERE chain_check.findings > 0 ORDER BY device.name LIMIT ?1";
    connection.rows(sql, params![DEVICES_MAX], |row| {
        let (findings, at) = (row.get::<i64>(1)?, time(row.get(2)?));
        let detail = format!(
            "the chain of its outcomes is broken: {findings} findings at {at}; `landfall-hub audit` \
             lists them"
        );
        Ok(Cause { kind: "chain", subject: row.get(0)?, detail })
    })
}

/// The device whose chain was not looked at for the longest time, and what is found.
pub(super) fn check_chain(connection: &Connection) -> sql::Result<Option<(i64, u64)>> {
    let sql = "SELECT device.id, device.name FROM device
               LEFT JOIN chain_check ON chain_check.device = device.id
               WHERE device.outcomes > 0
               ORDER BY coalesce(chain_check.at_ms, 0), device.id LIMIT 1";
    let next = connection.maybe(sql, &[], |row| Ok((row.get::<i64>(0)?, row.get::<String>(1)?)))?;
    let Some((device, name)) = next else { return Ok(None) };
    let Ok(name) = name.parse::<DeviceId>() else { return Ok(None) };
    let reports = audit::audit(connection, &name)?.unwrap_or_default();
    Ok(Some((device, reports.iter().map(|report| report.findings_count).sum())))
}
