//! `audit`: whether what a device decided is here, complete and unaltered.

use super::failure::Failure;
use super::{Home, open, out};
use crate::database::audit;
use landfall_hub_core::audit::{Finding, Report, Span};
use landfall_wire::id::DeviceId;
use serde::Serialize;

/// Nothing is wrong, but not everything is proven.
const NOT_PROVEN: u8 = 3;
/// The log contradicts what the device told.
const BROKEN: u8 = 1;

#[derive(Debug, Serialize)]
struct Audited<'a> {
    device: &'a DeviceId,
    /// `proven`, `not-proven` or `broken`.
    verdict: &'static str,
    epochs: &'a [Report],
}

/// Prints the report; returns the exit code.
pub(super) fn audit(home: &Home, device: &DeviceId, json: bool) -> Result<u8, Failure> {
    let epochs = audit::audit(&open(home)?, device)?;
    let epochs = epochs.ok_or_else(|| {
        Failure::new(format!("there is no device {device}"), "`landfall-hub devices` lists them")
    })?;
    let (verdict, code) = verdict(&epochs);
    if json {
        out::json(&Audited { device, verdict, epochs: &epochs });
        return Ok(code);
    }
    for report in &epochs {
        print(report);
    }
    out::line(match verdict {
        "proven" => format!("{device}: every outcome is complete and unaltered"),
        "broken" => format!("{device}: THE LOG IS BROKEN, see above"),
        _ => format!("{device}: nothing is wrong, but not every outcome is proven (yet)"),
    });
    Ok(code)
}

fn verdict(epochs: &[Report]) -> (&'static str, u8) {
    if !epochs.iter().all(Report::is_intact) {
        ("broken", BROKEN)
    } else if epochs.iter().all(Report::is_proven) {
        ("proven", 0)
    } else {
        ("not-proven", NOT_PROVEN)
    }
}

fn print(report: &Report) {
    let Report { epoch, mark, device_end, held, proven, pending, unproven, lost, .. } = report;
    out::line(format!("epoch {epoch}: {held} of {mark} outcomes are here, {proven} proven"));
    if report.removed_below > 0 {
        out::line(format!("  those below {} were removed for their age", report.removed_below));
    }
    if device_end > mark {
        out::line(format!("  {} more are on the device", device_end - mark));
    }
    if *pending > 0 {
        out::line(format!("  {pending} wait for the device's next word of its chain"));
    }
    if *unproven > 0 {
        let at = spans(&report.unproven_at);
        out::line(format!("  {unproven} cannot be proven: {at}"));
    }
    if *lost > 0 {
        out::line(format!("  {lost} are lost, as the device told: {}", spans(&report.lost_at)));
    }
    if report.withheld > 0 {
        out::line(format!(
            "  {} stay on the device, as this hub asked; `landfall-agent queue verify` there proves them",
            report.withheld
        ));
    }
    if !report.bound {
        out::line("  the chain is not bound to the device's name: it had none yet");
    }
    for finding in &report.findings {
        out::line(format!("  BROKEN: {}", sentence(finding)));
    }
    let more = report.findings_count - report.findings.len() as u64;
    if more > 0 {
        out::line(format!("  BROKEN: {more} more"));
    }
    if let Some(head) = report.head {
        out::line(format!("  chain at {}: {}", head.at, head.value));
    }
}

fn spans(spans: &[Span]) -> String {
    spans.iter().map(|span| range(span.first, span.end)).collect::<Vec<_>>().join(", ")
}

/// Numbers as people count them: both ends belong to it.
fn range(first: u64, end: u64) -> String {
    if end == first + 1 { first.to_string() } else { format!("{first} to {}", end - 1) }
}

fn sentence(finding: &Finding) -> String {
    match finding {
        Finding::Missing { first, end } => {
            format!("missing, and no loss record tells why: {}", range(*first, *end))
        }
        Finding::Altered { first, end } => {
            format!("changed, exchanged or moved, one or more of: {}", range(*first, *end))
        }
        Finding::Differs { seq, what } => {
            format!("outcome {seq}: column {what} does not say what the record says")
        }
        Finding::ForeignChain { at } => {
            format!("from {at} on the chain is of another device or epoch")
        }
        Finding::Surplus { seq } => {
            format!("outcome {seq} is beyond what was ever committed from the device")
        }
    }
}
