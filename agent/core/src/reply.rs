//! What the caller gets, and gets again when it retries with the same id.
//!
//! A reply is kept in the device's store, so [`Reply::kept`] encodes within [`REPLY_BYTES_MAX`]:
//! extracted fields are kept as positions, and their values are cut out of the caller's text
//! again. The first reply has all fields; one that is repeated says how many it lacks.

use crate::judgement::{Answer, Judgement, Ruling};
use landfall_wire::id::Confidence;
use landfall_wire::record::{EscalationReason, Field, Mechanism, Read};
use serde::{Deserialize, Serialize};

/// Largest encoded reply in bytes: with its key and a ticket it stays under the 4 kB that the
/// device's store keeps safely in one value.
pub const REPLY_BYTES_MAX: usize = 3000;

/// What the caller gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What became of the question.
    pub ruling: Ruling,
    /// What decided.
    pub mechanism: Mechanism,
    /// The answer, where there is one.
    pub answer: Option<Answer>,
    /// Calibrated confidence of the answer; certain for a rule, zero without an answer.
    pub confidence: Confidence,
    /// The best labels of the model, best first; empty for rules and extraction.
    pub candidates: Vec<(String, Confidence)>,
    /// Why it was refused or escalated, for people.
    pub reason: Option<String>,
    /// How much of the text the model read; `None` if it was not asked.
    pub read: Option<Read>,
}

/// The caller's side of a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Take the answer.
    Answered,
    /// The hub was asked; an answer given now is provisional.
    Escalated,
    /// There will be no answer.
    Refused,
}

impl Status {
    /// As it stands in JSON, CSV and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Status::Answered => "answered",
            Status::Escalated => "escalated",
            Status::Refused => "refused",
        }
    }
}

impl Reply {
    /// The reply to a judgement.
    pub fn new(judgement: &Judgement) -> Reply {
        Reply {
            ruling: judgement.ruling.clone(),
            mechanism: judgement.mechanism.clone(),
            answer: judgement.answer.clone(),
            confidence: judgement.confidence,
            candidates: judgement.candidates.clone(),
            reason: judgement.reason.clone(),
            read: judgement.read,
        }
    }

    /// What the caller gets while nothing can be recorded, because of `why`. An answer that is
    /// good enough stands; a question that nobody will hear of is refused, as where the hub may
    /// not be asked at all.
    #[must_use]
    pub fn without_record(self, why: &str) -> Reply {
        match self.status() {
            Status::Answered => Reply { ruling: Ruling::Answered, ..self },
            Status::Refused => self,
            Status::Escalated => {
                let reason = self.reason.as_deref().unwrap_or("this is for the hub");
                let reason = format!("{reason}, and the hub cannot be asked now: {why}");
                Reply {
                    ruling: Ruling::Refused,
                    answer: None,
                    confidence: Confidence::default(),
                    reason: Some(reason),
                    ..self
                }
            }
        }
    }

    /// What is kept of it: at most [`REPLY_BYTES_MAX`]. Only a long list of fields loses some.
    #[must_use]
    pub fn kept(&self) -> Reply {
        let answer = match &self.answer {
            Some(Answer::Fields(spans)) => Some(Answer::Fields(spans.kept())),
            other => other.clone(),
        };
        Reply { answer, ..self.clone() }
    }

    /// Fields of the answer that were not kept.
    pub fn fields_left_out(&self) -> u32 {
        match &self.answer {
            Some(Answer::Fields(spans)) => spans.dropped,
            Some(Answer::Label(_) | Answer::OutOfScope) | None => 0,
        }
    }

    /// What to tell the caller. An audited answer is an answer: it stands.
    pub fn status(&self) -> Status {
        match &self.ruling {
            Ruling::Answered | Ruling::Escalated(EscalationReason::Audit) => Status::Answered,
            Ruling::Escalated(
                EscalationReason::LowConfidence
                | EscalationReason::OutOfScope
                | EscalationReason::Rule(_)
                | EscalationReason::ModelUnavailable(_),
            ) => Status::Escalated,
            Ruling::Refused => Status::Refused,
        }
    }

    /// Whether there is an answer that the hub may still correct.
    pub fn is_provisional(&self) -> bool {
        self.status() == Status::Escalated && self.answer.is_some()
    }

    /// Kind and name of what decided, as they stand in JSON: `("rule", Some("leak"))`.
    pub fn mechanism(&self) -> (&'static str, Option<&str>) {
        match &self.mechanism {
            Mechanism::Guard(_) => ("guard", None),
            Mechanism::Rule(name) => ("rule", Some(name)),
            Mechanism::Model => ("model", None),
        }
    }

    /// The label: `None` when this is not an answer of a classification, `Some(None)` when the
    /// text is out of scope.
    pub fn label(&self) -> Option<Option<&str>> {
        match self.answer.as_ref()? {
            Answer::Label(label) => Some(Some(label)),
            Answer::OutOfScope => Some(None),
            Answer::Fields(_) => None,
        }
    }

    /// The extracted fields with their values cut out of `text`, the caller's own; `None` when
    /// this is not an answer of an extraction.
    pub fn fields(&self, text: &str) -> Option<Vec<Field>> {
        match self.answer.as_ref()? {
            Answer::Fields(spans) => Some(spans.fields(text)),
            Answer::Label(_) | Answer::OutOfScope => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(ruling: Ruling) -> Reply {
        Reply {
            ruling,
            mechanism: Mechanism::Model,
            answer: Some(Answer::Label("Leaking".to_owned())),
            confidence: Confidence::from_basis_points(9_000),
            candidates: Vec::new(),
            reason: Some("why".to_owned()),
            read: None,
        }
    }

    #[test]
    fn without_a_record_answers_stand_and_questions_are_refused() {
        let answered = reply(Ruling::Answered);
        assert_eq!(answered.clone().without_record("full"), answered);
        let audited = reply(Ruling::Escalated(EscalationReason::Audit)).without_record("full");
        assert_eq!(audited, answered, "nobody checks it, and it stands");
        let unsure = reply(Ruling::Escalated(EscalationReason::LowConfidence));
        let unsure = unsure.without_record("full");
        assert_eq!((unsure.status(), &unsure.answer), (Status::Refused, &None));
        assert_eq!(unsure.confidence, Confidence::default());
        let reason = "why, and the hub cannot be asked now: full";
        assert_eq!(unsure.reason.as_deref(), Some(reason));
    }
}
