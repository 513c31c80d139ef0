//! The package as a whole: its manifest, and the check before it takes its place.

use super::calibrate::Calibration;
use super::config::Config;
use super::error::{Result, refused};
use super::run::REPORT;
use super::write::Stage;
use super::{Options, Progress, Task};
use crate::engine::{Engine, Kind};
use crate::eval::{self, Example};
use crate::package::{
    EncoderEntry, FORMAT, KindEntry, Manifest, Package, Scheme, Source, TaskEntry,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The calibration file.
pub(super) fn calibration_json(calibration: &Calibration) -> Vec<u8> {
    let mut json = serde_json::to_vec(calibration).expect("numbers and lists become JSON");
    json.push(b'\n');
    json
}

/// The manifest, without files and metrics.
pub(super) fn manifest(
    options: &Options,
    config: &Config,
    task: &Task,
    [hidden, tokens_max]: [usize; 2],
) -> Manifest {
    let file_name = |path: &Path| {
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let model = config.source_name().map_or_else(|| file_name(&options.model), str::to_owned);
    let kind = match task.kind {
        Kind::Classification => KindEntry::Classification,
        Kind::Extraction => KindEntry::Extraction(Scheme::Bio),
    };
    let entry = TaskEntry {
        kind,
        head: "head.onnx".to_owned(),
        labels: task.labels.clone(),
        calibration: "calibration.json".to_owned(),
        golden: "golden.jsonl".to_owned(),
        evaluation: "evaluation.jsonl".to_owned(),
        metrics: BTreeMap::new(),
    };
    let source = |name: String, licence: &str, used_for: &str| Source {
        name,
        licence: licence.to_owned(),
        used_for: used_for.to_owned(),
    };
    Manifest {
        format: FORMAT,
        name: options.name.clone(),
        version: options.version.clone(),
        licence: options.licence.clone(),
        description: format!("{model}, imported in int8."),
        sources: vec![
            source(model, &options.licence, "weights and tokenizer"),
            source(file_name(&options.data), "as its owner says", "calibration and evaluation"),
        ],
        encoder: EncoderEntry {
            file: "encoder.onnx".to_owned(),
            hidden,
            tokens_max,
            tokenizer: "tokenizer.json".to_owned(),
        },
        tasks: BTreeMap::from([(options.task.clone(), entry)]),
        files: BTreeMap::new(),
    }
}

/// What the package said of itself when it was opened.
pub(super) struct Checked {
    pub(super) golden_texts: usize,
    pub(super) golden_difference_max: f32,
    pub(super) metrics: BTreeMap<String, Value>,
}

/// Opens the package as a device does, runs its golden vectors and its evaluation set.
pub(super) fn check(
    stage: &Stage,
    evaluation: &[Example],
    task: &Task,
    progress: Progress<'_>,
) -> Result<Checked> {
    progress("package to open", 0, 1);
    let package = Package::open_unsigned(stage.dir())?;
    let engine = Engine::load(&package)?;
    drop(package);
    let golden = engine.golden()?.tasks.swap_remove(0);
    if !golden.failures.is_empty() {
        return Err(refused(
            format!(
                "{} of {} golden texts differ from the reference: {}",
                golden.failures.len(),
                golden.texts,
                golden.failures.join("; ")
            ),
            REPORT,
        ));
    }
    let spec = engine.tasks().next().expect("an imported package has one task");
    let report = eval::evaluate(&engine, spec, evaluation, |done| {
        progress("texts to evaluate on", done, evaluation.len());
    })?;
    let rounded = |value: f64| json!((value * 1e4).round() / 1e4);
    let mut metrics = BTreeMap::from([
        ("n".to_owned(), json!(evaluation.len())),
        ("split".to_owned(), json!("a fifth of the labelled texts, chosen by their digests")),
    ]);
    match task.kind {
        Kind::Classification => {
            metrics.insert("accuracy".to_owned(), rounded(report.accuracy));
            metrics.insert("weighted_f1".to_owned(), rounded(report.weighted_f1));
            if let Some(recall) = report.oos_recall {
                metrics.insert("out_of_scope_recall".to_owned(), rounded(recall));
            }
        }
        Kind::Extraction => {
            metrics.insert("micro_f1".to_owned(), rounded(report.micro_f1));
        }
    }
    Ok(Checked {
        golden_texts: golden.texts,
        golden_difference_max: golden.difference_max,
        metrics,
    })
}
