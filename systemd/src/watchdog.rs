//! Feeds systemd's watchdog while every part gets on.

use crate::{Pulse, tell};
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// Messages within the time that systemd waits (`WatchdogSec=`): one may be late, another lost.
const FEEDS: u32 = 4;

/// How often the line in `systemctl status` is looked at where there is no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// The parts of a service that must get on.
#[derive(Debug)]
pub struct Watchdog(Vec<Pulse>);

impl Watchdog {
    /// Over these loops.
    pub fn new(parts: impl IntoIterator<Item = Pulse>) -> Watchdog {
        Watchdog(parts.into_iter().collect())
    }

    /// Feeds for ever; to be polled by the service's main loop. A part that is busy with one thing
    /// for as long as systemd waits for the service has it restarted: what is acknowledged is
    /// durable, and nothing else gets a stuck thread back. `status` is the line in `systemctl
    /// status`. Without systemd it does nothing.
    pub async fn feed(self, status: impl Fn() -> String) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return std::future::pending().await;
        }
        let patience = sd_notify::watchdog_enabled();
        let mut every = tokio::time::interval(patience.map_or(STATUS_EVERY, |all| all / FEEDS));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut shown = String::new();
        loop {
            every.tick().await;
            let line = status();
            if line != shown {
                tell(&[NotifyState::Status(&line)]);
                shown = line;
            }
            let Some(patience) = patience else { continue };
            // The main loop has a thread of its own: that it runs does not show that tasks do.
            // While none does, systemd is not fed, and acts.
            if tokio::spawn(async {}).await.is_err() {
                continue;
            }
            match self.stuck(patience, Instant::now()) {
                None => tell(&[NotifyState::Watchdog]),
                Some((part, busy)) => {
                    let secs = busy.as_secs();
                    tracing::error!(part, secs, "a part is stuck; systemd is asked to restart");
                    tell(&[NotifyState::WatchdogTrigger]);
                }
            }
        }
    }

    fn stuck(&self, patience: Duration, now: Instant) -> Option<(&'static str, Duration)> {
        let parts = self.0.iter().filter_map(|pulse| Some((pulse.part(), pulse.busy_for(now)?)));
        parts.max_by_key(|(_, busy)| *busy).filter(|(_, busy)| *busy >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_is_stuck_is_named() {
        let (idle, busy) = (Pulse::new("idle"), Pulse::new("busy"));
        let watchdog = Watchdog::new([idle, busy.clone()]);
        let patience = Duration::from_secs(60);
        let later = Instant::now() + 2 * patience;
        assert_eq!(watchdog.stuck(patience, later), None);
        let work = busy.busy();
        assert_eq!(watchdog.stuck(patience, Instant::now()), None);
        assert_eq!(watchdog.stuck(patience, later).map(|(part, _)| part), Some("busy"));
        drop(work);
        assert_eq!(watchdog.stuck(patience, later), None);
    }
}
