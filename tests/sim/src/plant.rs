//! Faults planted into the simulated shells, to show that the simulator finds them. The cores
//! under test have no such switches.

/// A mistake that a shell could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// The hub acknowledges a batch when it has queued it, not when it is committed.
    HubAcksBeforeCommit,
    /// The device acknowledges answers before it has written them.
    DeviceAcksBeforeWrite,
    /// A commit of the device returns before the disk has it.
    SyncSkipped,
    /// A commit is visible to the sender before the disk has it; callers wait for the disk.
    SendsBeforeDurable,
    /// A store that is replaced gets the epoch of the one before.
    EpochReused,
    /// The hub's mark is one too high.
    CursorOffByOne,
    /// The hub applies what it knows already.
    NoDeduplication,
    /// The hub takes a batch whose predecessor is missing.
    MarkNotContiguous,
    /// The hub forgets to write a gap down.
    GapForgotten,
    /// The device does not tell the hub what it dropped.
    LossForgotten,
    /// The device gives space back before the hub has what was there.
    RemovedTooEarly,
    /// The device subscribes once, not on every connection.
    NotResubscribed,
    /// The hub takes a second answer to a question.
    AnsweredTwice,
    /// The device never looks whether a stall is over.
    NoResend,
    /// The device takes any mark of the hub for its own: an old image goes unnoticed.
    OldImageUnnoticed,
    /// The hub takes any mark of a device for its own: an old copy goes unnoticed.
    OldCopyUnnoticed,
    /// The device forgets which requests it has answered.
    RetryForgotten,
    /// The device takes its file for all there was, whatever its witness says.
    WitnessIgnored,
    /// The device acknowledges a refusal and does not keep it.
    RefusalForgotten,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 19] = [
        Plant::HubAcksBeforeCommit,
        Plant::DeviceAcksBeforeWrite,
        Plant::SyncSkipped,
        Plant::SendsBeforeDurable,
        Plant::EpochReused,
        Plant::CursorOffByOne,
        Plant::NoDeduplication,
        Plant::MarkNotContiguous,
        Plant::GapForgotten,
        Plant::LossForgotten,
        Plant::RemovedTooEarly,
        Plant::NotResubscribed,
        Plant::AnsweredTwice,
        Plant::NoResend,
        Plant::OldImageUnnoticed,
        Plant::OldCopyUnnoticed,
        Plant::RetryForgotten,
        Plant::WitnessIgnored,
        Plant::RefusalForgotten,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Plant::HubAcksBeforeCommit => "hub-acks-before-commit",
            Plant::DeviceAcksBeforeWrite => "device-acks-before-write",
            Plant::SyncSkipped => "sync-skipped",
            Plant::SendsBeforeDurable => "sends-before-durable",
            Plant::EpochReused => "epoch-reused",
            Plant::CursorOffByOne => "cursor-off-by-one",
            Plant::NoDeduplication => "no-deduplication",
            Plant::MarkNotContiguous => "mark-not-contiguous",
            Plant::GapForgotten => "gap-forgotten",
            Plant::LossForgotten => "loss-forgotten",
            Plant::RemovedTooEarly => "removed-too-early",
            Plant::NotResubscribed => "not-resubscribed",
            Plant::AnsweredTwice => "answered-twice",
            Plant::NoResend => "no-resend",
            Plant::OldImageUnnoticed => "old-image-unnoticed",
            Plant::OldCopyUnnoticed => "old-copy-unnoticed",
            Plant::RetryForgotten => "retry-forgotten",
            Plant::WitnessIgnored => "witness-ignored",
            Plant::RefusalForgotten => "refusal-forgotten",
        }
    }

    /// By its name.
    pub fn find(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name)
    }
}
