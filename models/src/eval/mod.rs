//! Measures a task on labelled lines, with the engine that the agent runs.
//!
//! One line is one JSON object: `{"text", "label"}`, where the label `null` means out of scope,
//! or `{"text", "spans": [{"start", "end", "label"}]}` in character offsets, end exclusive.
//! Outer punctuation of a labelled span does not count, as the engine never returns it.
//! Every bad line is reported before anything is measured.

mod answers;
mod counts;
mod frozen;
mod input;
mod metrics;
mod tokens;

pub use answers::answers;
pub use counts::{Interval, LabelMetrics};
pub use frozen::{Frozen, FrozenError, frozen};
pub use input::{BadLine, Example, Gold, GoldSpan, InputError, parse};
pub use metrics::{OUT_OF_SCOPE, Report};
pub use tokens::TokenMetrics;

use crate::engine::{Engine, EngineError, TaskSpec, View, trimmed};
use metrics::{Labelled, Spanned, Tally};
use std::collections::BTreeSet;

/// Runs `task` on all examples. `progress` is called after each with the number done.
///
/// # Errors
/// When the engine fails on a text.
///
/// # Panics
/// When an example was parsed for a task of the other kind.
pub fn evaluate(
    engine: &Engine,
    task: &TaskSpec,
    examples: &[Example],
    mut progress: impl FnMut(usize),
) -> Result<Report, EngineError> {
    let open = task.familiarity_min.is_some()
        || examples.iter().any(|example| example.gold == Gold::Label(None));
    let mut tally = Tally::new(task, open);
    for (done, example) in examples.iter().enumerate() {
        let view = engine.run(&example.text, &[&task.name])?.remove(0);
        match (&example.gold, view) {
            (Gold::Label(gold), View::Label { label, confidence, familiarity, familiar, .. }) => {
                let (gold, best) = (gold.clone(), task.labels[label].clone());
                tally.label(Labelled { gold, best, confidence, familiarity, familiar });
            }
            (Gold::Spans(gold), View::Spans { spans, confidence }) => {
                let found = spans
                    .into_iter()
                    .map(|span| (span.start, span.end, task.labels[span.label].clone()));
                tally.spans(&Spanned {
                    text: &example.text,
                    gold: without_punctuation(gold, &example.text),
                    found: found.collect(),
                    confidence,
                });
            }
            (Gold::Label(_), View::Spans { .. }) | (Gold::Spans(_), View::Label { .. }) => {
                unreachable!("lines were parsed for the kind of this task")
            }
        }
        progress(done + 1);
    }
    Ok(tally.report())
}

/// Labelled spans as the engine would return them. One of punctuation alone stays, and is missed.
fn without_punctuation(gold: &[GoldSpan], text: &str) -> BTreeSet<(usize, usize, String)> {
    let characters: Vec<char> = text.chars().collect();
    gold.iter()
        .map(|span| {
            let (start, end) =
                trimmed(span.start, span.end, &characters).unwrap_or((span.start, span.end));
            (start, end, span.label.clone())
        })
        .collect()
}
