//! Making packages: key pairs and signatures. Devices only ever verify.

use super::parts::{self, PART_BYTES};
use super::{FileEntry, MANIFEST, Manifest, PackageError, SIGNATURE, hex, read_bounded};
use crate::limits;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

/// Makes a key pair, the secret key unencrypted and readable by its owner only. Existing files
/// are left alone.
///
/// # Errors
/// When a file exists or cannot be written.
pub fn keygen(secret: &Path, public: &Path) -> Result<(), PackageError> {
    let wrong = |path: &Path, what: String| PackageError::Key { path: path.to_owned(), what };
    for path in [secret, public] {
        if path.exists() {
            return Err(wrong(path, "it exists already and is not overwritten".to_owned()));
        }
    }
    let pair = KeyPair::generate_unencrypted_keypair()
        .map_err(|error| wrong(secret, error.to_string()))?;
    let secret_text =
        pair.sk.to_box(None).map_err(|error| wrong(secret, error.to_string()))?.into_string();
    let public_text =
        pair.pk.to_box().map_err(|error| wrong(public, error.to_string()))?.into_string();
    write_new(secret, secret_text.as_bytes(), true)?;
    write_new(public, public_text.as_bytes(), false)
}

/// Signs a package in place and returns the signature's path. The manifest must be one that
/// [`super::Package::open`] takes; digests of parts are added to it where they are missing.
///
/// # Errors
/// When the manifest cannot be used, the key cannot be read, or something cannot be written.
pub fn sign(dir: &Path, key: &Path) -> Result<PathBuf, PackageError> {
    let bytes = read_bounded(&dir.join(MANIFEST), limits::MANIFEST_BYTES_MAX)?
        .ok_or_else(|| PackageError::NoManifest(dir.to_owned()))?;
    let manifest = super::parse_manifest(dir, &bytes)?;
    let mut parts = BTreeMap::new();
    for (name, entry) in &manifest.files {
        // Whole, and its parts too if they are stated.
        super::read_checked(dir, name, &FileEntry { parts_sha256: None, ..entry.clone() })?;
        let content = super::read_checked(dir, name, entry)?;
        if entry.parts_sha256.is_none() && content.len() > PART_BYTES {
            parts.insert(name, hex(&parts::digest(&content)));
        }
    }
    let completed = if parts.is_empty() { bytes } else { complete(dir, &bytes, &parts)? };
    let signature = signature(&completed, &manifest, key)?;
    if !parts.is_empty() {
        replace(&dir.join(MANIFEST), &completed)?;
    }
    let path = dir.join(SIGNATURE);
    replace(&path, signature.as_bytes())?;
    Ok(path)
}

/// The manifest with some digests more, everything else as it was.
fn complete(
    dir: &Path,
    manifest: &[u8],
    parts: &BTreeMap<&String, String>,
) -> Result<Vec<u8>, PackageError> {
    let wrong = |error: serde_json::Error| PackageError::Manifest {
        manifest: dir.join(MANIFEST),
        what: error.to_string(),
    };
    let mut value: Value = serde_json::from_slice(manifest).map_err(wrong)?;
    for (name, digest) in parts {
        value["files"][name.as_str()]["parts_sha256"] = digest.as_str().into();
    }
    let mut text = serde_json::to_vec_pretty(&value).map_err(wrong)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes a file beside its place and moves it there.
fn replace(path: &Path, content: &[u8]) -> Result<(), PackageError> {
    let mut staged = path.to_owned().into_os_string();
    staged.push(".new");
    let failed = |source| PackageError::Io { operation: "write", path: path.to_owned(), source };
    std::fs::write(&staged, content).map_err(failed)?;
    std::fs::rename(&staged, path).map_err(failed)
}

fn signature(bytes: &[u8], manifest: &Manifest, key: &Path) -> Result<String, PackageError> {
    let wrong = |what: String| PackageError::Key { path: key.to_owned(), what };
    let secret = load_secret(key)?;
    let public = PublicKey::from_secret_key(&secret).map_err(|error| wrong(error.to_string()))?;
    let comment = format!("landfall package {} {}", manifest.name, manifest.version);
    minisign::sign(Some(&public), &secret, Cursor::new(bytes), Some(&comment), None)
        .map(|signed| signed.into_string())
        .map_err(|error| wrong(error.to_string()))
}

fn load_secret(key: &Path) -> Result<SecretKey, PackageError> {
    let wrong = |what: &str| PackageError::Key { path: key.to_owned(), what: what.to_owned() };
    let bytes = read_bounded(key, limits::SIGNATURE_BYTES_MAX)?
        .ok_or_else(|| wrong("it does not exist"))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not a secret key"))?;
    SecretKeyBox::from_string(&text)
        .and_then(SecretKeyBox::into_unencrypted_secret_key)
        .map_err(|_| wrong("it is not an unencrypted minisign secret key"))
}

fn write_new(path: &Path, content: &[u8], private: bool) -> Result<(), PackageError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let failed = |source| PackageError::Io { operation: "write", path: path.to_owned(), source };
    let mut file: File = options.open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
}
