//! Mutual TLS: only who has a certificate of the hub's own authority gets to say anything.

use crate::identity::ServerIdentity;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

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
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate], identity.key)
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}
