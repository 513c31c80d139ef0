//! Hands files out: `GET /blobs/<digest>`, whole or a range of it.
//!
//! * `body`: a part of a file as it is read.
//! * `door`: connections with mutual TLS, limited in number and in silence.
//!
//! A plain web server that serves a directory `blobs/` over HTTPS does the same for whoever
//! fetches: that is what a mirror is.

mod body;
mod door;

pub use door::{CONNECTIONS_MAX, Door, Guest, HANDSHAKE_MAX, SILENCE_MAX};

use crate::range::{Asked, asked};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE,
};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use landfall_wire::id::Digest;
use std::path::PathBuf;
use std::sync::Arc;

/// Which files may be had.
pub trait Shelf: Send + Sync + 'static {
    /// Where the file is; `None` if it is not here, or not for everybody.
    fn find(&self, digest: Digest) -> Option<PathBuf>;
}

/// The routes.
pub fn router(shelf: Arc<dyn Shelf>) -> Router {
    Router::new().route("/blobs/{digest}", get(file)).with_state(shelf)
}

async fn file(
    State(shelf): State<Arc<dyn Shelf>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let Ok(digest) = digest.parse::<Digest>() else { return empty(StatusCode::NOT_FOUND) };
    let opened = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(shelf.find(digest)?).ok()?;
        let bytes = file.metadata().ok()?.len();
        Some((file, bytes))
    });
    let Ok(Some((file, bytes))) = opened.await else { return empty(StatusCode::NOT_FOUND) };
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let (status, first, end) = match asked(range, bytes) {
        Asked::Whole => (StatusCode::OK, 0, bytes),
        Asked::Part(first, end) => (StatusCode::PARTIAL_CONTENT, first, end),
        Asked::Beyond => {
            let answer = Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(CONTENT_RANGE, format!("bytes */{bytes}"));
            return answer.body(Body::empty()).unwrap_or_default();
        }
    };
    let mut answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, end - first)
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, format!("\"{digest}\""))
        // What a name stands for never changes.
        .header(CACHE_CONTROL, "max-age=31536000, immutable");
    if status == StatusCode::PARTIAL_CONTENT {
        answer = answer.header(CONTENT_RANGE, format!("bytes {first}-{}/{bytes}", end - 1));
    }
    answer.body(body::part(file, first, end)).unwrap_or_default()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}
