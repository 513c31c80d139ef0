//! The things worth keeping. Every record is postcard-encoded on its own, so that one record
//! that a receiver does not understand never spoils its neighbours.
//!
//! Enum variants are appended, never reordered: their order is the format.

use crate::chain::ChainMark;
use crate::directive::Directive;
use crate::id::{Confidence, Epoch, ShortDigest, TaskName, Ticket};
use crate::limits::{
    RECORD_BYTES_MAX, RECORD_FIELDS_BYTES_MAX, RECORD_META_BYTES_MAX, RECORD_TEXT_BYTES_MAX,
};
use crate::link::LinkReport;
use crate::release::ReleaseReport;
use crate::rules::RulesReport;
use crate::sketch::{TaskSketch, Withheld};
use serde::{Deserialize, Serialize};

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A decision that a device took. Stream: outcome.
    Outcome(Outcome),
    /// A question to the hub. Stream: escalation.
    Escalation(Escalation),
    /// What comes back. Stream: answer (hub to device).
    Answer(Answer),
    /// Something the hub should know of the device. Stream: event.
    Event(Event),
    /// Records that will never arrive. Stream: event.
    Loss(Loss),
    /// A record that the hub has set aside because it cannot use it. Stream: answer (hub to
    /// device).
    Refusal(Refusal),
    /// What the hub wants of the device. Stream: answer (hub to device).
    Directive(Directive),
    /// In the place of an outcome that stays on the device, because the hub asked for less than all.
    /// Never in a device's own store. Stream: outcome.
    Withheld(Withheld),
}

/// What was decided about a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// One of the task's labels.
    Label(String),
    /// Typed spans of the text; empty when there is nothing to extract.
    Fields(Vec<Field>),
    /// None of the task's labels fits: the text is out of the task's scope.
    OutOfScope,
}

/// One extracted span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its type, one of the task's labels.
    pub label: String,
    /// The text of the span, redacted in records.
    pub value: String,
    /// First character of the span in the text as given (characters, not bytes).
    pub start: u32,
    /// One past its last character.
    pub end: u32,
    /// How sure the model is of this span.
    pub confidence: Confidence,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// The guard, with its reason.
    Guard(String),
    /// The named rule.
    Rule(String),
    /// The task's model.
    Model,
}

/// What became of the question on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Answered on the spot.
    Answered,
    /// Handed to the hub under this position of the escalation stream; any answer in the
    /// outcome is provisional, except in an audit.
    Escalated {
        /// Why.
        reason: EscalationReason,
        /// Position in the escalation stream of the same epoch.
        seq: u64,
    },
    /// Not processed; the mechanism says why.
    Refused,
}

/// Why the device asks the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EscalationReason {
    /// The calibrated confidence is under the task's threshold.
    LowConfidence,
    /// The text looks like nothing that the model knows.
    OutOfScope,
    /// The named rule says so.
    Rule(String),
    /// Drawn at random from confident answers, to measure quiet failure. The answer stands.
    Audit,
    /// The model could not be run; the text says why.
    ModelUnavailable(String),
}

/// Text as it may leave the device: redacted, and cut to [`RECORD_TEXT_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedactedText {
    /// The redacted text, possibly cut.
    pub text: String,
    /// Length in bytes of the redacted text before it was cut.
    pub bytes_full: u32,
}

impl RedactedText {
    /// Cuts already redacted text to the limit, at a character boundary.
    pub fn new(redacted: &str) -> RedactedText {
        RedactedText {
            text: cut(redacted, RECORD_TEXT_BYTES_MAX).to_owned(),
            bytes_full: u32::try_from(redacted.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The longest prefix of `text` of at most `bytes_max` bytes that ends between characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// How much of a text the model read. It reads all of a text that the guard lets through; the
/// counts show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Words: runs of non-whitespace characters.
    pub words: u32,
    /// Words of which nothing can be read, such as control characters.
    pub words_blank: u32,
    /// Word pieces.
    pub pieces: u32,
    /// Passes of the encoder, which overlap; a short text takes one.
    pub windows: u32,
}

/// What masked a text before it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Masking {
    /// The patterns of the configuration.
    Patterns,
    /// The patterns, and a model that masked so many spans beside them.
    PatternsAndModel {
        /// Spans that the model found.
        spans: u32,
    },
    /// The patterns alone, because the model could not be run.
    ModelUnavailable,
}

/// The record of one decision, durable before the caller hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The task that was asked for.
    pub task: TaskName,
    /// The caller's own id of the request, if it gave one.
    pub caller_id: Option<String>,
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// What decided.
    pub mechanism: Mechanism,
    /// What became of it.
    pub verdict: Verdict,
    /// The answer, where there is one.
    pub decision: Option<Decision>,
    /// Calibrated confidence of the answer; certain for a rule, zero without an answer.
    pub confidence: Confidence,
    /// Digest of the model package's manifest; zero if no model took part.
    pub package: ShortDigest,
    /// Digest of the configuration (rules included).
    pub config: ShortDigest,
    /// Time from intake to decision in microseconds, without the write.
    pub decide_us: u32,
    /// How much of the text the model read; `None` if it was not asked.
    pub read: Option<Read>,
    /// Fields of the answer that are not in `decision`, for want of room.
    pub fields_left_out: u32,
    /// The text, if the site lets it leave.
    pub text: Option<RedactedText>,
    /// What masked the text, or the values of fields, that left; `None` if neither did.
    pub masking: Option<Masking>,
    /// Metadata that the site lets leave.
    pub meta: Vec<(String, String)>,
}

/// A question to the hub, written in one atomic commit with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Position of its outcome in the outcome stream of the same epoch.
    pub outcome_seq: u64,
    /// The task that was asked for.
    pub task: TaskName,
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// Why it was escalated.
    pub reason: EscalationReason,
    /// The text, if the site lets it leave.
    pub text: Option<RedactedText>,
    /// The device's provisional answer, if it has one.
    pub provisional: Option<Decision>,
    /// The best labels of the model with their calibrated confidence, best first.
    pub candidates: Vec<(String, Confidence)>,
    /// Metadata that the site lets leave.
    pub meta: Vec<(String, String)>,
    /// Time to live in seconds of the device's running time; after it the ticket expires.
    pub ttl_secs: u32,
}

/// The hub's answer to an escalation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The escalation that it answers.
    pub ticket: Ticket,
    /// What was decided.
    pub decision: Decision,
    /// Who or what decided: an operator's name, a model's name.
    pub by: String,
    /// Wall clock of the hub, milliseconds since 1970.
    pub at_ms: u64,
    /// A remark for the asker.
    pub note: Option<String>,
}

/// What kind of answer a task gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskKind {
    /// One label.
    Classification,
    /// Typed spans.
    Extraction,
}

/// Something the hub should know of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The agent started.
    Started {
        /// Wall clock of the device, milliseconds since 1970.
        at_ms: u64,
        /// The agent's version.
        version: String,
        /// Digest of the configuration.
        config: ShortDigest,
    },
    /// A task that the device serves, so that the hub can show and check answers to it.
    Task {
        /// Its name.
        task: TaskName,
        /// The kind of answer.
        kind: TaskKind,
        /// Every label that an answer may use.
        labels: Vec<String>,
        /// Name and version of the package behind it.
        package: String,
    },
    /// The store was damaged and set aside; this epoch replaces the old one.
    StoreReplaced {
        /// The epoch of the damaged store, if it could be read.
        old: Option<Epoch>,
        /// Records that were read out of it and will be delivered under their old epoch.
        salvaged: u64,
        /// What was found.
        detail: String,
    },
    /// The device gave up waiting for an answer.
    Expired {
        /// The escalation.
        ticket: Ticket,
    },
    /// Something does not work as configured; the device goes on without it.
    Trouble {
        /// Wall clock of the device, milliseconds since 1970.
        at_ms: u64,
        /// What it is, and what that means.
        detail: String,
    },
    /// The hash chain of the outcomes at one position.
    Chain(ChainMark),
    /// Callers were told decisions that could not be recorded, as the site asks for: there is no
    /// outcome of any of them. The beginning names the gap: a crash can have it told twice.
    Unrecorded {
        /// Wall clock of the device at the first, milliseconds since 1970.
        from_ms: u64,
        /// At the last that is counted.
        until_ms: u64,
        /// How many; after a power cut on a full disk, at least.
        decisions: u64,
    },
    /// How far an order to run a release is.
    Release(ReleaseReport),
    /// The link that the device uses, if its site declares any.
    Link(LinkReport),
    /// Counts and distributions of outcomes that the hub did not ask for.
    Sketch(Box<TaskSketch>),
    /// The device's clock was wrong while these outcomes of this epoch were recorded: their times,
    /// and those of what was recorded with them, are off by so much.
    Clock {
        /// The first outcome.
        first: u64,
        /// One past the last.
        end: u64,
        /// By how much.
        off_ms: u64,
        /// Whether they are too early, as of a clock that starts in 1970; else too late.
        behind: bool,
        /// Whether it is exactly so much. If not, the device was off between them and the moment
        /// in which it learned the time: it is so much at most.
        exact: bool,
    },
    /// The device wants a new certificate, before its own ends.
    CertificateWanted {
        /// A certificate signing request (PKCS #10, DER) with the device's name as CN, signed with
        /// the new key.
        request: Vec<u8>,
    },
    /// What became of rules that the hub gave.
    Rules(RulesReport),
}

/// A range of records that will never arrive, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Stream that lost them.
    pub stream: StreamId,
    /// Its epoch.
    pub epoch: Epoch,
    /// First sequence number lost.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Why.
    pub reason: LossReason,
}

/// Why records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossReason {
    /// The store was full and the stream's policy is to drop the oldest.
    Shed,
    /// They could not be read back from a damaged store.
    Damaged,
}

/// The hub has a record and cannot use it: it is kept there as it came, and the stream went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stream of the record.
    pub stream: StreamId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub seq: u64,
    /// Why, in words.
    pub reason: String,
}

/// The streams. The number is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StreamId {
    /// Device to hub: decisions.
    Outcome,
    /// Device to hub: questions.
    Escalation,
    /// Device to hub: health, tasks, losses.
    Event,
    /// Hub to device: answers, refusals, directives.
    Answer,
}

impl StreamId {
    /// The device's streams, most valuable first.
    pub const UP: [StreamId; 3] = [StreamId::Escalation, StreamId::Event, StreamId::Outcome];

    /// A name for logs, pages and columns.
    pub fn name(self) -> &'static str {
        match self {
            StreamId::Outcome => "outcome",
            StreamId::Escalation => "escalation",
            StreamId::Event => "event",
            StreamId::Answer => "answer",
        }
    }

    /// Whether a record of this kind belongs in this stream.
    pub fn accepts(self, record: &Record) -> bool {
        match record {
            Record::Outcome(_) | Record::Withheld(_) => self == StreamId::Outcome,
            Record::Escalation(_) => self == StreamId::Escalation,
            Record::Answer(_) | Record::Refusal(_) | Record::Directive(_) => {
                self == StreamId::Answer
            }
            Record::Event(_) | Record::Loss(_) => self == StreamId::Event,
        }
    }
}

/// Why a record could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Larger than [`RECORD_BYTES_MAX`].
    #[error("record of {bytes} bytes is over the limit of {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a record that this version knows.
    #[error("not a record of a known kind: {0}")]
    Malformed(String),
}

impl Record {
    /// Encodes one record.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`]; [`Record::fit`] before encoding prevents it.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = postcard::to_stdvec(self).map_err(|e| RecordError::Malformed(e.to_string()))?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// Decodes one record; trailing bytes are refused.
    ///
    /// # Errors
    /// [`RecordError`] for anything else than one whole record.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge { bytes: bytes.len() });
        }
        let (record, rest) =
            postcard::take_from_bytes(bytes).map_err(|e| RecordError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(RecordError::Malformed(format!("{} bytes too many", rest.len())));
        }
        Ok(record)
    }

    /// Cuts what is variable to its limits, so that the record encodes within
    /// [`RECORD_BYTES_MAX`]: fields and metadata past their budgets go first, then text.
    /// The caller's answer is not affected; this is only what is kept and sent.
    #[must_use]
    pub fn fit(mut self) -> Record {
        match &mut self {
            Record::Outcome(outcome) => {
                let left_out: u32 = outcome.decision.iter_mut().map(fit_decision).sum();
                outcome.fields_left_out = outcome.fields_left_out.saturating_add(left_out);
                fit_meta(&mut outcome.meta);
                fit_text(&mut outcome.text);
            }
            Record::Escalation(escalation) => {
                // Its outcome says how many fields are missing.
                let _left_out: u32 = escalation.provisional.iter_mut().map(fit_decision).sum();
                fit_meta(&mut escalation.meta);
                fit_text(&mut escalation.text);
            }
            Record::Answer(answer) => {
                let _left_out = fit_decision(&mut answer.decision);
                fit_string(answer.note.as_mut());
                fit_string(Some(&mut answer.by));
            }
            Record::Event(Event::Task { labels, .. }) => {
                let sizes = labels.iter().map(String::len);
                labels.truncate(count_within(sizes, RECORD_TEXT_BYTES_MAX));
            }
            Record::Event(Event::StoreReplaced { detail, .. } | Event::Trouble { detail, .. }) => {
                fit_string(Some(detail));
            }
            Record::Event(Event::Release(report)) => report.fit(),
            Record::Event(Event::Link(report)) => report.fit(),
            Record::Event(Event::Rules(report)) => report.fit(),
            Record::Event(
                Event::Started { .. }
                | Event::Expired { .. }
                | Event::Chain(_)
                | Event::Unrecorded { .. }
                // Bounded as it is made.
                | Event::Sketch(_)
                | Event::Clock { .. }
                | Event::CertificateWanted { .. },
            )
            | Record::Loss(_)
            | Record::Directive(_)
            | Record::Withheld(_) => {}
            Record::Refusal(refusal) => fit_string(Some(&mut refusal.reason)),
        }
        self
    }
}

fn fit_string(text: Option<&mut String>) {
    if let Some(text) = text {
        text.truncate(cut(text, RECORD_META_BYTES_MAX).len());
    }
}

fn fit_text(text: &mut Option<RedactedText>) {
    if let Some(text) = text {
        text.text.truncate(cut(&text.text, RECORD_TEXT_BYTES_MAX).len());
    }
}

fn fit_meta(meta: &mut Vec<(String, String)>) {
    let sizes = meta.iter().map(|(key, value)| key.len() + value.len() + 4);
    meta.truncate(count_within(sizes, RECORD_META_BYTES_MAX));
}

/// Returns how many fields went.
fn fit_decision(decision: &mut Decision) -> u32 {
    let Decision::Fields(fields) = decision else { return 0 };
    let before = fields.len();
    // 16 bytes for offsets, confidence and lengths of one field.
    let sizes = fields.iter().map(|field| field.label.len() + field.value.len() + 16);
    fields.truncate(count_within(sizes, RECORD_FIELDS_BYTES_MAX));
    u32::try_from(before - fields.len()).unwrap_or(u32::MAX)
}

/// How many leading items fit into `bytes_max`.
fn count_within(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let mut total = 0;
    sizes
        .take_while(|size| {
            total += size;
            total <= bytes_max
        })
        .count()
}
