//! Records as the database keeps them and as the API shows them: JSON without surprises.

use landfall_wire::id::Confidence;
use landfall_wire::link::LinkReport;
use landfall_wire::record::{
    Decision, EscalationReason, LossReason, Masking, Mechanism, Read, Record, RedactedText,
    Refusal, TaskKind,
};
use landfall_wire::sketch::Sketch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Kind and subject of a record for a device, as columns.
pub(super) fn down_subject(record: &Record) -> (&'static str, String) {
    match record {
        Record::Directive(directive) => (directive.kind(), directive.key().1),
        Record::Refusal(Refusal { stream, epoch, seq, .. }) => {
            ("refusal", format!("{} {epoch}-{seq}", stream.name()))
        }
        Record::Answer(answer) => ("answer", answer.ticket.to_string()),
        Record::Outcome(_)
        | Record::Escalation(_)
        | Record::Event(_)
        | Record::Loss(_)
        | Record::Withheld(_) => ("none of a hub's", String::new()),
    }
}

/// A decision: `{"label": "Leaking"}`, `{"label": null}` for out of scope, or `{"fields": […]}`.
pub fn decision(decision: &Decision) -> Value {
    match decision {
        Decision::Label(label) => json!({ "label": label }),
        Decision::OutOfScope => json!({ "label": null }),
        Decision::Fields(fields) => {
            let fields: Vec<Value> = fields
                .iter()
                .map(|field| {
                    json!({
                        "label": field.label,
                        "value": field.value,
                        "start": field.start,
                        "end": field.end,
                        "confidence": probability(field.confidence),
                    })
                })
                .collect();
            json!({ "fields": fields })
        }
    }
}

/// A probability with the four digits that a record keeps.
pub fn probability(confidence: Confidence) -> f64 {
    f64::from(confidence.basis_points()) / 10_000.0
}

/// What decided, and the name of the rule or the guard's reason.
pub fn mechanism(mechanism: &Mechanism) -> (&'static str, Option<&str>) {
    match mechanism {
        Mechanism::Guard(reason) => ("guard", Some(reason)),
        Mechanism::Rule(name) => ("rule", Some(name)),
        Mechanism::Model => ("model", None),
    }
}

/// Why it was escalated, in words.
pub fn reason(reason: &EscalationReason) -> String {
    match reason {
        EscalationReason::LowConfidence => "low confidence".to_owned(),
        EscalationReason::OutOfScope => "out of scope".to_owned(),
        EscalationReason::Rule(name) => format!("rule {name}"),
        EscalationReason::Audit => "audit".to_owned(),
        EscalationReason::ModelUnavailable(why) => format!("model unavailable: {why}"),
    }
}

/// How much of the text the model read.
pub fn read(read: &Read) -> Value {
    json!({
        "words": read.words,
        "words_blank": read.words_blank,
        "pieces": read.pieces,
        "windows": read.windows,
    })
}

/// What masked a text, in a word.
pub fn masking(masking: Masking) -> &'static str {
    match masking {
        Masking::Patterns => "patterns",
        Masking::PatternsAndModel { .. } => "patterns-and-model",
        Masking::ModelUnavailable => "model-unavailable",
    }
}

/// Why records were lost, in a word.
pub fn loss_reason(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Shed => "shed",
        LossReason::Damaged => "damaged",
    }
}

/// The kind of a task, in a word.
pub fn kind_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Classification => "classification",
        TaskKind::Extraction => "extraction",
    }
}

/// Reads back [`kind_name`].
pub fn kind(name: &str) -> TaskKind {
    match name {
        "extraction" => TaskKind::Extraction,
        _ => TaskKind::Classification,
    }
}

/// Metadata as a list of pairs: keys may repeat.
pub fn meta(meta: &[(String, String)]) -> Value {
    json!(meta)
}

/// Text and its length before it was cut.
pub fn text(text: Option<&RedactedText>) -> (Option<&str>, Option<u32>) {
    text.map(|text| (text.text.as_str(), text.bytes_full)).unzip()
}

/// A time for people and programs: RFC 3339 in UTC.
pub fn time(ms: i64) -> String {
    let ms = super::unsigned(ms).min(TIME_MS_MAX);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_millis(at).to_string()
}

/// End of the year 9999, the last that RFC 3339 can write: a device may claim any time.
const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// One decision of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeView {
    /// Order of arrival at this hub; pass the last one as `after` for the next page.
    pub id: i64,
    /// The device.
    pub device: String,
    /// `<epoch>-<seq>`: its identity on the device.
    pub outcome: String,
    /// The task.
    pub task: String,
    /// The caller's own id.
    pub caller_id: Option<String>,
    /// When it was decided: by the device's clock, put right by what the device found out later.
    pub at: String,
    /// How far `at` is from what the device's clock showed; absent where that was not found wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_off_ms: Option<i64>,
    /// With `clock_off_ms`: whether it is exactly so much, or so much at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_exact: Option<bool>,
    /// When it was committed here.
    pub received_at: String,
    /// `guard`, `rule` or `model`.
    pub mechanism: String,
    /// The rule's name, or the guard's reason.
    pub mechanism_name: Option<String>,
    /// `answered`, `escalated` or `refused`.
    pub status: String,
    /// Why it was escalated.
    pub reason: Option<String>,
    /// Its ticket, if it was escalated.
    pub escalation: Option<String>,
    /// The answer: `{"label": …}` or `{"fields": […]}`.
    pub decision: Option<Value>,
    /// 0 to 1.
    pub confidence: f64,
    /// Digest of the model package.
    pub package: String,
    /// Digest of the configuration.
    pub config: String,
    /// Time to decide.
    pub decide_ms: f64,
    /// How much of the text the model read: `{"words", "words_blank", "pieces", "windows"}`;
    /// `null` if it was not asked.
    pub read: Option<Value>,
    /// Fields of the answer that found no room in the record.
    pub fields_left_out: u32,
    /// The text, if it left the device.
    pub text: Option<String>,
    /// Whether the text was cut.
    pub text_cut: bool,
    /// What masked the text or the values that left: `patterns`, `patterns-and-model`,
    /// `model-unavailable`.
    pub masking: Option<String>,
    /// Metadata, as pairs.
    pub meta: Value,
}

/// A question of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EscalationView {
    /// Order of arrival at this hub; pass the last one as `after` for the next page.
    pub id: i64,
    /// The device.
    pub device: String,
    /// Its name on the device.
    pub ticket: String,
    /// The outcome that it belongs to.
    pub outcome: String,
    /// The task.
    pub task: String,
    /// `classification` or `extraction`; null while the device has not told.
    pub kind: Option<String>,
    /// Labels that an answer may use.
    pub labels: Vec<String>,
    /// When it was asked, by the device's clock.
    pub at: String,
    /// When it was committed here.
    pub received_at: String,
    /// `open`, `answered`, `delivered` or `expired`.
    pub state: String,
    /// Why it was escalated.
    pub reason: String,
    /// The text, if it left the device.
    pub text: Option<String>,
    /// Whether the text was cut.
    pub text_cut: bool,
    /// The device's provisional answer.
    pub provisional: Option<Value>,
    /// The model's best labels: `[{"label", "confidence"}]`.
    pub candidates: Value,
    /// Metadata, as pairs.
    pub meta: Value,
    /// Seconds of the device's running time after which it gives up.
    pub ttl_secs: u32,
    /// The answer, if there is one.
    pub answer: Option<AnswerView>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerView {
    /// `{"label": …}` or `{"fields": […]}`.
    #[serde(flatten)]
    pub decision: Value,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: String,
    /// A remark for the asker.
    pub note: Option<String>,
    /// When the device was known to have it.
    pub delivered_at: Option<String>,
}

/// One device in the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its name.
    pub device: String,
    /// Whether it is connected now.
    pub online: bool,
    /// Whether it may connect.
    pub revoked: bool,
    /// When the last of its valid certificates ends.
    pub certificate_expires_at: Option<String>,
    /// Last sign of life.
    pub last_contact_at: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// Digest of its configuration.
    pub config: Option<String>,
    /// Its clock minus the hub's, in milliseconds, at its last greeting.
    pub clock_offset_ms: Option<i64>,
    /// Records on the device and not yet here, as of its last greeting.
    pub backlog: u64,
    /// Its streams.
    pub streams: Vec<StreamView>,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// Outcomes here.
    pub outcomes: u64,
    /// Escalations that wait for an answer.
    pub escalations_open: u64,
    /// Answers that it does not have yet.
    pub answers_waiting: u64,
    /// Records that will never arrive.
    pub losses: u64,
    /// Records that this hub could not use and keeps as they came.
    pub rejected: u64,
    /// What it sent.
    pub frames: FrameCounts,
    /// The last thing that was wrong.
    pub problem: Option<String>,
    /// When that was.
    pub problem_at: Option<String>,
    /// What it last told of the link that it uses, if its site declares any.
    pub link: Option<Value>,
}

/// One stream of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamView {
    /// `outcome`, `escalation` or `event`.
    pub stream: String,
    /// Which life of its store.
    pub epoch: String,
    /// Everything below is here.
    pub mark: u64,
    /// Records on the device and not yet here, as of its last greeting.
    pub backlog: u64,
}

/// One task of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its name.
    pub task: String,
    /// `classification` or `extraction`.
    pub kind: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Name and version of the package behind it.
    pub package: String,
}

/// Something that a device reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// When it was committed here.
    pub received_at: String,
    /// `started`, `task`, `store-replaced`, `expired`, `trouble`.
    pub kind: String,
    /// What it says.
    pub detail: Value,
}

/// Records that will never arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossView {
    /// The device.
    pub device: String,
    /// The stream.
    pub stream: String,
    /// Which life of its store.
    pub epoch: String,
    /// First sequence number lost.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// `shed`, `damaged`, or `gap` if the hub saw it first.
    pub reason: String,
    /// When it was committed here.
    pub received_at: String,
}

/// A record that this hub could not use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedView {
    /// The device.
    pub device: String,
    /// The stream.
    pub stream: String,
    /// `<epoch>-<seq>`.
    pub record: String,
    /// Why.
    pub reason: String,
    /// Its size; the bytes stay in the database.
    pub bytes: u64,
    /// When it was committed here.
    pub received_at: String,
}

/// Frames by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Well-formed frames.
    pub received: u64,
    /// Payloads that are no frame, or one that makes no sense.
    pub malformed: u64,
    /// Publications and subscriptions outside the device's own topics.
    pub refused: u64,
}

/// The totals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Outcomes here.
    pub outcomes: u64,
    /// Distinct caller ids, each counted per device and task.
    pub distinct_caller_ids: u64,
    /// Escalations by state.
    pub escalations: EscalationCounts,
    /// Devices enrolled.
    pub devices: u64,
    /// Devices connected now.
    pub devices_online: u64,
    /// Records that will never arrive, each counted once.
    pub losses: u64,
    /// Frames by what became of them.
    pub frames: FrameCounts,
    /// Records by what became of them.
    pub records: RecordCounts,
    /// Connections refused: unknown, revoked, or no valid certificate.
    pub connections_refused: u64,
}

/// Escalations by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationCounts {
    /// Not answered yet.
    pub open: u64,
    /// Answered, not yet on the device.
    pub answered: u64,
    /// The device has the answer.
    pub delivered: u64,
    /// The device gave up waiting.
    pub expired: u64,
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Applied.
    pub applied: u64,
    /// Sent again, and known already.
    pub repeated: u64,
    /// Kept as they came, because this hub could not use them.
    pub rejected: u64,
}

/// What a device tells of its link, as an event's detail.
pub(super) fn link(report: &LinkReport) -> Value {
    let LinkReport { at_ms, link, class, spent_bytes, budget_bytes, bytes_per_sec } = report;
    json!({
        "at": time(super::number(*at_ms)),
        "link": link,
        "class": class,
        "spent_bytes": spent_bytes,
        "budget_bytes": budget_bytes,
        "bytes_per_sec": bytes_per_sec,
    })
}

/// A sketch of outcomes that stay on their device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SketchView {
    /// The task.
    pub task: String,
    /// The epoch of the outcomes.
    pub epoch: String,
    /// The first that was looked at.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// By the device's clock, at the first of the task.
    pub from_at: String,
    /// And at the last.
    pub until_at: String,
    /// Counts and distributions.
    pub counts: Sketch,
}
