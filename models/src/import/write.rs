//! Writes a package beside its destination and moves it there when it is whole.
//!
//! Every file is written under another name, synced, and renamed to its digest. Until
//! [`Stage::finish`] the destination is as it was.

use super::error::{Result, io_error, refused};
use crate::package::{BLOBS, FileEntry, MANIFEST, Manifest, hex};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A package in the making. Dropped unfinished, it leaves nothing behind.
pub(super) struct Stage {
    dir: PathBuf,
    out: PathBuf,
    files: BTreeMap<String, FileEntry>,
}

impl Stage {
    pub(super) fn new(out: &Path) -> Result<Stage> {
        let name = out.file_name().ok_or_else(|| {
            refused(format!("{} names no directory", out.display()), "name one with --out")
        })?;
        if out.exists() && !out.join(MANIFEST).is_file() {
            return Err(refused(
                format!("{} exists and is no model package", out.display()),
                "name another directory with --out, or remove this one",
            ));
        }
        let mut staged = name.to_owned();
        staged.push(".importing");
        let dir = out.with_file_name(staged);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
        }
        let blobs = dir.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(io_error("create", &blobs))?;
        Ok(Stage { dir, out: out.to_owned(), files: BTreeMap::new() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a file and returns its path.
    pub(super) fn add(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Hashed) -> io::Result<()>,
    ) -> Result<PathBuf> {
        let staged = self.dir.join(BLOBS).join("new");
        let failed = io_error("write", &staged);
        let file = File::create(&staged).map_err(&failed)?;
        let mut out = Hashed { file: BufWriter::new(file), sha256: Sha256::new(), bytes: 0 };
        write(&mut out).map_err(&failed)?;
        let file = out.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(&failed)?;
        let sha256 = hex(&out.sha256.finalize());
        let path = self.dir.join(BLOBS).join(&sha256);
        fs::rename(&staged, &path).map_err(&failed)?;
        self.files
            .insert(name.to_owned(), FileEntry { sha256, bytes: out.bytes, parts_sha256: None });
        Ok(path)
    }

    /// Adds a file that is in memory.
    pub(super) fn add_bytes(&mut self, name: &str, content: &[u8]) -> Result<PathBuf> {
        self.add(name, |out| out.write_all(content))
    }

    /// Writes the manifest, with the files that were added.
    pub(super) fn write_manifest(&self, manifest: &mut Manifest) -> Result<()> {
        manifest.files = self.files.clone();
        let wrong = |what: String| {
            refused(what, "choose other options; see `landfall-models import --help`")
        };
        manifest.check().map_err(|what| wrong(format!("the package's manifest: {what}")))?;
        let mut text = serde_json::to_string_pretty(manifest).map_err(|e| wrong(e.to_string()))?;
        text.push('\n');
        let staged = self.dir.join("manifest.new");
        let failed = io_error("write", &staged);
        let mut file = File::create(&staged).map_err(&failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(&failed)?;
        fs::rename(&staged, self.dir.join(MANIFEST)).map_err(&failed)
    }

    /// Puts the package where it belongs, in place of an older one.
    pub(super) fn finish(self) -> Result<()> {
        sync_dir(&self.dir.join(BLOBS))?;
        sync_dir(&self.dir)?;
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(".replaced");
        let old = self.out.with_file_name(name);
        if old.exists() {
            fs::remove_dir_all(&old).map_err(io_error("remove", &old))?;
        }
        if self.out.exists() {
            fs::rename(&self.out, &old).map_err(io_error("replace", &self.out))?;
        }
        fs::rename(&self.dir, &self.out).map_err(io_error("write", &self.out))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(io_error("remove", &old))?;
        }
        let home = self.out.parent().filter(|home| !home.as_os_str().is_empty());
        sync_dir(home.unwrap_or(Path::new(".")))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Finished, it is gone already.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

/// A file that is hashed and counted as it is written.
pub(super) struct Hashed {
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
