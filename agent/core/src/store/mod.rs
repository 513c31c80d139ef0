//! The device's durable store: streams of records for the hub, tickets, and what was replied to
//! callers, on a [`Medium`] that a shell provides (sled on a device, memory with faults in the
//! simulator).
//!
//! A generation is one [`Table`]; the newest is written to, the oldest removed when it is
//! finished. [`Engine`] is the one that writes; [`Shared`] is for everyone who reads.
//!
//! Records that one commit adds to a stream share values (see `value`), and are read one by one all
//! the same (see `run`): what a storage engine costs is by the value.
//!
//! Invariants, as long as a table's commit is atomic and durable:
//! * what was acknowledged is durable. A decision, its escalation, its ticket and its retry key
//!   are one atomic write; so are answers and directives of the hub with the mark that they
//!   reach;
//! * what the hub refused is kept, within a limit, and can be sent once more (see `refused`);
//! * a sequence number of an epoch is used once. Every commit writes the positions, and an
//!   acknowledged floor is durable before what lies below it is deleted;
//! * what the hub has is kept for audit within named limits, and goes first when room is needed;
//! * deleted is only what the hub has, or what a loss record tells of;
//! * what was durable and is not there any more is noticed, whatever the tables say (see
//!   `witness`);
//! * damage is never fatal: what is damaged is set aside, what can be read is delivered under
//!   its old epoch and number, new records get a new epoch, and the hub is told (see `load`);
//! * a store restored from an old image loses nothing that was written since: those records go
//!   on in a new epoch (see `rollback`);
//! * after a failed write nothing is written until the tables were opened again;
//! * memory is bounded by the number of generations, not by the backlog;
//! * the outcomes of an epoch form a hash chain, of which the hub is told (see `chain`);
//! * a time to live counts the time this store was open, never the wall clock.
//!
//! Not here: files, threads, clocks, randomness; what a record means, and when to send it.

mod chain;
mod config;
mod draft;
mod engine;
mod error;
mod generation;
mod journal;
mod keys;
mod load;
mod look;
mod medium;
mod meta;
mod ops;
mod pack;
mod refused;
mod rollback;
mod run;
mod salvage;
mod standing;
mod state;
mod ticket;
mod types;
mod upkeep;
mod value;
mod witness;

#[cfg(test)]
mod tests;

pub use config::{
    BALLAST_BYTES, BYTES_MIN, CACHE_BYTES, DAY_MS, GENERATION_BYTES_MAX, GENERATION_RECORDS_MAX,
    GROUP_RECORDS_ENOUGH, GROUP_RECORDS_MAX, GROUP_WAIT, JOURNAL_BYTES_MAX, JOURNAL_DAYS,
    RESERVE_BYTES, RETRY_WINDOW_OUTCOMES, StoreConfig, WhenFull,
};
pub use engine::{Engine, News};
pub use error::StoreError;
pub use journal::{HeldOutcome, OUTCOMES_READ_MAX, OutcomeId};
pub use medium::{Changes, Medium, Notice, Pair, Table, TableError};
pub use ops::{Op, Reply};
pub use refused::{REFUSED_MAX, Refused, RefusedId, Resent};
pub use standing::{DIRECTIVES_MAX, Standing};
pub use state::{Failed, Shared};
pub use types::{
    CallerKey, Chunk, Committed, Kept, Opened, Recall, StoreStatus, StreamStatus, TicketState,
    TicketStatus,
};
pub use value::{PACK_RECORDS_MAX, VALUE_BYTES_MAX, carve_and_check, sealed_records};
