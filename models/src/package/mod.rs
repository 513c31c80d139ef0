//! Model packages on disk.
//!
//! ```text
//! manifest.json           what is in it: names, labels, metrics, digests
//! manifest.json.minisig   minisign signature over manifest.json, prehashed
//! blobs/<sha256>          its files, named by their content
//! ```
//! The order of trust: the signature is checked over the raw bytes of the manifest; only then is
//! the manifest parsed; every file is read once, checked against its digest, and kept. What was
//! checked is what is used: nothing is read a second time.

mod error;
mod find;
mod manifest;
mod parts;
pub mod sign;
mod trust;

pub use error::PackageError;
pub use find::{SHIPPED_KEY, shipped_dirs, shipped_trust};
pub(crate) use manifest::check_name;
pub use manifest::{
    EncoderEntry, FORMAT, FileEntry, KindEntry, Manifest, Scheme, Source, TaskEntry,
};
pub use trust::Trust;

use crate::limits;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";
/// The signature's file name.
pub const SIGNATURE: &str = "manifest.json.minisig";
/// The directory of the files.
pub const BLOBS: &str = "blobs";

/// A package whose signature and digests held.
pub struct Package {
    dir: PathBuf,
    manifest: Manifest,
    digest: [u8; 32],
    files: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// Opens a package: signature first, then every digest and size.
    ///
    /// # Errors
    /// What is missing, changed, not trusted or not understood; see [`PackageError::remedy`].
    pub fn open(dir: &Path, trust: &Trust) -> Result<Package, PackageError> {
        if !dir.is_dir() {
            return Err(PackageError::NoDirectory(dir.to_owned()));
        }
        let bytes = read_bounded(&dir.join(MANIFEST), limits::MANIFEST_BYTES_MAX)?
            .ok_or_else(|| PackageError::NoManifest(dir.to_owned()))?;
        let signature = read_bounded(&dir.join(SIGNATURE), limits::SIGNATURE_BYTES_MAX)?
            .ok_or_else(|| PackageError::NoSignature(dir.to_owned()))?;
        trust.verify(dir, &bytes, &signature)?;
        Package::checked(dir, &bytes)
    }

    /// Opens a package that was made here and is not signed yet: every digest and size.
    pub(crate) fn open_unsigned(dir: &Path) -> Result<Package, PackageError> {
        let bytes = read_bounded(&dir.join(MANIFEST), limits::MANIFEST_BYTES_MAX)?
            .ok_or_else(|| PackageError::NoManifest(dir.to_owned()))?;
        Package::checked(dir, &bytes)
    }

    /// Reads and checks everything that a manifest lists.
    fn checked(dir: &Path, bytes: &[u8]) -> Result<Package, PackageError> {
        let manifest = parse_manifest(dir, bytes)?;
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            files.insert(name.clone(), read_checked(dir, name, entry)?);
        }
        Ok(Package { dir: dir.to_owned(), manifest, digest: Sha256::digest(bytes).into(), files })
    }

    /// Where it was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `manifest.json`: the identity of a package in records.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Checks what opening leaves out: that a file whose parts were checked is the one that it is
    /// named after.
    ///
    /// # Errors
    /// The first file that has another digest.
    pub fn check_names(&self) -> Result<(), PackageError> {
        for (name, entry) in &self.manifest.files {
            if entry.parts_sha256.is_some() && hex(&Sha256::digest(self.file(name))) != entry.sha256
            {
                return Err(tampered(&self.dir, name, DIFFERS));
            }
        }
        Ok(())
    }

    /// The checked content of one of its files; empty for a name that the manifest does not list.
    pub fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Parses and checks a manifest whose signature held.
fn parse_manifest(dir: &Path, bytes: &[u8]) -> Result<Manifest, PackageError> {
    let wrong = |what: String| PackageError::Manifest { manifest: dir.join(MANIFEST), what };
    // The format number first: another format may have any other shape.
    #[derive(serde::Deserialize)]
    struct Versioned {
        format: u64,
    }
    let Versioned { format } =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if format != FORMAT {
        return Err(PackageError::Format { dir: dir.to_owned(), found: format });
    }
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    manifest.check().map_err(wrong)?;
    Ok(manifest)
}

/// Reads one file of a package and compares it with its entry.
fn read_checked(dir: &Path, name: &str, entry: &FileEntry) -> Result<Vec<u8>, PackageError> {
    let path = dir.join(BLOBS).join(&entry.sha256);
    let content = match read_at_most(&path, entry.bytes) {
        Ok(Some(content)) => content,
        Ok(None) => {
            return Err(tampered(dir, name, &format!("it is larger than {} bytes", entry.bytes)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PackageError::MissingFile {
                dir: dir.to_owned(),
                name: name.to_owned(),
                digest: entry.sha256.clone(),
            });
        }
        Err(source) => return Err(PackageError::Io { operation: "read", path, source }),
    };
    if content.len() as u64 != entry.bytes {
        let what = format!("it has {} bytes, the manifest says {}", content.len(), entry.bytes);
        return Err(tampered(dir, name, &what));
    }
    let holds = match &entry.parts_sha256 {
        Some(digest) => hex(&parts::digest(&content)) == *digest,
        None => hex(&Sha256::digest(&content)) == entry.sha256,
    };
    if !holds {
        return Err(tampered(dir, name, DIFFERS));
    }
    Ok(content)
}

const DIFFERS: &str = "its SHA-256 differs from the manifest's";

fn tampered(dir: &Path, name: &str, what: &str) -> PackageError {
    PackageError::TamperedFile { dir: dir.to_owned(), name: name.to_owned(), what: what.to_owned() }
}

/// Reads a small file whole; `None` if it does not exist.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, PackageError> {
    let io_error = |source| PackageError::Io { operation: "read", path: path.to_owned(), source };
    match read_at_most(path, bytes_max) {
        Ok(Some(content)) => Ok(Some(content)),
        Ok(None) => Err(io_error(io::Error::other(format!("it is larger than {bytes_max} bytes")))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error(source)),
    }
}

/// Reads a file whole; `None` if it is larger than `bytes_max`.
fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    // Room for all of it at once: a buffer that grows is copied.
    let size = file.metadata()?.len().min(bytes_max) + 1;
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= bytes_max).then_some(content))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
