//! Looking at a store that no agent has open, without changing anything: sled repairs and writes
//! whatever it opens, so a copy is opened, in a directory of its own that is removed afterwards.
//!
//! What the agent would salvage at its next start is salvaged in the copy alone.

use super::files::{Files, file_error};
use super::{Opened, Store, StoreConfig, StoreError, WAITING_MAX};
use landfall_agent_core::store::{BALLAST_BYTES, Engine};
use landfall_systemd::Pulse;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use tokio::sync::{Semaphore, watch};
use tracing::subscriber::{NoSubscriber, with_default};

/// Files beside the queue that say something about it are small; larger ones are not the store's.
const BESIDE_BYTES_MAX: u64 = 1 << 20;

/// A store that can only be read, and what opening it found.
pub struct StoreCopy {
    /// To be read from: what is asked of its writer fails.
    pub store: Store,
    /// What the agent will find at its next start.
    pub opened: Opened,
    // Last, so that the files are closed before they are removed.
    _scratch: Scratch,
}

/// A directory that is removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, dir = %self.0.display(), "a copy of the store is left behind");
        }
    }
}

/// Where copies are made: `TMPDIR`, or the place for large files, or that for small ones.
pub fn scratch_home() -> PathBuf {
    let large = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if large.is_dir() => large.to_owned(),
        _ => std::env::temp_dir(),
    }
}

impl StoreCopy {
    /// Copies the store in `dir` to `home` and opens the copy; `None` if there is no store.
    /// Blocking; takes as much space there as the store does.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while an agent has the store open; [`StoreError::File`];
    /// [`StoreError::DiskFull`] if `home` is too small.
    pub fn open(
        dir: &Path,
        home: &Path,
        config: StoreConfig,
    ) -> Result<Option<StoreCopy>, StoreError> {
        let queue = dir.join("q");
        if !queue.is_dir() {
            return Ok(None);
        }
        let scratch = make_scratch(home)?;
        // Nobody writes while it is copied.
        let lock = lock(dir)?;
        copy_beside(dir, &scratch.0)?;
        copy_tree(&queue, &scratch.0.join("q"))?;
        drop(lock);
        // Space for a full disk is of no use to a copy: it has its size and takes no room.
        let ballast = scratch.0.join("ballast");
        let sized = File::create(&ballast).and_then(|file| file.set_len(BALLAST_BYTES));
        sized.map_err(|e| file_error("create", &ballast, &e))?;
        let files = Files::new(&scratch.0, config.device.clone());
        // What is found is reported by whoever asked; the log would tell it as if it had happened.
        let opened = with_default(NoSubscriber::new(), || Engine::open(Box::new(files), config, 0));
        let (engine, opened) = opened?;
        let store = reader(&engine);
        Ok(Some(StoreCopy { store, opened, _scratch: scratch }))
    }
}

/// A handle without a writer behind it.
fn reader(engine: &Engine) -> Store {
    let (ops, _nobody) = mpsc::channel();
    Store {
        shared: engine.shared(),
        ops,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        durable: watch::channel(0).1,
        tickets: watch::Sender::new(0),
        pulse: Pulse::new("store"),
        directives: watch::channel(0).1,
    }
}

fn make_scratch(home: &Path) -> Result<Scratch, StoreError> {
    let random = getrandom::u64()
        .map_err(|e| StoreError::Closed { detail: format!("no random numbers: {e}") })?;
    let dir = home.join(format!("landfall-copy-{random:016x}"));
    // For its owner alone, as the store is.
    let made = DirBuilder::new().mode(0o700).create(&dir);
    made.map_err(|e| file_error("create", &dir, &e))?;
    Ok(Scratch(dir))
}

/// Taken without writing: the disk may be read-only. Without the file no agent ever ran.
fn lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("open", &path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(file_error("lock", &path, &error)),
    }
}

/// The small files beside the queue.
fn copy_beside(dir: &Path, to: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(dir).map_err(|e| file_error("read", dir, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| file_error("read", dir, &e))?;
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).map_err(|e| file_error("read", &path, &e))?;
        let is_lock = entry.file_name() == "lock";
        if meta.is_file() && meta.len() <= BESIDE_BYTES_MAX && !is_lock {
            let target = to.join(entry.file_name());
            fs::copy(&path, &target).map_err(|e| copy_error(&path, to, &e))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(|e| file_error("create", to, &e))?;
    let entries = fs::read_dir(from).map_err(|e| file_error("read", from, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| file_error("read", from, &e))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| file_error("read", &path, &e))?;
        if kind.is_dir() {
            copy_tree(&path, &target)?;
        } else if kind.is_file() {
            fs::copy(&path, &target).map_err(|e| copy_error(&path, to, &e))?;
        }
    }
    Ok(())
}

/// It is the place of the copy that is full, not the disk of the store.
fn copy_error(path: &Path, to: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            let detail = format!("no space for a copy in {}; set TMPDIR", to.display());
            StoreError::File { what: "copy", path: path.to_owned(), detail }
        }
        _ => file_error("copy", path, error),
    }
}
