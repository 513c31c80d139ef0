//! What time it is, on a box that may not know: one without a battery-backed clock starts in 1970.
//!
//! The box knows a *floor* that the time is certainly not before: what the hub said last, plus the
//! time it ran since; its own certificate's first day; the day it was built. What it stamps records
//! with is the later of wall clock and floor, so that times never start over. Once the hub has said
//! what time it is, that counts, for as long as the wall clock disagrees with it; and what was
//! stamped before is known to have been wrong by so much.
//!
//! Invariants: the floor only rises, and never by the word of the wall clock: a clock that stands
//! in the future for a moment, and is put right, leaves nothing behind.
//!
//! Not here: clocks. `wall_ms` is what the wall clock shows, `mono_ms` milliseconds since the start,
//! which only grow.

/// A wall clock that differs less from what the hub said is right: a welcome takes tens of seconds
/// over a loaded satellite link, and a cheap clock drifts by seconds a day.
pub const TOLERANCE_MS: u64 = 120_000;

/// Where the time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The wall clock shows a time that has certainly passed: the floor counts on.
    Floor,
    /// The wall clock; the hub has not been heard since the start.
    Wall,
    /// The wall clock, which agrees with the hub.
    WallByHub,
    /// What the hub said counts on: the wall clock is wrong.
    Hub,
}

impl Source {
    /// A name for status pages.
    pub fn name(self) -> &'static str {
        match self {
            Source::Floor => "last-known",
            Source::Wall => "wall-clock",
            Source::WallByHub => "wall-clock-confirmed",
            Source::Hub => "hub",
        }
    }
}

/// What a device knows of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    /// The time at `anchor_ms` was this or later; after [`Timeline::hub_said`], was this.
    known_ms: u64,
    anchor_ms: u64,
    by_hub: bool,
}

impl Timeline {
    /// At the start: the time is certainly not before `floor_ms`.
    pub fn new(floor_ms: u64, mono_ms: u64) -> Timeline {
        Timeline { known_ms: floor_ms, anchor_ms: mono_ms, by_hub: false }
    }

    /// Something else proves that the time is not before `floor_ms`.
    pub fn not_before(&mut self, floor_ms: u64, mono_ms: u64) {
        if !self.by_hub && floor_ms > self.floor_ms(mono_ms) {
            *self = Timeline::new(floor_ms, mono_ms);
        }
    }

    /// The time is certainly not before this. What is to be remembered over a restart.
    pub fn floor_ms(&self, mono_ms: u64) -> u64 {
        self.known_ms.saturating_add(mono_ms.saturating_sub(self.anchor_ms))
    }

    /// The best that is known, and where it is from.
    pub fn now(&self, wall_ms: u64, mono_ms: u64) -> (u64, Source) {
        let known_ms = self.floor_ms(mono_ms);
        match self.by_hub {
            true if wall_ms.abs_diff(known_ms) <= TOLERANCE_MS => (wall_ms, Source::WallByHub),
            true => (known_ms, Source::Hub),
            false if wall_ms < known_ms => (known_ms, Source::Floor),
            false => (wall_ms, Source::Wall),
        }
    }

    /// How far the hub's clock is ahead of the wall clock, if it has said anything.
    pub fn hub_ahead_ms(&self, wall_ms: u64, mono_ms: u64) -> Option<i64> {
        self.by_hub.then(|| difference(self.floor_ms(mono_ms), wall_ms))
    }

    /// The hub said what time it is. By how many milliseconds what [`Timeline::now`] gave until now
    /// was behind (ahead, if negative), where that is more than [`TOLERANCE_MS`].
    pub fn hub_said(&mut self, hub_ms: u64, wall_ms: u64, mono_ms: u64) -> Option<i64> {
        let (shown_ms, _) = self.now(wall_ms, mono_ms);
        // Later welcomes of a hub whose own clock was put back must not lower the floor for good:
        // it is the hub's word all the same, and it is the one clock that all devices share.
        *self = Timeline { known_ms: hub_ms, anchor_ms: mono_ms, by_hub: true };
        let behind = difference(hub_ms, shown_ms);
        (behind.unsigned_abs() > TOLERANCE_MS).then_some(behind)
    }
}

fn difference(a: u64, b: u64) -> i64 {
    let difference = i128::from(a) - i128::from(b);
    let most = if difference < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(difference).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;
    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_box_that_starts_in_1970_goes_on_where_it_was() {
        let mut time = Timeline::new(NOW, 0);
        assert_eq!(time.now(5_000, 0), (NOW, Source::Floor));
        assert_eq!(time.now(5_000 + HOUR, HOUR), (NOW + HOUR, Source::Floor));
        // It was off for a day.
        let behind = time.hub_said(NOW + 25 * HOUR, 5_000 + HOUR, HOUR);
        assert_eq!(behind, Some(i64::try_from(24 * HOUR).unwrap()));
        assert_eq!(time.now(5_000 + HOUR, HOUR), (NOW + 25 * HOUR, Source::Hub));
        assert_eq!(time.floor_ms(2 * HOUR), NOW + 26 * HOUR);
        // Somebody sets the clock: it is the finer one.
        let wall = NOW + 26 * HOUR + 7;
        assert_eq!(time.now(wall, 2 * HOUR), (wall, Source::WallByHub));
        assert_eq!(time.hub_said(wall + 900, wall, 2 * HOUR), None, "as good as right");
    }

    #[test]
    fn a_good_clock_is_taken_at_its_word() {
        let mut time = Timeline::new(NOW - 100 * HOUR, 0);
        assert_eq!(time.now(NOW, 10), (NOW, Source::Wall));
        assert_eq!(time.hub_said(NOW + 400, NOW, 10), None);
        assert_eq!(time.now(NOW + HOUR, HOUR + 10), (NOW + HOUR, Source::WallByHub));
    }

    #[test]
    fn a_clock_in_the_future_is_put_right_and_leaves_no_trace() {
        let mut time = Timeline::new(NOW, 0);
        assert_eq!(time.now(NOW * 2, 10), (NOW * 2, Source::Wall));
        assert_eq!(time.floor_ms(10), NOW + 10, "not by the word of the wall clock");
        let behind = time.hub_said(NOW + 50, NOW * 2, 10).unwrap();
        assert!(behind < 0, "{behind}");
        assert_eq!(time.now(NOW * 2, 10), (NOW + 50, Source::Hub));
    }

    #[test]
    fn what_proves_a_later_time_raises_the_floor() {
        let mut time = Timeline::new(NOW, 0);
        time.not_before(NOW - 1, 5);
        assert_eq!(time.floor_ms(5), NOW + 5);
        time.not_before(NOW + HOUR, 5);
        assert_eq!(time.now(0, 6), (NOW + HOUR + 1, Source::Floor));
        time.hub_said(NOW + 2 * HOUR, 0, 6);
        time.not_before(NOW + 3 * HOUR, 6);
        assert_eq!(time.floor_ms(6), NOW + 2 * HOUR, "the hub knows better");
    }
}
