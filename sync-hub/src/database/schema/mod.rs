//! Opening the file: settings, and one step for each version of the schema.

use super::DbError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// One step per version; a released step is never edited, only followed by another.
const MIGRATIONS: &[&str] = &[include_str!("1.sql"), include_str!("2.sql"), include_str!("3.sql")];

/// How long a statement waits for another process that writes (a command beside a running
/// hub): each holds the lock for one group commit, milliseconds on any disk.
const BUSY_MS: u64 = 10_000;

/// The write-ahead log is cut back to this many bytes after a large transaction.
const WAL_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// Statements kept prepared per connection; more than there are in this crate.
const STATEMENTS_CACHED: usize = 64;

/// Opens the database for writing, creating or upgrading it.
pub(super) fn open(path: &Path) -> Result<Connection, DbError> {
    let failed = |source| DbError::new("open", source);
    let mut connection = Connection::open(path).map_err(failed)?;
    settings(&connection).map_err(failed)?;
    // Synced at every commit: what is acknowledged must survive a power cut.
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(failed)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(DbError::JournalMode(mode));
    }
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the database for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let failed = |source| DbError::new("open", source);
    let connection = Connection::open(path).map_err(failed)?;
    settings(&connection).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(connection)
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &mut Connection) -> Result<(), DbError> {
    let failed = |source| DbError::new("upgrade", source);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version > known {
        return Err(DbError::Newer { found: version, known });
    }
    let steps = MIGRATIONS.get(version as usize..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    for step in steps {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_twice_changes_nothing_and_a_newer_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.sqlite");
        drop(open(&path).unwrap());
        let connection = open(&path).unwrap();
        connection.pragma_update(None, "user_version", MIGRATIONS.len() as i64 + 1).unwrap();
        drop(connection);
        let error = open(&path).unwrap_err();
        assert!(matches!(error, DbError::Newer { found: 4, known: 3 }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.sqlite");
        std::fs::write(&path, "this is not a database, and long enough to be read as one").unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("not a database"), "{error}");
    }
}
