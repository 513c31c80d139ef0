//! Old outcomes are removed, a little at a time.
//!
//! What is removed of an epoch is always everything below one place, and the place is one of which
//! the device told the value of its chain: from there on an audit proves what is kept. How far it
//! went is in the table `removed`; counts of a device go on counting what was.

use super::sql::{self, Connection, params};
use super::{Command, signed};
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;

/// Marks of the chain that one transaction goes on by: some 1,000 outcomes, so that what devices
/// send meanwhile waits some milliseconds.
const MARKS_MAX: i64 = 16;

/// Outcomes that one transaction removes where the device keeps no chain.
const OUTCOMES_MAX: i64 = 1_024;

/// The epochs of all devices.
///
/// # Errors
/// Those of the database.
pub fn epochs(connection: &Connection) -> sql::Result<Vec<(i64, Epoch)>> {
    connection.rows(
        "SELECT device, epoch FROM mark WHERE stream = ?1 ORDER BY device, epoch",
        params![StreamId::Outcome.name()],
        |row| Ok((row.get(0)?, Epoch(row.get::<i64>(1)?.cast_unsigned()))),
    )
}

/// Remove some outcomes of an epoch that came before a time.
#[derive(Debug, Clone)]
pub struct RemoveOld {
    /// Row of the device.
    pub device: i64,
    /// The epoch.
    pub epoch: Epoch,
    /// What came before, by the hub's clock, is not kept.
    pub before_ms: i64,
    /// Now, by the hub's clock.
    pub now_ms: i64,
}

impl Command for RemoveOld {
    /// How many were removed; none once it is done.
    type Done = u64;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<u64> {
        let (device, epoch) = (self.device, signed(self.epoch.0));
        let Some(below) = self.below(tx)? else { return Ok(0) };
        let removed = tx.execute(
            "DELETE FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3",
            params![device, epoch, below],
        )?;
        tx.execute(
            "DELETE FROM chain_mark WHERE device = ?1 AND epoch = ?2 AND at < ?3",
            params![device, epoch, below],
        )?;
        tx.execute(
            "INSERT INTO removed (device, epoch, below, at_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (device, epoch)
             DO UPDATE SET below = excluded.below, at_ms = excluded.at_ms",
            params![device, epoch, below, self.now_ms],
        )?;
        Ok(removed)
    }
}

impl RemoveOld {
    /// The place up to which outcomes can go now; `None` if there is none yet.
    fn below(&self, tx: &Connection) -> sql::Result<Option<i64>> {
        let (device, epoch) = (self.device, signed(self.epoch.0));
        // Numbers rise with the time of arrival.
        let first: Option<(i64, i64)> = tx.maybe(
            "SELECT seq, received_ms FROM outcome WHERE device = ?1 AND epoch = ?2
             ORDER BY seq LIMIT 1",
            params![device, epoch],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((first, _)) = first.filter(|(_, received_ms)| *received_ms < self.before_ms)
        else {
            return Ok(None);
        };
        let places: Vec<i64> = tx.rows(
            "SELECT DISTINCT at FROM chain_mark
             WHERE device = ?1 AND epoch = ?2 AND at > ?3 ORDER BY at LIMIT ?4",
            params![device, epoch, first, MARKS_MAX],
            |row| row.get(0),
        )?;
        for place in places.into_iter().rev() {
            if self.is_old(tx, place)? {
                return Ok(Some(place));
            }
        }
        let chained: bool = tx.row(
            "SELECT EXISTS (SELECT 1 FROM chain_mark WHERE device = ?1 AND epoch = ?2)",
            params![device, epoch],
            |row| row.get(0),
        )?;
        if chained {
            return Ok(None);
        }
        let newest: Option<i64> = tx.maybe(
            "SELECT seq FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3
                 AND received_ms < ?4
             ORDER BY seq DESC LIMIT 1",
            params![device, epoch, first + OUTCOMES_MAX, self.before_ms],
            |row| row.get(0),
        )?;
        Ok(newest.map(|seq| seq + 1))
    }

    /// Whether everything below a place is old: whether the last one is.
    fn is_old(&self, tx: &Connection, place: i64) -> sql::Result<bool> {
        let last: Option<i64> = tx.maybe(
            "SELECT received_ms FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3
             ORDER BY seq DESC LIMIT 1",
            params![self.device, signed(self.epoch.0), place],
            |row| row.get(0),
        )?;
        Ok(last.is_some_and(|received_ms| received_ms < self.before_ms))
    }
}
