//! What must hold after every step, and what must have come about at the end.

/// A promise of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What a caller was told is recorded reaches the hub, or a loss record tells of it.
    ToldIsKept,
    /// No record, and no caller's request, is applied twice.
    AppliedOnce,
    /// The hub applies a stream in its order.
    OrderKept,
    /// Every number below the hub's mark is applied, or a loss is on record.
    GapsRecorded,
    /// Nothing is lost without a fault that explains it.
    LossHasCause,
    /// A device sends only what its disk would give back after a power cut.
    DurableBeforeSend,
    /// Neither side acknowledges what it has not committed.
    CommittedBeforeAck,
    /// A number of an epoch never names two records.
    NumberUsedOnce,
    /// A ticket is answered once or expires once, is delivered once, and never goes back.
    TicketEndsOnce,
    /// An answer reaches the question that it was given to.
    AnswerFitsQuestion,
    /// What the hub holds for delivered is on the device.
    DeliveredIsThere,
    /// A record that the hub set aside is known as such on its device, or sent once more.
    RefusedIsKnown,
    /// A store stays within its limit on disk.
    DiskWithinLimit,
    /// What is in flight and what waits stays within its limits.
    MemoryWithinLimit,
    /// When all faults are over, everything drains: streams, answers, tickets.
    Drains,
    /// No part panics.
    NoPanic,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Invariant; 16] = [
        Invariant::ToldIsKept,
        Invariant::AppliedOnce,
        Invariant::OrderKept,
        Invariant::GapsRecorded,
        Invariant::LossHasCause,
        Invariant::DurableBeforeSend,
        Invariant::CommittedBeforeAck,
        Invariant::NumberUsedOnce,
        Invariant::TicketEndsOnce,
        Invariant::AnswerFitsQuestion,
        Invariant::DeliveredIsThere,
        Invariant::RefusedIsKnown,
        Invariant::DiskWithinLimit,
        Invariant::MemoryWithinLimit,
        Invariant::Drains,
        Invariant::NoPanic,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Invariant::ToldIsKept => "told-is-kept",
            Invariant::AppliedOnce => "applied-once",
            Invariant::OrderKept => "order-kept",
            Invariant::GapsRecorded => "gaps-recorded",
            Invariant::LossHasCause => "loss-has-cause",
            Invariant::DurableBeforeSend => "durable-before-send",
            Invariant::CommittedBeforeAck => "committed-before-ack",
            Invariant::NumberUsedOnce => "number-used-once",
            Invariant::TicketEndsOnce => "ticket-ends-once",
            Invariant::AnswerFitsQuestion => "answer-fits-question",
            Invariant::DeliveredIsThere => "delivered-is-there",
            Invariant::RefusedIsKnown => "refused-is-known",
            Invariant::DiskWithinLimit => "disk-within-limit",
            Invariant::MemoryWithinLimit => "memory-within-limit",
            Invariant::Drains => "drains",
            Invariant::NoPanic => "no-panic",
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.detail)
    }
}
