//! What a device tells of many outcomes in place of the outcomes: counts and distributions, a few
//! hundred bytes however many there were.
//!
//! Sketches are merged by addition: the sketch of two lots of outcomes is the sketch of both, in
//! whatever order. Nothing of a text is in them.

use crate::id::{Epoch, TaskName};
use crate::record::{Decision, Outcome, Verdict, cut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of labels that are counted by name, so that a sketch fits a record: some 150 of usual names,
/// as a model of intents has. What is left counts together.
pub const LABELS_BYTES_MAX: usize = 3_200;

/// What a label takes beside its name: its length, and a count of up to four thousand million.
const LABEL_AROUND_BYTES: usize = 1 + 5;

/// Longest name of a label in a sketch, in bytes.
const LABEL_BYTES_MAX: usize = 48;

/// Tenths of the confidence.
pub const CONFIDENCES: usize = 10;

/// Doublings of the length of a text in words: none, 1, 2 to 3, 4 to 7, … and 2048 on.
pub const LENGTHS: usize = 13;

/// Quarters of a piece more than one for each word, up to three and more: a word that the model does
/// not know is read in pieces.
pub const PIECES: usize = 9;

/// Counts and distributions of outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// How many there were.
    pub outcomes: u64,
    /// Of which answered on the spot.
    pub answered: u64,
    /// Escalated.
    pub escalated: u64,
    /// Refused.
    pub refused: u64,
    /// Answers out of the task's scope.
    pub out_of_scope: u64,
    /// Answers by label, and extracted fields by their type.
    pub labels: BTreeMap<String, u64>,
    /// Those that [`LABELS_BYTES_MAX`] leaves out.
    pub labels_other: u64,
    /// Answers by tenths of the confidence.
    pub confidence: [u64; CONFIDENCES],
    /// Texts that the model read, by doublings of their words.
    pub words: [u64; LENGTHS],
    /// The same by quarters of a piece more than one for each word.
    pub pieces: [u64; PIECES],
    /// Words of which nothing could be read.
    pub words_blank: u64,
}

impl Sketch {
    /// Counts one more.
    pub fn add(&mut self, outcome: &Outcome) {
        self.outcomes += 1;
        let verdict = match outcome.verdict {
            Verdict::Answered => &mut self.answered,
            Verdict::Escalated { .. } => &mut self.escalated,
            Verdict::Refused => &mut self.refused,
        };
        *verdict += 1;
        match &outcome.decision {
            Some(Decision::Label(label)) => self.label(label, 1),
            Some(Decision::Fields(fields)) => {
                fields.iter().for_each(|field| self.label(&field.label, 1));
            }
            Some(Decision::OutOfScope) => self.out_of_scope += 1,
            None => {}
        }
        if outcome.decision.is_some() {
            let tenth = usize::from(outcome.confidence.basis_points()) / 1000;
            self.confidence[tenth.min(CONFIDENCES - 1)] += 1;
        }
        if let Some(read) = outcome.read {
            let doubling = (u32::BITS - read.words.leading_zeros()) as usize;
            self.words[doubling.min(LENGTHS - 1)] += 1;
            let more = u64::from(read.pieces.saturating_sub(read.words));
            let quarters = (more * 4).checked_div(read.words.into()).unwrap_or(0);
            self.pieces[usize::try_from(quarters).unwrap_or(PIECES).min(PIECES - 1)] += 1;
            self.words_blank += u64::from(read.words_blank);
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Sketch) {
        // Saturating: what a hostile device says must not stop the hub.
        let add = |mine: &mut u64, theirs: &u64| *mine = mine.saturating_add(*theirs);
        add(&mut self.outcomes, &other.outcomes);
        add(&mut self.answered, &other.answered);
        add(&mut self.escalated, &other.escalated);
        add(&mut self.refused, &other.refused);
        add(&mut self.out_of_scope, &other.out_of_scope);
        add(&mut self.labels_other, &other.labels_other);
        add(&mut self.words_blank, &other.words_blank);
        other.labels.iter().for_each(|(label, count)| self.label(label, *count));
        self.confidence.iter_mut().zip(&other.confidence).for_each(|(a, b)| add(a, b));
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| add(a, b));
        self.pieces.iter_mut().zip(&other.pieces).for_each(|(a, b)| add(a, b));
    }

    fn label(&mut self, label: &str, count: u64) {
        let label = cut(label, LABEL_BYTES_MAX);
        if let Some(known) = self.labels.get_mut(label) {
            *known = known.saturating_add(count);
            return;
        }
        let bytes = |name: &str| name.len() + LABEL_AROUND_BYTES;
        let named: usize = self.labels.keys().map(|name| bytes(name)).sum();
        let mine = match named + bytes(label) > LABELS_BYTES_MAX {
            true => &mut self.labels_other,
            false => self.labels.entry(label.to_owned()).or_default(),
        };
        *mine = mine.saturating_add(count);
    }
}

/// A sketch of the outcomes of one task in a range of a stream. Ranges of a task do not overlap; a
/// crash can have one told twice, the second time with a later end: its beginning names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSketch {
    /// The task.
    pub task: TaskName,
    /// The epoch of the outcomes.
    pub epoch: Epoch,
    /// Sequence number of the first that was looked at.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Wall clock of the device at the first of the task, milliseconds since 1970.
    pub from_ms: u64,
    /// And at the last.
    pub until_ms: u64,
    /// What there was of the task in this range.
    pub sketch: Sketch,
}

/// Why an outcome does not travel: it stays on the device, in its place of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Withheld {
    /// The hub asked for a sample, and it is not in it.
    Sampled,
    /// The hub asked for sketches.
    Sketched,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Confidence, ShortDigest};
    use crate::record::{Mechanism, Read};
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        let decision = prop_oneof![
            "[a-e]{1,2}".prop_map(|label| Some(Decision::Label(label))),
            Just(Some(Decision::OutOfScope)),
            Just(None),
        ];
        let verdict = prop_oneof![Just(Verdict::Answered), Just(Verdict::Refused)];
        let read = proptest::option::of((0_u32..5000, 0_u32..3, 0_u32..20_000));
        (decision, verdict, 0_u16..=10_000, read).prop_map(
            |(decision, verdict, confidence, read)| Outcome {
                task: "t".parse().unwrap(),
                caller_id: None,
                at_ms: 0,
                mechanism: Mechanism::Model,
                verdict,
                decision,
                confidence: Confidence::from_basis_points(confidence),
                package: ShortDigest([0; 8]),
                config: ShortDigest([0; 8]),
                decide_us: 0,
                read: read.map(|(words, words_blank, pieces)| Read {
                    words,
                    words_blank,
                    pieces,
                    windows: 1,
                }),
                fields_left_out: 0,
                text: None,
                masking: None,
                meta: vec![],
            },
        )
    }

    fn of(outcomes: &[Outcome]) -> Sketch {
        let mut sketch = Sketch::default();
        outcomes.iter().for_each(|outcome| sketch.add(outcome));
        sketch
    }

    fn merged(mut a: Sketch, b: &Sketch) -> Sketch {
        a.merge(b);
        a
    }

    proptest! {
        #[test]
        fn the_sketch_of_two_lots_is_the_sketch_of_both(
            lots in prop::collection::vec(prop::collection::vec(outcome(), 0..20), 3),
        ) {
            let sketches: Vec<Sketch> = lots.iter().map(|lot| of(lot)).collect();
            let [a, b, c] = &sketches[..] else { unreachable!() };
            prop_assert_eq!(&merged(merged(a.clone(), b), c), &of(&lots.concat()));
            prop_assert_eq!(merged(a.clone(), b), merged(b.clone(), a));
            prop_assert_eq!(merged(merged(a.clone(), b), c), merged(a.clone(), &merged(b.clone(), c)));
            prop_assert_eq!(&merged(a.clone(), &Sketch::default()), a);
            let whole = of(&lots.concat());
            prop_assert_eq!(whole.outcomes, whole.answered + whole.escalated + whole.refused);
        }
    }

    #[test]
    fn a_day_of_outcomes_takes_a_few_hundred_bytes() {
        let mut sketch = Sketch::default();
        for at in 0..10_000_usize {
            sketch.label(&format!("a label of {}", at % 40), 1);
            sketch.words[at % LENGTHS] += 1;
            sketch.confidence[at % CONFIDENCES] += 1;
        }
        let bytes = postcard::to_stdvec(&sketch).unwrap().len();
        assert!(bytes < 1_000, "{bytes}");
    }

    #[test]
    fn labels_without_end_are_counted_together() {
        let mut sketch = Sketch::default();
        (0..1_000).for_each(|at| sketch.label(&format!("l{at}"), 2));
        assert!(sketch.labels.len() >= 300, "{}", sketch.labels.len());
        assert_eq!(sketch.labels.values().sum::<u64>() + sketch.labels_other, 2_000);
        // At their largest: every label as short or as long as can be, every count as high.
        for name in [String::new(), "x".repeat(10_000)] {
            let most = u64::from(u32::MAX);
            let mut sketch = Sketch {
                outcomes: most,
                confidence: [most; CONFIDENCES],
                words: [most; LENGTHS],
                pieces: [most; PIECES],
                ..Sketch::default()
            };
            (0..1_000).for_each(|at| sketch.label(&format!("{at:x}{name}"), most));
            let bytes = postcard::to_stdvec(&sketch).unwrap().len();
            // The rest is for its task and range.
            assert!(bytes + 200 < crate::limits::RECORD_BYTES_MAX, "{bytes}");
        }
    }

    #[test]
    fn every_label_of_a_model_of_intents_has_its_name() {
        // CLINC-150 has 150 labels with 1,768 bytes in all; out of scope is counted apart.
        let mut sketch = Sketch::default();
        (0..150).for_each(|at| sketch.label(&format!("an_intent_{at:03}"), 1));
        assert_eq!((sketch.labels.len(), sketch.labels_other), (150, 0));
    }
}
