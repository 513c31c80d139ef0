//! Devices behind an external MQTT broker, instead of at the hub's own endpoint.
//!
//! The hub is one client of the broker. It subscribes to what every device sends, shared, so
//! that several hubs could divide the work, and publishes to each device's down topic. Frames,
//! sessions and commits are those of [`crate::exchange`]; only who carries them is another.
//!
//! What the broker must do: let in who has a certificate of the hub's authority, take the CN for
//! the name, and keep each device to its own two topics. `landfall-hub broker-config` writes a
//! configuration that does. The hub believes the device's name in the topic for that reason
//! alone.
//!
//! What the broker need not do: keep anything. Its acknowledgements prove nothing, and a broker
//! that forgets everything at any moment loses nothing: records leave a device's store only on
//! the hub's own word. MQTT is a transport without memory here, with a fresh client and fresh
//! sessions for each connection.
//!
//! The hub does not see devices connect. One is *here* from its first frame until it has been
//! silent for long and did not answer a call ([`limits::SILENCE_MAX`]). When the hub has
//! (again) subscribed, it calls the roll: each device that is connected to the broker greets.
//!
//! * `link`: one connection to the broker, from CONNECT to its end.
//! * `seats`: which device's frames go where, and what is not listened to.
//! * `seat`: one device that is here.
//! * `trouble`: what failed, in words.
//! * [`mosquitto`], [`emqx`]: configuration files for them.

pub mod emqx;
pub mod limits;
mod link;
pub mod mosquitto;
mod seat;
mod seats;
mod trouble;

use crate::database::DbError;
use crate::exchange::{self, Exchange, count};
use crate::identity::HubAddress;
use landfall_wire::backoff::Backoff;
use link::Ended;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trouble::Trouble;

/// The broker to use.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where it listens.
    pub address: HubAddress,
    /// How the hub knows it, and shows who it is.
    pub tls: Arc<rustls::ClientConfig>,
    /// The hub's name there. One that is configured by us takes the certificate's name instead.
    pub user: String,
}

/// The connection to the broker at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerStatus {
    /// `HOST:PORT`.
    pub address: String,
    /// Whether the hub has subscribed there.
    pub connected: bool,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why not, with a remedy.
    pub last_error: Option<String>,
}

/// The hub's side of a broker, running.
#[derive(Debug)]
pub struct Broker {
    exchange: Arc<Exchange>,
    status: watch::Receiver<BrokerStatus>,
    stop: watch::Sender<bool>,
    watcher: JoinHandle<()>,
    task: JoinHandle<()>,
}

impl Broker {
    /// Connects in the background; a broker that cannot be reached is a state, no error.
    ///
    /// # Errors
    /// [`DbError`] if the database cannot be read.
    pub(crate) async fn start(
        config: BrokerConfig,
        exchange: Arc<Exchange>,
    ) -> Result<Broker, DbError> {
        let watcher = exchange::watcher(&exchange).await?;
        let watcher = tokio::spawn(exchange::watch(Arc::clone(&exchange), watcher));
        let sender = watch::Sender::new(BrokerStatus {
            address: config.address.to_string(),
            connected: false,
            since_ms: crate::hub::now_ms(),
            last_error: None,
        });
        let status = sender.subscribe();
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper { config, exchange: Arc::clone(&exchange), status: sender };
        let task = tokio::spawn(keeper.keep_connected(stopped));
        Ok(Broker { exchange, status, stop, watcher, task })
    }

    /// The state of the connection, as it changes.
    pub fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.clone()
    }

    /// Ends all conversations and disconnects. What they handed to the database is committed.
    pub(crate) async fn stop(self) {
        self.watcher.abort();
        self.exchange.registry.stop();
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Keeps the connection up.
struct Keeper {
    config: BrokerConfig,
    exchange: Arc<Exchange>,
    status: watch::Sender<BrokerStatus>,
}

impl Keeper {
    async fn keep_connected(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(limits::RETRY_MIN_MS, limits::RETRY_MAX_MS);
        let mut logged: Option<Trouble> = None;
        while !*stop.borrow() {
            let online = || {
                count(&self.exchange.counters.broker_connections);
                self.show(true, None);
                tracing::info!(broker = %self.config.address, "connected to the broker");
            };
            let trouble = match link::run(&self.config, &self.exchange, online, &mut stop).await {
                Ended::Stopped => break,
                Ended::Failed(trouble) => trouble,
            };
            let was_online = self.status.borrow().connected;
            self.show(false, Some(&trouble));
            if was_online {
                backoff.succeeded();
            }
            // The same trouble at every try is news only once.
            if was_online || logged.as_ref() != Some(&trouble) {
                tracing::warn!(
                    broker = %self.config.address, trouble = trouble.what, remedy = trouble.remedy,
                    "the broker is not connected; devices keep their records meanwhile"
                );
                logged = Some(trouble);
            }
            // Without random numbers every hub waits the same: no harm to this one.
            let pause = backoff.failed(getrandom::u32().unwrap_or(u32::MAX));
            let pause = tokio::time::sleep(Duration::from_millis(pause));
            tokio::select! {
                () = pause => {}
                () = stopped(&mut stop) => {}
            }
        }
        self.show(false, None);
    }

    fn show(&self, connected: bool, trouble: Option<&Trouble>) {
        self.status.send_modify(|status| {
            if status.connected != connected {
                status.since_ms = crate::hub::now_ms();
            }
            status.connected = connected;
            status.last_error = trouble.map(Trouble::line);
        });
    }
}

/// Until asked to stop, or nobody is left to ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
