//! Answers as labelled data: lines as `landfall-models` reads them for `import --data` and
//! `eval --input`, with where each comes from.

use crate::database::queries::{self, Page};
use crate::database::sql::{self, Connection};
use crate::database::views::EscalationView;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A text with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// The text that left the device.
    pub text: String,
    /// The label; `null` for out of scope. Of classifications only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Option<String>>,
    /// The fields, by their characters. Of extractions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<Vec<Span>>,
    /// The task.
    pub task: String,
    /// The device that asked.
    pub device: String,
    /// Its ticket.
    pub ticket: String,
    /// Who answered.
    pub by: String,
    /// When.
    pub at: String,
    /// Why it was asked: `audit` lines are a random sample, the others are not.
    pub reason: String,
}

/// A field in its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First character.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Its type.
    pub label: String,
}

/// The labelled texts of a page of escalations, and where to go on. A text that was cut is left
/// out: its answer may rest on what is not there.
///
/// # Errors
/// Those of the database.
pub fn page(connection: &Connection, page: &Page) -> sql::Result<(Vec<Labelled>, Option<i64>)> {
    let found = queries::escalations(connection, page)?;
    Ok((found.rows.into_iter().filter_map(labelled).collect(), found.next))
}

fn labelled(question: EscalationView) -> Option<Labelled> {
    let answer = question.answer?;
    let text = question.text.filter(|_| !question.text_cut)?;
    let fields = answer.decision.get("fields").and_then(Value::as_array);
    let spans = fields.map(|fields| fields.iter().filter_map(span).collect());
    let label = match spans {
        Some(_) => None,
        None => Some(answer.decision.get("label")?.as_str().map(str::to_owned)),
    };
    Some(Labelled {
        text,
        label,
        spans,
        task: question.task,
        device: question.device,
        ticket: question.ticket,
        by: answer.by,
        at: answer.at,
        reason: question.reason,
    })
}

fn span(field: &Value) -> Option<Span> {
    let number = |name: &str| field.get(name)?.as_u64();
    let label = field.get("label")?.as_str()?.to_owned();
    Some(Span { start: number("start")?, end: number("end")?, label })
}
