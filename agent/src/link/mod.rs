//! The links to the hub, as the site declares them: which one is used, and how much of it.
//!
//! The decisions are those of `landfall-agent-core`; here interfaces, routes and probes are
//! looked at (`detect`), bytes are counted (`meter`), and what is spent is kept over a restart
//! (`links.json` in the data directory). A site that declares no link has one without limits.
//!
//! A test may have the time of links pass faster: see `clock`.
//!
//! Invariant: what is spent is on disk before more is granted, unless the disk fails: then it is
//! said, and the link goes on, because what waits can only leave by it.

mod clock;
mod detect;
mod meter;
mod view;
mod zone;

pub(crate) use detect::default_route;
pub(crate) use meter::{CLOSE_BYTES, Meter, REFUSED_BYTES, UNANSWERED_BYTES};
pub use view::{LinkView, SiteReport, StreamBacklog, UplinkReport, WaitReport};

use crate::clock::Clock as DeviceClock;
use crate::config::{Link, Sign};
use crate::service::replace;
use clock::Clock;
use detect::Detector;
use landfall_agent_core::link::{
    Carries, Effects, Event, Files, Grant, LinkPolicy, Links, Now, SiteWord, Sizes, Spent,
    Standing, Zone,
};
use landfall_wire::link::LinkReport;
use landfall_wire::record::StreamId;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where spent bytes are kept, in the data directory.
const FILE: &str = "links.json";

/// The link of a site that declares none.
const ONLY: &str = "default";

/// How often the hub is told what is spent: a report takes about 150 bytes of the line.
const NEWS_EVERY: Duration = Duration::from_secs(4 * 3600);

/// Longest time until the links are looked at again: a wall clock that is set may open a window.
const LOOK_MS_MAX: u64 = 30_000;

/// A record with what is around it, before one was sent; outcomes travel in company.
const RECORD_BYTES: [(StreamId, f64); 3] =
    [(StreamId::Escalation, 300.0), (StreamId::Event, 100.0), (StreamId::Outcome, 15.0)];
/// How much a new measurement of that counts: one in so many.
const RECORD_MEMORY: f64 = 8.0;
/// MQTT, TLS, TCP and IP around a frame, and the acknowledgement that comes back.
const FRAME_AROUND: f64 = 350.0;

/// The links; clones share them.
#[derive(Clone)]
pub struct Uplink {
    inner: Arc<Inner>,
}

struct Inner {
    config: Vec<Link>,
    /// The site has declared them.
    is_declared: bool,
    file: PathBuf,
    clock: Clock,
    links: Mutex<Links>,
    /// Taken for a step and its write, so that writes are in the order of steps.
    writing: tokio::sync::Mutex<bool>,
    changed: watch::Sender<u64>,
    record_bytes: Mutex<[(StreamId, f64); 3]>,
    /// Bytes of frames with records, since the start, in the same order.
    sent_bytes: Mutex<[u64; 3]>,
    /// The link that the hub was last told of, and when.
    told: Mutex<Option<(usize, Instant)>>,
}

/// Leave to connect over one link.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// Which link.
    pub(crate) link: usize,
    /// Its class.
    pub(crate) class: u8,
    /// The interface to bind to.
    pub(crate) interface: Option<String>,
    /// Its own keep-alive.
    pub(crate) keep_alive: Option<Duration>,
    /// What travels on it.
    pub(crate) carries: Carries,
    /// How large frames are.
    pub(crate) sizes: Sizes,
}

/// The site's word cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no link '{name}'; the links are: {known}")]
pub struct UnknownLink {
    name: String,
    known: String,
}

impl Uplink {
    /// The links of a site, with what was spent before; nothing is looked at yet.
    pub fn open(config: &[Link], data_dir: &Path, clock: Arc<DeviceClock>) -> Uplink {
        let file = data_dir.join(FILE);
        let kept: Vec<Spent> = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, file = %file.display(),
                    "what was spent of the links' budgets cannot be read; the day begins anew");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        let is_declared = !config.is_empty();
        let config = if is_declared { config.to_vec() } else { vec![only()] };
        let policies = config.iter().map(|link| link.policy.clone()).collect();
        let clock = Clock::start(clock);
        let mut links = Links::new(policies, &kept, clock.now());
        let seen = config.iter().map(|link| link.sign == Sign::Always).collect();
        links.step(clock.now(), Event::Seen(seen));
        let inner = Inner {
            config,
            is_declared,
            file,
            clock,
            links: Mutex::new(links),
            writing: tokio::sync::Mutex::new(false),
            changed: watch::Sender::new(0),
            record_bytes: Mutex::new(RECORD_BYTES),
            sent_bytes: Mutex::new([0; 3]),
            told: Mutex::new(None),
        };
        Uplink { inner: Arc::new(inner) }
    }

    /// Looks after the links until asked to stop.
    pub async fn watch(self, mut stop: watch::Receiver<bool>) {
        let mut detector = Detector::new(&self.inner.config);
        while !*stop.borrow() {
            let looked = tokio::task::spawn_blocking(move || {
                let seen = detector.look();
                (detector, seen)
            });
            let Ok((returned, seen)) = looked.await else {
                tracing::error!("looking at the links ended unexpectedly; they stay as they were");
                return;
            };
            detector = returned;
            self.step(Event::Seen(seen)).await;
            let now = self.now();
            let due_ms = self.links().next_wakeup(now).unwrap_or(u64::MAX);
            let pause = self.inner.clock.real(due_ms.saturating_sub(now.running_ms));
            let pause = pause.min(Duration::from_millis(LOOK_MS_MAX));
            let pause = detector.pause().map_or(pause, |look| look.min(pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Gone: stop as well.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// The agent stops: what is spent is written exactly.
    pub async fn close(&self) {
        self.step(Event::Stop).await;
    }

    /// Says that another link is to be used, or none.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Leave to connect, if a link may be used.
    pub(crate) fn way(&self) -> Option<Way> {
        let links = self.links();
        let link = links.used()?;
        let Link { policy, sign, keep_alive } = &self.inner.config[link];
        let interface = match sign {
            Sign::Interface(name) => Some(name.clone()),
            Sign::Always | Sign::Route(_) | Sign::Probe { .. } => None,
        };
        let (keep_alive, carries, class) = (*keep_alive, policy.carries, policy.class);
        Some(Way { link, class, interface, keep_alive, carries, sizes: links.sizes() })
    }

    /// How much may be sent now, beyond what is `pending`; [`Uplink::pause`] says how long a time
    /// in it is. It is written down as spent when this returns.
    pub(crate) async fn grant(&self, pending: u64) -> Grant {
        let grant = self.links().grant(self.now(), pending);
        if let Grant::Bytes(bytes) = grant {
            let bytes = pending + bytes as u64 + meter::around(bytes as u64);
            self.step(Event::Handing { bytes }).await;
        }
        grant
    }

    /// How long it is until a moment that [`Grant::At`] gave.
    pub(crate) fn pause(&self, at_ms: u64) -> Duration {
        self.inner.clock.real(at_ms.saturating_sub(self.now().running_ms))
    }

    /// Bytes went over a link; `busy` as in [`Event::Carried`].
    pub(crate) async fn carried(&self, link: usize, bytes: u64, busy: Option<(u64, u64)>) {
        if bytes > 0 {
            self.step(Event::Carried { link, bytes, busy }).await;
        }
    }

    /// How much of a model file may be asked for now.
    pub(crate) fn files(&self) -> Files {
        self.links().files(self.now())
    }

    /// So many bytes of model files came over a link, and so many that were asked for did not yet.
    /// They are written down as spent when this returns.
    pub(crate) async fn files_carried(&self, link: usize, carried: u64, pending: u64) {
        self.step(Event::Files { link, carried, pending }).await;
    }

    /// A frame of so many records of a stream was sent.
    pub(crate) fn sent(&self, stream: StreamId, records: usize, bytes: usize) {
        let each = (bytes as f64 + FRAME_AROUND) / records.max(1) as f64;
        let mut sizes = self.inner.record_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = self.inner.sent_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        for ((of, size), total) in sizes.iter_mut().zip(totals.iter_mut()) {
            if *of == stream {
                *size += (each - *size) / RECORD_MEMORY;
                *total += bytes as u64;
            }
        }
    }

    /// What the hub is to be told now, if anything: of a link that it does not know of, and from
    /// time to time what is spent.
    pub(crate) fn news(&self) -> Option<LinkReport> {
        if !self.inner.is_declared {
            return None;
        }
        let links = self.links();
        let used = links.used()?;
        let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|(link, at)| link == used && at.elapsed() < NEWS_EVERY) {
            return None;
        }
        *told = Some((used, Instant::now()));
        let view = links.view(used, self.now());
        let policy = &self.inner.config[used].policy;
        Some(LinkReport {
            at_ms: self.inner.clock.device_ms(),
            link: policy.name.clone(),
            class: policy.class,
            spent_bytes: view.spent_bytes,
            budget_bytes: policy.bytes_per_day,
            bytes_per_sec: view.measured_bytes_per_sec.map_or(0, view::whole),
        })
    }

    /// Takes the site's word; `None` takes it back. `link` is a name.
    ///
    /// # Errors
    /// [`UnknownLink`].
    pub async fn site(
        &self,
        word: Option<(Option<&str>, bool, Option<Duration>)>,
    ) -> Result<(), UnknownLink> {
        let word = match word {
            None => None,
            Some((name, is_up, how_long)) => {
                let link = name.map(|name| self.named(name)).transpose()?;
                let for_ms =
                    how_long.map(|long| u64::try_from(long.as_millis()).unwrap_or(u64::MAX));
                Some(SiteWord { link, is_up, for_ms })
            }
        };
        self.step(Event::Site(word)).await;
        Ok(())
    }

    fn named(&self, name: &str) -> Result<usize, UnknownLink> {
        let mut names = self.inner.config.iter().map(|link| link.policy.name.as_str());
        names.position(|known| known == name).ok_or_else(|| {
            let known: Vec<&str> =
                self.inner.config.iter().map(|link| link.policy.name.as_str()).collect();
            let name = name.chars().take(80).collect();
            UnknownLink { name, known: known.join(", ") }
        })
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // Changed by whole steps, which do not panic half-way.
        self.inner.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        self.inner.clock.now()
    }

    /// First written, then acted upon.
    async fn step(&self, event: Event) {
        let mut failing = self.inner.writing.lock().await;
        let Effects { persist, changed } = self.links().step(self.now(), event);
        if let Some(spent) = persist {
            let file = self.inner.file.clone();
            let write = move || replace(&file, &serde_json::to_vec_pretty(&spent)?);
            let written = tokio::task::spawn_blocking(write).await;
            match written {
                Ok(Ok(())) => *failing = false,
                Ok(Err(error)) if !*failing => {
                    tracing::warn!(%error, "what is spent of the links' budgets cannot be written");
                    *failing = true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        if changed {
            self.say();
            self.inner.changed.send_modify(|count| *count += 1);
        }
    }

    fn say(&self) {
        if self.inner.is_declared {
            let name = |at: usize| self.inner.config[at].policy.name.as_str();
            match self.links().standing() {
                Standing::Uses(at) => tracing::info!(link = name(at), "this link is used"),
                Standing::Waits { link, until_ms, .. } => {
                    tracing::info!(
                        link = name(link),
                        until_ms,
                        "no link may be used; it is waited for"
                    );
                }
                Standing::Down => tracing::info!("no link is there"),
            }
        }
    }
}

fn only() -> Link {
    let policy = LinkPolicy {
        name: ONLY.to_owned(),
        class: 1,
        bytes_per_sec: None,
        bytes_per_day: None,
        windows: Vec::new(),
        zone: Zone::Utc,
        carries: Carries::ALL,
    };
    Link { policy, sign: Sign::Always, keep_alive: None }
}
