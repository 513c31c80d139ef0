//! The JSON of requests and replies. The command line prints and reads the same.

use crate::pipeline::{Decided, Recording};
use landfall_agent_core::reply;
use landfall_wire::id::TaskName;
use landfall_wire::record::{Decision, Field};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemBody {
    /// The text to decide on.
    pub text: String,
    /// The caller's id: a retry with the same id and text gets the same reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What rules may look at besides the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Answered on the spot.
    Answered,
    /// Handed to the hub; an answer that is already here is provisional.
    Escalated,
    /// Not processed; `reason` says why.
    Refused,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MechanismBody {
    /// `rule`, `model` or `guard`.
    pub kind: String,
    /// The rule's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One extracted span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldBody {
    /// Its type.
    pub label: String,
    /// Its text; `null` where the text is not at hand.
    pub value: Option<String>,
    /// First character in the text.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
    /// Calibrated confidence, 0 to 1.
    #[serde(serialize_with = "four_digits")]
    pub confidence: f32,
}

/// An answer: a label, `null` for out of scope, or fields. At most one of the two is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerBody {
    /// The label; `null` when none of the task's labels fits.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub label: Option<Option<String>>,
    /// The extracted spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldBody>>,
}

/// How much of a text the model read; it always reads all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadBody {
    /// Words: runs of non-whitespace characters.
    pub words: u32,
    /// Words of which nothing can be read, such as control characters.
    pub words_blank: u32,
    /// Word pieces.
    pub pieces: u32,
    /// Passes of the model, which overlap.
    pub windows: u32,
}

/// A reply to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplyBody {
    /// The task.
    pub task: String,
    /// The caller's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What became of it.
    pub status: Status,
    /// What decided.
    pub mechanism: MechanismBody,
    /// The answer, where there is one.
    #[serde(flatten)]
    pub answer: AnswerBody,
    /// Calibrated confidence, 0 to 1.
    #[serde(serialize_with = "four_digits")]
    pub confidence: f32,
    /// Whether a later answer may differ.
    pub provisional: bool,
    /// The ticket of the escalation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// Why it was escalated or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much of the text the model read; missing if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<ReadBody>,
    /// Fields that the first reply had and this repeated one lacks, for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fields_left_out: u32,
    /// Whether the decision is on record, durably.
    pub recorded: bool,
    /// Why it is not; whoever needs the record, or an answer of the hub, asks again later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<String>,
    /// The record: epoch and number in the outcome stream; missing if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Intake to decision in milliseconds, when it was first decided.
    pub decide_ms: f64,
    /// Whether this repeats an earlier reply to the same id.
    pub repeated: bool,
}

/// Where an escalation stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketBody {
    /// The ticket.
    pub ticket: String,
    /// `queued`, `sent`, `received`, `answered`, `delivered` or `expired`.
    pub state: String,
    /// The answer, where there is one.
    #[serde(flatten)]
    pub answer: AnswerBody,
    /// Who or what answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A remark of whoever answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl ReplyBody {
    /// Writes down a decision on `text`.
    pub fn new(task: &TaskName, id: Option<String>, text: &str, decided: &Decided) -> ReplyBody {
        let Decided { reply, record, took, repeated } = decided;
        let (outcome, ticket, unrecorded) = match record {
            Recording::Durable { outcome: (epoch, seq), ticket } => {
                (Some(format!("{epoch}-{seq}")), *ticket, None)
            }
            Recording::None(error) => (None, None, Some(error.to_string())),
        };
        let status = match reply.status() {
            reply::Status::Answered => Status::Answered,
            reply::Status::Escalated => Status::Escalated,
            reply::Status::Refused => Status::Refused,
        };
        let (kind, name) = reply.mechanism();
        let fields = reply.fields(text);
        ReplyBody {
            task: task.to_string(),
            id,
            status,
            mechanism: MechanismBody { kind: kind.to_owned(), name: name.map(str::to_owned) },
            answer: AnswerBody {
                label: reply.label().map(|label| label.map(str::to_owned)),
                fields: fields.map(|fields| fields.iter().map(FieldBody::new).collect()),
            },
            confidence: reply.confidence.probability(),
            provisional: reply.is_provisional(),
            escalation: ticket.map(|ticket| ticket.to_string()),
            reason: reply.reason.clone(),
            read: reply.read.map(|read| ReadBody {
                words: read.words,
                words_blank: read.words_blank,
                pieces: read.pieces,
                windows: read.windows,
            }),
            fields_left_out: reply.fields_left_out(),
            recorded: unrecorded.is_none(),
            unrecorded,
            outcome,
            decide_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            repeated: *repeated,
        }
    }
}

impl AnswerBody {
    /// From a recorded decision; without the text at hand, values are as they were recorded.
    pub fn from_decision(decision: &Decision) -> AnswerBody {
        match decision {
            Decision::Label(label) => AnswerBody::label(Some(label.clone())),
            Decision::OutOfScope => AnswerBody::label(None),
            Decision::Fields(fields) => AnswerBody {
                label: None,
                fields: Some(fields.iter().map(FieldBody::new).collect()),
            },
        }
    }

    /// A label, or `None` for out of scope.
    pub fn label(label: Option<String>) -> AnswerBody {
        AnswerBody { label: Some(label), fields: None }
    }
}

impl FieldBody {
    /// A span; without the text at hand its value is empty and shows as `null`.
    fn new(field: &Field) -> FieldBody {
        FieldBody {
            label: field.label.clone(),
            value: (!field.value.is_empty()).then(|| field.value.clone()),
            start: field.start,
            end: field.end,
            confidence: field.confidence.probability(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A field that is there, `null` or not, is `Some`.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// A probability as people write it, 0.9312 and not 0.9312000274658203.
fn four_digits<S: Serializer>(value: &f32, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64((f64::from(*value) * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_scope_is_null_and_reads_back() {
        let answers = [
            (AnswerBody::label(None), "{\"label\":null}"),
            (AnswerBody::label(Some("Leaking".into())), "{\"label\":\"Leaking\"}"),
            (AnswerBody::default(), "{}"),
        ];
        for (answer, json) in answers {
            assert_eq!(serde_json::to_string(&answer).unwrap(), json);
            assert_eq!(serde_json::from_str::<AnswerBody>(json).unwrap(), answer);
        }
    }

    #[test]
    fn confidences_are_short() {
        let confidence = landfall_wire::id::Confidence::from_probability(0.93121);
        let (label, value) = ("Item".to_owned(), String::new());
        let field = FieldBody::new(&Field { label, value, start: 6, end: 10, confidence });
        let json = serde_json::to_string(&field).unwrap();
        assert_eq!(json, r#"{"label":"Item","value":null,"start":6,"end":10,"confidence":0.9312}"#);
    }
}
