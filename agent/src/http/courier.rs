//! `POST /v1/courier/export` and `/v1/courier/import`: parcels, for the command line. Who may
//! open them is proven by the parcel itself.

use super::App;
use super::error::ApiError;
use crate::courier::{Courier, CourierError, Imported};
use crate::sync::LinkState;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::IntoResponse;
use landfall_freight::parcel::PARCEL_BYTES_MAX;
use serde::Deserialize;

/// Says how many records are in a parcel.
pub const RECORDS: HeaderName = HeaderName::from_static("x-landfall-records");
/// Says that there is another part.
pub const MORE: HeaderName = HeaderName::from_static("x-landfall-more");

/// Which part of an export.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(default)]
    part: usize,
}

pub(super) async fn export(
    State(app): State<App>,
    Query(Part { part }): Query<Part>,
) -> Result<impl IntoResponse, ApiError> {
    let linked = app.overview.link().is_some_and(|link| link.state != LinkState::Offline);
    let exported = courier(&app)?.export(part, linked).await.map_err(refused)?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (RECORDS, exported.records.to_string()),
        (MORE, exported.more.to_string()),
    ];
    Ok((headers, exported.parcel))
}

pub(super) async fn import(State(app): State<App>, body: Body) -> Result<Json<Imported>, ApiError> {
    // Its own limit: parcels are larger than requests.
    let parcel = to_bytes(body, PARCEL_BYTES_MAX).await.map_err(|error| {
        let message = format!("the parcel cannot be read: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "parcel", message)
            .remedy("send one whole parcel as the body")
    })?;
    courier(&app)?.import(&parcel).await.map(Json).map_err(refused)
}

fn courier(app: &App) -> Result<&Courier, ApiError> {
    app.courier.as_deref().ok_or_else(|| {
        let message = "this agent has no identity that could be used for parcels";
        ApiError::new(StatusCode::CONFLICT, "no-identity", message.to_owned())
            .remedy("see `landfall-agent status` for what is wrong with hub.identity")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn refused(error: CourierError) -> ApiError {
    use landfall_freight::parcel::ParcelError;
    let (status, code) = match &error {
        CourierError::Parcel(ParcelError::Incomplete) => (StatusCode::CONFLICT, "incomplete"),
        CourierError::Parcel(ParcelError::NotForUs(_)) => (StatusCode::CONFLICT, "not-for-us"),
        CourierError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        CourierError::Parcel(_)
        | CourierError::Frame(_)
        | CourierError::Session(_)
        | CourierError::Identity(_)
        | CourierError::NoHubKey => (StatusCode::UNPROCESSABLE_ENTITY, "parcel"),
    };
    let remedy = error.remedy();
    ApiError::new(status, code, error.to_string()).remedy(remedy)
}
