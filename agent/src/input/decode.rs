//! Bytes of unknown origin to text. Every input decodes to something; what was assumed is
//! said in the result.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// How a file's bytes were understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, little endian, by its byte order mark.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, big endian, by its byte order mark.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Assumed because the bytes are not UTF-8.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Windows1252 => "windows-1252",
        })
    }
}

/// Decodes by byte order mark, else as UTF-8, else as Windows-1252. Broken UTF-16 pairs
/// become U+FFFD.
pub fn decode(bytes: &[u8]) -> (Cow<'_, str>, Encoding) {
    match bytes {
        [0xFF, 0xFE, rest @ ..] => (utf16(rest, u16::from_le_bytes).into(), Encoding::Utf16Le),
        [0xFE, 0xFF, rest @ ..] => (utf16(rest, u16::from_be_bytes).into(), Encoding::Utf16Be),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8_or_1252(rest),
        bytes => utf8_or_1252(bytes),
    }
}

fn utf8_or_1252(bytes: &[u8]) -> (Cow<'_, str>, Encoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), Encoding::Utf8),
        Err(_) => (bytes.iter().map(|&b| windows_1252(b)).collect(), Encoding::Windows1252),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text: String = char::decode_utf16(pairs.iter().map(|&pair| unit(pair)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !odd.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

/// The WHATWG table: Latin-1, but printable characters at 0x80 to 0x9F.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž',
        '\u{8F}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9F => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "Kühlung – läuft";
        let utf16 = |bom: u16, to: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(bom).chain(text.encode_utf16()).flat_map(to).collect()
        };
        let with_bom = [b"\xEF\xBB\xBF", text.as_bytes()].concat();
        let cases: [(Vec<u8>, Encoding); 5] = [
            (text.into(), Encoding::Utf8),
            (with_bom, Encoding::Utf8),
            (utf16(0xFEFF, u16::to_le_bytes), Encoding::Utf16Le),
            (utf16(0xFEFF, u16::to_be_bytes), Encoding::Utf16Be),
            (b"K\xFChlung \x96 l\xE4uft".to_vec(), Encoding::Windows1252),
        ];
        for (bytes, encoding) in cases {
            assert_eq!(decode(&bytes), (text.into(), encoding));
        }
    }

    #[test]
    fn broken_utf16_is_marked_and_kept() {
        let (text, encoding) = decode(b"\xFF\xFEa\0\x00\xD8b");
        assert_eq!((text.as_ref(), encoding), ("a\u{FFFD}\u{FFFD}", Encoding::Utf16Le));
    }

    #[test]
    fn every_byte_decodes() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&bytes).0.chars().count(), 256);
    }
}
