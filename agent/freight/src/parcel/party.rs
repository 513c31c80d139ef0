//! Who sends and who receives: names, keys, certificates.

use super::ParcelError;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use landfall_wire::id::{DeviceId, IdError};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use webpki::ring::{ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// CN of the hub's own certificate, as it issues it.
const HUB_NAME: &str = "landfall-hub";

/// Before a key that is used for something else too, so that what follows is a key of its own.
const DERIVE: &[u8] = b"landfall parcel key 1\0";

/// One of the two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HubOrDevice {
    Hub,
    Device(DeviceId),
}

impl fmt::Display for HubOrDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubOrDevice::Hub => f.write_str("the hub"),
            HubOrDevice::Device(device) => write!(f, "device {device}"),
        }
    }
}

/// An X25519 public key; as text, 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxKey(pub [u8; 32]);

impl fmt::Display for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        landfall_wire::id::Digest(self.0).fmt(f)
    }
}

impl FromStr for BoxKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<BoxKey, IdError> {
        text.parse::<landfall_wire::id::Digest>().map(|bytes| BoxKey(bytes.0))
    }
}

/// Who receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub(super) name: HubOrDevice,
    pub(super) key: BoxKey,
}

impl Party {
    /// The hub.
    pub fn hub(key: BoxKey) -> Party {
        Party { name: HubOrDevice::Hub, key }
    }

    /// A device.
    pub fn device(device: DeviceId, key: BoxKey) -> Party {
        Party { name: HubOrDevice::Device(device), key }
    }
}

/// This side, with its keys.
pub struct Sealer {
    name: HubOrDevice,
    chain: Vec<CertificateDer<'static>>,
    signing: EcdsaKeyPair,
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: BoxKey,
}

impl fmt::Debug for Sealer {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("name", &self.name).finish()
    }
}

impl Sealer {
    /// A device, with its certificate and the key of that.
    ///
    /// # Errors
    /// [`ParcelError::Make`] if the key is not one for ECDSA P-256.
    pub fn device(
        device: DeviceId,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Sealer, ParcelError> {
        Sealer::new(HubOrDevice::Device(device), chain, key, key)
    }

    /// The hub, with its server certificate and key, and the key of its authority.
    ///
    /// # Errors
    /// [`ParcelError::Make`] if a key is not one for ECDSA P-256.
    pub fn hub(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        authority: &PrivateKeyDer<'_>,
    ) -> Result<Sealer, ParcelError> {
        Sealer::new(HubOrDevice::Hub, chain, key, authority)
    }

    fn new(
        name: HubOrDevice,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        lasting: &PrivateKeyDer<'_>,
    ) -> Result<Sealer, ParcelError> {
        let PrivateKeyDer::Pkcs8(pkcs8) = key else {
            return Err(ParcelError::Make("the key is not in PKCS #8".to_owned()));
        };
        let signing = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            pkcs8.secret_pkcs8_der(),
            &SystemRandom::new(),
        )
        .map_err(|error| ParcelError::Make(format!("the key cannot sign: {error}")))?;
        let (secret, public) = derive(lasting);
        Ok(Sealer { name, chain, signing, secret, public })
    }

    /// What others seal for this side with.
    pub fn box_key(&self) -> BoxKey {
        self.public
    }

    pub(super) fn name(&self) -> &HubOrDevice {
        &self.name
    }

    pub(super) fn chain(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|certificate| certificate.to_vec()).collect()
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, ParcelError> {
        let signed = self.signing.sign(&SystemRandom::new(), bytes);
        let signed = signed.map_err(|_| ParcelError::Make("it cannot be signed".to_owned()))?;
        Ok(signed.as_ref().to_vec())
    }

    pub(super) fn open(
        &self,
        encapsulated: &[u8],
        purpose: &[u8],
        body: &[u8],
        bound: &[u8],
    ) -> Result<Vec<u8>, ParcelError> {
        let wrong = |error: hpke::HpkeError| ParcelError::Sealed(error.to_string());
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated);
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated.map_err(wrong)?,
            purpose,
            body,
            bound,
        )
        .map_err(wrong)
    }
}

/// The public key that follows from a lasting key, for a bundle.
pub(crate) fn derive(key: &PrivateKeyDer<'_>) -> (<X25519HkdfSha256 as Kem>::PrivateKey, BoxKey) {
    let mut hasher = Sha256::new();
    hasher.update(DERIVE);
    hasher.update(key.secret_der());
    let (secret, public) = X25519HkdfSha256::derive_keypair(&hasher.finalize());
    (secret, BoxKey(public.to_bytes().into()))
}

impl BoxKey {
    /// The key that others seal for the owner of this lasting key with.
    pub fn of(key: &PrivateKeyDer<'_>) -> BoxKey {
        derive(key).1
    }
}

/// Seals with a key that is made for this once: what is encapsulated, and what is sealed.
pub(super) fn seal_body(
    to: &BoxKey,
    purpose: &[u8],
    plain: &[u8],
    bound: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), ParcelError> {
    let make = |error: hpke::HpkeError| ParcelError::Make(error.to_string());
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.0).map_err(make)?;
    let (encapsulated, body) = hpke::single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        purpose,
        plain,
        bound,
    )
    .map_err(make)?;
    Ok((encapsulated.to_bytes().to_vec(), body))
}

/// Whose certificates count.
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    /// The hub's authority.
    ///
    /// # Errors
    /// [`ParcelError::Make`] for what is no certificate.
    pub fn new(authorities: &[CertificateDer<'_>]) -> Result<Trust, ParcelError> {
        let anchor = |authority: &CertificateDer<'_>| {
            let anchor = anchor_from_trusted_cert(authority);
            anchor.map(|anchor| anchor.to_owned()).map_err(|e| ParcelError::Make(e.to_string()))
        };
        Ok(Trust { anchors: authorities.iter().map(anchor).collect::<Result<_, _>>()? })
    }

    /// Proves that `from` signed, and returns its certificate.
    pub(super) fn prove(
        &self,
        from: &HubOrDevice,
        chain: &[Vec<u8>],
        now_ms: u64,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<Vec<u8>, ParcelError> {
        let wrong = |what: String| ParcelError::Sender(what);
        let (own, others) =
            chain.split_first().ok_or_else(|| wrong("it has no certificate".to_owned()))?;
        let own_der = CertificateDer::from(own.as_slice());
        let others: Vec<CertificateDer<'_>> =
            others.iter().map(|other| CertificateDer::from(other.as_slice())).collect();
        let certificate =
            EndEntityCert::try_from(&own_der).map_err(|error| wrong(error.to_string()))?;
        let (usage, name) = match from {
            HubOrDevice::Hub => (KeyUsage::server_auth(), HUB_NAME),
            HubOrDevice::Device(device) => (KeyUsage::client_auth(), device.as_str()),
        };
        if !is_named(certificate.subject(), name) {
            return Err(wrong(format!("its certificate is not that of {from}")));
        }
        let algorithms =
            [ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384];
        let verify = |at: UnixTime| {
            let verified = certificate.verify_for_usage(
                &algorithms,
                &self.anchors,
                &others,
                at,
                usage,
                None,
                None,
            );
            verified.map(drop)
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        match verify(now) {
            // A box without a battery starts in the past.
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => verify(not_before),
            other => other,
        }
        .map_err(|error| wrong(error.to_string()))?;
        certificate
            .verify_signature(ECDSA_P256_SHA256, signed, signature)
            .map_err(|_| wrong("its signature does not hold".to_owned()))?;
        Ok(own.clone())
    }
}

/// Whether a subject is this one common name: a UTF-8 string at the end of the DER.
fn is_named(subject: &[u8], name: &str) -> bool {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    const UTF8_STRING: u8 = 0x0c;
    let Ok(length) = u8::try_from(name.len()) else { return false };
    let wanted = [&COMMON_NAME[..], &[UTF8_STRING, length], name.as_bytes()].concat();
    // A set of a sequence, two bytes each: there is no other name beside it.
    subject.len() == wanted.len() + 4 && subject.ends_with(&wanted)
}
