//! How a device gets its first certificate, with a one-time token: it makes its key, which never
//! leaves it, connects to whoever can show the authority that the token names, and asks.
//!
//! The key is on the disk before anything is sent: if the reply is lost on the way, the same key
//! asks again, and the hub gives it the same certificate.

use super::verifier::ByDeviceTime;
use super::{IdentityError, split_address};
use crate::clock::Clock;
use crate::service::replace;
use landfall_wire::enroll::{self, Refused, Reply, Request};
use landfall_wire::id::DeviceId;
use landfall_wire::token::{FINGERPRINT_BYTES, Token};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For TCP, and for each read and write: a satellite link takes tens of seconds at worst.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The key that waits for its certificate.
const KEY_FILE: &str = "enroll.key";

/// Why a device could not enroll.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The address is none.
    #[error("{0}")]
    Address(String),
    /// The hub cannot be reached, or is not the one that the token is from.
    #[error("{what}")]
    Connection {
        /// What happened.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The hub refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A key or a request could not be made.
    #[error("a key could not be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The identity cannot be written.
    #[error("cannot write the identity to {}: {source}", path.display())]
    Write {
        /// Where.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the hub gave cannot be used.
    #[error("what the hub gave cannot be used: {0}")]
    Identity(#[from] IdentityError),
}

impl EnrollError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            EnrollError::Address(_) => "give the hub as HOST:PORT, such as hub.example.org:8883",
            EnrollError::Connection { remedy, .. } => remedy,
            EnrollError::Refused(Refused::Token) => {
                "make a new one on the hub: landfall-hub token new DEVICE"
            }
            EnrollError::Refused(Refused::Later) => "wait a minute, and check the token",
            EnrollError::Refused(Refused::Malformed) => {
                "update the hub or the agent, whichever is older"
            }
            EnrollError::Refused(Refused::Failed) => "look at the hub's log, then try again",
            EnrollError::Key(_) => "check that the system gives random numbers",
            EnrollError::Write { .. } => "check the path, its owner and the space on its disk",
            EnrollError::Identity(error) => error.remedy(),
        }
    }
}

/// Enrolls at the hub at `address` and writes the identity to `dir`.
///
/// # Errors
/// [`EnrollError`]; asking again with the same token is safe.
pub fn enroll(
    address: &str,
    token: &Token,
    dir: &Path,
    clock: &Arc<Clock>,
) -> Result<DeviceId, EnrollError> {
    let (host, port) = split_address(address).map_err(EnrollError::Address)?;
    let write = |name: &str, content: &str| {
        let path = dir.join(name);
        write_private(&path, content).map_err(|source| EnrollError::Write { path, source })
    };
    std::fs::create_dir_all(dir)
        .map_err(|source| EnrollError::Write { path: dir.to_owned(), source })?;
    let key = match std::fs::read_to_string(dir.join(KEY_FILE)).map(|pem| KeyPair::from_pem(&pem)) {
        Ok(Ok(key)) => key,
        Ok(Err(_)) | Err(_) => KeyPair::generate()?,
    };
    write(KEY_FILE, &key.serialize_pem())?;
    let request = Request { secret: token.secret, request: signing_request(&key, None)? };
    let reply = ask(host, port, token, &request, clock).map_err(|error| {
        let (what, remedy) = super::told(error, address);
        EnrollError::Connection { what, remedy }
    })?;
    let (device, certificate, authorities, hub) = match reply {
        Reply::Issued { device, certificate, authorities, hub } => {
            (device, certificate, authorities, hub)
        }
        Reply::Refused(refused) => return Err(refused.into()),
    };
    split_address(&hub).map_err(EnrollError::Address)?;
    write("device.key", &key.serialize_pem())?;
    write("device.pem", &certificate)?;
    write("ca.pem", &authorities)?;
    // The bundle last: it says that the rest is complete.
    write("bundle.toml", &format!("device = \"{device}\"\nhub = \"{hub}\"\n"))?;
    super::Identity::load(dir, clock)?;
    // One that stays does no harm: it is the device's key.
    let _stays = std::fs::remove_file(dir.join(KEY_FILE));
    Ok(device)
}

/// A request for a certificate for `key`; the hub sets the name anyway.
pub(super) fn signing_request(
    key: &KeyPair,
    device: Option<&DeviceId>,
) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    let name = device.map_or("landfall-device", DeviceId::as_str);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    // Made with its mode; `replace` opens the same file.
    let _left = std::fs::remove_file(&part);
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    replace(path, content.as_bytes())
}

fn ask(
    host: &str,
    port: u16,
    token: &Token,
    request: &Request,
    clock: &Arc<Clock>,
) -> io::Result<Reply> {
    let verifier = Pinned { authority: token.authority, clock: Arc::clone(clock) };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![enroll::ALPN.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_MAX) {
            Ok(stream) => return talk(connection, stream, request),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn talk(connection: ClientConnection, stream: TcpStream, request: &Request) -> io::Result<Reply> {
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let mut stream = StreamOwned::new(connection, stream);
    let bytes = enroll::encode(request).map_err(io::Error::other)?;
    // The handshake goes first: nothing is sent to who does not show the authority.
    stream.write_all(&bytes)?;
    stream.flush()?;
    let mut first = [0; 4];
    stream.read_exact(&mut first)?;
    let length = enroll::length(first).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    enroll::decode(&body).map_err(io::Error::other)
}

/// Believes who shows the authority that the token names, and is vouched for by it under the name
/// that was asked for.
#[derive(Debug)]
struct Pinned {
    authority: [u8; FINGERPRINT_BYTES],
    clock: Arc<Clock>,
}

impl Pinned {
    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        Sha256::digest(certificate)[..FINGERPRINT_BYTES] == self.authority
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let named = intermediates.iter().find(|certificate| self.is_named(certificate));
        let named = named.ok_or_else(|| {
            let other = rustls::CertificateError::UnknownIssuer;
            Error::InvalidCertificate(other)
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(named.clone().into_owned())?;
        let verifier = ByDeviceTime::new(Arc::new(roots), Arc::clone(&self.clock));
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
