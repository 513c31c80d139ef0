//! Whether a decision that is run again comes out as it was recorded.
//!
//! A record holds no more than may leave: values of fields may be masked or empty, so positions
//! and labels are compared. Confidences of the same arithmetic on another processor differ by
//! what one rounding does; they are compared as log-odds, in which the tolerance of the golden
//! vectors is stated.

use crate::judgement::{Answer, Judgement, Ruling};
use landfall_wire::id::Confidence;
use landfall_wire::record::{Decision, EscalationReason, Field, Mechanism, Outcome, Read, Verdict};
use serde::Serialize;

/// The draws of [`crate::task::TaskPolicy::after_model`] that pick no answer for an audit, unless
/// all are, and any answer, if some are.
const NOT_DRAWN: u32 = u32::MAX;
const DRAWN: u32 = 0;

/// How the same two decisions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likeness {
    /// To the last digit that is recorded.
    Same,
    /// The same decision, with a confidence within the tolerance.
    WithinTolerance,
    /// Another decision, or a confidence outside of it.
    Differs,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How the same they are.
    pub likeness: Likeness,
    /// Replayed minus recorded confidence, as a probability.
    pub confidence_difference: f32,
    /// A sentence for each thing that differs.
    pub differences: Vec<String>,
}

/// The draw that has a replay audited if the recorded decision was: that was chance.
pub fn draw(recorded: &Outcome) -> u32 {
    match recorded.verdict {
        Verdict::Escalated { reason: EscalationReason::Audit, .. } => DRAWN,
        Verdict::Escalated { .. } | Verdict::Answered | Verdict::Refused => NOT_DRAWN,
    }
}

/// Compares; confidences may differ by `tolerance` in log-odds.
pub fn compare(recorded: &Outcome, replayed: &Judgement, tolerance: f32) -> Comparison {
    let mut differences = Vec::new();
    if recorded.mechanism != replayed.mechanism {
        let (was, is) = (mechanism(&recorded.mechanism), mechanism(&replayed.mechanism));
        differences.push(format!("it was decided by {was}, and is now by {is}"));
    }
    let (was, is) = (verdict(&recorded.verdict), ruling(&replayed.ruling));
    if was != is {
        differences.push(format!("it was {was}, and is now {is}"));
    }
    differences.extend(read(recorded.read, replayed.read));
    let mut apart = log_odds_apart(recorded.confidence, replayed.confidence);
    match decision(recorded, replayed.answer.as_ref()) {
        Ok(fields_apart) => apart = apart.max(fields_apart),
        Err(difference) => differences.push(difference),
    }
    let confidence_difference =
        replayed.confidence.probability() - recorded.confidence.probability();
    if apart > tolerance {
        differences.push(format!(
            "confidences differ by up to {apart:.2} in log-odds; {tolerance:.2} is what another \
             processor may do"
        ));
    }
    let likeness = match (differences.is_empty(), apart > 0.0) {
        (true, false) => Likeness::Same,
        (true, true) => Likeness::WithinTolerance,
        (false, _) => Likeness::Differs,
    };
    Comparison { likeness, confidence_difference, differences }
}

/// A recorded mechanism for people.
pub fn mechanism(mechanism: &Mechanism) -> String {
    match mechanism {
        Mechanism::Guard(reason) => format!("the guard ({reason})"),
        Mechanism::Rule(name) => format!("rule {name}"),
        Mechanism::Model => "the model".to_owned(),
    }
}

/// A recorded verdict for people.
pub fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Answered => "answered".to_owned(),
        Verdict::Refused => "refused".to_owned(),
        Verdict::Escalated { reason, .. } => escalated(reason),
    }
}

/// A ruling for people, in the same words.
pub fn ruling(ruling: &Ruling) -> String {
    match ruling {
        Ruling::Answered => "answered".to_owned(),
        Ruling::Refused => "refused".to_owned(),
        Ruling::Escalated(reason) => escalated(reason),
    }
}

fn escalated(reason: &EscalationReason) -> String {
    let why = match reason {
        EscalationReason::LowConfidence => "low confidence",
        EscalationReason::OutOfScope => "unlike what the model knows",
        EscalationReason::Audit => "drawn for an audit",
        EscalationReason::Rule(name) => return format!("escalated (rule {name})"),
        // The reason is a system's message, and words of it may differ.
        EscalationReason::ModelUnavailable(_) => "the model could not be run",
    };
    format!("escalated ({why})")
}

/// Other counts mean another text.
fn read(recorded: Option<Read>, replayed: Option<Read>) -> Option<String> {
    let (was, is) = (recorded?, replayed?);
    (was != is).then(|| {
        format!(
            "the model read {} words in {} pieces, and now {} in {}: the text is not the same",
            was.words, was.pieces, is.words, is.pieces
        )
    })
}

/// How far apart confidences of fields are in log-odds, or what differs.
fn decision(recorded: &Outcome, answer: Option<&Answer>) -> Result<f32, String> {
    match (&recorded.decision, answer) {
        (None, None) | (Some(Decision::OutOfScope), Some(Answer::OutOfScope)) => Ok(0.0),
        (Some(Decision::Label(was)), Some(Answer::Label(is))) if was == is => Ok(0.0),
        (Some(Decision::Fields(was)), Some(Answer::Fields(spans))) => {
            let is = spans.positions(|_, _| String::new());
            let whole = was.len() as u64 + u64::from(recorded.fields_left_out);
            fields(was, &is, whole)
        }
        (was, is) => {
            let was = was.as_ref().map_or("no answer".to_owned(), decision_name);
            Err(format!("the answer was {was}, and is now {}", answer_name(is)))
        }
    }
}

fn fields(was: &[Field], is: &[Field], whole: u64) -> Result<f32, String> {
    if is.len() as u64 != whole {
        return Err(format!("there were {whole} fields, and now {}", is.len()));
    }
    let place = |field: &Field| (field.label.clone(), field.start, field.end);
    let shown = |field: &Field| format!("{} at {}..{}", field.label, field.start, field.end);
    let mut apart: f32 = 0.0;
    for (was, is) in was.iter().zip(is) {
        if place(was) != place(is) {
            return Err(format!("a field was {}, and is now {}", shown(was), shown(is)));
        }
        apart = apart.max(log_odds_apart(was.confidence, is.confidence));
    }
    Ok(apart)
}

/// A recorded answer in a few words.
pub fn decision_name(decision: &Decision) -> String {
    match decision {
        Decision::Label(label) => label.clone(),
        Decision::OutOfScope => "(out of scope)".to_owned(),
        Decision::Fields(fields) => format!("{} fields", fields.len()),
    }
}

/// An answer in a few words.
pub fn answer_name(answer: Option<&Answer>) -> String {
    match answer {
        None => "no answer".to_owned(),
        Some(Answer::Label(label)) => label.clone(),
        Some(Answer::OutOfScope) => "(out of scope)".to_owned(),
        Some(Answer::Fields(spans)) => format!("{} fields", spans.len()),
    }
}

fn log_odds_apart(was: Confidence, is: Confidence) -> f32 {
    if was == is { 0.0 } else { (log_odds(was) - log_odds(is)).abs() }
}

/// Of a probability to a hundredth of a percent, half of one being its precision at the ends.
fn log_odds(confidence: Confidence) -> f32 {
    const HALF: f32 = 0.000_05;
    let p = confidence.probability().clamp(HALF, 1.0 - HALF);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::Spans;
    use crate::request::FieldView;
    use landfall_wire::id::ShortDigest;

    fn recorded(decision: Option<Decision>, verdict: Verdict, bp: u16) -> Outcome {
        Outcome {
            task: "t".parse().unwrap(),
            caller_id: None,
            at_ms: 1,
            mechanism: Mechanism::Model,
            verdict,
            decision,
            confidence: Confidence::from_basis_points(bp),
            package: ShortDigest([1; 8]),
            config: ShortDigest([2; 8]),
            decide_us: 0,
            read: Some(Read { words: 3, words_blank: 0, pieces: 5, windows: 1 }),
            fields_left_out: 0,
            text: None,
            masking: None,
            meta: vec![],
        }
    }

    fn judged(answer: Option<Answer>, ruling: Ruling, bp: u16) -> Judgement {
        Judgement {
            mechanism: Mechanism::Model,
            ruling,
            answer,
            confidence: Confidence::from_basis_points(bp),
            candidates: vec![],
            reason: None,
            read: Some(Read { words: 3, words_blank: 0, pieces: 5, windows: 1 }),
        }
    }

    fn label(text: &str) -> Option<Answer> {
        Some(Answer::Label(text.to_owned()))
    }

    #[test]
    fn a_confidence_may_differ_by_as_much_as_another_processor_does() {
        let was = recorded(Some(Decision::Label("Leaking".to_owned())), Verdict::Answered, 9_000);
        let likeness =
            |bp| compare(&was, &judged(label("Leaking"), Ruling::Answered, bp), 0.5).likeness;
        assert_eq!(likeness(9_000), Likeness::Same);
        assert_eq!(likeness(9_100), Likeness::WithinTolerance);
        assert_eq!(likeness(9_400), Likeness::Differs);
        let certain = recorded(was.decision.clone(), Verdict::Answered, 10_000);
        let near = judged(label("Leaking"), Ruling::Answered, 9_999);
        assert_eq!(compare(&certain, &near, 1.0).likeness, Likeness::WithinTolerance);
    }

    #[test]
    fn what_differs_is_said() {
        let was = recorded(Some(Decision::Label("Leaking".to_owned())), Verdict::Answered, 9_000);
        let is = Judgement {
            read: Some(Read { words: 4, words_blank: 0, pieces: 5, windows: 1 }),
            ..judged(label("Noise"), Ruling::Escalated(EscalationReason::LowConfidence), 9_000)
        };
        let found = compare(&was, &is, 0.5);
        assert_eq!(
            found.differences,
            [
                "it was answered, and is now escalated (low confidence)",
                "the model read 3 words in 5 pieces, and now 4 in 5: the text is not the same",
                "the answer was Leaking, and is now Noise",
            ]
        );
        assert_eq!(found.likeness, Likeness::Differs);
        let rule = Judgement { mechanism: Mechanism::Rule("leak".to_owned()), ..is };
        assert!(compare(&was, &rule, 0.5).differences[0].contains("now by rule leak"));
    }

    #[test]
    fn fields_are_compared_by_place_as_far_as_they_are_recorded() {
        let field = |label: &str, start, end| Field {
            label: label.to_owned(),
            value: "<name>".to_owned(),
            start,
            end,
            confidence: Confidence::from_basis_points(8_000),
        };
        let view = |label: &str, start, end, confidence| FieldView {
            label: label.to_owned(),
            start,
            end,
            confidence,
        };
        let answer = |views: &[FieldView]| Some(Answer::Fields(Spans::new(views)));
        let two = [view("Item", 0, 4, 0.8), view("Observation", 5, 9, 0.8)];
        let fields = vec![field("Item", 0, 4)];
        let was = Outcome {
            fields_left_out: 1,
            ..recorded(Some(Decision::Fields(fields)), Verdict::Answered, 5_000)
        };
        let check = |views: &[FieldView]| {
            compare(&was, &judged(answer(views), Ruling::Answered, 5_000), 0.5)
        };
        assert_eq!(check(&two).likeness, Likeness::Same);
        assert_eq!(check(&two[..1]).differences, ["there were 2 fields, and now 1"]);
        let moved = [view("Item", 1, 4, 0.8), two[1].clone()];
        assert!(check(&moved).differences[0].contains("Item at 1..4"));
        let surer = [view("Item", 0, 4, 0.81), two[1].clone()];
        assert_eq!(check(&surer).likeness, Likeness::WithinTolerance);
    }

    #[test]
    fn an_audit_is_chance_and_is_drawn_again() {
        let audited = Verdict::Escalated { reason: EscalationReason::Audit, seq: 1 };
        assert_eq!(draw(&recorded(None, audited, 0)), DRAWN);
        assert_eq!(draw(&recorded(None, Verdict::Answered, 0)), NOT_DRAWN);
    }
}
