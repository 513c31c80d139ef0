//! Runs the machine: one input at a time; then the book durable, then the reports in the store,
//! then what is to be done. Long work is done beside it and comes back as an input.

use super::fetch::{Ended, Fetcher};
use super::gate::Gate;
use super::trial::{self, Candidate};
use super::{SiteError, SiteListener, blobs, book, directory};
use crate::clock::Clock;
use crate::config::Config;
use crate::pipeline::{ModelFailure, Models, NotFit, Pipeline};
use crate::service::{announce_tasks, give_back};
use crate::sync::Wallet;
use landfall_agent_core::release::{Act, Book, Effects, Entry, Input, OrderId, Releases, Stage};
use landfall_freight::blobs::{BlobError, Blobs};
use landfall_models::package::{SHIPPED_KEY, shipped_dirs};
use landfall_wire::directive::Directive;
use landfall_wire::id::Digest;
use landfall_wire::record::Event;
use landfall_wire::release::{ReleaseFault, ReleaseOrder, ReleaseRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Orders that wait: the hub keeps one for each package, and the machine takes them at once.
const ORDERS_MAX: usize = 64;

/// Pause before a book that could not be written, or a report that the store did not take, is
/// tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// How far the fetching of a release is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that the release has.
    pub bytes_total: u64,
    /// Bytes that are missing.
    pub bytes_missing: u64,
    /// Bytes that came from others since the start.
    pub bytes_fetched: u64,
    /// Why nothing comes, if nothing does.
    pub waits_for: Option<String>,
}

/// Releases at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeskStatus {
    /// What is remembered.
    pub book: Book,
    /// How far fetching is, if something is fetched.
    pub progress: Option<Progress>,
}

/// What the desk is made of.
pub struct DeskConfig {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who the device is; without one nobody is asked for files.
    pub wallet: Option<Arc<Wallet>>,
    /// What reports are stamped with.
    pub clock: Arc<Clock>,
    /// Every model that runs.
    pub models: Models,
    /// What decides.
    pub pipeline: Pipeline,
    /// What of files may come over the link.
    pub gate: Gate,
}

/// The running desk. Dropped, it ends as a killed agent does.
pub struct Desk {
    orders: mpsc::Sender<ReleaseOrder>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Desk {
    /// Starts it. `status` is told of every change. Needs a runtime.
    ///
    /// # Errors
    /// When the directory for files cannot be made.
    pub fn start(parts: DeskConfig, status: watch::Sender<DeskStatus>) -> Result<Desk, BlobError> {
        let data_dir = parts.config.data_dir.clone();
        let blobs = blobs(&data_dir)?;
        let loaded = book::load(&data_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "which releases were ordered is not known any more");
            if let Err(error) = book::set_aside(&data_dir) {
                tracing::error!(%error, "the book of releases cannot be set aside");
            }
            Book::default()
        });
        let (releases, first) = Releases::start(loaded, parts.clock.now_ms());
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (stop, stopping) = watch::channel(false);
        let (done, finished) = mpsc::unbounded_channel();
        let (progress, fetched) = watch::channel(None);
        let fetcher = Arc::new(fetcher(&parts, blobs.clone(), progress));
        let DeskConfig { config, wallet, clock, models, pipeline, gate: _ } = parts;
        let running = Running {
            failures: pipeline.failures(),
            config,
            wallet,
            clock,
            pipeline,
            blobs,
            fetcher,
            releases,
            models,
            candidate: None,
            at_work: watch::Sender::new(None),
            done,
            status,
            fetched,
            started: Instant::now(),
            stopping,
        };
        let task = tokio::spawn(running.run(first, ordered, finished));
        Ok(Desk { orders, stop, task })
    }

    /// Hands over an order of the hub; one that was handed over before changes nothing.
    pub async fn order(&self, order: ReleaseOrder) {
        // It fails only if the desk has ended: then the order comes again at the next start.
        let _ended = self.orders.send(order).await;
    }

    /// Leaves what is under way, so that it is taken up at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if (&mut self.task).await.is_err() {
            tracing::error!("the desk of releases ended abnormally");
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What long work came to.
enum Done {
    Fetch(OrderId, Ended),
    Try(OrderId, Result<Box<Candidate>, NotFit>),
}

struct Running {
    config: Arc<Config>,
    wallet: Option<Arc<Wallet>>,
    clock: Arc<Clock>,
    pipeline: Pipeline,
    blobs: Blobs,
    fetcher: Arc<Fetcher>,
    releases: Releases,
    /// What the book calls current.
    models: Models,
    /// What serves on trial.
    candidate: Option<Models>,
    /// For work that nobody waits for any more.
    at_work: watch::Sender<Option<OrderId>>,
    done: mpsc::UnboundedSender<Done>,
    failures: watch::Receiver<Option<ModelFailure>>,
    status: watch::Sender<DeskStatus>,
    fetched: watch::Receiver<Option<Progress>>,
    started: Instant,
    stopping: watch::Receiver<bool>,
}

impl Running {
    async fn run(
        mut self,
        first: Effects,
        mut orders: mpsc::Receiver<ReleaseOrder>,
        mut finished: mpsc::UnboundedReceiver<Done>,
    ) {
        let _listening = self.listen().await;
        self.act(first).await;
        let mut following = self.pipeline.store().follow_directives();
        let mut stopping = self.stopping.clone();
        while !*stopping.borrow() {
            let due = due(self.started, self.releases.next_wakeup());
            let untold = !self.releases.book().untold.is_empty();
            let input = tokio::select! {
                stopped = stopping.changed() => match stopped {
                    Ok(()) => break,
                    // Nobody said so: the desk was dropped, and ends as a killed agent does.
                    Err(_) => return,
                },
                directive = following.next() => match directive {
                    Some(Directive::Release(order)) => Some(Input::Ordered(order)),
                    Some(
                        Directive::Reporting(_)
                        | Directive::Certificate(_)
                        | Directive::Rules(_)
                        | Directive::Unknown(_),
                    ) => None,
                    // The store is closed, and nothing can be told any more.
                    None => return,
                },
                order = orders.recv() => order.map(Input::Ordered),
                done = finished.recv() => done.and_then(|done| self.came(done)),
                changed = self.failures.changed() => {
                    if changed.is_err() { break }
                    self.misbehaved()
                }
                changed = self.fetched.changed() => {
                    if changed.is_err() { break }
                    self.show();
                    None
                }
                () = due => Some(Input::Tick),
                // Told again below.
                () = tokio::time::sleep(RETRY_PAUSE), if untold => Some(Input::Told(0)),
            };
            if let Some(input) = input {
                self.step(input).await;
            }
        }
        self.step(Input::Stopping).await;
        self.at_work.send_replace(None);
    }

    /// Hands files to others of the site, if that is asked for.
    async fn listen(&self) -> Option<SiteListener> {
        let at = self.config.releases.serve?;
        let opened = match &self.wallet {
            Some(wallet) => SiteListener::open(at, Arc::clone(wallet), self.blobs.clone()).await,
            None => Err(SiteError::Tls("the device has no identity".to_owned())),
        };
        opened.inspect_err(|error| tracing::error!(%error, "files are not handed to the site")).ok()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn step(&mut self, input: Input) {
        let effects = self.releases.step(self.now_ms(), self.clock.now_ms(), input);
        self.act(effects).await;
    }

    /// The book first; only then what follows of it.
    async fn act(&mut self, effects: Effects) {
        self.at_work.send_replace(self.releases.at_work().cloned());
        if effects.save && !self.save().await {
            return;
        }
        self.tell().await;
        for act in effects.acts {
            match act {
                Act::Fetch(id, release) => self.fetch(id, release),
                Act::Try(id, release) => self.try_out(id, release),
                Act::Restore => self.restore(),
                Act::Collect => self.keep(),
            }
        }
        self.show();
    }

    /// `false` only if the agent stops before the book could be written: nothing may follow.
    async fn save(&mut self) -> bool {
        loop {
            let (dir, book) = (self.config.data_dir.clone(), self.releases.book().clone());
            let saved = tokio::task::spawn_blocking(move || book::save(&dir, &book)).await;
            match saved {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => tracing::error!(%error, "releases wait: nothing can be noted"),
                Err(_) => return false,
            }
            let stopping = self.stopping.wait_for(|stopping| *stopping);
            if tokio::time::timeout(RETRY_PAUSE, stopping).await.is_ok() {
                return false;
            }
        }
    }

    /// Reports go to the store, and leave the book once they are durable there.
    async fn tell(&mut self) {
        let untold = self.releases.book().untold.clone();
        let mut told = 0;
        for report in untold {
            let (package, stage) = (report.package.clone(), report.stage.clone());
            if let Err(error) = self.pipeline.store().event(Event::Release(report)).await {
                tracing::warn!(%error, "a report of a release waits");
                break;
            }
            tracing::info!(package, ?stage, "release");
            told += 1;
        }
        if told > 0 {
            let (now_ms, at_ms) = (self.now_ms(), self.clock.now_ms());
            let effects = self.releases.step(now_ms, at_ms, Input::Told(told));
            debug_assert!(effects.acts.is_empty(), "nothing follows of having told");
            // Told again after a crash, if this fails: no harm.
            self.save().await;
        }
    }

    fn fetch(&self, id: OrderId, release: ReleaseRef) {
        let (fetcher, done) = (Arc::clone(&self.fetcher), self.done.clone());
        let at_work = self.at_work.subscribe();
        let keep: Vec<ReleaseRef> =
            self.releases.book().current().map(|(_, release)| release.clone()).collect();
        tokio::task::spawn_blocking(move || {
            let wanted = || at_work.borrow().as_ref() == Some(&id);
            let ended = fetcher.run(&id, &release, &keep, &wanted);
            let _stopped = done.send(Done::Fetch(id, ended));
        });
    }

    fn try_out(&self, id: OrderId, release: Option<ReleaseRef>) {
        let (config, running, done) =
            (Arc::clone(&self.config), self.models.clone(), self.done.clone());
        let check = move || {
            let check = || trial::check(&config, &running, &id.package, release.as_ref());
            // An operator that panics ends the trial, and nothing else.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
            let checked = checked.unwrap_or_else(|_| {
                let detail = "it panicked while it was checked".to_owned();
                Err(NotFit { fault: ReleaseFault::Evaluation, detail })
            });
            let _stopped = done.send(Done::Try(id, checked.map(Box::new)));
        };
        // A thread of its own: a stack that a model overruns is not one of the runtime's.
        let spawned = std::thread::Builder::new().name("trial".to_owned()).spawn(check);
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to try a release; it is tried at the next start");
        }
    }

    fn came(&mut self, done: Done) -> Option<Input> {
        match done {
            Done::Fetch(id, Ended::Here) => Some(Input::Fetched(id)),
            Done::Fetch(id, Ended::NotFit(NotFit { fault, detail })) => {
                Some(Input::Refused { id, fault, detail })
            }
            Done::Fetch(_, Ended::Left) => None,
            Done::Try(id, Err(NotFit { fault, detail })) => {
                give_back();
                Some(Input::Refused { id, fault, detail })
            }
            Done::Try(id, Ok(candidate)) => {
                // Replaced by another order meanwhile.
                if self.releases.at_work() != Some(&id) {
                    return None;
                }
                let Candidate { models, served } = *candidate;
                self.pipeline.serve(served);
                self.candidate = Some(models);
                self.announce();
                Some(Input::Serving(id))
            }
        }
    }

    fn misbehaved(&mut self) -> Option<Input> {
        let failure = self.failures.borrow_and_update().clone()?;
        let id = self.releases.at_work()?;
        let candidate = self.releases.book().packages.get(&id.package)?.candidate.as_ref()?;
        let digest = candidate.release.as_ref()?.manifest.short();
        (digest == failure.package).then_some(Input::Misbehaved { detail: failure.detail })
    }

    /// What the book calls current decides again.
    fn restore(&mut self) {
        self.candidate = None;
        match trial::served(&self.config, &self.models) {
            Ok(served) => self.pipeline.serve(served),
            Err(NotFit { detail, .. }) => {
                tracing::error!(detail, "what ran before a release cannot run again");
            }
        }
        self.announce();
        give_back();
    }

    /// What served on trial is current now; what nobody needs is removed.
    fn keep(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.models = candidate;
        }
        give_back();
        let kept: Vec<ReleaseRef> = self.releases.book().kept().cloned().collect();
        let (fetcher, data_dir) = (Arc::clone(&self.fetcher), self.config.data_dir.clone());
        tokio::task::spawn_blocking(move || {
            let Some(files) = fetcher.files(&kept) else { return };
            if let Err(error) = fetcher.blobs.retain(|digest| files.contains(&digest)) {
                tracing::warn!(%error, "files of earlier releases could not be removed");
            }
            let manifests: BTreeSet<Digest> = kept.iter().map(|r| r.manifest).collect();
            let entries = std::fs::read_dir(data_dir.join("releases")).into_iter().flatten();
            for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
                let gone = name.parse().ok().filter(|digest| !manifests.contains(digest));
                if let Some(digest) = gone {
                    let _again_next_time = std::fs::remove_dir_all(directory(&data_dir, digest));
                }
            }
        });
    }

    fn announce(&self) {
        let (pipeline, data_dir) = (self.pipeline.clone(), self.config.data_dir.clone());
        tokio::spawn(async move {
            let served = pipeline.served();
            let announced = announce_tasks(pipeline.store(), &data_dir, served.tasks.values());
            if let Err(error) = announced.await {
                tracing::warn!(%error, "the tasks of a release are not announced to the hub");
            }
        });
    }

    fn show(&self) {
        let book = self.releases.book().clone();
        let fetching = |entry: &Entry| {
            entry.candidate.as_ref().is_some_and(|candidate| candidate.stage == Stage::Wanted)
        };
        let progress =
            if book.packages.values().any(fetching) { self.fetched.borrow().clone() } else { None };
        self.status.send_replace(DeskStatus { book, progress });
    }
}

/// Until a moment that is counted from `started`; for ever without one.
async fn due(started: Instant, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => {
            let pause = Duration::from_millis(at_ms).saturating_sub(started.elapsed());
            tokio::time::sleep(pause).await;
        }
        None => std::future::pending().await,
    }
}

fn fetcher(parts: &DeskConfig, blobs: Blobs, progress: watch::Sender<Option<Progress>>) -> Fetcher {
    let DeskConfig { config, wallet, gate, .. } = parts;
    let (packages, trust) = packages(config);
    let (data_dir, releases) = (config.data_dir.clone(), config.releases.clone());
    let (wallet, gate) = (wallet.clone(), gate.clone());
    let checked = Mutex::default();
    Fetcher { data_dir, blobs, trust, packages, releases, wallet, gate, checked, progress }
}

/// Configured or shipped packages, and the keys that may sign.
fn packages(config: &Config) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let named = &config.models;
    if !named.packages.is_empty() {
        return (named.packages.clone(), named.trust.clone());
    }
    let shipped = shipped_dirs().unwrap_or_default();
    let key = shipped.first().and_then(|dir| dir.parent()).map(|home| home.join(SHIPPED_KEY));
    (shipped, key.into_iter().collect())
}
