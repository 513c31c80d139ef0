//! `rules`: what the hub gave to decide by before the model.

use super::args::StatusArgs;
use super::failure::Failure;
use super::{Done, output};
use crate::rules::{HubRules, Slot};
use serde_json::json;

/// From the file in the data directory: an agent that runs replaces it as a whole.
pub(super) fn rules(args: &StatusArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let slots = HubRules::open(&config.data_dir).slots();
    if args.json {
        let body = |slot: &Slot| {
            json!({ "rule": slot.rule, "task": slot.task, "file": slot.file,
                    "refused": slot.refused })
        };
        output::json_pretty(&json!({ "rules": slots.iter().map(body).collect::<Vec<_>>() }))?;
        return Ok(Done::Done);
    }
    if slots.is_empty() {
        output::line(format_args!("the hub gave no rules"))?;
    }
    for Slot { rule, task, file, refused, .. } in &slots {
        let state = refused.as_ref().map_or_else(String::new, |why| format!("; NOT USED: {why}"));
        output::line(format_args!("# rule {rule} of the hub, for {task}{state}"))?;
        output::line(format_args!("{}\n", file.trim_end()))?;
    }
    Ok(Done::Done)
}
