//! Judges the hub's certificate by the time as the device knows it, not by the wall clock alone.
//!
//! A box without a battery-backed clock starts in 1970, where no certificate is valid yet. That one
//! is not valid *yet* proves nothing but that the device's time is behind: the authority that signed
//! it never dates ahead. So it is checked on its first day instead, with everything else as ever, and
//! the device has learned that the time is not before that day. One that has ended stays refused, by
//! the latest time that the device knows of.

use crate::clock::Clock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct ByDeviceTime {
    inner: Arc<WebPkiServerVerifier>,
    clock: Arc<Clock>,
}

impl ByDeviceTime {
    /// Trusts what `roots` signed.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        clock: Arc<Clock>,
    ) -> Result<ByDeviceTime, rustls::client::VerifierBuilderError> {
        let provider = Arc::new(ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        Ok(ByDeviceTime { inner, clock })
    }
}

/// Checks at the time that `clock` knows, and a certificate that is not valid yet on its first day,
/// which `clock` then learns of.
pub(super) fn check_by<T>(
    clock: &Clock,
    check: impl Fn(UnixTime) -> Result<T, Error>,
) -> Result<T, Error> {
    match check(UnixTime::since_unix_epoch(Duration::from_millis(clock.now_ms()))) {
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => {
            let checked = check(not_before)?;
            clock.not_before(not_before.as_secs().saturating_mul(1000));
            Ok(checked)
        }
        checked => checked,
    }
}

impl ServerCertVerifier for ByDeviceTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _wall: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_by(&self.clock, |at| {
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.inner.root_hint_subjects()
    }
}
