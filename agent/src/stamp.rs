//! What records are stamped with: the wall clock, and digests that tell texts, packages and
//! configurations apart.

use landfall_wire::id::ShortDigest;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// Wall clock in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// First eight bytes of the SHA-256 of `bytes`.
pub(crate) fn short_digest(bytes: &[u8]) -> ShortDigest {
    shorten(Sha256::digest(bytes).into())
}

/// First eight bytes of a digest.
pub(crate) fn shorten(digest: [u8; 32]) -> ShortDigest {
    let [a, b, c, d, e, f, g, h, ..] = digest;
    ShortDigest([a, b, c, d, e, f, g, h])
}
