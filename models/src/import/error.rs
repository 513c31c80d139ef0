//! Why a model could not be imported, and what to do about it.

use crate::engine::EngineError;
use crate::package::PackageError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The model, the data or the options are not what can be imported.
    #[error("{what}")]
    Refused {
        /// What is wrong, and where.
        what: String,
        /// What a person can do about it.
        remedy: String,
    },
    /// Reading or writing failed.
    #[error("cannot {operation} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The package that was made cannot be opened or signed.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The package that was made does not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ImportError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &str {
        match self {
            ImportError::Refused { remedy, .. } => remedy,
            ImportError::Io { .. } => "check that the file exists and that permissions allow it",
            ImportError::Package(error) => error.remedy(),
            ImportError::Engine(error) => error.remedy(),
        }
    }
}

/// What the functions of this module return.
pub(super) type Result<T> = std::result::Result<T, ImportError>;

/// A refusal.
pub(super) fn refused(what: impl Into<String>, remedy: impl Into<String>) -> ImportError {
    ImportError::Refused { what: what.into(), remedy: remedy.into() }
}

/// Names the operation and the file of a failure.
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io { operation, path: path.clone(), source }
}
