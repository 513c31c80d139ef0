//! The model that masks: which one, of which labels, and what becomes of its findings.

use super::models::{Models, position};
use crate::config;
use landfall_agent_core::redact::{ModelMasks, ModelSpan};
use landfall_models::{Engine, Span};
use landfall_wire::record::TaskKind;
use std::sync::Arc;

/// A model that finds what to mask in a text that leaves.
#[derive(Clone)]
pub struct Masker {
    /// Runs it.
    pub(super) engine: Arc<Engine>,
    /// Its name in the package.
    pub(super) task: String,
    /// Least probability at which a word is masked.
    pub(super) floor: f32,
    labels: Arc<[String]>,
    /// Of each label, whether it is masked.
    masked: Arc<[bool]>,
    package: String,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker").field("package", &self.package).finish()
    }
}

/// What masks beside the patterns.
#[derive(Debug, Clone)]
pub enum Masking {
    /// Nothing: it is turned off, or no package has a model for it.
    Off,
    /// A checked model.
    Model(Masker),
    /// A model should, and this is why it cannot.
    Missing(String),
}

/// For people: "patterns and the model of maintenance 0.2.0".
impl std::fmt::Display for Masking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Masking::Off => f.write_str("patterns"),
            Masking::Model(masker) => {
                let labels: Vec<&str> = masker.masked_labels().collect();
                write!(
                    f,
                    "patterns and the model of {}, which masks {} from probability {}",
                    masker.package,
                    labels.join(", "),
                    masker.floor
                )
            }
            Masking::Missing(why) => write!(f, "patterns alone, because {why}"),
        }
    }
}

impl Masker {
    fn masked_labels(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter().zip(self.masked.iter());
        labels.filter(|(_, masked)| **masked).map(|(label, _)| label.as_str())
    }

    /// What it found, in the terms of the decision path.
    pub(super) fn masks(&self, spans: &[Span]) -> ModelMasks {
        let masked = |span: &&Span| self.masked.get(span.label) == Some(&true);
        let span = |span: &Span| ModelSpan {
            label: self.labels.get(span.label).cloned().unwrap_or_default(),
            start: position(span.start),
            end: position(span.end),
        };
        ModelMasks::Found(spans.iter().filter(masked).map(span).collect())
    }
}

impl Models {
    /// The labels of the model that masks, if a package has one.
    pub fn masker_labels(&self) -> Option<&[String]> {
        let facts = self.facts(config::RedactModel::TASK)?;
        (facts.kind == TaskKind::Extraction).then_some(&*facts.labels)
    }

    /// What masks beside the patterns.
    pub fn masking(&self, asked: &config::RedactModel) -> Masking {
        let task = config::RedactModel::TASK;
        if asked.wanted == Some(false) {
            return Masking::Off;
        }
        match (self.masker_labels(), self.tasks.get(task), self.faults.first()) {
            (Some(labels), Some((model, _)), _) => {
                let masks = |label: &String| {
                    asked.labels.as_ref().is_none_or(|asked| asked.contains(label))
                };
                Masking::Model(Masker {
                    engine: Arc::clone(&model.engine),
                    task: task.to_owned(),
                    floor: asked.floor,
                    labels: Arc::clone(&model.labels),
                    masked: labels.iter().map(masks).collect(),
                    package: model.package.clone(),
                })
            }
            // The package that failed may be the one that has it.
            (_, _, Some(fault)) => Masking::Missing(fault.message.clone()),
            (_, _, None) if asked.wanted == Some(true) => {
                Masking::Missing(format!("no model package has a task '{task}' that extracts"))
            }
            (_, _, None) => Masking::Off,
        }
    }
}
