//! A file that is given up when the disk is full: sled needs free space to open a store again,
//! and acknowledgements must be written for space to come back.

use landfall_agent_core::store::BALLAST_BYTES;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn new(dir: &Path) -> Ballast {
        Ballast { path: dir.join("ballast") }
    }

    /// Makes the file if it is not there in full, and only if as much again is free: a ballast
    /// that takes the very space that it just gave back would help nobody.
    pub(super) fn ensure(&self) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|meta| meta.len() == BALLAST_BYTES) {
            return Ok(());
        }
        let probe = self.path.with_extension("probe");
        let made = write(&self.path).and_then(|()| write(&probe));
        remove(&probe);
        if made.is_err() {
            self.release();
        }
        made
    }

    /// Gives its space back.
    pub(super) fn release(&self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a ballast file cannot be removed");
    }
}

fn write(path: &Path) -> io::Result<()> {
    // Not zeros: a file system may store those without taking space.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(8 * 1024)
    .flatten()
    .collect();
    let mut file = File::create(path)?;
    for _ in 0..BALLAST_BYTES / block.len() as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()
}
