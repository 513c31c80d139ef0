//! Makes a package of a Hugging Face model: `landfall-models import`.
//!
//! What `save_pretrained` wrote (`config.json`, weights, `tokenizer.json`) and labelled texts come
//! in; a package in int8 with one task comes out, calibrated, with golden vectors and a frozen
//! evaluation set. In order:
//!
//! 1. `config`, `weights` and `arch` read the model, tensor by tensor, into a [`model::Encoder`]
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
mod onnx;
mod proto;
mod quantize;
mod reference;
mod run;
mod safetensors;
mod tags;
mod weights;
mod write;

pub use error::ImportError;

use crate::engine::{Engine, Kind};
use crate::eval::{self, Example, Gold};
use crate::limits;
use crate::package::{
    EncoderEntry, FORMAT, KindEntry, Manifest, Package, Scheme, Source, TaskEntry, check_name, sign,
};
use crate::text::TextEncoder;
use arch::Reader;
use calibrate::{Calibration, Observation};
use config::{Config, HeadKind};
use error::{Result, refused};
use model::{Encoder, Head};
use run::{Reading, Runner};
use serde::Serialize;
use serde_json::{Value, json};
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
    stage.add_bytes("calibration.json", &calibration_json(&calibration))?;
    stage.add_bytes("golden.jsonl", &golden)?;
    stage.add_bytes("evaluation.jsonl", &data::lines(&parts.evaluation))?;
    let mut manifest = manifest(options, &config, &task, width, tokens_max);
    stage.write_manifest(&mut manifest)?;
    let checked = check(&stage, &parts.evaluation, &task, progress)?;
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

/// What runs texts through the encoder that was written.
struct Bench {
    tokenizer: TextEncoder,
    runner: Runner,
    width: usize,
}

/// What came of running the calibration texts.
struct Observed {
    observations: Vec<Observation>,
    readings: Vec<Reading>,
    skipped: usize,
}

impl Bench {
    /// Learns a head from the data.
    fn learn(
        &self,
        examples: &[Example],
        labels: &[String],
        tokens_max: usize,
        progress: Progress<'_>,
    ) -> Result<Head> {
        let (mut pooled, mut right) = (Vec::new(), Vec::new());
        for (done, example) in examples.iter().enumerate() {
            let Gold::Label(Some(label)) = &example.gold else { continue };
            let Some(label) = labels.iter().position(|known| known == label) else { continue };
            let reading = Reading::new(&self.tokenizer, &example.text, tokens_max)?;
            pooled.push(reference::mean(&self.runner.hidden(&reading.ids)?, self.width));
            right.push(label);
            progress("texts to learn from", done + 1, examples.len());
        }
        Ok(learn::head(&pooled, &right, self.width, labels.len()))
    }

    /// Runs the calibration texts.
    fn observe(
        &self,
        examples: &[Example],
        head: &Head,
        task: &Task,
        tokens_max: usize,
        progress: Progress<'_>,
    ) -> Result<Observed> {
        let mut observed = Observed { observations: Vec::new(), readings: Vec::new(), skipped: 0 };
        for (done, example) in examples.iter().enumerate() {
            progress("texts to calibrate on", done + 1, examples.len());
            let reading = Reading::new(&self.tokenizer, &example.text, tokens_max)?;
            // Longer texts are read in several passes, which the scores would not be of.
            if !reading.is_whole {
                observed.skipped += 1;
                continue;
            }
            let all = head.run(&self.runner.hidden(&reading.ids)?, self.width);
            let mut rows = reading.rows(&all, head);
            observed.observations.push(match &example.gold {
                Gold::Label(label) => {
                    let position = |label| task.labels.iter().position(|known| known == label);
                    let label = label.as_ref().and_then(position);
                    Observation::Label { logits: rows.swap_remove(0), label }
                }
                Gold::Spans(spans) => {
                    let tags = calibrate::tags(&reading.words, spans, &task.labels);
                    Observation::Words { rows, tags }
                }
            });
            let has_words = reading.words.iter().any(|word| word.piece.is_some());
            if has_words {
                observed.readings.push(reading);
            }
        }
        Ok(observed)
    }
}

fn calibration_json(calibration: &Calibration) -> Vec<u8> {
    let mut json = serde_json::to_vec(calibration).expect("numbers and lists become JSON");
    json.push(b'\n');
    json
}

fn manifest(
    options: &Options,
    config: &Config,
    task: &Task,
    hidden: usize,
    tokens_max: usize,
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
struct Checked {
    golden_texts: usize,
    golden_difference_max: f32,
    metrics: BTreeMap<String, Value>,
}

/// Opens the package as a device does, runs its golden vectors and its evaluation set.
fn check(
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
            run::REPORT,
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
