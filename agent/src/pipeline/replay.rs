//! A past decision, run again on this thread: nothing is recorded and nobody is asked.

use super::judge::recorded;
use super::models::Models;
use super::{Backing, Task};
use crate::config;
use crate::stamp::short_digest;
use landfall_agent_core::judgement::Judgement;
use landfall_agent_core::request::Request;
use landfall_agent_core::rules::Rules;
use landfall_agent_core::task::Before;
use landfall_models::package::{self, PackageError};
use landfall_wire::id::ShortDigest;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest manifest that is looked at; those of packages are some tens of kilobytes.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Most directories beside a package that are looked through for another one.
const BESIDE_MAX: usize = 256;

impl Task {
    /// Decides again, with these rules of the hub; `draw` picks answers for an audit, as ever.
    pub fn replay(&self, request: &Request, hub: &Rules, draw: u32) -> Judgement {
        let model = match (self.policy.before_model(request, hub), &self.backing) {
            (Before::Decided(judgement), _) => return judgement,
            (Before::AskModel, Backing::Missing(why)) => {
                return self.policy.after_model(request, Err(why.clone()), draw);
            }
            (Before::AskModel, Backing::Model(model)) => model,
        };
        let reading = match model.engine.read(&request.text, &[&model.task]) {
            Ok(reading) => reading,
            Err(error) => return self.policy.after_model(request, Err(error.to_string()), draw),
        };
        let read = recorded(&reading.read);
        let view = reading.views.into_iter().next().map(|view| model.view(view));
        let view = view.ok_or_else(|| "no view".to_owned());
        Judgement { read: Some(read), ..self.policy.after_model(request, view, draw) }
    }
}

impl Models {
    /// The package with this digest: one of the configured ones, of those that lie beside them,
    /// or `also`. What is found is opened with all checks, and alone.
    pub fn with_digest(
        named: &config::Models,
        digest: ShortDigest,
        also: &[PathBuf],
    ) -> Option<Models> {
        let dirs = dirs(named).unwrap_or_default();
        let beside = dirs.iter().flat_map(|dir| beside(dir));
        let mut found = also.iter().cloned().chain(dirs.iter().cloned()).chain(beside);
        let dir = found.find(|dir| manifest_digest(dir) == Some(digest))?;
        Some(Models::load_one(&dir, named))
    }

    /// Every package that [`Models::with_digest`] can find, with its digest.
    pub fn within_reach(named: &config::Models, also: &[PathBuf]) -> Vec<(PathBuf, ShortDigest)> {
        let dirs = dirs(named).unwrap_or_default();
        let beside = dirs.iter().flat_map(|dir| beside(dir));
        let all = also.iter().cloned().chain(dirs.iter().cloned()).chain(beside);
        let mut found: Vec<(PathBuf, ShortDigest)> = Vec::new();
        for dir in all {
            if let Some(digest) = manifest_digest(&dir)
                && !found.iter().any(|(known, _)| *known == dir)
            {
                found.push((dir, digest));
            }
        }
        found
    }
}

fn dirs(named: &config::Models) -> Result<Vec<PathBuf>, PackageError> {
    if named.packages.is_empty() { package::shipped_dirs() } else { Ok(named.packages.clone()) }
}

/// Directories beside a package: earlier versions are often left there.
fn beside(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).take(BESIDE_MAX).collect()
}

fn manifest_digest(dir: &Path) -> Option<ShortDigest> {
    let file = std::fs::File::open(dir.join("manifest.json")).ok()?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(short_digest(&bytes))
}
