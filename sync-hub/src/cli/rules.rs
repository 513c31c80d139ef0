//! `rules list | add | remove`.

use super::args::RulesCommand;
use super::failure::Failure;
use super::{BY, Home, open, out};
use crate::database::{self};
use crate::hub::now_ms;
use crate::rules::books::{Add, Remove, RuleError};
use crate::rules::views::{self, RuleView};
use landfall_wire::rules::RULES_FILE_BYTES_MAX;
use serde_json::json;
use std::io::Read;
use std::path::Path;

pub(super) fn rules(home: &Home, command: RulesCommand) -> Result<(), Failure> {
    match command {
        RulesCommand::List { removed, json } => {
            let rules = views::rules(&open(home)?, removed)?;
            if json {
                out::json(&json!({ "rules": rules }));
            } else {
                list(&rules);
            }
        }
        RulesCommand::Show { rule, json } => {
            let found = views::rule(&open(home)?, rule)?.ok_or(RuleError::NotFound(rule))?;
            if json {
                out::json(&found);
            } else {
                show(&found);
            }
        }
        RulesCommand::Add { task, label, by, file } => {
            let file = read(&file)?;
            let by = by.unwrap_or_else(|| BY.to_owned());
            let add = Add { label, task, file, by, now_ms: now_ms() };
            let rule = database::apply(&mut open(home)?, &add)??;
            out::line(format!("rule {rule}; devices learn of it at their next contact"));
        }
        RulesCommand::Remove { rule } => {
            let remove = Remove { rule, by: BY.to_owned(), now_ms: now_ms() };
            database::apply(&mut open(home)?, &remove)??;
            out::line(format!("removed rule {rule}; devices forget it at their next contact"));
        }
    }
    Ok(())
}

/// A file of rules, or standard input as `-`; one byte more than is allowed, so that it is told.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot read {}: {error}", path.display()), "check the file")
    };
    let most = RULES_FILE_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(most).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

fn list(rules: &[RuleView]) {
    let row = |rule: &RuleView| {
        vec![
            rule.rule.to_string(),
            rule.task.clone(),
            rule.label.clone().unwrap_or_else(|| "(all devices)".to_owned()),
            rule.names.join(", "),
            rule.state.clone(),
            format!("{} of {}", rule.used, rule.sent),
            rule.refused.to_string(),
            rule.by.clone(),
            rule.at.clone(),
        ]
    };
    let heading = ["RULE", "TASK", "FOR", "NAMES", "STATE", "USED", "REFUSED", "BY", "AT"];
    out::table(&heading, &rules.iter().map(row).collect::<Vec<_>>());
}

fn show(rule: &RuleView) {
    let rows = [
        ("rule", rule.rule.to_string()),
        ("task", rule.task.clone()),
        ("for", rule.label.clone().unwrap_or_else(|| "all devices".to_owned())),
        ("state", rule.state.clone()),
        ("by", format!("{} at {}", rule.by, rule.at)),
        ("question", rule.question.clone().unwrap_or_default()),
        ("devices", format!("{} sent, {} used, {} refused", rule.sent, rule.used, rule.refused)),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        out::line(format!("{name:12} {value}"));
    }
    for refusal in &rule.refusals {
        out::line(format!("{:12} {}: {}", "refused by", refusal.device, refusal.reason));
    }
    rule.file.lines().for_each(out::line);
}
