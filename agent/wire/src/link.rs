//! What a device tells of the link that it uses.

use crate::limits::NAME_BYTES_MAX;
use crate::record::cut;
use serde::{Deserialize, Serialize};

/// The link in use, and what is spent of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// Its name, as the site declares it.
    pub link: String,
    /// Its class; 1 is the cheapest.
    pub class: u8,
    /// Bytes of the day that are spent, both ways, headers included.
    pub spent_bytes: u64,
    /// Bytes that it may carry a day.
    pub budget_bytes: Option<u64>,
    /// Bytes a second while records were waiting; 0 if that is not known.
    pub bytes_per_sec: u64,
}

impl LinkReport {
    pub(crate) fn fit(&mut self) {
        self.link.truncate(cut(&self.link, NAME_BYTES_MAX).len());
    }
}
