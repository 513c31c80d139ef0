//! A parcel: frames of the wire between a device and its hub, as a file that anybody may carry.
//! Only its receiver can read it, and only its sender can have made it.
//!
//! ```text
//! "LFPC" | version 1 | length of the head (u32, little endian) | head | length | body | signature
//! ```
//! * head: postcard of `Head`: who it is from, its certificate, whom it is for.
//! * body: the frames, sealed with HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256),
//!   HKDF-SHA256, AES-256-GCM; the head is what the standard calls `aad`.
//! * signature: ECDSA P-256 with SHA-256, ASN.1, over everything before it, with the key of the
//!   certificate. That of a device is checked as a client's of the hub's authority, that of the
//!   hub as a server's.
//!
//! The X25519 key of each side follows from a key that it has anyway: a device's from the key of
//! its certificate, the hub's from that of its authority. So there is no other secret to keep. The
//! hub's public key is in the bundle that it enrolled the device with; the device's is in the head
//! of every parcel that it sends, under its signature.
//!
//! What a parcel is for makes it harmless to import it twice, late, or in any order: frames say
//! which records they hold, and records have numbers. One that was not copied to its end is told
//! as [`ParcelError::Incomplete`], and nothing of it is used.

mod party;

pub use party::{BoxKey, Party, Sealer, Trust};

use landfall_wire::id::DeviceId;
use party::{HubOrDevice, seal_body};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"LFPC";
const VERSION: u8 = 1;

/// Largest parcel in bytes: some million outcomes. It is in memory as a whole, and a box has
/// little of that.
pub const PARCEL_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest head: two certificates and names.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest signature: ASN.1 of two numbers of 32 bytes.
const SIGNATURE_BYTES_MAX: usize = 80;

/// Told to HPKE, so that what is sealed for one purpose opens for no other.
const PURPOSE: &[u8] = b"landfall parcel 1";

/// Why a parcel is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// It ends too early: it was not copied to its end.
    #[error("it ends too early: it was not copied to its end")]
    Incomplete,
    /// It is none, or of a later version.
    #[error("it is no parcel that this version reads: {0}")]
    Unknown(String),
    /// Its sender is not who it says, or it was changed.
    #[error("its sender is not proven: {0}")]
    Sender(String),
    /// It is for somebody else.
    #[error("it is for {0}")]
    NotForUs(String),
    /// It is for a key that this side had before.
    #[error(
        "it is sealed for another key of this side: export again, so that the new one is known"
    )]
    OtherKey,
    /// It cannot be opened.
    #[error("it cannot be opened: {0}")]
    Sealed(String),
    /// It cannot be made.
    #[error("it cannot be made: {0}")]
    Make(String),
}

/// What a parcel says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    from: HubOrDevice,
    to: HubOrDevice,
    /// Certificates of the sender, its own first.
    chain: Vec<Vec<u8>>,
    /// The sender's X25519 key.
    reply_to: [u8; 32],
    /// The receiver's X25519 key.
    sealed_for: [u8; 32],
    /// Wall clock of the sender, milliseconds since 1970.
    at_ms: u64,
    /// The encapsulated key of HPKE.
    encapsulated: Vec<u8>,
}

/// An opened parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The device that it is from, or for.
    pub device: DeviceId,
    /// The sender's own certificate, DER.
    pub certificate: Vec<u8>,
    /// The sender's X25519 key.
    pub reply_to: BoxKey,
    /// Wall clock of the sender, milliseconds since 1970.
    pub at_ms: u64,
    /// Payloads, as MQTT would have carried them.
    pub frames: Vec<Vec<u8>>,
}

/// Packs frames for the other side.
///
/// # Errors
/// [`ParcelError::Make`].
pub fn pack(
    sealer: &Sealer,
    to: &Party,
    at_ms: u64,
    frames: &[Vec<u8>],
) -> Result<Vec<u8>, ParcelError> {
    let make = |error: &dyn std::fmt::Display| ParcelError::Make(error.to_string());
    let mut head = Head {
        from: sealer.name().clone(),
        to: to.name.clone(),
        chain: sealer.chain(),
        reply_to: sealer.box_key().0,
        sealed_for: to.key.0,
        at_ms,
        encapsulated: Vec::new(),
    };
    let plain = postcard::to_stdvec(frames).map_err(|error| make(&error))?;
    // What the encapsulated key is bound to anyway is left out of what it is bound to.
    let bound = postcard::to_stdvec(&head).map_err(|error| make(&error))?;
    let (encapsulated, body) = seal_body(&to.key, PURPOSE, &plain, &bound)?;
    head.encapsulated = encapsulated;
    let head = postcard::to_stdvec(&head).map_err(|error| make(&error))?;
    let mut parcel = Vec::with_capacity(head.len() + body.len() + 128);
    parcel.extend(MAGIC);
    parcel.push(VERSION);
    for part in [&head, &body] {
        let length = u32::try_from(part.len()).map_err(|error| make(&error))?;
        parcel.extend(length.to_le_bytes());
        parcel.extend(part);
    }
    let signature = sealer.sign(&parcel)?;
    parcel.extend(signature);
    if parcel.len() > PARCEL_BYTES_MAX {
        return Err(ParcelError::Make(format!("it has {} bytes", parcel.len())));
    }
    Ok(parcel)
}

/// Opens a parcel for `receiver`, after its sender has been proven.
///
/// # Errors
/// [`ParcelError`].
pub fn unpack(
    receiver: &Sealer,
    trust: &Trust,
    now_ms: u64,
    parcel: &[u8],
) -> Result<Opened, ParcelError> {
    if parcel.len() > PARCEL_BYTES_MAX {
        return Err(ParcelError::Unknown(format!("it has {} bytes", parcel.len())));
    }
    let (start, rest) = parcel.split_first_chunk::<5>().ok_or(ParcelError::Incomplete)?;
    if start[..4] != MAGIC {
        return Err(ParcelError::Unknown("it does not begin as one".to_owned()));
    }
    if start[4] != VERSION {
        return Err(ParcelError::Unknown(format!("it has version {}", start[4])));
    }
    let (head_bytes, rest) = part(rest, HEAD_BYTES_MAX)?;
    let (body, signature) = part(rest, PARCEL_BYTES_MAX)?;
    if signature.is_empty() {
        return Err(ParcelError::Incomplete);
    }
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(ParcelError::Unknown("there is more after its end".to_owned()));
    }
    let head: Head = whole(head_bytes)
        .map_err(|what| ParcelError::Unknown(format!("its head cannot be read: {what}")))?;
    let signed = &parcel[..parcel.len() - signature.len()];
    // A signature that was cut off is told from one that is wrong by its own length.
    if is_cut(signature) {
        return Err(ParcelError::Incomplete);
    }
    let certificate = trust.prove(&head.from, &head.chain, now_ms, signed, signature)?;
    if head.to != *receiver.name() {
        return Err(ParcelError::NotForUs(head.to.to_string()));
    }
    if head.sealed_for != receiver.box_key().0 {
        return Err(ParcelError::OtherKey);
    }
    let bound = Head { encapsulated: Vec::new(), ..head.clone() };
    let bound = postcard::to_stdvec(&bound).map_err(|e| ParcelError::Sealed(e.to_string()))?;
    let plain = receiver.open(&head.encapsulated, PURPOSE, body, &bound)?;
    let frames: Vec<Vec<u8>> = whole(&plain).map_err(ParcelError::Sealed)?;
    let device = match (&head.from, &head.to) {
        (HubOrDevice::Device(device), HubOrDevice::Hub)
        | (HubOrDevice::Hub, HubOrDevice::Device(device)) => device.clone(),
        (HubOrDevice::Device(_), HubOrDevice::Device(_)) | (HubOrDevice::Hub, HubOrDevice::Hub) => {
            return Err(ParcelError::Unknown("it is not between a device and a hub".to_owned()));
        }
    };
    let reply_to = BoxKey(head.reply_to);
    Ok(Opened { device, certificate, reply_to, at_ms: head.at_ms, frames })
}

/// A part with its length before it, and what follows.
fn part(bytes: &[u8], bytes_max: usize) -> Result<(&[u8], &[u8]), ParcelError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(ParcelError::Incomplete)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > bytes_max {
        return Err(ParcelError::Unknown("a part of it is longer than any is".to_owned()));
    }
    if rest.len() < length { Err(ParcelError::Incomplete) } else { Ok(rest.split_at(length)) }
}

/// Whether an ASN.1 sequence ends before its length says.
fn is_cut(signature: &[u8]) -> bool {
    match signature {
        [0x30, length, rest @ ..] => rest.len() < usize::from(*length),
        [0x30] => true,
        _ => false,
    }
}

fn whole<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes too many", rest.len())) }
}

/// Names a parcel's file, so that the same content has the same name.
pub fn file_name(device: &DeviceId, part: usize) -> String {
    format!("{device}-{part}.parcel")
}
