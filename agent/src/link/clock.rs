//! The time of links: the device's, which goes by what the hub said. A box that starts in 1970 does
//! not take its nights for days.
//!
//! `LANDFALL_LINK_CLOCK` = `FACTOR@REAL=SHOWN` has it pass faster, for tests of long times: at the
//! time REAL (milliseconds since 1970) it shows SHOWN, and from there on passes FACTOR times
//! as fast. Hours, days and budgets of links go by it, and nothing else: neither records nor
//! connections.

use super::zone;
use crate::clock::Clock as DeviceClock;
use landfall_agent_core::link::Now;
use std::sync::Arc;
use std::time::{Duration, Instant};

const VARIABLE: &str = "LANDFALL_LINK_CLOCK";

#[derive(Debug)]
pub(super) struct Clock {
    device: Arc<DeviceClock>,
    started: Instant,
    faster: Option<Faster>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Faster {
    factor: u64,
    real_ms: u64,
    shown_ms: u64,
}

impl Clock {
    pub(super) fn start(device: Arc<DeviceClock>) -> Clock {
        let faster = std::env::var(VARIABLE).ok().and_then(|text| {
            let faster = parse(&text);
            tracing::warn!(text, ?faster, "the time of links is another, as a test wants it");
            faster
        });
        Clock { device, started: Instant::now(), faster }
    }

    /// What records are stamped with.
    pub(super) fn device_ms(&self) -> u64 {
        self.device.now_ms()
    }

    pub(super) fn now(&self) -> Now {
        let running_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall_ms = self.device_ms();
        match self.faster {
            None => Now { running_ms, wall_ms, offset_secs: zone::offset_secs(wall_ms) },
            Some(Faster { factor, real_ms, shown_ms }) => Now {
                running_ms: running_ms.saturating_mul(factor),
                wall_ms: shown_ms + wall_ms.saturating_sub(real_ms).saturating_mul(factor),
                offset_secs: 0,
            },
        }
    }

    /// How long such a time takes.
    pub(super) fn real(&self, ms: u64) -> Duration {
        let factor = self.faster.map_or(1, |faster| faster.factor);
        Duration::from_micros(ms.saturating_mul(1000) / factor)
    }
}

fn parse(text: &str) -> Option<Faster> {
    let (factor, rest) = text.split_once('@')?;
    let (real_ms, shown_ms) = rest.split_once('=')?;
    let factor = factor.parse().ok().filter(|factor| *factor > 0)?;
    Some(Faster { factor, real_ms: real_ms.parse().ok()?, shown_ms: shown_ms.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_clock_is_given_as_text() {
        let faster = Faster { factor: 4320, real_ms: 17, shown_ms: 5 };
        assert_eq!(parse("4320@17=5"), Some(faster));
        for bad in ["", "0@1=2", "1@2", "x@1=2"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        let device = DeviceClock::open(dir.path());
        let clock = Clock { device, started: Instant::now(), faster: Some(faster) };
        assert_eq!(clock.real(4320), Duration::from_millis(1));
    }
}
