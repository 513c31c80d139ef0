//! What the two interfaces say, as far as the demo and the tests look at it. Written from the
//! documented JSON and not from the servers' types: a renamed field fails here.

use serde::Deserialize;

/// Reply to a request for a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reply {
    /// `answered`, `escalated` or `refused`.
    pub status: Status,
    /// What decided.
    pub mechanism: Mechanism,
    /// The label; null for out of scope.
    #[serde(default)]
    pub label: Option<String>,
    /// The ticket, if it was escalated.
    #[serde(default)]
    pub escalation: Option<String>,
    /// Why it was escalated or refused.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its record on the device.
    pub outcome: String,
    /// Intake to decision.
    pub decide_ms: f64,
    /// Whether an earlier request with the same id got this reply.
    pub repeated: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Answered on the spot.
    Answered,
    /// Handed to the hub.
    Escalated,
    /// Not processed.
    Refused,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mechanism {
    /// `rule`, `model` or `guard`.
    pub kind: String,
    /// The rule's name.
    #[serde(default)]
    pub name: Option<String>,
}

/// Where an escalation stands, by the device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ticket {
    /// `queued`, `sent`, `received`, `answered`, `delivered` or `expired`.
    pub state: String,
    /// The answer's label; null for out of scope.
    #[serde(default)]
    pub label: Option<String>,
    /// Who answered; absent while nobody has.
    #[serde(default)]
    pub by: Option<String>,
}

/// The agent at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentStatus {
    /// Resident memory.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Its store.
    pub store: AgentStore,
}

/// The agent's store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentStore {
    /// The epoch of new records.
    pub epoch: String,
    /// Records that the hub does not have yet.
    pub backlog: u64,
}

/// One outcome at the hub.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HubOutcome {
    /// Order of arrival.
    pub id: i64,
    /// The device.
    pub device: String,
    /// `<epoch>-<seq>`.
    pub outcome: String,
    /// The caller's id.
    pub caller_id: Option<String>,
    /// The text that left the device, redacted.
    #[serde(default)]
    pub text: Option<String>,
}

/// One escalation at the hub.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HubEscalation {
    /// Order of arrival.
    pub id: i64,
    /// The device.
    pub device: String,
    /// Its name on the device.
    pub ticket: String,
    /// Labels that an answer may use.
    pub labels: Vec<String>,
    /// `open`, `answered`, `delivered` or `expired`.
    pub state: String,
    /// The device's provisional answer.
    pub provisional: Option<Decision>,
    /// The model's best labels, best first.
    #[serde(default)]
    pub candidates: Vec<Candidate>,
}

/// An answer to a classification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decision {
    /// The label; null for out of scope.
    pub label: Option<String>,
}

/// A label that the model thought of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Candidate {
    /// The label.
    pub label: String,
}

/// The hub's totals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HubStats {
    /// Outcomes.
    pub outcomes: u64,
    /// Distinct caller ids.
    pub distinct_caller_ids: u64,
    /// Escalations by state.
    pub escalations: HubEscalations,
    /// Records that will never arrive.
    pub losses: u64,
    /// Records by what became of them.
    pub records: HubRecords,
}

/// Escalations by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct HubEscalations {
    /// Not answered yet.
    pub open: u64,
    /// Answered, not yet on the device.
    pub answered: u64,
    /// The device has the answer.
    pub delivered: u64,
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct HubRecords {
    /// Applied.
    pub applied: u64,
    /// Sent again, and known already.
    pub repeated: u64,
}
