//! Opening the database: settings, and one step for each version of the schema.
//!
//! The steps are written for SQLite; [`for_postgres`] says what is put otherwise for PostgreSQL.
//! A step is added as the next number in [`MIGRATIONS`], in the words that are translated there:
//! `id INTEGER PRIMARY KEY` for a number that is given by the database, INTEGER, REAL, TEXT, BLOB.

use super::DbError;
use super::source::Source;
use super::sql::{Connection, Engine, SqlError, params};

/// One step per version; a released step is never edited, only followed by another.
const MIGRATIONS: &[&str] = &[
    include_str!("1.sql"),
    include_str!("2.sql"),
    include_str!("3.sql"),
    include_str!("4.sql"),
    include_str!("5.sql"),
    include_str!("6.sql"),
    include_str!("7.sql"),
    include_str!("8.sql"),
    include_str!("9.sql"),
    include_str!("10.sql"),
    include_str!("11.sql"),
    include_str!("12.sql"),
];

/// The write-ahead log is cut back to this many bytes after a large transaction.
const WAL_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// How long a statement waits for a lock of another hub or command: as in SQLite, each holds one
/// for one group commit.
const LOCK_MS: u32 = 10_000;

/// Held while the schema is made or upgraded: several hubs may start at once. Any number that
/// nothing else in the database uses.
const UPGRADE_LOCK: i64 = 0x6c61_6e64_6661_6c6c;

/// Opens the database for writing, creating or upgrading it.
pub(super) fn open(source: &Source) -> Result<Connection, DbError> {
    let mut connection = connect(source).map_err(|source| DbError::new("open", source))?;
    match connection.engine() {
        Engine::Sqlite => make_durable(&connection)?,
        Engine::Postgres => settle(&connection).map_err(|error| DbError::new("open", error))?,
    }
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the database for reading only.
pub(super) fn open_reader(source: &Source) -> Result<Connection, DbError> {
    let open = || {
        let connection = connect(source)?;
        match connection.engine() {
            Engine::Sqlite => connection.batch("PRAGMA query_only = true")?,
            Engine::Postgres => {
                connection.batch("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")?;
            }
        }
        Ok(connection)
    };
    open().map_err(|source| DbError::new("open", source))
}

fn connect(source: &Source) -> Result<Connection, SqlError> {
    match source {
        Source::Sqlite(path) => Connection::sqlite(path),
        Source::Postgres(server) => {
            Connection::postgres(&server.connector().map_err(SqlError::Connect)?)
        }
    }
}

/// Synced at every commit: what is acknowledged must survive a power cut.
fn make_durable(connection: &Connection) -> Result<(), DbError> {
    let failed = |source: rusqlite::Error| DbError::new("open", source.into());
    let Some(file) = connection.file() else { return Ok(()) };
    file.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    file.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(failed)?;
    let mode: String = file
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(failed)?;
    if mode != "wal" {
        return Err(DbError::JournalMode(mode));
    }
    Ok(())
}

/// A server may be told to acknowledge before it has synced; this connection is not.
fn settle(connection: &Connection) -> Result<(), SqlError> {
    connection.batch(&format!(
        "SET lock_timeout = {LOCK_MS};
         SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'"
    ))?;
    let syncs: String = connection.row("SELECT current_setting('fsync')", &[], |row| row.get(0))?;
    if syncs != "on" {
        tracing::warn!(
            "the PostgreSQL server does not sync its disk (fsync = off): a power cut there loses \
             what devices were told is safe"
        );
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), DbError> {
    let failed = |source| DbError::new("upgrade", source);
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if connection.engine() == Engine::Postgres && version(connection).is_ok_and(|it| it == known) {
        return Ok(());
    }
    let transaction = connection.begin().map_err(failed)?;
    if transaction.engine() == Engine::Postgres {
        transaction
            .execute("SELECT pg_advisory_xact_lock(?1)", params![UPGRADE_LOCK])
            .map_err(failed)?;
        transaction
            .batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .map_err(failed)?;
    }
    let version = version(&transaction).map_err(failed)?;
    if version > known {
        return Err(DbError::Newer { found: version, known });
    }
    let steps = MIGRATIONS.get(version as usize..).unwrap_or_default();
    if steps.is_empty() {
        return transaction.commit().map_err(failed);
    }
    for step in steps {
        match transaction.engine() {
            Engine::Sqlite => transaction.batch(step),
            Engine::Postgres => transaction.batch(&for_postgres(step)),
        }
        .map_err(failed)?;
    }
    set_version(&transaction, known).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// In SQLite where older hubs look, so that they refuse what they do not know.
fn version(connection: &Connection) -> Result<u32, SqlError> {
    match connection.engine() {
        Engine::Sqlite => connection.row("PRAGMA user_version", &[], |row| row.get(0)),
        Engine::Postgres => {
            let sql = "SELECT coalesce(max(version), 0) FROM schema_version";
            connection.row(sql, &[], |row| row.get(0))
        }
    }
}

fn set_version(connection: &Connection, version: u32) -> Result<(), SqlError> {
    match connection.engine() {
        Engine::Sqlite => connection.batch(&format!("PRAGMA user_version = {version}")),
        Engine::Postgres => connection
            .execute("INSERT INTO schema_version (version) VALUES (?1)", params![version])
            .map(drop),
    }
}

/// A step as PostgreSQL understands it. Text is compared byte by byte, as SQLite does.
fn for_postgres(step: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("INTEGER PRIMARY KEY REFERENCES", "BIGINT PRIMARY KEY REFERENCES"),
        ("INTEGER PRIMARY KEY", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
        ("INTEGER", "BIGINT"),
        ("REAL", "DOUBLE PRECISION"),
        ("BLOB", "BYTEA"),
        (" TEXT", " TEXT COLLATE \"C\""),
        (") STRICT, WITHOUT ROWID", ")"),
        (") STRICT", ")"),
    ];
    WORDS.iter().fold(step.to_owned(), |step, (from, to)| step.replace(from, to))
}

#[cfg(test)]
mod tests;
