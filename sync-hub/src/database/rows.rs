//! Outcomes of a batch as rows, written many at a time: a statement for each would cost a round
//! trip to a server.

use super::columns::{Columns, NAMES};
use super::sql::{self, Connection, ToParam, Value, ValueRef};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Rows of one statement: one text for each size, so that few are prepared.
const SIZES: [usize; 3] = [64, 8, 1];

/// Columns that do not follow from the record, and the record; [`NAMES`] follow.
const PLACE: [&str; 5] = ["device", "epoch", "seq", "received_ms", "record"];

static INSERTS: LazyLock<[String; 3]> = LazyLock::new(|| SIZES.map(insert));
static UNKNOWN: LazyLock<[String; 3]> = LazyLock::new(|| SIZES.map(unknown));

/// Outcomes that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    rows: Vec<[Value; PLACE.len() + NAMES.len()]>,
    /// Task and caller id.
    caller_ids: BTreeSet<(String, String)>,
}

impl Outcomes {
    /// Takes a row: device, epoch, number, time of arrival; the record; what follows from it.
    pub(super) fn push(&mut self, place: [Value; 4], record: Vec<u8>, columns: Columns) {
        let mut values = place.into_iter().chain([Value::from(record)]).chain(columns.0);
        self.rows.push(std::array::from_fn(|_| values.next().unwrap_or(Value::Null)));
    }

    /// Takes a caller id, to be counted if it is new.
    pub(super) fn note_caller_id(&mut self, task: &str, caller_id: &str) {
        self.caller_ids.insert((task.to_owned(), caller_id.to_owned()));
    }

    /// How many of the caller ids no outcome of the device has yet.
    pub(super) fn new_caller_ids(&self, tx: &Connection, device: i64) -> sql::Result<u64> {
        let all: Vec<&(String, String)> = self.caller_ids.iter().collect();
        let mut new = 0;
        for (some, statement) in chunks(&all, &UNKNOWN) {
            let pairs = some.iter().flat_map(|(task, id)| [task.to_param(), id.to_param()]);
            let values: Vec<ValueRef<'_>> = [device.to_param()].into_iter().chain(pairs).collect();
            new += super::unsigned(tx.row(statement, &values, |row| row.get(0))?);
        }
        Ok(new)
    }

    /// Writes them; returns how many were not there already.
    pub(super) fn insert(&self, tx: &Connection) -> sql::Result<u64> {
        let mut inserted = 0;
        for (some, statement) in chunks(&self.rows, &INSERTS) {
            let values: Vec<ValueRef<'_>> = some.iter().flatten().map(Value::lend).collect();
            inserted += tx.execute(statement, &values)?;
        }
        Ok(inserted)
    }
}

/// Divides what is to be written into pieces of [`SIZES`], the large ones first.
fn chunks<'a, T>(mut rest: &'a [T], statements: &'a [String; 3]) -> Vec<(&'a [T], &'a str)> {
    let mut chunks = Vec::new();
    for (size, statement) in SIZES.iter().zip(statements) {
        while let Some((some, later)) = rest.split_at_checked(*size) {
            chunks.push((some, statement.as_str()));
            rest = later;
        }
    }
    chunks
}

fn insert(rows: usize) -> String {
    let names: Vec<&str> = PLACE.iter().chain(&NAMES).copied().collect();
    let row = format!("({})", vec!["?"; names.len()].join(", "));
    format!(
        "INSERT INTO outcome ({}) VALUES {} ON CONFLICT (device, epoch, seq) DO NOTHING",
        names.join(", "),
        vec![row; rows].join(", ")
    )
}

fn unknown(pairs: usize) -> String {
    let pairs: Vec<String> =
        (0..pairs).map(|pair| format!("(?{}, ?{})", 2 * pair + 2, 2 * pair + 3)).collect();
    format!(
        "SELECT count(*) FROM (VALUES {}) wanted WHERE NOT EXISTS (
             SELECT 1 FROM outcome WHERE device = ?1 AND task = wanted.column1
                 AND caller_id = wanted.column2 AND caller_id IS NOT NULL)",
        pairs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_piece() {
        for count in [0, 1, 7, 8, 63, 64, 200] {
            let rows: Vec<usize> = (0..count).collect();
            let pieces = chunks(&rows, &INSERTS);
            let all: Vec<usize> = pieces.iter().flat_map(|(some, _)| some.to_vec()).collect();
            assert_eq!(all, rows);
            assert!(
                pieces
                    .iter()
                    .all(|(some, statement)| { statement.matches("(?").count() == some.len() })
            );
        }
    }
}
