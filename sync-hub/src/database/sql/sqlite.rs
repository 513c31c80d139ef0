//! SQLite's side.

use super::{Result, Row, RowInner, SqlError, ValueRef};
use rusqlite::types::{ToSqlOutput, ValueRef as Raw};
use rusqlite::{Connection, ToSql};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process that writes (a command beside a running
/// hub): each holds the lock for one group commit, milliseconds on any disk.
const BUSY_MS: u64 = 10_000;

/// Statements kept prepared per connection; more than there are in this crate.
const STATEMENTS_CACHED: usize = 256;

pub(super) fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

impl ToSql for ValueRef<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            ValueRef::Null => Raw::Null,
            ValueRef::Integer(value) => Raw::Integer(value),
            ValueRef::Real(value) => Raw::Real(value),
            ValueRef::Text(value) => Raw::Text(value.as_bytes()),
            ValueRef::Blob(value) => Raw::Blob(value),
        }))
    }
}

pub(super) fn execute(connection: &Connection, sql: &str, params: &[ValueRef<'_>]) -> Result<u64> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.execute(rusqlite::params_from_iter(params))? as u64)
}

pub(super) fn each(
    connection: &Connection,
    sql: &str,
    params: &[ValueRef<'_>],
    visit: &mut dyn FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    while let Some(row) = rows.next()? {
        if visit(&Row(RowInner::Sqlite(row)))?.is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn value<'a>(row: &'a rusqlite::Row<'_>, index: usize) -> Result<ValueRef<'a>> {
    Ok(match row.get_ref(index)? {
        Raw::Null => ValueRef::Null,
        Raw::Integer(value) => ValueRef::Integer(value),
        Raw::Real(value) => ValueRef::Real(value),
        Raw::Text(value) => ValueRef::Text(std::str::from_utf8(value).map_err(|error| {
            SqlError::Column { index, problem: format!("text that is not UTF-8: {error}") }
        })?),
        Raw::Blob(value) => ValueRef::Blob(value),
    })
}
