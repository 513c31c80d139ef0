//! Between devices of one site: each may hand its files to the others, on the local network.
//!
//! Both sides show their device's certificate, the one that it has at that moment: it may be
//! renewed while the agent runs. A certificate names a device, not an address, so what is checked
//! of the other side is that it is a device of the same hub, by the device's own clock; whether the
//! files are right, their digests tell.

use crate::clock::Clock;
use crate::sync::{Identity, IdentityError, Wallet, roots};
use landfall_freight::blobs::Blobs;
use landfall_freight::serve::{Door, Guest, Shelf, router};
use landfall_wire::id::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Why files cannot be handed to others of the site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The device's identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Nor can it be for this.
    #[error("TLS: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Who is a device of this hub.
fn devices(identity: &Identity) -> Result<Arc<dyn ClientCertVerifier>, SiteError> {
    let tls = |error: &dyn std::fmt::Display| SiteError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in &identity.credentials.trusted {
        roots.add(authority.clone()).map_err(|error| tls(&error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map_err(|error| tls(&error))
}

/// To ask another device.
pub(super) fn client(
    identity: &Identity,
    clock: &Arc<Clock>,
) -> Result<Arc<ClientConfig>, SiteError> {
    let tls = |error: rustls::Error| SiteError::Tls(error.to_string());
    let (chain, key) = (identity.credentials.chain.clone(), identity.credentials.key.clone_key());
    let verifier = Arc::new(AnyDevice(devices(identity)?));
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::clone(clock) as _)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(tls)?;
    Ok(Arc::new(config))
}

/// To ask a mirror: a web server with a certificate of `ca`, or of the hub's authority.
pub(super) fn mirror(
    ca: Option<&Path>,
    identity: &Identity,
    clock: &Arc<Clock>,
) -> Result<Arc<ClientConfig>, SiteError> {
    let Some(ca) = ca else { return Ok(Arc::clone(&identity.tls)) };
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::clone(clock) as _)
        .with_safe_default_protocol_versions()
        .map_err(|error| SiteError::Tls(error.to_string()))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// To answer another device.
fn server(identity: &Identity, clock: &Arc<Clock>) -> Result<Arc<ServerConfig>, SiteError> {
    let tls = |error: rustls::Error| SiteError::Tls(error.to_string());
    let (chain, key) = (identity.credentials.chain.clone(), identity.credentials.key.clone_key());
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_details(provider, Arc::clone(clock) as _)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_client_cert_verifier(devices(identity)?)
        .with_single_cert(chain, key)
        .map_err(tls)?;
    Ok(Arc::new(config))
}

/// Takes any device of the hub for a server. Its certificate was issued to a client, and is
/// checked as one.
#[derive(Debug)]
struct AnyDevice(Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for AnyDevice {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        verified.map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Hands files to others of the site until dropped.
pub struct SiteListener {
    serving: JoinHandle<()>,
}

impl SiteListener {
    /// Listens. Needs a runtime.
    ///
    /// # Errors
    /// [`SiteError`].
    pub async fn open(
        at: SocketAddr,
        wallet: Arc<Wallet>,
        blobs: Blobs,
    ) -> Result<SiteListener, SiteError> {
        let shown = Shown::new(wallet)?;
        let listen = |source| SiteError::Listen { at, source };
        let listener = TcpListener::bind(at).await.map_err(listen)?;
        let door = Door::open(listener, shown.into_source()).map_err(listen)?;
        let address = door.address();
        let app = router(Arc::new(Whole(blobs))).into_make_service_with_connect_info::<Guest>();
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(door, app).await {
                tracing::error!(%error, "files are not handed to the site any more");
            }
        });
        tracing::info!(%address, "hands files of releases to devices of the site");
        Ok(SiteListener { serving })
    }
}

impl Drop for SiteListener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What is shown to others, for as long as the device has the same certificate.
struct Shown {
    wallet: Arc<Wallet>,
    identity: Identity,
    tls: Arc<ServerConfig>,
}

impl Shown {
    fn new(wallet: Arc<Wallet>) -> Result<Shown, SiteError> {
        let (identity, _) = wallet.pick()?;
        let tls = server(&identity, wallet.clock())?;
        Ok(Shown { wallet, identity, tls })
    }

    /// The settings for one more connection. With a newer certificate that cannot be used, those
    /// before.
    fn into_source(mut self) -> impl FnMut() -> Arc<ServerConfig> {
        move || {
            if let Ok((identity, _)) = self.wallet.pick()
                && !Arc::ptr_eq(&identity.credentials, &self.identity.credentials)
                && let Ok(tls) = server(&identity, self.wallet.clock())
            {
                (self.identity, self.tls) = (identity, tls);
            }
            Arc::clone(&self.tls)
        }
    }
}

/// Every file that is whole: all of them are of releases.
struct Whole(Blobs);

impl Shelf for Whole {
    fn find(&self, digest: Digest) -> Option<PathBuf> {
        self.0.size(digest).map(|_| self.0.path(digest))
    }
}
