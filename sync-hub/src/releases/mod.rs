//! Releases of model packages: kept, handed out, and rolled out.
//!
//! * [`registry`]: releases on this hub: files in the data directory, rows in the database.
//! * [`books`]: rollouts in the database, and what devices report.
//! * [`driver`]: gives the orders that are due, while a hub runs.
//! * [`files`]: hands files to devices, over HTTPS with mutual TLS.
//! * [`views`]: how they are shown.
//!
//! What is due is decided in [`landfall_hub_core::rollout`]. Invariants held here: an order is
//! given in the transaction that notes it, and only while its rollout runs; what is handed out is
//! a file of a release, to a device that is not revoked.

pub mod books;
pub mod driver;
pub mod files;
pub mod registry;
pub mod views;

use landfall_wire::release::{ReleaseReport, ReleaseStage};
use serde_json::{Value, json};

/// What a device says of a release, as lists of events show it.
pub(crate) fn report(report: &ReleaseReport) -> Value {
    let ReleaseReport { at_ms, package, number, release, stage } = report;
    let (fault, detail) = match stage {
        ReleaseStage::RolledBack { fault, detail } => (Some(fault.name()), Some(detail)),
        ReleaseStage::Accepted
        | ReleaseStage::Fetched
        | ReleaseStage::Trial
        | ReleaseStage::Current => (None, None),
    };
    let at = crate::database::views::time(i64::try_from(*at_ms).unwrap_or(i64::MAX));
    json!({ "at": at, "package": package, "order": number, "release": release,
            "stage": stage.name(), "fault": fault, "detail": detail })
}
