//! The running agent: starts its parts in order, and stops them in order.
//!
//! Start: configuration, models, store, intakes, sync. Stop: intakes, what has begun, sync,
//! store. Invariants: a missing hub, link or model package never keeps the agent from deciding;
//! at a graceful stop, whoever was promised a reply gets it.

mod announce;
pub(crate) mod memory;
mod open;
mod renewal;
mod run_file;
mod timekeeping;

pub(crate) use announce::announce_tasks;
pub(crate) use memory::give_back;
pub use open::{Opened, StartError, open, open_to_serve, tasks};
pub use run_file::RunFile;
pub(crate) use run_file::replace;

use crate::clock::Clock;
use crate::config::Config;
use crate::courier::Courier;
use crate::http::{self, App, Socket};
use crate::link::Uplink;
use crate::pipeline::Pipeline;
use crate::release::{Desk, DeskConfig, DeskStatus, Gate};
use crate::reporting::Reporting;
use crate::spool::Spool;
use crate::stamp::wall_ms;
use crate::store::Store;
use crate::sync::{Identity, LinkStatus, Sync, SyncConfig, Wallet};
use landfall_systemd::Watchdog;
use landfall_wire::id::{DeviceId, ShortDigest};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a graceful stop may take before what has not ended is abandoned: less than the 90 s
/// after which systemd kills. Nothing acknowledged is lost by that; it is durable already.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether a start can be made known that could not be: as often as a
/// closed store is tried again.
const KNOWN_EVERY: Duration = Duration::from_secs(5);

/// Runtime threads: one waits on sockets while the other writes; models have their own.
const RUNTIME_THREADS: usize = 2;

/// What status pages show beyond pipeline and store.
#[derive(Clone)]
pub struct Overview {
    /// Random, made at each start.
    pub instance: String,
    /// The device's name, with an identity.
    pub device: Option<DeviceId>,
    /// Digest of the configuration.
    pub config: ShortDigest,
    /// Wall clock of the start, milliseconds since 1970.
    pub started_ms: u64,
    /// The start.
    pub started: Instant,
    /// The time.
    pub clock: Arc<Clock>,
    /// What a person should look at.
    pub faults: Arc<[String]>,
    /// What releases run, and which is on its way.
    pub releases: watch::Receiver<DeskStatus>,
    /// The ways to the hub.
    pub uplink: Uplink,
    /// What the hub asks for.
    pub reporting: Reporting,
    link: watch::Receiver<Option<LinkStatus>>,
}

impl Overview {
    /// The state of the link, if the agent has a hub.
    pub fn link(&self) -> Option<LinkStatus> {
        self.link.borrow().clone()
    }

    /// The state in one line, for `systemctl status`.
    fn line(&self, store: &Store) -> String {
        let link = self.link().map_or("no hub", |link| link.state.name());
        let waiting = store.status().backlog();
        let faults = match self.faults.len() {
            0 => String::new(),
            count => format!(", {count} fault(s): see `landfall-agent status`"),
        };
        format!("link: {link}, {waiting} records wait for the hub{faults}")
    }
}

/// The intakes of a started agent.
struct Intakes {
    http: Option<(SocketAddr, JoinHandle<std::io::Result<()>>)>,
    spool: Option<JoinHandle<()>>,
}

/// Makes the runtime that agent and command line share.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("agent")
        .enable_all()
        .build()
}

/// Runs until SIGTERM or SIGINT. `ready` is called once, with the HTTP address, when requests
/// are taken. Blocking.
///
/// # Errors
/// [`StartError`]: what kept it from starting.
pub fn run(config: Config, ready: impl FnOnce(Option<SocketAddr>)) -> Result<(), StartError> {
    let runtime = runtime().map_err(StartError::system("start threads"))?;
    let done = runtime.block_on(serve(config, ready));
    // A worker that is stuck in a system call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(config: Config, ready: impl FnOnce(Option<SocketAddr>)) -> Result<(), StartError> {
    // Before anything else, so that a signal during the start stops it gracefully too.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(StartError::system("take signals"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(StartError::system("take signals"))?;
    let Opened { config, pipeline, models, clock, mut faults } =
        tokio::task::spawn_blocking(|| open_to_serve(config))
            .await
            .map_err(StartError::panicked)??;
    let store = pipeline.store().clone();
    let wallet = config
        .hub
        .as_ref()
        .map(|hub| Arc::new(Wallet::new(&hub.identity, &config.data_dir, Arc::clone(&clock))));
    let identity = load_identity(&config, wallet.as_deref(), &mut faults);
    let (stop, stopping) = watch::channel(false);
    let (link_out, link) = watch::channel(None);
    let (releases_out, releases) = watch::channel(DeskStatus::default());
    let limits = config.tasks.iter();
    let limits =
        limits.filter_map(|task| Some((task.settings.name.clone(), task.report_class_max?)));
    let overview = Overview {
        instance: instance(),
        device: identity.as_ref().map(|(identity, _)| identity.device.clone()),
        config: config.digest,
        started_ms: clock.now_ms(),
        started: Instant::now(),
        clock: Arc::clone(&clock),
        faults: faults.into(),
        releases,
        uplink: Uplink::open(&config.links, &config.data_dir, Arc::clone(&clock)),
        reporting: Reporting::open(&store, limits),
        link,
    };
    let wallet = wallet.filter(|_| identity.is_some());
    let courier = wallet.as_ref().and_then(|wallet| {
        let opened = Courier::open(store.clone(), Arc::clone(wallet));
        opened.inspect_err(|error| tracing::warn!(%error, "no parcels for a courier")).ok()
    });
    let courier = courier.map(Arc::new);
    let app = App { pipeline: pipeline.clone(), overview: overview.clone(), courier, stopping };
    let intakes = start_intakes(&config, &app).await?;
    let http = intakes.http.as_ref().map(|(address, _)| *address);
    let timekeeping = tokio::spawn(timekeeping::keep(Arc::clone(&clock), store.clone()));
    let names = pipeline.served().tasks.keys().cloned().collect();
    let reports = overview.reporting.clone();
    let reporting = reports.run(store.clone(), Arc::clone(&clock), config.data_dir.clone(), names);
    tokio::spawn(reporting);
    let config = Arc::new(config);
    let parts = DeskConfig {
        config: Arc::clone(&config),
        wallet: wallet.clone(),
        clock: Arc::clone(&clock),
        models,
        pipeline: pipeline.clone(),
        gate: Gate::of(overview.uplink.clone()),
    };
    let releases = Desk::start(parts, releases_out)
        .inspect_err(|error| tracing::error!(%error, "no release can be taken"))
        .ok();
    let mut keeping = vec![timekeeping];
    let sync = identity.zip(wallet).map(|((identity, sync_config), wallet)| {
        let rules = pipeline.rules().clone();
        let (its_wallet, device) = (Arc::clone(&wallet), identity.device.clone());
        keeping.push(tokio::spawn(rules.follow(pipeline.clone(), its_wallet, device)));
        let renewing = renewal::keep(Arc::clone(&wallet), store.clone());
        keeping.push(tokio::spawn(renewing));
        let ways = (overview.uplink.clone(), overview.reporting.clone());
        let hub = sync_config.address.clone().unwrap_or_else(|| identity.hub.clone());
        let sync = Sync::start(store.clone(), (hub, wallet), sync_config, ways);
        tokio::spawn(forward(sync.status(), link_out));
        sync
    });
    let mut started = Started {
        pipeline: pipeline.clone(),
        data_dir: config.data_dir.clone(),
        config: config.digest,
        clock: Arc::clone(&clock),
        run: RunFile { pid: std::process::id(), http, instance: overview.instance.clone() },
        announced: false,
        known: false,
    };
    if !started.make_known().await {
        tokio::spawn(started.make_known_later());
    }
    ready(http);
    landfall_systemd::ready();
    let parts = pipeline.pulses().into_iter().chain(sync.as_ref().map(Sync::pulse));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = Watchdog::new(parts).feed(|| overview.line(&store)) => {}
    }
    tracing::info!("stopping");
    landfall_systemd::stopping();
    let stopped = stop_all(stop, intakes, (sync, releases), &pipeline);
    if tokio::time::timeout(STOP_MAX, stopped).await.is_err() {
        tracing::warn!(secs = STOP_MAX.as_secs(), "not everything ended in time; left it");
    }
    keeping.iter().for_each(JoinHandle::abort);
    clock.remember();
    RunFile::remove(&config.data_dir);
    Ok(())
}

/// A start, of which the hub and the commands on this machine are to know.
struct Started {
    pipeline: Pipeline,
    data_dir: PathBuf,
    config: ShortDigest,
    clock: Arc<Clock>,
    run: RunFile,
    announced: bool,
    known: bool,
}

impl Started {
    /// Says whether all is done: not on a disk that takes nothing.
    async fn make_known(&mut self) -> bool {
        let Started { pipeline, data_dir, config, clock, run, .. } = self;
        if !self.announced {
            let served = pipeline.served();
            let tasks = served.tasks.values();
            let (store, at_ms) = (pipeline.store(), clock.now_ms());
            let announced = announce::announce(store, data_dir, at_ms, *config, tasks).await;
            if let Err(error) = &announced {
                tracing::warn!(%error, "the start is not announced to the hub yet");
            }
            self.announced = announced.is_ok();
        }
        if !self.known {
            let written = run.write(data_dir);
            if let Err(error) = &written {
                let path = data_dir.display();
                tracing::warn!(%error, %path, "commands cannot find this agent yet: run.json");
            }
            self.known = written.is_ok();
        }
        self.announced && self.known
    }

    async fn make_known_later(mut self) {
        loop {
            tokio::time::sleep(KNOWN_EVERY).await;
            let is_well = self.pipeline.store().status().refusing.is_none();
            if is_well && self.make_known().await {
                return;
            }
        }
    }
}

async fn start_intakes(config: &Config, app: &App) -> Result<Intakes, StartError> {
    let mut intakes = Intakes { http: None, spool: None };
    if let Some(spool) = &config.spool {
        let spool = Spool::open(spool, app.pipeline.clone(), app.stopping.clone());
        let spool = spool.map_err(StartError::Spool)?;
        intakes.spool = Some(tokio::task::spawn_blocking(move || spool.run()));
    }
    if let Some(http) = &config.http {
        let bound = TcpListener::bind(http.listen).await;
        let listener = bound.map_err(|source| StartError::Listen { at: http.listen, source })?;
        let address = listener.local_addr().map_err(StartError::system("read a port"))?;
        let serve = http::serve(Socket::limited(listener), app.clone());
        intakes.http = Some((address, tokio::spawn(serve)));
    }
    Ok(intakes)
}

async fn stop_all(
    stop: watch::Sender<bool>,
    intakes: Intakes,
    (sync, releases): (Option<Sync>, Option<Desk>),
    pipeline: &Pipeline,
) {
    stop.send_replace(true);
    if let Some((_, http)) = intakes.http {
        match http.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the HTTP intake ended with an error"),
            Err(error) => tracing::error!(%error, "the HTTP intake ended unexpectedly"),
        }
    }
    if let Some(spool) = intakes.spool
        && let Err(error) = spool.await
    {
        tracing::error!(%error, "the spool ended unexpectedly; its files stay in place");
    }
    if let Some(sync) = sync {
        sync.stop().await;
    }
    if let Some(releases) = releases {
        releases.stop().await;
    }
    pipeline.store().close().await;
}

/// Without a usable identity the agent decides and queues; the hub hears of it later.
fn load_identity(
    config: &Config,
    wallet: Option<&Wallet>,
    faults: &mut Vec<String>,
) -> Option<(Identity, SyncConfig)> {
    let hub = config.hub.as_ref()?;
    let (address, keep_alive) = (hub.address.clone(), hub.keep_alive);
    let sync = SyncConfig { address, keep_alive, ..SyncConfig::default() };
    match wallet?.pick() {
        Ok((identity, _)) => Some((identity, sync)),
        Err(error) => {
            let remedy = error.remedy();
            tracing::error!(%error, remedy, "no identity for the hub; records are only queued");
            faults.push(format!("no link to the hub: {error}; {remedy}"));
            None
        }
    }
}

async fn forward(mut from: watch::Receiver<LinkStatus>, to: watch::Sender<Option<LinkStatus>>) {
    loop {
        to.send_replace(Some(from.borrow_and_update().clone()));
        if from.changed().await.is_err() {
            return;
        }
    }
}

fn instance() -> String {
    // Without randomness the start time still tells instances apart.
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| wall_ms()))
}
