//! Right and wrong of each label, text by text, and how sure the figures made of them are.

use serde::Serialize;
use std::collections::BTreeMap;

/// Resamples for an interval: its ends are steady to about a tenth of its width.
const RESAMPLES: usize = 1000;
/// Where the resampling starts, so that the same lines give the same interval.
const SEED: u64 = 0x6c61_6e64_6661_6c6c;

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
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) hits: usize,
    pub(super) predicted: usize,
    pub(super) support: usize,
}

impl Counts {
    pub(super) fn add(&mut self, more: Counts) {
        self.hits += more.hits;
        self.predicted += more.predicted;
        self.support += more.support;
    }

    pub(super) fn metrics(self) -> LabelMetrics {
        LabelMetrics {
            precision: share(self.hits, self.predicted),
            recall: share(self.hits, self.support),
            f1: share(2 * self.hits, self.predicted + self.support),
            support: self.support,
        }
    }
}

/// The counts of one text, label by label.
#[derive(Debug, Default, Clone)]
pub(super) struct TextCounts(BTreeMap<String, Counts>);

impl TextCounts {
    pub(super) fn of(&mut self, label: &str) -> &mut Counts {
        if !self.0.contains_key(label) {
            self.0.insert(label.to_owned(), Counts::default());
        }
        self.0.get_mut(label).expect("it was inserted just before")
    }
}

/// The counts of all texts.
pub(super) struct Table {
    labels: Vec<String>,
    /// Of each text, the labels that it has to do with.
    texts: Vec<Vec<(usize, Counts)>>,
}

impl Table {
    pub(super) fn new(texts: &[TextCounts]) -> Table {
        let mut labels: Vec<String> =
            texts.iter().flat_map(|text| text.0.keys().cloned()).collect();
        labels.sort_unstable();
        labels.dedup();
        let index = |label: &String| labels.binary_search(label).unwrap_or_default();
        let row = |text: &TextCounts| {
            text.0.iter().map(|(label, counts)| (index(label), *counts)).collect()
        };
        let texts = texts.iter().map(row).collect();
        Table { labels, texts }
    }

    pub(super) fn per_label(&self) -> BTreeMap<String, LabelMetrics> {
        let metrics = self.sum(0..self.texts.len()).into_iter().map(Counts::metrics);
        self.labels.iter().cloned().zip(metrics).collect()
    }

    pub(super) fn micro(&self) -> LabelMetrics {
        total(&self.sum(0..self.texts.len())).metrics()
    }

    pub(super) fn weighted_f1(&self) -> f64 {
        weighted(&self.sum(0..self.texts.len()))
    }

    /// Bootstrap 95 % intervals of micro and weighted F1: the texts are drawn again, with
    /// replacement (Efron 1979, percentile method).
    pub(super) fn intervals(&self) -> (Interval, Interval) {
        let n = self.texts.len();
        let mut random = Random(SEED);
        let (mut micro, mut weighted_f1) = (Vec::new(), Vec::new());
        for _ in 0..RESAMPLES {
            let sum = self.sum((0..n).map(|_| random.below(n)));
            micro.push(total(&sum).metrics().f1);
            weighted_f1.push(weighted(&sum));
        }
        (middle(micro), middle(weighted_f1))
    }

    /// The counts of some texts, by label.
    fn sum(&self, texts: impl Iterator<Item = usize>) -> Vec<Counts> {
        let mut sum = vec![Counts::default(); self.labels.len()];
        for text in texts {
            for (label, counts) in &self.texts[text] {
                sum[*label].add(*counts);
            }
        }
        sum
    }
}

/// Lower and upper end.
pub type Interval = (f64, f64);

fn total(counts: &[Counts]) -> Counts {
    counts.iter().fold(Counts::default(), |mut total, counts| {
        total.add(*counts);
        total
    })
}

fn weighted(counts: &[Counts]) -> f64 {
    let support = total(counts).support;
    let sum: f64 = counts.iter().map(|of| of.metrics().f1 * of.support as f64).sum();
    if support == 0 { 0.0 } else { sum / support as f64 }
}

/// The middle 95 % of some values.
fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let tail = values.len() / 40;
    (values[tail], values[values.len() - 1 - tail])
}

/// 0 of 0 is 0, as is usual for precision and recall.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let scaled = u128::from(z ^ z >> 31) * n as u128;
        usize::try_from(scaled >> 64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(label: &str, hits: usize, predicted: usize, support: usize) -> TextCounts {
        let mut text = TextCounts::default();
        *text.of(label) = Counts { hits, predicted, support };
        text
    }

    #[test]
    fn intervals_hold_the_figure_and_narrow_with_texts() {
        let of = |n: usize| {
            let texts: Vec<TextCounts> =
                (0..n).map(|at| text("A", usize::from(at % 5 != 0), 1, 1)).collect();
            let table = Table::new(&texts);
            assert!((table.micro().f1 - 0.8).abs() < 1e-9);
            table.intervals().0
        };
        let (few, many) = (of(50), of(2000));
        assert!(few.0 < 0.8 && 0.8 < few.1 && many.0 < 0.8 && 0.8 < many.1, "{few:?} {many:?}");
        // The standard error is sqrt(0.16 / n).
        assert!((few.1 - few.0 - 4.0 * 0.0566).abs() < 0.05, "{few:?}");
        assert!((many.1 - many.0 - 4.0 * 0.00894).abs() < 0.01, "{many:?}");
        assert_eq!(of(50), few, "the same lines, the same interval");
    }

    #[test]
    fn labels_are_weighted_by_support() {
        let table = Table::new(&[text("A", 1, 1, 1), text("B", 0, 0, 3)]);
        assert!((table.weighted_f1() - 0.25).abs() < 1e-9);
        assert!((table.per_label()["B"].recall).abs() < 1e-9);
    }
}
