//! What can be wrong with a package, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why a package, a key or a signature was refused.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// There is no such directory.
    #[error("model package {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// No shipped packages were found in any of the usual places.
    #[error("no model package found (looked in {0})")]
    NotFound(String),
    /// The directory has no manifest.
    #[error("{} has no manifest.json: it is not a model package", .0.display())]
    NoManifest(PathBuf),
    /// The manifest is not signed.
    #[error("model package {} is not signed: manifest.json.minisig is missing", .0.display())]
    NoSignature(PathBuf),
    /// The signature file is not a minisign signature.
    #[error("{} is not a minisign signature", .0.display())]
    BadSignature(PathBuf),
    /// The signature was made by a key that is not trusted here.
    #[error("model package {} is signed by a key that is not trusted (key id {key_id})", .dir.display())]
    UnknownKey {
        /// The package.
        dir: PathBuf,
        /// The signing key's id as minisign prints it.
        key_id: String,
    },
    /// The manifest is not the one that was signed.
    #[error("the manifest of model package {} was changed after it was signed", .0.display())]
    TamperedManifest(PathBuf),
    /// The manifest is signed but cannot be used.
    #[error("{}: {what}", .manifest.display())]
    Manifest {
        /// The manifest's path.
        manifest: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// The manifest has a format that this version does not read.
    #[error("model package {} has format {found}; this version reads format {}", .dir.display(), super::FORMAT)]
    Format {
        /// The package.
        dir: PathBuf,
        /// The format it has.
        found: u64,
    },
    /// A file that the manifest lists is not there.
    #[error("model package {} lacks {name} (blobs/{digest})", .dir.display())]
    MissingFile {
        /// The package.
        dir: PathBuf,
        /// The file's name in the manifest.
        name: String,
        /// Its SHA-256 in hexadecimal.
        digest: String,
    },
    /// A file is not the one that the manifest lists.
    #[error("{name} of model package {} is damaged or was changed: {what}", .dir.display())]
    TamperedFile {
        /// The package.
        dir: PathBuf,
        /// The file's name in the manifest.
        name: String,
        /// How it differs.
        what: String,
    },
    /// A public or secret key file cannot be used.
    #[error("key file {}: {what}", .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Reading or writing failed.
    #[error("cannot {operation} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PackageError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            PackageError::NoDirectory(_) => "check the path",
            PackageError::NotFound(_) => {
                "name a package directory, or set LANDFALL_PACKAGES to the directory that holds them"
            }
            PackageError::NoManifest(_) => {
                "name the directory that holds manifest.json, or copy the package again"
            }
            PackageError::NoSignature(_) | PackageError::BadSignature(_) => {
                "copy the package again, or sign it with `landfall-models sign`"
            }
            PackageError::UnknownKey { .. } => {
                "if you trust its maker, add the maker's .pub file to the trusted keys"
            }
            PackageError::TamperedManifest(_)
            | PackageError::MissingFile { .. }
            | PackageError::TamperedFile { .. } => {
                "do not use it; copy the package again from its source"
            }
            PackageError::Manifest { .. } => "ask the package's maker for a corrected one",
            PackageError::Format { .. } => {
                "install the version of Landfall that the package was made for"
            }
            PackageError::Key { .. } => {
                "name a minisign key file as `landfall-models keygen` or `minisign -G -W` writes it"
            }
            PackageError::Io { .. } => "check that the file exists and that permissions allow it",
        }
    }
}
