//! The user's labelled lines: read as `eval` reads them, and split once and for all.
//!
//! The split follows from the texts alone, so that the same line is always in the same part, and
//! a text that occurs twice counts once.

use super::error::{Result, io_error, refused};
use crate::engine::{Kind, Scheme, TaskSpec};
use crate::eval::{self, Example, Gold, InputError};
use crate::limits;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Fewest labelled texts: 40 to calibrate on and 10 to keep for evaluation. With 40 a temperature
/// is known to about a sixth.
pub(super) const TEXTS_MIN: usize = 50;
/// Fewest where a head is to be learnt too.
pub(super) const TEXTS_TO_LEARN_MIN: usize = 100;
/// Fewest texts of a label that is to be learnt.
const TEXTS_OF_LABEL_MIN: usize = 5;
/// Most texts of the frozen evaluation set: a device runs it before it takes a package.
const EVALUATION_MAX: usize = 200;

/// The parts of the data.
pub(super) struct Parts {
    /// For a head; empty when the model has one.
    pub(super) learning: Vec<Example>,
    pub(super) calibration: Vec<Example>,
    pub(super) evaluation: Vec<Example>,
}

/// Reads the lines for a task of this kind.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Vec<Example>> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let name = path.display();
    let form = match kind {
        Kind::Classification => {
            "{\"text\": \"...\", \"label\": \"...\"} (label null: out of scope)"
        }
        Kind::Extraction => {
            "{\"text\": \"...\", \"spans\": [{\"start\": 0, \"end\": 4, \"label\": \"...\"}]}"
        }
    };
    let mut examples =
        eval::parse(BufReader::new(file), &spec(kind)).map_err(|error| match error {
            InputError::Io(source) => io_error("read", path)(source),
            InputError::Empty => {
                refused(format!("{name} has no lines"), format!("write one {form} a line"))
            }
            InputError::Bad(bad) => {
                let lines: Vec<String> = bad.iter().map(|bad| format!("\n  {bad}")).collect();
                refused(
                    format!("{name} has bad lines:{}", lines.concat()),
                    format!("correct them; every line is one {form}"),
                )
            }
        })?;
    examples.sort_by_cached_key(|example| Sha256::digest(&example.text));
    examples.dedup_by(|next, kept| next.text == kept.text);
    Ok(examples)
}

/// Refuses labels that the model does not have.
pub(super) fn check_labels(path: &Path, examples: &[Example], labels: &[String]) -> Result<()> {
    let mut unknown = BTreeSet::new();
    for example in examples {
        match &example.gold {
            Gold::Label(label) => unknown.extend(label.as_ref()),
            Gold::Spans(spans) => unknown.extend(spans.iter().map(|span| &span.label)),
        }
    }
    unknown.retain(|label| !labels.contains(label));
    if unknown.is_empty() {
        return Ok(());
    }
    let list = |labels: Vec<&String>| {
        let shown: Vec<&str> = labels.iter().take(20).map(|label| label.as_str()).collect();
        shown.join(", ")
    };
    Err(refused(
        format!(
            "{} has labels that the model does not: {}",
            path.display(),
            list(unknown.into_iter().collect())
        ),
        format!("use the labels of config.json (id2label): {}", list(labels.iter().collect())),
    ))
}

/// The labels to learn, in alphabetical order.
pub(super) fn labels(path: &Path, examples: &[Example]) -> Result<Vec<String>> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for example in examples {
        if let Gold::Label(Some(label)) = &example.gold {
            *counts.entry(label).or_default() += 1;
        }
    }
    let rare: Vec<&str> = counts
        .iter()
        .filter(|(_, count)| **count < TEXTS_OF_LABEL_MIN)
        .map(|(label, _)| label.as_str())
        .collect();
    if counts.len() < 2 || counts.len() > limits::LABELS_MAX || !rare.is_empty() {
        return Err(refused(
            format!(
                "{} has {} labels, of these with fewer than {TEXTS_OF_LABEL_MIN} texts: [{}]; the model has no head, so one is learnt from the data",
                path.display(),
                counts.len(),
                rare.join(", ")
            ),
            format!(
                "label at least two labels (at most {}) with {TEXTS_OF_LABEL_MIN} texts each, or import a ...ForSequenceClassification model",
                limits::LABELS_MAX
            ),
        ));
    }
    Ok(counts.into_keys().cloned().collect())
}

/// Splits the data: a fifth is kept for evaluation, the rest calibrates, or half of it does if a
/// head is to be learnt.
pub(super) fn split(path: &Path, mut examples: Vec<Example>, learns: bool) -> Result<Parts> {
    let is_labelled = |example: &&Example| example.gold != Gold::Label(None);
    let labelled = examples.iter().filter(is_labelled).count();
    let least = if learns { TEXTS_TO_LEARN_MIN } else { TEXTS_MIN };
    if labelled < least {
        return Err(refused(
            format!(
                "{} has {labelled} different labelled texts, at least {least} are needed to calibrate and evaluate",
                path.display()
            ),
            "label more texts that the model was not trained on",
        ));
    }
    let kept = (examples.len() / 5).min(EVALUATION_MAX);
    let evaluation = examples.drain(..kept).collect();
    let learnt = if learns { examples.len() / 2 } else { 0 };
    let learning = examples.drain(..learnt).collect();
    examples.truncate(limits::SCORES_MAX);
    Ok(Parts { learning, calibration: examples, evaluation })
}

/// Lines as `eval` reads them.
pub(super) fn lines(examples: &[Example]) -> Vec<u8> {
    let line = |example: &Example| {
        let value = match &example.gold {
            Gold::Label(label) => json!({"text": example.text, "label": label}),
            Gold::Spans(spans) => {
                let spans: Vec<_> = spans
                    .iter()
                    .map(|span| json!({"start": span.start, "end": span.end, "label": span.label}))
                    .collect();
                json!({"text": example.text, "spans": spans})
            }
        };
        format!("{value}\n")
    };
    examples.iter().map(line).collect::<String>().into_bytes()
}

/// What `eval::parse` needs to know of a task.
fn spec(kind: Kind) -> TaskSpec {
    TaskSpec {
        name: "the imported model".to_owned(),
        kind,
        scheme: (kind == Kind::Extraction).then_some(Scheme::Bio),
        labels: Vec::new(),
        scores: Vec::new(),
        temperature: 1.0,
        familiarity_min: None,
        reliability: None,
        curve: Vec::new(),
        metrics: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(text: String) -> Example {
        Example { line: 1, text, gold: Gold::Label(Some("A".to_owned())) }
    }

    #[test]
    fn parts_share_nothing_and_lose_nothing() {
        for learns in [false, true] {
            let examples = (0..120).map(|at| example(format!("text {at}"))).collect();
            let parts = split(Path::new("x"), examples, learns).ok().unwrap();
            let all = [&parts.learning, &parts.calibration, &parts.evaluation];
            let texts: BTreeSet<&str> =
                all.iter().flat_map(|part| part.iter().map(|e| e.text.as_str())).collect();
            assert_eq!(texts.len(), 120);
            assert_eq!(parts.evaluation.len(), 24);
            assert_eq!(parts.learning.len(), if learns { 48 } else { 0 });
        }
    }

    #[test]
    fn too_few_texts_are_refused_with_the_number_needed() {
        let examples = (0..49).map(|at| example(format!("text {at}"))).collect();
        let Err(error) = split(Path::new("x"), examples, false) else { panic!("it was taken") };
        assert!(error.to_string().contains("49 different labelled texts, at least 50"), "{error}");
    }
}
