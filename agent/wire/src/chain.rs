//! The hash chain over a device's outcomes.
//!
//! The value before the first outcome is bound to device and epoch; each outcome makes the next:
//! `SHA-256(value || record as encoded)`. Whoever holds the records can compute every value, so
//! only a few travel: a [`ChainMark`] tells the value at one position, as an event.
//!
//! Two marks that agree with the records between them prove that none of these was changed,
//! removed, added or moved since the device wrote them. They do not prove who wrote them: a value
//! needs no key, so whoever can change the records and every later mark can make them agree.

use crate::id::{DeviceId, Epoch, ShortDigest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Keeps a chain's beginning apart from every other use of SHA-256.
const BEGINNING: &[u8] = b"landfall outcome chain 1\0";

/// The chain at one position: a digest of every outcome below, since the chain began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainValue(pub [u8; 32]);

impl ChainValue {
    /// The value with which a chain begins at position `at` of an epoch: zero, or where an agent
    /// that keeps no chain left off. A device that is not enrolled has no name yet.
    pub fn begin(device: Option<&DeviceId>, epoch: Epoch, at: u64) -> ChainValue {
        let mut hasher = Sha256::new();
        hasher.update(BEGINNING);
        hasher.update(device.map_or("", DeviceId::as_str));
        hasher.update([0]);
        hasher.update(epoch.0.to_be_bytes());
        hasher.update(at.to_be_bytes());
        ChainValue(hasher.finalize().into())
    }

    /// The value after a record, as it is encoded.
    #[must_use]
    pub fn after(self, record: &[u8]) -> ChainValue {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(record);
        ChainValue(hasher.finalize().into())
    }

    /// Its first bytes.
    pub fn short(self) -> ShortDigest {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortDigest([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for ChainValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a device says of its chain: the value before the outcome `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMark {
    /// Epoch of the outcomes.
    pub epoch: Epoch,
    /// The position.
    pub at: u64,
    /// The value there.
    pub value: ChainValue,
    /// The chain begins here: what lies below is not part of it.
    pub begins: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_as_ever() {
        let ship: DeviceId = "ship-7".parse().unwrap();
        let begin = ChainValue::begin(Some(&ship), Epoch(0xf1e2), 0);
        let after = begin.after(b"one").after(b"two");
        // Computed with Python's hashlib.
        assert_eq!(
            begin.to_string(),
            "23a3f71518837a1bad14dabc2372158df15042ec5b037713ab4f0eac91244495"
        );
        assert_eq!(
            after.to_string(),
            "05f3cf1fce8462e770f09e5ae77d3098c67403c96b33cbdb4e76ee07b624b233"
        );
        assert_ne!(after, begin.after(b"two").after(b"one"), "order counts");
        assert_ne!(after, begin.after(b"onetwo"), "so do the limits between records");
    }

    #[test]
    fn a_beginning_belongs_to_one_device_epoch_and_position() {
        let name = |text: &str| text.parse::<DeviceId>().unwrap();
        let (ship, shed) = (name("ship-7"), name("shed-7"));
        let values = [
            ChainValue::begin(Some(&ship), Epoch(1), 0),
            ChainValue::begin(Some(&shed), Epoch(1), 0),
            ChainValue::begin(None, Epoch(1), 0),
            ChainValue::begin(Some(&ship), Epoch(2), 0),
            ChainValue::begin(Some(&ship), Epoch(1), 1),
        ];
        for (at, value) in values.iter().enumerate() {
            assert!(!values[..at].contains(value), "{at}");
        }
    }
}
