//! The engine on a small package with random weights.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::fixture::{FIELDS, Fixture, LABELS, PARTS, SPAN_WORDS_MAX, TASKS};
use landfall_models::{Engine, EngineError, Kind, Span, View};
use serde_json::json;

fn probabilities(view: &View) -> &[f32] {
    match view {
        View::Label { probabilities, .. } => probabilities,
        View::Spans { .. } => panic!("{view:?}"),
    }
}

#[test]
fn tasks_are_described_as_the_package_says() {
    let engine = Fixture::new().engine();
    let names: Vec<&str> = engine.tasks().map(|task| task.name.as_str()).collect();
    assert_eq!(names, TASKS);
    let task = engine.task("failure").unwrap();
    assert_eq!((task.kind, task.familiarity_min), (Kind::Classification, Some(0.2)));
    assert_eq!(task.labels, LABELS);
    assert_eq!((task.scores.len(), task.scores[1].label, task.scores[1].correct), (2, 2, false));
    assert_eq!(engine.task("fields").unwrap().kind, Kind::Extraction);
    assert_eq!(task.reliability.as_ref().unwrap().bins.len(), 2);
    assert_eq!(task.curve, [(0.5, 0.0), (1.0, 0.5)]);
    assert_eq!(engine.task("parts").unwrap().span_words_max(), Some(SPAN_WORDS_MAX));
    assert!(engine.task("other").is_none());
    let error = engine.run("x", &["failure", "other"]).unwrap_err();
    assert!(error.to_string().contains("it has failure, fields, parts, tags"), "{error}");
}

#[test]
fn golden_vectors_of_the_reference_agree() {
    let report = Fixture::new().engine().golden().unwrap();
    assert!(report.passed(), "{report:?}");
    assert_eq!(report.tasks.len(), TASKS.len());
    assert!(report.tasks.iter().all(|task| task.texts == 1), "{report:?}");
}

#[test]
fn a_wrong_golden_vector_is_reported() {
    let mut fixture = Fixture::new();
    let wrong = json!({"text": "pump", "logits": [0.0, 0.0, 9.0], "familiarity": 0.5});
    fixture.replace("failure.golden.jsonl", wrong.to_string().as_bytes());
    let report = fixture.engine().golden().unwrap();
    assert!(!report.passed());
    assert!(report.tasks[0].failures[0].starts_with("text 1: it differs by"), "{report:?}");
}

#[test]
fn one_text_gives_the_same_views_alone_and_together() {
    let engine = Fixture::new().engine();
    let text = "Oil pump leaking (hot valve).";
    for text in [text, &text.repeat(9)] {
        let together = engine.run(text, &TASKS).unwrap();
        let apart = TASKS.map(|task| engine.run(text, &[task]).unwrap().remove(0));
        assert_eq!(together, apart);
        let mut turned = TASKS;
        turned.reverse();
        let mut backwards = engine.run(text, &turned).unwrap();
        backwards.reverse();
        assert_eq!(together, backwards);
    }
    let together = engine.run(text, &TASKS).unwrap();
    let sum: f32 = probabilities(&together[0]).iter().sum();
    assert!((sum - 1.0).abs() < 1e-5);
    assert!(engine.run(text, &[]).unwrap().is_empty());
}

#[test]
fn any_text_is_taken() {
    let engine = Fixture::new().engine();
    let megabyte = "pump leaks ".repeat(1 << 17);
    let texts = [
        "",
        " \t\r\n",
        "\0\u{1}\u{7f}",
        "🔧🔧 ölig ﷽ e\u{301}\u{302}",
        "\u{202e}pump\u{200b}leak\u{feff}",
        "漢字かな",
        &"x".repeat(100_000),
        &megabyte[..100_000],
    ];
    for text in texts {
        let views = engine.run(text, &TASKS).unwrap();
        let start: String = text.chars().take(20).collect();
        assert_eq!(probabilities(&views[0]).len(), LABELS.len(), "{start:?}");
        assert!(probabilities(&views[0]).iter().all(|p| p.is_finite()), "{start:?}");
        let characters = text.chars().count();
        for (view, labels) in [(&views[1], FIELDS.len()), (&views[2], PARTS.len())] {
            let View::Spans { spans, confidence } = view else { panic!("{views:?}") };
            for span in spans {
                assert!(span.start < span.end && span.end <= characters, "{start:?}: {span:?}");
                assert!(span.label < labels && (0.0..=1.0).contains(&span.confidence));
            }
            assert!((0.0..=1.0).contains(confidence), "{start:?}");
        }
    }
    let error = engine.run(&megabyte.repeat(4), &TASKS[..1]).unwrap_err();
    assert!(matches!(error, EngineError::TextTooLarge { .. }), "{error}");
}

#[test]
fn confidence_says_when_there_was_nothing_to_read() {
    let engine = Fixture::new().engine();
    for task in ["fields", "parts"] {
        let confidence = |text: &str| match engine.run(text, &[task]).unwrap().remove(0) {
            View::Spans { spans, confidence } => (spans.len(), confidence),
            View::Label { .. } => unreachable!(),
        };
        assert_eq!(confidence("  "), (0, 1.0), "no words: nothing to find, for certain");
        assert_eq!(confidence("\u{1} \u{2}"), (0, 0.0), "words that the tokenizer drops");
    }
}

#[test]
fn extraction_reads_a_long_text_to_its_end() {
    let engine = Fixture::new().engine();
    let text = "pump oil leaking valve hot ".repeat(40);
    let View::Spans { spans, .. } = engine.run(&text, &["fields"]).unwrap().remove(0) else {
        panic!("not spans");
    };
    // Random weights tag most words with something: every stretch of the text has spans.
    for stretch in 0..10 {
        let around = stretch * text.len() / 10..(stretch + 1) * text.len() / 10;
        assert!(spans.iter().any(|span| around.contains(&span.start)), "none in {around:?}");
    }
    assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "{spans:?}");
}

#[test]
fn offsets_are_characters_of_the_callers_text() {
    let engine = Fixture::new().engine();
    // The same pieces, moved by characters of several bytes that the tokenizer drops.
    let plain = engine.run("pump leaking oil", &["fields"]).unwrap().remove(0);
    let moved = engine.run("\u{200b}\u{200b} pump leaking oil", &["fields"]).unwrap().remove(0);
    let (View::Spans { spans: plain, .. }, View::Spans { spans: moved, .. }) = (plain, moved)
    else {
        panic!("not spans");
    };
    assert!(!plain.is_empty());
    assert_eq!(plain.len(), moved.len());
    for (plain, moved) in plain.iter().zip(&moved) {
        assert_eq!((plain.start + 3, plain.end + 3), (moved.start, moved.end));
    }
}

#[test]
fn many_threads_get_what_one_gets() {
    let engine = Fixture::new().engine();
    let texts: Vec<String> = (1..20).map(|n| "pump leaking oil ".repeat(n)).collect();
    let expected: Vec<Vec<View>> = texts.iter().map(|t| engine.run(t, &TASKS).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for (text, expected) in texts.iter().zip(&expected) {
                    assert_eq!(&engine.run(text, &TASKS).unwrap(), expected);
                }
            });
        }
    });
}

/// Packages that are signed and whole, but do not work: refused when loaded.
#[test]
fn packages_that_cannot_work_are_refused_when_loaded() {
    let refuse = |file: &str, content: &[u8], expected: &str| {
        let mut fixture = Fixture::new();
        fixture.replace(file, content);
        let error = Engine::load(&fixture.open().unwrap()).err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with(file) && text.contains(expected), "{text}");
    };
    refuse("encoder.onnx", b"not onnx", "");
    refuse("encoder.onnx", b"", "");
    refuse("tokenizer.json", b"{}", "");
    refuse("failure.calibration.json", b"{}", "missing field");
    refuse(
        "failure.calibration.json",
        br#"{"temperature": 0, "scores": []}"#,
        "temperature 0 is not positive",
    );
    refuse(
        "failure.calibration.json",
        br#"{"temperature": 1, "scores": [[0.5, 1, 3]]}"#,
        "score 0 is [0.5, 1, 3]",
    );
    refuse("failure.golden.jsonl", b"{}\n", "line 1: missing field");
    let head = std::fs::read(Fixture::new().blob("fields.onnx")).unwrap();
    refuse("failure.onnx", &head, "1 outputs, 2 expected");
    let head = std::fs::read(Fixture::new().blob("failure.onnx")).unwrap();
    refuse("fields.onnx", &head, "2 outputs, 1 expected");
    let encoder = std::fs::read(Fixture::new().blob("encoder.onnx")).unwrap();
    refuse("failure.onnx", &encoder, "");
    // The other way of writing spans.
    let tags = std::fs::read(Fixture::new().blob("fields.onnx")).unwrap();
    refuse("parts.onnx", &tags, "as the head of parts: logits of shape [1, 2, 5], [1, 2, 2, 4]");
    let pairs = std::fs::read(Fixture::new().blob("parts.onnx")).unwrap();
    refuse("fields.onnx", &pairs, "as the head of fields: logits of shape [1, 2, 2, 4], [1, 2, 5]");
    for (calibration, expected) in [
        (r#"{"temperature": NaN, "scores": []}"#, "expected value"),
        (r#"{"temperature": 1e999, "scores": []}"#, "number out of range"),
        (r#"{"temperature": 1, "scores": [[NaN, 1, 0]]}"#, "expected value"),
        (r#"{"temperature": 1, "familiarity_min": NaN, "scores": []}"#, "expected value"),
        (
            r#"{"temperature": 1, "scores": [], "reliability": {"n": 1, "ece": 2, "brier": 0}}"#,
            "ece 2 and brier 0, not shares",
        ),
        (
            r#"{"temperature": 1, "scores": [], "reliability":
                {"n": 1, "ece": 0, "brier": 0, "bins": [[0.5, 1.5, 1]]}}"#,
            "bin 0 of reliability is (0.5, 1.5, 1)",
        ),
        (r#"{"temperature": 1, "scores": [], "curve": [[0.5, -1]]}"#, "point 0 of the curve"),
        (r#"{"temperature": 1, "scores": [], "curve": [[0.5, 0], [0.4, 0]]}"#, "does not rise"),
    ] {
        refuse("failure.calibration.json", calibration.as_bytes(), expected);
    }
    let mut fixture = Fixture::new();
    fixture.manifest["encoder"]["tokens_max"] = json!(17);
    fixture.write();
    let error = Engine::load(&fixture.open().unwrap()).err().unwrap();
    assert!(error.to_string().contains("16 positions, tokens_max is 17"), "{error}");
}

/// A label list that is longer than what the head gives.
#[test]
fn labels_that_a_shared_head_does_not_have_are_refused() {
    let mut fixture = Fixture::new();
    fixture.manifest["tasks"]["tags"]["labels"] = json!(["Item", "Activity", "State"]);
    fixture.write();
    let error = Engine::load(&fixture.open().unwrap()).err().unwrap();
    assert!(
        error.to_string().contains("as the head of tags: logits of shape [1, 2, 5]"),
        "{error}"
    );
}

fn parts(engine: &Engine, text: &str) -> Vec<Span> {
    match engine.run(text, &["parts"]).unwrap().remove(0) {
        View::Spans { spans, .. } => spans,
        View::Label { .. } => unreachable!(),
    }
}

#[test]
fn nested_spans_never_cross_and_have_at_most_so_many_words() {
    let engine = Fixture::new().engine();
    let words = ["pump", "oil", "leaking", "valve,", "hot", "(leaks)", "abc", "zoe"];
    let mut nested = 0;
    for turn in 0..200 {
        let text: Vec<&str> =
            (0..3 + turn % 30).map(|at| words[(at * (turn + 3) + turn) % words.len()]).collect();
        let text = text.join(" ");
        let spans = parts(&engine, &text);
        for (at, a) in spans.iter().enumerate() {
            let value: String = text.chars().skip(a.start).take(a.end - a.start).collect();
            assert!(value.split(' ').count() <= SPAN_WORDS_MAX, "{value}");
            for b in &spans[at + 1..] {
                let apart = a.end <= b.start;
                let inside = a.start <= b.start && b.end <= a.end;
                assert!(apart || inside, "{text}: {a:?} {b:?}");
                nested += usize::from(inside);
            }
        }
    }
    assert!(nested > 100, "random weights nest spans: {nested}");
}

/// Tasks that share a head agree in what they find; temperature moves confidence only.
#[test]
fn a_shared_head_serves_both_its_tasks() {
    let engine = Fixture::new().engine();
    let views = engine.run("pump leaking oil valve", &["fields", "tags"]).unwrap();
    let [
        View::Spans { spans: fields, confidence: sharp },
        View::Spans { spans: tags, confidence: soft },
    ] = &views[..]
    else {
        panic!("{views:?}");
    };
    let place = |span: &Span| (span.label, span.start, span.end);
    assert!(!fields.is_empty());
    assert_eq!(
        fields.iter().map(place).collect::<Vec<_>>(),
        tags.iter().map(place).collect::<Vec<_>>()
    );
    assert!(soft < sharp, "{soft} {sharp}");
}
