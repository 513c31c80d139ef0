//! Reading outcomes back, one after the other: those that the hub has and that are kept for
//! audit, and those that wait for it.
//!
//! Outcomes come in the order in which they were written: epoch after epoch, the oldest first,
//! each by its numbers. A number that is missing between two was lost or dropped, and a loss
//! record told the hub.

use super::keys;
use super::run::Cursor;
use super::state::{Failed, Shared, State};
use landfall_wire::chain::ChainValue;
use landfall_wire::id::{Epoch, IdError, Ticket};
use landfall_wire::record::StreamId;
use std::fmt;
use std::str::FromStr;

/// Outcomes read in one call: writers wait meanwhile, and each takes up to four kilobytes.
pub const OUTCOMES_READ_MAX: usize = 256;

/// Which outcome: what a caller was told, such as `00f1e2d3c4b5a697-42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutcomeId {
    /// Epoch of the store that took it.
    pub epoch: Epoch,
    /// Its number in the outcome stream.
    pub seq: u64,
}

impl fmt::Display for OutcomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for OutcomeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<OutcomeId, IdError> {
        // Written as a ticket is.
        let Ticket { epoch, seq } = text.parse()?;
        Ok(OutcomeId { epoch, seq })
    }
}

/// An outcome as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutcome {
    /// Which one.
    pub id: OutcomeId,
    /// The record, encoded as it travels and as the hash chain counts it.
    pub record: Vec<u8>,
    /// The hash chain before it; `None` if an agent wrote it that kept no chain.
    pub before: Option<ChainValue>,
    /// The hub has it.
    pub at_hub: bool,
}

impl Shared {
    /// Outcomes that are held, from `from` on or from the oldest: at most `max`, and at most
    /// [`OUTCOMES_READ_MAX`]; none when there are no more. The next call goes on at the last
    /// one's number plus one.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn outcomes(
        &self,
        from: Option<OutcomeId>,
        max: usize,
    ) -> Result<Vec<HeldOutcome>, Failed> {
        let state = self.state();
        state.check_open()?;
        let max = max.min(OUTCOMES_READ_MAX);
        let mut epochs = state.outcome_epochs()?;
        if let Some(from) = from {
            let at = epochs.iter().position(|held| held.epoch == from.epoch);
            epochs.drain(..at.unwrap_or(epochs.len()));
        }
        let mut found = Vec::new();
        for held in epochs {
            let first = from.filter(|from| from.epoch == held.epoch).map_or(0, |from| from.seq);
            state.outcomes_of(held, first, max, &mut found)?;
            if found.len() >= max {
                break;
            }
        }
        Ok(found)
    }
}

/// An epoch of which outcomes are held, and in which generations.
struct HeldEpoch {
    epoch: Epoch,
    generations: Vec<usize>,
}

impl State {
    /// Oldest first. The positions do not say: they forget an epoch that the hub has whole.
    fn outcome_epochs(&self) -> Result<Vec<HeldEpoch>, Failed> {
        let mut epochs: Vec<HeldEpoch> = Vec::new();
        for at in 0..self.generations.len() {
            let mut from = keys::OUTCOMES.to_vec();
            while let Some((key, _)) = self.first(at, &from, keys::OUTCOMES_END)? {
                let Some(epoch) = keys::parse_record_epoch(&key) else { break };
                match epochs.iter_mut().find(|held| held.epoch == epoch) {
                    Some(held) => held.generations.push(at),
                    None => epochs.push(HeldEpoch { epoch, generations: vec![at] }),
                }
                from = keys::record(StreamId::Outcome, epoch, u64::MAX);
                from.push(0);
            }
        }
        // What a generation salvaged comes before what it took itself. The newest epoch is last,
        // and the positions have the others in their order.
        let age = |epoch: Epoch| {
            let known = self.meta.streams.iter().position(|s| s.epoch == epoch);
            known.map_or(0, |at| at + 1)
        };
        epochs.sort_by_key(|held| (held.generations[0], age(held.epoch)));
        Ok(epochs)
    }

    fn outcomes_of(
        &self,
        held: HeldEpoch,
        first: u64,
        max: usize,
        found: &mut Vec<HeldOutcome>,
    ) -> Result<(), Failed> {
        let HeldEpoch { epoch, generations } = held;
        let acked = self.meta.acked(StreamId::Outcome, epoch);
        let mut cursor = Cursor::of(StreamId::Outcome, epoch, generations);
        let mut next = first;
        while found.len() < max {
            let Some(run) = cursor.next(self, next..u64::MAX)? else { break };
            next = run.numbers().end;
            let left = max - found.len();
            found.extend(run.chained().take(left).map(|(seq, before, record)| HeldOutcome {
                id: OutcomeId { epoch, seq },
                record: record.to_vec(),
                before,
                at_hub: seq < acked,
            }));
        }
        Ok(())
    }
}
