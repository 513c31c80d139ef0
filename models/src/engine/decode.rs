//! From logits to calibrated probabilities, and from tags to spans.

use super::TaskSpec;
use super::forward::{Forward, Raw};
use super::label;
use super::nested::{self, Candidate};
use super::view::{Span, View};
use crate::text::Word;
use std::ops::Range;

/// Punctuation that a span's outer words shed.
const TRIMMED: &str = ".,;:!?()\"'";

/// The most likely tag of one word, or class of a pair of words.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tag {
    /// Of a word: 0 outside, `1 + 2 * label` begin, `2 + 2 * label` inside. Of a pair: 0 none,
    /// `1 + label`.
    index: usize,
    /// Its calibrated probability.
    probability: f32,
}

/// Calibrates what a head said.
pub(super) fn view(text: &str, spec: &TaskSpec, forward: &Forward, raw: &Raw) -> View {
    let rows = |logits: &'_ [f32]| -> Vec<Tag> {
        logits.chunks_exact(spec.row()).map(|row| tag(row, spec.temperature)).collect()
    };
    match raw {
        Raw::Labels { windows } => label::view(spec, windows),
        Raw::Words { words, logits } => {
            let tags = rows(logits);
            let confidence = least(&tags, &forward.words);
            let chars = words.iter().map(|&word| forward.words[word].chars.clone());
            let tagged: Vec<_> = chars.zip(tags).collect();
            View::Spans { spans: spans(text, &tagged), confidence }
        }
        Raw::Pairs { pairs, logits } => {
            let tags = rows(logits);
            let confidence = least(&tags, &forward.words);
            let candidate = |(&(first, last), tag): (&(usize, usize), &Tag)| {
                let label = tag.index.checked_sub(1)?;
                Some(Candidate { first, last, label, probability: tag.probability })
            };
            let found = pairs.iter().zip(&tags).filter_map(candidate).collect();
            let span = |found: Candidate| Span {
                label: found.label,
                start: forward.words[found.first].chars.start,
                end: forward.words[found.last].chars.end,
                confidence: found.probability,
            };
            let spans = nested::settle(found).into_iter().map(span).collect();
            View::Spans { spans: nested::ordered(trim_all(text, spans)), confidence }
        }
    }
}

/// The least of the probabilities; 1 for a text without words, 0 if nothing of its words is left.
fn least(tags: &[Tag], words: &[Word]) -> f32 {
    if tags.is_empty() && !words.is_empty() {
        return 0.0;
    }
    tags.iter().map(|tag| tag.probability).fold(1.0, f32::min)
}

/// Softmax of logits divided by the temperature.
pub(super) fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| ((logit - top) / temperature).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Index of the largest value, the first of equals.
pub(super) fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

/// The tag of a row of logits.
fn tag(logits: &[f32], temperature: f32) -> Tag {
    let probabilities = softmax(logits, temperature);
    let index = argmax(&probabilities);
    Tag { index, probability: probabilities[index] }
}

/// Spans of words, each with its tag. An inside tag that continues nothing begins a span.
fn spans(text: &str, words: &[(Range<usize>, Tag)]) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    let mut open: Option<Span> = None;
    for (chars, tag) in words {
        let Some(label) = tag.index.checked_sub(1).map(|tag| tag / 2) else {
            found.extend(open.take());
            continue;
        };
        let begins = tag.index % 2 == 1;
        match &mut open {
            Some(span) if !begins && span.label == label => {
                span.end = chars.end;
                span.confidence *= tag.probability;
            }
            _ => {
                found.extend(open.take());
                open = Some(Span {
                    label,
                    start: chars.start,
                    end: chars.end,
                    confidence: tag.probability,
                });
            }
        }
    }
    found.extend(open);
    trim_all(text, found)
}

pub(super) fn trim_all(text: &str, found: Vec<Span>) -> Vec<Span> {
    if found.is_empty() {
        return found;
    }
    let characters: Vec<char> = text.chars().collect();
    found.into_iter().filter_map(|span| trim(span, &characters)).collect()
}

/// Sheds outer punctuation; nothing is left of a span of punctuation alone.
fn trim(span: Span, characters: &[char]) -> Option<Span> {
    let (start, end) = trimmed(span.start, span.end, characters)?;
    Some(Span { start, end, ..span })
}

/// Offsets without outer punctuation; `None` if nothing else is there.
pub(crate) fn trimmed(
    mut start: usize,
    mut end: usize,
    characters: &[char],
) -> Option<(usize, usize)> {
    while start < end && TRIMMED.contains(characters[start]) {
        start += 1;
    }
    while start < end && TRIMMED.contains(characters[end - 1]) {
        end -= 1;
    }
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, tags: &[usize]) -> Vec<(usize, usize, usize)> {
        let mut start = 0;
        let mut words = Vec::new();
        for (word, &index) in text.split(' ').zip(tags) {
            let end = start + word.chars().count();
            words.push((start..end, Tag { index, probability: 0.5 }));
            start = end + 1;
        }
        spans(text, &words).into_iter().map(|span| (span.label, span.start, span.end)).collect()
    }

    #[test]
    fn begin_and_inside_make_one_span() {
        assert_eq!(decode("left hand pump leaks", &[1, 2, 2, 0]), [(0, 0, 14)]);
        assert_eq!(decode("pump pump", &[1, 1]), [(0, 0, 4), (0, 5, 9)]);
    }

    #[test]
    fn inside_after_another_type_or_outside_begins() {
        assert_eq!(decode("pump leaks", &[1, 4]), [(0, 0, 4), (1, 5, 10)]);
        assert_eq!(decode("the pump", &[0, 2]), [(0, 4, 8)]);
    }

    #[test]
    fn outer_punctuation_is_shed() {
        assert_eq!(decode("(oil pump), x", &[1, 2, 0]), [(0, 1, 9)]);
        assert_eq!(decode("a.b.", &[1]), [(0, 0, 3)]);
        assert_eq!(decode("... pump", &[1, 0]), []);
        assert_eq!(decode("ölig!", &[1]), [(0, 0, 4)]);
    }

    #[test]
    fn confidence_is_the_product_over_words() {
        let words = [
            (0..1, Tag { index: 1, probability: 0.5 }),
            (2..3, Tag { index: 2, probability: 0.25 }),
        ];
        assert_eq!(spans("a b", &words)[0].confidence, 0.125);
    }

    #[test]
    fn softmax_is_calibrated_and_does_not_overflow() {
        let even = softmax(&[1000.0, 1000.0], 1.0);
        assert_eq!(even, [0.5, 0.5]);
        let (sharp, soft) = (softmax(&[2.0, 0.0], 1.0), softmax(&[2.0, 0.0], 2.0));
        assert!((sharp[0] - 0.880_797).abs() < 1e-6, "{sharp:?}");
        assert!((soft[0] - 0.731_058_6).abs() < 1e-6, "{soft:?}");
    }
}
