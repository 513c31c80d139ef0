//! The JSON of what a device holds. A record comes as its bytes, which the hash chain counts, and
//! once more for people.

use landfall_wire::id::Confidence;
use landfall_wire::link::LinkReport;
use landfall_wire::record::{
    Decision, Escalation, EscalationReason, Event, Field, Loss, LossReason, Masking, Mechanism,
    Outcome, Record, RedactedText, Refusal, TaskKind, Verdict,
};
use landfall_wire::release::{ReleaseReport, ReleaseStage};
use landfall_wire::rules::RulesReport;
use landfall_wire::sketch::TaskSketch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What waits for the hub, by stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The device's name, with an identity.
    pub device: Option<String>,
    /// The epoch of new records.
    pub epoch: String,
    /// Every stream, of former epochs too while something of them waits.
    pub streams: Vec<StreamPart>,
    /// Escalations.
    pub tickets: Tickets,
    /// The end of the hash chain over the outcomes of the present epoch.
    pub chain: Option<ChainBody>,
    /// The oldest outcome that is still here, waiting or not.
    pub oldest_outcome: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Records that the hub refused, and that are kept here.
    #[serde(default)]
    pub refused: u64,
    /// Why new records are refused, if they are.
    pub refusing: Option<String>,
}

/// What waits of one stream of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPart {
    /// Its name.
    pub stream: String,
    /// Its epoch.
    pub epoch: String,
    /// Numbers that wait: those from `first` on, below `end`.
    pub waiting: u64,
    /// The first that waits; the hub has, or was told of the loss of, everything below.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// The oldest number that may still be held.
    pub floor: u64,
    /// Bytes of the records that wait, as they are encoded.
    pub bytes: u64,
    /// `bytes` is worked out from the first of them: there are too many to look at all.
    pub bytes_estimated: bool,
    /// When the first was written, milliseconds since 1970 by the device's clock.
    pub oldest_ms: Option<u64>,
}

/// Escalations by where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tickets {
    /// Neither answered nor expired.
    pub open: u64,
    /// Of these, not sent yet.
    pub queued: u64,
    /// Of these, handed to the connection.
    pub sent: u64,
    /// Of these, at the hub.
    pub received: u64,
    /// Answered, and not fetched yet.
    pub answered: u64,
}

/// A position of the hash chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainBody {
    /// The number of the outcome that comes next.
    pub at: u64,
    /// The value there, in hex.
    pub value: String,
}

/// A record that is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Epoch and number.
    pub id: String,
    /// Its stream.
    pub stream: String,
    /// The hub has it.
    pub at_hub: bool,
    /// The value of the hash chain before an outcome, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The record as it travels, in hex.
    pub raw: String,
    /// What it says.
    pub record: Value,
}

/// Records in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub entries: Vec<Entry>,
    /// Give this as `after` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomePage {
    /// The outcome.
    #[serde(flatten)]
    pub entry: Entry,
    /// First eight bytes of the SHA-256 of the text that was decided, in hex. Known for some ten
    /// thousand outcomes, if the caller gave an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_digest: Option<String>,
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _never = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from hex; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    is_hex.then(|| (0..text.len()).step_by(2).map(pair).collect())?
}

/// A record for people.
pub(super) fn view(record: &Record) -> Value {
    match record {
        Record::Outcome(outcome) => of_outcome(outcome),
        Record::Escalation(escalation) => of_escalation(escalation),
        Record::Event(event) => of_event(event),
        Record::Loss(loss) => of_loss(*loss),
        // A device has none in a stream of its own.
        Record::Answer(answer) => json!({ "ticket": answer.ticket.to_string() }),
        Record::Refusal(refusal) => of_refusal(refusal),
        Record::Withheld(why) => json!({ "withheld": why }),
        Record::Directive(directive) => {
            let (_, subject) = directive.key();
            json!({ "directive": directive.kind(), "subject": subject })
        }
    }
}

fn of_refusal(refusal: &Refusal) -> Value {
    let Refusal { stream, epoch, seq, reason } = refusal;
    json!({ "stream": stream.name(), "epoch": epoch.to_string(), "seq": seq, "reason": reason })
}

fn of_outcome(outcome: &Outcome) -> Value {
    let Outcome { task, caller_id, at_ms, decide_us, read, fields_left_out, meta, .. } = outcome;
    let (kind, by) = match &outcome.mechanism {
        Mechanism::Guard(reason) => ("guard", Some(reason)),
        Mechanism::Rule(name) => ("rule", Some(name)),
        Mechanism::Model => ("model", None),
    };
    let (status, reason, escalation) = match &outcome.verdict {
        Verdict::Answered => ("answered", None, None),
        Verdict::Refused => ("refused", None, None),
        Verdict::Escalated { reason, seq } => ("escalated", Some(reason_name(reason)), Some(seq)),
    };
    json!({
        "task": task, "caller_id": caller_id, "at_ms": at_ms,
        "mechanism": { "kind": kind, "name": by },
        "status": status, "reason": reason, "escalation_seq": escalation,
        "decision": outcome.decision.as_ref().map(of_decision),
        "confidence": probability(outcome.confidence),
        "package": outcome.package.to_string(), "config": outcome.config.to_string(),
        "decide_us": decide_us,
        "read": read.map(|read| json!({
            "words": read.words, "words_blank": read.words_blank,
            "pieces": read.pieces, "windows": read.windows,
        })),
        "fields_left_out": fields_left_out,
        "text": outcome.text.as_ref().map(of_text),
        "masking": outcome.masking.map(of_masking),
        "meta": of_meta(meta),
    })
}

fn of_escalation(escalation: &Escalation) -> Value {
    let Escalation { outcome_seq, task, at_ms, meta, ttl_secs, .. } = escalation;
    let candidate = |(label, confidence): &(String, Confidence)| json!({ "label": label, "confidence": probability(*confidence) });
    json!({
        "outcome_seq": outcome_seq, "task": task, "at_ms": at_ms,
        "reason": reason_name(&escalation.reason),
        "text": escalation.text.as_ref().map(of_text),
        "provisional": escalation.provisional.as_ref().map(of_decision),
        "candidates": escalation.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "meta": of_meta(meta),
        "ttl_secs": ttl_secs,
    })
}

fn of_event(event: &Event) -> Value {
    match event {
        Event::Started { at_ms, version, config } => {
            json!({ "event": "started", "at_ms": at_ms, "version": version,
                    "config": config.to_string() })
        }
        Event::Task { task, kind, labels, package } => {
            let kind = match kind {
                TaskKind::Classification => "classification",
                TaskKind::Extraction => "extraction",
            };
            json!({ "event": "task", "task": task, "kind": kind, "labels": labels,
                    "package": package })
        }
        Event::StoreReplaced { old, salvaged, detail } => {
            let old = old.map(|epoch| epoch.to_string());
            json!({ "event": "store-replaced", "old": old, "salvaged": salvaged,
                    "detail": detail })
        }
        Event::Expired { ticket } => json!({ "event": "expired", "ticket": ticket.to_string() }),
        Event::Trouble { at_ms, detail } => {
            json!({ "event": "trouble", "at_ms": at_ms, "detail": detail })
        }
        Event::Chain(mark) => {
            json!({ "event": "chain", "epoch": mark.epoch.to_string(), "at": mark.at,
                    "value": mark.value.to_string(), "begins": mark.begins })
        }
        Event::Unrecorded { from_ms, until_ms, decisions } => {
            json!({ "event": "unrecorded", "from_ms": from_ms, "until_ms": until_ms,
                    "decisions": decisions })
        }
        Event::Sketch(sketch) => {
            let TaskSketch { task, epoch, first, end, from_ms, until_ms, sketch } = &**sketch;
            json!({ "event": "sketch", "task": task, "epoch": epoch.to_string(), "first": first,
                    "end": end, "from_ms": from_ms, "until_ms": until_ms, "sketch": sketch })
        }
        Event::Link(report) => {
            let LinkReport { at_ms, link, class, spent_bytes, budget_bytes, bytes_per_sec } =
                report;
            json!({ "event": "link", "at_ms": at_ms, "link": link, "class": class,
                    "spent_bytes": spent_bytes, "budget_bytes": budget_bytes,
                    "bytes_per_sec": bytes_per_sec })
        }
        Event::Release(report) => {
            let ReleaseReport { at_ms, package, number, release, stage } = report;
            let fault = match stage {
                ReleaseStage::RolledBack { fault, detail } => {
                    json!({ "fault": fault.name(), "detail": detail })
                }
                ReleaseStage::Accepted
                | ReleaseStage::Fetched
                | ReleaseStage::Trial
                | ReleaseStage::Current => Value::Null,
            };
            json!({ "event": "release", "at_ms": at_ms, "package": package, "order": number,
                    "release": release, "stage": stage.name(), "failed": fault })
        }
        Event::Clock { first, end, off_ms, behind, exact } => {
            json!({ "event": "clock", "first": first, "end": end, "off_ms": off_ms,
                    "behind": behind, "exact": exact })
        }
        Event::CertificateWanted { request } => {
            json!({ "event": "certificate-wanted", "request": hex(request) })
        }
        Event::Rules(RulesReport { at_ms, slot, number, rule, refused }) => {
            json!({ "event": "rules", "at_ms": at_ms, "slot": slot, "order": number,
                    "rule": rule, "refused": refused })
        }
    }
}

fn of_loss(loss: Loss) -> Value {
    let Loss { stream, epoch, first, end, reason } = loss;
    let reason = match reason {
        LossReason::Shed => "shed",
        LossReason::Damaged => "damaged",
    };
    json!({ "event": "loss", "of": stream.name(), "epoch": epoch.to_string(), "first": first,
            "end": end, "reason": reason })
}

fn of_decision(decision: &Decision) -> Value {
    match decision {
        Decision::Label(label) => json!({ "label": label }),
        Decision::OutOfScope => json!({ "label": null }),
        Decision::Fields(fields) => {
            let field = |field: &Field| {
                json!({ "label": field.label, "value": field.value, "start": field.start,
                        "end": field.end, "confidence": probability(field.confidence) })
            };
            json!({ "fields": fields.iter().map(field).collect::<Vec<_>>() })
        }
    }
}

fn of_text(text: &RedactedText) -> Value {
    json!({ "text": text.text, "bytes_full": text.bytes_full })
}

fn of_masking(masking: Masking) -> Value {
    match masking {
        Masking::Patterns => json!({ "by": "patterns" }),
        Masking::PatternsAndModel { spans } => {
            json!({ "by": "patterns and model", "model_spans": spans })
        }
        Masking::ModelUnavailable => json!({ "by": "patterns", "model": "unavailable" }),
    }
}

fn of_meta(meta: &[(String, String)]) -> Value {
    meta.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect()
}

pub(crate) fn reason_name(reason: &EscalationReason) -> String {
    match reason {
        EscalationReason::LowConfidence => "low-confidence".to_owned(),
        EscalationReason::OutOfScope => "out-of-scope".to_owned(),
        EscalationReason::Rule(name) => format!("rule {name}"),
        EscalationReason::Audit => "audit".to_owned(),
        EscalationReason::ModelUnavailable(why) => format!("model-unavailable: {why}"),
    }
}

fn probability(confidence: Confidence) -> f64 {
    f64::from(confidence.basis_points()) / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back_and_nothing_else_is_hex() {
        for bytes in [&b""[..], b"\0\xff\x10", &[7; 300]] {
            assert_eq!(unhex(&hex(bytes)).as_deref(), Some(bytes));
        }
        for bad in ["0", "0x", "zz", "+1", "é"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
