//! Releases of model packages: what the hub wants a device to run, and what the device says
//! became of it.
//!
//! A release is named by the digest of its manifest, and everything of it is a file that is
//! named by its own digest. So it does not matter who a device gets the files from: the hub, a
//! mirror, another box of the site or a USB stick. The manifest is signed by whoever releases.
//!
//! Enum variants are appended, never reordered: their order is the format.

use crate::id::Digest;
use crate::limits::NAME_BYTES_MAX;
use crate::record::cut;
use serde::{Deserialize, Serialize};

/// Longest detail of a report in bytes: one line for a person.
const DETAIL_BYTES_MAX: usize = 512;

/// What a device is to run of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseOrder {
    /// The package's name, as its manifest has it.
    pub package: String,
    /// Rises with every order of this package: one that is not above the last is an old one. By
    /// the hub's clock, so that a hub that was restored from a backup is heard too.
    pub number: u64,
    /// What is wanted; `None` for what the device's configuration names.
    pub release: Option<ReleaseRef>,
    /// How long the release must serve without trouble before it is kept, in seconds of the
    /// device's running time.
    pub trial_secs: u32,
}

/// A release, and the two files of which the others follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// The package's version, for people.
    pub version: String,
    /// Digest of the manifest: the release's identity.
    pub manifest: Digest,
    /// Size of the manifest.
    pub manifest_bytes: u32,
    /// Digest of the signature over it.
    pub signature: Digest,
    /// Size of the signature.
    pub signature_bytes: u32,
}

/// What became of an order, up to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReport {
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// The package's name.
    pub package: String,
    /// Number of the order.
    pub number: u64,
    /// What was ordered: digest of the manifest; `None` for what the configuration names.
    pub release: Option<Digest>,
    /// How far it is.
    pub stage: ReleaseStage,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseStage {
    /// The device has the order.
    Accepted,
    /// Every file is there; signature and digests hold.
    Fetched,
    /// It passed its golden vectors and its evaluation, and serves on trial.
    Trial,
    /// It served its trial and is kept.
    Current,
    /// It is not used; what ran before runs.
    RolledBack {
        /// Of which kind.
        fault: ReleaseFault,
        /// What happened, for people.
        detail: String,
    },
}

/// Why a release is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseFault {
    /// Its signature or a digest does not hold, or it cannot be opened.
    Package,
    /// It does not fit the device's configuration.
    Misfit,
    /// Its golden vectors or its evaluation do not come out on this processor.
    Evaluation,
    /// The agent stopped more than once while it was tried.
    Crash,
    /// It failed on texts while it served on trial.
    Failing,
    /// There is no room for its files.
    Space,
}

impl ReleaseFault {
    /// A word for logs, pages and columns.
    pub fn name(self) -> &'static str {
        match self {
            ReleaseFault::Package => "package",
            ReleaseFault::Misfit => "misfit",
            ReleaseFault::Evaluation => "evaluation",
            ReleaseFault::Crash => "crash",
            ReleaseFault::Failing => "failing",
            ReleaseFault::Space => "space",
        }
    }
}

impl ReleaseStage {
    /// A word for logs, pages and columns.
    pub fn name(&self) -> &'static str {
        match self {
            ReleaseStage::Accepted => "accepted",
            ReleaseStage::Fetched => "fetched",
            ReleaseStage::Trial => "trial",
            ReleaseStage::Current => "current",
            ReleaseStage::RolledBack { .. } => "rolled-back",
        }
    }
}

impl ReleaseReport {
    /// Cuts what is variable to its limits.
    pub(crate) fn fit(&mut self) {
        self.package.truncate(cut(&self.package, NAME_BYTES_MAX).len());
        if let ReleaseStage::RolledBack { detail, .. } = &mut self.stage {
            detail.truncate(cut(detail, DETAIL_BYTES_MAX).len());
        }
    }
}
