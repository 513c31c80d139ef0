//! Models, tasks and store, as `run`, `ask` and `batch` all need them.

use super::memory;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::pipeline::{Masking, Models, Parts, Pipeline, Served, Task};
use crate::release;
use crate::spool::SpoolError;
use crate::store::{Opened as Found, Store, StoreConfig, StoreError};
use crate::sync::Identity;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// What keeps the agent from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not fit its models.
    #[error("{0}")]
    Config(ConfigError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(StoreError),
    /// The HTTP address cannot be taken.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The spool cannot be set up.
    #[error(transparent)]
    Spool(SpoolError),
    /// The system refused something basic.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// A bug; the log has the panic.
    #[error("the start failed unexpectedly")]
    Panicked,
}

impl StartError {
    /// What helps, where something is known to.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            StartError::Store(error) => Some(error.remedy()),
            StartError::Listen { .. } => {
                Some("stop what listens there, or change http.listen (port 0 takes a free one)")
            }
            StartError::Spool(_) => {
                Some("check that spool.dir exists and that this user may write to it")
            }
            // Each problem of a configuration has its own.
            StartError::Config(_) | StartError::System { .. } | StartError::Panicked => None,
        }
    }

    pub(super) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
        move |source| StartError::System { what, source }
    }

    pub(super) fn panicked(_: tokio::task::JoinError) -> StartError {
        StartError::Panicked
    }
}

/// Ready to decide.
pub struct Opened {
    /// As it was read.
    pub config: Config,
    /// The decision path, with the store open.
    pub pipeline: Pipeline,
    /// Every model that runs.
    pub models: Models,
    /// The time.
    pub clock: Arc<Clock>,
    /// What a person should look at.
    pub faults: Vec<String>,
}

/// Loads models, joins them with the tasks, and opens the store. Blocking; needs a runtime.
///
/// # Errors
/// [`StartError`]; a model package that fails is a fault, not an error.
pub fn open(config: Config) -> Result<Opened, StartError> {
    open_with(config, |dir, store| Store::open(dir, store).map(|(store, found)| (store, Ok(found))))
}

/// The same for an agent that goes on running: where the disk is full or read-only, it comes up all
/// the same, and records as soon as it can.
///
/// # Errors
/// [`StartError`], as for [`open`].
pub fn open_to_serve(config: Config) -> Result<Opened, StartError> {
    open_with(config, Store::open_or_wait)
}

type OpenedStore = (Store, Result<Found, StoreError>);

fn open_with(
    config: Config,
    open: impl FnOnce(&Path, StoreConfig) -> Result<OpenedStore, StoreError>,
) -> Result<Opened, StartError> {
    memory::keep_large_apart();
    let (models, tasks, misfit) = load(&config)?;
    memory::give_back();
    let mut faults: Vec<String> = misfit.into_iter().collect();
    for fault in &models.faults {
        let (message, remedy) = (&fault.message, &fault.remedy);
        tracing::error!(message, remedy, "a model package is not used");
        faults.push(format!("{message}; {remedy}"));
    }
    let device = config.hub.as_ref().and_then(|hub| Identity::device_in(&hub.identity));
    let opened = open(&config.data_dir, StoreConfig { device, ..config.store.clone() });
    let (store, found) = opened.map_err(StartError::Store)?;
    if let Err(error) = &found {
        let remedy = error.remedy();
        tracing::error!(%error, remedy, "nothing can be recorded yet; it is tried again by itself");
    }
    if let Ok(found) = found
        && found.damaged > 0
    {
        let (damaged, salvaged, lost) = (found.damaged, found.salvaged, found.lost);
        faults.push(format!(
            "{damaged} part(s) of the store were damaged: {salvaged} records salvaged, {lost} lost"
        ));
    }
    let masking = models.masking(&config.redact_model);
    if let Masking::Missing(why) = &masking {
        faults.push(format!("what leaves is masked by patterns alone, because {why}"));
    }
    let clock = Clock::open(&config.data_dir);
    let parts = Parts {
        served: Served::new(tasks, masking),
        config: config.digest,
        store,
        clock: Arc::clone(&clock),
        when_unrecordable: config.when_unrecordable,
        data_dir: &config.data_dir,
    };
    let pipeline = Pipeline::start(parts);
    let pipeline = pipeline.map_err(StartError::system("start the model's thread"))?;
    Ok(Opened { config, pipeline, models, clock, faults })
}

/// Models with the tasks that they serve. A configuration that was changed may not fit a release
/// any more: then what it names runs, and that is a fault.
fn load(config: &Config) -> Result<(Models, Vec<Task>, Option<String>), StartError> {
    let releases = release::current(config);
    let models = Models::load(&config.models, &releases);
    match tasks(config, &models) {
        Ok(tasks) => Ok((models, tasks, None)),
        Err(error) if releases.is_empty() => Err(StartError::Config(error)),
        Err(error) => {
            drop(models);
            let models = Models::load(&config.models, &[]);
            let tasks = tasks(config, &models).map_err(StartError::Config)?;
            let misfit = format!(
                "the releases that were rolled out do not fit the configuration, which runs the \
                 packages that it names: {error}"
            );
            tracing::error!(misfit, "releases are not used");
            Ok((models, tasks, Some(misfit)))
        }
    }
}

/// Joins every configured task with what the packages have.
///
/// # Errors
/// Every setting that does not fit its model, and, if every package could be loaded, every task
/// that none of them has.
pub fn tasks(config: &Config, models: &Models) -> Result<Vec<Task>, ConfigError> {
    if let Some(known) = models.known() {
        config.check_models(&known)?;
        config.check_redact_model(models.masker_labels())?;
    }
    let policies = config.policies(|task| models.facts(task))?;
    let backings = config.tasks.iter().map(|task| models.backing(&task.model));
    let tasks = policies.into_iter().zip(backings);
    Ok(tasks.map(|(policy, backing)| Task { policy, backing }).collect())
}
