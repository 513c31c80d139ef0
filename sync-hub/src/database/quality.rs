//! How good the answers are: counts kept while writing, and audits that people answered.

use super::desk::day;
use super::sql::{self, Connection, params};
use super::views::time;
use super::{number, unsigned};
use landfall_hub_core::quality::{Share, confidence_bin, drift, share};
use landfall_wire::id::DeviceId;
use landfall_wire::record::{Decision, Mechanism, Outcome, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Days that a release's own reference is taken from: the first on which this hub saw it.
const REFERENCE_DAYS: u64 = 7;

/// Days that are compared with it: the last.
const RECENT_DAYS: u64 = 7;

/// Audits that are looked at, the newest: the interval is narrow enough by then.
const AUDITS_MAX: u32 = 5_000;

/// Most days of a chart or a window.
pub const DAYS_MAX: u64 = 366;

/// Counts of one batch.
#[derive(Debug, Default)]
pub(super) struct Tally {
    outcomes: BTreeMap<(String, String, &'static str, i64), u64>,
    labels: BTreeMap<(String, String, String), u64>,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        let (task, package) = (outcome.task.as_str().to_owned(), outcome.package.to_string());
        let status = match outcome.verdict {
            Verdict::Answered => "answered",
            Verdict::Refused => "refused",
            Verdict::Escalated { .. } => "escalated",
        };
        let by_model = matches!(outcome.mechanism, Mechanism::Model);
        let bin = confidence_bin(outcome.confidence.basis_points());
        let bin = if by_model { i64::try_from(bin).unwrap_or(-1) } else { -1 };
        let label = match &outcome.decision {
            Some(Decision::Label(label)) if by_model => Some(label.clone()),
            Some(Decision::OutOfScope) if by_model => Some(String::new()),
            _ => None,
        };
        if let Some(label) = label {
            *self.labels.entry((task.clone(), package.clone(), label)).or_default() += 1;
        }
        *self.outcomes.entry((task, package, status, bin)).or_default() += 1;
    }

    /// Adds the counts of a device's batch, in its transaction.
    pub(super) fn write(&self, tx: &Connection, device: i64, now_ms: u64) -> sql::Result<()> {
        let day = number(day(now_ms));
        for ((task, package, status, bin), count) in &self.outcomes {
            tx.execute(
                "INSERT INTO tally (day, device, task, package, status, bin, outcomes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (day, device, task, package, status, bin) DO UPDATE
                 SET outcomes = tally.outcomes + excluded.outcomes",
                params![day, device, task, package, *status, *bin, number(*count)],
            )?;
        }
        for ((task, package, label), count) in &self.labels {
            tx.execute(
                "INSERT INTO tally_label (day, device, task, package, label, outcomes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (day, device, task, package, label) DO UPDATE
                 SET outcomes = tally_label.outcomes + excluded.outcomes",
                params![day, device, task, package, label, number(*count)],
            )?;
        }
        Ok(())
    }
}

/// One day of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayView {
    /// The day.
    pub day: String,
    /// Outcomes that arrived.
    pub outcomes: u64,
    /// Of these, escalated.
    pub escalated: u64,
    /// Of these, refused.
    pub refused: u64,
}

/// The last days, oldest first, days without outcomes included.
///
/// # Errors
/// Those of the database, here and below.
pub fn days(connection: &Connection, now_ms: u64, count: u64) -> sql::Result<Vec<DayView>> {
    let (last, count) = (day(now_ms), count.clamp(1, DAYS_MAX));
    let first = last.saturating_sub(count - 1);
    let sql = "SELECT day, status, CAST(sum(outcomes) AS BIGINT) FROM tally WHERE day >= ?1
               GROUP BY day, status";
    let found = connection.rows(sql, params![number(first)], |row| {
        Ok((unsigned(row.get(0)?), row.get::<String>(1)?, unsigned(row.get(2)?)))
    })?;
    let mut views: BTreeMap<u64, DayView> = (first..=last)
        .map(|day| {
            let view = DayView { day: date(day), outcomes: 0, escalated: 0, refused: 0 };
            (day, view)
        })
        .collect();
    for (day, status, outcomes) in found {
        let Some(view) = views.get_mut(&day) else { continue };
        view.outcomes += outcomes;
        match status.as_str() {
            "escalated" => view.escalated += outcomes,
            "refused" => view.refused += outcomes,
            _ => {}
        }
    }
    Ok(views.into_values().collect())
}

fn date(day: u64) -> String {
    let text = time(number(day.saturating_mul(24 * 60 * 60 * 1_000)));
    text.get(..10).unwrap_or(&text).to_owned()
}

/// What is asked of quality.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of devices with this label, such as a site's.
    pub label: Option<String>,
    /// Days back from today.
    pub days: u64,
    /// Now.
    pub now_ms: u64,
}

/// One task with one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityView {
    /// The task.
    pub task: String,
    /// Digest of the model package.
    pub package: String,
    /// Devices that used it.
    pub devices: u64,
    /// Outcomes in the window.
    pub outcomes: u64,
    /// Answered on the spot, of those that were not refused.
    pub coverage: Share,
    /// Escalated, of those that were not refused.
    pub escalated: Share,
    /// Wrong, of the random audits that people answered.
    pub error: Share,
    /// Drift of the confidence against the release's first days here.
    pub confidence_drift: Option<f64>,
    /// The same of the labels.
    pub label_drift: Option<f64>,
}

#[derive(Default)]
struct Sums {
    devices: BTreeSet<i64>,
    answered: u64,
    escalated: u64,
    outcomes: u64,
    wrong: u64,
    audited: u64,
}

/// Every task with every release that was seen in the window, by task.
///
/// # Errors
/// Those of the database.
pub fn quality(connection: &Connection, window: &Window) -> sql::Result<Vec<QualityView>> {
    let device = match &window.device {
        Some(name) => match super::queries::device_id(connection, name)? {
            Some(device) => device,
            None => return Ok(Vec::new()),
        },
        None => ANY_DEVICE,
    };
    let today = day(window.now_ms);
    let first = today.saturating_sub(window.days.clamp(1, DAYS_MAX) - 1);
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let sql = "SELECT task, package, device, status, CAST(sum(outcomes) AS BIGINT) FROM tally
               WHERE day >= ?1 AND (?2 = -1 OR device = ?2)
                 AND (?3 = '' OR device IN (SELECT device FROM device_label WHERE label = ?3))
               GROUP BY task, package, device, status";
    let label = window.label.as_deref().unwrap_or_default();
    let whose = Whose { device, label };
    let counts = connection.rows(sql, params![number(first), device, label], |row| {
        let key = (row.get::<String>(0)?, row.get::<String>(1)?);
        Ok((key, row.get::<i64>(2)?, row.get::<String>(3)?, unsigned(row.get(4)?)))
    })?;
    for (key, device, status, outcomes) in counts {
        let sum = sums.entry(key).or_default();
        sum.devices.insert(device);
        sum.outcomes += outcomes;
        match status.as_str() {
            "answered" => sum.answered += outcomes,
            "escalated" => sum.escalated += outcomes,
            _ => {}
        }
    }
    audits(connection, (whose, first), &mut sums)?;
    let begins = first_days(connection, whose)?;
    let views = sums.into_iter().map(|((task, package), sum)| {
        let decided = sum.answered + sum.escalated;
        let begins = begins.get(&(task.clone(), package.clone())).copied();
        let of = Of { task: &task, package: &package, whose, begins, today };
        let confidence_drift = drift_of(connection, &of, CONFIDENCE)?;
        let label_drift = drift_of(connection, &of, LABELS)?;
        Ok(QualityView {
            devices: sum.devices.len() as u64,
            outcomes: sum.outcomes,
            coverage: share(sum.answered, decided),
            escalated: share(sum.escalated, decided),
            error: share(sum.wrong, sum.audited),
            confidence_drift,
            label_drift,
            task,
            package,
        })
    });
    views.collect()
}

/// No row has this number.
const ANY_DEVICE: i64 = -1;

/// Whose outcomes are looked at.
#[derive(Debug, Clone, Copy)]
struct Whose<'a> {
    /// [`ANY_DEVICE`] for all.
    device: i64,
    /// Empty for all.
    label: &'a str,
}

/// Random audits that people answered: what they said differs from what the device had said.
fn audits(
    connection: &Connection,
    (whose, first_day): (Whose<'_>, u64),
    sums: &mut BTreeMap<(String, String), Sums>,
) -> sql::Result<()> {
    let sql = "SELECT escalation.task, outcome.package, escalation.provisional, answer.decision
               FROM escalation JOIN answer ON answer.escalation = escalation.id
               JOIN outcome ON outcome.device = escalation.device
                   AND outcome.epoch = escalation.epoch AND outcome.seq = escalation.outcome_seq
               WHERE escalation.reason = 'audit' AND escalation.received_ms >= ?1
                 AND (?2 = -1 OR escalation.device = ?2)
                 AND (?4 = '' OR escalation.device IN (SELECT device FROM device_label
                                                       WHERE label = ?4))
                 AND answer.given_by NOT LIKE 'model %'
               ORDER BY escalation.received_ms DESC LIMIT ?3";
    let from_ms = number(first_day.saturating_mul(24 * 60 * 60 * 1_000));
    let Whose { device, label } = whose;
    let rows = connection.rows(sql, params![from_ms, device, AUDITS_MAX, label], |row| {
        let key = (row.get::<String>(0)?, row.get::<String>(1)?);
        Ok((key, row.get::<Option<String>>(2)?, row.get::<String>(3)?))
    })?;
    for (key, guess, answer) in rows {
        let sum = sums.entry(key).or_default();
        sum.audited += 1;
        sum.wrong += u64::from(!same(guess.as_deref(), &answer));
    }
    Ok(())
}

/// Whether two decisions say the same: the confidence of a field does not matter, nor its place
/// in the list.
fn same(guess: Option<&str>, answer: &str) -> bool {
    fn key(text: &str) -> Option<(Option<String>, BTreeSet<String>)> {
        let value: Value = serde_json::from_str(text).ok()?;
        let label = value.get("label").and_then(Value::as_str).map(str::to_owned);
        let fields = value.get("fields").and_then(Value::as_array).into_iter().flatten();
        let field = |field: &Value| {
            let part = |name: &str| field.get(name).map(Value::to_string).unwrap_or_default();
            format!("{} {} {}", part("label"), part("start"), part("end"))
        };
        Some((label, fields.map(field).collect()))
    }
    guess.and_then(key).is_some_and(|guess| Some(guess) == key(answer))
}

/// The first day of each task with each release: all at once, because the table is kept by day.
fn first_days(
    connection: &Connection,
    Whose { device, label }: Whose<'_>,
) -> sql::Result<BTreeMap<(String, String), u64>> {
    let sql = "SELECT task, package, min(day) FROM tally WHERE (?1 = -1 OR device = ?1)
                 AND (?2 = '' OR device IN (SELECT device FROM device_label WHERE label = ?2))
               GROUP BY task, package";
    let rows = connection.rows(sql, params![device, label], |row| {
        Ok(((row.get(0)?, row.get(1)?), unsigned(row.get(2)?)))
    })?;
    Ok(rows.into_iter().collect())
}

struct Of<'a> {
    task: &'a str,
    package: &'a str,
    whose: Whose<'a>,
    begins: Option<u64>,
    today: u64,
}

/// Counts by bin, or by label.
const CONFIDENCE: &str = "SELECT CAST(bin AS TEXT), CAST(sum(outcomes) AS BIGINT) FROM tally
    WHERE task = ?1 AND package = ?2 AND (?3 = -1 OR device = ?3) AND bin >= 0
      AND (?6 = '' OR device IN (SELECT device FROM device_label WHERE label = ?6))
      AND day >= ?4 AND day <= ?5 GROUP BY bin";
const LABELS: &str = "SELECT label, CAST(sum(outcomes) AS BIGINT) FROM tally_label
    WHERE task = ?1 AND package = ?2 AND (?3 = -1 OR device = ?3)
      AND (?6 = '' OR device IN (SELECT device FROM device_label its WHERE its.label = ?6))
      AND day >= ?4 AND day <= ?5 GROUP BY label";

/// The index of the last days against the first ones; `None` while they overlap or are few.
fn drift_of(connection: &Connection, of: &Of<'_>, sql: &str) -> sql::Result<Option<f64>> {
    let Some(first) = of.begins else { return Ok(None) };
    let Whose { device, label } = of.whose;
    let recent = (of.today + 1).saturating_sub(RECENT_DAYS);
    if first + REFERENCE_DAYS > recent {
        return Ok(None);
    }
    let counts = |from: u64, to: u64| {
        let (from, to) = (number(from), number(to));
        let rows =
            connection.rows(sql, params![of.task, of.package, device, from, to, label], |row| {
                Ok((row.get::<String>(0)?, unsigned(row.get(1)?)))
            })?;
        sql::Result::Ok(rows.into_iter().collect::<BTreeMap<String, u64>>())
    };
    let reference = counts(first, first + REFERENCE_DAYS - 1)?;
    let now = counts(recent, of.today)?;
    let bins: BTreeSet<&String> = reference.keys().chain(now.keys()).collect();
    let of_bins = |counts: &BTreeMap<String, u64>| -> Vec<u64> {
        bins.iter().map(|bin| counts.get(*bin).copied().unwrap_or(0)).collect()
    };
    Ok(drift(&of_bins(&reference), &of_bins(&now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::open;
    use crate::database::testing::on_both;

    #[test]
    fn a_site_has_a_quality_of_its_own() {
        on_both(|source| {
            let books = open(source).unwrap();
            for (name, label, outcomes) in
                [("ship-7", "site:ship", 10), ("quay-1", "site:quay", 30)]
            {
                let device: i64 = books
                    .row(
                        "INSERT INTO device (name, created_ms, answers_epoch) VALUES (?1, 1, 1)
                         RETURNING id",
                        params![name],
                        |row| row.get(0),
                    )
                    .unwrap();
                let sql = "INSERT INTO device_label (device, label) VALUES (?1, ?2)";
                books.execute(sql, params![device, label]).unwrap();
                for (day, status, bin) in [(100, "answered", 9), (400, "escalated", 1)] {
                    let sql =
                        "INSERT INTO tally (day, device, task, package, status, bin, outcomes)
                               VALUES (?1, ?2, 'failure-mode', 'p', ?3, ?4, ?5)";
                    let outcomes = if day == 100 { 200 } else { outcomes * 20 };
                    books.execute(sql, params![day, device, status, bin, outcomes]).unwrap();
                }
            }
            let of = |label: Option<&str>| {
                let label = label.map(str::to_owned);
                let now_ms = 400 * 24 * 60 * 60 * 1_000;
                let window = Window { label, days: 28, now_ms, ..Window::default() };
                let rows = quality(&books, &window).unwrap();
                rows.into_iter()
                    .map(|row| (row.outcomes, row.devices, row.confidence_drift.is_some()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(of(None), [(800, 2, true)]);
            assert_eq!(of(Some("site:ship")), [(200, 1, true)]);
            assert_eq!(of(Some("site:quay")), [(600, 1, true)]);
            assert_eq!(of(Some("site:none")), []);
        });
    }

    #[test]
    fn an_audit_finds_what_differs_and_nothing_else() {
        let label = r#"{"label":"Leaking"}"#;
        assert!(same(Some(label), label));
        assert!(!same(Some(label), r#"{"label":null}"#));
        assert!(!same(None, label), "the device had no answer");
        let one = r#"{"fields":[{"label":"Item","value":"pump","start":0,"end":4,"confidence":0.7},
            {"label":"Place","value":"aft","start":9,"end":12,"confidence":0.9}]}"#;
        let other = r#"{"fields":[{"label":"Place","value":"aft","start":9,"end":12,"confidence":1},
            {"label":"Item","value":"pump","start":0,"end":4,"confidence":1}]}"#;
        assert!(same(Some(one), other));
        assert!(!same(Some(one), r#"{"fields":[]}"#));
    }
}
