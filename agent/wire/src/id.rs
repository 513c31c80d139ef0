//! Names and numbers. Text is checked once, here; inside, the types are trusted.

use crate::limits::{DEVICE_ID_BYTES_MAX, NAME_BYTES_MAX};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Why a name or id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, too long, or with characters outside the allowed set.
    #[error(
        "'{text}' is not a valid {what}: use 1 to {bytes_max} of a-z, 0-9 and '-', \
         starting with a letter or digit"
    )]
    Name {
        /// What the text was meant to be.
        what: &'static str,
        /// The text, cut to a printable length.
        text: String,
        /// Longest allowed, in bytes.
        bytes_max: usize,
    },
    /// Not `<16 hex digits>-<number>`.
    #[error("'{0}' is not a ticket: it looks like 00f1e2d3c4b5a697-42")]
    Ticket(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("'{0}' is not a digest: 64 digits of 0-9 and a-f")]
    Digest(String),
}

fn check_name(what: &'static str, text: &str, bytes_max: usize) -> Result<(), IdError> {
    let first_ok =
        text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest_ok = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if first_ok && rest_ok && text.len() <= bytes_max {
        return Ok(());
    }
    Err(IdError::Name { what, text: text.chars().take(80).collect(), bytes_max })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name($what, text, $max)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check_name($what, &text, $max)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// One device: the CN of its certificate and the middle of its topics.
    DeviceId, "device name", DEVICE_ID_BYTES_MAX
);
name_type!(
    /// One decision that a site asks for, such as `failure-mode`.
    TaskName, "task name", NAME_BYTES_MAX
);

/// Random number made when a store is created. Positions of a stream mean nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names an escalation on its device: the epoch and its position in the escalation stream.
/// Written `<epoch in 16 hex digits>-<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// Epoch of the store that issued it.
    pub epoch: Epoch,
    /// Sequence number in the escalation stream.
    pub seq: u64,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Ticket {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (epoch, seq) = text.split_once('-')?;
            let digits = |t: &str, hex: bool| {
                t.bytes().all(|b| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() })
            };
            if epoch.len() != 16 || !digits(epoch, true) || !digits(seq, false) {
                return None;
            }
            Some(Ticket {
                epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
                seq: seq.parse().ok()?,
            })
        };
        parse().ok_or_else(|| IdError::Ticket(text.chars().take(80).collect()))
    }
}

/// First eight bytes of a SHA-256 digest: enough to tell packages and configurations apart.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct ShortDigest(pub [u8; 8]);

impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 of a file, and its name where files are kept by content: 64 lower-case hexadecimal
/// digits. Text in formats for people, 32 bytes in those for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// As records have it.
    pub fn short(self) -> ShortDigest {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortDigest([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let nibble = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let parse = || {
            let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
            let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
            let mut bytes = [0; 32];
            for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                *byte = nibble(*high)? << 4 | nibble(*low)?;
            }
            Some(Digest(bytes))
        };
        parse().ok_or_else(|| IdError::Digest(text.chars().take(80).collect()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(from).map(Digest)
        }
    }
}

/// Probability in basis points, 0 to 10,000: what a record stores of a confidence.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct Confidence(u16);

impl Confidence {
    /// Certainty, as a rule has it.
    pub const CERTAIN: Confidence = Confidence(10_000);

    /// From a probability; values outside 0 to 1 are clamped, NaN is 0.
    pub fn from_probability(p: f32) -> Confidence {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=10000 just before"
        )]
        Confidence((p.clamp(0.0, 1.0) * 10_000.0).round() as u16)
    }

    /// From basis points; more than 10,000 counts as 10,000.
    pub fn from_basis_points(bp: u16) -> Confidence {
        Confidence(bp.min(10_000))
    }

    /// In basis points, 0 to 10,000.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// As a probability, 0 to 1.
    pub fn probability(self) -> f32 {
        f32::from(self.0) / 10_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_parsed() {
        for good in ["a", "ship-7", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<DeviceId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "Ship", "a/b", "a+", "ä", "a b", &"x".repeat(64)] {
            let error = bad.parse::<DeviceId>().unwrap_err();
            assert!(matches!(error, IdError::Name { what: "device name", .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn tickets_read_back_what_they_print() {
        let ticket = Ticket { epoch: Epoch(0xf1e2), seq: 42 };
        assert_eq!(ticket.to_string(), "000000000000f1e2-42");
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
        for bad in ["", "1-2", "000000000000f1e2-", "000000000000f1e2-+1", "+00000000000f1e2-1"] {
            assert!(bad.parse::<Ticket>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_read_back_what_they_print() {
        let digest = Digest::of(b"");
        let text = digest.to_string();
        assert!(text.starts_with("e3b0c44298fc1c14"), "{text}");
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.short().to_string(), "e3b0c44298fc1c14");
        let upper = text.to_uppercase();
        for bad in ["", &text[1..], &upper, &format!("{text}0"), &text.replace('e', "g")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert_eq!(postcard::to_stdvec(&digest).unwrap(), digest.0);
    }

    #[test]
    fn confidence_clamps() {
        assert_eq!(Confidence::from_probability(f32::NAN).basis_points(), 0);
        assert_eq!(Confidence::from_probability(-1.0).basis_points(), 0);
        assert_eq!(Confidence::from_probability(2.0), Confidence::CERTAIN);
        assert_eq!(Confidence::from_probability(0.12345).basis_points(), 1235);
    }
}
