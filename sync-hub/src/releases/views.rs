//! Releases and rollouts as the API, `--json` and the pages show them.

use serde::Serialize;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseView {
    /// Its package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// Digest of its manifest.
    pub manifest: String,
    /// Size of the manifest.
    pub manifest_bytes: u64,
    /// Digest of its signature.
    pub signature: String,
    /// Size of the signature.
    pub signature_bytes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was added, RFC 3339.
    pub added_at: String,
    /// Devices that say that they run it.
    pub devices: u64,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolloutView {
    /// Its number.
    pub id: i64,
    /// The package.
    pub package: String,
    /// The version that it delivers.
    pub version: String,
    /// Digest of the release's manifest.
    pub manifest: String,
    /// `running`, `paused`, `halted`, `done` or `rolled-back`.
    pub phase: String,
    /// Why it halted, or who did what.
    pub reason: Option<String>,
    /// When it was started, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub changed_at: String,
    /// The ring that is worked on, from 0.
    pub ring: u64,
    /// Its rings, first to last.
    pub rings: Vec<RingView>,
    /// Its devices; in lists, none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<MemberView>,
}

/// A ring of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RingView {
    /// Its name.
    pub name: String,
    /// Its devices.
    pub devices: u64,
    /// Those that keep the release.
    pub current: u64,
    /// Those that went back by themselves.
    pub failed: u64,
    /// Those that are on the way.
    pub under_way: u64,
    /// How long it is watched, in seconds.
    pub wait_secs: u64,
}

/// A device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Its name.
    pub device: String,
    /// Its ring.
    pub ring: String,
    /// How far it is.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// When it was last heard of, RFC 3339.
    pub contact_at: Option<String>,
    /// Manifest of what it ran before; absent for what it is configured with.
    pub previous: Option<String>,
    /// Why it failed.
    pub detail: Option<String>,
}
