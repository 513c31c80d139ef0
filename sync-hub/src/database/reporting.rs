//! Outcomes that stay on their device because the hub asked for less than all, sketches of them,
//! and what a device tells of its link.

use super::sql::{self, Connection, params};
use super::views::{self, SketchView, time};
use super::{number, signed, unsigned};
use landfall_hub_core::ledger::Place;
use landfall_wire::directive::{Directive, Reporting};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::link::LinkReport;
use landfall_wire::record::Record;
use landfall_wire::sketch::{TaskSketch, Withheld};
use std::collections::BTreeMap;
use std::ops::Range;

/// How directives of this kind are called among what is sent to a device.
const KIND: &str = "reporting";

/// Sketches that are listed, newest first: a year of one task.
const SKETCH_ROWS_MAX: u32 = 366;

/// Notes a place whose outcome stays on the device. Neighbours are kept as one range.
pub(super) fn keep_withheld(
    tx: &Connection,
    device: i64,
    place: Place,
    why: Withheld,
) -> sql::Result<()> {
    let why = match why {
        Withheld::Sampled => "sampled",
        Withheld::Sketched => "sketched",
    };
    let (epoch, seq, next) = (signed(place.epoch.0), number(place.seq), number(place.seq + 1));
    let grown = tx.execute(
        "UPDATE withheld SET \"end\" = ?4
         WHERE device = ?1 AND epoch = ?2 AND \"end\" = ?3 AND reason = ?5",
        params![device, epoch, seq, next, why],
    )?;
    if grown == 0 {
        tx.execute(
            "INSERT INTO withheld (device, epoch, first, \"end\", reason)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            params![device, epoch, seq, next, why],
        )?;
    }
    Ok(())
}

/// The places of an epoch whose outcomes stay on the device.
pub(super) fn withheld(
    connection: &Connection,
    device: i64,
    epoch: i64,
) -> sql::Result<Vec<Range<u64>>> {
    connection.rows(
        "SELECT first, \"end\" FROM withheld WHERE device = ?1 AND epoch = ?2",
        params![device, epoch],
        |row| Ok(unsigned(row.get(0)?)..unsigned(row.get(1)?)),
    )
}

/// Keeps a sketch. One that is told again, after a crash of the device, has the same beginning and
/// takes the place of the other if it covers more.
pub(super) fn keep_sketch(
    tx: &Connection,
    device: i64,
    now_ms: i64,
    told: &TaskSketch,
) -> sql::Result<()> {
    let TaskSketch { task, epoch, first, end, from_ms, until_ms, sketch } = told;
    tx.execute(
        "INSERT INTO sketch (device, task, epoch, first, \"end\", from_ms, until_ms, received_ms,
             counts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (device, task, epoch, first) DO UPDATE SET \"end\" = excluded.\"end\",
             from_ms = excluded.from_ms, until_ms = excluded.until_ms,
             received_ms = excluded.received_ms, counts = excluded.counts
         WHERE excluded.\"end\" > sketch.\"end\"",
        params![
            device,
            task.as_str(),
            signed(epoch.0),
            number(*first),
            number(*end),
            number(*from_ms),
            number(*until_ms),
            now_ms,
            serde_json::json!(sketch).to_string()
        ],
    )
    .map(drop)
}

/// Keeps the latest that a device tells of its link.
pub(super) fn keep_link(tx: &Connection, device: i64, report: &LinkReport) -> sql::Result<()> {
    let detail = views::link(report).to_string();
    tx.execute("UPDATE device SET link = ?2 WHERE id = ?1", params![device, detail]).map(drop)
}

/// What a device was last asked for, by task, and whether it knows.
///
/// # Errors
/// Those of the database.
pub fn asked(connection: &Connection, device: i64) -> sql::Result<Vec<(Reporting, bool)>> {
    let rows = connection.rows(
        "SELECT subject, record, delivered_ms IS NOT NULL FROM down
         WHERE device = ?1 AND kind = ?2 ORDER BY id",
        params![device, KIND],
        |row| Ok((row.get::<String>(0)?, row.get::<Vec<u8>>(1)?, row.get::<bool>(2)?)),
    )?;
    let mut asked = BTreeMap::new();
    for (subject, record, delivered) in rows {
        if let Ok(Record::Directive(Directive::Reporting(reporting))) = Record::decode(&record) {
            asked.insert(subject, (reporting, delivered));
        }
    }
    Ok(asked.into_values().collect())
}

/// Sketches of a device, newest first.
///
/// # Errors
/// Those of the database.
pub fn sketches(connection: &Connection, name: &DeviceId) -> sql::Result<Vec<SketchView>> {
    connection.rows(
        "SELECT task, epoch, first, \"end\", from_ms, until_ms, counts
         FROM sketch JOIN device ON device.id = sketch.device
         WHERE device.name = ?1 ORDER BY until_ms DESC, task LIMIT ?2",
        params![name.as_str(), SKETCH_ROWS_MAX],
        |row| {
            let counts: String = row.get(6)?;
            Ok(SketchView {
                task: row.get(0)?,
                epoch: Epoch(row.get::<i64>(1)?.cast_unsigned()).to_string(),
                first: unsigned(row.get(2)?),
                end: unsigned(row.get(3)?),
                from_at: time(row.get(4)?),
                until_at: time(row.get(5)?),
                // Written by this hub.
                counts: serde_json::from_str(&counts).unwrap_or_default(),
            })
        },
    )
}
