//! The one-time token by which a device gets its first certificate: what a person types on a serial
//! console. It says which authority the hub must prove to be, so that the device needs to trust
//! nobody before, and a secret that the hub knows only the digest of.
//!
//! Written as 36 characters in six groups, Crockford's base 32: no `I`, `L`, `O`, `U`, which are
//! read as digits where people write them all the same. Two bytes of checksum find a mistyped one
//! before anything is sent.

use std::fmt;
use std::str::FromStr;

/// Bytes of the secret. The hub takes a token once, for a day, and few wrong ones in a minute.
pub const SECRET_BYTES: usize = 8;

/// Bytes of the authority's fingerprint: nobody makes another key with the same 96 bits.
pub const FINGERPRINT_BYTES: usize = 12;

const CHECK_BYTES: usize = 2;
const BYTES: usize = SECRET_BYTES + FINGERPRINT_BYTES + CHECK_BYTES;

/// Characters of a token without dashes: 5 bits each, the last with 4 unused.
const CHARS: usize = (BYTES * 8).div_ceil(5);

/// Characters between dashes.
const GROUP: usize = 6;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A one-time token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Known to who types it; the hub keeps its digest.
    pub secret: [u8; SECRET_BYTES],
    /// The beginning of the SHA-256 of the certificate (DER) of the hub's authority.
    pub authority: [u8; FINGERPRINT_BYTES],
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too short or too long.
    #[error("a token has {CHARS} letters and digits beside its dashes, this one has {0}")]
    Length(usize),
    /// A character that no token has.
    #[error("'{0}' is in no token")]
    Character(char),
    /// Mistyped.
    #[error("the token is mistyped: its last characters do not fit the others")]
    Checksum,
}

impl Token {
    fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let (content, check) = bytes.split_at_mut(BYTES - CHECK_BYTES);
        content[..SECRET_BYTES].copy_from_slice(&self.secret);
        content[SECRET_BYTES..].copy_from_slice(&self.authority);
        check.copy_from_slice(&checksum(content));
        bytes
    }
}

/// The low bytes of a CRC-32 that begins with the token's version.
fn checksum(content: &[u8]) -> [u8; CHECK_BYTES] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(b"landfall token 1");
    crc.update(content);
    let [low, high, ..] = crc.finalize().to_le_bytes();
    [low, high]
}

impl fmt::Display for Token {
    /// As it is typed, secret and all: for the one who may know it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut held, mut bits, mut written) = (0_u32, 0, 0);
        let mut put = |f: &mut fmt::Formatter<'_>, digit: u32| {
            if written > 0 && written % GROUP == 0 {
                f.write_str("-")?;
            }
            written += 1;
            let at = usize::try_from(digit & 31).unwrap_or(0);
            write!(f, "{}", char::from(ALPHABET[at]))
        };
        for byte in self.bytes() {
            (held, bits) = ((held << 8) | u32::from(byte), bits + 8);
            while bits >= 5 {
                bits -= 5;
                put(f, held >> bits)?;
            }
            held &= (1 << bits) - 1;
        }
        if bits > 0 { put(f, held << (5 - bits)) } else { Ok(()) }
    }
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let typed = text.chars().filter(|c| *c != '-' && !c.is_whitespace());
        let count = typed.clone().take(CHARS * 2).count();
        if count != CHARS {
            return Err(TokenError::Length(count));
        }
        let mut bytes = [0; BYTES];
        let (mut held, mut bits, mut at) = (0_u32, 0, 0);
        for c in typed {
            (held, bits) = ((held << 5) | digit(c)?, bits + 5);
            if bits >= 8 && at < BYTES {
                bits -= 8;
                bytes[at] = u8::try_from((held >> bits) & 0xff).unwrap_or(0);
                at += 1;
            }
            held &= (1 << bits) - 1;
        }
        let (content, check) = bytes.split_at(BYTES - CHECK_BYTES);
        if held != 0 || check != checksum(content) {
            return Err(TokenError::Checksum);
        }
        let mut token = Token { secret: [0; SECRET_BYTES], authority: [0; FINGERPRINT_BYTES] };
        token.secret.copy_from_slice(&content[..SECRET_BYTES]);
        token.authority.copy_from_slice(&content[SECRET_BYTES..]);
        Ok(token)
    }
}

fn digit(c: char) -> Result<u32, TokenError> {
    let meant = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|known| char::from(*known) == meant);
    at.and_then(|at| u32::try_from(at).ok()).ok_or(TokenError::Character(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { secret: [1, 2, 3, 4, 5, 6, 7, 255], authority: *b"fingerprint!" }
    }

    #[test]
    fn what_is_written_is_read_however_it_is_typed() {
        let text = token().to_string();
        assert_eq!(text.len(), CHARS + 5, "{text}");
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', " "),
            text.replace('-', ""),
            text.replace('0', "o").replace('1', "l"),
            format!(" {text}\n"),
        ] {
            assert_eq!(typed.parse(), Ok(token()), "{typed}");
        }
    }

    #[test]
    fn a_mistyped_one_is_noticed() {
        let text = token().to_string();
        let mut missed = 0;
        for at in text.char_indices().filter(|(_, c)| *c != '-').map(|(at, _)| at) {
            let other = if &text[at..=at] == "7" { "8" } else { "7" };
            let mut typed = text.clone();
            typed.replace_range(at..=at, other);
            missed += u32::from(typed.parse::<Token>().is_ok());
        }
        assert_eq!(missed, 0);
        assert_eq!("".parse::<Token>(), Err(TokenError::Length(0)));
        assert_eq!("U".repeat(CHARS).parse::<Token>(), Err(TokenError::Character('U')));
        assert!(matches!("x".repeat(9000).parse::<Token>(), Err(TokenError::Length(_))));
        assert!("ä".repeat(CHARS).parse::<Token>().is_err());
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let shown = format!("{:?}", Token { secret: [0xee; 8], authority: [0; 12] });
        assert!(!shown.contains("238") && !shown.contains("ee"), "{shown}");
    }
}
