//! What can go wrong with the database, split by what the caller can do.

use super::sql::{Fault, SqlError};
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
    /// The database refused.
    #[error("database {operation}: {source}")]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: Arc<SqlError>,
    },
    /// Written by a newer hub.
    #[error(
        "the database has schema version {found}, this hub knows up to {known}: update the hub"
    )]
    Newer {
        /// Version of the database.
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
    pub(crate) fn new(operation: &'static str, source: SqlError) -> DbError {
        match source.fault() {
            Fault::Full => DbError::Full { operation },
            Fault::Broken | Fault::InTheWay | Fault::Statement => {
                DbError::Sql { operation, source: Arc::new(source) }
            }
        }
    }

    /// Whether the disk or the server failed rather than the command: the connection is then
    /// given up and opened anew, and every command of the group fails.
    pub(super) fn is_disk(&self) -> bool {
        match self {
            DbError::Full { .. } => true,
            DbError::Sql { source, .. } => source.fault() == Fault::Broken,
            DbError::Newer { .. }
            | DbError::JournalMode(_)
            | DbError::Thread(_)
            | DbError::Panicked
            | DbError::Closed => false,
        }
    }

    /// Whether the same again may succeed: another hub was in the way.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, DbError::Sql { source, .. } if source.fault() == Fault::InTheWay)
    }
}
