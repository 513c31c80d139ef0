//! Runs the user's texts through the encoder that was written: to learn a head from, and to
//! calibrate on.

use super::calibrate::{self, Observation};
use super::error::Result;
use super::model::Head;
use super::run::{Reading, Runner};
use super::{Progress, Task, learn, reference};
use crate::eval::{Example, Gold};
use crate::text::TextEncoder;

/// What runs texts through the encoder that was written.
pub(super) struct Bench {
    pub(super) tokenizer: TextEncoder,
    pub(super) runner: Runner,
    /// Of its hidden states.
    pub(super) width: usize,
}

/// What came of running the calibration texts.
pub(super) struct Observed {
    pub(super) observations: Vec<Observation>,
    /// The texts that have words, as they were read.
    pub(super) readings: Vec<Reading>,
    /// Texts longer than one pass.
    pub(super) skipped: usize,
}

impl Bench {
    /// Learns a head from the data.
    pub(super) fn learn(
        &self,
        examples: &[Example],
        labels: &[String],
        tokens_max: usize,
        progress: Progress<'_>,
    ) -> Result<Head> {
        let (mut pooled, mut right) = (Vec::new(), Vec::new());
        for (done, example) in examples.iter().enumerate() {
            let Gold::Label(Some(label)) = &example.gold else { continue };
            let Some(label) = labels.iter().position(|known| known == label) else { continue };
            let reading = Reading::new(&self.tokenizer, &example.text, tokens_max)?;
            pooled.push(reference::mean(&self.runner.hidden(&reading.ids)?, self.width));
            right.push(label);
            progress("texts to learn from", done + 1, examples.len());
        }
        Ok(learn::head(&pooled, &right, self.width, labels.len()))
    }

    /// Runs the calibration texts.
    pub(super) fn observe(
        &self,
        examples: &[Example],
        head: &Head,
        task: &Task,
        tokens_max: usize,
        progress: Progress<'_>,
    ) -> Result<Observed> {
        let mut observed = Observed { observations: Vec::new(), readings: Vec::new(), skipped: 0 };
        for (done, example) in examples.iter().enumerate() {
            progress("texts to calibrate on", done + 1, examples.len());
            let mut reading = Reading::new(&self.tokenizer, &example.text, tokens_max)?;
            // Longer texts are read in several passes, which the scores would not be of.
            if !reading.is_whole {
                observed.skipped += 1;
                continue;
            }
            let all = head.run(&self.runner.hidden(&reading.ids)?, self.width);
            let mut rows = reading.rows(&all, head);
            reading.said = rows.concat();
            observed.observations.push(match &example.gold {
                Gold::Label(label) => {
                    let position = |label| task.labels.iter().position(|known| known == label);
                    let label = label.as_ref().and_then(position);
                    Observation::Label { logits: rows.swap_remove(0), label }
                }
                Gold::Spans(spans) => {
                    let tags = calibrate::tags(&reading.words, spans, &task.labels);
                    Observation::Words { rows, tags }
                }
            });
            let has_words = reading.words.iter().any(|word| word.piece.is_some());
            if has_words {
                observed.readings.push(reading);
            }
        }
        Ok(observed)
    }
}
