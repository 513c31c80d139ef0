//! A directory of files that are named by their SHA-256.
//!
//! ```text
//! <dir>/<64 hex digits>        a whole file
//! <dir>/<64 hex digits>.part   one that is coming in; the next try goes on where it ends
//! ```
//! A file gets its name when its content has the digest and is on disk: written under another
//! name, synced, renamed, and the directory synced. So what has a name survives a power cut, and
//! what is cut off by one is found to be incomplete.

use landfall_wire::id::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What comes in is synced so often: a power cut costs at most this much of a slow link.
const SYNC_BYTES: u64 = 1024 * 1024;

/// Ending of a file that is coming in.
const PART: &str = "part";

/// Why a file was not taken or found.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Its content has another digest or size than its name; what there was is removed.
    #[error("file {digest} does not have the content that its name says: {what}")]
    Damaged {
        /// Its name.
        digest: Digest,
        /// How it differs.
        what: String,
    },
    /// Reading or writing failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            BlobError::Damaged { .. } => false,
            BlobError::Io { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_owned();
    move |source| BlobError::Io { operation, path, source }
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    /// Uses a directory, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: &Path) -> Result<Blobs, BlobError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        Ok(Blobs { dir: dir.to_owned() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a file is, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// The size of a file, if it is there.
    pub fn size(&self, digest: Digest) -> Option<u64> {
        let found = fs::metadata(self.path(digest)).ok()?;
        found.is_file().then_some(found.len())
    }

    /// Reads a small file, and compares it with its name: disks forget.
    ///
    /// # Errors
    /// [`BlobError::Damaged`], also for one that is larger than `bytes_max`; the file is removed.
    pub fn read(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut content = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut content).map_err(failed("read", &path))?;
        if content.len() as u64 <= bytes_max && Digest::of(&content) == digest {
            return Ok(content);
        }
        self.remove(digest)?;
        Err(BlobError::Damaged { digest, what: "its digest is another".to_owned() })
    }

    /// Compares a file with its name.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]; the file is removed.
    pub fn check(&self, digest: Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(failed("open", &path))?;
        let (found, _) = hash(&mut file).map_err(failed("read", &path))?;
        if found == digest {
            return Ok(());
        }
        self.remove(digest)?;
        Err(BlobError::Damaged { digest, what: format!("its digest is {found}") })
    }

    /// Keeps some bytes under their digest.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, content: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(content);
        if self.size(digest) == Some(content.len() as u64) {
            return Ok(digest);
        }
        let mut incoming = self.receive(digest, content.len() as u64)?;
        incoming.restart()?;
        incoming.write(content)?;
        incoming.finish()?;
        Ok(digest)
    }

    /// Keeps a file of another directory under its digest, without copying it where both are on
    /// one file system. `false` if its content is another or it is not there; then nothing is
    /// kept.
    ///
    /// # Errors
    /// When it cannot be written here.
    pub fn adopt(&self, from: &Path, digest: Digest, bytes: u64) -> Result<bool, BlobError> {
        if self.size(digest) == Some(bytes) {
            return Ok(true);
        }
        let Ok(mut file) = File::open(from) else { return Ok(false) };
        match hash(&mut file) {
            Ok((found, size)) if found == digest && size == bytes => {}
            Ok(_) | Err(_) => return Ok(false),
        }
        if fs::hard_link(from, self.path(digest)).is_ok() {
            self.sync()?;
            return Ok(true);
        }
        if file.seek(SeekFrom::Start(0)).is_err() {
            return Ok(false);
        }
        let mut incoming = self.receive(digest, bytes)?;
        incoming.restart()?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => incoming.write(&piece[..count])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        match incoming.finish() {
            Ok(()) => Ok(true),
            Err(BlobError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins or goes on with a file of so many bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn receive(&self, digest: Digest, bytes: u64) -> Result<Incoming, BlobError> {
        let path = self.path(digest).with_extension(PART);
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(failed("create", &path))?;
        let mut hasher = Sha256::new();
        let mut have = 0;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = file.read(&mut piece).map_err(failed("read", &path))?;
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            have += count as u64;
        }
        let blobs = self.clone();
        let mut incoming =
            Incoming { blobs, digest, bytes, path, file, hasher, have, synced: have };
        if have > bytes {
            incoming.restart()?;
        }
        Ok(incoming)
    }

    /// How much of a file has come in, whole or not.
    pub fn partial(&self, digest: Digest) -> u64 {
        fs::metadata(self.path(digest).with_extension(PART)).map_or(0, |found| found.len())
    }

    /// Every whole file with its size. Others in the directory are left alone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, BlobError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let size = entry.metadata().map_err(failed("look at", &entry.path()))?.len();
            found.push((digest, size));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a file, whole or not; one that is not there is removed already.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, digest: Digest) -> Result<(), BlobError> {
        for path in [self.path(digest), self.path(digest).with_extension(PART)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Removes every file for which `keep` is false, those that are coming in included; returns
    /// the bytes that this freed.
    ///
    /// # Errors
    /// When the directory cannot be read or a file not removed.
    pub fn retain(&self, keep: impl Fn(Digest) -> bool) -> Result<u64, BlobError> {
        let mut freed = 0;
        for entry in fs::read_dir(&self.dir).map_err(failed("list", &self.dir))? {
            let path = entry.map_err(failed("list", &self.dir))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(digest) = stem.and_then(|stem| stem.parse().ok()) else { continue };
            if keep(digest) {
                continue;
            }
            freed += fs::metadata(&path).map_or(0, |found| found.len());
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(freed)
    }

    fn sync(&self) -> Result<(), BlobError> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(failed("sync", &self.dir))
    }
}

fn hash(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((Digest(hasher.finalize().into()), bytes));
        }
        hasher.update(&piece[..count]);
        bytes += count as u64;
    }
}

/// A file that is coming in.
pub struct Incoming {
    blobs: Blobs,
    digest: Digest,
    bytes: u64,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    have: u64,
    synced: u64,
}

impl Incoming {
    /// Bytes that are here already.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Bytes that are missing.
    pub fn missing(&self) -> u64 {
        self.bytes - self.have
    }

    /// Forgets what is here.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(failed("write", &self.path))?;
        (self.hasher, self.have, self.synced) = (Sha256::new(), 0, 0);
        Ok(())
    }

    /// The next bytes. What is more than the file has is not taken: it is found at the end.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let room = usize::try_from(self.missing()).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        self.file.write_all(bytes).map_err(failed("write", &self.path))?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        if self.have - self.synced >= SYNC_BYTES {
            self.file.sync_data().map_err(failed("sync", &self.path))?;
            self.synced = self.have;
        }
        Ok(())
    }

    /// Compares what came with the digest, and only then gives the file its name.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]: what came is removed, and the next try begins anew.
    pub fn finish(self) -> Result<(), BlobError> {
        let digest = self.digest;
        let found = Digest(self.hasher.finalize().into());
        let what = if self.have != self.bytes {
            format!("{} bytes came of {}", self.have, self.bytes)
        } else if found != digest {
            format!("its digest is {found}")
        } else {
            self.file.sync_all().map_err(failed("sync", &self.path))?;
            let to = self.blobs.path(digest);
            fs::rename(&self.path, &to).map_err(failed("rename", &self.path))?;
            return self.blobs.sync();
        };
        fs::remove_file(&self.path).map_err(failed("remove", &self.path))?;
        Err(BlobError::Damaged { digest, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&dir.path().join("blobs")).unwrap();
        (dir, blobs)
    }

    #[test]
    fn what_comes_in_pieces_over_several_lives_is_whole_at_the_end() {
        let (_dir, blobs) = blobs();
        let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let digest = Digest::of(&content);
        for piece in content.chunks(90_001) {
            let mut incoming = blobs.receive(digest, content.len() as u64).unwrap();
            incoming.write(piece).unwrap();
            // Dropped, as a killed agent drops it.
        }
        assert_eq!(blobs.size(digest), None);
        assert_eq!(blobs.partial(digest), content.len() as u64);
        let incoming = blobs.receive(digest, content.len() as u64).unwrap();
        assert_eq!(incoming.missing(), 0);
        incoming.finish().unwrap();
        assert_eq!(blobs.read(digest, 1 << 20).unwrap(), content);
        assert_eq!(blobs.list().unwrap(), [(digest, content.len() as u64)]);
    }

    #[test]
    fn what_is_not_what_its_name_says_gets_no_name() {
        let (_dir, blobs) = blobs();
        let digest = Digest::of(b"right");
        for wrong in [&b"wrong"[..], b"righ", b"righteous"] {
            let mut incoming = blobs.receive(digest, wrong.len().min(5) as u64).unwrap();
            incoming.write(wrong).unwrap();
            let ended = incoming.finish();
            if wrong == b"righteous" {
                ended.unwrap(); // Cut to its size, it is what its name says.
            } else {
                assert!(matches!(ended, Err(BlobError::Damaged { .. })), "{wrong:?}");
                assert_eq!(blobs.size(digest), None);
                assert_eq!(blobs.partial(digest), 0);
            }
        }
    }

    #[test]
    fn a_damaged_file_is_noticed_and_removed() {
        let (_dir, blobs) = blobs();
        let digest = blobs.put(b"content").unwrap();
        assert_eq!(blobs.put(b"content").unwrap(), digest);
        fs::write(blobs.path(digest), b"Content").unwrap();
        assert!(matches!(blobs.check(digest), Err(BlobError::Damaged { .. })));
        assert_eq!(blobs.size(digest), None);
        blobs.put(b"content").unwrap();
        fs::write(blobs.path(digest), b"contents, and more").unwrap();
        assert!(matches!(blobs.read(digest, 7), Err(BlobError::Damaged { .. })));
        assert_eq!(blobs.size(digest), None);
    }

    #[test]
    fn a_file_of_another_directory_is_adopted_if_it_is_the_one() {
        let (dir, blobs) = blobs();
        let other = dir.path().join("other");
        fs::write(&other, b"encoder").unwrap();
        let digest = Digest::of(b"encoder");
        assert!(!blobs.adopt(&other, Digest::of(b"else"), 7).unwrap());
        assert!(!blobs.adopt(&dir.path().join("nothing"), digest, 7).unwrap());
        assert!(blobs.adopt(&other, digest, 7).unwrap());
        assert_eq!(blobs.read(digest, 7).unwrap(), b"encoder");
        fs::remove_file(&other).unwrap();
        assert!(blobs.adopt(&other, digest, 7).unwrap(), "it is here already");
    }

    #[test]
    fn what_nobody_needs_is_removed() {
        let (_dir, blobs) = blobs();
        let (kept, gone) = (blobs.put(b"kept").unwrap(), blobs.put(b"gone").unwrap());
        let half = Digest::of(b"half of it");
        blobs.receive(half, 10).unwrap().write(b"half").unwrap();
        fs::write(blobs.dir().join("README"), b"somebody's").unwrap();
        assert_eq!(blobs.retain(|digest| digest == kept).unwrap(), 8);
        assert_eq!((blobs.size(kept), blobs.size(gone)), (Some(4), None));
        assert_eq!(blobs.partial(half), 0);
        assert!(blobs.dir().join("README").is_file());
    }
}
