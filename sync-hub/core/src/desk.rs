//! The life of an escalation, and what an answer must look like.
//!
//! ```text
//! open --answer--> answered --the device has it--> delivered
//!   \-----------------+------ the device gave up --> expired
//! ```
//! Labels are checked against what the device said of its task. While the hub has not heard of
//! the task (the event is still on its way), an answer is accepted with a warning: the operator
//! knows the task, and a question must not wait for a record that may have been shed.
//!
//! * [`route`]: who is asked, in which order.
//! * [`prompt`]: what a stronger model is asked, and what its reply means.
//! * [`votes`]: when what people said becomes the answer.
//! * [`similar`]: past cases that read like a question.

pub mod prompt;
pub mod route;
pub mod similar;
pub mod votes;

use landfall_wire::id::{Confidence, Ticket};
use landfall_wire::limits::{NAME_BYTES_MAX, RECORD_META_BYTES_MAX};
use landfall_wire::record::{Answer, Decision, Field, Record, TaskKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name of who answers, in bytes: a person's name or a model's.
pub const BY_BYTES_MAX: usize = 128;

/// Where an escalation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not answered yet.
    Open,
    /// Answered; the device does not have it yet.
    Answered,
    /// The device has committed the answer.
    Delivered,
    /// The device gave up waiting before it had an answer.
    Expired,
}

impl State {
    /// All states, in the order of an escalation's life.
    pub const ALL: [State; 4] = [State::Open, State::Answered, State::Delivered, State::Expired];

    /// Its name in the database, the API and the pages.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Answered => "answered",
            State::Delivered => "delivered",
            State::Expired => "expired",
        }
    }

    /// After the device committed the answer. An expired ticket stays expired: the asker has
    /// already been told that nobody answered in time.
    #[must_use]
    pub fn delivered(self) -> State {
        match self {
            State::Open | State::Answered | State::Delivered => State::Delivered,
            State::Expired => State::Expired,
        }
    }

    /// After the device gave up.
    #[must_use]
    pub fn expired(self) -> State {
        match self {
            State::Open | State::Answered | State::Expired => State::Expired,
            State::Delivered => State::Delivered,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(text: &str) -> Result<State, String> {
        State::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| format!("'{text}' is not one of open, answered, delivered, expired"))
    }
}

/// What a device said of one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The kind of answer.
    pub kind: TaskKind,
    /// Labels that an answer may use.
    pub labels: Vec<String>,
}

/// An answer as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What was decided.
    pub decision: DraftDecision,
    /// Who decided.
    pub by: String,
    /// A remark for the asker.
    pub note: Option<String>,
}

/// A decision as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftDecision {
    /// One label.
    Label(String),
    /// No label fits.
    OutOfScope,
    /// The fields found; empty if there are none.
    Fields(Vec<DraftField>),
}

/// A field as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftField {
    /// Its type.
    pub label: String,
    /// Its text.
    #[serde(default)]
    pub value: String,
    /// First character, if it was given; found in the text otherwise.
    pub start: Option<u32>,
    /// One past the last character.
    pub end: Option<u32>,
}

/// An answer that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The answer.
    pub answer: Answer,
    /// What the operator should know.
    pub warning: Option<String>,
}

/// Why an answer was refused. Nothing is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The escalation has an answer, or nobody waits for one.
    #[error("the escalation is {0} and takes no answer")]
    State(State),
    /// Not one of the task's labels.
    #[error("'{label}' is not a label of the task; it has: {}", labels.join(", "))]
    Label {
        /// What was typed.
        label: String,
        /// What could have been.
        labels: Vec<String>,
    },
    /// A label for an extraction, or fields for a classification.
    #[error("the task takes {0}")]
    Kind(&'static str),
    /// A field's span is not in the text.
    #[error("{0}")]
    Span(String),
    /// Nobody signed it, or a text is too long.
    #[error("{what} must have 1 to {bytes_max} bytes")]
    Length {
        /// Which text.
        what: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// It does not fit into one record.
    #[error("the answer is too long for one record: leave out fields or shorten their values")]
    TooLarge,
}

/// The question that an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Its name.
    pub ticket: Ticket,
    /// Where it stands.
    pub state: State,
    /// The device's task, if the hub has heard of it.
    pub task: Option<&'a Task>,
    /// The text, if it left the device.
    pub text: Option<&'a str>,
}

/// Checks a draft and makes it an answer, given at `now_ms`.
///
/// # Errors
/// [`AnswerError`], with what would be right.
pub fn check(question: Question<'_>, draft: Draft, now_ms: u64) -> Result<Checked, AnswerError> {
    match question.state {
        State::Open => {}
        State::Answered | State::Delivered | State::Expired => {
            return Err(AnswerError::State(question.state));
        }
    }
    let by = draft.by.trim().to_owned();
    check_length("the name of who answers", &by, BY_BYTES_MAX)?;
    let note = draft.note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if let Some(note) = &note {
        check_length("the note", note, RECORD_META_BYTES_MAX)?;
    }
    let decision = check_decision(question, draft.decision)?;
    let warning = question.task.is_none().then(|| {
        "the device has not told its labels for this task yet: the answer was not checked"
            .to_owned()
    });
    let answer = Answer { ticket: question.ticket, decision, by, at_ms: now_ms, note };
    let record = Record::Answer(answer.clone());
    if record.clone().fit() != record || record.encode().is_err() {
        return Err(AnswerError::TooLarge);
    }
    Ok(Checked { answer, warning })
}

fn check_length(what: &'static str, text: &str, bytes_max: usize) -> Result<(), AnswerError> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(AnswerError::Length { what, bytes_max });
    }
    Ok(())
}

fn check_decision(question: Question<'_>, draft: DraftDecision) -> Result<Decision, AnswerError> {
    let kind = question.task.map(|task| task.kind);
    match (draft, kind) {
        (DraftDecision::Label(_) | DraftDecision::OutOfScope, Some(TaskKind::Extraction)) => {
            Err(AnswerError::Kind("fields (an empty list if there are none), not a label"))
        }
        (DraftDecision::Fields(_), Some(TaskKind::Classification)) => {
            Err(AnswerError::Kind("a label or out-of-scope, not fields"))
        }
        (DraftDecision::Label(label), Some(TaskKind::Classification) | None) => {
            check_label(question.task, &label)?;
            Ok(Decision::Label(label))
        }
        (DraftDecision::OutOfScope, Some(TaskKind::Classification) | None) => {
            Ok(Decision::OutOfScope)
        }
        (DraftDecision::Fields(fields), Some(TaskKind::Extraction) | None) => fields
            .into_iter()
            .map(|field| check_field(question, field))
            .collect::<Result<_, _>>()
            .map(Decision::Fields),
    }
}

fn check_label(task: Option<&Task>, label: &str) -> Result<(), AnswerError> {
    check_length("a label", label, NAME_BYTES_MAX)?;
    match task {
        Some(task) if !task.labels.iter().any(|known| known == label) => {
            Err(AnswerError::Label { label: label.to_owned(), labels: task.labels.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_field(question: Question<'_>, field: DraftField) -> Result<Field, AnswerError> {
    check_label(question.task, &field.label)?;
    let name = &field.label;
    let (value, start, end) = match (field.start, field.end) {
        (Some(start), Some(end)) => {
            if start >= end {
                let span = format!("field {name}: start {start} must be before end {end}");
                return Err(AnswerError::Span(span));
            }
            (field.value.clone(), start, end)
        }
        (None, None) => {
            let found = question.text.and_then(|text| find(text, &field.value));
            let (start, end) = found.ok_or_else(|| {
                AnswerError::Span(format!(
                    "field {name}: '{}' is not in the text that left the device; \
                     copy it exactly, or give start and end",
                    field.value
                ))
            })?;
            (field.value.clone(), start, end)
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(AnswerError::Span(format!("field {name}: give both start and end")));
        }
    };
    Ok(Field { label: field.label, value, start, end, confidence: Confidence::CERTAIN })
}

/// Where `value` first stands in `text`, in characters.
fn find(text: &str, value: &str) -> Option<(u32, u32)> {
    let at = text.find(value).filter(|_| !value.is_empty())?;
    let start = text[..at].chars().count();
    let end = start + value.chars().count();
    Some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_wire::id::Epoch;

    fn labels() -> Task {
        Task { kind: TaskKind::Classification, labels: vec!["Leaking".into(), "Stuck".into()] }
    }

    fn extraction() -> Task {
        Task { kind: TaskKind::Extraction, labels: vec!["Item".into()] }
    }

    fn ask(task: Option<&Task>, decision: DraftDecision) -> Result<Checked, AnswerError> {
        let ticket = Ticket { epoch: Epoch(1), seq: 2 };
        let text = Some("das Öl: pump leaks");
        let question = Question { ticket, state: State::Open, task, text };
        check(question, Draft { decision, by: " ann ".into(), note: Some(" ".into()) }, 5)
    }

    fn field(value: &str, span: Option<(u32, u32)>) -> DraftDecision {
        let (start, end) = span.unzip();
        DraftDecision::Fields(vec![DraftField {
            label: "Item".into(),
            value: value.into(),
            start,
            end,
        }])
    }

    #[test]
    fn labels_are_those_of_the_task() {
        let task = labels();
        let good = ask(Some(&task), DraftDecision::Label("Leaking".into())).unwrap();
        assert_eq!(good.answer.decision, Decision::Label("Leaking".into()));
        assert_eq!((good.answer.by.as_str(), good.answer.note, good.warning), ("ann", None, None));
        let bad = ask(Some(&task), DraftDecision::Label("leaking".into())).unwrap_err();
        assert!(bad.to_string().contains("Leaking, Stuck"), "{bad}");
        assert!(ask(Some(&task), DraftDecision::OutOfScope).is_ok());
        assert!(matches!(ask(Some(&task), field("pump", None)), Err(AnswerError::Kind(_))));
    }

    #[test]
    fn without_the_tasks_labels_an_answer_carries_a_warning() {
        let checked = ask(None, DraftDecision::Label("Anything".into())).unwrap();
        assert!(checked.warning.unwrap().contains("not checked"));
    }

    #[test]
    fn fields_are_found_in_the_text_by_character() {
        let task = extraction();
        let checked = ask(Some(&task), field("pump", None)).unwrap();
        let Decision::Fields(fields) = checked.answer.decision else { panic!() };
        assert_eq!((fields[0].start, fields[0].end), (8, 12));
        for bad in [
            field("valve", None),
            field("", None),
            field("pump", Some((4, 4))),
            DraftDecision::Label("Item".into()),
        ] {
            let error = ask(Some(&task), bad.clone());
            assert!(error.is_err(), "{bad:?} gave {error:?}");
        }
        assert!(ask(Some(&task), DraftDecision::Fields(vec![])).is_ok(), "nothing to extract");
    }

    #[test]
    fn only_an_open_escalation_takes_an_answer() {
        let ticket = Ticket { epoch: Epoch(1), seq: 2 };
        for state in [State::Answered, State::Delivered, State::Expired] {
            let question = Question { ticket, state, task: None, text: None };
            let draft = Draft { decision: DraftDecision::OutOfScope, by: "ann".into(), note: None };
            assert_eq!(check(question, draft, 0), Err(AnswerError::State(state)));
        }
    }

    #[test]
    fn an_answer_that_would_be_cut_is_refused() {
        let many = vec![
            DraftField {
                label: "Item".into(),
                value: "x".repeat(200),
                start: Some(0),
                end: Some(200)
            };
            9
        ];
        let task = extraction();
        let refused = ask(Some(&task), DraftDecision::Fields(many));
        assert_eq!(refused, Err(AnswerError::TooLarge));
    }

    #[test]
    fn states_never_go_back() {
        for state in State::ALL {
            assert!(state.delivered() >= state && state.expired() >= state);
            assert_eq!(state.name().parse(), Ok(state));
        }
        assert_eq!(State::Delivered.expired(), State::Delivered);
        assert_eq!(State::Expired.delivered(), State::Expired);
    }
}
