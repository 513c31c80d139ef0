//! Counting right and wrong.
//!
//! A classification task that rejects has two readings, and both are reported. On lines that are
//! all in scope, `accuracy` and the F1 figures judge the best label, as published results do, and
//! `in_scope_accuracy` counts a rejected text as wrong, as the agent acts. As soon as a line is
//! out of scope, every figure counts a rejection as the answer "out of scope".

use crate::engine::{Kind, TaskSpec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How reports name the texts that belong to no label.
pub const OUT_OF_SCOPE: &str = "(out of scope)";

/// The quality of a task on some lines. Figures are shares from 0 to 1; what does not apply is
/// `null` in JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The task.
    pub task: String,
    /// How many texts.
    pub n: usize,
    /// Texts that are wholly right: the label, or all spans and no other.
    pub accuracy: f64,
    /// F1 of each label, weighted by how often it is right for a text.
    pub weighted_f1: f64,
    /// F1 over all labels together; for extraction, of exact spans with their labels.
    pub micro_f1: f64,
    /// Each label that is right or was predicted at least once.
    pub per_label: BTreeMap<String, LabelMetrics>,
    /// Of tasks that reject or lines out of scope: right among the texts that are in scope, a
    /// rejected text counting as wrong. `None` if there are none.
    pub in_scope_accuracy: Option<f64>,
    /// Rejected among the texts that are out of scope. `None` if there are none.
    pub oos_recall: Option<f64>,
    /// Texts that were rejected, of tasks that reject.
    pub rejected: Option<usize>,
    /// Labels of the input that the task does not have; their texts count as wrong.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown_labels: BTreeSet<String>,
}

/// The quality of one label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelMetrics {
    /// Right among predicted.
    pub precision: f64,
    /// Predicted among right.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// How often it is right.
    pub support: usize,
}

/// Right and wrong of one label.
#[derive(Default, Clone, Copy)]
struct Counts {
    hits: usize,
    predicted: usize,
    support: usize,
}

/// What has been seen so far.
pub(super) struct Tally<'a> {
    task: &'a TaskSpec,
    /// Whether rejection is part of the report.
    open: bool,
    outcomes: Vec<Outcome>,
    spans: BTreeMap<String, Counts>,
    n: usize,
    exact: usize,
}

struct Outcome {
    gold: Option<String>,
    best: String,
    familiar: bool,
}

impl<'a> Tally<'a> {
    pub(super) fn new(task: &'a TaskSpec, open: bool) -> Tally<'a> {
        let spans = BTreeMap::new();
        Tally { task, open, outcomes: Vec::new(), spans, n: 0, exact: 0 }
    }

    /// Counts one classified text.
    pub(super) fn label(&mut self, gold: Option<&str>, best: &str, familiar: bool) {
        self.n += 1;
        let gold = gold.map(str::to_owned);
        self.outcomes.push(Outcome { gold, best: best.to_owned(), familiar });
    }

    /// Counts one text's spans: start, end and label.
    pub(super) fn spans(
        &mut self,
        gold: &BTreeSet<(usize, usize, String)>,
        found: BTreeSet<(usize, usize, String)>,
    ) {
        self.n += 1;
        self.exact += usize::from(*gold == found);
        for span in gold {
            let counts = self.spans.entry(span.2.clone()).or_default();
            counts.support += 1;
            counts.hits += usize::from(found.contains(span));
        }
        for span in found {
            self.spans.entry(span.2).or_default().predicted += 1;
        }
    }

    pub(super) fn report(self) -> Report {
        match self.task.kind {
            Kind::Classification => self.classification(),
            Kind::Extraction => self.figures(&self.spans, self.exact),
        }
    }

    fn classification(&self) -> Report {
        let outside = self.outcomes.iter().any(|outcome| outcome.gold.is_none());
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        let mut right = 0;
        for outcome in &self.outcomes {
            let gold = outcome.gold.as_deref().unwrap_or(OUT_OF_SCOPE);
            let rejected = outside && !outcome.familiar;
            let answer = if rejected { OUT_OF_SCOPE } else { outcome.best.as_str() };
            counts.entry(gold.to_owned()).or_default().support += 1;
            counts.entry(answer.to_owned()).or_default().predicted += 1;
            if gold == answer {
                counts.entry(gold.to_owned()).or_default().hits += 1;
                right += 1;
            }
        }
        let mut report = self.figures(&counts, right);
        if self.open {
            let accepted_right = |outcome: &&Outcome| {
                outcome.familiar && outcome.gold.as_ref() == Some(&outcome.best)
            };
            let (inside, outside): (Vec<&Outcome>, Vec<&Outcome>) =
                self.outcomes.iter().partition(|outcome| outcome.gold.is_some());
            let rejected = |outcome: &&Outcome| !outcome.familiar;
            let right = inside.iter().copied().filter(accepted_right).count();
            report.in_scope_accuracy = (!inside.is_empty()).then(|| share(right, inside.len()));
            let caught = outside.iter().copied().filter(rejected).count();
            report.oos_recall = (!outside.is_empty()).then(|| share(caught, outside.len()));
            report.rejected = Some(self.outcomes.iter().filter(rejected).count());
        }
        report
    }

    /// The figures that both kinds have.
    fn figures(&self, counts: &BTreeMap<String, Counts>, right: usize) -> Report {
        let mut all = Counts::default();
        let mut per_label = BTreeMap::new();
        let mut weighted = 0.0;
        for (label, counts) in counts {
            let metrics = counts.metrics();
            weighted += metrics.f1 * counts.support as f64;
            all.hits += counts.hits;
            all.predicted += counts.predicted;
            all.support += counts.support;
            per_label.insert(label.clone(), metrics);
        }
        let known = |label: &&String| *label == OUT_OF_SCOPE || self.task.labels.contains(*label);
        Report {
            task: self.task.name.clone(),
            n: self.n,
            accuracy: share(right, self.n),
            weighted_f1: if all.support == 0 { 0.0 } else { weighted / all.support as f64 },
            micro_f1: all.metrics().f1,
            unknown_labels: per_label.keys().filter(|label| !known(label)).cloned().collect(),
            per_label,
            in_scope_accuracy: None,
            oos_recall: None,
            rejected: None,
        }
    }
}

impl Counts {
    fn metrics(self) -> LabelMetrics {
        LabelMetrics {
            precision: share(self.hits, self.predicted),
            recall: share(self.hits, self.support),
            f1: share(2 * self.hits, self.predicted + self.support),
            support: self.support,
        }
    }
}

/// 0 of 0 is 0, as is usual for precision and recall.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: Kind) -> TaskSpec {
        TaskSpec { familiarity_min: Some(0.5), ..TaskSpec::plain(kind) }
    }

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
    }

    #[test]
    fn closed_lines_judge_the_best_label_and_report_rejection_apart() {
        let task = task(Kind::Classification);
        let mut tally = Tally::new(&task, true);
        tally.label(Some("A"), "A", true);
        tally.label(Some("A"), "A", false);
        tally.label(Some("A"), "B", true);
        tally.label(Some("B"), "B", true);
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
        tally.label(Some("A"), "A", true);
        tally.label(Some("B"), "B", false);
        tally.label(None, "A", false);
        tally.label(None, "A", true);
        let report = tally.report();
        close(report.accuracy, 0.5);
        close(report.in_scope_accuracy.unwrap(), 0.5);
        close(report.oos_recall.unwrap(), 0.5);
        assert_eq!(report.per_label[OUT_OF_SCOPE].support, 2);
        close(report.per_label[OUT_OF_SCOPE].precision, 0.5);
    }

    #[test]
    fn a_label_that_the_task_lacks_is_wrong_and_named() {
        let task = task(Kind::Classification);
        let mut tally = Tally::new(&task, false);
        tally.label(Some("C"), "A", true);
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
        tally.spans(&spans(&[(0, 3, "A"), (4, 6, "B")]), spans(&[(0, 3, "A"), (4, 7, "B")]));
        tally.spans(&spans(&[]), spans(&[]));
        let report = tally.report();
        assert_eq!(report.n, 2);
        close(report.accuracy, 0.5);
        close(report.micro_f1, 0.5);
        close(report.per_label["A"].f1, 1.0);
        close(report.per_label["B"].f1, 0.0);
    }
}
