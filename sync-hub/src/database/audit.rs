//! Audits what is kept of a device, epoch by epoch. What it means is in
//! [`landfall_hub_core::audit`].

use super::columns::{Columns, NAMES};
use super::{number, queries, signed, unsigned};
use landfall_hub_core::audit::{Audit, Kept, Known, Report};
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::record::{Record, StreamId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use std::ops::Range;

/// The report of every epoch of a device, in order of their arrival; `None` if the device is not
/// known. Reads in one transaction, so that a hub that runs does not disturb it.
///
/// # Errors
/// Those of SQLite.
pub fn audit(connection: &Connection, name: &DeviceId) -> rusqlite::Result<Option<Vec<Report>>> {
    let transaction = connection.unchecked_transaction()?;
    let Some(device) = queries::device_id(&transaction, name)? else { return Ok(None) };
    let known = epochs(&transaction, device)?;
    let reports = known.into_iter().map(|known| epoch(&transaction, name, device, known));
    reports.collect::<rusqlite::Result<Vec<_>>>().map(Some)
}

fn epoch(
    connection: &Connection,
    name: &DeviceId,
    device: i64,
    known: Known,
) -> rusqlite::Result<Report> {
    let id = signed(known.epoch.0);
    let mut audit = Audit::new(name.clone(), known);
    let none = NAMES.map(|_| "NULL").join(", ");
    let mut statement = connection.prepare(&format!(
        "SELECT seq, record, 1, {} FROM outcome WHERE device = ?1 AND epoch = ?2
         UNION ALL
         SELECT seq, record, 0, {none} FROM rejected
             WHERE device = ?1 AND epoch = ?2 AND stream = ?3
         ORDER BY seq",
        NAMES.join(", ")
    ))?;
    let mut rows = statement.query(params![device, id, StreamId::Outcome.name()])?;
    while let Some(row) = rows.next()? {
        let raw = match row.get_ref(1)? {
            ValueRef::Blob(raw) => Some(raw),
            _ => None,
        };
        let differs = raw.filter(|_| row.get_ref(2).is_ok_and(|used| used == ValueRef::Integer(1)));
        let differs = differs.map_or(Ok(None), |raw| compare(raw, row))?;
        let kept = raw.map_or(Kept::Shown, |raw| Kept::Record { raw, differs });
        audit.record(unsigned(row.get(0)?), kept);
    }
    Ok(audit.finish())
}

/// What the row shows otherwise than the record.
fn compare(raw: &[u8], row: &Row<'_>) -> rusqlite::Result<Option<&'static str>> {
    let Ok(Record::Outcome(outcome)) = Record::decode(raw) else { return Ok(Some("record")) };
    let shown = (3..3 + NAMES.len()).map(|column| row.get_ref(column));
    let shown: Vec<ValueRef<'_>> = shown.collect::<rusqlite::Result<_>>()?;
    Ok(Columns::of(&outcome).differs(shown.into_iter()))
}

/// What is known of each epoch. An epoch of which outcomes are here without a mark counts too.
fn epochs(connection: &Connection, device: i64) -> rusqlite::Result<Vec<Known>> {
    let mut statement = connection.prepare_cached(
        "SELECT epoch, coalesce(max(mark), 0), coalesce(max(device_end), 0) FROM (
             SELECT epoch, mark, device_end FROM mark WHERE device = ?1 AND stream = ?2
             UNION ALL SELECT DISTINCT epoch, NULL, NULL FROM outcome WHERE device = ?1)
         GROUP BY epoch
         ORDER BY (SELECT min(id) FROM outcome o WHERE o.device = ?1 AND o.epoch = epoch), epoch",
    )?;
    let rows = statement.query_map(params![device, StreamId::Outcome.name()], |row| {
        let epoch: i64 = row.get(0)?;
        Ok(Known {
            epoch: Epoch(epoch.cast_unsigned()),
            mark: unsigned(row.get(1)?),
            device_end: unsigned(row.get(2)?),
            marks: marks(connection, device, epoch)?,
            lost: lost(connection, device, epoch)?,
        })
    })?;
    rows.collect()
}

fn marks(connection: &Connection, device: i64, epoch: i64) -> rusqlite::Result<Vec<ChainMark>> {
    connection
        .prepare_cached(
            "SELECT at, value, begins FROM chain_mark WHERE device = ?1 AND epoch = ?2",
        )?
        .query_map([device, epoch], |row| {
            Ok(ChainMark {
                epoch: Epoch(epoch.cast_unsigned()),
                at: unsigned(row.get(0)?),
                value: ChainValue(row.get(1)?),
                begins: row.get(2)?,
            })
        })?
        .collect()
}

fn lost(connection: &Connection, device: i64, epoch: i64) -> rusqlite::Result<Vec<Range<u64>>> {
    connection
        .prepare_cached(
            "SELECT first, end FROM loss
             WHERE device = ?1 AND epoch = ?2 AND stream = ?3 AND reason <> 'gap'",
        )?
        .query_map(params![device, epoch, StreamId::Outcome.name()], |row| {
            Ok(unsigned(row.get(0)?)..unsigned(row.get(1)?))
        })?
        .collect()
}

/// Keeps what a device told of its chain.
pub(super) fn keep(tx: &Connection, device: i64, mark: &ChainMark) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO chain_mark (device, epoch, at, begins, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![device, signed(mark.epoch.0), number(mark.at), mark.begins, &mark.value.0[..]])
    .map(drop)
}
