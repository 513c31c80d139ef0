//! The file that says where the store stood, outside of sled: what is in it, and why, is in
//! `witness` of `landfall_agent_core::store`.
//!
//! It has two places of a page, which are written in turn and never synced but when the file is
//! made. Its space is taken then, so that a full disk does not matter.

use super::table::sync_dir;
use landfall_agent_core::store::VALUE_BYTES_MAX;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A place holds the largest value, and is a page: a power cut tears one at most.
const PLACE_BYTES: usize = VALUE_BYTES_MAX;
const PLACES: usize = 2;

/// Filled with this: a file system may store zeros without taking space.
const FILL: u8 = 0xff;

pub(super) struct WitnessFile {
    path: PathBuf,
    file: Option<File>,
    /// The place to be written next.
    next: usize,
}

impl WitnessFile {
    pub(super) fn new(dir: &Path) -> WitnessFile {
        WitnessFile { path: dir.join("witness"), file: None, next: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in its places; nothing where it cannot be read.
    pub(super) fn read(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(&self.path).unwrap_or_default();
        bytes.chunks(PLACE_BYTES).take(PLACES).map(<[u8]>::to_vec).collect()
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        file.write_all_at(bytes, (self.next * PLACE_BYTES) as u64)?;
        self.next = (self.next + 1) % PLACES;
        self.file = Some(file);
        Ok(())
    }
}

/// Opens the file, which is made to have its size.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let bytes = PLACES * PLACE_BYTES;
    if file.metadata()?.len() != bytes as u64 {
        file.set_len(0)?;
        file.write_all_at(&vec![FILL; bytes], 0)?;
        file.sync_all()?;
        sync_dir(path.parent().unwrap_or(path))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_are_kept_and_the_file_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = WitnessFile::new(dir.path());
        assert_eq!(file.read(), Vec::<Vec<u8>>::new());
        for number in 0..5_u8 {
            file.keep(&[number; 100]).unwrap();
        }
        let kept = file.read();
        assert_eq!(kept.iter().map(|place| place[0]).collect::<Vec<_>>(), [4, 3]);
        assert!(kept.iter().all(|place| place.len() == PLACE_BYTES && place[100] == FILL));
        // Another process goes on, and one finds it cut off.
        WitnessFile::new(dir.path()).keep(&[9; 10]).unwrap();
        assert_eq!(file.read()[0][9..12], [9, 4, 4]);
        fs::write(file.path(), [1; 10]).unwrap();
        assert_eq!(WitnessFile::new(dir.path()).read(), [vec![1; 10]]);
        WitnessFile::new(dir.path()).keep(&[7; 10]).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().len(), (PLACES * PLACE_BYTES) as u64);
    }

    #[test]
    fn what_cannot_be_written_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = WitnessFile::new(dir.path());
        fs::create_dir(file.path()).unwrap();
        file.keep(&[1; 10]).unwrap_err();
        assert_eq!(file.read(), Vec::<Vec<u8>>::new());
        fs::remove_dir(file.path()).unwrap();
        file.keep(&[2; 10]).unwrap();
        assert_eq!(file.read()[0][..10], [2; 10]);
    }
}
