//! Opens a candidate, checks it on this processor, and makes of it what would decide. Whatever
//! comes of it, what runs is not touched.

use super::directory;
use crate::config::Config;
use crate::pipeline::{Models, NotFit, Served};
use crate::service::tasks;
use landfall_wire::release::{ReleaseFault, ReleaseRef};

/// What a candidate comes to.
pub(super) struct Candidate {
    /// Every model, the candidate's in its place.
    pub(super) models: Models,
    /// What would decide.
    pub(super) served: Served,
}

/// Checks a candidate beside what runs. Blocking, some seconds; on a slow board, a minute.
///
/// # Errors
/// [`NotFit`].
pub(super) fn check(
    config: &Config,
    running: &Models,
    package: &str,
    release: Option<&ReleaseRef>,
) -> Result<Candidate, NotFit> {
    let dir = release.map(|release| directory(&config.data_dir, release.manifest));
    let models = running.with_release(&config.models, package, dir.as_deref())?;
    let served = served(config, &models)?;
    Ok(Candidate { models, served })
}

/// Joins models with the configured tasks.
///
/// # Errors
/// [`NotFit`]: the configuration names what the models do not have.
pub(super) fn served(config: &Config, models: &Models) -> Result<Served, NotFit> {
    let tasks = tasks(config, models).map_err(|error| {
        let what: Vec<&str> = error.problems.iter().map(|p| p.message.as_str()).collect();
        let detail = format!("the configuration asks for more: {}", what.join("; "));
        NotFit { fault: ReleaseFault::Misfit, detail }
    })?;
    Ok(Served::new(tasks, models.masking(&config.redact_model)))
}
