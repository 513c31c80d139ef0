//! `queue list` and `queue export`.

use super::args::{QueueExportArgs, QueueListArgs};
use super::failure::Failure;
use super::output::{self, Progress, size};
use super::refused;
use super::shelf::Shelf;
use super::{Done, shown_time};
use crate::queue::{self, Ask, Entry, LIMIT_MAX, Page, StreamPart, Summary, unhex};
use crate::stamp::wall_ms;
use landfall_agent_core::replay;
use landfall_wire::chain::ChainValue;
use landfall_wire::record::{Event, Record, Refusal, StreamId};
use landfall_wire::rules::RulesReport;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Version of the export's lines.
const FORMAT: u32 = 1;

pub(super) fn list(args: &QueueListArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let shelf = Shelf::open(&config)?;
    tell_damage(&shelf);
    if args.refused {
        return refused::list(&shelf, args.json);
    }
    match &args.stream {
        None => show_summary(&shelf.summary()?, args.json)?,
        Some(stream) => {
            let stream = queue::stream_named(stream)?;
            let after = args.after.as_deref().map(queue::record_id).transpose()?;
            let ask = Ask { stream, after, limit: args.limit, kept: args.kept };
            show_records(&shelf, ask, args)?;
        }
    }
    Ok(Done::Done)
}

/// A damaged store is read as the agent will salvage it.
pub(super) fn tell_damage(shelf: &Shelf) {
    if let Some(opened) = shelf.damage() {
        output::note(format_args!(
            "DAMAGED: {} part(s) of the store; of what waits in them {} records can be read and {} \
             cannot. The agent sets them aside at its next start and tells the hub.",
            opened.damaged, opened.salvaged, opened.lost
        ));
    }
}

fn show_summary(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(output::json_pretty(summary)?);
    }
    let device = summary.device.as_deref().unwrap_or("(no identity)");
    let (bytes, bytes_max) = (size(summary.bytes), size(summary.bytes_max));
    output::line(format_args!("{device}: {bytes} of {bytes_max} on disk"))?;
    for part in &summary.streams {
        output::line(format_args!("{}", part_line(part)))?;
    }
    let queue::Tickets { open, queued, sent, received, answered } = &summary.tickets;
    output::line(format_args!(
        "tickets: {open} open ({queued} queued, {sent} sent, {received} at the hub), {answered} \
         answered and not fetched"
    ))?;
    if let Some(oldest) = &summary.oldest_outcome {
        output::line(format_args!("outcomes are held from {oldest} on"))?;
    }
    if summary.refused > 0 {
        let refused = summary.refused;
        output::line(format_args!("REFUSED BY THE HUB: {refused}, see queue list --refused"))?;
    }
    if let Some(why) = &summary.refusing {
        output::line(format_args!("REFUSES RECORDS: {why}"))?;
    }
    Ok(())
}

fn part_line(part: &StreamPart) -> String {
    let StreamPart { stream, epoch, waiting, first, end, .. } = part;
    if *waiting == 0 {
        return format!("{stream:<11}{epoch}  nothing waits, {end} written");
    }
    let about = if part.bytes_estimated { "about " } else { "" };
    let oldest = part.oldest_ms.map_or(String::new(), |at| format!(", oldest {}", shown_time(at)));
    format!(
        "{stream:<11}{epoch}  {waiting} wait, {first} to {}, {about}{}{oldest}",
        end.saturating_sub(1),
        size(part.bytes)
    )
}

fn show_records(shelf: &Shelf, ask: Ask, args: &QueueListArgs) -> Result<(), Failure> {
    let (mut after, mut left) = (ask.after, ask.limit);
    while left > 0 {
        let Page { entries, next } =
            shelf.page(&Ask { after, limit: left.min(LIMIT_MAX), ..ask })?;
        left = left.saturating_sub(entries.len());
        for entry in &entries {
            if args.json {
                output::json(entry)?;
            } else {
                output::line(format_args!("{}", entry_line(entry)))?;
            }
        }
        let Some(next) = next else { return Ok(()) };
        if left == 0 {
            output::note(format_args!("there may be more: --after {next}"));
        }
        after = Some(queue::record_id(&next)?);
    }
    Ok(())
}

fn entry_line(entry: &Entry) -> String {
    let record = unhex(&entry.raw).and_then(|raw| Record::decode(&raw).ok());
    let at_hub = if entry.at_hub { "  (at the hub)" } else { "" };
    format!("{}  {}{at_hub}", entry.id, record.as_ref().map_or("unreadable".into(), sentence))
}

pub(super) fn sentence(record: &Record) -> String {
    match record {
        Record::Outcome(outcome) => {
            let (at, by) = (shown_time(outcome.at_ms), replay::mechanism(&outcome.mechanism));
            let verdict = replay::verdict(&outcome.verdict);
            let answer = outcome
                .decision
                .as_ref()
                .map_or(String::new(), |decision| format!(": {}", replay::decision_name(decision)));
            format!("{at}  {}  {verdict} by {by}{answer}", outcome.task)
        }
        Record::Escalation(escalation) => {
            let (at, outcome) = (shown_time(escalation.at_ms), escalation.outcome_seq);
            format!("{at}  {}  question about outcome {outcome}", escalation.task)
        }
        Record::Loss(loss) => {
            let (of, epoch) = (loss.stream.name(), loss.epoch);
            let last = loss.end.saturating_sub(1);
            format!("loss of {of} {epoch} {} to {last}", loss.first)
        }
        Record::Event(event) => event_sentence(event),
        Record::Answer(answer) => format!("answer to {}", answer.ticket),
        Record::Refusal(Refusal { stream, epoch, seq, reason }) => {
            format!("{} {epoch}-{seq} was refused by the hub: {reason}", stream.name())
        }
        Record::Withheld(why) => format!("an outcome that stays here: {why:?}"),
        Record::Directive(directive) => {
            format!("directive {} '{}'", directive.kind(), directive.key().1)
        }
    }
}

fn event_sentence(event: &Event) -> String {
    match event {
        Event::Started { at_ms, version, .. } => {
            format!("{}  agent {version} started", shown_time(*at_ms))
        }
        Event::Task { task, package, .. } => format!("task {task}: {package}"),
        Event::StoreReplaced { detail, .. } => format!("the store was replaced: {detail}"),
        Event::Expired { ticket } => format!("ticket {ticket} expired"),
        Event::Trouble { at_ms, detail } => format!("{}  {detail}", shown_time(*at_ms)),
        Event::Chain(mark) => format!("hash chain at {}: {}", mark.at, mark.value),
        Event::Unrecorded { from_ms, until_ms, decisions } => {
            let (from, until) = (shown_time(*from_ms), shown_time(*until_ms));
            format!("{decisions} decisions were not recorded, {from} to {until}")
        }
        Event::Sketch(sketch) => {
            let (from, until) = (shown_time(sketch.from_ms), shown_time(sketch.until_ms));
            format!("sketch of {} {}, {from} to {until}", sketch.sketch.outcomes, sketch.task)
        }
        Event::Link(report) => {
            let (at, link) = (shown_time(report.at_ms), &report.link);
            format!("{at}  link {link}: {} bytes of the day spent", report.spent_bytes)
        }
        Event::Release(report) => {
            let (at, package) = (shown_time(report.at_ms), &report.package);
            let release = report.release.map_or_else(
                || "what is configured".to_owned(),
                |release| release.short().to_string(),
            );
            format!("{at}  release {release} of {package}: {}", report.stage.name())
        }
        Event::Clock { first, end, off_ms, behind, exact } => {
            let most = if *exact { "" } else { "at most " };
            let last = end.saturating_sub(1);
            let how = if *behind { "behind" } else { "ahead" };
            format!("the clock was {most}{} s {how}, outcomes {first} to {last}", off_ms / 1000)
        }
        Event::CertificateWanted { .. } => "a new certificate is wanted".to_owned(),
        Event::Rules(RulesReport { at_ms, rule, refused, .. }) => {
            let became = refused
                .as_ref()
                .map_or_else(|| "are used".to_owned(), |why| format!("are not used: {why}"));
            format!("{}  rules {rule} of the hub {became}", shown_time(*at_ms))
        }
    }
}

/// One line of an export.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(flatten)]
    entry: &'a Entry,
    /// The chain after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// Where lines go: a file appears under its name when it is complete.
enum Sink {
    Stdout(io::StdoutLock<'static>),
    File { file: BufWriter<File>, part: PathBuf },
}

impl Sink {
    fn open(out: Option<&Path>) -> Result<Sink, Failure> {
        let Some(out) = out else { return Ok(Sink::Stdout(io::stdout().lock())) };
        let mut part = out.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|error| unwritable(out, &error))?;
        Ok(Sink::File { file: BufWriter::new(file), part })
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        match self {
            Sink::Stdout(out) => out.write_all(&text),
            Sink::File { file, .. } => file.write_all(&text),
        }
    }

    fn finish(self, out: Option<&Path>) -> io::Result<()> {
        match (self, out) {
            (Sink::File { file, part }, Some(out)) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.sync_all()?;
                std::fs::rename(part, out)
            }
            (Sink::Stdout(mut stdout), _) => stdout.flush(),
            (Sink::File { .. }, None) => unreachable!("a file has a name"),
        }
    }
}

fn unwritable(out: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", out.display()))
        .remedy("check the path, its permissions and the space on its disk")
}

pub(super) fn export(args: &QueueExportArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let shelf = Shelf::open(&config)?;
    tell_damage(&shelf);
    let out = args.out.as_deref();
    let mut sink = Sink::open(out)?;
    let counts = write_all(&shelf, &mut sink)?;
    sink.finish(out).map_err(|error| match out {
        Some(out) => unwritable(out, &error),
        None => Failure::from(error),
    })?;
    if args.json && args.out.is_some() {
        output::json(&counts)?;
    } else {
        let (outcomes, events) = (&counts["outcomes"], &counts["events"]);
        output::note(format_args!("{outcomes} outcomes, {events} events about them"));
    }
    Ok(Done::Done)
}

/// The head says what this is, the end that it is whole.
fn write_all(shelf: &Shelf, sink: &mut Sink) -> Result<Value, Failure> {
    let summary = shelf.summary()?;
    sink.line(&json!({
        "kind": "export", "format": FORMAT, "device": summary.device, "at_ms": wall_ms(),
        "agent": crate::VERSION, "epoch": summary.epoch, "chain": summary.chain,
    }))?;
    let (mut events, mut outcomes) = (0_u64, 0_u64);
    shelf.events(|entry| {
        if is_about_outcomes(&entry) {
            events += 1;
            sink.line(&Line { kind: "event", entry: &entry, after: None })?;
        }
        Ok(())
    })?;
    let mut progress = Progress::new();
    shelf.outcomes(|entry| {
        outcomes += 1;
        sink.line(&Line { kind: "outcome", entry: &entry, after: after(&entry) })?;
        if outcomes.is_multiple_of(LIMIT_MAX as u64) {
            progress.show(format_args!("{outcomes} outcomes"));
        }
        Ok(())
    })?;
    progress.clear();
    let counts = json!({ "kind": "end", "outcomes": outcomes, "events": events });
    sink.line(&counts)?;
    Ok(counts)
}

/// Losses and values of the chain.
fn is_about_outcomes(entry: &Entry) -> bool {
    let record = unhex(&entry.raw).and_then(|raw| Record::decode(&raw).ok());
    match record {
        Some(Record::Loss(loss)) => loss.stream == StreamId::Outcome,
        Some(Record::Event(Event::Chain(_))) => true,
        _ => false,
    }
}

fn after(entry: &Entry) -> Option<String> {
    let before = unhex(entry.before.as_ref()?)?.try_into().ok()?;
    Some(ChainValue(before).after(&unhex(&entry.raw)?).to_string())
}
