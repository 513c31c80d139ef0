//! The packages that ship: signed, whole, right on this processor, and fast enough to be used.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use landfall_models::engine::Scheme;
use landfall_models::{Engine, Kind, Package, Trust, View, eval};
use std::path::{Path, PathBuf};

fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packages")
}

fn open() -> Package {
    let key = packages().join(landfall_models::package::SHIPPED_KEY);
    Package::open(&packages().join("maintenance"), &Trust::load(&[key]).unwrap()).unwrap()
}

#[test]
fn the_shipped_package_has_the_tasks_that_are_promised() {
    let engine = Engine::load(&open()).unwrap();
    let failure = engine.task("failure-mode").unwrap();
    assert_eq!(failure.kind, Kind::Classification);
    assert!(failure.familiarity_min.is_some() && failure.labels.len() > 1);
    let intents = engine.task("intent-150").unwrap();
    assert_eq!((intents.kind, intents.labels.len()), (Kind::Classification, 150));
    for name in ["work-order-fields", "work-order-ner", "redact"] {
        assert_eq!(engine.task(name).unwrap().scheme, Some(Scheme::Bio), "{name}");
    }
    assert!(engine.task("maintie-5").unwrap().span_words_max().is_some(), "spans that nest");
    for task in engine.tasks() {
        // A promise at 0.10 takes 36 scores at the least.
        assert!(task.scores.len() >= 50, "{} has {} scores", task.name, task.scores.len());
        assert!(task.reliability.is_some() && !task.curve.is_empty(), "{}", task.name);
        assert!(task.metrics.contains_key("n"), "{:?}", task.metrics);
    }
}

#[test]
fn its_golden_vectors_agree_on_this_processor() {
    let report = Engine::load(&open()).unwrap().golden().unwrap();
    assert!(report.passed(), "{report:#?}");
    assert!(report.tasks.iter().all(|task| task.texts >= 5), "{report:#?}");
    println!("{report:#?}");
}

/// The frozen lines are few: this catches a package that is broken, not one that is a bit worse.
#[test]
fn it_is_right_far_more_often_than_chance_on_its_frozen_lines() {
    let package = open();
    let engine = Engine::load(&package).unwrap();
    for (task, entry) in engine.tasks().zip(package.manifest().tasks.values()) {
        let examples = eval::parse(package.file(&entry.evaluation), task).unwrap();
        let report = eval::evaluate(&engine, task, &examples, |_| {}).unwrap();
        println!("{report:#?}");
        let figure = match task.kind {
            Kind::Classification => report.in_scope_accuracy.unwrap_or(report.accuracy),
            Kind::Extraction => report.micro_f1,
        };
        assert!(figure > 0.4, "{}: {figure}", task.name);
    }
}

#[test]
fn every_frozen_text_gives_views_that_fit_it() {
    let package = open();
    let engine = Engine::load(&package).unwrap();
    let tasks: Vec<&str> = engine.tasks().map(|task| task.name.as_str()).collect();
    let long = "replace leaking hydraulic hose on excavator boom ".repeat(60);
    for text in ["pump leaking oil", "", "\u{1}", "🔧", long.as_str()] {
        for (view, task) in engine.run(text, &tasks).unwrap().into_iter().zip(engine.tasks()) {
            match view {
                View::Label { probabilities, familiarity, .. } => {
                    let sum: f32 = probabilities.iter().sum();
                    assert_eq!(probabilities.len(), task.labels.len());
                    assert!((sum - 1.0).abs() < 1e-4 && familiarity.is_finite());
                }
                View::Spans { spans, .. } => {
                    assert!(spans.iter().all(|span| span.end <= text.chars().count()));
                }
            }
        }
    }
}
