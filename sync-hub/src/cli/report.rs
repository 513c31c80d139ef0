//! `report`: how much of its outcomes a device is to report, and what was asked.

use super::failure::Failure;
use super::{Home, open, out};
use crate::database::commands::SendDown;
use crate::database::{self, queries, reporting};
use crate::hub::now_ms;
use landfall_wire::directive::{Directive, Reporting, ReportingMode};
use landfall_wire::id::{DeviceId, TaskName};
use landfall_wire::record::Record;
use serde_json::json;

/// What is asked for, as it is written: `full`, `sampled:0.1`, `sketch`.
pub(super) fn mode(text: &str) -> Result<ReportingMode, String> {
    let share = match text.split_once(':') {
        None if text == "full" => return Ok(ReportingMode::Full),
        None if text == "sketch" => return Ok(ReportingMode::Sketch),
        Some(("sampled", share)) => share.parse::<f64>().ok(),
        Some(_) | None => None,
    };
    let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
    let share = share.ok_or_else(|| {
        format!("'{text}' is none of full, sketch and sampled:SHARE, such as sampled:0.1")
    })?;
    let one_in = (1.0 / share).round().min(f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to u32::MAX")]
    Ok(ReportingMode::Sampled { one_in: one_in as u32 })
}

fn shown(mode: ReportingMode) -> String {
    match mode {
        ReportingMode::Full => "full".to_owned(),
        ReportingMode::Sampled { one_in } => format!("one of {one_in}"),
        ReportingMode::Sketch => "a sketch a day".to_owned(),
    }
}

/// Asks, or without a mode lists what was asked.
pub(super) fn report(
    home: &Home,
    device: &DeviceId,
    task: Option<TaskName>,
    mode: Option<ReportingMode>,
    json: bool,
) -> Result<(), Failure> {
    let mut books = open(home)?;
    let unknown = || {
        Failure::new(format!("there is no device {device}"), "`landfall-hub devices` lists them")
    };
    let row = queries::device_id(&books, device)?.ok_or_else(unknown)?;
    let Some(mode) = mode else {
        let asked = reporting::asked(&books, row)?;
        if json {
            let rows: Vec<_> = asked
                .iter()
                .map(|(reporting, delivered)| {
                    json!({ "task": reporting.task, "mode": shown(reporting.mode),
                            "delivered": delivered })
                })
                .collect();
            out::json(&json!({ "device": device, "asked": rows }));
        } else if asked.is_empty() {
            out::line(format!("{device} reports every outcome"));
        }
        for (Reporting { task, mode }, delivered) in asked.iter().filter(|_| !json) {
            let task = task.as_ref().map_or("all other tasks", TaskName::as_str);
            let state = if *delivered { "it knows" } else { "on its way" };
            out::line(format!("{task}: {} ({state})", shown(*mode)));
        }
        return Ok(());
    };
    let directive = Directive::Reporting(Reporting { task: task.clone(), mode });
    let record = Record::Directive(directive);
    database::apply(&mut books, &SendDown { device: row, record, now_ms: now_ms() })?;
    let task =
        task.map_or_else(|| "all tasks without their own".to_owned(), |task| task.to_string());
    let told = format!("{device} is asked for {task}: {}", shown(mode));
    if json {
        out::json(&json!({ "device": device, "task": task, "mode": shown(mode) }));
    } else {
        out::line(format!("{told}; it hears of it at its next contact"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_they_are_written() {
        assert_eq!(mode("full"), Ok(ReportingMode::Full));
        assert_eq!(mode("sketch"), Ok(ReportingMode::Sketch));
        assert_eq!(mode("sampled:0.1"), Ok(ReportingMode::Sampled { one_in: 10 }));
        assert_eq!(mode("sampled:1"), Ok(ReportingMode::Sampled { one_in: 1 }));
        for bad in ["", "sampled", "sampled:0", "sampled:2", "sampled:x", "half", "full:1"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
