//! What a package's manifest says of its files, after the signature over it held. Everything
//! else in it is for whoever runs the package, and read there.

use landfall_wire::id::Digest;
use landfall_wire::limits::NAME_BYTES_MAX;
use minisign_verify::{PublicKey, Signature};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the manifest in a package's directory.
pub const MANIFEST: &str = "manifest.json";
/// Name of the signature.
pub const SIGNATURE: &str = "manifest.json.minisig";
/// The directory of the files.
pub const BLOBS: &str = "blobs";

/// Largest manifest in bytes, as packages have it.
pub const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Largest signature or key in bytes, as packages have it.
pub const SIGNATURE_BYTES_MAX: u64 = 4096;

/// Most files in a package, as packages have it.
const FILES_MAX: usize = 1024;
/// Longest version in bytes: it goes into records.
const VERSION_BYTES_MAX: usize = 63;

/// Why a manifest is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutlineError {
    /// A key file cannot be used.
    #[error("{}: {what}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The signature is by none of the trusted keys, or of another manifest.
    #[error("the signature over the manifest does not hold: {0}")]
    Signature(String),
    /// The manifest is signed and makes no sense.
    #[error("the manifest cannot be used: {0}")]
    Manifest(String),
}

/// Keys whose signature counts.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<PublicKey>);

impl Keys {
    /// Reads public key files, as minisign writes them.
    ///
    /// # Errors
    /// [`OutlineError::Key`], for the first that is none.
    pub fn load(files: &[PathBuf]) -> Result<Keys, OutlineError> {
        files.iter().map(|path| load(path)).collect::<Result<_, _>>().map(Keys)
    }

    /// Checks a signature over a manifest.
    ///
    /// # Errors
    /// [`OutlineError::Signature`].
    pub fn verify(&self, manifest: &[u8], signature: &[u8]) -> Result<(), OutlineError> {
        let wrong = |what: &str| OutlineError::Signature(what.to_owned());
        let text = std::str::from_utf8(signature).map_err(|_| wrong("it is no text"))?;
        let signature =
            Signature::decode(text).map_err(|_| wrong("it is no minisign signature"))?;
        if self.0.iter().any(|key| key.verify(manifest, &signature, false).is_ok()) {
            return Ok(());
        }
        Err(wrong("it is by a key that is not trusted here, or the manifest was changed"))
    }
}

fn load(path: &Path) -> Result<PublicKey, OutlineError> {
    let wrong = |what: String| OutlineError::Key { path: path.to_owned(), what };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > SIGNATURE_BYTES_MAX {
        return Err(wrong(format!("it has {size} bytes, which no key has")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    PublicKey::decode(text.trim_end()).map_err(|_| wrong("it is no minisign public key".to_owned()))
}

/// Which files a package has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// Digest and size of every file; each once.
    pub files: BTreeMap<Digest, u64>,
}

impl Outline {
    /// Reads a manifest whose signature must hold.
    ///
    /// # Errors
    /// [`OutlineError`].
    pub fn read(manifest: &[u8], signature: &[u8], keys: &Keys) -> Result<Outline, OutlineError> {
        keys.verify(manifest, signature)?;
        #[derive(Deserialize)]
        struct File {
            sha256: Digest,
            bytes: u64,
        }
        #[derive(Deserialize)]
        struct Manifest {
            name: String,
            version: String,
            description: String,
            tasks: BTreeMap<String, serde::de::IgnoredAny>,
            files: BTreeMap<String, File>,
        }
        let wrong = |what: String| OutlineError::Manifest(what);
        let manifest: Manifest =
            serde_json::from_slice(manifest).map_err(|error| wrong(error.to_string()))?;
        let Manifest { name, version, description, tasks, files } = manifest;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(wrong(format!("a name has 1 to {NAME_BYTES_MAX} bytes")));
        }
        if version.len() > VERSION_BYTES_MAX {
            return Err(wrong(format!("a version has at most {VERSION_BYTES_MAX} bytes")));
        }
        if files.len() > FILES_MAX {
            return Err(wrong(format!("it lists {} files, over {FILES_MAX}", files.len())));
        }
        let files = files.into_values().map(|file| (file.sha256, file.bytes)).collect();
        let tasks = tasks.into_keys().collect();
        Ok(Outline { package: name, version, description, tasks, files })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}
