//! What can go wrong with the database, split by what the caller can do.

use rusqlite::ErrorCode;
use std::sync::Arc;

/// A database operation failed; nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// No space left for the database.
    #[error("database {operation}: the disk is full")]
    Full {
        /// What was tried.
        operation: &'static str,
    },
    /// SQLite refused.
    #[error("database {operation}: {source}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Arc<rusqlite::Error>,
    },
    /// Written by a newer hub.
    #[error(
        "the database has schema version {found}, this hub knows up to {known}: update the hub"
    )]
    Newer {
        /// Version of the file.
        found: u32,
        /// Newest that this hub knows.
        known: u32,
    },
    /// The file system cannot do write-ahead logging.
    #[error(
        "the database cannot use write-ahead logging here (journal mode is {0}): put the data directory on a local disk"
    )]
    JournalMode(String),
    /// The thread could not be started.
    #[error("database thread: {0}")]
    Thread(Arc<std::io::Error>),
    /// A command panicked; it was rolled back.
    #[error("database write panicked: this is a bug")]
    Panicked,
    /// The hub is stopping.
    #[error("the database is closed")]
    Closed,
}

impl DbError {
    pub(crate) fn new(operation: &'static str, source: rusqlite::Error) -> DbError {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => DbError::Full { operation },
            _ => DbError::Sqlite { operation, source: Arc::new(source) },
        }
    }

    /// Whether the disk failed rather than the command: the connection to the file is then
    /// given up and opened anew, and every command of the group fails.
    pub(super) fn is_disk(&self) -> bool {
        match self {
            DbError::Full { .. } => true,
            DbError::Sqlite { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ReadOnly
                )
            ),
            DbError::Newer { .. }
            | DbError::JournalMode(_)
            | DbError::Thread(_)
            | DbError::Panicked
            | DbError::Closed => false,
        }
    }
}
