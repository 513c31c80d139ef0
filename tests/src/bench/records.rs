//! Texts and records of the size and variety of real work orders.

use crate::input::Day;
use anyhow::{Result, ensure};
use landfall_wire::id::{Confidence, ShortDigest};
use landfall_wire::record::{Decision, Masking, Mechanism, Outcome, Read, RedactedText, Verdict};

/// Words that the sample's rules refuse, escalate or call out of scope.
const OTHER_RULES: [&str; 9] =
    ["passport", "ammonia", "amonia", "onion", "rota", "canteen", "overtime", "holiday", "crew"];

/// Work orders without end: those of the sample, each time of another asset.
pub(super) struct Texts(Vec<String>);

impl Texts {
    pub(super) fn new() -> Result<Texts> {
        let is_plain = |text: &String| {
            let text = text.to_lowercase();
            OTHER_RULES.iter().all(|word| !text.contains(word))
        };
        let texts: Vec<String> =
            Day::sample()?.orders.into_iter().map(|order| order.text).filter(is_plain).collect();
        ensure!(texts.len() > 100, "the sample has too few texts");
        Ok(Texts(texts))
    }

    /// A work order that the sample's rules answer.
    pub(super) fn answered(&self, number: usize) -> String {
        format!("{} pos {} leaking", self.0[number % self.0.len()], number * 7919 % 10_007)
    }

    /// A work order that the sample's rules hand to the hub.
    pub(super) fn escalated(&self, number: usize) -> String {
        format!("{} pos {} ammonia", self.0[number % self.0.len()], number * 7919 % 10_007)
    }

    /// The record of a decision by the model.
    pub(super) fn outcome(&self, number: usize) -> Result<Outcome> {
        let at = number as u64;
        let spread = u32::try_from(number * 7919 % 4_001)?;
        Ok(Outcome {
            task: "failure-mode".parse()?,
            caller_id: Some(format!("wo-{number:07}")),
            at_ms: 1_780_000_000_000 + at * 1_009,
            mechanism: Mechanism::Model,
            verdict: Verdict::Answered,
            decision: Some(Decision::Label("External leakage - process medium".into())),
            confidence: Confidence::from_basis_points(u16::try_from(6_000 + spread % 4_000)?),
            package: ShortDigest([0x5a; 8]),
            config: ShortDigest([0xc3; 8]),
            decide_us: 4_000 + spread,
            read: Some(Read { words: 8, words_blank: 0, pieces: 14, windows: 1 }),
            fields_left_out: 0,
            text: Some(RedactedText::new(&self.answered(number))),
            masking: Some(Masking::Patterns),
            meta: vec![("asset".into(), format!("P-{}", number % 211))],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_and_records_have_a_realistic_size() {
        let texts = Texts::new().unwrap();
        assert_ne!(texts.answered(3), texts.answered(3 + texts.0.len()));
        let record = landfall_wire::record::Record::Outcome(texts.outcome(12_345).unwrap());
        let bytes = record.encode().unwrap().len();
        assert!((100..400).contains(&bytes), "{bytes}");
    }
}
