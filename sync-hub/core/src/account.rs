//! Who may do what, what a name and a password must be like, and how often may be guessed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What somebody may do; each may also do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything.
    Viewer,
    /// Answer questions.
    Operator,
    /// Release models and rules.
    Releaser,
    /// Manage accounts.
    Admin,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Releaser, Role::Admin];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Releaser => "releaser",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("'{text}' is not one of viewer, operator, releaser, admin"))
    }
}

/// Longest name of an account, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Shortest password, in characters (NIST SP 800-63B asks for 8; these guard a fleet).
pub const PASSWORD_CHARS_MIN: usize = 12;

/// Longest password, in bytes: hashing must not be made to work on megabytes.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// What is wrong with a name or a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name.
    #[error(
        "'{0}' is no name for an account: 1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '-', '_', '@'"
    )]
    Name(String),
    /// The password.
    #[error(
        "the password must have {PASSWORD_CHARS_MIN} characters or more, at most {PASSWORD_BYTES_MAX} bytes"
    )]
    Length,
    /// The password is the name.
    #[error("the password must not contain the name of the account")]
    Obvious,
}

/// Checks a name and returns it in lower case: `Ann` and `ann` are one.
///
/// # Errors
/// [`AccountError::Name`].
pub fn name(text: &str) -> Result<String, AccountError> {
    let name = text.trim().to_ascii_lowercase();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_@".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(good) {
        return Err(AccountError::Name(text.trim().chars().take(NAME_BYTES_MAX).collect()));
    }
    Ok(name)
}

/// Checks a new password.
///
/// # Errors
/// [`AccountError`].
pub fn password(name: &str, password: &str) -> Result<(), AccountError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(AccountError::Length);
    }
    // A short name is in many a good password.
    if name.len() > 3 && password.to_lowercase().contains(name) {
        return Err(AccountError::Obvious);
    }
    Ok(())
}

/// Wrong passwords before the first pause: people mistype.
const FREE: u32 = 5;

/// The first pause; doubled for each further failure.
const PAUSE_MS: u64 = 1_000;

/// The longest pause, and how long a failure is remembered.
const PAUSE_MS_MAX: u64 = 15 * 60 * 1_000;

/// Names and addresses that are remembered; when there are more, the oldest is forgotten.
const KEYS_MAX: usize = 10_000;

/// Slows down who guesses passwords, by account and by address.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: BTreeMap<String, (u32, u64)>,
}

impl Throttle {
    /// How long one of these must wait before the next try, in milliseconds.
    pub fn wait_ms(&self, keys: &[&str], now_ms: u64) -> u64 {
        let wait = |key: &&str| {
            let (count, last_ms) = self.failures.get(*key)?;
            let over = count.checked_sub(FREE)?;
            let pause = PAUSE_MS.saturating_mul(1 << over.min(20)).min(PAUSE_MS_MAX);
            Some((last_ms + pause).saturating_sub(now_ms))
        };
        keys.iter().filter_map(wait).max().unwrap_or(0)
    }

    /// A try failed.
    pub fn failed(&mut self, keys: &[&str], now_ms: u64) {
        for &key in keys {
            let (count, last_ms) = self.failures.entry(key.to_owned()).or_default();
            let forgotten = now_ms.saturating_sub(*last_ms) > PAUSE_MS_MAX;
            *count = if forgotten { 1 } else { count.saturating_add(1) };
            *last_ms = now_ms;
        }
        if self.failures.len() > KEYS_MAX {
            self.failures.retain(|_, (_, last)| now_ms.saturating_sub(*last) <= PAUSE_MS_MAX);
        }
        while self.failures.len() > KEYS_MAX {
            let oldest = self.failures.iter().min_by_key(|(_, (_, last))| *last);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            self.failures.remove(&oldest);
        }
    }

    /// A try succeeded: the account's mistakes are forgotten. An address is not forgiven by one
    /// account that its owner has.
    pub fn succeeded(&mut self, account: &str) {
        self.failures.remove(account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_the_lesser_ones_may() {
        assert!(Role::Admin > Role::Releaser && Role::Releaser > Role::Operator);
        assert!(Role::Operator > Role::Viewer);
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn names_are_plain_and_passwords_long() {
        assert_eq!(name(" Ann.B "), Ok("ann.b".to_owned()));
        for bad in ["", " ", "ann b", "ann/b", "änn", &"a".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(password("ann", "correct horse"), Ok(()));
        assert_eq!(password("ann", "short"), Err(AccountError::Length));
        assert_eq!(password("ann", &"x".repeat(513)), Err(AccountError::Length));
        assert_eq!(password("anna", "AnnaAnnaAnna"), Err(AccountError::Obvious));
    }

    #[test]
    fn guessing_becomes_slow_and_mistyping_does_not() {
        let mut throttle = Throttle::default();
        let keys = ["ann", "10.0.0.1"];
        for _ in 0..FREE {
            assert_eq!(throttle.wait_ms(&keys, 0), 0);
            throttle.failed(&keys, 0);
        }
        assert_eq!(throttle.wait_ms(&keys, 0), PAUSE_MS);
        throttle.failed(&keys, 1_000);
        assert_eq!(throttle.wait_ms(&keys, 1_000), 2 * PAUSE_MS);
        assert_eq!(throttle.wait_ms(&["ann", "10.0.0.2"], 1_000), 2 * PAUSE_MS, "elsewhere");
        throttle.succeeded("ann");
        assert_eq!(throttle.wait_ms(&["ann", "10.0.0.2"], 1_000), 0);
        assert!(throttle.wait_ms(&["bob", "10.0.0.1"], 1_000) > 0, "the address is not forgiven");
        for _ in 0..40 {
            throttle.failed(&["bob"], 1_000);
        }
        assert_eq!(throttle.wait_ms(&["bob"], 1_000), PAUSE_MS_MAX);
        throttle.failed(&["bob"], 2_000 + PAUSE_MS_MAX);
        assert_eq!(throttle.wait_ms(&["bob"], 2_000 + PAUSE_MS_MAX), 0, "long ago");
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..KEYS_MAX + 10 {
            throttle.failed(&[&n.to_string()], n as u64);
        }
        assert_eq!(throttle.failures.len(), KEYS_MAX);
        assert!(!throttle.failures.contains_key("0"), "the oldest");
    }
}
