//! `GET` and `PUT /v1/link`: which link is used, and what the site's software knows better.

use super::App;
use super::error::ApiError;
use crate::link::{UnknownLink, UplinkReport};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Longest time for which the site's word holds: then it is configuration.
const WORD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the site says of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkWord {
    /// The link; without it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// `up`: this link is there and is to be used. `down`: it is not to be used. `auto`: what was
    /// said before is taken back.
    pub state: LinkState,
    /// Until when that holds, as `2026-11-21T04:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Or for how long, as `2h`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub how_long: Option<String>,
}

/// See [`LinkWord::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// To be used.
    Up,
    /// Not to be used.
    Down,
    /// As it is found.
    Auto,
}

pub(super) async fn show(State(app): State<App>) -> Json<UplinkReport> {
    Json(report(&app))
}

pub(super) async fn put(
    State(app): State<App>,
    body: Bytes,
) -> Result<Json<UplinkReport>, ApiError> {
    let word: LinkWord = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request("invalid-request", format!("not a word on a link: {error}"))
            .remedy("send {\"link\": \"port-wifi\", \"state\": \"up\", \"for\": \"2h\"}")
    })?;
    let how_long = how_long(&word, app.overview.clock.now_ms())?;
    let said = match word.state {
        LinkState::Auto => None,
        LinkState::Up if word.link.is_none() => {
            return Err(ApiError::unprocessable("invalid-request", "'up' without a link")
                .remedy("name the link that is up; \"auto\" goes back to what is found"));
        }
        LinkState::Up => Some((word.link.as_deref(), true, how_long)),
        LinkState::Down => Some((word.link.as_deref(), false, how_long)),
    };
    app.overview.uplink.site(said).await?;
    Ok(Json(report(&app)))
}

fn how_long(word: &LinkWord, now_ms: u64) -> Result<Option<Duration>, ApiError> {
    let wrong = |message: String| {
        ApiError::unprocessable("invalid-request", message)
            .remedy("give \"until\": \"2026-11-21T04:00:00Z\" or \"for\": \"2h\", up to a year")
    };
    let long = match (&word.until, &word.how_long) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(wrong("both 'until' and 'for'".to_owned())),
        (Some(until), None) => {
            let at = humantime::parse_rfc3339_weak(until)
                .map_err(|error| wrong(format!("'until' is no time: {error}")))?;
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
            at.duration_since(now).map_err(|_| wrong("'until' is past".to_owned()))?
        }
        (None, Some(long)) => humantime::parse_duration(long)
            .map_err(|error| wrong(format!("'for' is no duration: {error}")))?,
    };
    if long > WORD_MAX {
        return Err(wrong("it would hold for more than a year".to_owned()));
    }
    Ok(Some(long))
}

fn report(app: &App) -> UplinkReport {
    app.overview.uplink.report(&app.pipeline.store().streams())
}

impl From<UnknownLink> for ApiError {
    fn from(error: UnknownLink) -> ApiError {
        ApiError::unprocessable("unknown-link", error.to_string())
            .remedy("use a name of the configuration's [[link]] tables")
    }
}
