//! What else a reader may want to know of the store: where its hash chain ends, and what a
//! caller's id stands for.

use super::journal::OutcomeId;
use super::state::{Failed, Shared};
use super::types::{CallerKey, Kept};
use landfall_wire::chain::ChainMark;
use landfall_wire::id::{ShortDigest, TaskName};

impl Shared {
    /// The end of the hash chain; `None` before the first open by an agent that keeps one.
    pub fn chain_head(&self) -> Option<ChainMark> {
        let meta = &self.state().meta;
        let (epoch, head) = (meta.epoch, meta.chain?);
        Some(ChainMark { epoch, at: head.at, value: head.value, begins: false })
    }

    /// Digest of the text that this id of a caller was used for, and the outcome; `None` if it is
    /// not known (any more).
    ///
    /// # Errors
    /// [`Failed`].
    pub fn asked(
        &self,
        task: TaskName,
        caller_id: String,
    ) -> Result<Option<(ShortDigest, OutcomeId)>, Failed> {
        let state = self.state();
        state.check_open()?;
        let key = CallerKey { task, caller_id, text_digest: ShortDigest::default() };
        Ok(state.retry(&key)?.map(|(known, Kept { epoch, outcome_seq, .. })| {
            (known.text_digest, OutcomeId { epoch, seq: outcome_seq })
        }))
    }
}
