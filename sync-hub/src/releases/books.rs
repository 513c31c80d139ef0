//! Rollouts in the database: what people ask for, what the driver does, what devices report.
//!
//! Each order is a transaction of its own that looks again whether the rollout still runs and
//! the device still waits: several hubs may drive one rollout, and a person may stop it, at any
//! moment.

use super::registry;
use super::views::{MemberView, RingView, RolloutView};
use crate::database::commands::send_down;
use crate::database::sql::{self, Connection, Row, SqlError, params};
use crate::database::views::time;
use crate::database::{Command, number, unsigned};
use landfall_hub_core::rollout::{Audits, Member, MemberState, Phase, Plan, Rollout};
use landfall_wire::directive::Directive;
use landfall_wire::id::DeviceId;
use landfall_wire::record::Record;
use landfall_wire::release::{ReleaseOrder, ReleaseReport, ReleaseStage};
use std::collections::BTreeMap;

/// Rollouts that a list shows, newest first.
const ROLLOUTS_SHOWN_MAX: i64 = 200;

/// Devices that are looked for at once when a rollout is rolled back.
const RETURNS_MAX: i64 = 500;

/// A rollout begins.
#[derive(Debug)]
pub struct Start {
    /// The package.
    pub package: String,
    /// The version to deliver.
    pub version: String,
    /// How.
    pub plan: Plan,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Why a rollout does not do what is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// There is no such release.
    #[error("there is no release {1} of {0}")]
    NoRelease(String, String),
    /// There is no such rollout.
    #[error("there is no rollout {0}")]
    NoRollout(i64),
    /// Another one of this package is not over.
    #[error("rollout {0} of {1} is not over yet")]
    Another(i64, String),
    /// No ring takes any device.
    #[error("none of the devices is in a ring")]
    Nobody,
    /// The plan makes no sense.
    #[error("{0}")]
    Plan(String),
    /// It is over, or in a phase where this is not possible.
    #[error("rollout {0} is {1}")]
    Phase(i64, &'static str),
}

impl Command for Start {
    type Done = Result<i64, RolloutError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let Start { package, version, plan, now_ms } = self;
        if let Err(what) = plan.check() {
            return Ok(Err(RolloutError::Plan(what)));
        }
        let Some(release) = registry::release(tx, package, version)? else {
            return Ok(Err(RolloutError::NoRelease(package.clone(), version.clone())));
        };
        let another: Option<i64> = tx.maybe(
            "SELECT id FROM rollout
                 WHERE package = ?1 AND phase IN ('running', 'paused', 'halted')",
            params![package],
            |row| row.get(0),
        )?;
        if let Some(another) = another {
            return Ok(Err(RolloutError::Another(another, package.clone())));
        }
        let devices = placed(tx, package, plan, *now_ms)?;
        if devices.is_empty() {
            return Ok(Err(RolloutError::Nobody));
        }
        let text = serde_json::to_string(plan).map_err(|e| SqlError::Encode(Box::new(e)))?;
        let id: i64 = tx.row(
            "INSERT INTO rollout (package, version, manifest, plan, phase, created_ms, changed_ms)
             VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?5) RETURNING id",
            params![package, version, release.manifest, text, number(*now_ms)],
            |row| row.get(0),
        )?;
        for (device, ring, previous) in devices {
            tx.execute(
                "INSERT INTO rollout_member (rollout, device, ring, state, previous, since_ms)
                 VALUES (?1, ?2, ?3, 'waiting', ?4, ?5)",
                params![id, device, number(ring as u64), previous, number(*now_ms)],
            )?;
        }
        Ok(Ok(id))
    }
}

/// Every device that may connect and that a ring takes: its row, its ring, what it runs.
fn placed(
    tx: &Connection,
    package: &str,
    plan: &Plan,
    salt: u64,
) -> sql::Result<Vec<(i64, usize, Option<String>)>> {
    let mut labels: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let rows: Vec<(i64, String)> =
        tx.rows("SELECT device, label FROM device_label", &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    for (device, label) in rows {
        labels.entry(device).or_default().push(label);
    }
    let devices: Vec<(i64, String, Option<String>)> = tx.rows(
        "SELECT device.id, device.name, device_release.manifest FROM device
             LEFT JOIN device_release ON device_release.device = device.id
                 AND device_release.package = ?1
             WHERE device.revoked_ms IS NULL ORDER BY device.name",
        params![package],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let none = Vec::new();
    let place = |(device, name, previous): (i64, String, Option<String>)| {
        let ring = plan.ring_of(&name, labels.get(&device).unwrap_or(&none), salt)?;
        Some((device, ring, previous))
    };
    Ok(devices.into_iter().filter_map(place).collect())
}

/// A rollout with its devices, as the driver needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its number.
    pub id: i64,
    /// What is known of it.
    pub rollout: Rollout,
    /// Its devices.
    pub members: Vec<Member>,
    /// Their rows.
    pub rows: Vec<i64>,
}

/// Rollouts that run.
///
/// # Errors
/// Those of the database.
pub fn running(connection: &Connection) -> sql::Result<Vec<Known>> {
    let found: Vec<(i64, String, i64, i64, String)> = connection.rows(
        "SELECT id, plan, ring, failures_seen, manifest FROM rollout
             WHERE phase = 'running' ORDER BY id",
        &[],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
    )?;
    let mut known = Vec::new();
    for (id, plan, ring, failures_seen, manifest) in found {
        let plan: Plan = serde_json::from_str(&plan).map_err(|e| SqlError::Encode(Box::new(e)))?;
        let audits = match plan.error_max {
            Some(_) => audits(connection, &manifest)?,
            None => Audits::default(),
        };
        let (rows, members) = members(connection, id)?.into_iter().unzip();
        let rollout = Rollout {
            plan,
            phase: Phase::Running,
            ring: usize::try_from(ring).unwrap_or(0),
            failures_seen: u32::try_from(failures_seen).unwrap_or(0),
            audits,
        };
        known.push(Known { id, rollout, members, rows });
    }
    Ok(known)
}

fn members(connection: &Connection, rollout: i64) -> sql::Result<Vec<(i64, Member)>> {
    connection.rows(
        "SELECT device.id, device.name, rollout_member.ring, rollout_member.state,
                 rollout_member.since_ms, device.contact_ms, rollout_member.detail
             FROM rollout_member JOIN device ON device.id = rollout_member.device
             WHERE rollout_member.rollout = ?1 AND device.revoked_ms IS NULL
             ORDER BY device.name",
        params![rollout],
        |row| {
            let state: String = row.get(3)?;
            let member = Member {
                device: row.get(1)?,
                ring: usize::try_from(row.get::<i64>(2)?).unwrap_or(0),
                state: MemberState::from_name(&state).unwrap_or(MemberState::Waiting),
                since_ms: unsigned(row.get(4)?),
                contact_ms: row.get::<Option<i64>>(5)?.map_or(0, unsigned),
                detail: row.get(6)?,
            };
            Ok((row.get(0)?, member))
        },
    )
}

/// Answers of a release that were audited: drawn at random on the device, and judged since.
fn audits(connection: &Connection, manifest: &str) -> sql::Result<Audits> {
    // Records name a package by the beginning of its digest. Labels are compared; spans, whose
    // text has a confidence in it, are not.
    connection.row(
        "SELECT count(*),
                 CAST(coalesce(sum(CASE WHEN answer.decision = outcome.decision THEN 0 ELSE 1 END),
                     0) AS BIGINT)
             FROM answer
             JOIN escalation ON escalation.id = answer.escalation
             JOIN outcome ON outcome.device = escalation.device
                 AND outcome.epoch = escalation.epoch AND outcome.seq = escalation.outcome_seq
             WHERE escalation.reason = 'audit' AND outcome.package = ?1
                 AND outcome.decision LIKE '{\"label\"%'",
        params![manifest.get(..16).unwrap_or(manifest)],
        |row| Ok(Audits { judged: unsigned(row.get(0)?), wrong: unsigned(row.get(1)?) }),
    )
}

/// A device is to run a rollout's release.
#[derive(Debug)]
pub struct Order {
    /// The rollout.
    pub rollout: i64,
    /// Row of the device.
    pub device: i64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Order {
    type Done = bool;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Order { rollout, device, now_ms } = *self;
        let due: Option<(String, String, String)> = tx.maybe(
            "SELECT rollout.package, rollout.manifest, rollout.plan FROM rollout
                 JOIN rollout_member ON rollout_member.rollout = rollout.id
                 WHERE rollout.id = ?1 AND rollout_member.device = ?2
                     AND rollout.phase = 'running' AND rollout_member.state = 'waiting'",
            params![rollout, device],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let Some((package, manifest, plan)) = due else { return Ok(false) };
        let Some(release) = registry::reference(tx, &manifest)? else { return Ok(false) };
        let plan: Plan = serde_json::from_str(&plan).map_err(|e| SqlError::Encode(Box::new(e)))?;
        let number_of = next_number(tx, device, &package, now_ms)?;
        let release = Some(release);
        let order =
            ReleaseOrder { package, number: number_of, release, trial_secs: plan.trial_secs };
        send_down(tx, device, &Record::Directive(Directive::Release(order)), now_ms)?;
        tx.execute(
            "UPDATE rollout_member SET state = 'ordered', number = ?3, since_ms = ?4
                 WHERE rollout = ?1 AND device = ?2",
            params![rollout, device, number(number_of), number(now_ms)],
        )?;
        Ok(true)
    }
}

/// Above every number that the device has seen; by the clock, so that it is above those of a hub
/// whose backup this one was restored from.
fn next_number(tx: &Connection, device: i64, package: &str, now_ms: u64) -> sql::Result<u64> {
    let last: Option<i64> = tx.maybe(
        "SELECT number FROM device_release WHERE device = ?1 AND package = ?2",
        params![device, package],
        |row| row.get(0),
    )?;
    let next = now_ms.max(last.map_or(0, unsigned) + 1);
    tx.execute(
        "INSERT INTO device_release (device, package, number, stage, said_ms)
         VALUES (?1, ?2, ?3, 'ordered', ?4)
         ON CONFLICT (device, package) DO UPDATE SET number = excluded.number",
        params![device, package, number(next), number(now_ms)],
    )?;
    Ok(next)
}

/// A rollout moves on, if it is where it was seen.
#[derive(Debug)]
pub struct Move {
    /// The rollout.
    pub rollout: i64,
    /// The ring that it was seen in.
    pub ring: usize,
    /// The ring that it is to be in.
    pub to_ring: usize,
    /// The phase that it is to be in.
    pub phase: Phase,
    /// Why.
    pub reason: Option<String>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Move {
    type Done = bool;

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let changed = tx.execute(
            "UPDATE rollout SET ring = ?3, phase = ?4, reason = ?5, changed_ms = ?6
                 WHERE id = ?1 AND ring = ?2 AND phase = 'running'",
            params![
                self.rollout,
                number(self.ring as u64),
                number(self.to_ring as u64),
                self.phase.name(),
                self.reason,
                number(self.now_ms),
            ],
        )?;
        Ok(changed > 0)
    }
}

/// A person pauses, resumes or rolls back.
#[derive(Debug)]
pub struct Steer {
    /// The rollout.
    pub rollout: i64,
    /// Where to.
    pub phase: Phase,
    /// Who says so, or why.
    pub reason: Option<String>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Steer {
    type Done = Result<(), RolloutError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let id = self.rollout;
        let found: Option<String> =
            tx.maybe("SELECT phase FROM rollout WHERE id = ?1", params![id], |row| row.get(0))?;
        let Some(phase) = found.as_deref().and_then(Phase::from_name) else {
            return Ok(Err(RolloutError::NoRollout(id)));
        };
        let possible = match self.phase {
            Phase::Paused => matches!(phase, Phase::Running | Phase::Paused),
            Phase::Running => matches!(phase, Phase::Paused | Phase::Halted | Phase::Running),
            Phase::RolledBack => true,
            Phase::Halted | Phase::Done => false,
        };
        if !possible {
            return Ok(Err(RolloutError::Phase(id, phase.name())));
        }
        if phase == self.phase && phase != Phase::RolledBack {
            return Ok(Ok(()));
        }
        // Whoever resumes has seen what went wrong until now.
        tx.execute(
            "UPDATE rollout SET phase = ?2, reason = ?3, changed_ms = ?4,
                 failures_seen = (SELECT count(*) FROM rollout_member
                     WHERE rollout_member.rollout = rollout.id AND state = 'failed')
                 WHERE id = ?1",
            params![id, self.phase.name(), self.reason, number(self.now_ms)],
        )?;
        Ok(Ok(()))
    }
}

/// Devices that were told to run the release of a rollout that is rolled back since, with that
/// rollout; at most so many at once. Costs one look into an index for each such rollout.
///
/// # Errors
/// Those of the database.
pub(super) fn to_return(connection: &Connection) -> sql::Result<Vec<(i64, i64)>> {
    connection.rows(
        "SELECT rollout_member.rollout, rollout_member.device FROM rollout
             JOIN rollout_member ON rollout_member.rollout = rollout.id
             WHERE rollout.phase = 'rolled-back' AND rollout_member.state
                 IN ('ordered', 'accepted', 'fetched', 'trial', 'current')
             ORDER BY rollout_member.rollout, rollout_member.device LIMIT ?1",
        params![RETURNS_MAX],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// A device of a rollout that is rolled back is to run what it ran before.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) rollout: i64,
    /// Row of the device.
    pub(super) device: i64,
    pub(super) now_ms: u64,
}

impl Command for Return {
    type Done = bool;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Return { rollout, device, now_ms } = *self;
        let due: Option<(String, Option<String>)> = tx.maybe(
            "SELECT rollout.package, rollout_member.previous FROM rollout
                 JOIN rollout_member ON rollout_member.rollout = rollout.id
                 WHERE rollout.id = ?1 AND rollout_member.device = ?2
                     AND rollout.phase = 'rolled-back'
                     AND rollout_member.state NOT IN ('waiting', 'failed', 'returned')",
            params![rollout, device],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((package, previous)) = due else { return Ok(false) };
        // One that was removed here meanwhile: then what the device is configured with.
        let release = match previous {
            Some(manifest) => registry::reference(tx, &manifest)?,
            None => None,
        };
        let number_of = next_number(tx, device, &package, now_ms)?;
        let order = ReleaseOrder { package, number: number_of, release, trial_secs: 0 };
        send_down(tx, device, &Record::Directive(Directive::Release(order)), now_ms)?;
        tx.execute(
            "UPDATE rollout_member SET state = 'returned', number = ?3, since_ms = ?4
                 WHERE rollout = ?1 AND device = ?2",
            params![rollout, device, number(number_of), number(now_ms)],
        )?;
        Ok(true)
    }
}

/// A device reports: within the transaction that takes its event.
pub(crate) fn reported(
    tx: &Connection,
    device: i64,
    now_ms: i64,
    report: &ReleaseReport,
) -> sql::Result<()> {
    let ReleaseReport { package, number: order, release, stage, .. } = report;
    let runs = matches!(stage, ReleaseStage::Current);
    let manifest = release.map(|release| release.to_string());
    tx.execute(
        "INSERT INTO device_release (device, package, manifest, number, stage, said_ms)
         VALUES (?1, ?2, CASE WHEN CAST(?7 AS BIGINT) = 1 THEN ?3 END, ?4, ?5, ?6)
         ON CONFLICT (device, package) DO UPDATE SET stage = excluded.stage,
             said_ms = excluded.said_ms,
             manifest = CASE WHEN CAST(?7 AS BIGINT) = 1 THEN excluded.manifest ELSE device_release.manifest END",
        params![device, package, manifest, number(*order), stage.name(), now_ms, i64::from(runs)],
    )?;
    let (state, detail) = match stage {
        ReleaseStage::Accepted => (MemberState::Accepted, None),
        ReleaseStage::Fetched => (MemberState::Fetched, None),
        ReleaseStage::Trial => (MemberState::Trial, None),
        ReleaseStage::Current => (MemberState::Current, None),
        ReleaseStage::RolledBack { fault, detail } => {
            (MemberState::Failed, Some(format!("{}: {detail}", fault.name())))
        }
    };
    tx.execute(
        "UPDATE rollout_member SET state = ?3, detail = ?4, since_ms = ?5
             WHERE device = ?1 AND number = ?2 AND state NOT IN ('returned', 'failed', 'current')",
        params![device, number(*order), state.name(), detail, now_ms],
    )
    .map(drop)
}

/// Labels of a device are set and removed.
#[derive(Debug)]
pub struct Label {
    /// The device.
    pub device: DeviceId,
    /// Labels that it is to have.
    pub add: Vec<String>,
    /// Labels that it is not to have.
    pub remove: Vec<String>,
}

impl Command for Label {
    type Done = Option<Vec<String>>;

    fn apply(&self, tx: &Connection) -> sql::Result<Option<Vec<String>>> {
        let Some(device) = crate::database::queries::device_id(tx, &self.device)? else {
            return Ok(None);
        };
        for label in &self.add {
            tx.execute(
                "INSERT INTO device_label (device, label) VALUES (?1, ?2)
                 ON CONFLICT (device, label) DO NOTHING",
                params![device, label],
            )?;
        }
        for label in &self.remove {
            tx.execute(
                "DELETE FROM device_label WHERE device = ?1 AND label = ?2",
                params![device, label],
            )?;
        }
        let sql = "SELECT label FROM device_label WHERE device = ?1 ORDER BY label";
        tx.rows(sql, params![device], |row| row.get(0)).map(Some)
    }
}

const COLUMNS: &str = "SELECT id, package, version, manifest, plan, phase, reason, ring,
     created_ms, changed_ms FROM rollout";

/// Rollouts, newest first.
///
/// # Errors
/// Those of the database.
pub fn rollouts(connection: &Connection) -> sql::Result<Vec<RolloutView>> {
    let sql = format!("{COLUMNS} ORDER BY id DESC LIMIT ?1");
    let found = connection.rows(&sql, params![ROLLOUTS_SHOWN_MAX], view)?;
    found.into_iter().map(|rollout| with_rings(connection, rollout, false)).collect()
}

/// One rollout with its devices.
///
/// # Errors
/// Those of the database.
pub fn rollout(connection: &Connection, id: i64) -> sql::Result<Option<RolloutView>> {
    let found = connection.maybe(&format!("{COLUMNS} WHERE id = ?1"), params![id], view)?;
    found.map(|rollout| with_rings(connection, rollout, true)).transpose()
}

fn view(row: &Row<'_>) -> sql::Result<RolloutView> {
    let plan: String = row.get(4)?;
    let plan: Plan = serde_json::from_str(&plan).map_err(|e| SqlError::Encode(Box::new(e)))?;
    let ring = |ring: landfall_hub_core::rollout::Ring| RingView {
        name: ring.name,
        wait_secs: ring.wait_secs,
        ..RingView::default()
    };
    Ok(RolloutView {
        id: row.get(0)?,
        package: row.get(1)?,
        version: row.get(2)?,
        manifest: row.get(3)?,
        phase: row.get(5)?,
        reason: row.get(6)?,
        ring: unsigned(row.get(7)?),
        created_at: time(row.get(8)?),
        changed_at: time(row.get(9)?),
        rings: plan.rings.into_iter().map(ring).collect(),
        devices: Vec::new(),
    })
}

fn with_rings(
    connection: &Connection,
    mut rollout: RolloutView,
    with_devices: bool,
) -> sql::Result<RolloutView> {
    let members: Vec<(MemberView, usize)> = connection.rows(
        "SELECT device.name, rollout_member.ring, rollout_member.state, rollout_member.since_ms,
                 device.contact_ms, rollout_member.previous, rollout_member.detail
             FROM rollout_member JOIN device ON device.id = rollout_member.device
             WHERE rollout_member.rollout = ?1 ORDER BY rollout_member.ring, device.name",
        params![rollout.id],
        |row| {
            let ring = usize::try_from(row.get::<i64>(1)?).unwrap_or(0);
            let member = MemberView {
                device: row.get(0)?,
                ring: String::new(),
                state: row.get(2)?,
                since: time(row.get(3)?),
                contact_at: row.get::<Option<i64>>(4)?.map(time),
                previous: row.get(5)?,
                detail: row.get(6)?,
            };
            Ok((member, ring))
        },
    )?;
    for (mut member, at) in members {
        let Some(ring) = rollout.rings.get_mut(at) else { continue };
        ring.devices += 1;
        match MemberState::from_name(&member.state) {
            Some(MemberState::Current) => ring.current += 1,
            Some(MemberState::Failed) => ring.failed += 1,
            Some(
                MemberState::Ordered
                | MemberState::Accepted
                | MemberState::Fetched
                | MemberState::Trial,
            ) => ring.under_way += 1,
            Some(MemberState::Waiting | MemberState::Returned) | None => {}
        }
        member.ring.clone_from(&ring.name);
        if with_devices {
            rollout.devices.push(member);
        }
    }
    Ok(rollout)
}
