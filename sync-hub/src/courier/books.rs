//! What the database knows of parcels.

use crate::database::sql::{self, Connection, params};
use crate::database::{Command, number, unsigned};
use landfall_freight::parcel::BoxKey;
use landfall_wire::frame::Position;
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::record::StreamId;

/// A device says what to seal for it with. An older parcel does not bring an older key back.
#[derive(Debug)]
pub struct Learn {
    /// Row of the device.
    pub device: i64,
    /// Its key.
    pub key: BoxKey,
    /// When it said so, by its own clock.
    pub at_ms: u64,
}

impl Command for Learn {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute(
            "INSERT INTO courier_key (device, box_key, said_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (device) DO UPDATE SET box_key = excluded.box_key,
                 said_ms = excluded.said_ms
             WHERE courier_key.said_ms <= excluded.said_ms",
            params![self.device, self.key.to_string(), number(self.at_ms)],
        )
        .map(drop)
    }
}

/// A device that parcels can be sealed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its row.
    pub device: i64,
    /// Its name.
    pub name: DeviceId,
    /// Its key.
    pub key: BoxKey,
}

/// Every device that parcels can be sealed for and that is not revoked, by name.
///
/// # Errors
/// Those of the database.
pub fn known(connection: &Connection) -> sql::Result<Vec<Known>> {
    let rows: Vec<(i64, String, String)> = connection.rows(
        "SELECT device.id, device.name, courier_key.box_key FROM courier_key
             JOIN device ON device.id = courier_key.device
             WHERE device.revoked_ms IS NULL ORDER BY device.name",
        &[],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let known = |(device, name, key): (i64, String, String)| {
        Some(Known { device, name: name.parse().ok()?, key: key.parse().ok()? })
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

/// Where the streams of a device stand.
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) mark: u64,
    pub(super) end: u64,
    pub(super) marks: Vec<Position>,
}

pub(super) fn state(connection: &Connection, device: i64) -> sql::Result<State> {
    let (epoch, mark, end): (i64, i64, i64) = connection.row(
        "SELECT answers_epoch, answers_mark, answers_end FROM device WHERE id = ?1",
        params![device],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let rows: Vec<(i64, String, i64)> = connection.rows(
        "SELECT epoch, stream, mark FROM mark WHERE device = ?1",
        params![device],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let position = |(epoch, stream, next): (i64, String, i64)| {
        let stream = StreamId::UP.into_iter().find(|up| up.name() == stream)?;
        Some(Position { stream, epoch: Epoch(epoch.cast_unsigned()), next: unsigned(next) })
    };
    Ok(State {
        epoch: Epoch(epoch.cast_unsigned()),
        mark: unsigned(mark),
        end: unsigned(end),
        marks: rows.into_iter().filter_map(position).collect(),
    })
}
