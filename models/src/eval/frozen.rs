//! The frozen evaluation set of a package, against what its maker states: it tells a broken
//! package from a sound one, on the very processor that is to run it.

use super::{InputError, evaluate, parse};
use crate::engine::{Engine, EngineError, Kind, TaskSpec};
use crate::package::Package;
use std::fmt;

/// What the set may fall short of the stated figure. The sets are small, and not the texts that
/// the figure was measured on; what is broken is further off.
const SHORTFALL_MAX: f64 = 0.10;

/// One task's figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Frozen {
    /// The task.
    pub task: String,
    /// Texts of the set.
    pub texts: usize,
    /// Name of the figure, as the manifest has it.
    pub figure: &'static str,
    /// As it came out.
    pub measured: f64,
    /// What it is at most, with 95 % probability.
    pub high: f64,
    /// The least that the maker states, if anything.
    pub stated: Option<f64>,
}

/// Why a set could not be run.
#[derive(Debug, thiserror::Error)]
pub enum FrozenError {
    /// The engine failed on one of its texts.
    #[error("task '{task}': {source}")]
    Engine {
        /// The task.
        task: String,
        /// What happened.
        source: EngineError,
    },
    /// It is not a file of labelled lines.
    #[error("task '{task}': its evaluation file cannot be read: {what}")]
    Set {
        /// The task.
        task: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Frozen {
    /// Whether the figure is about what it should be.
    pub fn holds(&self) -> bool {
        self.stated.is_none_or(|stated| self.high >= stated - SHORTFALL_MAX)
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frozen { task, texts, figure, measured, high, stated } = self;
        write!(f, "task '{task}': {figure} {measured:.3} on {texts} texts, at most {high:.3}")?;
        stated.map_or(Ok(()), |stated| write!(f, "; stated is at least {stated:.3}"))
    }
}

/// Runs every task's set.
///
/// # Errors
/// [`FrozenError`].
pub fn frozen(package: &Package, engine: &Engine) -> Result<Vec<Frozen>, FrozenError> {
    engine.tasks().map(|task| one(package, engine, task)).collect()
}

fn one(package: &Package, engine: &Engine, task: &TaskSpec) -> Result<Frozen, FrozenError> {
    let name = || task.name.clone();
    let (file, metrics) = match package.manifest().tasks.get(&task.name) {
        Some(entry) => (entry.evaluation.as_str(), Some(&entry.metrics)),
        None => ("", None),
    };
    let examples = match parse(package.file(file), task) {
        Ok(examples) => examples,
        // A set without lines says nothing.
        Err(InputError::Empty) => Vec::new(),
        Err(InputError::Io(error)) => {
            return Err(FrozenError::Set { task: name(), what: error.to_string() });
        }
        Err(InputError::Bad(bad)) => {
            let what = bad.first().map_or_else(String::new, ToString::to_string);
            return Err(FrozenError::Set { task: name(), what });
        }
    };
    let report = evaluate(engine, task, &examples, |_| {})
        .map_err(|source| FrozenError::Engine { task: name(), source })?;
    let (figure, measured, interval) = match task.kind {
        // Of texts that belong to a label, the best label, as the stated figure has it.
        Kind::Classification => ("accuracy", report.accuracy, report.accuracy_interval),
        Kind::Extraction => ("micro_f1", report.micro_f1, report.micro_f1_interval),
    };
    let number =
        |key: &str| metrics.and_then(|all| all.get(key)).and_then(serde_json::Value::as_f64);
    let stated = number(&format!("{figure}_low")).or_else(|| number(figure));
    let stated = stated.filter(|_| !examples.is_empty());
    Ok(Frozen { task: name(), texts: examples.len(), figure, measured, high: interval.1, stated })
}
