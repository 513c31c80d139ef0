//! Audits what is kept of a device, epoch by epoch. What it means is in
//! [`landfall_hub_core::audit`].

use super::columns::{Columns, NAMES};
use super::sql::{self, Connection, Row, ValueRef, params};
use super::{number, queries, reporting, signed, unsigned};
use landfall_hub_core::audit::{Audit, Kept, Known, Report};
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::record::{Record, StreamId};
use std::ops::{ControlFlow, Range};

/// The report of every epoch of a device, in order of their arrival; `None` if the device is not
/// known. Reads in one transaction, so that a hub that runs does not disturb it.
///
/// # Errors
/// Those of the database.
pub fn audit(connection: &Connection, name: &DeviceId) -> sql::Result<Option<Vec<Report>>> {
    let transaction = connection.snapshot()?;
    let Some(device) = queries::device_id(&transaction, name)? else { return Ok(None) };
    let known = epochs(&transaction, device)?;
    let reports = known.into_iter().map(|known| epoch(&transaction, name, device, known));
    reports.collect::<sql::Result<Vec<_>>>().map(Some)
}

fn epoch(
    connection: &Connection,
    name: &DeviceId,
    device: i64,
    known: Known,
) -> sql::Result<Report> {
    let id = signed(known.epoch.0);
    let below = number(known.removed_below);
    let mut audit = Audit::new(name.clone(), known);
    let none = NAMES.map(|_| "NULL").join(", ");
    let sql = format!(
        "SELECT seq, record, 1, {} FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq >= ?4
         UNION ALL
         SELECT seq, record, 0, {none} FROM rejected
             WHERE device = ?1 AND epoch = ?2 AND stream = ?3 AND seq >= ?4
         ORDER BY seq",
        NAMES.join(", ")
    );
    connection.each(&sql, params![device, id, StreamId::Outcome.name(), below], |row| {
        let kept = match row.value(1)? {
            ValueRef::Blob(raw) if row.get(2)? => Kept::Record { raw, differs: compare(raw, row)? },
            ValueRef::Blob(raw) => Kept::Record { raw, differs: None },
            _ => Kept::Shown,
        };
        audit.record(unsigned(row.get(0)?), kept);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(audit.finish())
}

/// What the row shows otherwise than the record.
fn compare(raw: &[u8], row: &Row<'_>) -> sql::Result<Option<&'static str>> {
    let Ok(Record::Outcome(outcome)) = Record::decode(raw) else { return Ok(Some("record")) };
    let shown = (3..3 + NAMES.len()).map(|column| row.value(column));
    let shown: Vec<ValueRef<'_>> = shown.collect::<sql::Result<_>>()?;
    Ok(Columns::of(&outcome).differs(shown.into_iter()))
}

/// What is known of each epoch. An epoch of which outcomes are here without a mark counts too.
fn epochs(connection: &Connection, device: i64) -> sql::Result<Vec<Known>> {
    connection.rows(
        "SELECT epoch, coalesce(max(mark), 0), coalesce(max(device_end), 0) FROM (
             SELECT epoch, mark, device_end FROM mark WHERE device = ?1 AND stream = ?2
             UNION ALL SELECT DISTINCT epoch, CAST(NULL AS BIGINT), CAST(NULL AS BIGINT)
                 FROM outcome WHERE device = ?1) known
         GROUP BY epoch
         ORDER BY
             (SELECT min(id) FROM outcome
              WHERE device = ?1 AND outcome.epoch = known.epoch), epoch",
        params![device, StreamId::Outcome.name()],
        |row| {
            let epoch: i64 = row.get(0)?;
            Ok(Known {
                epoch: Epoch(epoch.cast_unsigned()),
                mark: unsigned(row.get(1)?),
                device_end: unsigned(row.get(2)?),
                marks: marks(connection, device, epoch)?,
                lost: lost(connection, device, epoch)?,
                removed_below: removed(connection, device, epoch)?,
                withheld: reporting::withheld(connection, device, epoch)?,
            })
        },
    )
}

fn marks(connection: &Connection, device: i64, epoch: i64) -> sql::Result<Vec<ChainMark>> {
    connection.rows(
        "SELECT at, value, begins FROM chain_mark WHERE device = ?1 AND epoch = ?2",
        params![device, epoch],
        |row| {
            Ok(ChainMark {
                epoch: Epoch(epoch.cast_unsigned()),
                at: unsigned(row.get(0)?),
                value: ChainValue(row.get(1)?),
                begins: row.get(2)?,
            })
        },
    )
}

fn lost(connection: &Connection, device: i64, epoch: i64) -> sql::Result<Vec<Range<u64>>> {
    connection.rows(
        "SELECT first, \"end\" FROM loss
         WHERE device = ?1 AND epoch = ?2 AND stream = ?3 AND reason <> 'gap'",
        params![device, epoch, StreamId::Outcome.name()],
        |row| Ok(unsigned(row.get(0)?)..unsigned(row.get(1)?)),
    )
}

fn removed(connection: &Connection, device: i64, epoch: i64) -> sql::Result<u64> {
    let sql = "SELECT below FROM removed WHERE device = ?1 AND epoch = ?2";
    let below = connection.maybe(sql, params![device, epoch], |row| row.get(0))?;
    Ok(below.map_or(0, unsigned))
}

/// Keeps what a device told of its chain.
pub(super) fn keep(tx: &Connection, device: i64, mark: &ChainMark) -> sql::Result<()> {
    tx.execute(
        "INSERT INTO chain_mark (device, epoch, at, begins, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
        params![device, signed(mark.epoch.0), number(mark.at), mark.begins, &mark.value.0[..]],
    )
    .map(drop)
}
