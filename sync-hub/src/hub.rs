//! Puts the parts together: data directory, database, endpoint or broker, web.

use crate::alarms::{self, AlarmsConfig};
use crate::broker::{Broker, BrokerConfig, BrokerStatus};
use crate::database::commands::Starting;
use crate::database::{Database, DbError, Source, SourceError};
use crate::desk::{Desk, DeskConfig, Times};
use crate::endpoint::{Endpoint, EndpointError};
use crate::exchange::{Exchange, Shared, peers};
use crate::identity::{Authority, IdentityError, renewals};
use crate::releases::driver::drive;
use crate::releases::files::{Files, FilesError};
use crate::retention;
use crate::rules;
use crate::web::{Around, Web, WebError, WebFiles, WebIdentity};
use landfall_systemd::Watchdog;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};

/// Held by the hub that runs on a data directory.
const RUN_LOCK: &str = "run.lock";

/// What the server certificate always names: clients on this machine need no `--name`.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of certificates, and of the database if it is a file; made if missing.
    pub data: PathBuf,
    /// Where the database is.
    pub database: Source,
    /// Where devices are met.
    pub devices: DevicesAt,
    /// Address for the page and the API; another one than loopback is served over TLS.
    pub web: SocketAddr,
    /// Where files of releases are handed to devices, if they are.
    pub files: Option<SocketAddr>,
    /// Certificate of the page, if it is not from the hub's own authority.
    pub web_files: Option<WebFiles>,
    /// Who is asked, beside people.
    pub desk: DeskConfig,
    /// What is an alarm, and who is told.
    pub alarms: AlarmsConfig,
    /// Names and addresses that devices use for this hub.
    pub names: Vec<String>,
    /// Days that outcomes are kept; for ever if not given.
    pub outcomes_days: Option<u32>,
}

/// Where devices are met.
#[derive(Debug, Clone)]
pub enum DevicesAt {
    /// At the hub's own endpoint, listening here.
    Endpoint(SocketAddr),
    /// Behind a broker.
    Broker(BrokerConfig),
}

/// Where the hub serves.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where devices are met: the address of the hub's endpoint, or of the broker.
    pub devices: Met,
    /// Address for the page and the API.
    pub web: SocketAddr,
    /// Where files of releases are handed out, if they are.
    pub files: Option<SocketAddr>,
    /// Whether that is served over TLS.
    pub tls: bool,
}

/// Where devices are met by a running hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// At the hub's own endpoint.
    Endpoint(SocketAddr),
    /// Behind a broker, which may not be connected yet: `HOST:PORT`.
    Broker(String),
}

/// What meets devices.
enum Doors {
    Endpoint(Endpoint),
    Broker(Broker),
}

/// The hub could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Another hub has the data directory.
    #[error("another hub runs on {}", .0.display())]
    Running(PathBuf),
    /// The data directory cannot be used.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Where it is cannot be noted.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The devices' endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The page and the API.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The files of releases.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The desk.
    #[error("the desk cannot start: {0}")]
    Desk(String),
}

/// Wall clock, milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

/// Serves until `stop` resolves, then ends connections and waits for the last commit.
/// `ready` is called once, when both addresses are open.
///
/// # Errors
/// [`HubError`] if it cannot start.
pub async fn serve(
    config: Config,
    ready: impl FnOnce(Ready),
    stop: impl Future<Output = ()>,
) -> Result<(), HubError> {
    // The cheap refusals first.
    let web = Web::bind(config.web).await?;
    if !config.web.ip().is_loopback() && config.database.is_missing(&config.data) {
        return Err(WebError::NoAccounts(config.web).into());
    }
    let authority = Arc::new(Authority::open(&config.data, now_ms())?);
    let _lock = lock(&config.data)?;
    let (database, writer) = start_database(config.database.clone()).await?;
    config.database.remember(&config.data)?;
    // A new name with every start: what the last one left behind is nobody's.
    let name = format!("{:016x}", getrandom::u64().map_err(IdentityError::from)?);
    let on_server = matches!(config.database, Source::Postgres(_));
    let behind_broker = matches!(config.devices, DevicesAt::Broker(_));
    let shared = Shared { database: on_server, frames: on_server && behind_broker };
    let exchange = Exchange::new(database.clone(), &name, shared);
    let doors = Doors::open(&config, &authority, Arc::clone(&exchange)).await?;
    let files = open_files(&config, &authority, &database).await?;
    let files_at = files.as_ref().map(Files::address);
    let files_address = files_at.map(|at| address(&config, &Met::Endpoint(at)));
    let starting = Starting { address: address(&config, &doors.met()), files: files_address };
    database.write(starting).await?;
    let driving = tokio::spawn(drive(database.clone(), Arc::clone(&exchange.wake)));
    let ruling =
        rules::driver::drive(database.clone(), Arc::clone(&authority), Arc::clone(&exchange.wake));
    let ruling = tokio::spawn(ruling);
    let watching = alarms::driver::drive(database.clone(), config.alarms.clone());
    let watching = tokio::spawn(watching);
    let peers = shared.database.then(|| tokio::spawn(peers::keep(Arc::clone(&exchange))));
    let renewing = renewals::keep(Arc::clone(&authority), Arc::clone(&exchange));
    let renewing = tokio::spawn(renewing);
    let web_address = web.address();
    let look = Arc::new(Notify::new());
    let around = Around {
        broker: doors.broker(),
        look: Arc::clone(&look),
        times: Times { undo_ms: config.desk.undo_ms, claim_ms: config.desk.claim_ms },
        identity: web_identity(&config, &authority)?,
    };
    let tls = around.identity.is_some();
    let web = web.serve(&exchange, around).await?;
    let desk =
        Desk::start(&exchange, Arc::new(config.desk.clone()), look).map_err(HubError::Desk)?;
    ready(Ready { devices: doors.met(), web: web_address, files: files_at, tls });
    landfall_systemd::ready();
    let retention = config.outcomes_days.map(|days| retention::keep(database.clone(), days));
    let retention = retention.map(tokio::spawn);
    tokio::select! {
        () = stop => {}
        () = Watchdog::new([database.pulse()]).feed(|| format!("page at {web_address}")) => {}
    }
    tracing::info!("stopping");
    landfall_systemd::stopping();
    driving.abort();
    ruling.abort();
    watching.abort();
    drop(files);
    if let Some(retention) = retention {
        retention.abort();
    }
    renewing.abort();
    web.stop().await;
    desk.stop().await;
    doors.close().await;
    if let Some(peers) = peers {
        peers.abort();
        peers::leave(&exchange).await;
    }
    database.stop().await;
    let _ = tokio::task::spawn_blocking(move || writer.join()).await;
    Ok(())
}

/// What the page proves itself with: nothing on loopback, unless files are named.
fn web_identity(config: &Config, authority: &Authority) -> Result<Option<WebIdentity>, HubError> {
    if let Some(files) = &config.web_files {
        return files.read().map(Some).map_err(|error| WebError::Certificate(error).into());
    }
    if config.web.ip().is_loopback() {
        return Ok(None);
    }
    let server = authority.server(&hosts(config), now_ms())?;
    Ok(Some(WebIdentity { certificates: vec![server.certificate], key: server.key }))
}

async fn start_database(source: Source) -> Result<(Database, JoinHandle<()>), DbError> {
    let started = tokio::task::spawn_blocking(move || Database::start(&source)).await;
    started.unwrap_or(Err(DbError::Panicked))
}

async fn open_files(
    config: &Config,
    authority: &Authority,
    database: &Database,
) -> Result<Option<Files>, HubError> {
    let Some(listen) = config.files else { return Ok(None) };
    let identity = authority.server(&hosts(config), now_ms())?;
    Ok(Some(Files::start(listen, &identity, &config.data, database.clone()).await?))
}

impl Doors {
    async fn open(
        config: &Config,
        authority: &Arc<Authority>,
        exchange: Arc<Exchange>,
    ) -> Result<Doors, HubError> {
        Ok(match &config.devices {
            DevicesAt::Endpoint(listen) => {
                let identity = authority.server(&hosts(config), now_ms())?;
                Doors::Endpoint(
                    Endpoint::start(*listen, &identity, Arc::clone(authority), exchange).await?,
                )
            }
            DevicesAt::Broker(broker) => {
                Doors::Broker(Broker::start(broker.clone(), exchange).await?)
            }
        })
    }

    fn met(&self) -> Met {
        match self {
            Doors::Endpoint(endpoint) => Met::Endpoint(endpoint.address()),
            Doors::Broker(broker) => Met::Broker(broker.status().borrow().address.clone()),
        }
    }

    fn broker(&self) -> Option<watch::Receiver<BrokerStatus>> {
        match self {
            Doors::Endpoint(_) => None,
            Doors::Broker(broker) => Some(broker.status()),
        }
    }

    async fn close(self) {
        match self {
            Doors::Endpoint(endpoint) => endpoint.stop().await,
            Doors::Broker(broker) => broker.stop().await,
        }
    }
}

/// Whether a hub runs on a data directory.
pub fn is_running(data: &Path) -> bool {
    let Ok(file) = File::open(data.join(RUN_LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn lock(data: &Path) -> Result<File, HubError> {
    let path = data.join(RUN_LOCK);
    let failed = |source| HubError::Lock { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HubError::Running(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Every name that the server certificate must have.
fn hosts(config: &Config) -> Vec<String> {
    let mut hosts: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    // One certificate serves both, so that it is not issued anew for each.
    let endpoint = match config.devices {
        DevicesAt::Endpoint(at) => Some(at),
        DevicesAt::Broker(_) => None,
    };
    let listens = [Some(config.web), config.files, endpoint].into_iter().flatten();
    let known = listens.map(|at| at.ip()).filter(|ip| !ip.is_unspecified());
    hosts.extend(known.map(|ip| ip.to_string()));
    hosts.extend(config.names.iter().cloned());
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Where devices are told to connect, unless `enroll` is told otherwise.
fn address(config: &Config, met: &Met) -> String {
    let (host, port) = match (met, config.names.first()) {
        (Met::Endpoint(at), Some(name)) => (name.clone(), at.port().to_string()),
        (Met::Endpoint(at), None) if at.ip().is_unspecified() => {
            ("localhost".to_owned(), at.port().to_string())
        }
        (Met::Endpoint(at), None) => (at.ip().to_string(), at.port().to_string()),
        (Met::Broker(at), None) => return at.clone(),
        (Met::Broker(at), Some(name)) => {
            (name.clone(), at.rsplit_once(':').map_or(at.as_str(), |(_, port)| port).to_owned())
        }
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{port}")
}
