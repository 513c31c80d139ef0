//! `escalations list | show | answer`.

use super::args::{AnswerArgs, DecisionArgs, EscalationsCommand, StateFilter};
use super::failure::Failure;
use super::lists::decision;
use super::{Home, open, out};
use crate::database::commands::{GiveAnswer, GiveAnswerError};
use crate::database::desk::people::Given;
use crate::database::queries::{self, Page};
use crate::database::views::EscalationView;
use crate::database::{self};
use crate::hub::{is_running, now_ms};
use crate::rules::books::Wish;
use landfall_hub_core::desk::{Draft, DraftDecision, State};
use serde_json::json;

pub(super) fn escalations(home: &Home, command: EscalationsCommand) -> Result<u8, Failure> {
    match command {
        EscalationsCommand::List { state, device, limit, json } => {
            let state = match state {
                StateFilter::Open => Some(State::Open),
                StateFilter::Answered => Some(State::Answered),
                StateFilter::Delivered => Some(State::Delivered),
                StateFilter::Expired => Some(State::Expired),
                StateFilter::All => None,
            };
            list(home, &Page { device, state, limit, ..Page::default() }, json)?;
            Ok(0)
        }
        EscalationsCommand::Show { escalation, json } => {
            let (device, ticket) = (escalation.device, escalation.ticket);
            let found = queries::escalation(&open(home)?, &device, ticket)?
                .ok_or(GiveAnswerError::NotFound { device, ticket })?;
            if json {
                out::json(&found);
            } else {
                show(&found);
            }
            Ok(0)
        }
        EscalationsCommand::Answer(args) => answer(home, args),
    }
}

fn list(home: &Home, page: &Page, json: bool) -> Result<(), Failure> {
    let found = queries::escalations(&open(home)?, page)?;
    if json {
        out::json(&json!({ "escalations": found.rows, "next": found.next }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found
        .rows
        .into_iter()
        .map(|row| {
            vec![
                format!("{}/{}", row.device, row.ticket),
                row.state,
                row.task,
                row.reason,
                decision(row.provisional.as_ref()),
                row.text.unwrap_or_default(),
            ]
        })
        .collect();
    out::table(&["ESCALATION", "STATE", "TASK", "WHY", "GUESS", "TEXT"], &rows);
    if found.next.is_some() {
        out::note("there are more: raise --limit");
    }
    Ok(())
}

fn show(escalation: &EscalationView) {
    let EscalationView { device, ticket, .. } = escalation;
    let mut rows = vec![
        ("escalation", format!("{device}/{ticket}")),
        ("state", escalation.state.clone()),
        ("task", escalation.task.clone()),
        ("why", escalation.reason.clone()),
        ("asked", escalation.at.clone()),
        ("text", escalation.text.clone().unwrap_or_else(|| "(did not leave the device)".into())),
        ("guess", decision(escalation.provisional.as_ref())),
        ("labels", escalation.labels.join(", ")),
    ];
    if let Some(answer) = &escalation.answer {
        rows.extend([
            ("answer", decision(Some(&answer.decision))),
            ("by", format!("{} at {}", answer.by, answer.at)),
            ("note", answer.note.clone().unwrap_or_default()),
            ("delivered", answer.delivered_at.clone().unwrap_or_else(|| "not yet".into())),
        ]);
    }
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        out::line(format!("{name:12} {value}"));
    }
}

/// Noted, and somebody else must agree before it is sent.
const NOTED: u8 = 3;

fn answer(home: &Home, args: AnswerArgs) -> Result<u8, Failure> {
    let AnswerArgs { escalation, decision, by, note, .. } = args;
    let rule = args.rule_for.map(|of| Wish {
        label: Some(of).filter(|of| of != "all"),
        words: args.rule_words,
        all_words: args.rule_all_words,
        regex: args.rule_regex,
        name: None,
    });
    let draft = Draft { decision: draft(decision)?, by: by.clone(), note };
    let command = GiveAnswer {
        device: escalation.device.clone(),
        ticket: escalation.ticket,
        voter: by,
        draft,
        rule,
        now_ms: now_ms(),
    };
    let given = database::apply(&mut open(home)?, &command)??;
    if let Some(warning) = &given.checked().warning {
        out::note(warning);
    }
    if let Given::Noted(_) = given {
        let name = format!("{}/{}", escalation.device, escalation.ticket);
        out::line(format!("noted for {name}; it is sent when somebody else says the same"));
        return Ok(NOTED);
    }
    let when = if is_running(&home.data) {
        "the hub delivers it as soon as the device is connected"
    } else {
        "it is delivered when the hub runs"
    };
    out::line(format!("answered {}/{}; {when}", escalation.device, escalation.ticket));
    Ok(0)
}

fn draft(args: DecisionArgs) -> Result<DraftDecision, Failure> {
    match (args.label, args.fields) {
        (Some(label), _) => Ok(DraftDecision::Label(label)),
        (None, Some(fields)) => {
            serde_json::from_str(&fields).map(DraftDecision::Fields).map_err(|error| {
                Failure::usage(
                    format!("--fields: {error}"),
                    r#"pass a list such as [{"label": "Item", "value": "pump"}]"#,
                )
            })
        }
        // The parser lets exactly one of the three through.
        (None, None) => Ok(DraftDecision::OutOfScope),
    }
}
