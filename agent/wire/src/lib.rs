//! What travels between a device and the hub: records, frames, topics, and the
//! reliable stream that both directions share.
//!
//! * [`backoff`]: how long to wait before connecting again.
//! * [`chain`]: what proves a log of outcomes complete and unaltered.
//! * [`coding`]: records in as few bytes as possible.
//! * [`directive`]: what the hub wants of a device.
//! * [`enroll`], [`token`]: how a device gets its first certificate.
//! * [`link`]: what a device tells of its link.
//! * [`record`]: the things worth keeping: decisions, questions, answers, events, losses, refusals,
//!   directives, and what stands for an outcome that stays on the device.
//! * [`frame`]: how records are packed into one MQTT payload, with version, checksum and limits.
//! * [`release`]: what a device is to run, and what became of it.
//! * [`rules`]: rules that the hub gives, and what became of them.
//! * [`sketch`]: outcomes of a day in a few hundred bytes.
//! * [`stream`]: who sends what again, and what a receiver may apply.
//! * [`topic`]: the two topics of a device.
//! * [`id`]: names and numbers, checked once when they are parsed.
//! * [`limits`]: every bound, with its reason.
//!
//! Invariants: decoding never panics and never allocates more than
//! [`limits::BODY_BYTES_MAX`] for one frame; a record has one identity, (device, epoch,
//! stream, sequence), and applying it twice has no effect.
//!
//! Not here: sockets, clocks, randomness, disks. Everything is a value or a state machine
//! that is told the time.

pub mod backoff;
pub mod chain;
pub mod coding;
pub mod directive;
pub mod enroll;
pub mod frame;
pub mod id;
pub mod limits;
pub mod link;
pub mod record;
pub mod release;
pub mod rules;
pub mod sketch;
pub mod stream;
pub mod token;
pub mod topic;
