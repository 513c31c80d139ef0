//! One-time tokens: a device that has one makes its own key and gets its certificate.
//!
//! Each is a small file in `tokens/` of the hub's directory, named after the digest of its secret,
//! which is not kept. It is good once, until it expires. One that was used remembers for which key,
//! so that a device whose reply was lost on the way asks again and gets the same certificate.

use super::files::{PRIVATE, failed, read, write};
use super::{Authority, HubAddress, IdentityError, hex};
use landfall_wire::id::DeviceId;
use landfall_wire::token::{FINGERPRINT_BYTES, SECRET_BYTES, Token};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIR: &str = "tokens";

/// Tokens that were used or have expired are kept this long, for a device that asks again.
const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The device that it makes.
    pub(crate) device: DeviceId,
    /// Where that finds the hub: `host:port`.
    pub(crate) hub: String,
    /// Days that its certificate is valid.
    pub(crate) days: u32,
    /// When the token ends, milliseconds since 1970.
    pub(crate) expires_ms: u64,
    /// By whom it was used.
    pub(crate) used: Option<Used>,
}

/// The use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Digest of the device's key, in hex.
    key: String,
    /// The certificate that was issued, PEM.
    pub(crate) certificate: String,
}

/// A token that can be used by who asks.
#[derive(Debug)]
pub(crate) enum Found {
    /// Not used yet.
    New(Offer),
    /// Used before, for the very same key.
    Again(Offer, Used),
}

/// Makes a token; what has long ended is removed on the way.
///
/// # Errors
/// [`IdentityError`] if it cannot be written.
pub fn new_token(
    authority: &Authority,
    device: &DeviceId,
    hub: &HubAddress,
    days: u32,
    expires_ms: u64,
    now_ms: u64,
) -> Result<Token, IdentityError> {
    let dir = authority.path(DIR);
    std::fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
    forget(&dir, now_ms);
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let token = Token { secret, authority: authority.fingerprint()? };
    let offer =
        Offer { device: device.clone(), hub: hub.to_string(), days, expires_ms, used: None };
    put(&path(&dir, &secret), &offer)?;
    Ok(token)
}

/// The offer of a secret, if `key` may use it now.
pub(crate) fn find(
    authority: &Authority,
    secret: &[u8; SECRET_BYTES],
    key: &str,
    now_ms: u64,
) -> Result<Option<Found>, IdentityError> {
    let path = path(&authority.path(DIR), secret);
    let Some(text) = read(&path)? else { return Ok(None) };
    let offer: Offer = serde_json::from_str(&text)
        .map_err(|error| IdentityError::Damaged { path, reason: error.to_string() })?;
    Ok(match &offer.used {
        Some(used) if used.key == key => Some(Found::Again(offer.clone(), used.clone())),
        Some(_) => None,
        None if offer.expires_ms > now_ms => Some(Found::New(offer)),
        None => None,
    })
}

/// Notes for which key a token was used: it is good for no other from now on.
pub(crate) fn spend(
    authority: &Authority,
    secret: &[u8; SECRET_BYTES],
    offer: Offer,
    key: &str,
    certificate: &str,
) -> Result<(), IdentityError> {
    let used = Used { key: key.to_owned(), certificate: certificate.to_owned() };
    put(&path(&authority.path(DIR), secret), &Offer { used: Some(used), ..offer })
}

fn put(path: &Path, offer: &Offer) -> Result<(), IdentityError> {
    let text = serde_json::to_string(offer).map_err(|error| IdentityError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    write(path, &text, PRIVATE)
}

fn path(dir: &Path, secret: &[u8; SECRET_BYTES]) -> PathBuf {
    dir.join(format!("{}.json", hex(&Sha256::digest(secret)[..16])))
}

/// Removes what nobody can ask for any more.
fn forget(dir: &Path, now_ms: u64) {
    let keep_ms = u64::try_from(KEEP.as_millis()).unwrap_or(u64::MAX);
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let offer = std::fs::read_to_string(entry.path()).ok();
        let offer = offer.and_then(|text| serde_json::from_str::<Offer>(&text).ok());
        if offer.is_some_and(|offer| offer.expires_ms.saturating_add(keep_ms) < now_ms) {
            // One that stays is refused all the same.
            let _stays = std::fs::remove_file(entry.path());
        }
    }
}

/// The fingerprint of a certificate, as a token has it.
pub(super) fn fingerprint(certificate: &[u8]) -> [u8; FINGERPRINT_BYTES] {
    let mut fingerprint = [0; FINGERPRINT_BYTES];
    fingerprint.copy_from_slice(&Sha256::digest(certificate)[..FINGERPRINT_BYTES]);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_780_000_000_000;

    #[test]
    fn a_token_is_good_once_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let device: DeviceId = "ship-7".parse().unwrap();
        let hub: HubAddress = "hub.example.org:8883".parse().unwrap();
        let end = NOW_MS + 1000;
        let token = new_token(&authority, &device, &hub, 10, end, NOW_MS).unwrap();
        let find = |key, now_ms| find(&authority, &token.secret, key, now_ms).unwrap();
        let Some(Found::New(offer)) = find("a", NOW_MS) else { panic!("not found") };
        assert_eq!((offer.device.as_str(), offer.days), ("ship-7", 10));
        assert!(find("a", end).is_none(), "expired");
        spend(&authority, &token.secret, offer, "a", "PEM").unwrap();
        assert!(find("b", NOW_MS).is_none(), "used by another");
        let again = find("a", end + 1);
        assert!(matches!(&again, Some(Found::Again(_, used)) if used.certificate == "PEM"));
        assert!(super::find(&authority, &[0; 8], "a", NOW_MS).unwrap().is_none());
        // The secret itself is nowhere.
        for entry in std::fs::read_dir(dir.path().join(DIR)).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            assert!(!text.contains(&hex(&token.secret)) && !text.contains(&token.to_string()));
        }
        let later = NOW_MS + 8 * 24 * 60 * 60 * 1000;
        new_token(&authority, &device, &hub, 10, later + 1, later).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(DIR)).unwrap().count(), 1, "the old is gone");
    }
}
