//! Mutual TLS: only who has a certificate of the hub's own authority gets to say anything.

use crate::identity::ServerIdentity;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Sessions that can be resumed: two for each of the most devices at once, about a kilobyte each.
const SESSIONS_MAX: usize = 2 * super::limits::CONNECTIONS_MAX;

/// Builds the acceptor; the cryptography provider is named, none is installed globally.
pub(super) fn acceptor(identity: ServerIdentity) -> Result<TlsAcceptor, String> {
    tls_config(identity).map(TlsAcceptor::from)
}

/// The settings behind it.
pub(crate) fn tls_config(identity: ServerIdentity) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(identity.authority).map_err(|error| error.to_string())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate], identity.key)
        .map_err(|error| error.to_string())?;
    // A device that comes back shows a number instead of its certificate, and is not shown the
    // hub's: about 2 kB less on the line. What it is known by is kept here, not sealed in the
    // ticket, which then has 32 bytes; each connection leaves one. Whether it is revoked is asked
    // at every connection, resumed or not.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
