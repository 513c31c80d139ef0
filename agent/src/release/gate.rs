//! Whether the link lets files through, how much of them, and what it is told of what came. Devices
//! of the site are asked either way: theirs is another network.

use crate::link::Uplink;
use landfall_agent_core::link::Files;
use std::time::Duration;
use tokio::runtime::Handle;

/// The link in use, as far as files go. The default lets everything through and counts nothing.
#[derive(Clone, Default)]
pub struct Gate(Option<(Uplink, Handle)>);

/// Leave to ask for a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Of so many bytes at most, over this link.
    Range { link: usize, bytes: u64 },
    /// Only after this pause: the link's rate.
    Pause(Duration),
    /// Nothing more before this wall clock: the day's budget.
    Until(u64),
    /// Not over this link.
    Closed,
}

impl Gate {
    /// That of a device's links. Needs a runtime.
    pub fn of(uplink: Uplink) -> Gate {
        Gate(Some((uplink, Handle::current())))
    }

    pub(super) fn leave(&self) -> Leave {
        let Some((uplink, _)) = &self.0 else { return Leave::Range { link: 0, bytes: u64::MAX } };
        match uplink.files() {
            Files::Range { link, bytes } => Leave::Range { link, bytes },
            Files::At(at_ms) => Leave::Pause(uplink.pause(at_ms)),
            Files::Until(until_ms) => Leave::Until(until_ms),
            Files::Closed => Leave::Closed,
        }
    }

    /// Whether anything may come over the link in use, now or in a moment.
    pub(super) fn is_open(&self) -> bool {
        match self.leave() {
            Leave::Range { .. } | Leave::Pause(_) => true,
            Leave::Until(_) | Leave::Closed => false,
        }
    }

    /// So many bytes came over a link, and so many that were asked for, or are about to be, did not
    /// yet. When this returns, that is written down as spent. Blocking, not on a thread of the
    /// runtime.
    pub(super) fn carried(&self, link: usize, bytes: u64, pending: u64) {
        if let Some((uplink, runtime)) = &self.0 {
            runtime.block_on(uplink.files_carried(link, bytes, pending));
        }
    }
}
