//! Importing Hugging Face models, against what transformers computes.
//!
//! The models in `tests/import` are random and small; `make.py` beside them says how they came
//! about. Their weights are exact in int8, so that what is left between the two results is the
//! rounding of activations.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::run_onnx;
use landfall_models::import::{ImportError, Options, Summary, import};
use landfall_models::package::sign;
use landfall_models::{Engine, Package, Trust, View};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tract_onnx::prelude::Tensor;

/// Least cosine of a piece's hidden state in int8 to that of transformers in fp32.
const COSINE_MIN: f64 = 0.998;
/// Most that a logit may be off, of the spread of all logits of the model.
const LOGIT_SHARE_MAX: f64 = 0.12;

const WORDS: [&str; 10] =
    ["pump", "leak", "oil", "valve", "hot", "noise", "motor", "seal", "bearing", "check"];
const LABELS: [&str; 3] = ["Leaking", "Noise", "Overheating"];

/// A model of `tests/import`.
fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name)
}

/// A directory with a key, data of both kinds, and places for packages.
struct Site {
    home: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { home: TempDir::new().unwrap() };
        sign::keygen(&site.path("maker.key"), &site.path("maker.pub")).unwrap();
        let text = |at: usize| format!("{} {} at {at}", WORDS[at % 10], WORDS[at / 10 % 10]);
        let labelled = |at: usize| json!({"text": text(at), "label": LABELS[at % 10 % 3]});
        let tagged = |at: usize| {
            let end = WORDS[at % 10].len();
            json!({"text": text(at), "spans": [{"start": 0, "end": end, "label": "Item"}]})
        };
        site.write("sequence.jsonl", &lines((0..150).map(labelled)));
        site.write("token.jsonl", &lines((0..150).map(tagged)));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn options(&self, model: &Path) -> Options {
        let config = fs::read_to_string(model.join("config.json")).unwrap_or_default();
        let is_token = config.contains("ForTokenClassification");
        Options {
            model: model.to_owned(),
            data: self.path(if is_token { "token.jsonl" } else { "sequence.jsonl" }),
            out: self.path("package"),
            name: "imported".to_owned(),
            version: "1.2.3".to_owned(),
            licence: "MIT".to_owned(),
            task: "task".to_owned(),
            tokens_max: 128,
            key: Some(self.path("maker.key")),
        }
    }

    fn import(&self, model: &Path) -> Summary {
        import(&self.options(model), &mut |_, _, _| {})
            .unwrap_or_else(|error| panic!("{}: {error}: {}", model.display(), error.remedy()))
    }

    fn open(&self) -> Package {
        let trust = Trust::load(&[self.path("maker.pub")]).unwrap();
        Package::open(&self.path("package"), &trust).unwrap()
    }

    /// A copy of a model, to be spoilt.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.path(&format!("copy of {name}"));
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(model(name)).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_file() {
                fs::copy(&entry, copy.join(entry.file_name().unwrap())).unwrap();
            }
        }
        copy
    }

    #[track_caller]
    fn refuses(&self, model: &Path, reason: &str, remedy: &str) {
        let error = match import(&self.options(model), &mut |_, _, _| {}) {
            Ok(_) => panic!("it was imported, though: {reason}"),
            Err(error) => error,
        };
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.remedy().contains(remedy), "{}", error.remedy());
        assert!(matches!(error, ImportError::Refused { .. }), "{error:?}");
    }
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

/// Replaces a key of a copy's `config.json`.
fn set(copy: &Path, key: &str, value: Value) {
    let path = copy.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

/// Imports a model and compares hidden states and logits with those of transformers.
fn check(name: &str) {
    let site = Site::new();
    let summary = site.import(&model(name));
    assert!(summary.golden_texts > 0 && summary.signed, "{name}: {summary:?}");
    let package = site.open();
    let width = package.manifest().encoder.hidden;
    let expected: Vec<Value> =
        serde_json::from_slice(&fs::read(model(name).join("expected.json")).unwrap()).unwrap();
    let all: Vec<f32> = expected.iter().flat_map(|row| numbers(&row["logits"])).collect();
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    let spread =
        f64::from(all.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / all.len() as f32).sqrt();
    for row in &expected {
        let what = format!("{name}, {}", row["text"]);
        let ids: Vec<i64> = serde_json::from_value(row["ids"].clone()).unwrap();
        let input = Tensor::from_shape(&[1, ids.len()], &ids).unwrap();
        let hidden = run_onnx(package.file("encoder.onnx"), input).unwrap();
        let right = numbers(&row["hidden"]);
        assert_eq!(hidden.len(), right.len(), "{what}");
        for (at, (got, right)) in
            hidden.chunks_exact(width).zip(right.chunks_exact(width)).enumerate()
        {
            let cosine = cosine(got, right);
            assert!(cosine > COSINE_MIN, "{what}: piece {at} has the cosine {cosine}");
        }
        let right = numbers(&row["logits"]);
        if right.is_empty() {
            continue;
        }
        let input = Tensor::from_shape(&[1, ids.len(), width], &hidden).unwrap();
        let logits = run_onnx(package.file("head.onnx"), input).unwrap();
        assert_eq!(logits.len(), right.len(), "{what}");
        let columns = if name.ends_with("token") { 5 } else { right.len() };
        for (got, right) in logits.chunks_exact(columns).zip(right.chunks_exact(columns)) {
            for (x, y) in got.iter().zip(right) {
                let off = f64::from((x - y).abs());
                assert!(off < LOGIT_SHARE_MAX * spread.max(1.0), "{what}: {got:?} {right:?}");
            }
        }
    }
}

#[test]
fn bert_agrees_with_transformers() {
    check("bert-sequence");
    check("bert-token");
    check("bert-bare");
}

#[test]
fn distilbert_agrees_with_transformers() {
    check("distilbert-sequence");
    check("distilbert-token");
}

#[test]
fn roberta_and_its_kin_agree_with_transformers() {
    check("roberta-sequence");
    check("camembert-sequence");
    check("xlm-roberta-token");
}

#[test]
fn deberta_agrees_with_transformers() {
    check("deberta-v3-sequence");
    check("deberta-v2-token");
}

#[test]
fn modernbert_agrees_with_transformers() {
    check("modernbert-sequence");
    check("modernbert-token");
}

#[test]
fn an_onnx_export_gives_the_same_package_as_safetensors() {
    let site = Site::new();
    for name in ["bert-sequence", "distilbert-token", "modernbert-sequence"] {
        site.import(&model(name));
        let files = site.open().manifest().files.clone();
        let exported = site.copy(name);
        for entry in fs::read_dir(&exported).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            if file.starts_with("model") {
                fs::remove_file(path).unwrap();
            }
        }
        fs::create_dir(exported.join("onnx")).unwrap();
        fs::copy(model(name).join("onnx/model.onnx"), exported.join("onnx/model.onnx")).unwrap();
        site.import(&exported);
        for file in ["encoder.onnx", "head.onnx", "golden.jsonl"] {
            assert_eq!(site.open().manifest().files[file], files[file], "{name}: {file}");
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let site = Site::new();
    let source = model("bert-token");
    // It has every file's digest. Signatures differ: minisign adds chance to each.
    let manifest = || fs::read_to_string(site.path("package/manifest.json")).unwrap();
    site.import(&source);
    let first = manifest();
    site.import(&source);
    assert_eq!(manifest(), first);
    let left: Vec<_> = fs::read_dir(site.home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("package"))
        .collect();
    assert_eq!(left, ["package"]);
}

#[test]
fn a_head_is_learnt_for_an_encoder_without_one() {
    let site = Site::new();
    let summary = site.import(&model("bert-bare"));
    assert_eq!((summary.head, &summary.labels[..]), ("data", &LABELS.map(str::to_owned)[..]));
    let accuracy = summary.metrics["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.7, "the first word tells the label, accuracy {accuracy}");
    let engine = Engine::load(&site.open()).unwrap();
    let View::Label { probabilities, .. } = engine.run("hot pump", &["task"]).unwrap().remove(0)
    else {
        panic!("a classifier answers with a label")
    };
    assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason() {
    let site = Site::new();
    let cases = [
        ("bert-sequence", "model_type", json!("albert"), "model_type \"albert\"", "DeBERTa-v3"),
        ("bert-sequence", "model_type", json!(null), "model_type is missing", "save the model"),
        ("bert-sequence", "is_decoder", json!(true), "is a decoder", "import a BERT"),
        (
            "bert-sequence",
            "architectures",
            json!(["GPT2LMHeadModel"]),
            "writes text",
            "import a BERT",
        ),
        (
            "bert-sequence",
            "architectures",
            json!(["BertForQuestionAnswering"]),
            "neither labels texts nor tags words",
            "encoder alone",
        ),
        (
            "bert-sequence",
            "position_embedding_type",
            json!("relative_key"),
            "position_embedding_type \"relative_key\"",
            "absolute positions",
        ),
        ("bert-sequence", "hidden_act", json!("mish"), "hidden_act \"mish\"", "gelu"),
        ("bert-sequence", "hidden_size", json!(64), "has shape", "belongs to these weights"),
        ("bert-sequence", "hidden_size", json!(1 << 20), "the limit is 8192", "smaller model"),
        (
            "bert-sequence",
            "hidden_size",
            json!("wide"),
            "hidden_size is \"wide\"",
            "save the model",
        ),
        ("bert-sequence", "num_hidden_layers", json!(3), "encoder.layer.2", "belongs to these"),
        (
            "bert-sequence",
            "vocab_size",
            json!(20),
            "vocabulary mismatch",
            "resize_token_embeddings",
        ),
        (
            "bert-sequence",
            "problem_type",
            json!("multi_label_classification"),
            "multi_label_classification",
            "single-label",
        ),
        ("bert-sequence", "id2label", json!({"0": "A"}), "id2label has 1 labels", "classify"),
        (
            "bert-sequence",
            "id2label",
            json!({"0": "A", "2": "B"}),
            "ids must run from 0",
            "id2label",
        ),
        (
            "bert-sequence",
            "id2label",
            json!({"0": "A", "1": "B", "2": "C"}),
            "labels that the model does not: Leaking, Noise, Overheating",
            "A, B, C",
        ),
        ("bert-token", "id2label", json!({"0": "O", "1": "I-x"}), "IOB1", "IOB2"),
        (
            "bert-sequence",
            "id2label",
            json!({"0": "A", "1": "B", "2": "A"}),
            "label \"A\" appears twice",
            "rename the labels",
        ),
        (
            "bert-sequence",
            "id2label",
            json!({"0": "A", "1": "x".repeat(64)}),
            "1 to 63 bytes",
            "rename the labels",
        ),
        ("deberta-v3-sequence", "conv_kernel_size", json!(3), "conv_kernel_size", "DeBERTa-v3"),
        ("deberta-v3-sequence", "pos_att_type", json!(["p2p"]), "pos_att_type", "c2p and p2c"),
        (
            "modernbert-sequence",
            "classifier_pooling",
            json!("max"),
            "pooling \"max\"",
            "cls or mean",
        ),
    ];
    for (name, key, value, reason, remedy) in cases {
        let copy = site.copy(name);
        set(&copy, key, value);
        site.refuses(&copy, reason, remedy);
    }
    assert!(!site.path("package").exists(), "a refusal left a package behind");
}

#[test]
fn missing_and_damaged_files_are_refused_with_the_remedy() {
    let site = Site::new();
    let name = "distilbert-sequence";
    let without = |file: &str| {
        let copy = site.copy(name);
        fs::remove_file(copy.join(file)).unwrap();
        copy
    };
    site.refuses(&site.path("nowhere"), "has no config.json", "save_pretrained");
    site.refuses(&without("config.json"), "has no config.json", "save_pretrained");
    site.refuses(&without("tokenizer.json"), "has no tokenizer.json", "use_fast=True");
    let copy = without("model.safetensors");
    site.refuses(&copy, "neither model.safetensors nor model.onnx", "save_pretrained");
    fs::write(copy.join("pytorch_model.bin"), b"x").unwrap();
    site.refuses(&copy, "pytorch_model.bin only", "save as safetensors");
    fs::write(copy.join("model.onnx"), b"not ONNX").unwrap();
    site.refuses(&copy, "model.onnx: ", "save_pretrained");
    let copy = site.copy(name);
    let whole = fs::read(copy.join("model.safetensors")).unwrap();
    fs::write(copy.join("model.safetensors"), &whole[..whole.len() - 100]).unwrap();
    site.refuses(&copy, "lies at", "copy the model again");
    fs::write(copy.join("tokenizer.json"), "{}").unwrap();
    site.refuses(&copy, "tokenizer.json: ", "save_pretrained");
    fs::write(copy.join("config.json"), "[1]").unwrap();
    site.refuses(&copy, "is not a JSON object", "save the model again");
    let copy = site.copy("bert-sequence");
    let index = r#"{"weight_map": {"x": "../../secret.safetensors"}}"#;
    fs::write(copy.join("model.safetensors.index.json"), index).unwrap();
    site.refuses(&copy, "names the file \"../../secret.safetensors\"", "copy the model again");
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_name() {
    let site = Site::new();
    let copy = site.copy("bert-token");
    let path = copy.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last..].copy_from_slice(&[0xc0, 0x7f]); // NaN in bfloat16
    fs::write(path, bytes).unwrap();
    site.refuses(&copy, "not finite numbers", "earlier checkpoint");
}

#[test]
fn data_that_does_not_do_is_refused_with_what_is_needed() {
    let site = Site::new();
    let source = model("bert-sequence");
    let few =
        |count: usize| (0..count).map(|at| json!({"text": format!("oil {at}"), "label": "Noise"}));
    site.write("sequence.jsonl", &lines(few(30)));
    site.refuses(&source, "30 different labelled texts, at least 50", "label more texts");
    let same = (0..60).map(|_| json!({"text": "oil", "label": "Noise"}));
    site.write("sequence.jsonl", &lines(same));
    site.refuses(&source, "1 different labelled texts", "label more texts");
    site.write("sequence.jsonl", "nonsense\n{\"text\": \"a\"}\n");
    site.refuses(&source, "line 1: ", "every line is one");
    site.write("sequence.jsonl", "");
    site.refuses(&source, "has no lines", "\"label\"");
    site.write("sequence.jsonl", &lines(few(120)));
    let mut options = site.options(&source);
    options.task = String::new();
    let error = import(&options, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("task name \"\" is not usable"), "{error}");
    site.refuses(&model("bert-bare"), "has 1 labels", "at least two labels");
}

#[test]
fn a_package_that_is_there_stays_when_an_import_fails() {
    let site = Site::new();
    site.import(&model("bert-sequence"));
    let before = fs::read(site.path("package/manifest.json")).unwrap();
    let mut options = site.options(&model("bert-token"));
    options.key = Some(site.path("no.key"));
    let error = import(&options, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("no.key"), "{error}");
    assert_eq!(fs::read(site.path("package/manifest.json")).unwrap(), before);
    assert!(!site.path("package.importing").exists());
    fs::remove_file(site.path("package/manifest.json")).unwrap();
    site.refuses(&model("bert-sequence"), "exists and is no model package", "--out");
}
