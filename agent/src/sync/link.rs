//! The state of the link, for status pages and the log.

use super::trouble::Trouble;
use crate::stamp::wall_ms;
use landfall_systemd::Pulse;
use tokio::sync::watch;

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected.
    Offline,
    /// Connecting or greeting.
    Connecting,
    /// The hub has answered the greeting.
    Online,
}

impl LinkState {
    /// A name for status pages.
    pub fn name(self) -> &'static str {
        match self {
            LinkState::Offline => "offline",
            LinkState::Connecting => "connecting",
            LinkState::Online => "online",
        }
    }
}

/// The link at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// `host:port` of the hub.
    pub hub: String,
    /// Where the link stands.
    pub state: LinkState,
    /// Since when it is online or not, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why the last connection failed or ended, with a remedy.
    pub last_error: Option<String>,
    /// Connections made since the start.
    pub connections: u64,
    /// Bytes of frames sent since the start.
    pub bytes_up: u64,
    /// Bytes of frames received since the start.
    pub bytes_down: u64,
}

/// Keeps the status, and logs once per change of state.
pub(super) struct Link {
    status: watch::Sender<LinkStatus>,
    logged: Option<Trouble>,
    pulse: Pulse,
}

impl Link {
    pub(super) fn new(hub: String) -> Link {
        let status = watch::Sender::new(LinkStatus {
            hub,
            state: LinkState::Offline,
            since_ms: wall_ms(),
            last_error: None,
            connections: 0,
            bytes_up: 0,
            bytes_down: 0,
        });
        Link { status, logged: None, pulse: Pulse::new("sync") }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    /// Of the task that keeps the link.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    pub(super) fn is_online(&self) -> bool {
        self.status.borrow().state == LinkState::Online
    }

    pub(super) fn connecting(&self) {
        self.status.send_modify(|status| status.state = LinkState::Connecting);
    }

    /// No link may be used now.
    pub(super) fn waits(&self) {
        self.status.send_modify(|status| {
            if status.state == LinkState::Online {
                status.since_ms = wall_ms();
            }
            status.state = LinkState::Offline;
            status.last_error = None;
        });
    }

    pub(super) fn online(&mut self) {
        self.logged = None;
        self.status.send_modify(|status| {
            status.state = LinkState::Online;
            status.since_ms = wall_ms();
            status.connections += 1;
            tracing::info!(hub = status.hub, "the hub is connected");
        });
    }

    pub(super) fn offline(&mut self, trouble: &Trouble, was_online: bool) {
        self.status.send_modify(|status| {
            status.state = LinkState::Offline;
            if was_online {
                status.since_ms = wall_ms();
            }
            status.last_error = Some(trouble.line());
        });
        // The same trouble at every try is news only once.
        if self.logged.as_ref() != Some(trouble) {
            let remedy = trouble.remedy.unwrap_or("none needed, it is tried again");
            tracing::warn!(
                trouble = trouble.what,
                remedy,
                "the hub is not connected; records wait in the store"
            );
            self.logged = Some(trouble.clone());
        }
    }

    pub(super) fn stopped(&self) {
        self.status.send_modify(|status| {
            status.state = LinkState::Offline;
            status.since_ms = wall_ms();
        });
    }

    pub(super) fn count(&self, up: usize, down: usize) {
        self.status.send_modify(|status| {
            status.bytes_up += up as u64;
            status.bytes_down += down as u64;
        });
    }
}
