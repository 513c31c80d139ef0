//! The promise of `error_max` on the scores that ship, and the command that shows it.
//!
//! What the scores' texts were drawn from is not known, so its true error is not either. Two
//! readings, each exact in its own way:
//!
//! * The scores themselves are the whole world, and each split draws from them, with replacement,
//!   half as many. Then the true error above a threshold is known: it is that of all scores.
//! * Each split cuts the scores in two. The threshold comes from one part, and the other, which
//!   is finite, testifies. Its share of wrong answers would exceed `error_max` by chance in up to
//!   half of the splits that keep the promise. So a split counts as broken only when the other
//!   part rules out that its true error is `error_max` or less, at 5 %: a split is counted with
//!   probability 0.10 at most for being broken, and 0.05 for chance.
//!
//! Of 200 splits, the number counted is then below a binomial's with 200 trials at 0.10 or 0.15.
//! The limits below are exceeded by such a binomial once in a thousand times.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::encoder::Random;
use common::fixture::Fixture;
use landfall_calibration::{Accept, Calibration, Group, Score, at_most, basis_points};
use landfall_models::{Package, TaskSpec, Trust};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const SPLITS: usize = 200;
const TOLERANCES: [f32; 4] = [0.05, 0.10, 0.15, 0.20];

fn shipped() -> Vec<TaskSpec> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
    let key = packages.join(landfall_models::package::SHIPPED_KEY);
    let trust = Trust::load(&[key]).unwrap();
    TaskSpec::of(&Package::open(&packages.join("maintenance"), &trust).unwrap()).unwrap()
}

/// The most splits of 200 that may be counted at this probability.
fn limit(probability: f64) -> usize {
    (0..SPLITS).find(|&k| at_most(k, SPLITS, probability) > 0.999).unwrap()
}

/// Accepted and wrong among `scores`, of the labels and the threshold of a group.
fn judge(group: &Group, groups: &[Group], scores: &[Score]) -> (usize, usize) {
    let belongs = |score: &&Score| match group.label {
        Some(label) => score.label == label,
        None => groups.iter().all(|other| other.label != Some(score.label)),
    };
    let accepted = scores
        .iter()
        .filter(belongs)
        .filter(|score| group.threshold.is_some_and(|t| basis_points(score.confidence) >= t));
    accepted.fold((0, 0), |(n, wrong), score| (n + 1, wrong + usize::from(!score.correct)))
}

fn below(random: &mut Random, n: usize) -> usize {
    usize::try_from(random.next() % n as u64).unwrap()
}

#[test]
fn the_promise_holds_on_draws_from_the_shipped_scores() {
    for task in shipped() {
        for error_max in TOLERANCES {
            let mut random = Random(1);
            let mut broken = 0;
            for _ in 0..SPLITS {
                let drawn: Vec<Score> = (0..task.scores.len() / 2)
                    .map(|_| task.scores[below(&mut random, task.scores.len())])
                    .collect();
                let calibration = Calibration::new(Accept::ErrorMax(error_max), &drawn);
                // One group: the promise is for each, and the largest is the hardest to keep by
                // answering nothing.
                let groups = calibration.groups();
                let group = groups.iter().max_by_key(|group| group.scores).unwrap();
                let (n, wrong) = judge(group, groups, &task.scores);
                broken += usize::from(wrong as f64 > f64::from(error_max) * n as f64);
            }
            let limit = limit(0.10);
            assert!(broken <= limit, "{} at {error_max}: {broken} of {SPLITS}", task.name);
        }
    }
}

#[test]
fn the_promise_holds_on_the_part_that_was_held_out() {
    for task in shipped() {
        for error_max in TOLERANCES {
            let mut random = Random(2);
            let mut scores = task.scores.clone();
            let mut broken = 0;
            for _ in 0..SPLITS {
                // Fisher and Yates.
                for at in (1..scores.len()).rev() {
                    scores.swap(at, below(&mut random, at + 1));
                }
                let (chosen, held_out) = scores.split_at(scores.len() / 2);
                let calibration = Calibration::new(Accept::ErrorMax(error_max), chosen);
                let groups = calibration.groups();
                let group = groups.iter().max_by_key(|group| group.scores).unwrap();
                let (n, wrong) = judge(group, groups, held_out);
                // P(so many wrong or more | error_max): 1 - P(fewer).
                let by_chance = match wrong {
                    0 => 1.0,
                    _ => 1.0 - at_most(wrong - 1, n, f64::from(error_max)),
                };
                broken += usize::from(by_chance < 0.05);
            }
            let limit = limit(0.15);
            assert!(broken <= limit, "{} at {error_max}: {broken} of {SPLITS}", task.name);
        }
    }
}

/// Runs the tool on a package; standard output if it succeeds, else standard error.
fn coverage(fixture: &Fixture, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-models"));
    command.arg("coverage").arg("--package").arg(fixture.dir());
    command.arg("--trust").arg(fixture.public_key()).args(args);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A package whose classification has 500 scores of label 0 and 100 of label 1, right when sure.
fn scored() -> Fixture {
    let mut fixture = Fixture::new();
    let of = |label: usize, n: usize| {
        (0..n).map(move |at| {
            let confidence = 0.999 - 0.9 * at as f64 / n as f64;
            json!([confidence, u8::from(at < n / 2 || at % 2 == 0), label])
        })
    };
    let scores: Vec<Value> = of(0, 500).chain(of(1, 100)).collect();
    let calibration = json!({"temperature": 1.0, "scores": scores});
    fixture.replace("failure.calibration.json", calibration.to_string().as_bytes());
    fixture
}

#[test]
fn coverage_says_what_a_tolerance_buys_by_label() {
    let fixture = scored();
    let json: Value = serde_json::from_str(
        &coverage(&fixture, &["--error-max", "0.05", "--task", "failure", "--json"]).unwrap(),
    )
    .unwrap();
    assert!(json["method"].as_str().unwrap().contains("Clopper-Pearson"), "{json}");
    assert_eq!(json["confidence"], 0.9);
    let row = &json["tasks"][0]["rows"][0];
    assert_eq!((&row["promised"], &row["scores_more"]), (&json!(true), &json!(0)), "{row}");
    let groups = row["groups"].as_array().unwrap();
    assert_eq!((&groups[0]["label"], &groups[0]["scores"]), (&json!("Leaking"), &json!(500)));
    assert_eq!((&groups[1]["label"], &groups[1]["scores"]), (&Value::Null, &json!(100)));
    assert!(groups[0]["error_bound"].as_f64().unwrap() <= 0.05, "{row}");
    assert!(groups[0]["answered"].as_u64().unwrap() >= 250, "{row}");
    assert!(groups[1]["threshold"].is_null(), "50 right ones do not show 5 %: {row}");

    let text = coverage(&fixture, &["--error-max", "0.05", "--task", "failure"]).unwrap();
    assert!(text.contains("error_max 0.05: answers"), "{text}");
    assert!(text.contains("Leaking: from confidence 0."), "{text}");
    assert!(text.contains("(all other labels): nothing, 100 scores"), "{text}");
    assert!(text.contains("Bauer"), "{text}");
}

#[test]
fn coverage_says_what_is_missing_where_nothing_is_promised() {
    let fixture = scored();
    let text = coverage(&fixture, &["--error-max", "0.001"]).unwrap();
    assert!(text.contains("error_max 0.001: nothing is promised; the smallest"), "{text}");
    assert!(text.contains("more scores like these"), "{text}");
    // "fields" has one score, which is right; "tags" none.
    assert!(text.contains("fields: 1 scores") && text.contains("tags: 0 scores"), "{text}");
    let table = coverage(&fixture, &[]).unwrap();
    assert!(table.contains("error_max  answers  at most wrong"), "{table}");
    assert!(table.contains("       0.20"), "{table}");
    assert!(table.contains("       0.01  nothing is promised"), "{table}");
}

#[test]
fn coverage_refuses_what_makes_no_sense() {
    let fixture = Fixture::new();
    for share in ["0", "1", "2", "NaN"] {
        let error = coverage(&fixture, &["--error-max", share]).unwrap_err();
        assert!(error.contains("is not a share between 0 and 1"), "{error}");
    }
    let error = coverage(&fixture, &["--task", "other"]).unwrap_err();
    assert!(error.contains("no task \"other\"; it has failure, fields, parts, tags"), "{error}");
    assert!(error.contains("remedy: "), "{error}");
}
