//! The tool, run as a process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::fixture::{Fixture, TASKS};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&dyn AsRef<OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-models"));
    command.args(args.iter().map(|arg| arg.as_ref()));
    command.output().unwrap()
}

fn ok(args: &[&dyn AsRef<OsStr>]) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that must end with `code`, with nothing on standard output.
fn fails(code: i32, args: &[&dyn AsRef<OsStr>]) -> String {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(stderr.starts_with("error: "), "{stderr}");
    stderr
}

fn eval(fixture: &Fixture, task: &str, input: &Path) -> Output {
    let (dir, key) = (fixture.dir(), fixture.public_key());
    run(&[
        &"eval",
        &"--task",
        &task,
        &"--input",
        &input,
        &"--json",
        &"--package",
        &dir,
        &"--trust",
        &key,
    ])
}

#[test]
fn verify_inspect_and_golden_speak_of_the_package() {
    let fixture = Fixture::new();
    let (dir, key) = (fixture.dir(), fixture.public_key());
    assert!(ok(&[&"verify", &dir, &"--trust", &key]).contains("signature and 15 files good"));
    let text = ok(&[&"inspect", &dir, &"--trust", &key]);
    for line in [
        "task failure: classification, 3 labels",
        "task parts: extraction of nested spans, 3 words at most, 3 labels",
        "reliability  ECE 0.250, Brier 0.100 on 2",
        "1 at mean confidence 0.900: 1.000 right",
        "answers 100.0 %, 50.0 % wrong",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let json: Value =
        serde_json::from_str(&ok(&[&"inspect", &dir, &"--json", &"--trust", &key])).unwrap();
    assert_eq!(json["tasks"]["fields"]["scheme"], "bio");
    assert_eq!(json["tasks"]["parts"]["span_words_max"], 3);
    assert_eq!(json["tasks"]["failure"]["reliability"]["bins"][1][2], 1);
    assert_eq!(json["digest"].as_str().unwrap().len(), 64);
    assert!(ok(&[&"golden", &dir, &"--trust", &key]).contains("1 of 1 texts agree"));
    let answers = ok(&[&"golden", &dir, &"--trust", &key, &"--answers", &"1"]);
    for task in TASKS {
        assert!(answers.contains(&format!("\n{task} line 1: ")), "{answers}");
    }
}

#[test]
fn failures_say_what_and_what_to_do() {
    let fixture = Fixture::new();
    let (dir, key) = (fixture.dir(), fixture.public_key());
    fs::write(fixture.blob("encoder.onnx"), b"x").unwrap();
    let stderr = fails(1, &[&"verify", &dir, &"--trust", &key]);
    assert!(stderr.contains("encoder.onnx of model package"), "{stderr}");
    assert!(stderr.contains("\nremedy: do not use it"), "{stderr}");
    let nowhere = fixture.home().join("nowhere");
    let stderr = fails(1, &[&"verify", &nowhere, &"--trust", &key]);
    assert!(stderr.contains("does not exist\nremedy: "), "{stderr}");
    let stderr = fails(1, &[&"verify", &dir, &"--trust", &nowhere]);
    assert!(stderr.contains("nowhere: it does not exist"), "{stderr}");
    fails(2, &[&"verify", &"--nonsense"]);
    fails(2, &[&"eval"]);
    fails(2, &[&"frobnicate"]);
}

#[test]
fn eval_reports_one_object() {
    let fixture = Fixture::new();
    let input = fixture.home().join("in.jsonl");
    fs::write(
        &input,
        "{\"text\": \"pump leaking\", \"label\": \"Leaking\"}\n\
         {\"text\": \"\", \"label\": \"Noise\"}\n{\"text\": \"what?\", \"label\": null}\n",
    )
    .unwrap();
    let output = eval(&fixture, "failure", &input);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["n"], 3, "{report}");
    for figure in ["accuracy", "weighted_f1", "micro_f1", "in_scope_accuracy", "oos_recall"] {
        assert!(report[figure].as_f64().is_some_and(|x| (0.0..=1.0).contains(&x)), "{report}");
    }
    assert_eq!(report["per_label"]["Leaking"]["support"], 1);

    let spans = "{\"text\": \"pump leaking\", \"spans\": [{\"start\": 0, \"end\": 4, \"label\": \"Item\"}]}\n";
    fs::write(&input, spans).unwrap();
    let output = eval(&fixture, "fields", &input);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["n"], &report["per_label"]["Item"]["support"]), (&1.into(), &1.into()));
    assert!(report["micro_f1"].is_f64() && report["oos_recall"].is_null(), "{report}");
}

#[test]
fn eval_names_bad_lines_and_unknown_labels() {
    let fixture = Fixture::new();
    let input = fixture.home().join("bad.jsonl");
    fs::write(&input, "{\"text\": \"a\", \"label\": \"Noise\"}\n{\"text\": \"a\"}\nnonsense\n")
        .unwrap();
    let output = eval(&fixture, "failure", &input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("bad.jsonl, line 2: failure needs \"label\""), "{stderr}");
    assert!(stderr.contains("bad.jsonl, line 3: "), "{stderr}");
    assert!(output.stdout.is_empty());

    fs::write(&input, "{\"text\": \"a\", \"label\": \"Rust\"}\n").unwrap();
    let output = eval(&fixture, "failure", &input);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("count as wrong: Rust"));

    let output = eval(&fixture, "failures", &input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("no task \"failures\"; it has failure, fields, parts, tags"),
        "{stderr}"
    );
    let output = eval(&fixture, "failure", &fixture.home().join("nowhere.jsonl"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read"));
}

#[test]
fn keygen_and_sign_make_a_package_that_verifies() {
    let fixture = Fixture::new();
    let base = fixture.home().join("new");
    ok(&[&"keygen", &base]);
    let (secret, public) = (fixture.home().join("new.key"), fixture.home().join("new.pub"));
    ok(&[&"sign", &fixture.dir(), &"--key", &secret]);
    ok(&[&"verify", &fixture.dir(), &"--trust", &public]);
    let stderr = fails(1, &[&"verify", &fixture.dir(), &"--trust", &fixture.public_key()]);
    assert!(stderr.contains("signed by a key that is not trusted"), "{stderr}");
    let stderr = fails(1, &[&"keygen", &base]);
    assert!(stderr.contains("not overwritten"), "{stderr}");
}

#[test]
fn bench_measures_the_lengths_that_fit() {
    let fixture = Fixture::new();
    let json: Value = serde_json::from_str(&ok(&[
        &"bench",
        &fixture.dir(),
        &"--json",
        &"--trust",
        &fixture.public_key(),
    ]))
    .unwrap();
    assert_eq!(json["lengths"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["lengths"][0]["pieces"], 16);
    assert!(json["lengths"][0]["median_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn import_makes_a_package_that_verifies() {
    let home = tempfile::TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/roberta-sequence");
    let labels = ["Leaking", "Noise"];
    let line = |at: usize| format!("{{\"text\": \"oil {at}\", \"label\": {:?}}}\n", labels[at % 2]);
    fs::write(path("data.jsonl"), (0..60).map(line).collect::<String>()).unwrap();
    ok(&[&"keygen", &path("site")]);
    let (data, out, key) = (path("data.jsonl"), path("package"), path("site.key"));
    let report = ok(&[
        &"import",
        &model,
        &"--data",
        &data,
        &"--out",
        &out,
        &"--name",
        &"ours",
        &"--task",
        &"mode",
        &"--licence",
        &"MIT",
        &"--key",
        &key,
        &"--json",
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["task"], &report["architecture"]), (&"mode".into(), &"roberta".into()));
    assert!(report["golden_texts"].as_u64().unwrap() > 0, "{report}");
    let trust = path("site.pub");
    assert!(ok(&[&"verify", &out, &"--trust", &trust]).contains("signature and 6 files good"));
    assert!(ok(&[&"golden", &out, &"--trust", &trust]).contains("texts agree"));
    let stderr = fails(1, &[&"import", &path("nowhere"), &"--data", &data, &"--out", &out]);
    assert!(stderr.contains("has no config.json") && stderr.contains("\nremedy: "), "{stderr}");
    fails(2, &[&"import", &model]);
}
