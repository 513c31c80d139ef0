//! Rules that the hub gives: files of rules as a site writes them, in numbered slots of a device,
//! and what the device says became of each.
//!
//! A slot holds one file, for one task; an empty file empties it. Each file is signed by the
//! authority that the device trusts, for this device alone, so that nobody who only carries
//! records can make one or give a device another's.

use crate::id::{DeviceId, TaskName};
use crate::record::cut;
use serde::{Deserialize, Serialize};

/// Longest file of rules in bytes: what is left of a record of 4,000 by the rest and the head of a
/// stored value. A rule of ten words takes about 150.
pub const RULES_FILE_BYTES_MAX: usize = 3072;

/// Slots of a device, counted from 0: half of the directives that it keeps.
pub const RULES_SLOTS_MAX: u16 = 128;

/// Told to the signature, so that it is good for nothing else that the authority signs: what it
/// signs otherwise begins with the DER of a sequence, 0x30.
const PURPOSE: &[u8] = b"landfall rules 1\0";

/// Longest detail of a report in bytes: a few lines for a person.
const DETAIL_BYTES_MAX: usize = 512;

/// What a slot of a device is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesOrder {
    /// Which slot.
    pub slot: u16,
    /// Rises with every order for this slot: one that is not above the last is an old one. By the
    /// hub's clock, so that a hub that was restored from a backup is heard too.
    pub number: u64,
    /// Number of the file in the hub's book. The one with the higher number is asked first.
    pub rule: u64,
    /// The task.
    pub task: TaskName,
    /// The rules as TOML; empty for none.
    pub file: String,
    /// ECDSA P-256 with SHA-256, ASN.1, over [`RulesOrder::signed`].
    pub signature: Vec<u8>,
}

impl RulesOrder {
    /// What is signed: the purpose, then postcard of the device's name and of everything but the
    /// signature.
    pub fn signed(&self, device: &DeviceId) -> Vec<u8> {
        let RulesOrder { slot, number, rule, task, file, signature: _ } = self;
        let body = (device, slot, number, rule, task, file);
        // Writing plain values to memory does not fail.
        [PURPOSE, &postcard::to_stdvec(&body).unwrap_or_default()].concat()
    }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesReport {
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// The slot.
    pub slot: u16,
    /// Number of the order.
    pub number: u64,
    /// Number of the file in the hub's book.
    pub rule: u64,
    /// Why it is not used; `None` if it is.
    pub refused: Option<String>,
}

impl RulesReport {
    /// Cuts what is variable to its limits.
    pub(crate) fn fit(&mut self) {
        if let Some(why) = &mut self.refused {
            why.truncate(cut(why, DETAIL_BYTES_MAX).len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::Directive;
    use crate::limits::RECORD_BYTES_MAX;
    use crate::record::Record;

    #[test]
    fn the_largest_order_fits_a_record() {
        let order = RulesOrder {
            slot: RULES_SLOTS_MAX,
            number: u64::MAX,
            rule: u64::MAX,
            task: "t".repeat(63).parse().unwrap(),
            file: "x".repeat(RULES_FILE_BYTES_MAX),
            signature: vec![0xff; 72],
        };
        let bytes = Record::Directive(Directive::Rules(order)).encode().unwrap();
        assert!(bytes.len() < RECORD_BYTES_MAX, "{}", bytes.len());
    }

    #[test]
    fn the_signature_is_over_everything_and_the_device() {
        let order = |slot, file: &str| RulesOrder {
            slot,
            number: 7,
            rule: 3,
            task: "failure-mode".parse().unwrap(),
            file: file.to_owned(),
            signature: Vec::new(),
        };
        let [ship, quay]: [DeviceId; 2] = ["ship-1", "quay-1"].map(|name| name.parse().unwrap());
        let signed = order(1, "a").signed(&ship);
        assert_eq!(signed, RulesOrder { signature: vec![1], ..order(1, "a") }.signed(&ship));
        assert_ne!(signed, order(1, "a").signed(&quay));
        assert_ne!(signed, order(2, "a").signed(&ship));
        assert_ne!(signed, order(1, "b").signed(&ship));
        assert_ne!(signed, RulesOrder { number: 8, ..order(1, "a") }.signed(&ship));
    }
}
