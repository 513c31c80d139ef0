//! `queue verify`: whether the outcomes on the device are whole.

use super::args::StatusArgs;
use super::failure::{FAILED, Failure};
use super::output::{self, Progress};
use super::shelf::Shelf;
use super::{Done, queue::tell_damage};
use crate::queue::{self, Entry, StreamPart, Summary, unhex};
use crate::store::{HeldOutcome, OutcomeId, StreamStatus};
use landfall_agent_core::verify::{Finding, Known, Report, Span, Verify};
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::record::{Event, Record};
use serde::Serialize;

#[derive(Serialize)]
struct Verified<'a> {
    device: Option<&'a str>,
    /// `proven`, `not-proven` or `broken`.
    verdict: &'static str,
    /// Parts of the store that the agent will set aside at its next start.
    damaged: usize,
    epochs: &'a [Report],
}

pub(super) fn verify(args: &StatusArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let shelf = Shelf::open(&config)?;
    tell_damage(&shelf);
    let summary = shelf.summary()?;
    let epochs = check(&shelf, &summary)?;
    let damaged = shelf.damage().map_or(0, |opened| opened.damaged);
    let verdict = verdict(&epochs, damaged);
    if args.json {
        let device = summary.device.as_deref();
        output::json_pretty(&Verified { device, verdict, damaged, epochs: &epochs })?;
    } else {
        epochs.iter().try_for_each(print)?;
    }
    conclude(&summary, verdict, args.json)
}

fn check(shelf: &Shelf, summary: &Summary) -> Result<Vec<Report>, Failure> {
    let mut verify = Verify::new(known(shelf, summary)?);
    let mut progress = Progress::new();
    let mut seen = 0_u64;
    shelf.outcomes(|entry| {
        verify.outcome(&held(&entry)?);
        seen += 1;
        if seen.is_multiple_of(queue::LIMIT_MAX as u64) {
            progress.show(format_args!("{seen} outcomes"));
        }
        Ok(())
    })?;
    progress.clear();
    // What the hub took since the beginning may be gone.
    Ok(verify.finish(&positions(&shelf.summary()?)?))
}

/// What the store says beside its outcomes. It must be read before them.
fn known(shelf: &Shelf, summary: &Summary) -> Result<Known, Failure> {
    let device = summary.device.as_deref().and_then(|name| name.parse().ok());
    let mut known = Known { device, streams: positions(summary)?, ..Known::default() };
    if let Some(chain) = &summary.chain {
        let OutcomeId { epoch, .. } = id(&format!("{}-0", summary.epoch))?;
        let value = value(&chain.value)?;
        known.head = Some(ChainMark { epoch, at: chain.at, value, begins: false });
    }
    shelf.events(|entry| {
        match Record::decode(&raw(&entry)?) {
            Ok(Record::Loss(loss)) => known.losses.push(loss),
            Ok(Record::Event(Event::Chain(mark))) => known.marks.push(mark),
            _ => {}
        }
        Ok(())
    })?;
    Ok(known)
}

fn positions(summary: &Summary) -> Result<Vec<StreamStatus>, Failure> {
    let position = |part: &StreamPart| {
        let StreamPart { stream, epoch, first, end, floor, .. } = part;
        let OutcomeId { epoch, .. } = id(&format!("{epoch}-0"))?;
        let stream = queue::stream_named(stream)?;
        Ok(StreamStatus { stream, epoch, floor: *floor, acked: *first, end: *end, reach: *end })
    };
    summary.streams.iter().map(position).collect()
}

fn held(entry: &Entry) -> Result<HeldOutcome, Failure> {
    let before = entry.before.as_deref().map(value).transpose()?;
    Ok(HeldOutcome { id: id(&entry.id)?, record: raw(entry)?, before, at_hub: entry.at_hub })
}

fn id(text: &str) -> Result<OutcomeId, Failure> {
    Ok(queue::record_id(text)?)
}

fn raw(entry: &Entry) -> Result<Vec<u8>, Failure> {
    unhex(&entry.raw).ok_or_else(|| garbled(&entry.id))
}

fn value(text: &str) -> Result<ChainValue, Failure> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.map(ChainValue).ok_or_else(|| garbled(text))
}

fn garbled(what: &str) -> Failure {
    Failure::new(format!("the agent's answer about {what} makes no sense"))
        .remedy("use the command of the same version as the agent that runs")
}

fn verdict(epochs: &[Report], damaged: usize) -> &'static str {
    if damaged > 0 || !epochs.iter().all(Report::is_intact) {
        "broken"
    } else if epochs.iter().all(Report::is_proven) {
        "proven"
    } else {
        "not-proven"
    }
}

fn print(report: &Report) -> std::io::Result<()> {
    let Report { epoch, first, end, held, waiting, linked, loose, unchained, .. } = report;
    let numbers = range(Span { first: *first, end: *end });
    output::line(format_args!(
        "epoch {epoch}: {held} outcomes are held ({numbers}), {waiting} of them wait for the hub"
    ))?;
    output::line(format_args!("  {linked} are linked to what follows"))?;
    if *loose > 0 {
        output::line(format_args!("  {loose} have nothing left that they could be linked to"))?;
    }
    if *unchained > 0 {
        output::line(format_args!("  {unchained} were written by an agent without a hash chain"))?;
    }
    if report.gone > 0 {
        let gone = report.gone;
        output::line(format_args!(
            "  {gone} between them are not held any more; the hub has them"
        ))?;
    }
    if report.lost > 0 {
        let at: Vec<String> = report.lost_at.iter().map(|span| range(*span)).collect();
        output::line(format_args!("  {} are lost, on record: {}", report.lost, at.join(", ")))?;
    }
    if report.bound == Some(false) {
        output::line(format_args!("  the chain is not bound to a name: the device had none yet"))?;
    }
    for finding in &report.findings {
        output::line(format_args!("  BROKEN: {}", sentence(finding)))?;
    }
    let more = report.findings_count - report.findings.len() as u64;
    if more > 0 {
        output::line(format_args!("  BROKEN: {more} more"))?;
    }
    if let Some(head) = report.head {
        output::line(format_args!("  chain at {end}: {head}"))?;
    }
    Ok(())
}

fn conclude(summary: &Summary, verdict: &str, json: bool) -> Result<Done, Failure> {
    let device = summary.device.as_deref().unwrap_or("this device");
    let say = |text: std::fmt::Arguments<'_>| if json { Ok(()) } else { output::line(text) };
    match verdict {
        "proven" => {
            say(format_args!("{device}: every outcome here is whole and in its place"))?;
            say(format_args!(
                "That says nothing of somebody who changed the store and computed all digests \
                 anew: `landfall-hub audit` compares with what the hub was told."
            ))?;
            Ok(Done::Done)
        }
        "not-proven" => {
            say(format_args!("{device}: nothing is wrong, but not every outcome is proven"))?;
            Ok(Done::Open)
        }
        _ => Err(Failure {
            code: FAILED,
            ..Failure::new(format!("{device}: what is recorded here is not whole"))
                .remedy("keep the disk as it is, export what there is, and compare with the hub")
        }),
    }
}

/// Numbers as people count them: both ends belong to it.
fn range(span: Span) -> String {
    let Span { first, end } = span;
    match end.saturating_sub(first) {
        0 => "none".to_owned(),
        1 => first.to_string(),
        _ => format!("{first} to {}", end - 1),
    }
}

fn sentence(finding: &Finding) -> String {
    match *finding {
        Finding::Missing { first, end } => {
            let numbers = range(Span { first, end });
            format!("missing, and no loss record tells why: {numbers}")
        }
        Finding::Altered { seq } => {
            format!("outcome {seq} does not lead to what follows it: one of them was changed")
        }
        Finding::ForeignChain { at } => {
            format!("from {at} on the chain is of another device or epoch")
        }
        Finding::MarkDiffers { at } => {
            format!("what the hub is told of the chain at {at} is not what is kept")
        }
        Finding::Unreadable { seq } => format!("outcome {seq} is no record of an outcome"),
    }
}
