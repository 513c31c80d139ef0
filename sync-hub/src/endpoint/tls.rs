//! Mutual TLS: only who has a certificate of the hub's own authority gets to say anything, but for
//! one message of a device that has a one-time token (see [`super::enroll`]).

use crate::identity::ServerIdentity;
use landfall_wire::enroll;
use rustls::server::{Acceptor, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Sessions that can be resumed: two for each of the most devices at once, about a kilobyte each.
const SESSIONS_MAX: usize = 2 * super::limits::CONNECTIONS_MAX;

/// How a connection may begin, by what it offers in its greeting.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// A device with a certificate.
    devices: Arc<ServerConfig>,
    /// One that wants its first, with a token: it is shown the authority, and asked for nothing.
    enrolment: Arc<ServerConfig>,
}

/// Who is at the door.
pub(super) enum Guest {
    /// It has proved who it is.
    Device(TlsStream<TcpStream>),
    /// It wants a certificate.
    Stranger(TlsStream<TcpStream>),
}

impl Tls {
    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<Guest> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let offered = start.client_hello().alpn();
        if offered.into_iter().flatten().any(|protocol| protocol == enroll::ALPN) {
            let stream = start.into_stream(Arc::clone(&self.enrolment)).await?;
            return Ok(Guest::Stranger(stream));
        }
        Ok(Guest::Device(start.into_stream(Arc::clone(&self.devices)).await?))
    }
}

/// Both ways; the cryptography provider is named, none is installed globally.
pub(super) fn acceptor(identity: &ServerIdentity) -> Result<Tls, String> {
    // With the authority itself, which the device holds against its token.
    let vouched = identity.authorities.iter().take(1);
    let chain = std::iter::once(&identity.certificate).chain(vouched).cloned().collect();
    let mut enrolment = builder()?
        .with_no_client_auth()
        .with_single_cert(chain, identity.key.clone_key())
        .map_err(|error| error.to_string())?;
    enrolment.alpn_protocols = vec![enroll::ALPN.to_vec()];
    Ok(Tls { devices: tls_config(identity)?, enrolment: Arc::new(enrolment) })
}

/// For devices that have a certificate.
pub(crate) fn tls_config(identity: &ServerIdentity) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in &identity.authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let mut config = builder()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .map_err(|error| error.to_string())?;
    // A device that comes back shows a number instead of its certificate, and is not shown the
    // hub's: 1.4 kB less on the line (tests/RESULTS.md). What it is known by is kept here, not sealed in the
    // ticket, which then has 32 bytes; each connection leaves one. Whether it is revoked is asked
    // at every connection, resumed or not.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())
}
