//! A batch becomes rows, and the mark moves, in one transaction.

use super::Command;
use super::ledger::SqlLedger;
use super::sql::{self, Connection};
use landfall_hub_core::ledger::{self, IngestError, Ingested};
use landfall_wire::frame::Batch;

/// Apply one batch of a device.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// Row of the device.
    pub device: i64,
    /// What it sent.
    pub batch: Batch,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Ingest {
    type Done = Result<Ingested, IngestError>;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let mut ledger = SqlLedger::new(tx, self.device, self.now_ms);
        let done = ledger::ingest(&mut ledger, &self.batch)?;
        if let Ok(done) = &done {
            ledger.count(done)?;
        }
        Ok(done)
    }
}
