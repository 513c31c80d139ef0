//! Why a command failed, with its exit code.

use crate::bulk::Halt;
use crate::config::ConfigError;
use crate::http::{ApiError, ErrorBody};
use crate::pipeline::DecideError;
use crate::queue::QueueError;
use crate::service::StartError;
use crate::store::StoreError;

/// Failed; the error says why.
pub(super) const FAILED: u8 = 1;
/// Wrong usage or an invalid configuration.
pub(super) const USAGE: u8 = 2;
/// Nothing is lost, but something is still open.
pub(super) const OPEN: u8 = 3;

/// What is printed, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
    pub(super) remedy: Option<String>,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Failure {
        Failure { code: FAILED, message: message.into(), remedy: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure { code: USAGE, ..Failure::new(message) }
    }

    pub(super) fn open(message: impl Into<String>) -> Failure {
        Failure { code: OPEN, ..Failure::new(message) }
    }

    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        // Each problem brings its own remedy.
        Failure::usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let code = if matches!(error, StartError::Config(_)) { USAGE } else { FAILED };
        let remedy = error.remedy().map(str::to_owned);
        Failure { code, message: error.to_string(), remedy }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::new(error.to_string()).remedy(error.remedy())
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Failure {
        match error {
            QueueError::Store(error) => Failure::from(error),
            error @ QueueError::UnknownStream(_) => Failure::usage(error.to_string()),
            error @ QueueError::NotARecord(_) => Failure::usage(error.to_string())
                .remedy("give epoch and number, as `queue list` prints them"),
        }
    }
}

impl From<DecideError> for Failure {
    fn from(error: DecideError) -> Failure {
        Failure::from(ApiError::from(error).body().error)
    }
}

impl From<ErrorBody> for Failure {
    fn from(error: ErrorBody) -> Failure {
        let code = if error.code == "unknown-task" { USAGE } else { FAILED };
        Failure { code, message: error.message, remedy: error.remedy }
    }
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Failure {
        match halt {
            Halt::Later(error) => Failure { code: OPEN, ..Failure::from(error) },
            Halt::Failed(error) => Failure::from(error),
            Halt::Stopping => Failure::open("interrupted"),
            Halt::Write(error) => Failure::new(format!("cannot write the results: {error}"))
                .remedy("check the path and the space on its disk"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(format!("cannot write the output: {error}"))
    }
}
