//! TLS of the hub as a client of a broker.

use super::authority::client_stem;
use super::files::{failed, read};
use super::{Authority, IdentityError};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files to use instead of what the hub has itself.
#[derive(Debug, Clone, Default)]
pub struct BrokerFiles {
    /// The authority that the broker's certificate is from.
    pub ca: Option<PathBuf>,
    /// The hub's certificate, with those between it and an authority that the broker trusts.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl Authority {
    /// How the hub of a number knows a broker, and shows who it is.
    ///
    /// # Errors
    /// [`IdentityError`] if a file is missing or is not what it should be.
    pub fn broker_tls(
        &self,
        files: &BrokerFiles,
        number: u8,
        now_ms: u64,
    ) -> Result<Arc<ClientConfig>, IdentityError> {
        let (ca_path, ca) = match &files.ca {
            Some(path) => (path.clone(), there(path)?),
            None => (self.path("ca.pem"), self.trusted_pem()),
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca_path, &ca)? {
            roots.add(authority).map_err(|error| damaged(&ca_path, &error))?;
        }
        let (path, certificate, key_path, key) = match (&files.certificate, &files.key) {
            (Some(path), Some(key)) => (path.clone(), there(path)?, key.clone(), there(key)?),
            _ => {
                let pem = self.broker_client(number, now_ms)?;
                let stem = client_stem(number);
                let paths = (self.path(&format!("{stem}.pem")), self.path(&format!("{stem}.key")));
                (paths.0, pem.certificate, paths.1, pem.key)
            }
        };
        let chain = certificates(&path, &certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| damaged(&key_path, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| damaged(&path, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| damaged(&key_path, &error))?;
        Ok(Arc::new(config))
    }
}

fn there(path: &Path) -> Result<String, IdentityError> {
    let missing = || failed("read", path)(std::io::ErrorKind::NotFound.into());
    read(path)?.ok_or_else(missing)
}

fn certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(path, &error))?;
    match found.is_empty() {
        true => Err(damaged(path, &"it holds no certificate")),
        false => Ok(found),
    }
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}
