//! What a package answers to its frozen texts, to be compared between processors and builds.

use super::input::{self, InputError};
use crate::engine::{Engine, EngineError, Span, View};
use crate::package::Package;

/// A line for every `step`th frozen text of each task: its label and whether it is familiar, or
/// its spans with their labels. Two devices answer alike when their lines are the same.
///
/// # Errors
/// When a frozen text cannot be read or the model fails on one.
pub fn answers(
    engine: &Engine,
    package: &Package,
    step: usize,
    mut line: impl FnMut(String),
) -> Result<(), EngineError> {
    for (task, entry) in engine.tasks().zip(package.manifest().tasks.values()) {
        let examples = input::parse(package.file(&entry.evaluation), task).map_err(|error| {
            EngineError::Content {
                dir: package.dir().to_owned(),
                file: entry.evaluation.clone(),
                what: what(&error),
            }
        })?;
        for example in examples.iter().step_by(step.max(1)) {
            let view = engine.run(&example.text, &[&task.name])?.remove(0);
            line(format!("{} line {}: {}", task.name, example.line, answer(&view)));
        }
    }
    Ok(())
}

fn what(error: &InputError) -> String {
    match error {
        InputError::Io(error) => error.to_string(),
        InputError::Empty => "it has no lines".to_owned(),
        InputError::Bad(bad) => bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

fn answer(view: &View) -> String {
    match view {
        View::Label { label, familiar, .. } => {
            format!("{label}, {}", if *familiar { "familiar" } else { "not familiar" })
        }
        View::Spans { spans, .. } => {
            let place = |span: &Span| (span.label, span.start, span.end);
            format!("{:?}", spans.iter().map(place).collect::<Vec<_>>())
        }
    }
}
