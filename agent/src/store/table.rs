//! sled behind the store.
//!
//! What sled 0.34.7 needs, found by measurement:
//! * `flush()` is not durable on Linux (it ends in `sync_file_range`): after it, `fdatasync`
//!   on a second handle of the file, and only then is a commit acknowledged;
//! * a snapshot left half-written makes every later open fail: it is removed before opening;
//! * a damaged file makes it panic: everything runs inside `catch_unwind`;
//! * its default cache is 1 GB, and its flusher thread wakes the disk: both are set;
//! * after a failed write the handle stays broken: it is dropped.

use landfall_agent_core::store::{CACHE_BYTES, Changes, Pair, Table, TableError};
use landfall_systemd::Pulse;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A dropped handle gives its file lock back from another thread, a little later.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// A sled database with a second handle of its file.
pub(super) struct SledTable {
    /// `None` only while dropping.
    db: Option<sled::Db>,
    file: File,
    dir: PathBuf,
    /// Of the thread that commits.
    pulse: Option<Pulse>,
}

impl SledTable {
    /// Opens or creates the database in `dir`, whose parent exists.
    pub(super) fn open(dir: &Path) -> Result<SledTable, TableError> {
        let db_path = dir.join("db");
        // Killed while creating: nothing was ever acknowledged from it.
        if dir.exists() && fs::metadata(&db_path).map_or(0, |meta| meta.len()) == 0 {
            fs::remove_dir_all(dir).map_err(io_error)?;
        }
        let created = !dir.exists();
        fs::create_dir_all(dir).map_err(io_error)?;
        remove_snapshots(dir, |name| name.ends_with(".generating"))?;
        let db = match open_sled(dir) {
            Err(TableError::Damaged(_)) => {
                // The file may be fine and only the snapshot damaged; sled can do without.
                remove_snapshots(dir, |_| true)?;
                open_sled(dir)?
            }
            other => other?,
        };
        let file = File::options().read(true).write(true).open(&db_path).map_err(io_error)?;
        let table = SledTable { db: Some(db), file, dir: dir.to_owned(), pulse: None };
        if created {
            table.guarded(|db| db.flush().map(drop))?;
            table.file.sync_all().map_err(io_error)?;
            File::open(dir.join("conf")).and_then(|conf| conf.sync_all()).map_err(io_error)?;
            sync_dir(dir).map_err(io_error)?;
            sync_dir(dir.parent().unwrap_or(dir)).map_err(io_error)?;
        }
        Ok(table)
    }

    /// Lets each commit show that its thread gets on.
    pub(super) fn beating(mut self, pulse: Pulse) -> SledTable {
        self.pulse = Some(pulse);
        self
    }

    fn guarded<T>(&self, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, TableError> {
        let Some(db) = &self.db else { return Err(TableError::Damaged("closed".to_owned())) };
        guard(|| act(db))
    }
}

impl Drop for SledTable {
    fn drop(&mut self) {
        // sled flushes here and panics if that fails. What was acknowledged is durable already.
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!(dir = %self.dir.display(), "closing a generation failed");
        }
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.guarded(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        self.guarded(|db| db.range(from..to).next().transpose().map(|pair| pair.map(to_pair)))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        self.guarded(|db| db.range(from..to).next_back().transpose().map(|pair| pair.map(to_pair)))
    }

    fn commit(&self, changes: Changes) -> Result<(), TableError> {
        let mut batch = sled::Batch::default();
        changes.remove.into_iter().for_each(|key| batch.remove(key));
        changes.put.into_iter().for_each(|(key, value)| batch.insert(key, value));
        self.guarded(|db| {
            db.apply_batch(batch)?;
            db.flush().map(drop)
        })?;
        self.file.sync_data().map_err(io_error)?;
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        bytes_of(&self.dir)
    }
}

fn to_pair((key, value): (sled::IVec, sled::IVec)) -> Pair {
    (key.to_vec(), value.to_vec())
}

/// Bytes that the files in `dir` take on disk.
pub(super) fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|meta| meta.blocks() * 512).sum()
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn open_sled(dir: &Path) -> Result<sled::Db, TableError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match guard(|| config.open()) {
            Err(TableError::Io(error)) if is_lock(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn is_lock(error: &str) -> bool {
    error.contains("acquire lock") || error.contains("temporarily unavailable")
}

fn remove_snapshots(dir: &Path, which: impl Fn(&str) -> bool) -> Result<(), TableError> {
    for entry in fs::read_dir(dir).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && which(&name) {
            fs::remove_file(entry.path()).map_err(io_error)?;
        }
    }
    Ok(())
}

fn guard<T>(act: impl FnOnce() -> sled::Result<T>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(io_error(error)),
        Ok(Err(error)) => Err(TableError::Damaged(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(TableError::Damaged(text.unwrap_or("the storage engine panicked").to_owned()))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
pub(super) fn io_error(error: io::Error) -> TableError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            TableError::Full
        }
        // Shorter than it says it is, or not what it should be.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            TableError::Damaged(error.to_string())
        }
        _ => TableError::Io(error.to_string()),
    }
}
