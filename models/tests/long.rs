//! Texts that are longer than one pass: nothing is left unread, wherever it stands.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::fixture::{Fixture, TASKS};
use landfall_models::{Engine, Package, Read, Span, Trust, View};
use std::path::Path;

fn shipped() -> Engine {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
    let key = packages.join(landfall_models::package::SHIPPED_KEY);
    let trust = Trust::load(&[key]).unwrap();
    Engine::load(&Package::open(&packages.join("maintenance"), &trust).unwrap()).unwrap()
}

fn spans(view: &View) -> &[Span] {
    match view {
        View::Spans { spans, .. } => spans,
        View::Label { .. } => panic!("{view:?}"),
    }
}

/// Words that say nothing of machines.
fn filler(words: usize) -> String {
    let text = "the quarterly meeting was held as planned and everyone agreed with the minutes ";
    text.split(' ')
        .filter(|word| !word.is_empty())
        .cycle()
        .take(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What is asked for stands at the end of three thousand words, behind emoji, line ends of
/// Windows and combining characters, which take one, two and several characters a letter.
#[test]
fn a_field_and_a_failure_mode_at_the_far_end_are_found() {
    let engine = shipped();
    let odd = "🔧\r\ne\u{301}te\u{301} ";
    let matter = "hydraulic hose leaking oil badly, found oil leak at hose fitting, oil leaking \
                  onto deck, hose leaks at both ends, replace leaking hydraulic hose";
    let text = format!("{odd}{}\r\n{odd} {matter}", filler(3000));
    let reading = engine.read(&text, &["failure-mode", "work-order-fields"]).unwrap();
    assert_eq!(reading.read.words, text.split_whitespace().count());
    assert!(reading.read.windows > 20 && reading.read.words_blank == 0, "{:?}", reading.read);

    let found = spans(&reading.views[1]);
    let characters: Vec<char> = text.chars().collect();
    let value = |span: &Span| characters[span.start..span.end].iter().collect::<String>();
    let far: Vec<String> =
        found.iter().filter(|s| s.start > characters.len() - matter.len()).map(value).collect();
    assert!(far.iter().any(|value| value.contains("hose")), "{far:?}");

    let View::Label { label, confidence, probabilities, .. } = &reading.views[0] else {
        panic!("not a label");
    };
    let labels = &engine.task("failure-mode").unwrap().labels;
    assert_eq!(labels[*label], "Leaking", "{:?}", reading.views[0]);
    assert!(*confidence < probabilities[*label], "the choice among windows is paid for");
    let alone = engine.run(matter, &["failure-mode"]).unwrap().remove(0);
    assert!(matches!(alone, View::Label { label: l, .. } if l == *label), "{alone:?}");
}

/// The same words, moved across every border of the windows of a small package: tags and pairs
/// come from whole windows, and each pair from one that holds all of it.
#[test]
fn spans_across_borders_of_windows_are_whole() {
    let engine = Fixture::new().engine();
    let words = ["pump", "leaking", "oil", "valve", "hot", "pumps"];
    for before in 0..40 {
        let text: Vec<&str> = (0..before + 6).map(|at| words[at % words.len()]).collect();
        let text = text.join(" ");
        let reading = engine.read(&text, &TASKS).unwrap();
        assert_eq!(reading.read.words, before + 6);
        // Every word has a tag, and every pair of at most three words was looked at once.
        let starts: Vec<usize> = text
            .char_indices()
            .filter(|(at, _)| *at == 0 || text.as_bytes()[at - 1] == b' ')
            .map(|(at, _)| at)
            .collect();
        for view in &reading.views[1..] {
            for span in spans(view) {
                assert!(starts.contains(&span.start), "{text}: {span:?}");
                let ends = span.end == text.len() || text.as_bytes()[span.end] == b' ';
                assert!(ends, "{text}: {span:?}");
            }
        }
    }
}

/// A long repetition has the same spans in its middle as anywhere else in its middle: a border
/// that lost or doubled spans would show as a period of windows.
#[test]
fn spans_do_not_pile_up_or_thin_out_at_borders() {
    let engine = shipped();
    let unit = "replaced leaking hydraulic hose on excavator boom . ";
    let view = engine.run(&unit.repeat(80), &["work-order-fields"]).unwrap().remove(0);
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    let mut hoses = 0;
    for span in spans(&view) {
        let unit_chars = unit.chars().count();
        let value: String = unit
            .chars()
            .cycle()
            .skip(span.start % unit_chars)
            .take(span.end - span.start)
            .collect();
        hoses += usize::from(value.contains("hose"));
        places.push((span.start, span.end, span.label));
    }
    assert!((76..=80).contains(&hoses), "{hoses} of 80 hoses");
    let count = places.len();
    places.dedup();
    assert_eq!(places.len(), count, "no span twice");
}

#[test]
fn what_was_read_is_told() {
    let engine = Fixture::new().engine();
    let read = |text: &str| engine.read(text, &["failure"]).unwrap().read;
    assert_eq!(read("").windows, 1);
    // The tokenizer drops control characters.
    let blank = Read { words: 3, words_blank: 1, pieces: 4, windows: 1 };
    assert_eq!(read("pump \u{1} leakings"), blank);
    assert_eq!(engine.read("pump", &[]).unwrap().read, Read::default());
    let long = read(&"pump ".repeat(100));
    assert_eq!((long.words, long.pieces), (100, 100));
    // 14 pieces a pass, of which 3 overlap with the last one.
    assert_eq!(long.windows, 9);
}

/// What runs before, beside or after a text does not change its answer by a bit.
#[test]
fn an_answer_depends_on_its_text_alone() {
    let engine = shipped();
    let tasks: Vec<&str> = engine.tasks().map(|task| task.name.as_str()).collect();
    let texts: Vec<String> = (0..24)
        .map(|n| match n % 4 {
            0 => format!("pump {n} leaking at seal"),
            1 => "replace hyd hose ".repeat(n),
            2 => filler(n),
            _ => format!("#{n} brg noise, vib. high!!"),
        })
        .collect();
    let expected: Vec<Vec<View>> =
        texts.iter().map(|t| shipped_alone(&engine, t, &tasks)).collect();
    let check = |order: &dyn Fn(usize) -> usize| {
        for at in 0..texts.len() {
            let at = order(at) % texts.len();
            assert_eq!(engine.run(&texts[at], &tasks).unwrap(), expected[at], "{}", texts[at]);
        }
    };
    // The other way round, and side by side in orders of their own.
    check(&|at| texts.len() - 1 - at);
    std::thread::scope(|scope| {
        for step in [1, 5, 7, 11] {
            scope.spawn(move || check(&|at| at * step + step));
        }
    });
    // A fresh engine, which has seen nothing.
    let fresh = shipped();
    for (text, expected) in texts.iter().zip(&expected).skip(1).step_by(5) {
        assert_eq!(&fresh.run(text, &tasks).unwrap(), expected, "{text}");
    }
}

/// Each task in a run of its own.
fn shipped_alone(engine: &Engine, text: &str, tasks: &[&str]) -> Vec<View> {
    tasks.iter().map(|task| engine.run(text, &[task]).unwrap().remove(0)).collect()
}

/// With a low floor more is masked, never less, and in one pass with the rest.
#[test]
fn a_mask_takes_what_is_likely_enough() {
    let engine = shipped();
    let text = "call Jansen about pump P-101, leaking at seal since monday";
    let covered = |floor: f32| -> Vec<bool> {
        let (reading, found) =
            engine.read_and_mask(text, &["failure-mode"], "work-order-fields", floor).unwrap();
        assert_eq!(reading.views, engine.run(text, &["failure-mode"]).unwrap());
        (0..text.len()).map(|at| found.iter().any(|s| s.start <= at && at < s.end)).collect()
    };
    let (all, low, high) = (covered(0.0), covered(0.05), covered(0.9));
    let within = |a: &[bool], b: &[bool]| a.iter().zip(b).all(|(a, b)| !a || *b);
    assert!(within(&high, &low) && within(&low, &all));
    let letters = text.chars().enumerate().filter(|(_, c)| c.is_alphanumeric());
    assert!(letters.clone().all(|(at, _)| all[at]), "at 0 every word is masked");
    assert!(letters.clone().any(|(at, _)| !high[at]), "at 0.9 not all of them");
    // Whatever the plain answer calls a span is masked at its default floor too.
    for span in spans(&engine.run(text, &["work-order-fields"]).unwrap().remove(0)) {
        let likely = span.confidence > 0.5;
        assert!(!likely || (span.start..span.end).all(|at| low[at] || text.as_bytes()[at] == b' '));
    }
    let error = engine.read_and_mask(text, &[], "failure-mode", 0.2).unwrap_err();
    assert!(error.to_string().contains("gives a label and no spans"), "{error}");
}
