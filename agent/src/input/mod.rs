//! Files of texts, for the spool and for `batch`: decoding, splitting into items, naming them.
//!
//! Invariants: an item that cannot be read is an error that names its line and spoils no
//! other item; the same file always gives the same ids, so that deciding it twice records
//! it once.
//!
//! Not here: decisions, disks, the network.

mod decode;
mod read;

pub use decode::{Encoding, decode};
pub use read::{Format, Item, ItemError, ReadError, Reading, items};

use landfall_wire::record::cut;
use sha2::{Digest, Sha256};

/// Most bytes of a file name in an id: an id has 128, of which prefix, digest and line take 50.
const NAME_BYTES_MAX: usize = 72;

/// The ids of one file's lines: made of its name, the digest of its bytes, and the line.
#[derive(Debug, Clone)]
pub struct LineIds {
    prefix: String,
    digest: String,
}

impl LineIds {
    /// Ids for a file of this name and content.
    pub fn new(name: &str, bytes: &[u8]) -> LineIds {
        let digest = Sha256::digest(bytes);
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        LineIds { prefix: format!("{}:{hex}", cut(name, NAME_BYTES_MAX)), digest: hex }
    }

    /// Digest of the file in 16 hex digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The id of one line.
    pub fn line(&self, line: u64) -> String {
        format!("{}:{line}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_wire::limits::CALLER_ID_BYTES_MAX;

    #[test]
    fn ids_follow_name_content_and_line_and_fit() {
        let ids = LineIds::new("orders.csv", b"a,b");
        assert_eq!(ids.line(3), LineIds::new("orders.csv", b"a,b").line(3));
        assert_ne!(ids.line(3), ids.line(4));
        assert_ne!(ids.line(3), LineIds::new("orders.csv", b"a,c").line(3));
        assert_ne!(ids.line(3), LineIds::new("other.csv", b"a,b").line(3));
        let long = LineIds::new(&"ä".repeat(200), b"x").line(u64::MAX);
        assert!(long.len() <= CALLER_ID_BYTES_MAX, "{long}");
    }
}
