//! One up stream of a session: the wire's sender, and the holes of a salvaged store.

use super::{Held, SessionLimits};
use landfall_wire::frame::Batch;
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;
use landfall_wire::stream::{Limits, Sender, Window};
use std::ops::Range;

#[derive(Debug, Clone)]
pub(super) struct Up {
    held: Held,
    sender: Sender,
    /// Sequence numbers that the store does not hold, not jumped yet.
    hole: Option<Range<u64>>,
    /// The floor that the hub was last told by an empty batch, and when.
    told: Option<(u64, u64)>,
    stall_ms: u64,
}

impl Up {
    /// `None` if the hub's mark is beyond what it can have had from this store.
    pub(super) fn online(
        limits: &SessionLimits,
        stall_ms: u64,
        now_ms: u64,
        held: Held,
        mark: u64,
    ) -> Option<Up> {
        if mark > held.reach {
            return None;
        }
        let share = match held.stream {
            StreamId::Outcome => 2,
            StreamId::Escalation | StreamId::Event | StreamId::Answer => 4,
        };
        let limits = Limits { window_bytes_max: limits.window_bytes_max / share, stall_ms };
        // A mark below what was acknowledged before: the hub was restored from a backup. What
        // is still held is sent again from there.
        let acked = held.acked.min(mark);
        let mut sender = Sender::new(limits, held.floor, acked, held.end);
        sender.connected(now_ms, mark)?;
        Some(Up { held, sender, hole: None, told: None, stall_ms })
    }

    pub(super) fn stream(&self) -> StreamId {
        self.held.stream
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.held.epoch
    }

    pub(super) fn is(&self, stream: StreamId, epoch: Epoch) -> bool {
        self.held.stream == stream && self.held.epoch == epoch
    }

    /// The hub has everything below.
    pub(super) fn mark(&self) -> u64 {
        self.sender.mark()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.sender.mark() == self.held.end
    }

    pub(super) fn next_wakeup(&self) -> Option<u64> {
        let again = self.told.filter(|(floor, _)| *floor > self.sender.mark());
        let again_ms = again.map(|(_, at_ms)| at_ms.saturating_add(self.stall_ms));
        self.sender.next_wakeup().into_iter().chain(again_ms).min()
    }

    /// What may be sent now; it ends before a hole.
    pub(super) fn window(&self) -> Option<Window> {
        let window = self.sender.window()?;
        let end = self.hole.as_ref().map_or(window.end, |hole| hole.start.min(window.end));
        (window.first < end).then_some(Window { end, ..window })
    }

    /// Records `first..end` were sent. If the sender went back meanwhile, they will be sent
    /// again, and are not counted.
    pub(super) fn sent(&mut self, now_ms: u64, first: u64, end: u64, bytes: usize) {
        if self.sender.window().is_some_and(|window| window.first == first) {
            self.sender.sent(now_ms, end, bytes);
        }
    }

    /// Nothing is held from `first` to `next_held`.
    pub(super) fn hole(&mut self, first: u64, next_held: u64) {
        self.hole = Some(first..next_held.min(self.held.end));
        self.jump();
    }

    /// Whether records up to there may have gone out, but not since the hub told where it stands.
    pub(super) fn is_behind(&self, mark: u64) -> bool {
        let sent = self.sender.cursor().is_none_or(|cursor| mark <= cursor);
        !sent && mark <= self.held.end
    }

    pub(super) fn acked(&mut self, now_ms: u64, mark: u64) -> Range<u64> {
        let released = self.sender.acked(now_ms, mark);
        self.jump();
        released
    }

    pub(super) fn durable(&mut self, held: Held) {
        self.held.end = self.held.end.max(held.end);
        self.sender.durable(held.reach);
        // A floor at or below the mark is only housekeeping of what the hub has.
        if held.floor > self.sender.mark() {
            self.shed(held.floor);
            self.jump();
        }
    }

    /// Says whether it sends again, after a stall.
    pub(super) fn tick(&mut self, now_ms: u64) -> bool {
        let again = self.next_wakeup().is_some_and(|at_ms| now_ms >= at_ms);
        if again {
            self.told = None;
        }
        self.sender.tick(now_ms) || again
    }

    /// An empty batch that tells the hub of a floor when no record is left to carry it.
    pub(super) fn news_of_floor(&mut self, now_ms: u64) -> Option<Batch> {
        let floor = self.held.floor;
        let told = self.told.is_some_and(|(told, _)| told >= floor);
        let due = floor > self.sender.mark() && floor == self.held.end && !told;
        due.then(|| {
            self.told = Some((floor, now_ms));
            let (stream, epoch) = (self.held.stream, self.held.epoch);
            Batch { stream, epoch, floor, first: floor, records: Vec::new() }
        })
    }

    /// Leaves a hole behind once the hub has everything before it that there still is.
    fn jump(&mut self) {
        let reached = self.sender.mark().max(self.held.floor);
        if let Some(hole) = self.hole.take_if(|hole| reached >= hole.start) {
            self.shed(hole.end);
        }
    }

    fn shed(&mut self, floor: u64) {
        self.held.floor = self.held.floor.max(floor);
        self.sender.shed(floor);
    }
}
