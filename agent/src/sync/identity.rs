//! The device's identity on disk: the directory that `landfall-hub enroll` wrote. It is
//! checked as a whole when it is loaded, so that what is wrong is found before a connection.

use super::verifier::{ByDeviceTime, check_by};
use crate::clock::Clock;
use landfall_wire::id::DeviceId;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not {what}: {detail}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Certificate and key are of different devices.
    #[error("the key {} does not belong to the certificate beside it", path.display())]
    KeyMismatch {
        /// The key.
        path: PathBuf,
    },
    /// The certificate was issued by another hub.
    #[error("the certificate {} is not from the authority in ca.pem beside it", path.display())]
    OtherAuthority {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate has expired, by the latest time that this device knows of.
    #[error("the certificate {} has expired, by this device's clock", path.display())]
    Expired {
        /// The certificate.
        path: PathBuf,
    },
    /// The certificate cannot be used.
    #[error("the certificate {} cannot be used: {detail}", path.display())]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

impl IdentityError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            IdentityError::Read { .. } => {
                "point hub.identity at the directory from `landfall-hub enroll`, and check that \
                 the agent may read it"
            }
            IdentityError::Malformed { .. }
            | IdentityError::KeyMismatch { .. }
            | IdentityError::OtherAuthority { .. }
            | IdentityError::Certificate { .. } => {
                "copy the whole directory from `landfall-hub enroll` again; its four files \
                 belong together"
            }
            IdentityError::Expired { .. } => {
                "check the clock; if it is right, renew the identity with `landfall-hub enroll` \
                 and copy the directory again"
            }
        }
    }
}

/// Who this device is, whom it trusts, and where its hub is.
#[derive(Clone)]
pub struct Identity {
    /// The device's name, as in its certificate.
    pub device: DeviceId,
    /// `host:port` of the hub.
    pub hub: String,
    /// `host:port` where the hub hands out files, if it does.
    pub files: Option<String>,
    /// What parcels for the hub are sealed with, in hexadecimal.
    pub courier: Option<String>,
    /// TLS settings with the device's certificate. Times are judged by the device's [`Clock`].
    pub tls: Arc<ClientConfig>,
    /// From when to when the device's certificate is valid.
    pub valid: Validity,
    /// The same of each authority in `ca.pem`.
    pub authorities: Vec<Validity>,
    /// What `tls` is made of, for other uses than the connection to the hub.
    pub(crate) credentials: Arc<Credentials>,
}

/// Certificates and key of an identity.
pub(crate) struct Credentials {
    /// The device's own certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
    /// The authorities that are trusted.
    pub(crate) trusted: Vec<CertificateDer<'static>>,
}

/// From when to when a certificate is valid, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// Its first moment.
    pub from_ms: u64,
    /// Its last.
    pub until_ms: u64,
}

impl Validity {
    /// Of a certificate; `None` if it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let ms = |secs: i64| u64::try_from(secs).unwrap_or(0).saturating_mul(1000);
        let validity = parsed.validity();
        let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Validity { from_ms: ms(from), until_ms: ms(until) })
    }
}

impl std::fmt::Debug for Identity {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("device", &self.device).field("hub", &self.hub).finish()
    }
}

#[derive(Deserialize)]
struct Bundle {
    device: DeviceId,
    hub: String,
    files: Option<String>,
    courier: Option<String>,
}

impl Identity {
    /// The device's name in an identity directory, if it can be read.
    pub fn device_in(dir: &Path) -> Option<DeviceId> {
        bundle(&dir.join("bundle.toml")).ok().map(|bundle| bundle.device)
    }

    /// Loads and checks the directory that `landfall-hub enroll` wrote: `ca.pem`,
    /// `device.pem`, `device.key`, `bundle.toml`.
    ///
    /// # Errors
    /// [`IdentityError`], with the file and what is wrong with it. A certificate that is not
    /// valid yet is no error: boxes start with a clock in the past, and `clock` learns from it.
    pub fn load(dir: &Path, clock: &Arc<Clock>) -> Result<Identity, IdentityError> {
        let bundle = bundle(&dir.join("bundle.toml"))?;
        let ca = dir.join("ca.pem");
        let parts = Parts {
            roots: certificates(&ca)?,
            roots_at: ca,
            chain: certificates(&dir.join("device.pem"))?,
            chain_at: dir.join("device.pem"),
            key_at: dir.join("device.key"),
        };
        parts.join(bundle, clock)
    }

    /// Loads what the hub gave later: one file with the device's certificate, then the authorities,
    /// and the key. The hub is where the bundle in `enrolled` says.
    ///
    /// # Errors
    /// As [`Identity::load`], and if it is of another device.
    pub(super) fn load_one(
        path: &Path,
        enrolled: &Path,
        clock: &Arc<Clock>,
    ) -> Result<Identity, IdentityError> {
        let bundle = bundle(&enrolled.join("bundle.toml"))?;
        let mut chain = certificates(path)?;
        let roots = chain.split_off(1);
        let named = common_name(&chain[0]);
        if named.as_deref() != Some(bundle.device.as_str()) {
            let named = named.unwrap_or_default();
            return Err(malformed(path, "of this device", format!("it is of '{named}'")));
        }
        let at = || path.to_owned();
        Parts { roots, roots_at: at(), chain, chain_at: at(), key_at: at() }.join(bundle, clock)
    }
}

/// What an identity is made of, and where each part is from, for what is said of it.
struct Parts {
    roots: Vec<CertificateDer<'static>>,
    roots_at: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    chain_at: PathBuf,
    key_at: PathBuf,
}

impl Parts {
    fn join(self, bundle: Bundle, clock: &Arc<Clock>) -> Result<Identity, IdentityError> {
        let Parts { roots, roots_at, chain, chain_at, key_at } = self;
        let Bundle { device, hub, files, courier } = bundle;
        let trusted = roots;
        let authorities = trusted.iter().filter_map(Validity::of).collect();
        let roots = Arc::new(store(&roots_at, &trusted)?);
        let valid = check_certificate(&chain_at, &chain, roots.clone(), clock)?;
        let verifier = ByDeviceTime::new(roots, Arc::clone(clock))
            .map_err(|e| malformed(&roots_at, "a certificate authority", e))?;
        let key = private_key(&key_at)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&chain_at, &e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    IdentityError::KeyMismatch { path: key_at.clone() }
                }
                error => malformed(&key_at, "a key that can be used", error),
            })?;
        let tls = Arc::new(tls);
        let credentials = Arc::new(Credentials { chain, key, trusted });
        Ok(Identity { device, hub, files, courier, tls, valid, authorities, credentials })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

fn malformed(path: &Path, what: &'static str, detail: impl std::fmt::Display) -> IdentityError {
    IdentityError::Malformed { path: path.to_owned(), what, detail: detail.to_string() }
}

fn unusable(path: &Path, detail: &rustls::Error) -> IdentityError {
    IdentityError::Certificate { path: path.to_owned(), detail: detail.to_string() }
}

fn bundle(path: &Path) -> Result<Bundle, IdentityError> {
    const WHAT: &str = "a bundle with device = \"name\" and hub = \"host:port\"";
    let text = String::from_utf8(read(path)?).map_err(|e| malformed(path, WHAT, e))?;
    let bundle: Bundle = toml::from_str(&text).map_err(|e| malformed(path, WHAT, e.message()))?;
    split_address(&bundle.hub).map_err(|detail| malformed(path, WHAT, detail))?;
    Ok(bundle)
}

/// Host and port of `host:port`.
///
/// # Errors
/// What is wrong with it, as text.
pub fn split_address(address: &str) -> Result<(&str, u16), String> {
    let invalid = || format!("'{address}' is not host:port, such as hub.example.org:8883");
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.starts_with('[') || host.contains(':') {
        return Err(format!("'{address}' is an IPv6 address: give the hub a host name"));
    }
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(invalid());
    }
    Ok((host, port))
}

/// The private key of a file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|e| malformed(path, "a private key in PEM", e))
}

/// Every certificate of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    const WHAT: &str = "a certificate in PEM";
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|e| malformed(path, WHAT, e))?;
    if found.is_empty() {
        return Err(malformed(path, WHAT, "there is none in it"));
    }
    Ok(found)
}

/// The name that a certificate gives.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// The authorities of a file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, IdentityError> {
    store(path, &certificates(path)?)
}

/// Authorities that are trusted.
fn store(
    path: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|e| malformed(path, "a certificate authority", e))?;
    }
    Ok(roots)
}

/// Checks the certificate as the hub will.
fn check_certificate(
    path: &Path,
    chain: &[CertificateDer<'static>],
    roots: Arc<RootCertStore>,
    clock: &Clock,
) -> Result<Validity, IdentityError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|e| malformed(&path.with_file_name("ca.pem"), "a certificate authority", e))?;
    let checked = check_by(clock, |at| verifier.verify_client_cert(&chain[0], &chain[1..], at));
    let path = path.to_owned();
    match checked {
        Ok(_) => Validity::of(&chain[0])
            .ok_or_else(|| malformed(&path, "a certificate", "its dates cannot be read")),
        Err(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Err(IdentityError::Expired { path })
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Err(IdentityError::OtherAuthority { path })
            }
            other => Err(unusable(&path, &rustls::Error::InvalidCertificate(other))),
        },
        Err(other) => Err(unusable(&path, &other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(split_address("hub.example.org:8883"), Ok(("hub.example.org", 8883)));
        assert_eq!(split_address("127.0.0.1:1"), Ok(("127.0.0.1", 1)));
        for bad in ["", "hub", ":1", "hub:0", "hub:x", "hub:70000", "a b:1", "[::1]:1", "::1:1"] {
            assert!(split_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::open(dir.path());
        let load = || Identity::load(dir.path(), &clock).unwrap_err();
        let missing = load();
        assert!(
            matches!(&missing, IdentityError::Read { path, .. } if path.ends_with("bundle.toml"))
        );
        assert!(missing.remedy().contains("landfall-hub enroll"));
        for bundle in
            ["", "device = 3", "device = \"Ship 7\"\nhub = \"h:1\"", "device = \"a\"\nhub = \"h\""]
        {
            std::fs::write(dir.path().join("bundle.toml"), bundle).unwrap();
            let error = load();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{bundle}: {error}");
        }
        std::fs::write(dir.path().join("bundle.toml"), "device = \"a\"\nhub = \"h:1\"").unwrap();
        assert!(matches!(load(), IdentityError::Read { path, .. } if path.ends_with("ca.pem")));
        for pem in ["", "rubbish", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"]
        {
            std::fs::write(dir.path().join("ca.pem"), pem).unwrap();
            let error = load();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{pem}: {error}");
        }
    }
}
