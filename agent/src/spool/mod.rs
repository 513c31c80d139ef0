//! The spool intake: for systems that can only drop files.
//!
//! ```text
//! <dir>/<task>/orders.csv                     dropped here: .txt, .jsonl or .csv
//! <dir>/<task>/work/orders.csv                being decided
//! <dir>/<task>/done/orders.csv                decided, with orders.csv.results.jsonl
//! <dir>/<task>/failed/orders.csv              not readable, with orders.csv.reason.txt
//! ```
//! A file is taken once it did not change between two looks; better still, it is written under
//! a name that ends in `.part` and renamed when complete. Names that start with a dot or end in
//! `.part` are left alone.
//!
//! Invariants: a file is at every moment in exactly one folder, and is never removed; what was
//! interrupted goes on after a restart; a line is recorded once, because its id is made of the
//! file's name and content and the line. So a file that is dropped again unchanged gets the same
//! results and records nothing. A line that cannot be read has its error in the results and
//! spoils no other; `failed/<name>.reason.txt` names such lines.

mod file;

use crate::config;
use crate::pipeline::Pipeline;
use file::{Fate, Folder};
use landfall_wire::id::TaskName;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How often the folders are looked at: a look costs one system call a folder.
const LOOK: Duration = Duration::from_secs(1);

/// Longest pause when the store takes nothing; it doubles up to here.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why the spool cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the spool in {}: {source}", path.display())]
pub struct SpoolError {
    path: PathBuf,
    source: std::io::Error,
}

/// The spool of all tasks.
pub struct Spool {
    folders: Vec<Folder>,
    pipeline: Pipeline,
    stopping: watch::Receiver<bool>,
    seen: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
}

impl Spool {
    /// Makes the folders of every task.
    ///
    /// # Errors
    /// [`SpoolError`], with the folder that cannot be made.
    pub fn open(
        config: &config::Spool,
        pipeline: Pipeline,
        stopping: watch::Receiver<bool>,
    ) -> Result<Spool, SpoolError> {
        let folder = |task: &TaskName| {
            let dir = config.dir.join(task.as_str());
            Folder::make(&dir, task.clone()).map_err(|source| SpoolError { path: dir, source })
        };
        let folders = pipeline.served().tasks.keys().map(folder).collect::<Result<_, _>>()?;
        Ok(Spool { folders, pipeline, stopping, seen: BTreeMap::new() })
    }

    /// Watches until the agent stops. Blocking, for a thread of its own; needs a runtime.
    pub fn run(mut self) {
        let runtime = Handle::current();
        let mut pause = LOOK;
        loop {
            match self.look(&runtime) {
                Look::Done => pause = LOOK,
                Look::Later => pause = (pause * 2).min(PAUSE_MAX),
                Look::Stopping => return,
            }
            let stopped = self.stopping.wait_for(|stopping| *stopping);
            if runtime.block_on(tokio::time::timeout(pause, stopped)).is_ok() {
                return;
            }
        }
    }

    /// Decides what was interrupted, then what is new.
    fn look(&mut self, runtime: &Handle) -> Look {
        let mut seen = BTreeMap::new();
        for folder in &self.folders {
            let stable = settled(&folder.dir, &self.seen, &mut seen);
            let interrupted = names(&folder.work());
            // Taken one by one: a file in work/ is the one being decided.
            let work = interrupted.iter().filter_map(|name| name.to_str().map(str::to_owned));
            for name in work.chain(stable.iter().filter_map(|name| folder.claim(name))) {
                match folder.process(&name, &self.pipeline, runtime, &self.stopping) {
                    Fate::Done | Fate::Failed => {}
                    Fate::Later => return Look::Later,
                    Fate::Stopping => return Look::Stopping,
                }
            }
        }
        self.seen = seen;
        Look::Done
    }
}

/// What a look came to.
enum Look {
    Done,
    Later,
    Stopping,
}

/// Names in `dir` whose size and time are as they were at the last look; every other is noted
/// for the next.
fn settled(
    dir: &Path,
    before: &BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    now: &mut BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
) -> Vec<OsString> {
    let mut settled = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        let Ok(facts) = fs::metadata(&path) else { continue };
        let facts = (facts.len(), facts.modified().ok());
        if before.get(&path) == Some(&facts) {
            settled.push(name);
        } else {
            now.insert(path, facts);
        }
    }
    settled
}

/// Files of a folder that are meant for us, in the order of their names.
fn names(dir: &Path) -> Vec<OsString> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "a spool folder cannot be read");
            return Vec::new();
        }
    };
    let ours = |name: &OsString| {
        let name = name.as_encoded_bytes();
        !name.starts_with(b".") && !name.ends_with(b".part")
    };
    let mut names: Vec<OsString> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.file_name())
        .filter(ours)
        .collect();
    names.sort_unstable();
    names
}
