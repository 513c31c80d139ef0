//! Releases on the device: gets what the hub orders, tries it, keeps it or goes back.
//!
//! * `desk`: runs the machine of `landfall_agent_core::release`: book first, then reports, then
//!   what is to be done.
//! * `book`: what is remembered, as a file.
//! * `fetch`: gets the missing files, from whoever has them: `sources`, each a `source`.
//! * `trial`: opens, checks and switches.
//! * `site`: hands files to other devices of the site, and gets them from there.
//!
//! ```text
//! <data_dir>/releases.json           the book
//! <data_dir>/blobs/<sha256>          every file of every release that is kept
//! <data_dir>/releases/<digest>/      a release as a package: manifest, signature, and `blobs`,
//!                                    a link to the above
//! ```
//! Nothing of a release is interpreted before its signature and digests hold. Which link may
//! carry it, and how much of it, is not decided here: see [`Gate`].

mod book;
mod desk;
mod fetch;
mod gate;
mod site;
mod source;
mod sources;
mod trial;

pub use desk::{Desk, DeskConfig, DeskStatus, Progress};
pub use gate::Gate;
pub use site::{SiteError, SiteListener};

use crate::config::Config;
use landfall_freight::blobs::{BlobError, Blobs};
use landfall_freight::outline::{BLOBS, MANIFEST, SIGNATURE};
use landfall_wire::id::Digest;
use landfall_wire::release::ReleaseRef;
use std::io;
use std::path::{Path, PathBuf};

/// How releases come to the device, as the site configures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasesConfig {
    /// `host:port` where the hub hands out files; `None` takes it from the identity's bundle.
    pub hub: Option<String>,
    /// Web servers that have the same files: `https://host[:port][/path]`.
    pub mirrors: Vec<String>,
    /// PEM file of the authorities that mirrors' certificates are from; the hub's own if `None`.
    pub mirror_ca: Option<PathBuf>,
    /// Other devices of the site that hand out files: `host:port`.
    pub peers: Vec<String>,
    /// Where this device hands out its files to others of the site, if it does.
    pub serve: Option<std::net::SocketAddr>,
    /// Most bytes of all releases on disk.
    pub bytes_max: u64,
}

impl ReleasesConfig {
    /// Two releases of an encoder of a hundred million weights, with room.
    pub const BYTES_MAX_DEFAULT: u64 = 512 * 1024 * 1024;
}

impl Default for ReleasesConfig {
    fn default() -> ReleasesConfig {
        ReleasesConfig {
            hub: None,
            mirrors: Vec::new(),
            mirror_ca: None,
            peers: Vec::new(),
            serve: None,
            bytes_max: ReleasesConfig::BYTES_MAX_DEFAULT,
        }
    }
}

/// The files of all releases of a data directory.
///
/// # Errors
/// When the directory cannot be made.
pub fn blobs(data_dir: &Path) -> Result<Blobs, BlobError> {
    Blobs::open(&data_dir.join(BLOBS))
}

/// The releases that run by the book, with their directories: what takes the place of configured
/// packages. Without a book, or with one that cannot be read, none.
pub fn current(config: &Config) -> Vec<(String, PathBuf)> {
    let book = match book::load(&config.data_dir) {
        Ok(book) => book,
        Err(error) => {
            tracing::error!(%error, "what releases run is not known; the configured ones do");
            return Vec::new();
        }
    };
    let dir = |release: &ReleaseRef| directory(&config.data_dir, release.manifest);
    book.current().map(|(name, release)| (name.to_owned(), dir(release))).collect()
}

/// The directories of every release that is kept, for whoever looks for an earlier one.
pub fn kept(config: &Config) -> Vec<PathBuf> {
    let book = book::load(&config.data_dir).unwrap_or_default();
    let dirs = book.kept().map(|release| directory(&config.data_dir, release.manifest));
    dirs.filter(|dir| dir.is_dir()).collect()
}

/// Where a release is as a package.
pub fn directory(data_dir: &Path, manifest: Digest) -> PathBuf {
    data_dir.join("releases").join(manifest.to_string())
}

/// Makes a package's directory of files that are there.
fn lay_out(data_dir: &Path, release: &ReleaseRef, blobs: &Blobs) -> io::Result<PathBuf> {
    let dir = directory(data_dir, release.manifest);
    std::fs::create_dir_all(&dir)?;
    for (name, digest) in [(MANIFEST, release.manifest), (SIGNATURE, release.signature)] {
        let content = std::fs::read(blobs.path(digest))?;
        crate::service::replace(&dir.join(name), &content)?;
    }
    let link = dir.join(BLOBS);
    if !link.is_symlink() {
        std::os::unix::fs::symlink(Path::new("../..").join(BLOBS), &link)?;
    }
    std::fs::File::open(&dir)?.sync_all()?;
    Ok(dir)
}
