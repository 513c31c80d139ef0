//! Puts the parts together: data directory, database, endpoint, web.

use crate::database::commands::Starting;
use crate::database::{Database, DbError};
use crate::endpoint::{Endpoint, EndpointError};
use crate::identity::{Authority, IdentityError};
use crate::web::{Web, WebError};
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Held by the hub that runs on a data directory.
const RUN_LOCK: &str = "run.lock";

/// What the server certificate always names: clients on this machine need no `--name`.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of certificates and database; made if missing.
    pub data: PathBuf,
    /// Address for devices.
    pub listen: SocketAddr,
    /// Address for the page and the API; loopback.
    pub web: SocketAddr,
    /// Names and addresses that devices use for this hub.
    pub names: Vec<String>,
}

/// Where the hub serves.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// Address for devices.
    pub mqtt: SocketAddr,
    /// Address for the page and the API.
    pub web: SocketAddr,
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
    /// The devices' endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The page and the API.
    #[error(transparent)]
    Web(#[from] WebError),
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
    let authority = Authority::open(&config.data, now_ms())?;
    let _lock = lock(&config.data)?;
    let (database, writer) = Database::start(&config.data)?;
    let identity = authority.server(&hosts(&config), now_ms())?;
    let endpoint = Endpoint::start(config.listen, identity, database.clone()).await?;
    database.write(Starting { address: address(&config, endpoint.address()) }).await?;
    let web_address = web.address();
    let web = web.serve(database.clone(), &endpoint);
    ready(Ready { mqtt: endpoint.address(), web: web_address });
    stop.await;
    tracing::info!("stopping");
    web.stop().await;
    endpoint.stop().await;
    database.stop().await;
    let _ = tokio::task::spawn_blocking(move || writer.join()).await;
    Ok(())
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
    if !config.listen.ip().is_unspecified() {
        hosts.push(config.listen.ip().to_string());
    }
    hosts.extend(config.names.iter().cloned());
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Where devices are told to connect, unless `enroll` is told otherwise.
fn address(config: &Config, listening: SocketAddr) -> String {
    let host = match config.names.first() {
        Some(name) => name.clone(),
        None if listening.ip().is_unspecified() => "localhost".to_owned(),
        None => listening.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{host}:{}", listening.port())
}
