//! `alarms list | acknowledge`.

use super::args::AlarmsCommand;
use super::failure::Failure;
use super::{BY, Home, open, out};
use crate::alarms::books::{self, Acknowledge, AlarmError, AlarmView};
use crate::database;
use crate::hub::now_ms;
use serde_json::json;

pub(super) fn alarms(home: &Home, command: AlarmsCommand) -> Result<(), Failure> {
    match command {
        AlarmsCommand::List { cleared, json } => {
            let alarms = books::alarms(&open(home)?, cleared)?;
            if json {
                out::json(&json!({ "alarms": alarms }));
            } else {
                list(&alarms);
            }
        }
        AlarmsCommand::Acknowledge { alarm, by } => {
            let by = by.unwrap_or_else(|| BY.to_owned());
            let seen = Acknowledge { alarm, by, now_ms: now_ms() };
            database::apply(&mut open(home)?, &seen)??;
            out::line(format!("acknowledged alarm {alarm}"));
        }
    }
    Ok(())
}

fn list(alarms: &[AlarmView]) {
    let row = |alarm: &AlarmView| {
        vec![
            alarm.alarm.to_string(),
            alarm.kind.clone(),
            alarm.subject.clone(),
            alarm.raised_at.clone(),
            alarm.cleared_at.clone().unwrap_or_default(),
            alarm.acknowledged_by.clone().unwrap_or_default(),
            alarm.detail.clone(),
        ]
    };
    let heading = ["ALARM", "WHAT", "ABOUT", "SINCE", "OVER", "SEEN BY", "IN WORDS"];
    out::table(&heading, &alarms.iter().map(row).collect::<Vec<_>>());
    for alarm in alarms {
        for untold in &alarm.untold {
            let (alarm, webhook, what) = (alarm.alarm, &untold.webhook, &untold.what);
            out::note(&format!(
                "alarm {alarm}: {webhook} was not told ({what}): {}",
                untold.trouble
            ));
        }
    }
}

impl From<AlarmError> for Failure {
    fn from(error: AlarmError) -> Failure {
        Failure::new(error.to_string(), "`landfall-hub alarms list --cleared` shows them all")
    }
}
