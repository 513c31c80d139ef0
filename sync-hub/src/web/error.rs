//! What a request is refused with: `{"error": {"code", "message", "remedy"}}`.

use crate::database::DbError;
use crate::database::commands::GiveAnswerError;
use crate::rules::books::RuleError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use landfall_hub_core::desk::AnswerError;
use serde_json::json;

/// A refused request.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Refused {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Refused {
        Refused { status, code, message: message.into(), remedy: remedy.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>, remedy: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, "bad-request", message, remedy)
    }

    pub(super) fn not_found(message: impl Into<String>, remedy: impl Into<String>) -> Refused {
        Refused::new(StatusCode::NOT_FOUND, "not-found", message, remedy)
    }
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Refused {
        let remedy = match &error {
            DbError::Full { .. } => "free disk space on the hub; nothing was changed",
            DbError::Sql { .. }
            | DbError::Newer { .. }
            | DbError::JournalMode(_)
            | DbError::Thread(_)
            | DbError::Panicked
            | DbError::Closed => "try again; if it stays, see the hub's log",
        };
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "database", error.to_string(), remedy)
    }
}

impl From<GiveAnswerError> for Refused {
    fn from(error: GiveAnswerError) -> Refused {
        let message = error.to_string();
        match error {
            GiveAnswerError::NotFound { .. } => {
                Refused::not_found(message, "see the open ones under /api/v1/escalations")
            }
            GiveAnswerError::Answer(AnswerError::State(_)) => Refused::new(
                StatusCode::CONFLICT,
                "not-open",
                message,
                "look at the escalation: it shows its answer, if it has one",
            ),
            GiveAnswerError::Rule(error) => {
                let remedy = error.remedy();
                Refused { message, remedy, ..error.into() }
            }
            GiveAnswerError::Answer(_) => Refused::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad-answer",
                message,
                "correct the answer and send it again",
            ),
        }
    }
}

impl From<RuleError> for Refused {
    fn from(error: RuleError) -> Refused {
        let (message, remedy) = (error.to_string(), error.remedy());
        match error {
            RuleError::NotFound(_) => Refused::not_found(message, remedy),
            RuleError::Removed(_) | RuleError::Name { .. } | RuleError::Full => {
                Refused::new(StatusCode::CONFLICT, "not-possible", message, remedy)
            }
            RuleError::File(_)
            | RuleError::Label(_)
            | RuleError::Task(_)
            | RuleError::Answer { .. }
            | RuleError::Fields
            | RuleError::Everything
            | RuleError::NotThisText => {
                Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-rule", message, remedy)
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused { status, code, message, remedy } = self;
        let error = json!({ "code": code, "message": message, "remedy": remedy });
        (status, Json(json!({ "error": error }))).into_response()
    }
}
