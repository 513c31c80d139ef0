//! Releases of model packages: kept, handed out, and rolled out.

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
