//! The sending side of one stream in one epoch.

use std::collections::VecDeque;
use std::ops::Range;

/// Bounds of a sender; they depend on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most encoded bytes sent and not yet acknowledged. One batch may go over it, so that a
    /// small window never blocks.
    pub window_bytes_max: usize,
    /// Without progress for this long, the sender goes back to the last acknowledgement:
    /// max(30 s, 4 round trips) on a satellite link.
    pub stall_ms: u64,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Sequence number of the first record to send.
    pub first: u64,
    /// One past the last that may be sent.
    pub end: u64,
    /// Room left in the window in bytes, at least 1.
    pub bytes_max: usize,
    /// The oldest record still held, for the batch's `floor`.
    pub floor: u64,
}

/// Records released by an acknowledgement.
pub type Acked = Range<u64>;

#[derive(Debug, Clone, Copy)]
struct Flight {
    end: u64,
    bytes: usize,
}

/// The sending side of one stream. Offline until [`Sender::connected`].
#[derive(Debug, Clone)]
pub struct Sender {
    limits: Limits,
    /// Oldest record still held.
    floor: u64,
    /// Everything below is committed on the other side.
    acked: u64,
    /// End of what is durable here, and may be sent.
    durable: u64,
    /// Next to send while online.
    cursor: Option<u64>,
    flights: VecDeque<Flight>,
    flying_bytes: usize,
    progress_ms: u64,
}

impl Sender {
    /// A sender that holds `floor..durable`, of which everything below `acked` is committed on
    /// the other side.
    ///
    /// # Panics
    /// If not `acked <= durable` and `floor <= durable`: the store's cursors are corrupt.
    pub fn new(limits: Limits, floor: u64, acked: u64, durable: u64) -> Sender {
        assert!(acked <= durable && floor <= durable, "cursors {floor} {acked} {durable}");
        let flights = VecDeque::new();
        Sender {
            limits,
            floor,
            acked,
            durable,
            cursor: None,
            flights,
            flying_bytes: 0,
            progress_ms: 0,
        }
    }

    /// The other side told its high-water mark: resume there. Returns what that releases.
    ///
    /// A mark beyond what is durable here means that this store was rolled back to an older
    /// image: `None`, and nothing is sent until the stream gets a new epoch.
    pub fn connected(&mut self, now_ms: u64, mark: u64) -> Option<Acked> {
        if mark > self.durable {
            self.disconnected();
            return None;
        }
        let released = self.acked..mark.max(self.acked);
        self.acked = released.end;
        self.restart(now_ms);
        Some(released)
    }

    /// The connection is gone, and with it everything in flight.
    pub fn disconnected(&mut self) {
        self.cursor = None;
        self.flights.clear();
        self.flying_bytes = 0;
    }

    /// Records up to `end` are durable and may be sent.
    pub fn durable(&mut self, end: u64) {
        self.durable = self.durable.max(end);
    }

    /// Records below `floor` were dropped here and can never be sent.
    pub fn shed(&mut self, floor: u64) {
        self.floor = self.floor.max(floor.min(self.durable));
        if let Some(cursor) = &mut self.cursor {
            *cursor = (*cursor).max(self.floor);
        }
    }

    /// What may be sent now, if anything.
    pub fn window(&self) -> Option<Window> {
        let first = self.cursor?;
        let room = self.limits.window_bytes_max.checked_sub(self.flying_bytes)?;
        if first >= self.durable || room == 0 {
            return None;
        }
        Some(Window { first, end: self.durable, bytes_max: room, floor: self.floor })
    }

    /// Records up to `end` were handed to the connection in a frame of `bytes`.
    ///
    /// # Panics
    /// If `end` is outside the window that was offered: a bug in the caller.
    pub fn sent(&mut self, now_ms: u64, end: u64, bytes: usize) {
        let cursor = self.cursor.as_mut().expect("sent only while online");
        assert!(end > *cursor && end <= self.durable, "sent outside the window");
        *cursor = end;
        if self.flights.is_empty() {
            self.progress_ms = now_ms;
        }
        self.flights.push_back(Flight { end, bytes });
        self.flying_bytes += bytes;
    }

    /// The other side committed everything below `mark`. Returns what that releases; empty for
    /// an old acknowledgement and for one past what was ever sent, which is ignored.
    pub fn acked(&mut self, now_ms: u64, mark: u64) -> Acked {
        let Some(cursor) = self.cursor else { return self.acked..self.acked };
        if mark <= self.acked || mark > cursor {
            return self.acked..self.acked;
        }
        let released = self.acked..mark;
        self.acked = mark;
        self.progress_ms = now_ms;
        while let Some(flight) = self.flights.front().copied() {
            if flight.end > mark {
                break;
            }
            self.flying_bytes -= flight.bytes;
            self.flights.pop_front();
        }
        released
    }

    /// Goes back to the last acknowledgement if nothing moved for too long; says whether it did.
    pub fn tick(&mut self, now_ms: u64) -> bool {
        let stalled = self.next_wakeup().is_some_and(|at_ms| now_ms >= at_ms);
        if stalled {
            self.restart(now_ms);
        }
        stalled
    }

    /// When [`Sender::tick`] has something to do.
    pub fn next_wakeup(&self) -> Option<u64> {
        (!self.flights.is_empty()).then(|| self.progress_ms.saturating_add(self.limits.stall_ms))
    }

    /// Everything below is committed on the other side.
    pub fn mark(&self) -> u64 {
        self.acked
    }

    /// The next record to send; `None` while offline.
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// Records durable here and not yet committed there.
    pub fn backlog(&self) -> u64 {
        self.durable - self.acked.max(self.floor).min(self.durable)
    }

    fn restart(&mut self, now_ms: u64) {
        self.flights.clear();
        self.flying_bytes = 0;
        self.cursor = Some(self.acked.max(self.floor));
        self.progress_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { window_bytes_max: 100, stall_ms: 30_000 };

    #[test]
    fn sends_only_what_is_durable_and_only_online() {
        let mut sender = Sender::new(LIMITS, 0, 0, 2);
        assert_eq!(sender.window(), None, "offline");
        assert_eq!(sender.connected(0, 0), Some(0..0));
        assert_eq!(sender.window(), Some(Window { first: 0, end: 2, bytes_max: 100, floor: 0 }));
        sender.sent(0, 2, 10);
        assert_eq!(sender.window(), None, "nothing more is durable");
        sender.durable(5);
        assert_eq!(sender.window(), Some(Window { first: 2, end: 5, bytes_max: 90, floor: 0 }));
    }

    #[test]
    fn the_window_closes_and_an_acknowledgement_opens_it() {
        let mut sender = Sender::new(LIMITS, 0, 0, 9);
        sender.connected(0, 0);
        sender.sent(0, 3, 60);
        sender.sent(0, 6, 60);
        assert_eq!(sender.window(), None, "120 of 100 bytes are in flight");
        assert_eq!(sender.acked(1, 5), 0..5, "coalesced: the first flight and part of the second");
        assert_eq!(sender.window().map(|w| (w.first, w.bytes_max)), Some((6, 40)));
        assert_eq!(sender.backlog(), 4);
    }

    #[test]
    fn acknowledgements_that_make_no_sense_release_nothing() {
        let mut sender = Sender::new(LIMITS, 0, 2, 9);
        assert_eq!(sender.acked(0, 3), 2..2, "offline");
        sender.connected(0, 2);
        sender.sent(0, 4, 10);
        assert_eq!(sender.acked(0, 5), 2..2, "never sent");
        assert_eq!(sender.acked(0, 1), 2..2, "old");
        assert_eq!(sender.mark(), 2);
    }

    #[test]
    fn a_stall_goes_back_to_the_mark() {
        let mut sender = Sender::new(LIMITS, 0, 0, 9);
        sender.connected(0, 0);
        sender.sent(1_000, 4, 10);
        sender.acked(2_000, 2);
        assert!(!sender.tick(31_999));
        assert!(sender.tick(32_000));
        assert_eq!(sender.window().map(|w| w.first), Some(2));
        assert_eq!(sender.next_wakeup(), None, "nothing is in flight");
    }

    #[test]
    fn shedding_moves_the_floor_and_never_waits() {
        let mut sender = Sender::new(LIMITS, 0, 0, 9);
        sender.connected(0, 0);
        sender.shed(4);
        assert_eq!(sender.window().map(|w| (w.first, w.floor)), Some((4, 4)));
        assert_eq!(sender.backlog(), 5);
    }

    #[test]
    fn a_mark_beyond_the_store_means_it_was_rolled_back() {
        let mut sender = Sender::new(LIMITS, 0, 0, 3);
        assert_eq!(sender.connected(0, 4), None);
        assert_eq!(sender.window(), None);
    }
}
