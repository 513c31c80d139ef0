//! Decisions that callers were told while nothing could be recorded: how many, from when to when.
//!
//! The count is kept beside the store in a file that has its full size from the start, so that it
//! can be written in place on a full disk. It is written with every such decision, which survives
//! a kill, and synced every [`TRY_EVERY`], which survives a power cut. Once the store takes
//! records again, the hub is told by an event; only when that is durable the file is cleared. A
//! crash in between tells it twice, under the same beginning, and the hub keeps the later one. On a
//! disk that cannot be written at all the count is in memory alone.

use crate::clock::Clock;
use crate::store::{Store, StoreError};
use landfall_wire::record::Event;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const NAME: &str = "unrecorded";

/// Size of the file: one sector, so that a write is whole or not at all.
const FILE_BYTES: usize = 512;

/// How often the count is synced, and it is tried to tell the hub: as much as a power cut costs.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Decisions without a record that the hub has not been told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first, milliseconds since 1970.
    pub from_ms: u64,
    /// The last.
    pub until_ms: u64,
    /// How many.
    pub decisions: u64,
}

/// Counts decisions without a record.
#[derive(Clone)]
pub(super) struct Unrecorded {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<Clock>,
    state: Mutex<State>,
}

struct State {
    gap: Option<Gap>,
    file: Option<Arc<File>>,
    /// A task waits for the store to take records again.
    telling: bool,
}

impl Unrecorded {
    /// Goes on with what the last process left in `data_dir`. With `prepare`, makes the file
    /// that a full disk has no room for later. Needs a runtime.
    pub(super) fn open(
        data_dir: &Path,
        prepare: bool,
        store: Store,
        clock: Arc<Clock>,
    ) -> Unrecorded {
        let path = data_dir.join(NAME);
        let (gap, file) = match open(&path, prepare) {
            Ok(found) => found,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, %path, "decisions without a record are counted in memory");
                (None, None)
            }
        };
        let state = State { gap, file: file.map(Arc::new), telling: false };
        let unrecorded =
            Unrecorded { shared: Arc::new(Shared { store, clock, state: state.into() }) };
        if gap.is_some() {
            unrecorded.tell_later(&mut unrecorded.shared.lock());
        }
        unrecorded
    }

    /// A caller is about to be told a decision that has no record.
    pub(super) fn count(&self) {
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.shared.lock();
        let gap = state.gap.unwrap_or(Gap { from_ms: now_ms, until_ms: now_ms, decisions: 0 });
        let decisions = gap.decisions + 1;
        state.set(Some(Gap { until_ms: now_ms.max(gap.from_ms), decisions, ..gap }));
        self.tell_later(&mut state);
    }

    /// What the hub has not been told of yet.
    pub(super) fn gap(&self) -> Option<Gap> {
        self.shared.lock().gap
    }

    fn tell_later(&self, state: &mut State) {
        if !state.telling {
            state.telling = true;
            tokio::spawn(Arc::clone(&self.shared).tell());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the store takes records, and tells the hub.
    async fn tell(self: Arc<Shared>) {
        loop {
            let Some((gap, file)) = self.untold() else { return };
            if self.store.status().refusing.is_some() {
                // The file tells more than memory only for as long as it can be written.
                let _synced = sync(file).await;
                tokio::time::sleep(TRY_EVERY).await;
                continue;
            }
            let Gap { from_ms, until_ms, decisions } = gap;
            // Durable first; only then the count is forgotten.
            match self.store.event(Event::Unrecorded { from_ms, until_ms, decisions }).await {
                Ok(()) => {
                    tracing::warn!(decisions, from_ms, until_ms, "decisions were not recorded");
                    self.lock().told(&gap);
                    let file = self.lock().file.clone();
                    let _synced = sync(file).await;
                }
                Err(StoreError::Stopped) => return,
                Err(_) => tokio::time::sleep(TRY_EVERY).await,
            }
        }
    }

    /// What is to be told; `None` ends the telling, in one step with the look.
    fn untold(&self) -> Option<(Gap, Option<Arc<File>>)> {
        let mut state = self.lock();
        let gap = state.gap;
        state.telling = gap.is_some();
        gap.map(|gap| (gap, state.file.clone()))
    }
}

impl State {
    /// The hub will hear of `told`; what came since remains.
    fn told(&mut self, told: &Gap) {
        let rest = self.gap.filter(|gap| gap.decisions > told.decisions);
        self.set(rest.map(|gap| Gap {
            from_ms: told.until_ms,
            decisions: gap.decisions - told.decisions,
            ..gap
        }));
    }

    fn set(&mut self, gap: Option<Gap>) {
        self.gap = gap;
        if let Some(file) = &self.file
            && let Err(error) = write(file, gap)
            && gap.is_none_or(|gap| gap.decisions == 1)
        {
            // As on a disk that is read-only. It is written again with the next.
            tracing::warn!(%error, "decisions without a record are counted in memory");
        }
    }
}

async fn sync(file: Option<Arc<File>>) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
    synced.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// What the file says, and the file, if it is there or was made.
fn open(path: &PathBuf, prepare: bool) -> io::Result<(Option<Gap>, Option<File>)> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !prepare => {
            return Ok((None, None));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            write(&file, None)?;
            file.sync_all()?;
            file
        }
        Err(error) => return Err(error),
    };
    let mut bytes = [0; FILE_BYTES];
    // A file that a crash left short says nothing yet.
    let gap = file.read_exact_at(&mut bytes, 0).ok().and_then(|()| parse(&bytes));
    if gap.is_none() {
        write(&file, None)?;
    }
    Ok((gap, Some(file)))
}

fn parse(bytes: &[u8]) -> Option<Gap> {
    serde_json::from_slice::<Option<Gap>>(bytes.trim_ascii_end()).ok().flatten()
}

fn write(file: &File, gap: Option<Gap>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&gap)?;
    bytes.resize(FILE_BYTES, b' ');
    file.write_all_at(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_its_size_from_the_start_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        assert!(matches!(open(&path, false), Ok((None, None))), "not made where nobody asked");
        let (gap, file) = open(&path, true).unwrap();
        assert_eq!((gap, std::fs::metadata(&path).unwrap().len()), (None, FILE_BYTES as u64));
        let gap = Gap { from_ms: 1, until_ms: u64::MAX, decisions: u64::MAX };
        write(&file.unwrap(), Some(gap)).unwrap();
        assert_eq!(open(&path, false).unwrap().0, Some(gap));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(open(&path, false).unwrap().0, None, "a torn file says nothing");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES as u64, "and is mended");
    }

    #[test]
    fn what_came_while_the_hub_was_told_remains() {
        let gap = |from_ms, until_ms, decisions| Gap { from_ms, until_ms, decisions };
        let mut state = State { gap: Some(gap(10, 40, 7)), file: None, telling: true };
        state.told(&gap(10, 30, 5));
        assert_eq!(state.gap, Some(gap(30, 40, 2)));
        state.told(&gap(30, 40, 2));
        assert_eq!(state.gap, None);
    }
}
