//! `GET /v1/status` and `GET /healthz`.

use super::App;
use crate::clock;
use crate::config::WhenUnrecordable;
use crate::link::UplinkReport;
use crate::metrics::{Counts, Summary};
use crate::pipeline::{Backing, Gap, Task};
use crate::release::Progress;
use crate::rules::Slot;
use crate::service::memory;
use crate::store::{Standing, StoreStatus, StreamStatus};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use landfall_agent_core::release::{Entry, Stage};
use landfall_systemd::Line;
use landfall_wire::release::ReleaseRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The agent at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusBody {
    /// The agent's version.
    pub version: String,
    /// Random, made at each start.
    pub instance: String,
    /// Its process.
    pub pid: u32,
    /// Its name at the hub, with an identity.
    pub device: Option<String>,
    /// Digest of the configuration.
    pub config: String,
    /// Since when it runs, milliseconds since 1970.
    pub started_ms: u64,
    /// How long it runs.
    pub uptime_secs: u64,
    /// Resident memory now, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Resident memory at its peak.
    pub memory_peak_bytes: Option<u64>,
    /// Every task.
    pub tasks: BTreeMap<String, TaskBody>,
    /// Times of each stage since the start.
    pub times: BTreeMap<String, Summary>,
    /// The store.
    pub store: StoreBody,
    /// Decisions told without a record.
    #[serde(default)]
    pub unrecorded: UnrecordedBody,
    /// The link to the hub; absent without one.
    pub link: Option<LinkBody>,
    /// Packages of which the hub ordered something.
    #[serde(default)]
    pub releases: BTreeMap<String, ReleaseBody>,
    /// Which link is used, and what of it; absent without a hub.
    #[serde(default)]
    pub uplink: Option<UplinkReport>,
    /// What the hub asks for of the outcomes of each task, `*` of all others: `full`,
    /// `sampled:SHARE` or `sketch`.
    #[serde(default)]
    pub reporting: BTreeMap<String, String>,
    /// What the hub gave to decide by before the model, the latest first.
    #[serde(default)]
    pub rules: Vec<RulesBody>,
    /// What a person should look at.
    pub faults: Vec<String>,
    /// What time it is.
    #[serde(default)]
    pub clock: Option<ClockBody>,
    /// The last warnings and errors since the start, oldest first.
    #[serde(default)]
    pub recent: Vec<Line>,
}

/// What time it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockBody {
    /// The best that is known, milliseconds since 1970; records are stamped with it.
    pub now_ms: u64,
    /// What the wall clock shows.
    pub wall_ms: u64,
    /// `wall-clock`, `wall-clock-confirmed` by the hub, `hub` (the wall clock is wrong), or
    /// `last-known`: the wall clock shows a time that has passed, and the hub was not heard yet.
    pub source: String,
    /// How far the hub's clock is ahead of the wall clock, if it was heard since the start.
    pub hub_ahead_ms: Option<i64>,
}

/// Rules that the hub gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesBody {
    /// Their number in the hub's book.
    pub rule: u64,
    /// The task.
    pub task: String,
    /// Why they are not used, if they are not.
    pub refused: Option<String>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskBody {
    /// Name and version of the package behind it; absent if it has none.
    pub package: Option<String>,
    /// Why it has no model.
    pub missing: Option<String>,
    /// What its threshold promises.
    pub promise: Option<String>,
    /// What became of its requests since the start.
    pub counts: Counts,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreBody {
    /// The epoch of new records.
    pub epoch: String,
    /// Records that the hub does not have yet.
    pub backlog: u64,
    /// Every stream.
    pub streams: Vec<StreamBody>,
    /// Bytes on disk.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Generations on disk.
    pub generations: usize,
    /// Escalations that are neither answered nor expired.
    pub tickets_open: u64,
    /// Records dropped or unreadable since the start.
    pub lost: u64,
    /// Records that the hub refused, kept here.
    #[serde(default)]
    pub refused: u64,
    /// Directives of the hub that hold, by kind and subject.
    #[serde(default)]
    pub directives: Vec<String>,
    /// Why new records are refused, if they are.
    pub refusing: Option<String>,
}

/// One stream of the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamBody {
    /// Its name.
    pub stream: String,
    /// Its epoch.
    pub epoch: String,
    /// Everything below is at the hub.
    pub acked: u64,
    /// One past the last record.
    pub end: u64,
}

/// Decisions told without a record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnrecordedBody {
    /// Whether callers are answered while nothing can be recorded.
    pub answers: bool,
    /// How many there were since the start.
    pub decisions: u64,
    /// Those that the hub is to be told of, once something can be recorded.
    pub untold: Option<Gap>,
}

/// The link to the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkBody {
    /// `host:port`.
    pub hub: String,
    /// `offline`, `connecting` or `online`.
    pub state: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Why the last connection failed or ended.
    pub last_error: Option<String>,
    /// Connections since the start.
    pub connections: u64,
    /// Bytes sent since the start.
    pub bytes_up: u64,
    /// Bytes received since the start.
    pub bytes_down: u64,
}

/// A package of which the hub ordered something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseBody {
    /// Version that runs; absent if it is what the configuration names.
    pub current: Option<String>,
    /// Digest of its manifest.
    pub digest: Option<String>,
    /// Version that is to take its place, or `configured`.
    pub wanted: Option<String>,
    /// How far that is: `wanted`, `fetched`, `trial`.
    pub stage: Option<String>,
    /// How far the fetching of its files is.
    pub fetching: Option<Progress>,
    /// Why the last order is not used, if it is not.
    pub failed: Option<String>,
}

impl ReleaseBody {
    fn of(entry: &Entry, progress: Option<&Progress>) -> ReleaseBody {
        let version = |release: &Option<ReleaseRef>| {
            release.as_ref().map_or_else(|| "configured".to_owned(), |r| r.version.clone())
        };
        let candidate = entry.candidate.as_ref();
        let is_fetched = candidate.is_some_and(|candidate| candidate.stage == Stage::Wanted);
        let stage = candidate.map(|candidate| match candidate.stage {
            Stage::Wanted => "wanted".to_owned(),
            Stage::Fetched => "fetched".to_owned(),
            Stage::Trial => "trial".to_owned(),
        });
        let failed = entry.failed.as_ref().map(|failure| {
            let (version, fault) = (version(&failure.release), failure.fault.name());
            format!("{version}: {fault}: {}", failure.detail)
        });
        ReleaseBody {
            current: entry.current.as_ref().map(|release| release.version.clone()),
            digest: entry.current.as_ref().map(|release| release.manifest.to_string()),
            wanted: candidate.map(|candidate| version(&candidate.release)),
            stage,
            fetching: progress.filter(|_| is_fetched).cloned(),
            failed,
        }
    }
}

pub(super) async fn show(State(app): State<App>) -> Json<StatusBody> {
    Json(StatusBody::of(&app))
}

/// 503 while the store takes no records: then a watchdog or a load balancer should know.
pub(super) async fn health(State(app): State<App>) -> (StatusCode, Json<serde_json::Value>) {
    let refusing = app.pipeline.store().status().refusing;
    let (code, status) = match &refusing {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "refusing"),
    };
    let instance = &app.overview.instance;
    (code, Json(serde_json::json!({"status": status, "instance": instance, "reason": refusing})))
}

impl StatusBody {
    fn of(app: &App) -> StatusBody {
        let App { pipeline, overview, courier: _, stopping: _ } = app;
        let memory = memory::of_this_process();
        let store = pipeline.store().status();
        let counts = pipeline.metrics().tasks();
        let unrecorded = UnrecordedBody {
            answers: pipeline.when_unrecordable() == WhenUnrecordable::Answer,
            decisions: counts.values().map(|counts| counts.unrecorded).sum(),
            untold: pipeline.gap(),
        };
        let served = pipeline.served();
        let tasks = served.tasks.iter().map(|(name, task)| {
            let counts = counts.get(name).copied().unwrap_or_default();
            (name.to_string(), TaskBody::of(task, counts))
        });
        let named = |one: Standing| {
            let (kind, (_, subject)) = (one.directive.kind(), one.directive.key());
            format!("{kind} {subject}").trim_end().to_owned()
        };
        let directives = pipeline.store().directives().into_iter().map(named).collect();
        let times = pipeline.metrics().stages.each();
        StatusBody {
            version: crate::VERSION.to_owned(),
            instance: overview.instance.clone(),
            pid: std::process::id(),
            device: overview.device.as_ref().map(ToString::to_string),
            config: overview.config.to_string(),
            started_ms: overview.started_ms,
            uptime_secs: overview.started.elapsed().as_secs(),
            memory_bytes: memory.map(|memory| memory.resident_bytes),
            memory_peak_bytes: memory.map(|memory| memory.peak_bytes),
            tasks: tasks.collect(),
            times: times.map(|(name, stage)| (name.to_owned(), stage.summary())).into(),
            store: StoreBody { directives, ..StoreBody::from(&store) },
            unrecorded,
            link: overview.link().map(|link| LinkBody::from(&link)),
            releases: {
                let desk = overview.releases.borrow();
                let packages = desk.book.packages.iter();
                let body = |entry| ReleaseBody::of(entry, desk.progress.as_ref());
                packages.map(|(name, entry)| (name.clone(), body(entry))).collect()
            },
            reporting: overview.reporting.asked(),
            rules: pipeline.rules().slots().into_iter().map(RulesBody::from).collect(),
            uplink: overview.link().map(|_| overview.uplink.report(&store.streams)),
            faults: overview.faults.to_vec(),
            clock: Some(ClockBody::from(&overview.clock.shown())),
            recent: landfall_systemd::recent(),
        }
    }
}

impl TaskBody {
    fn of(task: &Task, counts: Counts) -> TaskBody {
        let (package, missing) = match &task.backing {
            Backing::Model(model) => (Some(model.package.clone()), None),
            Backing::Missing(why) => (None, Some(why.clone())),
        };
        TaskBody { package, missing, promise: task.promise(), counts }
    }
}

impl From<Slot> for RulesBody {
    fn from(slot: Slot) -> RulesBody {
        let Slot { rule, task, refused, .. } = slot;
        RulesBody { rule, task: task.to_string(), refused }
    }
}

impl From<&clock::Shown> for ClockBody {
    fn from(shown: &clock::Shown) -> ClockBody {
        ClockBody {
            now_ms: shown.now_ms,
            wall_ms: shown.wall_ms,
            source: shown.source.name().to_owned(),
            hub_ahead_ms: shown.hub_ahead_ms,
        }
    }
}

impl From<&StoreStatus> for StoreBody {
    fn from(status: &StoreStatus) -> StoreBody {
        let stream = |s: &StreamStatus| StreamBody {
            stream: s.stream.name().to_owned(),
            epoch: s.epoch.to_string(),
            acked: s.acked,
            end: s.end,
        };
        StoreBody {
            epoch: status.epoch.to_string(),
            backlog: status.backlog(),
            streams: status.streams.iter().map(stream).collect(),
            bytes: status.bytes,
            bytes_max: status.bytes_max,
            generations: status.generations,
            tickets_open: status.tickets_open,
            lost: status.lost,
            refused: status.refused,
            directives: Vec::new(),
            refusing: status.refusing.clone(),
        }
    }
}

impl From<&crate::sync::LinkStatus> for LinkBody {
    fn from(link: &crate::sync::LinkStatus) -> LinkBody {
        LinkBody {
            hub: link.hub.clone(),
            state: link.state.name().to_owned(),
            since_ms: link.since_ms,
            last_error: link.last_error.clone(),
            connections: link.connections,
            bytes_up: link.bytes_up,
            bytes_down: link.bytes_down,
        }
    }
}
