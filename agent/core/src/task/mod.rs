//! One task's whole decision path: guard, rules, model, decision, and what is kept of it.

mod record;
#[cfg(test)]
mod tests;

use crate::calibrate::{Accept, Calibration, Score};
use crate::decide::Bench;
use crate::guard::Guard;
use crate::judgement::{Answer, Judgement, Ruling};
use crate::redact::{Leave, ModelMasks, Redactor};
use crate::request::{ModelView, Request};
use crate::rules::{Action, Rule, Rules};
use landfall_wire::id::{Confidence, TaskName};
use landfall_wire::limits::NAME_BYTES_MAX;
use landfall_wire::record::{EscalationReason, Mechanism, TaskKind};
pub use record::{Entry, Stamp};
use std::sync::Arc;

/// A task as the site configured it; every part is already checked on its own.
#[derive(Debug, Clone)]
pub struct TaskSettings {
    /// Its name.
    pub name: TaskName,
    /// What is refused unread, and what never leaves.
    pub guard: Guard,
    /// The site's rules.
    pub rules: Rules,
    /// Which answers of the model are good enough.
    pub accept: Accept,
    /// Share of the model's confident answers that the hub checks, 0 to 1.
    pub audit_rate: f32,
    /// Whether the hub may be asked at all.
    pub escalate: bool,
    /// How long a question stays open, in seconds of the device's running time.
    pub ttl_secs: u32,
    /// What may leave the device.
    pub leave: Leave,
    /// What is masked in whatever leaves.
    pub redactor: Redactor,
}

/// What a model package says of the task behind it.
#[derive(Debug, Clone)]
pub struct ModelFacts {
    /// The kind of answer.
    pub kind: TaskKind,
    /// Every label that it may give.
    pub labels: Arc<[String]>,
    /// How right it was on texts that it was not trained on.
    pub scores: Vec<Score>,
}

/// A setting that does not fit the model behind the task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The model's task has no labels.
    #[error("the model of task '{0}' has no labels")]
    NoLabels(TaskName),
    /// A label does not fit a record.
    #[error("label '{0}' of the model has more than {NAME_BYTES_MAX} bytes")]
    LongLabel(String),
    /// A rule answers something that the model's task does not know.
    #[error("rule '{rule}' answers '{answer}', which is not a label of the task")]
    UnknownAnswer {
        /// Index of the rule.
        index: usize,
        /// Its name.
        rule: String,
        /// Its answer.
        answer: String,
    },
    /// A rule answers with a label where fields are extracted.
    #[error("rule '{rule}' answers '{answer}', but this task extracts fields")]
    AnswerToExtraction {
        /// Index of the rule.
        index: usize,
        /// Its name.
        rule: String,
        /// Its answer.
        answer: String,
    },
    /// A field that may leave is not a label of the task.
    #[error("'{0}' may leave, but is not a field of the task")]
    UnknownField(String),
    /// Fields may leave, but the task gives none.
    #[error("'{0}' may leave, but this task gives a label and no fields")]
    FieldOfClassification(String),
}

/// The first half of a decision: what needs no model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Decided by guard or rule.
    Decided(Judgement),
    /// Run the model, then call [`TaskPolicy::after_model`].
    AskModel,
}

/// A task ready to decide.
#[derive(Debug, Clone)]
pub struct TaskPolicy {
    settings: TaskSettings,
    kind: TaskKind,
    labels: Arc<[String]>,
    calibration: Calibration,
}

impl TaskPolicy {
    /// Joins a task's settings with the model behind it.
    ///
    /// # Errors
    /// Every setting that does not fit the model.
    pub fn new(settings: TaskSettings, model: &ModelFacts) -> Result<TaskPolicy, Vec<TaskError>> {
        let errors = misfits(&settings, model);
        if !errors.is_empty() {
            return Err(errors);
        }
        let calibration = Calibration::new(settings.accept, &model.scores);
        Ok(TaskPolicy { settings, kind: model.kind, labels: model.labels.clone(), calibration })
    }

    /// A task whose model is not there: guard and rules decide as ever, and
    /// [`TaskPolicy::after_model`] is to be called with the reason. What its rules answer cannot
    /// be checked.
    pub fn without_model(settings: TaskSettings) -> TaskPolicy {
        let calibration = Calibration::new(settings.accept, &[]);
        let (kind, labels) = (TaskKind::Classification, Arc::new([]));
        TaskPolicy { settings, kind, labels, calibration }
    }

    /// The task's name.
    pub fn name(&self) -> &TaskName {
        &self.settings.name
    }

    /// The kind of answer.
    pub fn kind(&self) -> TaskKind {
        self.kind
    }

    /// Every label that an answer may use.
    pub fn labels(&self) -> &Arc<[String]> {
        &self.labels
    }

    /// As the site configured it.
    pub fn settings(&self) -> &TaskSettings {
        &self.settings
    }

    /// Which answers are accepted, and what that promises.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Guard and rules. `hub` are rules that the hub gave: the site's own come first, but where
    /// one of those would ask the hub, these are what the hub has said already. One whose answer
    /// the model's task does not know is passed over.
    pub fn before_model(&self, request: &Request, hub: &Rules) -> Before {
        if let Some(reason) = self.settings.guard.refuses(&request.text) {
            return Before::Decided(Judgement {
                mechanism: Mechanism::Guard(reason.clone()),
                ruling: Ruling::Refused,
                answer: None,
                confidence: Confidence::default(),
                candidates: Vec::new(),
                reason: Some(reason),
                read: None,
            });
        }
        let own = self.settings.rules.decide(request);
        let rule = match own {
            Some(rule) if *rule.action() != Action::Escalate => own,
            _ => hub.decide_among(request, |rule| self.misfit(rule).is_none()).or(own),
        };
        rule.map_or(Before::AskModel, |rule| Before::Decided(self.ruled(rule)))
    }

    /// Why a rule that the hub gave cannot decide here, if it cannot.
    pub fn misfit(&self, rule: &Rule) -> Option<String> {
        let Action::Answer(answer) = rule.action() else { return None };
        if self.kind == TaskKind::Extraction {
            return Some(format!("'{}' answers with a label, the task has fields", rule.name()));
        }
        // Without a model nothing is known of labels, and the hub has checked.
        let is_known = self.labels.is_empty() || self.labels.contains(answer);
        (!is_known).then(|| format!("'{}' answers '{answer}', no label of the task", rule.name()))
    }

    /// Decides on what the model made of the text, or on why it could not be run. `draw` is a
    /// fresh random number: it picks the answers that are audited.
    pub fn after_model(
        &self,
        request: &Request,
        view: Result<ModelView, String>,
        draw: u32,
    ) -> Judgement {
        let bench = Bench {
            kind: self.kind,
            labels: &self.labels,
            calibration: &self.calibration,
            audit_rate: self.settings.audit_rate,
            escalate: self.settings.escalate,
        };
        bench.decide(view, request.text.chars().count(), draw)
    }

    /// Whether text of this request, or a part of it, may leave the device: then a model that
    /// finds what to mask is worth asking.
    pub fn lets_text_leave(&self, request: &Request, before: &Before) -> bool {
        let leave = &self.settings.leave;
        let is_refused =
            matches!(before, Before::Decided(Judgement { mechanism: Mechanism::Guard(_), .. }));
        (leave.text || !leave.fields.is_empty())
            && !is_refused
            && !self.settings.guard.withholds(&request.text)
    }

    /// What is kept of a decision: redacted, and fitted to the limits of a record. `masks` is
    /// what a model found to mask beside the patterns.
    pub fn record(
        &self,
        request: &Request,
        judgement: &Judgement,
        masks: &ModelMasks,
        stamp: Stamp,
    ) -> Entry {
        record::entry(&self.settings, request, judgement, masks, stamp)
    }

    fn ruled(&self, rule: &Rule) -> Judgement {
        let (ruling, answer, reason) = match rule.action() {
            Action::Answer(label) => (Ruling::Answered, Some(Answer::Label(label.clone())), None),
            Action::OutOfScope => (Ruling::Answered, Some(Answer::OutOfScope), None),
            Action::Refuse(reason) => (Ruling::Refused, None, Some(reason.clone())),
            Action::Escalate if self.settings.escalate => {
                let why = format!("rule '{}' leaves this to the hub", rule.name());
                let reason = EscalationReason::Rule(rule.name().to_owned());
                (Ruling::Escalated(reason), None, Some(why))
            }
            Action::Escalate => {
                let why = format!("rule '{}' would ask the hub, which is off", rule.name());
                (Ruling::Refused, None, Some(why))
            }
        };
        let confidence = if answer.is_some() { Confidence::CERTAIN } else { Confidence::default() };
        Judgement {
            mechanism: Mechanism::Rule(rule.name().to_owned()),
            ruling,
            answer,
            confidence,
            candidates: Vec::new(),
            reason,
            read: None,
        }
    }
}

fn misfits(settings: &TaskSettings, model: &ModelFacts) -> Vec<TaskError> {
    let mut errors = Vec::new();
    if model.labels.is_empty() {
        errors.push(TaskError::NoLabels(settings.name.clone()));
    }
    let long = model.labels.iter().filter(|label| label.len() > NAME_BYTES_MAX);
    errors.extend(long.cloned().map(TaskError::LongLabel));
    for (index, rule) in settings.rules.iter().enumerate() {
        let Action::Answer(answer) = rule.action() else { continue };
        let (rule, answer) = (rule.name().to_owned(), answer.clone());
        if model.kind == TaskKind::Extraction {
            errors.push(TaskError::AnswerToExtraction { index, rule, answer });
        } else if !model.labels.contains(&answer) {
            errors.push(TaskError::UnknownAnswer { index, rule, answer });
        }
    }
    for field in &settings.leave.fields {
        if model.kind == TaskKind::Classification {
            errors.push(TaskError::FieldOfClassification(field.clone()));
        } else if !model.labels.contains(field) {
            errors.push(TaskError::UnknownField(field.clone()));
        }
    }
    errors
}
