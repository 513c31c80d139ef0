//! Gets the files of a release: what is here already, what a configured package has, and only
//! then what others have, nearest first: devices of the site, mirrors, the hub. Each file is
//! compared with its digest as it comes, so that it does not matter who sent it, and once more
//! after a start or when it was touched: disks forget.

use super::gate::{Gate, Leave};
use super::source::{Got, Road};
use super::sources::Sources;
use super::{Progress, ReleasesConfig, lay_out};
use crate::pipeline::NotFit;
use crate::sync::Wallet;
use landfall_agent_core::release::OrderId;
use landfall_freight::blobs::{BlobError, Blobs};
use landfall_freight::outline::{
    BLOBS, Keys, MANIFEST_BYTES_MAX, Outline, OutlineError, SIGNATURE_BYTES_MAX,
};
use landfall_wire::backoff::Backoff;
use landfall_wire::id::Digest;
use landfall_wire::release::{ReleaseFault, ReleaseRef};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// First pause after nobody could help; it doubles up to the longest.
const RETRY_MIN_MS: u64 = 2_000;
/// Longest pause: a satellite window of some minutes is not missed.
const RETRY_MAX_MS: u64 = 120_000;
/// How soon a pause ends that nobody waits for any more, or when the gate opens.
const PAUSE_STEP: Duration = Duration::from_millis(200);

/// How fetching ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Every file is here, laid out as a package in this directory.
    Here,
    /// It cannot be used.
    NotFit(NotFit),
    /// Nobody wants it any more.
    Left,
}

/// What stands in the way just now.
enum Trouble {
    /// It may pass.
    Passing(String),
    /// It will not.
    NotFit(NotFit),
    /// Nobody wants it any more.
    Left,
}

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Trouble {
        if error.is_full() {
            return space(format!("the disk is full: {error}"));
        }
        Trouble::Passing(error.to_string())
    }
}

fn space(detail: String) -> Trouble {
    Trouble::NotFit(NotFit { fault: ReleaseFault::Space, detail })
}

/// Who can be asked, and where files go.
pub(super) struct Fetcher {
    pub(super) data_dir: PathBuf,
    pub(super) blobs: Blobs,
    /// Public key files.
    pub(super) trust: Vec<PathBuf>,
    /// Configured packages, whose files need not be fetched.
    pub(super) packages: Vec<PathBuf>,
    pub(super) releases: ReleasesConfig,
    /// Without one nobody is asked.
    pub(super) wallet: Option<Arc<Wallet>>,
    pub(super) gate: Gate,
    /// Files whose content was compared with their name by this process, as they were then.
    pub(super) checked: Mutex<BTreeMap<Digest, Stamp>>,
    pub(super) progress: watch::Sender<Option<Progress>>,
}

/// Size and time of a file: one that still has both was not touched.
pub(super) type Stamp = (u64, SystemTime);

impl Fetcher {
    /// Gets everything of a release, however long that takes. `keep` are the releases whose
    /// files must stay. Blocking.
    pub(super) fn run(
        &self,
        id: &OrderId,
        release: &ReleaseRef,
        keep: &[ReleaseRef],
        wanted: &dyn Fn() -> bool,
    ) -> Ended {
        let mut backoff = Backoff::new(RETRY_MIN_MS, RETRY_MAX_MS);
        let mut said = String::new();
        loop {
            let before = self.here();
            let trouble = match self.attempt(id, release, keep, wanted) {
                Ok(()) => return Ended::Here,
                Err(Trouble::NotFit(not_fit)) => return Ended::NotFit(not_fit),
                Err(Trouble::Left) => return Ended::Left,
                Err(Trouble::Passing(trouble)) => trouble,
            };
            self.progress.send_modify(|progress| {
                if let Some(progress) = progress {
                    progress.waits_for = Some(trouble.clone());
                }
            });
            if said != trouble {
                tracing::warn!(package = id.package, trouble, "a release waits for its files");
                said = trouble;
            }
            if self.here() > before {
                backoff.succeeded();
            }
            let pause = backoff.failed(getrandom::u32().unwrap_or(u32::MAX));
            if !self.pause(Duration::from_millis(pause), wanted) {
                return Ended::Left;
            }
        }
    }

    /// Bytes that came.
    fn here(&self) -> u64 {
        self.progress.borrow().as_ref().map_or(0, |progress| progress.bytes_fetched)
    }

    fn pause(&self, pause: Duration, wanted: &dyn Fn() -> bool) -> bool {
        let until = Instant::now() + pause;
        let closed = !self.gate.is_open();
        while Instant::now() < until && !(closed && self.gate.is_open()) {
            if !wanted() {
                return false;
            }
            std::thread::sleep(PAUSE_STEP.min(until.saturating_duration_since(Instant::now())));
        }
        wanted()
    }

    fn attempt(
        &self,
        id: &OrderId,
        release: &ReleaseRef,
        keep: &[ReleaseRef],
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let not_fit =
            |detail: String| Trouble::NotFit(NotFit { fault: ReleaseFault::Package, detail });
        // Signature and manifest first: they say what else is worth a byte.
        let (signature_bytes, manifest_bytes) =
            (u64::from(release.signature_bytes), u64::from(release.manifest_bytes));
        if signature_bytes > SIGNATURE_BYTES_MAX || manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(not_fit("its manifest or signature is larger than any is".to_owned()));
        }
        let sources = Sources::of(&self.releases, self.wallet.as_deref());
        self.get(&sources, release.signature, signature_bytes, wanted)?;
        self.get(&sources, release.manifest, manifest_bytes, wanted)?;
        let outline = self.outline(release).map_err(|error| match error {
            Unread::Blob(error) => error.into(),
            Unread::Outline(error) => not_fit(error.to_string()),
        })?;
        if outline.package != id.package {
            let (is, wants) = (&outline.package, &id.package);
            return Err(not_fit(format!("it is a release of '{is}', not of '{wants}'")));
        }
        let mut missing = self.make_room(release, &outline, keep)?;
        for (digest, bytes) in &outline.files {
            let of_it = self.missing(*digest, *bytes);
            self.get(&sources, *digest, *bytes, wanted)?;
            missing = missing.saturating_sub(of_it);
            self.show(missing, outline.bytes());
        }
        lay_out(&self.data_dir, release, &self.blobs).map(drop).map_err(|error| {
            BlobError::Io { operation: "lay out", path: self.data_dir.clone(), source: error }
                .into()
        })
    }

    /// What a release consists of, if its manifest is here.
    pub(super) fn outline(&self, release: &ReleaseRef) -> Result<Outline, Unread> {
        let keys = Keys::load(&self.trust)?;
        let signature = self.blobs.read(release.signature, SIGNATURE_BYTES_MAX)?;
        let manifest = self.blobs.read(release.manifest, MANIFEST_BYTES_MAX)?;
        Ok(Outline::read(&manifest, &signature, &keys)?)
    }

    /// Every file of some releases. `None` if one of them cannot be read: then nothing must be
    /// removed.
    pub(super) fn files(&self, releases: &[ReleaseRef]) -> Option<BTreeSet<Digest>> {
        let mut files = BTreeSet::new();
        for release in releases {
            files.extend([release.manifest, release.signature]);
            files.extend(self.outline(release).ok()?.files.into_keys());
        }
        Some(files)
    }

    /// Checks the budget; what nobody has to keep goes first. Returns what is missing.
    fn make_room(
        &self,
        release: &ReleaseRef,
        outline: &Outline,
        keep: &[ReleaseRef],
    ) -> Result<u64, Trouble> {
        let missing = outline.files.iter().map(|(digest, bytes)| self.missing(*digest, *bytes));
        let missing = missing.sum();
        self.show(missing, outline.bytes());
        let (needed, most) = (|held: u64| held.saturating_add(missing), self.releases.bytes_max);
        if needed(self.held()?) <= most {
            return Ok(missing);
        }
        let releases: Vec<ReleaseRef> = keep.iter().chain([release]).cloned().collect();
        if let Some(files) = self.files(&releases) {
            let freed = self.blobs.retain(|digest| files.contains(&digest))?;
            tracing::info!(freed, "removed files of earlier releases to make room");
        }
        let held = self.held()?;
        if needed(held) <= most {
            return Ok(missing);
        }
        Err(space(format!(
            "it needs {missing} bytes beside the {held} that are kept; releases.bytes_max is {most}"
        )))
    }

    fn held(&self) -> Result<u64, Trouble> {
        Ok(self.blobs.list()?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// What is missing of a file.
    fn missing(&self, digest: Digest, bytes: u64) -> u64 {
        match self.blobs.size(digest) {
            Some(_) => 0,
            None => bytes.saturating_sub(self.blobs.partial(digest)),
        }
    }

    fn show(&self, bytes_missing: u64, bytes_total: u64) {
        self.progress.send_modify(|progress| {
            let progress = progress.get_or_insert_default();
            (progress.bytes_missing, progress.bytes_total) = (bytes_missing, bytes_total);
            progress.waits_for = None;
        });
    }

    /// Whether a file is here with the content that its name says. It is read once.
    fn is_whole(&self, digest: Digest) -> bool {
        let stamp = || {
            let found = std::fs::metadata(self.blobs.path(digest)).ok()?;
            found.is_file().then_some(())?;
            Some((found.len(), found.modified().ok()?))
        };
        let Some(now) = stamp() else { return false };
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().get(&digest) == Some(&now) {
            return true;
        }
        let whole = self.blobs.check(digest).is_ok();
        if whole {
            checked().insert(digest, now);
        }
        whole
    }

    /// One file, whole and compared with its digest.
    fn get(
        &self,
        sources: &Sources,
        digest: Digest,
        bytes: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        if self.is_whole(digest) {
            return Ok(());
        }
        for package in &self.packages {
            let path = package.join(BLOBS).join(digest.to_string());
            if path.is_file() && self.blobs.adopt(&path, digest, bytes)? {
                return Ok(());
            }
        }
        // Why not, by who was asked.
        let mut why = BTreeMap::new();
        let is_open = self.gate.is_open();
        let far = sources.far.iter().filter(|_| is_open);
        // What comes on the site's own network costs nothing.
        let free = Gate::default();
        let near = sources.near.iter().map(|source| (source, &free));
        for (source, gate) in near.chain(far.map(|source| (source, &self.gate))) {
            if !wanted() {
                return Err(Trouble::Left);
            }
            let mut incoming = self.blobs.receive(digest, bytes)?;
            let road = Road { gate, wanted, count: &|count| self.count(count) };
            match source.get(digest, &mut incoming, &road) {
                Ok(Got::All) => match incoming.finish() {
                    Ok(()) => return Ok(()),
                    Err(BlobError::Damaged { what, .. }) => {
                        tracing::warn!(source = source.name, %digest, what, "a file came damaged");
                        why.insert(&source.name, format!("it sent something else: {what}"));
                    }
                    Err(error) => return Err(error.into()),
                },
                Ok(Got::None) => drop(why.insert(&source.name, "it does not have it".to_owned())),
                Ok(Got::Left) if !wanted() => return Err(Trouble::Left),
                Ok(Got::Left) => break,
                Err(error) => drop(why.insert(&source.name, error)),
            }
        }
        let mut why: Vec<String> = why.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        why.extend(sources.faults.iter().cloned());
        match self.gate.leave() {
            Leave::Closed => why.push("the link does not allow files now".to_owned()),
            Leave::Until(until_ms) => {
                let until = SystemTime::UNIX_EPOCH + Duration::from_millis(until_ms);
                let until = humantime::format_rfc3339_seconds(until);
                why.push(format!(
                    "the link's bytes of the day for files are used up until {until}"
                ));
            }
            Leave::Range { .. } | Leave::Pause(_) if why.is_empty() => {
                why.push("nobody is configured who has it".to_owned());
            }
            Leave::Range { .. } | Leave::Pause(_) => {}
        }
        Err(Trouble::Passing(format!("file {}: {}", digest.short(), why.join("; "))))
    }

    fn count(&self, bytes: u64) {
        self.progress.send_modify(|progress| {
            let progress = progress.get_or_insert_default();
            progress.bytes_fetched += bytes;
            progress.bytes_missing = progress.bytes_missing.saturating_sub(bytes);
        });
    }
}

/// Why a release's manifest was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Outline(#[from] OutlineError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_not_touched_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let fetcher = Fetcher {
            data_dir: dir.path().to_owned(),
            blobs: blobs.clone(),
            trust: Vec::new(),
            packages: Vec::new(),
            releases: ReleasesConfig::default(),
            wallet: None,
            gate: Gate::default(),
            checked: Mutex::default(),
            progress: watch::Sender::new(None),
        };
        let digest = blobs.put(b"a file of a release").unwrap();
        assert!(fetcher.is_whole(digest));
        let path = blobs.path(digest);
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, b"a file of a rElease").unwrap();
        let touch = |at: SystemTime| {
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        touch(written);
        assert!(fetcher.is_whole(digest), "it was read again");
        touch(written + Duration::from_secs(1));
        assert!(!fetcher.is_whole(digest), "what was touched is compared again");
        assert!(!path.exists());
        assert!(!fetcher.is_whole(digest));
    }
}
