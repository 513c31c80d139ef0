//! Devices and a hub on one seed, with everything that can go wrong between them.

mod book;
mod caller;
mod campaign;
mod check;
mod device;
mod disk;
mod fault;
mod hub;
mod invariant;
mod ledger;
mod mischief;
mod net;
mod plan;
mod plant;
mod rng;
mod world;

pub use campaign::{Account, Failure, campaign, run_caught};
pub use fault::{Counts, Fault};
pub use invariant::{Invariant, Violation};
pub use plant::Plant;
pub use world::{Options, Outcome, run};
