//! The store's files: a directory for each generation, below `q`.

use super::ballast::Ballast;
use super::table::{SledTable, sync_dir};
use super::tip;
use super::witness::WitnessFile;
use landfall_agent_core::store::{Medium, Notice, StoreError, Table, TableError, VALUE_BYTES_MAX};
use landfall_systemd::Pulse;
use landfall_wire::id::{DeviceId, Epoch};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Damaged generations kept for a person to look at; older ones are removed, or they would fill
/// the disk.
const DAMAGED_KEPT_MAX: usize = 2;

/// Read at once from a damaged file: bounds memory, however large it is.
const PIECE_BYTES: usize = 4 << 20;

/// Whether other processes are kept out.
enum Lock {
    /// Nobody else knows the directory.
    NotNeeded,
    /// Before the first look.
    Wanted,
    Held(#[expect(dead_code, reason = "held, not looked at")] File),
}

/// Generations in directories, with the ballast beside them.
pub(super) struct Files {
    dir: PathBuf,
    device: Option<DeviceId>,
    ballast: Ballast,
    witness: WitnessFile,
    /// Held while the store is in use, so that no second process opens it. It may be taken only
    /// when the disk lets it be.
    lock: Lock,
    /// Salvaging takes long, and goes through here piece by piece.
    pulse: Pulse,
}

impl Files {
    /// The store in `dir`, which exists, of a device that may have a name.
    pub(super) fn new(dir: &Path, device: Option<DeviceId>) -> Files {
        let (ballast, witness) = (Ballast::new(dir), WitnessFile::new(dir));
        let (lock, pulse) = (Lock::NotNeeded, Pulse::new("store"));
        Files { dir: dir.to_owned(), device, ballast, witness, lock, pulse }
    }

    /// Keeps other processes out, from the first look on.
    pub(super) fn locked(self) -> Files {
        Files { lock: Lock::Wanted, ..self }
    }

    /// Keeps other processes out from now on.
    pub(super) fn keep_out(&mut self) -> Result<(), StoreError> {
        if let Lock::Wanted = self.lock {
            fs::create_dir_all(&self.dir).map_err(|e| file_error("create", &self.dir, &e))?;
            self.lock = Lock::Held(lock(&self.dir)?);
        }
        Ok(())
    }

    /// Of the thread that uses them.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    fn queue(&self) -> PathBuf {
        self.dir.join("q")
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.queue().join(number.to_string())
    }
}

impl Medium for Files {
    fn list(&mut self) -> Result<Vec<u64>, StoreError> {
        self.keep_out()?;
        let queue = self.queue();
        if !queue.is_dir() {
            fs::create_dir_all(&queue)
                .and_then(|()| sync_dir(&self.dir))
                .and_then(|()| sync_dir(self.dir.parent().unwrap_or(&self.dir)))
                .map_err(|e| file_error("create", &queue, &e))?;
        }
        let mut numbers: Vec<u64> = numbered(&queue, "")?.into_iter().map(|(n, _)| n).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&mut self, number: u64) -> Result<Box<dyn Table>, TableError> {
        let table = SledTable::open(&self.generation(number))?.beating(self.pulse());
        self.pulse.beat();
        Ok(Box::new(table))
    }

    fn remove(&mut self, number: u64, table: Box<dyn Table>) -> Result<(), StoreError> {
        drop(table);
        let dir = self.generation(number);
        fs::remove_dir_all(&dir)
            .and_then(|()| sync_dir(&self.queue()))
            .map_err(|e| file_error("remove", &dir, &e))
    }

    fn raw(&mut self, number: u64, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let path = self.generation(number).join("db");
        let mut visit = |piece: &[u8]| {
            self.pulse.beat();
            visit(piece);
        };
        pieces(&path, &mut visit).map_err(|e| file_error("read", &path, &e))
    }

    fn tip(&mut self, number: u64) -> Vec<u8> {
        // What cannot be read is not there.
        tip::read(&self.generation(number).join("db")).unwrap_or_default()
    }

    fn discard(&mut self, number: u64) -> Result<(), StoreError> {
        let dir = self.generation(number);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file_error("remove", &dir, &error))
            }
            _ => Ok(()),
        }
    }

    fn set_aside(&mut self, number: u64) -> Result<(), StoreError> {
        if !self.generation(number).exists() {
            return Ok(());
        }
        let mut kept = numbered(&self.dir, "damaged-")?;
        kept.sort();
        let next = kept.last().map_or(1, |(number, _)| number + 1);
        let surplus = (kept.len() + 1).saturating_sub(DAMAGED_KEPT_MAX);
        for (_, old) in kept.into_iter().take(surplus) {
            fs::remove_dir_all(&old).map_err(|e| file_error("remove", &old, &e))?;
        }
        let from = self.generation(number);
        fs::rename(&from, self.dir.join(format!("damaged-{next}")))
            .and_then(|()| sync_dir(&self.queue()))
            .and_then(|()| sync_dir(&self.dir))
            .map_err(|e| file_error("move", &from, &e))
    }

    fn reserve(&mut self) -> Result<(), StoreError> {
        self.ballast.ensure().map_err(|_| StoreError::DiskFull)
    }

    fn release(&mut self) {
        self.ballast.release();
    }

    fn keep_witness(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.witness.keep(bytes).map_err(|e| file_error("write", self.witness.path(), &e))
    }

    fn witnesses(&mut self) -> Vec<Vec<u8>> {
        self.witness.read()
    }

    fn epoch(&mut self) -> Result<Epoch, StoreError> {
        let random = getrandom::u64();
        let failed = |e| StoreError::Closed { detail: format!("no random numbers: {e}") };
        random.map(Epoch).map_err(failed)
    }

    fn device(&self) -> Option<&DeviceId> {
        self.device.as_ref()
    }

    fn path(&self, number: Option<u64>) -> PathBuf {
        number.map_or_else(|| self.queue(), |number| self.generation(number))
    }

    fn notice(&self, notice: Notice<'_>) {
        let dir = self.dir.display();
        match notice {
            Notice::SetAside { generation, detail, salvaged, lost } => {
                tracing::error!(
                    generation,
                    detail,
                    salvaged,
                    lost,
                    "a damaged part of the store was set aside"
                );
            }
            Notice::StreamsGivenUp { count } => {
                tracing::error!(count, "streams of the oldest damaged stores are given up");
            }
            Notice::Failed { generation, detail } => {
                tracing::error!(%dir, generation, detail, "the store failed and is opened again");
            }
            Notice::DiskFull => {
                tracing::error!(%dir, "the disk is full: decisions are refused");
            }
            Notice::StillClosed(error) => {
                tracing::error!(%dir, %error, "the store cannot be opened again yet");
            }
            Notice::Recovered => tracing::info!(%dir, "the store takes records again"),
            Notice::Shed { stream, first, end } => {
                tracing::error!(
                    stream,
                    first,
                    end,
                    "the store is full: the oldest records are dropped"
                );
            }
            Notice::RolledBack { stream, hub, reach, lost } => {
                tracing::error!(
                    stream,
                    hub,
                    reach,
                    lost,
                    "the store was restored from an old image; a new epoch begins"
                );
            }
            Notice::Expired(ticket) => {
                tracing::warn!(%ticket, "an escalation expired without an answer");
            }
            Notice::Upkeep { what, error } => {
                tracing::warn!(what, %error, "upkeep of the store failed, it is tried again");
            }
        }
    }
}

fn numbered(dir: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = fs::read_dir(dir).map_err(|e| file_error("read", dir, &e))?;
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
        Some((number, entry.path()))
    });
    Ok(named.collect())
}

/// The file in pieces, each of which repeats the end of the one before: a value may lie across.
fn pieces(path: &Path, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut piece = Vec::with_capacity(PIECE_BYTES + VALUE_BYTES_MAX);
    loop {
        let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        visit(&piece);
        if read == 0 {
            return Ok(());
        }
        piece.drain(..piece.len().saturating_sub(VALUE_BYTES_MAX));
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| file_error("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(file_error("lock", &path, &e)),
    }
}

/// Whether files cannot be written in `dir`, or made, because of the disk: it is full, read-only
/// or failing. A wrong owner or a path that is none is for a person to mend.
pub(super) fn is_disk_unwell(dir: &Path) -> bool {
    let probe = dir.join("probe");
    let made = fs::create_dir_all(dir).and_then(|()| fs::write(&probe, [0; 512]));
    let _gone = fs::remove_file(&probe);
    made.is_err_and(|error| {
        !matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
        )
    })
}

pub(super) fn file_error(what: &'static str, path: &Path, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::DiskFull;
    }
    StoreError::File { what, path: path.to_owned(), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_across_the_edge_of_a_piece_is_whole_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut raw = vec![0_u8; PIECE_BYTES - 50];
        raw.extend(b"across the edge ".repeat(6));
        raw.extend(vec![0; 100]);
        fs::write(&path, &raw).unwrap();
        let whole = b"across the edge ".repeat(6);
        let mut found = 0;
        let mut seen = 0;
        pieces(&path, &mut |piece| {
            found += usize::from(piece.windows(whole.len()).any(|window| window == whole));
            seen = seen.max(piece.len());
        })
        .unwrap();
        assert!(found >= 1, "never whole");
        assert!(seen <= PIECE_BYTES + VALUE_BYTES_MAX, "{seen}");
        pieces(&dir.path().join("none"), &mut |_| found = 0).unwrap();
        assert!(found >= 1, "a missing file has no pieces");
    }
}
