//! What the hub's authority signs beside certificates, for whoever trusts its certificate. What is
//! signed says itself what it is for: see who makes it.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use webpki::EndEntityCert;
use webpki::ring::ECDSA_P256_SHA256;

/// A key cannot sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authority's key cannot sign: {0}")]
pub struct SignError(String);

/// Signs with the authority's key: ECDSA P-256 with SHA-256, ASN.1.
///
/// # Errors
/// [`SignError`] if it is not a key for that.
pub fn sign(key: &PrivateKeyDer<'_>, message: &[u8]) -> Result<Vec<u8>, SignError> {
    let PrivateKeyDer::Pkcs8(pkcs8) = key else {
        return Err(SignError("it is not in PKCS #8".to_owned()));
    };
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        pkcs8.secret_pkcs8_der(),
        &random,
    )
    .map_err(|error| SignError(error.to_string()))?;
    let signed = key.sign(&random, message);
    let signed = signed.map_err(|_| SignError("there are no random numbers".to_owned()))?;
    Ok(signed.as_ref().to_vec())
}

/// Whether one of the authorities signed.
pub fn is_signed(authorities: &[CertificateDer<'_>], message: &[u8], signature: &[u8]) -> bool {
    authorities.iter().any(|authority| {
        EndEntityCert::try_from(authority).is_ok_and(|authority| {
            authority.verify_signature(ECDSA_P256_SHA256, message, signature).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn authority() -> (PrivateKeyDer<'static>, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        (PrivateKeyDer::Pkcs8(key.serialize_der().into()), certificate)
    }

    #[test]
    fn only_who_is_trusted_has_signed_and_only_this() {
        let ((key, ours), (other_key, other)) = (authority(), authority());
        let signature = sign(&key, b"rules").unwrap();
        assert!(is_signed(std::slice::from_ref(&ours), b"rules", &signature));
        assert!(is_signed(&[other.clone(), ours.clone()], b"rules", &signature));
        assert!(!is_signed(std::slice::from_ref(&other), b"rules", &signature));
        assert!(!is_signed(std::slice::from_ref(&ours), b"Rules", &signature));
        assert!(!is_signed(&[], b"rules", &signature));
        assert!(!is_signed(std::slice::from_ref(&ours), b"rules", b""));
        let other = sign(&other_key, b"rules").unwrap();
        assert!(!is_signed(&[ours], b"rules", &other));
    }
}
