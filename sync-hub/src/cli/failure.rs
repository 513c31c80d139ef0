//! A command failed: what to print, and the exit code.

use crate::database::commands::GiveAnswerError;
use crate::database::sql::SqlError;
use crate::database::{DbError, SourceError};
use crate::hub::HubError;
use crate::identity::{EnrollError, IdentityError};
use crate::rules::books::RuleError;
use crate::web::WebError;

/// Failed; the message says why.
const FAILED: u8 = 1;
/// Wrong usage or invalid configuration.
const USAGE: u8 = 2;

/// Why a command failed, and what to do about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) exit_code: u8,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { message: message.into(), remedy: remedy.into(), exit_code: FAILED }
    }

    pub(super) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { exit_code: USAGE, ..Failure::new(message, remedy) }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Failure {
        let remedy = match &error {
            DbError::Full { .. } => "free disk space; nothing was changed",
            DbError::Sql { source, .. } => match source.as_ref() {
                SqlError::Postgres(_) | SqlError::Connect(_) => {
                    "check --database, the server, and the password in PGPASSFILE or ~/.pgpass"
                }
                _ => "check that the data directory is readable and writable",
            },
            DbError::Newer { .. }
            | DbError::JournalMode(_)
            | DbError::Thread(_)
            | DbError::Panicked
            | DbError::Closed => "",
        };
        Failure::new(error.to_string(), remedy)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        DbError::new("read", error).into()
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        let message = error.to_string();
        match error {
            SourceError::Url { .. } => Failure::usage(
                message,
                "write it as postgres://USER@HOST/NAME, or leave it out for a file",
            ),
            SourceError::Password => Failure::usage(
                message,
                "put HOST:PORT:NAME:USER:PASSWORD into a file that only you can read, and name \
                 it in the environment variable PGPASSFILE",
            ),
            SourceError::File { .. } => Failure::new(message, "check the file and its owner"),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Failure {
        let remedy = match &error {
            IdentityError::File { .. } => "check the path, its owner and the free space",
            IdentityError::Damaged { .. } => "restore the file from a backup",
            IdentityError::Issue(_) => "check the names: a host is a DNS name or an address",
            IdentityError::Random(_) => "",
        };
        Failure::new(error.to_string(), remedy)
    }
}

impl From<EnrollError> for Failure {
    fn from(error: EnrollError) -> Failure {
        let message = error.to_string();
        match error {
            EnrollError::Elsewhere { .. } => Failure::new(
                message,
                "use the directory that it was written to, or --renew for a new certificate",
            ),
            EnrollError::Revoked(_) => {
                Failure::new(message, "--renew issues a new certificate and lets it in again")
            }
            EnrollError::Occupied(_) => Failure::new(message, "choose another directory"),
            EnrollError::Identity(error) => error.into(),
            EnrollError::Database(error) => error.into(),
        }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Failure {
        let message = error.to_string();
        match error {
            HubError::Running(_) => Failure::new(message, "stop it, or use another --data"),
            HubError::Lock { .. } => Failure::new(message, "check the directory and its owner"),
            HubError::Identity(error) => error.into(),
            HubError::Database(error) => error.into(),
            HubError::Source(error) => error.into(),
            HubError::Endpoint(_) => {
                Failure::new(message, "choose another --listen, or stop what uses the port")
            }
            HubError::Files(_) => {
                Failure::new(message, "choose another --files-listen, or stop what uses the port")
            }
            HubError::Web(WebError::NoAccounts(_)) => Failure::usage(
                message,
                "make an account first: landfall-hub user add NAME --role admin; or use 127.0.0.1, \
                 and an SSH tunnel (ssh -L 8080:127.0.0.1:8080 HUB) from elsewhere",
            ),
            HubError::Web(WebError::Certificate(_)) => {
                Failure::usage(message, "check --web-certificate and --web-key")
            }
            HubError::Desk(_) => {
                Failure::usage(message, "check `[desk]` of the configuration file")
            }
            HubError::Web(WebError::Listen { .. }) => {
                Failure::new(message, "choose another --web, or stop what uses the port")
            }
        }
    }
}

impl From<GiveAnswerError> for Failure {
    fn from(error: GiveAnswerError) -> Failure {
        let remedy = match &error {
            GiveAnswerError::NotFound { .. } => {
                "`landfall-hub escalations list` shows them".to_owned()
            }
            GiveAnswerError::Answer(_) => {
                "`landfall-hub escalations show` tells what is asked".to_owned()
            }
            GiveAnswerError::Rule(error) => error.remedy(),
        };
        Failure::new(error.to_string(), remedy)
    }
}

impl From<RuleError> for Failure {
    fn from(error: RuleError) -> Failure {
        Failure::new(error.to_string(), error.remedy())
    }
}
