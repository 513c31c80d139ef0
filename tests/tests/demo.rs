//! The demo itself, on a short day of somebody's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use serde_json::Value;
use std::process::{Command, Output};

fn demo(args: &[&str]) -> Output {
    Command::new(common::executable()).args(args).output().unwrap()
}

#[test]
fn a_day_of_ones_own_ends_with_a_clean_account() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("own.csv");
    let rows: Vec<String> =
        (0..40).map(|n| format!("{n},\"pump {n} leaking, gland\"\n{n},fan {n} odd")).collect();
    std::fs::write(&input, format!("no,Short Text\n{}\n", rows.join("\n"))).unwrap();
    let input = input.to_str().unwrap();
    let args = ["--input", input, "--column", "Short Text", "--pace", "40", "--json", "--exit"];
    let output = demo(&args);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(report["outcomes"]["recorded"], 80, "{report}");
    assert_eq!(report["outcomes"]["at_hub"], 80);
    assert_eq!(report["outcomes"]["lost"], 0);
    assert_eq!(report["outcomes"]["duplicates"], 0);
    assert_eq!(report["decided"]["rule"].as_u64().map(|count| count >= 40), Some(true), "{report}");
    assert_eq!(report["escalations"]["asked"], report["escalations"]["back"]);
    assert_eq!(report["accuracy"], Value::Null, "nobody said what is right");
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(0));
    for step in ["every link is cut", "kill -9", "started again", "every link is back"] {
        assert!(err.contains(step), "{step}: {err}");
    }
}

#[test]
fn wrong_use_says_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("own.csv");
    std::fs::write(&input, "no,Short Text\n1,x\n").unwrap();
    let output = demo(&["--input", input.to_str().unwrap(), "--exit"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("remedy: --column with one of: no, Short Text"), "{error}");
    assert_eq!(demo(&["--input", "/nowhere/x.txt", "--exit"]).status.code(), Some(1));
    assert_eq!(demo(&["--pace", "0"]).status.code(), Some(2));
}
