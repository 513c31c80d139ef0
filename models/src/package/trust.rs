//! The keys whose packages are accepted.

use super::{PackageError, hex, read_bounded};
use crate::limits;
use minisign_verify::{Error, PublicKey, Signature};
use std::path::{Path, PathBuf};

/// A set of minisign public keys.
pub struct Trust {
    keys: Vec<PublicKey>,
}

impl Trust {
    /// Loads public key files, as `minisign -G` writes them.
    ///
    /// # Errors
    /// The first file that cannot be read or is not a public key.
    pub fn load(files: &[PathBuf]) -> Result<Trust, PackageError> {
        let mut keys = Vec::with_capacity(files.len());
        for path in files {
            let wrong =
                |what: &str| PackageError::Key { path: path.clone(), what: what.to_owned() };
            let bytes = read_bounded(path, limits::SIGNATURE_BYTES_MAX)?
                .ok_or_else(|| wrong("it does not exist"))?;
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not a public key"))?;
            let key = PublicKey::decode(text.trim_end())
                .map_err(|_| wrong("it is not a minisign public key"))?;
            keys.push(key);
        }
        Ok(Trust { keys })
    }

    /// Checks a package's signature over the bytes of its manifest.
    pub(super) fn verify(
        &self,
        dir: &Path,
        manifest: &[u8],
        signature: &[u8],
    ) -> Result<(), PackageError> {
        let malformed = || PackageError::BadSignature(dir.join(super::SIGNATURE));
        let text = std::str::from_utf8(signature).map_err(|_| malformed())?;
        let signature = Signature::decode(text).map_err(|_| malformed())?;
        for key in &self.keys {
            // Legacy signatures, made over the whole file, are refused: one way to sign.
            match key.verify(manifest, &signature, false) {
                Ok(()) => return Ok(()),
                Err(Error::UnexpectedKeyId) => {}
                Err(Error::InvalidSignature) => {
                    return Err(PackageError::TamperedManifest(dir.to_owned()));
                }
                Err(_) => return Err(malformed()),
            }
        }
        Err(PackageError::UnknownKey { dir: dir.to_owned(), key_id: key_id(text) })
    }
}

/// The key id of a signature as minisign prints it, for messages.
fn key_id(signature: &str) -> String {
    let id = minisign::SignatureBox::from_string(signature)
        .map(|parsed| parsed.keynum().iter().rev().copied().collect::<Vec<u8>>())
        .unwrap_or_default();
    hex(&id).to_uppercase()
}
