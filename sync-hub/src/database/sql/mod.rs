//! One way to speak SQL, to SQLite and to PostgreSQL.
//!
//! Statements are written once, in what both understand:
//! * parameters are `?1`, `?2` … (PostgreSQL gets `$1`, `$2` …), given by `params!`; a
//!   parameter that stands nowhere but in `?1 IS NULL` needs a type: `CAST(?1 AS BIGINT)`;
//! * columns are 64-bit integers, double precision, text and bytes; a truth value is an integer
//!   in a table, and whatever the engine says in an expression: [`Row::get`] takes both as `bool`;
//! * `sum()` is cast to BIGINT; the greater of two values is a CASE; a column that an upsert
//!   changes is named with its table; a subquery in FROM has a name; `end` is quoted;
//! * no PRAGMA, no `INSERT OR …`, no `rowid`, no function that only one of them has.
//!
//! Every statement is prepared once for each connection. This module knows nothing of tables.

mod error;
mod filter;
mod placeholders;
mod postgres;
mod sqlite;
mod value;

pub(crate) use error::Fault;
pub use error::SqlError;
pub(crate) use filter::Filter;
pub(crate) use postgres::storable;
pub use value::{FromColumn, ToParam, Value, ValueRef};

use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::path::Path;

pub(super) use postgres::Connector;

/// What a statement comes to.
pub type Result<T> = std::result::Result<T, SqlError>;

/// Parameters of a statement, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::database::sql::ToParam::to_param(&$value)),*]
    };
}
pub(crate) use params;

/// Which database is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// A connection to the hub's database.
pub struct Connection(Inner);

#[expect(clippy::large_enum_variant, reason = "a handful of connections in a process")]
enum Inner {
    Sqlite(rusqlite::Connection),
    Postgres(postgres::Client),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.engine()).finish()
    }
}

impl Connection {
    pub(super) fn sqlite(path: &Path) -> Result<Connection> {
        Ok(Connection(Inner::Sqlite(sqlite::open(path)?)))
    }

    /// Must not be called on a thread that drives a runtime, here and below.
    pub(super) fn postgres(connector: &Connector) -> Result<Connection> {
        Ok(Connection(Inner::Postgres(postgres::Client::open(connector)?)))
    }

    /// Which database this is.
    pub fn engine(&self) -> Engine {
        match &self.0 {
            Inner::Sqlite(_) => Engine::Sqlite,
            Inner::Postgres(_) => Engine::Postgres,
        }
    }

    /// SQLite's own, for what only a file has: pragmas and copies.
    pub(super) fn file(&self) -> Option<&rusqlite::Connection> {
        match &self.0 {
            Inner::Sqlite(connection) => Some(connection),
            Inner::Postgres(_) => None,
        }
    }

    /// Whether the server is known to be gone; asks nobody.
    pub(super) fn is_closed(&self) -> bool {
        match &self.0 {
            Inner::Sqlite(_) => false,
            Inner::Postgres(client) => client.is_closed(),
        }
    }

    /// Whether it can still be used after some time; costs a round trip to a server.
    pub(super) fn is_alive(&self) -> bool {
        match &self.0 {
            Inner::Sqlite(_) => true,
            Inner::Postgres(client) => client.is_alive(),
        }
    }

    /// Runs a statement; returns how many rows it changed.
    ///
    /// # Errors
    /// Those of the database, here and below.
    pub fn execute(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<u64> {
        match &self.0 {
            Inner::Sqlite(connection) => sqlite::execute(connection, sql, params),
            Inner::Postgres(client) => client.execute(sql, params),
        }
    }

    /// Runs statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// Those of the database.
    pub fn batch(&self, sql: &str) -> Result<()> {
        match &self.0 {
            Inner::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Inner::Postgres(client) => client.batch(sql),
        }
    }

    /// Reads every row.
    ///
    /// # Errors
    /// Those of the database and of `map`.
    pub fn rows<T>(
        &self,
        sql: &str,
        params: &[ValueRef<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match &self.0 {
            Inner::Sqlite(connection) => {
                let mut rows = Vec::new();
                sqlite::each(connection, sql, params, &mut |row| {
                    rows.push(map(row)?);
                    Ok(ControlFlow::Continue(()))
                })?;
                Ok(rows)
            }
            Inner::Postgres(client) => {
                let rows = client.query(sql, params)?;
                rows.iter().map(|row| map(&Row(RowInner::Postgres(row)))).collect()
            }
        }
    }

    /// Reads the first row, if there is one.
    ///
    /// # Errors
    /// Those of the database and of `map`.
    pub fn maybe<T>(
        &self,
        sql: &str,
        params: &[ValueRef<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.rows(sql, params, map)?.into_iter().next())
    }

    /// Reads the first row.
    ///
    /// # Errors
    /// Those of the database and of `map`; [`SqlError::NoRow`].
    pub fn row<T>(
        &self,
        sql: &str,
        params: &[ValueRef<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.maybe(sql, params, map)?.ok_or(SqlError::NoRow)
    }

    /// Reads rows one by one, as many as `visit` wants, without holding them all in memory. The
    /// connection cannot be used by `visit`.
    ///
    /// # Errors
    /// Those of the database and of `visit`.
    pub fn each(
        &self,
        sql: &str,
        params: &[ValueRef<'_>],
        mut visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match &self.0 {
            Inner::Sqlite(connection) => sqlite::each(connection, sql, params, &mut visit),
            Inner::Postgres(client) => client.each(sql, params, &mut visit),
        }
    }

    /// Begins a transaction that writes. In SQLite it is the only one.
    ///
    /// # Errors
    /// Those of the database.
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        match &self.0 {
            Inner::Sqlite(connection) => connection.execute_batch("BEGIN IMMEDIATE")?,
            Inner::Postgres(client) => client.begin("BEGIN")?,
        }
        Ok(Transaction { connection: self, open: true })
    }

    /// Begins a transaction that reads, and sees nothing that others commit meanwhile.
    ///
    /// # Errors
    /// Those of the database.
    pub fn snapshot(&self) -> Result<Transaction<'_>> {
        match &self.0 {
            Inner::Sqlite(connection) => connection.execute_batch("BEGIN")?,
            Inner::Postgres(client) => {
                client.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            }
        }
        Ok(Transaction { connection: self, open: true })
    }
}

/// A transaction; undone unless it is committed.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a Connection,
    open: bool,
}

impl Transaction<'_> {
    /// Commits; when this returns, what was done is on disk.
    ///
    /// # Errors
    /// Those of the database. Whether it was committed is not known if the connection broke.
    pub fn commit(mut self) -> Result<()> {
        match &self.connection.0 {
            Inner::Sqlite(connection) => connection.execute_batch("COMMIT")?,
            Inner::Postgres(client) => client.commit()?,
        }
        self.open = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // A connection that cannot even undo is given up by its owner for the error before.
        let _ = match &self.connection.0 {
            Inner::Sqlite(connection) => connection.execute_batch("ROLLBACK").map_err(Into::into),
            Inner::Postgres(client) => client.rollback(),
        };
    }
}

/// A row of a result.
#[derive(Debug)]
pub struct Row<'a>(RowInner<'a>);

enum RowInner<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a ::postgres::Row),
}

impl fmt::Debug for RowInner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("row")
    }
}

impl Row<'_> {
    /// A column, counted from zero.
    ///
    /// # Errors
    /// [`SqlError::Column`] if it is not there or of another type.
    pub fn get<T: FromColumn>(&self, index: usize) -> Result<T> {
        let value = self.value(index)?;
        T::from_column(value).ok_or_else(|| SqlError::Column {
            index,
            problem: format!("{} where {} is wanted", value.kind(), std::any::type_name::<T>()),
        })
    }

    /// A column as it is.
    ///
    /// # Errors
    /// [`SqlError::Column`] if it is not there, or of a type that this hub does not use.
    pub fn value(&self, index: usize) -> Result<ValueRef<'_>> {
        match &self.0 {
            RowInner::Sqlite(row) => sqlite::value(row, index),
            RowInner::Postgres(row) => postgres::value(row, index),
        }
    }
}

#[cfg(test)]
mod tests;
