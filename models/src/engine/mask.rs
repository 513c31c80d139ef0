//! From logits to what is to be masked: recall first.
//!
//! Elsewhere a word gets its likeliest tag. Here it is masked as soon as all labels together are
//! likely enough, under the likeliest of them. Spans that touch or overlap are all kept: what is
//! masked twice is masked.

use super::TaskSpec;
use super::decode::{argmax, softmax, trim_all};
use super::forward::{Forward, Raw};
use super::view::Span;
use crate::package::Scheme;

/// Every stretch of words whose label is likely enough; `floor` is the least probability.
pub(super) fn spans(
    text: &str,
    spec: &TaskSpec,
    forward: &Forward,
    raw: &Raw,
    floor: f32,
) -> Vec<Span> {
    let chars = |word: usize| forward.words[word].chars.clone();
    let mut found: Vec<Span> = Vec::new();
    match raw {
        Raw::Labels { .. } => {}
        Raw::Words { words, logits } => {
            let mut last = None;
            for (&word, row) in words.iter().zip(logits.chunks_exact(spec.row())) {
                let Some((label, confidence)) = masked(spec, row, floor) else { continue };
                match found.last_mut() {
                    // The next word, of the same kind: one span, as sure as its surest word.
                    Some(span) if last.is_some_and(|l| l + 1 == word) && span.label == label => {
                        span.end = chars(word).end;
                        span.confidence = span.confidence.max(confidence);
                    }
                    _ => {
                        let (start, end) = (chars(word).start, chars(word).end);
                        found.push(Span { label, start, end, confidence });
                    }
                }
                last = Some(word);
            }
        }
        Raw::Pairs { pairs, logits } => {
            for (&(first, last), row) in pairs.iter().zip(logits.chunks_exact(spec.row())) {
                let Some((label, confidence)) = masked(spec, row, floor) else { continue };
                let (start, end) = (chars(first).start, chars(last).end);
                found.push(Span { label, start, end, confidence });
            }
            found.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end), span.label));
        }
    }
    trim_all(text, found)
}

/// The likeliest label of a row and the probability of any, if that is enough. A row that is not
/// made of numbers is masked: nothing is known of it.
fn masked(spec: &TaskSpec, row: &[f32], floor: f32) -> Option<(usize, f32)> {
    let probabilities = softmax(row, spec.temperature);
    let any = 1.0 - probabilities[0];
    if any < floor {
        return None;
    }
    let of = |label: usize| match spec.scheme {
        Some(Scheme::Bio) => probabilities[1 + 2 * label] + probabilities[2 + 2 * label],
        Some(Scheme::Spans { .. }) | None => probabilities[1 + label],
    };
    let labels: Vec<f32> = (0..spec.labels.len()).map(of).collect();
    Some((argmax(&labels), if any.is_nan() { 1.0 } else { any }))
}
