//! What the hub decides, without doing it.
//!
//! * [`ingest`]: what to do with a batch, given the mark: rows, a gap, the new mark.
//! * [`ledger`]: what a batch, a greeting and an answer change, within one transaction.
//! * [`session`]: one device's connection as a state machine: greeting, acknowledgements,
//!   sending answers in a window.
//! * [`desk`]: the life of an escalation, who is asked, and the check of an answer.
//! * [`account`]: who may do what, and how often a password may be guessed.
//! * [`quality`]: shares with their intervals, and drift.
//! * [`audit`]: whether a log of outcomes is complete and unaltered.
//! * [`rollout`]: which device gets a release next, and what halts it.
//! * [`fleet`]: figures derived from what is stored.
//!
//! Invariants:
//! * nothing is acknowledged before the shell says that it is committed;
//! * every record of a batch below the new mark is applied, rejected with its bytes kept, or
//!   known already; a range that never comes is a gap;
//! * an escalation never goes back to an earlier state.
//!
//! Not here: sockets, databases, clocks, randomness. Time is given in milliseconds.

pub mod account;
pub mod audit;
pub mod desk;
pub mod fleet;
pub mod ingest;
pub mod ledger;
pub mod quality;
pub mod rollout;
pub mod session;
