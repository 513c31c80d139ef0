//! What agent and hub tell systemd, and nothing where there is none.
//!
//! * [`ready`] and [`stopping`]: for `Type=notify`.
//! * [`Watchdog`]: tells it that the service is alive, as long as each of its parts is; a
//!   [`Pulse`] is how a part shows that.
//! * [`log_to_stderr`]: log lines, with the priority that the journal understands; [`recent`] has
//!   the last warnings and errors.
//!
//! A systemd that does not listen never keeps the service from working.

mod log;
mod pulse;
mod recent;
mod watchdog;

pub use log::log_to_stderr;
pub use pulse::{Busy, Pulse};
pub use recent::{Line, recent};
pub use watchdog::Watchdog;

use sd_notify::NotifyState;

/// The service takes requests.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The service ends, as it was asked to.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
