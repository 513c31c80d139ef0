//! Which stream is sent next: the one whose next batch is worth most a byte.
//!
//! A record's worth is a constant of its stream, its bytes are measured as frames are sent. A
//! stream that could send and is not chosen gains its own worth with every turn, and after
//! [`TURNS_MAX`] of them it goes first: none starves, however the others grow.

use landfall_wire::record::StreamId;

/// Turns that a stream with something to send waits at most behind each of the others.
const TURNS_MAX: u64 = 8;

/// Bytes of a record before one was sent.
const RECORD_BYTES: u64 = 64;

/// How much a new measurement counts: one in so many.
const MEMORY: u64 = 4;

/// What a record is worth. Somebody waits for the answer to an escalation; an event says that
/// something is wrong, or proves what was sent; an outcome is looked at some day. With the sizes
/// that they have on the wire (about 100, 40 and 10 bytes), a backlog of all three is sent at
/// about 3 : 1 : 1.
fn worth(stream: StreamId) -> u64 {
    match stream {
        StreamId::Escalation => 256,
        StreamId::Event => 32,
        StreamId::Outcome => 8,
        // Not a device's to send.
        StreamId::Answer => 0,
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    /// In the order of [`StreamId::UP`].
    lanes: [Lane; StreamId::UP.len()],
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    record_bytes: u64,
    /// Turns that went to others while it had something.
    waited: u64,
}

impl Default for Lane {
    fn default() -> Lane {
        Lane { record_bytes: RECORD_BYTES, waited: 0 }
    }
}

impl Schedule {
    /// The stream whose turn it is, of those that have something.
    pub(super) fn next(&mut self, has_some: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        let ready = StreamId::UP.map(has_some);
        let ranked = StreamId::UP.iter().zip(&self.lanes).zip(ready).enumerate();
        let ranked = ranked.filter(|(_, (_, ready))| *ready);
        // Of equals, the one that is more valuable as such.
        let best =
            ranked.map(|(at, ((stream, lane), _))| (lane.score(*stream), std::cmp::Reverse(at)));
        let (_, std::cmp::Reverse(best)) = best.max()?;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.waited = if at == best || !ready[at] { 0 } else { lane.waited + 1 };
        }
        Some(StreamId::UP[best])
    }

    /// So many records went in a frame of `bytes`.
    pub(super) fn sent(&mut self, stream: StreamId, records: u64, bytes: usize) {
        let lanes = StreamId::UP.iter().position(|of| *of == stream).map(|at| &mut self.lanes[at]);
        if let (Some(lane), Some(each)) = (lanes, (bytes as u64).checked_div(records)) {
            lane.record_bytes = (lane.record_bytes * (MEMORY - 1) + each.max(1)).div_ceil(MEMORY);
        }
    }
}

impl Lane {
    /// Whether it has waited enough, and its worth a kilobyte with what it gained.
    fn score(self, stream: StreamId) -> (bool, u64) {
        let gained = worth(stream) * 1024 / self.record_bytes.max(1) * (1 + self.waited);
        (self.waited >= TURNS_MAX, gained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(schedule: &mut Schedule, count: usize, sizes: [usize; 3]) -> Vec<StreamId> {
        let mut turns = Vec::new();
        for _ in 0..count {
            let stream = schedule.next(|_| true).unwrap();
            let at = StreamId::UP.iter().position(|of| *of == stream).unwrap();
            schedule.sent(stream, 10, sizes[at] * 10);
            turns.push(stream);
        }
        turns
    }

    #[test]
    fn what_is_worth_most_a_byte_goes_first_and_nothing_starves() {
        let mut schedule = Schedule::default();
        for sizes in [[100, 40, 10], [64, 64, 64], [20, 4000, 4000], [4000, 20, 8]] {
            let turns = turns(&mut schedule, 100, sizes);
            for stream in StreamId::UP {
                let count = turns.iter().filter(|turn| **turn == stream).count();
                assert!(count as u64 >= 100 / (TURNS_MAX + 3), "{stream:?} {count}: {turns:?}");
            }
        }
        let usual = turns(&mut Schedule::default(), 100, [100, 40, 10]);
        let count = usual.iter().filter(|turn| **turn == StreamId::Escalation).count();
        assert!((50..70).contains(&count), "{usual:?}");
        assert_eq!(usual[0], StreamId::Escalation);
    }

    #[test]
    fn who_has_nothing_gains_nothing() {
        let mut schedule = Schedule::default();
        for _ in 0..50 {
            assert_eq!(schedule.next(|of| of == StreamId::Event), Some(StreamId::Event));
        }
        assert_eq!(schedule.next(|_| true), Some(StreamId::Escalation));
        assert_eq!(schedule.next(|_| false), None);
    }
}
