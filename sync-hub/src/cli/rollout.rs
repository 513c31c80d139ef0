//! `rollout` and `label`: which devices get a release, and when.

use super::args::{LabelArgs, RolloutCommand, StartArgs};
use super::failure::Failure;
use super::{Home, open, out};
use crate::database;
use crate::database::sql::Connection;
use crate::hub::now_ms;
use crate::releases::books::{Label, RolloutError, Start, Steer, rollout, rollouts};
use crate::releases::views::{MemberView, RingView, RolloutView};
use landfall_hub_core::rollout::{Phase, Plan, Ring};
use serde_json::json;

pub(super) fn rollout_command(home: &Home, command: RolloutCommand) -> Result<(), Failure> {
    match command {
        RolloutCommand::Start(args) => start(home, args),
        RolloutCommand::List { json } => list(home, json),
        RolloutCommand::Show { rollout, json } => {
            show(&find(&open(home)?, rollout)?, json);
            Ok(())
        }
        RolloutCommand::Pause { rollout, json } => steer(home, rollout, Phase::Paused, None, json),
        RolloutCommand::Resume { rollout, json } => {
            steer(home, rollout, Phase::Running, None, json)
        }
        RolloutCommand::Rollback { rollout, reason, json } => {
            steer(home, rollout, Phase::RolledBack, reason, json)
        }
    }
}

fn start(home: &Home, args: StartArgs) -> Result<(), Failure> {
    let StartArgs { release, ring, trial, silence, failures, quorum, error_max, json } = args;
    let plan = Plan {
        rings: if ring.is_empty() { vec![Ring::all()] } else { ring },
        trial_secs: u32::try_from(trial.0).unwrap_or(u32::MAX),
        silence_secs: silence.0,
        failures_max: failures,
        quorum_percent: quorum,
        error_max,
    };
    let mut books = open(home)?;
    let (package, version) = (release.package, release.version);
    let command = Start { package, version, plan, now_ms: now_ms() };
    let id = database::apply(&mut books, &command)??;
    let started = find(&books, id)?;
    if json {
        out::json(&started);
    } else {
        let devices: u64 = started.rings.iter().map(|ring| ring.devices).sum();
        let (package, version) = (&started.package, &started.version);
        out::line(format!("rollout {id}: {package} {version} to {devices} devices"));
    }
    if !crate::hub::is_running(&home.data) {
        out::note("the hub does not run: orders are given while it does");
    }
    Ok(())
}

fn list(home: &Home, json: bool) -> Result<(), Failure> {
    let found = rollouts(&open(home)?)?;
    if json {
        out::json(&json!({ "rollouts": found }));
        return Ok(());
    }
    let row = |rollout: RolloutView| {
        let count = |of: fn(&RingView) -> u64| rollout.rings.iter().map(of).sum::<u64>();
        let (devices, current, failed) =
            (count(|ring| ring.devices), count(|ring| ring.current), count(|ring| ring.failed));
        vec![
            rollout.id.to_string(),
            rollout.package,
            rollout.version,
            rollout.phase,
            format!("{current} of {devices}"),
            failed.to_string(),
            rollout.changed_at,
            rollout.reason.unwrap_or_default(),
        ]
    };
    let heading =
        ["ROLLOUT", "PACKAGE", "VERSION", "PHASE", "CURRENT", "FAILED", "CHANGED", "REASON"];
    out::table(&heading, &found.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn find(books: &Connection, id: i64) -> Result<RolloutView, Failure> {
    rollout(books, id)?.ok_or_else(|| RolloutError::NoRollout(id).into())
}

fn show(rollout: &RolloutView, json: bool) {
    if json {
        out::json(rollout);
        return;
    }
    let RolloutView { id, package, version, phase, reason, .. } = rollout;
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    out::line(format!("rollout {id}: {package} {version}, {phase}{reason}"));
    for (at, ring) in rollout.rings.iter().enumerate() {
        let here = if at as u64 == rollout.ring { "*" } else { " " };
        let RingView { name, devices, current, failed, under_way, wait_secs } = ring;
        out::line(format!(
            "{here} {name}: {current} of {devices} current, {under_way} under way, {failed} \
             failed, then {wait_secs} s"
        ));
    }
    let row = |member: &MemberView| {
        let MemberView { device, ring, state, since, contact_at, detail, .. } = member.clone();
        let contact = contact_at.unwrap_or_else(|| "never".to_owned());
        vec![device, ring, state, since, contact, detail.unwrap_or_default()]
    };
    let heading = ["DEVICE", "RING", "STATE", "SINCE", "LAST CONTACT", "REMARK"];
    out::table(&heading, &rollout.devices.iter().map(row).collect::<Vec<_>>());
}

fn steer(
    home: &Home,
    id: i64,
    phase: Phase,
    reason: Option<String>,
    json: bool,
) -> Result<(), Failure> {
    let mut books = open(home)?;
    // Devices that are to go back are told by the hub that runs.
    let steer = Steer { rollout: id, phase, reason, now_ms: now_ms() };
    database::apply(&mut books, &steer)??;
    let now = find(&books, id)?;
    if json {
        out::json(&now);
    } else {
        out::line(format!("rollout {id} is {}", now.phase));
    }
    Ok(())
}

pub(super) fn label(home: &Home, args: LabelArgs) -> Result<(), Failure> {
    let LabelArgs { device, labels, remove, json } = args;
    let name = device.to_string();
    let labels = database::apply(&mut open(home)?, &Label { device, add: labels, remove })?;
    let labels = labels.ok_or_else(|| {
        Failure::new(format!("there is no device {name}"), "`landfall-hub devices` lists them")
    })?;
    if json {
        out::json(&json!({ "device": name, "labels": labels }));
    } else {
        out::line(format!("{name}: {}", labels.join(" ")));
    }
    Ok(())
}

impl From<RolloutError> for Failure {
    fn from(error: RolloutError) -> Failure {
        let remedy = match &error {
            RolloutError::NoRelease(..) => "`landfall-hub models list` shows those there are",
            RolloutError::NoRollout(_) => "`landfall-hub rollout list` shows those there are",
            RolloutError::Another(..) => "wait until it is done, or roll it back",
            RolloutError::Nobody => "see `landfall-hub devices`, and give labels with `label`",
            RolloutError::Plan(_) => "see `landfall-hub rollout start --help`",
            RolloutError::Phase(..) => "start another one",
        };
        Failure::new(error.to_string(), remedy)
    }
}
