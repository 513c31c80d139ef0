//! Makes a package of a Hugging Face model: `landfall-models import`.
//!
//! What `save_pretrained` wrote (`config.json`, weights, `tokenizer.json`) and labelled texts come
//! in; a package in int8 with one task comes out, calibrated, with golden vectors and a frozen
//! evaluation set. In order:
//!
//! 1. `config`, `weights` and `arch` read the model, tensor by tensor, into an encoder
//!    in int8. What they do not know for certain they refuse: a wrong guess would answer.
//! 2. `graph` writes it in our operators, and `run` runs that on the user's texts (`data`).
//! 3. `calibrate` learns temperature and limits from the answers; `golden` computes golden vectors
//!    with `reference`, which shares no code with the operators.
//! 4. `write` puts the package together; it is opened and its golden vectors are run before it
//!    takes its place.
//!
//! The same input gives the same bytes: no clock, no chance, sums in a fixed order.

mod arch;
mod calibrate;
mod config;
mod data;
mod error;
mod golden;
mod graph;
mod learn;
mod model;
mod observe;
mod onnx;
mod package;
mod proto;
mod quantize;
mod reference;
mod run;
mod safetensors;
mod tags;
mod weights;
mod write;

pub use error::ImportError;

use crate::engine::Kind;
use crate::eval::Example;
use crate::limits;
use crate::package::{check_name, sign};
use crate::text::TextEncoder;
use arch::Reader;
use config::{Config, HeadKind};
use error::{Result, refused};
use model::{Encoder, Head};
use observe::Bench;
use run::{Reading, Runner};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tags::Tags;
use weights::Weights;
use write::Stage;

/// What to import, and as what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's directory.
    pub model: PathBuf,
    /// Labelled lines that the model was not trained on.
    pub data: PathBuf,
    /// The package's directory.
    pub out: PathBuf,
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX licence of the model.
    pub licence: String,
    /// The task's name.
    pub task: String,
    /// Most word pieces in one pass.
    pub tokens_max: usize,
    /// Secret key to sign with.
    pub key: Option<PathBuf>,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The package's directory.
    pub package: PathBuf,
    /// The model's type in its `config.json`.
    pub architecture: String,
    /// The task's name.
    pub task: String,
    /// What it decides.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<String>,
    /// Where the head comes from: `model`, or `data` if it was learnt.
    pub head: &'static str,
    /// Most word pieces in one pass.
    pub tokens_max: usize,
    /// Size of the package's files.
    pub bytes: u64,
    /// Calibration texts.
    pub calibration_texts: usize,
    /// Calibration texts left out, because they do not fit one pass.
    pub skipped_texts: usize,
    /// Temperature of the logits.
    pub temperature: f32,
    /// Expected calibration error on the calibration texts.
    pub ece: f32,
    /// Golden texts, all of which agree.
    pub golden_texts: usize,
    /// Their largest difference.
    pub golden_difference_max: f32,
    /// Quality on the frozen evaluation set.
    pub metrics: BTreeMap<String, Value>,
    /// Whether it is signed.
    pub signed: bool,
}

/// Told how far a step is: its name, the number done and the number of all.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, usize, usize);

/// The task that is to be made.
struct Task {
    kind: Kind,
    labels: Vec<String>,
    /// Of a token head.
    tags: Option<Tags>,
    head: HeadKind,
}

/// Imports a model.
///
/// # Errors
/// What cannot be converted and why, what the data lacks, what cannot be read or written. The
/// destination is then as it was.
pub fn import(options: &Options, progress: Progress<'_>) -> Result<Summary> {
    for (what, name) in [("package name", &options.name), ("task name", &options.task)] {
        check_name(what, name)
            .map_err(|what| refused(what, "choose another with --name or --task"))?;
    }
    let config = Config::read(&options.model)?;
    let architecture = config.model_type()?.to_owned();
    let (tokenizer, tokenizer_json) = tokenizer(&options.model, &config)?;
    let head_kind = config.head()?;
    let kind = match head_kind {
        HeadKind::Token => Kind::Extraction,
        HeadKind::Sequence | HeadKind::Absent => Kind::Classification,
    };
    let examples = data::read(&options.data, kind)?;
    let task = Task::new(&config, head_kind, options, &examples)?;
    let parts = data::split(&options.data, examples, head_kind == HeadKind::Absent)?;
    let (encoder, saved_head) = read_model(options, &config, &task, progress)?;
    if tokenizer.special_count() + 1 >= encoder.tokens_max {
        let what = "the tokenizer adds more special pieces than one pass has";
        return Err(refused(what, "raise --tokens-max"));
    }
    let mut stage = Stage::new(&options.out)?;
    let path = stage.add("encoder.onnx", |out| graph::encoder(&encoder).write(out))?;
    let bench = Bench { tokenizer, runner: Runner::load(&path)?, width: encoder.width };
    let head = match saved_head {
        Some(head) => head,
        None => bench.learn(&parts.learning, &task.labels, encoder.tokens_max, progress)?,
    };
    let observed = bench.observe(&parts.calibration, &head, &task, encoder.tokens_max, progress)?;
    drop(bench.runner);
    let calibration = calibrate::calibrate(&observed.observations);
    let Some(reliability) = &calibration.reliability else {
        let what = format!("no calibration text fits {} word pieces", encoder.tokens_max);
        return Err(refused(what, "raise --tokens-max or label shorter texts"));
    };
    let readings: Vec<&Reading> = observed.readings.iter().collect();
    let golden = golden::lines(&encoder, &head, &readings, |done, all| {
        progress("golden vectors", done, all);
    })?;
    let (width, tokens_max) = (encoder.width, encoder.tokens_max);
    drop(encoder);
    stage.add("head.onnx", |out| graph::head(&head, width).write(out))?;
    stage.add_bytes("tokenizer.json", &tokenizer_json)?;
    stage.add_bytes("calibration.json", &package::calibration_json(&calibration))?;
    stage.add_bytes("golden.jsonl", &golden)?;
    stage.add_bytes("evaluation.jsonl", &data::lines(&parts.evaluation))?;
    let mut manifest = package::manifest(options, &config, &task, [width, tokens_max]);
    stage.write_manifest(&mut manifest)?;
    let checked = package::check(&stage, &parts.evaluation, &task, progress)?;
    if let Some(entry) = manifest.tasks.get_mut(&options.task) {
        entry.metrics = checked.metrics.clone();
    }
    stage.write_manifest(&mut manifest)?;
    if let Some(key) = &options.key {
        sign::sign(stage.dir(), key)?;
    }
    stage.finish()?;
    Ok(Summary {
        package: options.out.clone(),
        architecture,
        task: options.task.clone(),
        kind: task.kind.name(),
        labels: task.labels,
        head: if head_kind == HeadKind::Absent { "data" } else { "model" },
        tokens_max,
        bytes: manifest.files.values().map(|file| file.bytes).sum(),
        calibration_texts: calibration.scores.len(),
        skipped_texts: observed.skipped,
        temperature: calibration.temperature,
        ece: reliability.ece,
        golden_texts: checked.golden_texts,
        golden_difference_max: checked.golden_difference_max,
        metrics: checked.metrics,
        signed: options.key.is_some(),
    })
}

impl Task {
    fn new(
        config: &Config,
        head: HeadKind,
        options: &Options,
        examples: &[Example],
    ) -> Result<Task> {
        let task = match head {
            HeadKind::Absent => {
                let labels = data::labels(&options.data, examples)?;
                return Ok(Task { kind: Kind::Classification, labels, tags: None, head });
            }
            HeadKind::Sequence => {
                let labels = config.labels()?;
                Task { kind: Kind::Classification, labels, tags: None, head }
            }
            HeadKind::Token => {
                let tags = Tags::of(&config.labels()?)?;
                let labels = tags.labels.clone();
                Task { kind: Kind::Extraction, labels, tags: Some(tags), head }
            }
        };
        if task.labels.len() > limits::LABELS_MAX || (task.tags.is_none() && task.labels.len() < 2)
        {
            return Err(refused(
                format!(
                    "config.json: id2label has {} labels, a task has 2 to {}",
                    task.labels.len(),
                    limits::LABELS_MAX
                ),
                "import a model that was trained to classify",
            ));
        }
        for (at, label) in task.labels.iter().enumerate() {
            let twice = || Err(format!("label {label:?} appears twice"));
            let named = if task.labels[..at].contains(label) { twice() } else { Ok(()) };
            named.and_then(|()| check_name("label", label)).map_err(|what| {
                let remedy = "rename the labels in id2label and in the data";
                refused(format!("config.json: id2label: {what}"), remedy)
            })?;
        }
        data::check_labels(&options.data, examples, &task.labels)?;
        Ok(task)
    }
}

/// The tokenizer, and its file.
fn tokenizer(dir: &Path, config: &Config) -> Result<(TextEncoder, Vec<u8>)> {
    let path = dir.join("tokenizer.json");
    let save = "write it: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`";
    if !path.is_file() {
        return Err(refused(format!("{} has no tokenizer.json", dir.display()), save));
    }
    let json = config::read_bounded(&path, limits::IMPORT_JSON_BYTES_MAX)?;
    let tokenizer = TextEncoder::load(&json)
        .map_err(|what| refused(format!("{}: {what}", path.display()), save))?;
    let words = config.count("vocab_size", limits::VOCABULARY_MAX)?;
    if tokenizer.vocabulary_size() > words {
        return Err(refused(
            format!(
                "vocabulary mismatch: tokenizer.json has ids up to {}, config.json a vocab_size of {words}",
                tokenizer.vocabulary_size() - 1
            ),
            "use the tokenizer that the model was trained with, or call `model.resize_token_embeddings(len(tokenizer))` before saving",
        ));
    }
    Ok((tokenizer, json))
}

/// The encoder in int8, and the head if the model has one.
fn read_model(
    options: &Options,
    config: &Config,
    task: &Task,
    progress: Progress<'_>,
) -> Result<(Encoder, Option<Head>)> {
    let mut weights = Weights::open(&options.model)?;
    let mut reader = Reader {
        config,
        weights: &mut weights,
        tokens_wanted: options.tokens_max,
        progress: &mut |done, all| progress("layers", done, all),
    };
    if task.head == HeadKind::Absent {
        return Ok((arch::encoder(&mut reader)?, None));
    }
    // The head first: it is small, and where it is missing nothing else needs to be read.
    let outputs = config.labels()?.len();
    let mut head = arch::head(&mut reader, task.head, outputs)?;
    if let Some(tags) = &task.tags {
        tags.arrange(&mut head);
    }
    Ok((arch::encoder(&mut reader)?, Some(head)))
}
