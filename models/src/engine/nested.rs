//! From pairs of words to spans that may nest.
//!
//! Every pair whose most likely class is a label is a span. Two that cross, each with a part that
//! the other lacks, cannot both stand: the less confident goes. One inside another stands, under
//! the same label too.

use super::view::Span;
use std::collections::BTreeMap;

/// A pair of words whose most likely class is a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) label: usize,
    pub(super) probability: f32,
}

/// The candidates that stand, no two of them crossing.
pub(super) fn settle(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    // The surest first; of equals the earlier, then the shorter: the order never depends on
    // anything but the candidates.
    candidates.sort_by(|a, b| {
        let place = |c: &Candidate| (c.first, c.last, c.label);
        b.probability.total_cmp(&a.probability).then_with(|| place(a).cmp(&place(b)))
    });
    let longest = candidates.iter().map(|c| c.last - c.first).max().unwrap_or(0);
    let mut standing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    candidates.retain(|candidate| {
        let near = candidate.first.saturating_sub(longest)..=candidate.last;
        let crossed = standing
            .range(near)
            .any(|(&first, lasts)| lasts.iter().any(|&last| crosses(candidate, first, last)));
        if !crossed {
            standing.entry(candidate.first).or_default().push(candidate.last);
        }
        !crossed
    });
    candidates
}

/// Whether a candidate and another span share words, and each has some that the other lacks.
fn crosses(candidate: &Candidate, first: usize, last: usize) -> bool {
    let starts_inside = first < candidate.first && candidate.first <= last && last < candidate.last;
    let ends_inside = candidate.first < first && first <= candidate.last && candidate.last < last;
    starts_inside || ends_inside
}

/// In the order of the text, an outer span before those inside it. What punctuation alone told
/// apart is one span, the surer.
pub(super) fn ordered(mut spans: Vec<Span>) -> Vec<Span> {
    let place = |span: &Span| (span.start, std::cmp::Reverse(span.end), span.label);
    spans.sort_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| b.confidence.total_cmp(&a.confidence))
    });
    spans.dedup_by_key(|span| place(span));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(candidates: &[(usize, usize, usize, f32)]) -> Vec<(usize, usize, usize)> {
        let candidate = |&(first, last, label, probability): &(usize, usize, usize, f32)| {
            Candidate { first, last, label, probability }
        };
        let mut standing: Vec<_> = settle(candidates.iter().map(candidate).collect())
            .iter()
            .map(|c| (c.first, c.last, c.label))
            .collect();
        standing.sort_unstable();
        standing
    }

    #[test]
    fn nesting_stands_also_within_one_label() {
        assert_eq!(
            stand(&[(0, 3, 0, 0.6), (0, 1, 0, 0.9), (2, 3, 1, 0.7), (2, 2, 1, 0.5)]),
            [(0, 1, 0), (0, 3, 0), (2, 2, 1), (2, 3, 1)]
        );
    }

    #[test]
    fn of_two_that_cross_the_less_confident_goes() {
        assert_eq!(stand(&[(0, 2, 0, 0.6), (1, 3, 1, 0.7)]), [(1, 3, 1)]);
        // What a fallen span would have crossed stands.
        assert_eq!(
            stand(&[(0, 2, 0, 0.8), (2, 4, 0, 0.7), (4, 5, 0, 0.6)]),
            [(0, 2, 0), (4, 5, 0)]
        );
        assert_eq!(stand(&[(0, 1, 0, 0.5), (1, 2, 1, 0.5)]), [(0, 1, 0)], "of equals the earlier");
    }

    #[test]
    fn any_candidates_end_without_crossing() {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from((state >> 33) % below).unwrap()
        };
        for _ in 0..200 {
            let candidates: Vec<_> = (0..40)
                .map(|_| {
                    let first = next(30);
                    (first, first + next(8), next(3), next(1000) as f32 / 1000.0)
                })
                .collect();
            let standing = stand(&candidates);
            for (at, a) in standing.iter().enumerate() {
                for b in &standing[at + 1..] {
                    let candidate = Candidate { first: a.0, last: a.1, label: 0, probability: 0.0 };
                    assert!(!crosses(&candidate, b.0, b.1), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn spans_alike_but_for_punctuation_are_one() {
        let span = |label, start, end, confidence| Span { label, start, end, confidence };
        let spans = vec![span(0, 5, 9, 0.5), span(0, 0, 9, 0.7), span(0, 5, 9, 0.8)];
        assert_eq!(ordered(spans), [span(0, 0, 9, 0.7), span(0, 5, 9, 0.8)]);
    }
}
