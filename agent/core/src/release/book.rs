//! What a device remembers of releases: written before anything is done because of it.

use landfall_wire::release::{ReleaseFault, ReleaseRef, ReleaseReport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every package that the hub ever ordered something of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// By the package's name.
    pub packages: BTreeMap<String, Entry>,
    /// Reports that are not in the store yet.
    #[serde(default)]
    pub untold: Vec<ReleaseReport>,
}

/// One package. What runs is `None` where it is what the configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the last order.
    pub order: u64,
    /// What runs.
    pub current: Option<ReleaseRef>,
    /// What ran before it; kept to go back to.
    pub previous: Option<ReleaseRef>,
    /// What is to take its place.
    pub candidate: Option<Candidate>,
    /// The last order, if it failed.
    pub failed: Option<Failure>,
}

/// What is to take the place of what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What is wanted.
    pub release: Option<ReleaseRef>,
    /// How long it must serve before it is kept.
    pub trial_secs: u32,
    /// How far it is.
    pub stage: Stage,
    /// Trials begun.
    pub trials: u8,
}

/// How far a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Files are missing.
    Wanted,
    /// Every file is there and intact.
    Fetched,
    /// It is being tried. Found at a start, this means that the agent ended during the trial.
    Trial,
}

/// An order that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was wanted.
    pub release: Option<ReleaseRef>,
    /// Why it is not used.
    #[serde(with = "fault_name")]
    pub fault: ReleaseFault,
    /// In words.
    pub detail: String,
}

impl Book {
    /// Every release whose files must be kept.
    pub fn kept(&self) -> impl Iterator<Item = &ReleaseRef> {
        self.packages.values().flat_map(|entry| {
            let candidate = entry.candidate.as_ref().and_then(|c| c.release.as_ref());
            [entry.current.as_ref(), entry.previous.as_ref(), candidate].into_iter().flatten()
        })
    }

    /// Every release that runs, by the package's name.
    pub fn current(&self) -> impl Iterator<Item = (&str, &ReleaseRef)> {
        let entries = self.packages.iter();
        entries.filter_map(|(name, entry)| Some((name.as_str(), entry.current.as_ref()?)))
    }
}

/// Faults by name: the book is a file that people read.
mod fault_name {
    use landfall_wire::release::ReleaseFault;
    use serde::de::{Deserializer, Error};
    use serde::{Deserialize, Serializer};

    const ALL: [ReleaseFault; 6] = [
        ReleaseFault::Package,
        ReleaseFault::Misfit,
        ReleaseFault::Evaluation,
        ReleaseFault::Crash,
        ReleaseFault::Failing,
        ReleaseFault::Space,
    ];

    pub(super) fn serialize<S: Serializer>(fault: &ReleaseFault, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(fault.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<ReleaseFault, D::Error> {
        let name = String::deserialize(from)?;
        let found = ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("'{name}' is not a fault of a release")))
    }
}
