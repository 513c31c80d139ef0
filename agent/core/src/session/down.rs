//! What the hub's stream for this device holds.

use landfall_wire::directive::Directive;
use landfall_wire::frame::Position;
use landfall_wire::record::{Answer, Record, Refusal};

/// What came from the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownBatch {
    /// The mark that it reaches.
    pub mark: Position,
    /// The records, in order.
    pub arrived: Vec<Arrived>,
    /// Records before them that the hub no longer has.
    pub gone: u64,
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// A record of the hub, for this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its number in the hub's stream.
    pub seq: u64,
    /// What it says.
    pub down: Down,
}

/// What a record of the hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// An answer to an escalation.
    Answer(Answer),
    /// The hub has set a record of this device aside.
    Refusal(Refusal),
    /// What the hub wants, until it says otherwise.
    Directive(Directive),
    /// A kind of record that only a newer agent knows, or one of another stream: the mark still
    /// moves past it.
    Unreadable,
}

impl Down {
    pub(super) fn read(bytes: &[u8]) -> Down {
        match Record::decode(bytes) {
            Ok(Record::Answer(answer)) => Down::Answer(answer),
            Ok(Record::Refusal(refusal)) => Down::Refusal(refusal),
            Ok(Record::Directive(directive)) => Down::Directive(directive),
            Ok(
                Record::Outcome(_)
                | Record::Escalation(_)
                | Record::Event(_)
                | Record::Loss(_)
                | Record::Withheld(_),
            )
            | Err(_) => Down::Unreadable,
        }
    }
}
