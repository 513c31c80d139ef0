//! Why a statement failed.

use ::postgres::error::SqlState;
use rusqlite::ErrorCode;
use std::error::Error;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says so, or cannot be reached.
    #[error("{}", told(.0))]
    Postgres(#[from] ::postgres::Error),
    /// A row was expected.
    #[error("there is no such row")]
    NoRow,
    /// A column does not hold what is expected.
    #[error("column {index}: {problem}")]
    Column {
        /// Counted from zero.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A value cannot be written.
    #[error("a record cannot be encoded: {0}")]
    Encode(Box<dyn Error + Send + Sync>),
    /// A statement failed before, and what followed was undone with it.
    #[error("the transaction was given up by a statement that failed before")]
    Aborted,
    /// A connection was used while it reads rows one by one: a bug.
    #[error("the connection reads rows already: this is a bug")]
    Busy,
    /// The server cannot be reached as it is configured.
    #[error("{0}")]
    Connect(String),
}

/// What it means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No space is left.
    Full,
    /// The disk, the file or the connection failed, not the statement: the connection is of no
    /// more use.
    Broken,
    /// Another transaction was in the way; the same again may succeed.
    InTheWay,
    /// The statement.
    Statement,
}

impl SqlError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            SqlError::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Fault::Full,
                Some(
                    ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ReadOnly,
                ) => Fault::Broken,
                _ => Fault::Statement,
            },
            SqlError::Postgres(error) => match error.code() {
                None => Fault::Broken,
                Some(&SqlState::DISK_FULL) => Fault::Full,
                Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => {
                    Fault::InTheWay
                }
                // Connections, resources, somebody stops the server, the system: what the server
                // says of itself.
                Some(state) if ["08", "53", "57", "58", "XX"].contains(&&state.code()[..2]) => {
                    Fault::Broken
                }
                Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Fault::Broken,
                Some(_) => Fault::Statement,
            },
            SqlError::Connect(_) => Fault::Broken,
            SqlError::NoRow
            | SqlError::Column { .. }
            | SqlError::Encode(_)
            | SqlError::Aborted
            | SqlError::Busy => Fault::Statement,
        }
    }
}

/// With its causes: the outermost says little.
fn told(error: &::postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        let detail = told.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("PostgreSQL: {}{detail}", told.message());
    }
    let mut text = format!("PostgreSQL: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
