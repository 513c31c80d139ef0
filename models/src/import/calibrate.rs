//! Calibration on the user's texts: the temperature, the scores that thresholds are derived from,
//! how reliable confidence is, and where familiar text ends.
//!
//! Familiarity is the energy of the logits (the logarithm of the sum of their powers): it needs
//! nothing but the head, so that it is the same for every imported classifier.

use super::reference::energy;
use crate::engine::{Reliability, Score};
use crate::eval::GoldSpan;
use crate::text::Word;
use serde::Serialize;
use std::collections::BTreeSet;

/// Temperatures tried, in equal ratios from a twentieth to twenty: fine enough that the loss no
/// longer changes.
const TEMPERATURES: u16 = 400;
/// Share of the texts in scope that may be called unfamiliar, where no text out of scope tells.
const UNFAMILIAR_SHARE: f64 = 0.02;
/// Fewest texts out of scope to choose the limit by.
const FOREIGN_MIN: usize = 10;
/// Points of the curve of coverage and error.
const CURVE_POINTS: usize = 50;

/// What the model said of one text, and what is right.
pub(super) enum Observation {
    /// Of a classifier; without a label the text is out of scope.
    Label { logits: Vec<f32>, label: Option<usize> },
    /// Of a tagger: a row for each word that has a piece.
    Words { rows: Vec<Vec<f32>>, tags: Vec<usize> },
}

/// The content of a calibration file.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    pub(super) temperature: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) familiarity_min: Option<f32>,
    pub(super) scores: Vec<(f32, u8, usize)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reliability: Option<Reliability>,
    curve: Vec<(f32, f32)>,
}

/// Calibrates on what was observed.
pub(super) fn calibrate(observations: &[Observation]) -> Calibration {
    let temperature = rounded(temperature(observations), 1e4);
    let scores: Vec<(f32, u8, usize)> =
        observations.iter().filter_map(|observation| score(observation, temperature)).collect();
    Calibration {
        temperature,
        familiarity_min: familiarity_min(observations).map(|least| rounded(least, 1e4)),
        reliability: reliability(&scores),
        curve: curve(&scores),
        scores,
    }
}

/// The tag of each word that has a piece, from labelled spans: begin of the first word that a span
/// touches, inside of the others, outside of the rest.
pub(super) fn tags(words: &[Word], spans: &[GoldSpan], labels: &[String]) -> Vec<usize> {
    let mut tags = vec![0; words.len()];
    for span in spans {
        let Some(label) = labels.iter().position(|label| *label == span.label) else { continue };
        let touched = words
            .iter()
            .enumerate()
            .filter(|(_, word)| word.chars.start < span.end && span.start < word.chars.end);
        for (order, (at, _)) in touched.enumerate() {
            tags[at] = 1 + 2 * label + usize::from(order > 0);
        }
    }
    let read = words.iter().zip(tags).filter(|(word, _)| word.piece.is_some());
    read.map(|(_, tag)| tag).collect()
}

/// Softmax of logits divided by the temperature.
fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        logits.iter().map(|logit| (f64::from(logit - top) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The temperature under which what is right is most likely.
fn temperature(observations: &[Observation]) -> f64 {
    let mut rows: Vec<(&[f32], usize)> = Vec::new();
    for observation in observations {
        match observation {
            Observation::Label { logits, label } => {
                rows.extend(label.map(|label| (&logits[..], label)));
            }
            Observation::Words { rows: words, tags } => {
                rows.extend(words.iter().map(Vec::as_slice).zip(tags.iter().copied()));
            }
        }
    }
    let loss = |temperature: f64| -> f64 {
        rows.iter()
            .map(|(row, right)| -probabilities(row, temperature)[*right].max(1e-12).ln())
            .sum()
    };
    let step = |at: u16| 0.05 * 400f64.powf(f64::from(at) / f64::from(TEMPERATURES));
    let (mut best, mut least) = (1.0, loss(1.0));
    for temperature in (0..=TEMPERATURES).map(step) {
        let loss = loss(temperature);
        if loss < least {
            (best, least) = (temperature, loss);
        }
    }
    best
}

/// Confidence, whether it was right, and the label; `None` for a text out of scope.
fn score(observation: &Observation, temperature: f32) -> Option<(f32, u8, usize)> {
    let temperature = f64::from(temperature);
    let best = |row: &[f32]| {
        let chances = probabilities(row, temperature);
        let best = (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
        (best, chances[best])
    };
    match observation {
        Observation::Label { logits, label } => {
            let right = (*label)?;
            let (answer, chance) = best(logits);
            Some((rounded(chance, 1e5), u8::from(answer == right), answer))
        }
        Observation::Words { rows, tags } => {
            let found: Vec<(usize, f64)> = rows.iter().map(|row| best(row)).collect();
            let least = found.iter().map(|(_, chance)| *chance).fold(1.0, f64::min);
            let found: Vec<usize> = found.into_iter().map(|(tag, _)| tag).collect();
            Some((rounded(least, 1e5), u8::from(spans(&found) == spans(tags)), 0))
        }
    }
}

/// Spans of tags as first word, word after the last, label. An inside that continues nothing
/// begins.
fn spans(tags: &[usize]) -> BTreeSet<(usize, usize, usize)> {
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (at, tag) in tags.iter().enumerate() {
        let Some(label) = tag.checked_sub(1).map(|tag| tag / 2) else { continue };
        match found.last_mut() {
            Some(last) if tag % 2 == 0 && last.1 == at && last.2 == label => last.1 = at + 1,
            _ => found.push((at, at + 1, label)),
        }
    }
    found.into_iter().collect()
}

/// Where familiar text ends: what tells in scope from out of scope best, or else what keeps nearly
/// all that is in scope.
fn familiarity_min(observations: &[Observation]) -> Option<f64> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for observation in observations {
        let Observation::Label { logits, label } = observation else { continue };
        let value = f64::from(energy(logits));
        if label.is_some() { inside.push(value) } else { outside.push(value) }
    }
    inside.sort_by(f64::total_cmp);
    let least = *inside.first()?;
    if outside.len() < FOREIGN_MIN {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let at = (inside.len() as f64 * UNFAMILIAR_SHARE) as usize;
        return Some(inside[at]);
    }
    let share = |values: &[f64], limit: f64| {
        values.iter().filter(|value| **value >= limit).count() as f64 / values.len() as f64
    };
    let gain = |limit: f64| share(&inside, limit) - share(&outside, limit);
    let better = |best: f64, next: f64| if gain(next) > gain(best) { next } else { best };
    Some(inside.iter().copied().fold(least, better))
}

fn reliability(scores: &[(f32, u8, usize)]) -> Option<Reliability> {
    let scores: Vec<Score> = scores
        .iter()
        .map(|&(confidence, correct, label)| Score { confidence, correct: correct == 1, label })
        .collect();
    landfall_calibration::Reliability::new(&scores).as_ref().map(Reliability::from)
}

/// Error among the most confident, for a rising share of the texts.
fn curve(scores: &[(f32, u8, usize)]) -> Vec<(f32, f32)> {
    let mut sorted: Vec<(f32, u8)> = scores.iter().map(|score| (score.0, score.1)).collect();
    sorted.sort_by(|left, right| right.0.total_cmp(&left.0));
    let n = sorted.len();
    let points = CURVE_POINTS.min(n);
    (1..=points)
        .map(|point| {
            let kept = n * point / points;
            let wrong = sorted[..kept].iter().filter(|score| score.1 == 0).count();
            (rounded(kept as f64 / n as f64, 1e5), rounded(wrong as f64 / kept as f64, 1e5))
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "to single precision")]
fn rounded(value: f64, steps: f64) -> f32 {
    ((value * steps).round() / steps) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(logits: &[f32], label: Option<usize>) -> Observation {
        Observation::Label { logits: logits.to_vec(), label }
    }

    /// Three of four right at a margin of 2: the softmax must say 3/4, so the temperature is
    /// 2 / ln 3.
    #[test]
    fn the_temperature_makes_confidence_the_share_of_right_ones() {
        let observations: Vec<Observation> =
            (0..40).map(|at| label(&[2.0, 0.0], Some(usize::from(at % 4 == 0)))).collect();
        let calibration = calibrate(&observations);
        assert!((calibration.temperature - 2.0 / 3f32.ln()).abs() < 0.03, "{calibration:?}");
        let reliability = calibration.reliability.as_ref().unwrap();
        assert!(reliability.ece < 0.01, "{calibration:?}");
        assert!((reliability.brier - 0.1875).abs() < 0.002, "{calibration:?}");
        assert_eq!(calibration.curve.last(), Some(&(1.0, 0.25)));
    }

    #[test]
    fn foreign_texts_set_the_limit_of_familiarity() {
        let mut observations: Vec<Observation> =
            (0..50u8).map(|at| label(&[5.0 + f32::from(at) / 50.0, 0.0], Some(0))).collect();
        let alone = calibrate(&observations).familiarity_min.unwrap();
        assert!((alone - energy(&[5.02, 0.0])).abs() < 1e-3, "{alone}");
        observations.extend((0..20u8).map(|at| label(&[f32::from(at) / 20.0, 0.0], None)));
        let calibration = calibrate(&observations);
        assert!((1.4..=5.01).contains(&calibration.familiarity_min.unwrap()), "{calibration:?}");
        assert_eq!(calibration.scores.len(), 50);
    }

    #[test]
    fn a_text_is_right_when_all_its_spans_are() {
        let words = |tags: &[usize], found: &[usize]| Observation::Words {
            rows: found
                .iter()
                .map(|tag| (0..5).map(|at| if at == *tag { 9.0 } else { 0.0 }).collect())
                .collect(),
            tags: tags.to_vec(),
        };
        let correct = |tags: &[usize], found: &[usize]| score(&words(tags, found), 1.0).unwrap().1;
        assert_eq!(correct(&[1, 2, 0], &[1, 2, 0]), 1);
        assert_eq!(correct(&[1, 2, 0], &[2, 2, 0]), 1);
        assert_eq!(correct(&[1, 2, 0], &[1, 1, 0]), 0);
        assert_eq!(correct(&[1, 2, 0], &[1, 2, 3]), 0);
        assert_eq!(correct(&[], &[]), 1);
    }

    #[test]
    fn spans_become_tags_of_the_words_they_touch() {
        let word = |chars: std::ops::Range<usize>, piece| Word { chars, piece };
        let words =
            [word(0..4, Some(0)), word(5..9, Some(2)), word(10..11, None), word(12..15, Some(4))];
        let span = GoldSpan { start: 0, end: 8, label: "B".to_owned() };
        let labels = ["A".to_owned(), "B".to_owned()];
        assert_eq!(tags(&words, &[span], &labels), [3, 4, 0]);
    }
}
