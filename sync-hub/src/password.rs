//! Passwords, hashed with Argon2id; off the runtime's threads, and few at a time: each hash
//! takes 19 MiB.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Memory of one hash in KiB, passes and lanes: what OWASP recommends, about 40 ms.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Hashes at once.
const AT_ONCE_MAX: usize = 2;

/// Verified in place of the hash of an account that does not exist, so that the time does not
/// tell whether it does.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5MDA$\
                      5ZvVkIgBnjbnUwEDZGQ7Pj5rwCzKmNfzCDXYsZQaZRY";

/// A password could not be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a password could not be hashed: {0}")]
pub struct HashError(String);

fn hasher() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|error| HashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a new password.
///
/// # Errors
/// [`HashError`] without randomness.
pub fn hash(password: &str) -> Result<String, HashError> {
    let mut random = [0; SALT_BYTES];
    getrandom::fill(&mut random).map_err(|error| HashError(error.to_string()))?;
    let failed = |error: argon2::password_hash::Error| HashError(error.to_string());
    let salt = SaltString::encode_b64(&random).map_err(failed)?;
    Ok(hasher()?.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a password is the one behind a hash; `None` stands for no such account, and takes as
/// long.
fn verify(password: &str, hash: Option<&str>) -> bool {
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODY));
    let right = match (parsed, hasher()) {
        (Ok(parsed), Ok(hasher)) => hasher.verify_password(password.as_bytes(), &parsed).is_ok(),
        _ => false,
    };
    right && hash.is_some()
}

/// Verifies for many, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    room: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords { room: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Passwords {
    /// Whether a password is right.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> bool {
        let Ok(_room) = self.room.acquire().await else { return false };
        let work = tokio::task::spawn_blocking(move || verify(&password, hash.as_deref()));
        work.await.unwrap_or(false)
    }

    /// Hashes a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, HashError> {
        let Ok(_room) = self.room.acquire().await else {
            return Err(HashError("the hub stops".to_owned()));
        };
        let work = tokio::task::spawn_blocking(move || hash(&password));
        work.await.unwrap_or_else(|error| Err(HashError(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_fits_and_no_other() {
        let one = hash("correct horse").unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, hash("correct horse").unwrap(), "salted");
        assert!(verify("correct horse", Some(&one)));
        assert!(!verify("correct horsf", Some(&one)) && !verify("x", Some("nonsense")));
        assert!(PasswordHash::new(NOBODY).is_ok(), "takes as long as a real one");
        assert!(!verify("", None));
    }
}
