//! Why the store could not do it, split by what the caller can do.

use std::path::PathBuf;

/// Why an operation of the store failed. Nothing that was acknowledged before is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store in {} is in use by another process", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// The byte limit is reached; the record was not taken.
    #[error("the store is full: {bytes} of {bytes_max} bytes wait for the hub")]
    Full {
        /// Bytes on disk.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk under the store has no space left; the record was not taken.
    #[error("the disk that holds the store is full")]
    DiskFull,
    /// A write failed, and the store is closed until it could be opened again.
    #[error("the store is closed after a failed write: {detail}")]
    Closed {
        /// What failed.
        detail: String,
    },
    /// A file could not be created, read or written.
    #[error("cannot {what} {}: {detail}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The record can never be stored.
    #[error("the record cannot be stored: {0}")]
    Record(String),
    /// The caller's id was used before, with another text.
    #[error("this id was used before with another text")]
    Conflict,
    /// The ticket is not known here.
    #[error("the ticket is not known here")]
    UnknownTicket,
    /// The hub did not refuse this record, or it was sent once more already.
    #[error("the hub did not refuse this record, or it was sent once more already")]
    NotRefused,
    /// The refused record is known, and is not here any more.
    #[error("the refused record is not held here any more; the hub has it")]
    RefusedGone,
    /// The store was shut down.
    #[error("the store is shut down")]
    Stopped,
}

impl StoreError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            StoreError::Locked { .. } => "stop the other agent, or give this one its own data_dir",
            StoreError::Full { .. } => {
                "bring up the link to the hub, raise store.bytes_max, or let old records go \
                 with store.outcomes_when_full = \"drop-oldest\""
            }
            StoreError::DiskFull => {
                "free space on the disk of data_dir; the agent goes on by itself"
            }
            StoreError::Closed { .. } => {
                "look at the disk and its space; the agent tries again by itself every few seconds"
            }
            StoreError::File { .. } => "check the path, its owner and its permissions",
            StoreError::Record(_) => "send a shorter text or id",
            StoreError::Conflict => "use a new id for a new text",
            StoreError::UnknownTicket => "use the ticket as the agent gave it",
            StoreError::NotRefused => "see `landfall-agent queue list --refused`",
            StoreError::RefusedGone => "look at what the hub set aside",
            StoreError::Stopped => "start the agent again",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            StoreError::Full { .. }
                | StoreError::DiskFull
                | StoreError::Closed { .. }
                | StoreError::Stopped
        )
    }
}
