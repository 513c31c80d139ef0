//! The device's time: what [`Timeline`] makes of the wall clock, of what is remembered, and of what
//! the hub says.
//!
//! The floor is remembered in `data_dir/clock`: at the hub's word, every [`REMEMBER_EVERY`], and at
//! a graceful stop. A power cut costs at most that much of it. A file that is gone or damaged, or a
//! disk that takes nothing, costs the floor that it held: there is the build's and the certificate's.
//!
//! Not here: what a certificate is (see `sync`), and what the hub is told of a wrong time (see
//! `service`).

use crate::service::replace;
use crate::stamp::wall_ms;
use landfall_agent_core::clock::{Source, Timeline};
use landfall_wire::id::Epoch;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const NAME: &str = "clock";

/// How often the floor is remembered while the agent runs: a flash card takes an hour's write for
/// decades, and a certificate that is valid for months does not mind an hour.
pub const REMEMBER_EVERY: Duration = Duration::from_secs(3600);

/// No box that runs this was built before: 2026-11-01. A release moves it.
const BUILT_MS_MIN: u64 = 1_793_491_200_000;

/// When this was built, where the build says so in the usual variable; it is in seconds.
const BUILT_MS: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(secs) => later(digits(secs.as_bytes()) * 1000, BUILT_MS_MIN),
    None => BUILT_MS_MIN,
};

const fn later(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// A number of at most ten digits; zero for anything else.
const fn digits(text: &[u8]) -> u64 {
    if text.len() > 10 {
        return 0;
    }
    let (mut at, mut value) = (0, 0);
    while at < text.len() {
        if !text[at].is_ascii_digit() {
            return 0;
        }
        value = value * 10 + (text[at] - b'0') as u64;
        at += 1;
    }
    value
}

/// What is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The time was this or later when it was written, milliseconds since 1970.
    not_before_ms: u64,
    /// Outcomes from here on were stamped by an earlier run whose time was a guess.
    #[serde(default)]
    guessed: Option<Guessed>,
}

/// The first outcome that was stamped with a time that is only known to be too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guessed {
    /// The epoch of the store.
    pub epoch: Epoch,
    /// Its number.
    pub first: u64,
}

/// The time at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// The best that is known, milliseconds since 1970.
    pub now_ms: u64,
    /// What the wall clock shows.
    pub wall_ms: u64,
    /// The time is certainly not before this.
    pub floor_ms: u64,
    /// Where `now_ms` is from.
    pub source: Source,
    /// How far the hub's clock is ahead of the wall clock, if it has been heard.
    pub hub_ahead_ms: Option<i64>,
}

/// The hub said that times given until then were wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// By so much they were behind; ahead, if negative.
    pub behind_ms: i64,
}

/// The device's time.
#[derive(Debug)]
pub struct Clock {
    timeline: Mutex<Timeline>,
    guessed: Mutex<Option<Guessed>>,
    started: Instant,
    path: PathBuf,
    corrections: watch::Sender<Option<Correction>>,
}

impl Clock {
    /// Goes on from what is remembered in `data_dir`; changes nothing there.
    pub fn open(data_dir: &Path) -> Arc<Clock> {
        let path = data_dir.join(NAME);
        let read = std::fs::read(&path).ok();
        let remembered = read.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
        let floor_ms = remembered.map_or(0, |it| it.not_before_ms).max(BUILT_MS);
        let timeline = Mutex::new(Timeline::new(floor_ms, 0));
        let guessed = Mutex::new(remembered.and_then(|it| it.guessed));
        let corrections = watch::Sender::new(None);
        Arc::new(Clock { timeline, guessed, started: Instant::now(), path, corrections })
    }

    /// The best that is known of the time, milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.shown().now_ms
    }

    /// The time at a glance.
    pub fn shown(&self) -> Shown {
        let (wall_ms, mono_ms) = (wall_ms(), self.mono_ms());
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        let (now_ms, source) = timeline.now(wall_ms, mono_ms);
        let floor_ms = timeline.floor_ms(mono_ms);
        let hub_ahead_ms = timeline.hub_ahead_ms(wall_ms, mono_ms);
        Shown { now_ms, wall_ms, floor_ms, source, hub_ahead_ms }
    }

    /// Something proves that the time is not before this.
    pub fn not_before(&self, floor_ms: u64) {
        let mono_ms = self.mono_ms();
        let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        timeline.not_before(floor_ms, mono_ms);
    }

    /// The hub, which has proved that it is the hub, said what time it is.
    pub fn hub_said(&self, hub_ms: u64) {
        let (wall_ms, mono_ms) = (wall_ms(), self.mono_ms());
        let behind = {
            let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
            timeline.hub_said(hub_ms, wall_ms, mono_ms)
        };
        self.remember();
        if let Some(behind_ms) = behind {
            tracing::warn!(
                behind_secs = behind_ms / 1000,
                "the clock was wrong; what is recorded from now on has the hub's time"
            );
            self.corrections.send_replace(Some(Correction { behind_ms }));
        }
    }

    /// Changes whenever times given until then turn out to be wrong.
    pub fn corrections(&self) -> watch::Receiver<Option<Correction>> {
        self.corrections.subscribe()
    }

    /// Outcomes from here on are stamped with a guess, until [`Clock::settle`]; those of an earlier
    /// run come first.
    pub fn guess_from(&self, from: Guessed) {
        let mut guessed = self.guessed.lock().unwrap_or_else(PoisonError::into_inner);
        if guessed.is_none_or(|earlier| earlier.epoch != from.epoch) {
            *guessed = Some(from);
        }
    }

    /// What was stamped with a guess, of this run or an earlier one.
    pub fn guessed(&self) -> Option<Guessed> {
        *self.guessed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub is durably told of what was guessed.
    pub fn settle(&self) {
        *self.guessed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.remember();
    }

    /// Writes down what the next start needs to know.
    pub fn remember(&self) {
        let remembered =
            Remembered { not_before_ms: self.shown().floor_ms, guessed: self.guessed() };
        let bytes = serde_json::to_vec(&remembered);
        let written = bytes.map_err(Into::into).and_then(|bytes| replace(&self.path, &bytes));
        if let Err(error) = written {
            // The disk may be full or read-only; other parts of the agent say so loudly.
            tracing::debug!(%error, "the time is not remembered");
        }
    }

    fn mono_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// By this clock certificates are judged, where nothing is learned from them.
impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.now_ms())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_said_is_remembered_and_damage_costs_only_that() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::open(dir.path());
        assert!(clock.shown().floor_ms >= BUILT_MS_MIN);
        let future_ms = wall_ms() + 1_000_000_000;
        let mut corrections = clock.corrections();
        clock.hub_said(future_ms);
        assert!(corrections.has_changed().unwrap());
        let behind_ms = corrections.borrow_and_update().unwrap().behind_ms;
        assert!((999_000_000..=1_000_000_000).contains(&behind_ms), "{behind_ms}");
        assert_eq!(clock.shown().source, Source::Hub);
        drop(clock);
        let clock = Clock::open(dir.path());
        assert!(clock.now_ms() >= future_ms);
        assert_eq!(clock.shown().source, Source::Floor);
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(Clock::open(dir.path()).now_ms() < future_ms);
    }

    #[test]
    fn the_build_says_when_it_was_made() {
        assert_eq!(digits(b"1795893000"), 1_795_893_000);
        assert_eq!(digits(b"not a number"), 0);
        assert_eq!(digits(b"17958930001"), 0, "nobody builds in that year");
    }
}
