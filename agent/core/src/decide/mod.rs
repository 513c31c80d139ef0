//! From what a model saw to a judgement: is it sure enough, does it know this kind of text, is
//! this one of the answers that the hub checks.

use crate::calibrate::Calibration;
use crate::judgement::{Answer, CANDIDATES_MAX, Judgement, REASON_BYTES_MAX, Ruling, Spans};
use crate::request::{FieldView, ModelView};
use landfall_wire::id::Confidence;
use landfall_wire::record::{EscalationReason, Mechanism, TaskKind, cut};

/// What decides over a model's view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) kind: TaskKind,
    pub(crate) labels: &'a [String],
    pub(crate) calibration: &'a Calibration,
    pub(crate) audit_rate: f32,
    pub(crate) escalate: bool,
}

/// What a model says of its best label.
#[derive(Clone, Copy)]
struct Best {
    at: usize,
    confidence: f32,
    familiar: bool,
}

/// A model's answer, checked, before it is accepted or not.
struct Opinion {
    answer: Answer,
    confidence: Confidence,
    threshold: Option<Confidence>,
    familiar: bool,
    candidates: Vec<(String, Confidence)>,
}

impl Bench<'_> {
    pub(crate) fn decide(
        &self,
        view: Result<ModelView, String>,
        text_chars: usize,
        draw: u32,
    ) -> Judgement {
        match view.and_then(|view| self.opinion(view, text_chars)) {
            Ok(opinion) => self.weigh(opinion, draw),
            Err(error) => {
                let error = cut(&error, REASON_BYTES_MAX).to_owned();
                let why = format!("the model could not be run: {error}");
                let blank = judgement(None, Confidence::default(), Vec::new());
                self.ask(EscalationReason::ModelUnavailable(error), &why, blank)
            }
        }
    }

    fn weigh(&self, opinion: Opinion, draw: u32) -> Judgement {
        let Opinion { answer, confidence, threshold, familiar, candidates } = opinion;
        if !familiar {
            let why = "the text looks like nothing that the model knows";
            let provisional =
                judgement(Some(Answer::OutOfScope), Confidence::default(), candidates);
            return self.ask(EscalationReason::OutOfScope, why, provisional);
        }
        let confident = judgement(Some(answer), confidence, candidates);
        let percent = |confidence: Confidence| f64::from(confidence.basis_points()) / 100.0;
        let shortfall = match threshold {
            Some(threshold) if confidence >= threshold => None,
            Some(threshold) => Some(format!(
                "confidence {:.2} % is under the threshold of {:.2} %",
                percent(confidence),
                percent(threshold)
            )),
            None => {
                Some("no confidence is known to be enough for this task's error_max".to_owned())
            }
        };
        match shortfall {
            Some(why) => self.ask(EscalationReason::LowConfidence, &why, confident),
            None if self.escalate && is_drawn(draw, self.audit_rate) => {
                Judgement { ruling: Ruling::Escalated(EscalationReason::Audit), ..confident }
            }
            None => confident,
        }
    }

    /// Asks the hub, or refuses where the task may not: an answer that is not good enough is
    /// never passed off as one that is.
    fn ask(&self, reason: EscalationReason, why: &str, provisional: Judgement) -> Judgement {
        if self.escalate {
            let ruling = Ruling::Escalated(reason);
            return Judgement { ruling, reason: Some(limit(why)), ..provisional };
        }
        let why = limit(&format!("{why}, and this task does not ask the hub"));
        Judgement {
            ruling: Ruling::Refused,
            answer: None,
            confidence: Confidence::default(),
            reason: Some(why),
            ..provisional
        }
    }

    fn opinion(&self, view: ModelView, text_chars: usize) -> Result<Opinion, String> {
        match (view, self.kind) {
            (
                ModelView::Labels { labels, best, confidence, probabilities, familiar },
                TaskKind::Classification,
            ) => self.classified(&labels, &probabilities, Best { at: best, confidence, familiar }),
            (ModelView::Spans { spans, confidence }, TaskKind::Extraction) => {
                self.extracted(&spans, confidence, text_chars)
            }
            (ModelView::Labels { .. }, TaskKind::Extraction)
            | (ModelView::Spans { .. }, TaskKind::Classification) => {
                Err("the model gives another kind of answer than its package says".to_owned())
            }
        }
    }

    fn classified(
        &self,
        labels: &[String],
        probabilities: &[f32],
        best: Best,
    ) -> Result<Opinion, String> {
        if labels != self.labels || probabilities.len() != labels.len() {
            let (given, known) = (probabilities.len(), self.labels.len());
            return Err(format!("the model gives {given} probabilities for {known} labels"));
        }
        if !probabilities.iter().chain([&best.confidence]).all(|p| p.is_finite()) {
            return Err("the model gives probabilities that are not numbers".to_owned());
        }
        let mut ranking: Vec<usize> = (0..labels.len()).collect();
        // Stable: of equal probabilities the first label wins, always.
        ranking.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let rated =
            |&at: &usize| (labels[at].clone(), Confidence::from_probability(probabilities[at]));
        let candidates: Vec<_> = ranking.iter().take(CANDIDATES_MAX).map(rated).collect();
        let label = labels.get(best.at).ok_or("the model's best label is none of its labels")?;
        Ok(Opinion {
            answer: Answer::Label(label.clone()),
            confidence: Confidence::from_probability(best.confidence),
            threshold: self.threshold(best.at),
            familiar: best.familiar,
            candidates,
        })
    }

    fn threshold(&self, label: usize) -> Option<Confidence> {
        self.calibration.threshold(label).map(Confidence::from_basis_points)
    }

    fn extracted(
        &self,
        spans: &[FieldView],
        confidence: f32,
        text_chars: usize,
    ) -> Result<Opinion, String> {
        let is_sound = |span: &FieldView| {
            span.start < span.end
                && span.end as usize <= text_chars
                && self.labels.contains(&span.label)
        };
        if let Some(span) = spans.iter().find(|span| !is_sound(span)) {
            let FieldView { label, start, end, .. } = span;
            return Err(format!("the model gives the impossible field {label} at {start}..{end}"));
        }
        Ok(Opinion {
            answer: Answer::Fields(Spans::new(spans)),
            confidence: Confidence::from_probability(confidence),
            threshold: self.threshold(0),
            familiar: true,
            candidates: Vec::new(),
        })
    }
}

fn judgement(
    answer: Option<Answer>,
    confidence: Confidence,
    candidates: Vec<(String, Confidence)>,
) -> Judgement {
    let mechanism = Mechanism::Model;
    Judgement {
        mechanism,
        ruling: Ruling::Answered,
        answer,
        confidence,
        candidates,
        reason: None,
        read: None,
    }
}

fn limit(reason: &str) -> String {
    cut(reason, REASON_BYTES_MAX).to_owned()
}

/// Whether a random number falls into the audited share: exactly `rate` of all 2^32 numbers, to
/// the precision of the rate.
fn is_drawn(draw: u32, rate: f32) -> bool {
    f64::from(draw) < f64::from(rate) * 4_294_967_296.0
}

#[cfg(test)]
mod tests;
