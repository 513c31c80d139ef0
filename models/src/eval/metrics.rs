//! The quality of a task on some lines.
//!
//! A classification task that rejects has two readings, and both are reported. On lines that are
//! all in scope, `accuracy` and the F1 figures judge the best label, as published results do, and
//! `in_scope_accuracy` counts a rejected text as wrong, as the agent acts. As soon as a line is
//! out of scope, every figure counts a rejection as the answer "out of scope".

use super::counts::{Interval, LabelMetrics, Table, TextCounts, share};
use super::tokens::{Spans, TokenMetrics, TokenTally};
use crate::engine::{Kind, Reliability, TaskSpec};
use landfall_calibration::{Score, auroc, wilson};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How reports name the texts that belong to no label.
pub const OUT_OF_SCOPE: &str = "(out of scope)";

/// The quality of a task on some lines. Figures are shares from 0 to 1, intervals hold the true
/// figure with 95 %; what does not apply is `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The task.
    pub task: String,
    /// How many texts.
    pub n: usize,
    /// Texts that are wholly right: the label, or all spans and no other.
    pub accuracy: f64,
    /// Wilson's.
    pub accuracy_interval: Interval,
    /// F1 of each label, weighted by how often it is right for a text.
    pub weighted_f1: f64,
    /// By bootstrap over the texts.
    pub weighted_f1_interval: Interval,
    /// Precision over all labels together; for extraction, of exact spans with their labels,
    /// nested ones each on their own.
    pub micro_precision: f64,
    /// Recall in the same way.
    pub micro_recall: f64,
    /// F1 in the same way.
    pub micro_f1: f64,
    /// By bootstrap over the texts.
    pub micro_f1_interval: Interval,
    /// Each label that is right or was predicted at least once.
    pub per_label: BTreeMap<String, LabelMetrics>,
    /// Of extraction: the same, of words instead of spans.
    pub tokens: Option<TokenMetrics>,
    /// Of tasks that reject or lines out of scope: right among the texts that are in scope, a
    /// rejected text counting as wrong. `None` if there are none.
    pub in_scope_accuracy: Option<f64>,
    /// Wilson's.
    pub in_scope_accuracy_interval: Option<Interval>,
    /// Rejected among the texts that are out of scope. `None` if there are none.
    pub oos_recall: Option<f64>,
    /// Wilson's.
    pub oos_recall_interval: Option<Interval>,
    /// Texts that were rejected, of tasks that reject.
    pub rejected: Option<usize>,
    /// Probability that a text in scope is more familiar than one out of scope.
    pub familiarity_auroc: Option<f64>,
    /// Whether confidence and truth agree: of the best label of texts in scope, or of a text's
    /// spans being all right.
    pub reliability: Option<Reliability>,
    /// Labels of the input that the task does not have; their texts count as wrong.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown_labels: BTreeSet<String>,
}

/// What has been seen so far.
pub(super) struct Tally<'a> {
    task: &'a TaskSpec,
    /// Whether rejection is part of the report.
    open: bool,
    labels: Vec<Labelled>,
    spans: Vec<TextCounts>,
    tokens: TokenTally,
    scores: Vec<Score>,
    exact: usize,
}

/// A classified text.
pub(super) struct Labelled {
    /// What is right; `None` is out of scope.
    pub(super) gold: Option<String>,
    pub(super) best: String,
    pub(super) confidence: f32,
    pub(super) familiarity: f32,
    pub(super) familiar: bool,
}

impl Labelled {
    fn is_right(&self) -> bool {
        self.gold.as_ref() == Some(&self.best)
    }
}

/// A text with its spans, labelled and found.
pub(super) struct Spanned<'a> {
    pub(super) text: &'a str,
    pub(super) gold: Spans,
    pub(super) found: Spans,
    pub(super) confidence: f32,
}

impl<'a> Tally<'a> {
    pub(super) fn new(task: &'a TaskSpec, open: bool) -> Tally<'a> {
        let (labels, spans, scores) = (Vec::new(), Vec::new(), Vec::new());
        Tally { task, open, labels, spans, tokens: TokenTally::default(), scores, exact: 0 }
    }

    /// Counts one classified text.
    pub(super) fn label(&mut self, text: Labelled) {
        if text.gold.is_some() {
            self.score(text.confidence, text.is_right());
        }
        self.labels.push(text);
    }

    /// Counts one text's spans.
    pub(super) fn spans(&mut self, text: &Spanned<'_>) {
        let Spanned { gold, found, .. } = text;
        self.exact += usize::from(gold == found);
        self.score(text.confidence, gold == found);
        self.tokens.text(text.text, gold, found);
        let mut counts = TextCounts::default();
        for span in gold {
            let of = counts.of(&span.2);
            of.support += 1;
            of.hits += usize::from(found.contains(span));
        }
        for span in found {
            counts.of(&span.2).predicted += 1;
        }
        self.spans.push(counts);
    }

    fn score(&mut self, confidence: f32, correct: bool) {
        self.scores.push(Score { confidence, correct, label: 0 });
    }

    pub(super) fn report(self) -> Report {
        match self.task.kind {
            Kind::Classification => self.classification(),
            Kind::Extraction => {
                let tokens = Some(self.tokens.metrics());
                Report { tokens, ..self.figures(&self.spans, self.exact) }
            }
        }
    }

    fn classification(&self) -> Report {
        let open = self.labels.iter().any(|text| text.gold.is_none());
        let mut right = 0;
        let mut texts = Vec::with_capacity(self.labels.len());
        for text in &self.labels {
            let gold = text.gold.as_deref().unwrap_or(OUT_OF_SCOPE);
            let rejected = open && !text.familiar;
            let answer = if rejected { OUT_OF_SCOPE } else { text.best.as_str() };
            let mut counts = TextCounts::default();
            counts.of(gold).support += 1;
            counts.of(answer).predicted += 1;
            if gold == answer {
                counts.of(gold).hits += 1;
                right += 1;
            }
            texts.push(counts);
        }
        let report = self.figures(&texts, right);
        if self.open { self.with_rejection(report) } else { report }
    }

    fn with_rejection(&self, report: Report) -> Report {
        let (inside, outside): (Vec<&Labelled>, Vec<&Labelled>) =
            self.labels.iter().partition(|text| text.gold.is_some());
        let right = inside.iter().filter(|text| text.familiar && text.is_right()).count();
        let caught = outside.iter().filter(|text| !text.familiar).count();
        let familiarities = |texts: &[&Labelled]| -> Vec<f32> {
            texts.iter().map(|text| text.familiarity).collect()
        };
        let some = |of: &[&Labelled], part: usize| (!of.is_empty()).then_some((part, of.len()));
        let (inside_right, outside_caught) = (some(&inside, right), some(&outside, caught));
        Report {
            in_scope_accuracy: inside_right.map(|(part, n)| share(part, n)),
            in_scope_accuracy_interval: inside_right.map(|(part, n)| wilson(part, n)),
            oos_recall: outside_caught.map(|(part, n)| share(part, n)),
            oos_recall_interval: outside_caught.map(|(part, n)| wilson(part, n)),
            rejected: Some(self.labels.iter().filter(|text| !text.familiar).count()),
            familiarity_auroc: auroc(&familiarities(&inside), &familiarities(&outside)),
            ..report
        }
    }

    /// The figures that both kinds have.
    fn figures(&self, texts: &[TextCounts], right: usize) -> Report {
        let table = Table::new(texts);
        let (micro, per_label) = (table.micro(), table.per_label());
        let (micro_f1_interval, weighted_f1_interval) = table.intervals();
        let known = |label: &&String| *label == OUT_OF_SCOPE || self.task.labels.contains(*label);
        Report {
            task: self.task.name.clone(),
            n: texts.len(),
            accuracy: share(right, texts.len()),
            accuracy_interval: wilson(right, texts.len()),
            weighted_f1: table.weighted_f1(),
            weighted_f1_interval,
            micro_precision: micro.precision,
            micro_recall: micro.recall,
            micro_f1: micro.f1,
            micro_f1_interval,
            unknown_labels: per_label.keys().filter(|label| !known(label)).cloned().collect(),
            per_label,
            tokens: None,
            in_scope_accuracy: None,
            in_scope_accuracy_interval: None,
            oos_recall: None,
            oos_recall_interval: None,
            rejected: None,
            familiarity_auroc: None,
            reliability: landfall_calibration::Reliability::new(&self.scores)
                .as_ref()
                .map(Reliability::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: Kind) -> TaskSpec {
        TaskSpec { familiarity_min: Some(0.5), ..TaskSpec::plain(kind) }
    }

    fn labelled(gold: Option<&str>, best: &str, familiar: bool) -> Labelled {
        let (gold, best) = (gold.map(str::to_owned), best.to_owned());
        let familiarity = if familiar { 0.6 } else { 0.4 };
        Labelled { gold, best, confidence: 0.8, familiarity, familiar }
    }

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    }

    #[test]
    fn closed_lines_judge_the_best_label_and_report_rejection_apart() {
        let task = task(Kind::Classification);
        let mut tally = Tally::new(&task, true);
        tally.label(labelled(Some("A"), "A", true));
        tally.label(labelled(Some("A"), "A", false));
        tally.label(labelled(Some("A"), "B", true));
        tally.label(labelled(Some("B"), "B", true));
        let report = tally.report();
        close(report.accuracy, 0.75);
        close(report.micro_f1, 0.75);
        // A: precision 1, recall 2/3, F1 0.8; B: precision 1/2, recall 1, F1 2/3.
        close(report.weighted_f1, (3.0 * 0.8 + 2.0 / 3.0) / 4.0);
        close(report.per_label["A"].recall, 2.0 / 3.0);
        close(report.in_scope_accuracy.unwrap(), 0.5);
        assert_eq!((report.oos_recall, report.rejected), (None, Some(1)));
    }

    #[test]
    fn a_line_out_of_scope_makes_rejection_an_answer() {
        let task = task(Kind::Classification);
        let mut tally = Tally::new(&task, true);
        tally.label(labelled(Some("A"), "A", true));
        tally.label(labelled(Some("B"), "B", false));
        tally.label(labelled(None, "A", false));
        tally.label(labelled(None, "A", true));
        let report = tally.report();
        close(report.accuracy, 0.5);
        close(report.in_scope_accuracy.unwrap(), 0.5);
        close(report.oos_recall.unwrap(), 0.5);
        // Familiar against familiar and unfamiliar against unfamiliar tie.
        close(report.familiarity_auroc.unwrap(), 0.5);
        assert_eq!(report.oos_recall_interval, Some(wilson(1, 2)));
        assert_eq!(report.reliability.as_ref().unwrap().n, 2, "of texts in scope");
        assert_eq!(report.per_label[OUT_OF_SCOPE].support, 2);
        close(report.per_label[OUT_OF_SCOPE].precision, 0.5);
    }

    #[test]
    fn a_label_that_the_task_lacks_is_wrong_and_named() {
        let task = task(Kind::Classification);
        let mut tally = Tally::new(&task, false);
        tally.label(labelled(Some("C"), "A", true));
        let report = tally.report();
        close(report.accuracy, 0.0);
        assert!(report.unknown_labels.contains("C"));
        assert_eq!(report.in_scope_accuracy, None);
    }

    #[test]
    fn spans_count_when_offsets_and_label_are_exact() {
        let task = task(Kind::Extraction);
        let mut tally = Tally::new(&task, false);
        let spans = |spans: &[(usize, usize, &str)]| {
            spans.iter().map(|&(start, end, label)| (start, end, label.to_owned())).collect()
        };
        let text = |gold, found| Spanned { text: "abc defg", gold, found, confidence: 0.5 };
        // The same place may have two labels, and one span may lie in another.
        let gold = spans(&[(0, 3, "A"), (0, 8, "A"), (4, 6, "B")]);
        tally.spans(&text(gold, spans(&[(0, 3, "A"), (0, 8, "A"), (4, 7, "B")])));
        tally.spans(&text(spans(&[]), spans(&[])));
        let report = tally.report();
        assert_eq!(report.n, 2);
        close(report.accuracy, 0.5);
        close(report.micro_f1, 2.0 / 3.0);
        close(report.per_label["A"].f1, 1.0);
        assert_eq!(report.per_label["A"].support, 2);
        close(report.per_label["B"].f1, 0.0);
        close(report.tokens.unwrap().per_label["B"].recall, 1.0);
        close(f64::from(report.reliability.unwrap().brier), 0.25);
    }
}
