use super::*;
use crate::calibrate::{Accept, Score};
use std::sync::Arc;

const NO_AUDIT: u32 = u32::MAX;

fn labels() -> Arc<[String]> {
    ["Leaking", "Breakdown", "Noise"].map(str::to_owned).into()
}

fn view(probabilities: &[f32], familiar: bool) -> Result<ModelView, String> {
    let best = (0..probabilities.len())
        .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
        .unwrap_or(0);
    let (confidence, probabilities) = (probabilities[best], probabilities.to_vec());
    Ok(ModelView::Labels { labels: labels(), best, confidence, probabilities, familiar })
}

fn spans(spans: &[(&str, u32, u32)], confidence: f32) -> Result<ModelView, String> {
    let spans = spans.iter().map(|(label, start, end)| FieldView {
        label: (*label).to_owned(),
        start: *start,
        end: *end,
        confidence,
    });
    Ok(ModelView::Spans { spans: spans.collect(), confidence })
}

struct Setup {
    kind: TaskKind,
    accept: Accept,
    audit_rate: f32,
    escalate: bool,
}

const USUAL: Setup = Setup {
    kind: TaskKind::Classification,
    accept: Accept::Threshold(0.8),
    audit_rate: 0.01,
    escalate: true,
};

impl Setup {
    fn decide(&self, view: Result<ModelView, String>, draw: u32) -> Judgement {
        let calibration = Calibration::new(self.accept, &[]);
        let bench = Bench {
            kind: self.kind,
            labels: &labels(),
            calibration: &calibration,
            audit_rate: self.audit_rate,
            escalate: self.escalate,
        };
        bench.decide(view, 10, draw)
    }
}

fn label(name: &str) -> Option<Answer> {
    Some(Answer::Label(name.to_owned()))
}

#[test]
fn a_confident_answer_stands() {
    let judgement = USUAL.decide(view(&[0.1, 0.85, 0.05], true), NO_AUDIT);
    assert_eq!(judgement.ruling, Ruling::Answered);
    assert_eq!(judgement.answer, label("Breakdown"));
    assert_eq!(judgement.confidence.basis_points(), 8500);
    let names: Vec<&str> = judgement.candidates.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Breakdown", "Leaking", "Noise"]);
    assert_eq!(judgement.reason, None);
}

#[test]
fn a_choice_among_windows_lowers_the_confidence_and_not_the_candidates() {
    let view = ModelView::Labels {
        labels: labels(),
        best: 1,
        confidence: 0.7,
        probabilities: vec![0.05, 0.9, 0.05],
        familiar: true,
    };
    let judgement = USUAL.decide(Ok(view), NO_AUDIT);
    assert_eq!(judgement.ruling, Ruling::Escalated(EscalationReason::LowConfidence));
    assert_eq!((judgement.answer, judgement.confidence.basis_points()), (label("Breakdown"), 7000));
    assert_eq!(judgement.candidates[0].1.basis_points(), 9000);
}

#[test]
fn the_threshold_itself_is_enough() {
    let ruling = |p| USUAL.decide(view(&[p, 0.0, 0.0], true), NO_AUDIT).ruling;
    assert_eq!(ruling(0.8), Ruling::Answered);
    assert_eq!(ruling(0.7999), Ruling::Escalated(EscalationReason::LowConfidence));
}

#[test]
fn an_unsure_answer_is_provisional() {
    let judgement = USUAL.decide(view(&[0.5, 0.3, 0.2], true), 0);
    assert_eq!(judgement.ruling, Ruling::Escalated(EscalationReason::LowConfidence));
    assert_eq!(judgement.answer, label("Leaking"));
    assert_eq!(
        judgement.reason.as_deref(),
        Some("confidence 50.00 % is under the threshold of 80.00 %")
    );
}

#[test]
fn unfamiliar_text_is_escalated_however_sure_the_model_is() {
    let judgement = USUAL.decide(view(&[1.0, 0.0, 0.0], false), NO_AUDIT);
    assert_eq!(judgement.ruling, Ruling::Escalated(EscalationReason::OutOfScope));
    assert_eq!(judgement.answer, Some(Answer::OutOfScope));
    assert_eq!(judgement.candidates[0].0, "Leaking", "the operator sees what it looked like");
}

#[test]
fn the_audit_takes_its_share_of_confident_answers() {
    let ruling = |draw| USUAL.decide(view(&[0.9, 0.1, 0.0], true), draw).ruling;
    assert_eq!(ruling(0), Ruling::Escalated(EscalationReason::Audit));
    assert_eq!(ruling(42_949_671), Ruling::Escalated(EscalationReason::Audit));
    assert_eq!(ruling(42_949_673), Ruling::Answered);
    let always = Setup { audit_rate: 1.0, ..USUAL };
    let judgement = always.decide(view(&[0.9, 0.1, 0.0], true), u32::MAX);
    assert_eq!(judgement.ruling, Ruling::Escalated(EscalationReason::Audit));
    assert_eq!(judgement.reason, None, "the caller gets an answer like any other");
    let never = Setup { audit_rate: 0.0, ..USUAL };
    assert_eq!(never.decide(view(&[0.9, 0.1, 0.0], true), 0).ruling, Ruling::Answered);
}

#[test]
fn a_model_that_fails_is_escalated_with_its_error() {
    let judgement = USUAL.decide(Err("x".repeat(900)), 0);
    let Ruling::Escalated(EscalationReason::ModelUnavailable(error)) = &judgement.ruling else {
        panic!("{judgement:?}");
    };
    assert_eq!(error.len(), REASON_BYTES_MAX);
    assert_eq!((judgement.answer, judgement.confidence), (None, Confidence::default()));
}

#[test]
fn a_view_that_makes_no_sense_is_a_model_that_fails() {
    let extraction = Setup { kind: TaskKind::Extraction, ..USUAL };
    let other: Arc<[String]> = ["A", "B", "C"].map(str::to_owned).into();
    let sure = |labels, best, confidence| {
        let probabilities = vec![1.0, 0.0, 0.0];
        Ok(ModelView::Labels { labels, best, confidence, probabilities, familiar: true })
    };
    #[rustfmt::skip]
    let cases = [
        USUAL.decide(view(&[0.9, 0.1], true), 0),
        USUAL.decide(view(&[f32::NAN, 0.1, 0.1], true), 0),
        USUAL.decide(sure(other, 0, 1.0), 0),
        USUAL.decide(sure(labels(), 3, 1.0), 0),
        USUAL.decide(sure(labels(), 0, f32::NAN), 0),
        USUAL.decide(spans(&[], 0.9), 0),
        extraction.decide(view(&[0.9, 0.1, 0.0], true), 0),
        extraction.decide(spans(&[("Leaking", 3, 3)], 0.9), 0),
        extraction.decide(spans(&[("Leaking", 3, 11)], 0.9), 0),
        extraction.decide(spans(&[("Other", 3, 5)], 0.9), 0),
    ];
    for judgement in cases {
        assert!(
            matches!(&judgement.ruling, Ruling::Escalated(EscalationReason::ModelUnavailable(_))),
            "{judgement:?}"
        );
    }
}

#[test]
fn spans_are_judged_as_one_answer() {
    let extraction = Setup { kind: TaskKind::Extraction, ..USUAL };
    let sure = extraction.decide(spans(&[("Noise", 0, 4), ("Leaking", 5, 10)], 0.9), NO_AUDIT);
    assert_eq!(sure.ruling, Ruling::Answered);
    let Some(Answer::Fields(fields)) = sure.answer else { panic!("no fields") };
    assert_eq!(fields.len(), 2);
    let unsure = extraction.decide(spans(&[("Noise", 0, 4)], 0.2), NO_AUDIT);
    assert_eq!(unsure.ruling, Ruling::Escalated(EscalationReason::LowConfidence));
    let nothing = extraction.decide(spans(&[], 0.9), NO_AUDIT);
    assert_eq!(nothing.ruling, Ruling::Answered, "no fields is an answer too");
}

#[test]
fn a_task_that_does_not_ask_refuses_instead_of_guessing() {
    let alone = Setup { escalate: false, audit_rate: 1.0, ..USUAL };
    assert_eq!(alone.decide(view(&[0.9, 0.1, 0.0], true), 0).ruling, Ruling::Answered);
    for view in [view(&[0.5, 0.3, 0.2], true), view(&[1.0, 0.0, 0.0], false), Err("gone".into())] {
        let judgement = alone.decide(view, 0);
        assert_eq!(judgement.ruling, Ruling::Refused);
        assert_eq!(judgement.answer, None);
        assert!(judgement.reason.is_some_and(|r| r.ends_with("this task does not ask the hub")));
    }
}

#[test]
fn without_a_threshold_nothing_is_answered() {
    let strict = Setup { accept: Accept::ErrorMax(0.01), ..USUAL };
    let judgement = strict.decide(view(&[1.0, 0.0, 0.0], true), NO_AUDIT);
    assert_eq!(judgement.ruling, Ruling::Escalated(EscalationReason::LowConfidence));
    let reason = judgement.reason.unwrap();
    assert!(reason.contains("error_max"), "{reason}");
}

#[test]
fn labels_have_their_own_thresholds() {
    let scores: Vec<Score> =
        (0..400).map(|i| Score { confidence: 0.6, correct: i % 2 == 0, label: i % 2 }).collect();
    let calibration = Calibration::new(Accept::ErrorMax(0.10), &scores);
    let labels = labels();
    let bench = Bench {
        kind: TaskKind::Classification,
        labels: &labels,
        calibration: &calibration,
        audit_rate: 0.0,
        escalate: true,
    };
    let ruling = |p: &[f32]| bench.decide(view(p, true), 10, 0).ruling;
    assert_eq!(ruling(&[0.6, 0.2, 0.2]), Ruling::Answered, "label 0 is always right");
    assert_eq!(
        ruling(&[0.1, 0.8, 0.1]),
        Ruling::Escalated(EscalationReason::LowConfidence),
        "label 1 never is"
    );
}

/// The record and the threshold round alike.
#[test]
fn confidence_is_rounded_in_one_way() {
    for step in 0..=100_003 {
        let p = step as f32 / 100_003.0;
        let recorded = Confidence::from_probability(p).basis_points();
        assert_eq!(recorded, crate::calibrate::basis_points(p), "{p}");
    }
    assert_eq!(crate::calibrate::basis_points(f32::NAN), 0);
}
