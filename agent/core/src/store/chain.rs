//! The hash chain over the outcomes of this store, see [`landfall_wire::chain`].
//!
//! Each outcome is kept with the value before it, so that the value at any position can be told
//! as long as a record beside it is held: a range that is dropped is bridged by a mark at each
//! end. The value after the last outcome is in the meta, and written in the same commit.

use super::medium::Medium;
use super::meta::Meta;
use super::state::{Failed, State};
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::{DeviceId, Epoch, ShortDigest};
use landfall_wire::record::{Loss, StreamId};
use serde::{Deserialize, Serialize};

/// A mark is written after this many outcomes. A mark takes some 45 bytes on the link that no
/// compression makes smaller: less than one for each outcome.
pub(super) const MARK_OUTCOMES: u64 = 64;

/// An outcome is covered by a mark after this much running time, in milliseconds, however few
/// follow it: an hour costs at most a kilobyte a day.
pub(super) const MARK_WAIT_MS: u64 = 3_600_000;

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Tells the device's name that the chain is bound to.
    device: ShortDigest,
    /// The end of the outcome stream.
    pub(super) at: u64,
    /// The value there.
    pub(super) value: ChainValue,
    /// Where the last mark is; `None` if the hub must still be told where the chain begins.
    marked: Option<u64>,
    /// Running time when the first outcome after that mark was written.
    waiting_ms: u64,
}

impl Head {
    fn begin(device: Option<&DeviceId>, epoch: Epoch, at: u64) -> Head {
        Head {
            device: name(device),
            at,
            value: ChainValue::begin(device, epoch, at),
            // The hub knows how a chain begins at zero.
            marked: (at == 0).then_some(0),
            waiting_ms: 0,
        }
    }

    /// Takes an outcome in; returns the value before it.
    pub(super) fn follow(&mut self, record: &[u8], running_ms: u64) -> ChainValue {
        if self.marked.is_none_or(|marked| marked == self.at) {
            self.waiting_ms = running_ms;
        }
        let before = self.value;
        self.value = before.after(record);
        self.at += 1;
        before
    }

    /// The mark that must come before the next outcome, if the chain begins with it.
    pub(super) fn beginning(&mut self, epoch: Epoch) -> Option<ChainMark> {
        self.marked.is_none().then(|| ChainMark { begins: true, ..self.mark(epoch) })
    }

    /// The mark that is due by number.
    pub(super) fn due(&mut self, epoch: Epoch) -> Option<ChainMark> {
        let marked = self.marked.unwrap_or(self.at);
        (self.at - marked.min(self.at) >= MARK_OUTCOMES).then(|| self.mark(epoch))
    }

    /// The mark that is due by time.
    pub(super) fn due_by_time(&mut self, epoch: Epoch, running_ms: u64) -> Option<ChainMark> {
        let open = self.marked.is_some_and(|marked| marked < self.at);
        let waited = running_ms.saturating_sub(self.waiting_ms) >= MARK_WAIT_MS;
        (open && waited).then(|| self.mark(epoch))
    }

    fn mark(&mut self, epoch: Epoch) -> ChainMark {
        self.marked = Some(self.at);
        ChainMark { epoch, at: self.at, value: self.value, begins: false }
    }
}

fn name(device: Option<&DeviceId>) -> ShortDigest {
    ChainValue::begin(device, Epoch(0), 0).short()
}

impl Meta {
    /// Begins a chain where there is none, or one of another device or an older agent.
    pub(super) fn bind(&mut self, medium: &dyn Medium) {
        let device = medium.device();
        let end = self.stream(StreamId::Outcome, self.epoch).map_or(0, |s| s.end);
        // Without a readable identity for once, the chain goes on as it was bound.
        let same = |head: &Head| device.is_none() || head.device == name(device);
        let fits = |head: &Head| same(head) && head.at == end;
        if !self.chain.as_ref().is_some_and(fits) {
            self.chain = Some(Head::begin(device, self.epoch, end));
        }
    }
}

impl State {
    /// The chain's value at a position, if a record beside it is held.
    pub(super) fn chain_at(&self, epoch: Epoch, at: u64) -> Result<Option<ChainValue>, Failed> {
        if let Some(head) = self.meta.chain.filter(|head| head.at == at)
            && epoch == self.meta.epoch
        {
            return Ok(Some(head.value));
        }
        let outcome = |seq| self.held(StreamId::Outcome, epoch, seq);
        if let Some(run) = outcome(at)?
            && let Some((_, Some(before), _)) = run.chained().next()
        {
            return Ok(Some(before));
        }
        let Some(last) = at.checked_sub(1) else { return Ok(None) };
        let run = outcome(last)?;
        let last = run.as_ref().and_then(|run| run.chained().next());
        Ok(last.and_then(|(_, before, payload)| Some(before?.after(payload))))
    }

    /// The mark at a position, if it can be told.
    pub(super) fn mark_at(&self, epoch: Epoch, at: u64) -> Result<Option<ChainMark>, Failed> {
        let value = self.chain_at(epoch, at)?;
        Ok(value.map(|value| ChainMark { epoch, at, value, begins: false }))
    }

    /// The marks at both ends of lost outcomes, as far as they can be told.
    pub(super) fn bridge(&self, loss: &Loss) -> Result<Vec<ChainMark>, Failed> {
        if loss.stream != StreamId::Outcome {
            return Ok(Vec::new());
        }
        let ends = [self.mark_at(loss.epoch, loss.first)?, self.mark_at(loss.epoch, loss.end)?];
        Ok(ends.into_iter().flatten().collect())
    }
}
