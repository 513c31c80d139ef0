//! The link to the hub: connects, lets the session of `landfall-agent-core` decide, and
//! connects again when it fails. A hub that cannot be reached is a state, never an error.
//!
//! * `identity`: who the device is, checked when loaded; `enroll`: how it becomes that.
//! * `connection`: one connection, from CONNECT to its end.
//! * `link`: the state for status pages, logged once per change.
//! * `wallet`: the certificates of the device, of which the newest is used.
//! * `trouble`: what failed, in words, with a remedy.
//! * `verifier`: the hub's certificate, judged by the time as the device knows it.

mod connection;
mod enroll;
mod identity;
mod link;
mod trouble;
mod verifier;
mod wallet;

pub use enroll::{EnrollError, enroll};
pub(crate) use identity::roots;
pub use identity::{Identity, IdentityError, Validity, split_address};
pub use link::{LinkState, LinkStatus};
pub use wallet::{Place, Wallet};

use crate::link::Uplink;
use crate::reporting::Reporting;
use crate::store::Store;
use connection::{Ended, Over};
use landfall_systemd::Pulse;
use landfall_wire::backoff::Backoff;
use link::Link;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trouble::Trouble;

/// What a failure to connect to `hub` means, and what to do about it.
pub(crate) fn told(error: std::io::Error, hub: &str) -> (String, &'static str) {
    Trouble::of_io(error, hub)
}

/// How the sync behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncConfig {
    /// `host:port` of the hub; `None` takes the one of the identity's bundle.
    pub address: Option<String>,
    /// MQTT keep-alive: a ping waits behind data on a slow link, so 60 to 120 s.
    pub keep_alive: Duration,
    /// First pause before connecting again; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause before connecting again.
    pub retry_max: Duration,
}

impl Default for SyncConfig {
    fn default() -> SyncConfig {
        SyncConfig {
            address: None,
            keep_alive: Duration::from_secs(60),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
        }
    }
}

/// The running sync. Dropping it ends the connection without a goodbye.
pub struct Sync {
    status: watch::Receiver<LinkStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    pulse: Pulse,
}

impl Sync {
    /// Starts syncing `store` over `uplink` in the background; a hub that cannot be reached is no
    /// error. Needs a tokio runtime.
    pub fn start(
        store: Store,
        (hub, wallet): (String, Arc<Wallet>),
        config: SyncConfig,
        (uplink, reporting): (Uplink, Reporting),
    ) -> Sync {
        let link = Link::new(hub);
        let status = link.subscribe();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(uplink.clone().watch(stopped.clone()));
        let pulse = link.pulse();
        let kept = keep_connected(Hub { store, wallet, config, reporting }, uplink, link, stopped);
        let task = tokio::spawn(pulse.clone().of(kept));
        Sync { status, stop, task, pulse }
    }

    /// The state of the link, as it changes.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Whether the sync gets on; waiting for the link is no work.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Writes the acknowledgements that came, disconnects and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if (&mut self.task).await.is_err() {
            tracing::error!("the sync ended abnormally");
        }
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a connection is made of.
struct Hub {
    store: Store,
    wallet: Arc<Wallet>,
    config: SyncConfig,
    reporting: Reporting,
}

async fn keep_connected(hub: Hub, uplink: Uplink, mut link: Link, mut stop: watch::Receiver<bool>) {
    let ms = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let mut backoff = Backoff::new(ms(hub.config.retry_min), ms(hub.config.retry_max));
    let mut changes = uplink.changes();
    while !*stop.borrow() {
        changes.mark_unchanged();
        let Some(way) = uplink.way() else {
            link.waits();
            tokio::select! {
                _ = changes.changed() => continue,
                () = connection::stopped(&mut stop) => break,
            }
        };
        link.connecting();
        let over = Over { uplink: &uplink, way };
        let ended = match hub.wallet.pick() {
            Ok((identity, place)) => {
                let ended = connection::run(&hub, &identity, &over, &mut link, &mut stop).await;
                match &ended {
                    Ended::Failed { was_online: false, .. } => hub.wallet.not_welcomed(place),
                    Ended::Stopped | Ended::Moved if !link.is_online() => {}
                    Ended::Failed { .. } | Ended::Stopped | Ended::Moved => {
                        hub.wallet.welcomed(place);
                    }
                }
                ended
            }
            Err(error) => {
                let trouble = Trouble::new(format!("{error}; {}", error.remedy()));
                Ended::Failed { trouble, was_online: false }
            }
        };
        match ended {
            Ended::Stopped => break,
            Ended::Moved => backoff.succeeded(),
            Ended::Failed { trouble, was_online } => {
                link.offline(&trouble, was_online);
                if was_online {
                    backoff.succeeded();
                }
                // Without random numbers every device waits the same: no harm to this one.
                let pause = backoff.failed(getrandom::u32().unwrap_or(u32::MAX));
                let pause = tokio::time::sleep(Duration::from_millis(pause));
                tokio::select! {
                    () = pause => {}
                    _ = changes.changed() => backoff.succeeded(),
                    () = connection::stopped(&mut stop) => {}
                }
            }
        }
    }
    link.stopped();
    uplink.close().await;
}
