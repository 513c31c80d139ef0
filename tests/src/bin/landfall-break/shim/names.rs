//! Names that are not durable yet, in the order in which they were made, changed and removed.

use std::fs;
use std::path::{Path, PathBuf};

/// Changes of names since their directories were synced, oldest first.
pub(super) struct Names {
    scratch: PathBuf,
    pending: Vec<Pending>,
    asides: u64,
}

struct Pending {
    change: Change,
    /// Directories that must be synced before it is durable.
    unsynced: Vec<PathBuf>,
}

enum Change {
    Made(PathBuf),
    Removed { path: PathBuf, aside: PathBuf },
    RemovedDir(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<PathBuf> },
}

impl Names {
    pub(super) fn new(scratch: PathBuf) -> Names {
        Names { scratch, pending: Vec::new(), asides: 0 }
    }

    /// A file or directory is there that was not.
    pub(super) fn made(&mut self, path: &Path) {
        self.push(Change::Made(path.to_owned()), &[path]);
    }

    /// Keeps a file that is about to be removed or replaced; `None` if there is none.
    pub(super) fn keep(&mut self, path: &Path) -> Option<PathBuf> {
        self.asides += 1;
        let aside = self.scratch.join(format!("aside-{}-{}", std::process::id(), self.asides));
        fs::hard_link(path, &aside).ok()?;
        Some(aside)
    }

    pub(super) fn removed(&mut self, path: &Path, aside: PathBuf) {
        self.push(Change::Removed { path: path.to_owned(), aside }, &[path]);
    }

    pub(super) fn removed_dir(&mut self, path: &Path) {
        self.push(Change::RemovedDir(path.to_owned()), &[path]);
    }

    pub(super) fn renamed(&mut self, from: &Path, to: &Path, replaced: Option<PathBuf>) {
        let change = Change::Renamed { from: from.to_owned(), to: to.to_owned(), replaced };
        self.push(change, &[from, to]);
    }

    fn push(&mut self, change: Change, paths: &[&Path]) {
        let parents = paths.iter().filter_map(|path| path.parent());
        let mut unsynced: Vec<PathBuf> = parents.map(Path::to_owned).collect();
        unsynced.dedup();
        self.pending.push(Pending { change, unsynced });
    }

    /// The names in a directory are durable.
    pub(super) fn synced(&mut self, dir: &Path) {
        let mut gone = Vec::new();
        self.pending.retain_mut(|pending| {
            pending.unsynced.retain(|unsynced| unsynced != dir);
            let is_durable = pending.unsynced.is_empty();
            if is_durable && let Change::RemovedDir(path) = &pending.change {
                gone.push(path.clone());
            }
            !is_durable
        });
        // What was in a directory that is gone for good cannot come back.
        self.pending.retain(|pending| {
            let inside = |dir: &PathBuf| pending.unsynced.iter().all(|path| path.starts_with(dir));
            !gone.iter().any(inside)
        });
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Undoes the newest until `stay` are left.
    pub(super) fn undo_to(&mut self, stay: usize) {
        for pending in self.pending.drain(stay..).rev() {
            // The disk is lost either way; whoever opens it finds out.
            let _broken = match pending.change {
                Change::Made(path) if path.is_dir() => fs::remove_dir_all(path),
                Change::Made(path) => fs::remove_file(path),
                Change::Removed { path, aside } => fs::rename(aside, path),
                Change::RemovedDir(path) => fs::create_dir(path),
                Change::Renamed { from, to, replaced } => {
                    fs::rename(&to, from).and_then(|()| match replaced {
                        Some(aside) => fs::rename(aside, to),
                        None => Ok(()),
                    })
                }
            };
        }
    }
}
