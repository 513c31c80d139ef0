//! Labels of words: what counts where a span is masked and not read.
//!
//! A word, a run of non-whitespace characters, has the labels of all spans that touch it. To miss
//! the second word of a name is half an error here, and to put a label one off is none for the
//! share of words that are covered at all.

use super::counts::{Counts, LabelMetrics};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How well words are labelled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenMetrics {
    /// Words with any label against words found with any.
    pub any: LabelMetrics,
    /// Each label that is right or was predicted at least once.
    pub per_label: BTreeMap<String, LabelMetrics>,
}

/// What has been counted so far.
#[derive(Default)]
pub(super) struct TokenTally {
    any: Counts,
    labels: BTreeMap<String, Counts>,
}

/// A span: start, end and label.
pub(super) type Spans = BTreeSet<(usize, usize, String)>;

impl TokenTally {
    pub(super) fn text(&mut self, text: &str, gold: &Spans, found: &Spans) {
        for (start, end) in words(text) {
            let (gold, found) = (touching(gold, start, end), touching(found, start, end));
            count(&mut self.any, !gold.is_empty(), !found.is_empty());
            for label in gold.union(&found) {
                let counts = self.labels.entry((*label).to_owned()).or_default();
                count(counts, gold.contains(label), found.contains(label));
            }
        }
    }

    pub(super) fn metrics(&self) -> TokenMetrics {
        let per_label = self.labels.iter().map(|(label, of)| (label.clone(), of.metrics()));
        TokenMetrics { any: self.any.metrics(), per_label: per_label.collect() }
    }
}

fn count(counts: &mut Counts, gold: bool, found: bool) {
    counts.add(Counts {
        hits: usize::from(gold && found),
        predicted: usize::from(found),
        support: usize::from(gold),
    });
}

fn touching(spans: &Spans, start: usize, end: usize) -> BTreeSet<&str> {
    let touches = |span: &&(usize, usize, String)| span.0 < end && start < span.1;
    spans.iter().filter(touches).map(|span| span.2.as_str()).collect()
}

/// First character and end of every word.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut words: Vec<(usize, usize)> = Vec::new();
    for (at, character) in text.chars().enumerate() {
        match words.last_mut() {
            _ if character.is_whitespace() => {}
            Some(last) if last.1 == at => last.1 = at + 1,
            _ => words.push((at, at + 1)),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(of: &[(usize, usize, &str)]) -> Spans {
        of.iter().map(|&(start, end, label)| (start, end, label.to_owned())).collect()
    }

    #[test]
    fn words_are_runs_of_non_whitespace() {
        assert_eq!(words(" öl  leak. "), [(1, 3), (5, 10)]);
        assert!(words(" \n").is_empty());
    }

    #[test]
    fn a_word_is_found_when_a_span_touches_it() {
        let mut tally = TokenTally::default();
        // "J Doe saw P-101": a name of two words and an asset.
        let gold = spans(&[(0, 5, "name"), (10, 15, "asset")]);
        tally.text("J Doe saw P-101", &gold, &spans(&[(2, 5, "name"), (10, 15, "name")]));
        let metrics = tally.metrics();
        assert_eq!(metrics.any.support, 3);
        assert!((metrics.any.recall - 2.0 / 3.0).abs() < 1e-9);
        assert!((metrics.any.precision - 1.0).abs() < 1e-9);
        assert!((metrics.per_label["name"].recall - 0.5).abs() < 1e-9);
        assert!((metrics.per_label["name"].precision - 0.5).abs() < 1e-9);
        assert_eq!(metrics.per_label["asset"].recall, 0.0);
    }
}
