//! Decides on the device, records, and syncs with the hub.
//!
//! * [`config`]: the TOML file, checked as a whole.
//! * [`pipeline`]: guard, rules, model, decision, record, reply.
//! * [`http`], [`spool`], [`cli`]: the three intakes; [`input`] and [`bulk`] are what the last
//!   two share.
//! * [`store`]: durable streams with cursors; [`queue`] shows what they hold.
//! * [`clock`]: what time it is.
//! * [`courier`]: the same streams as files, where there is no link.
//! * [`release`]: model packages that the hub rolls out.
//! * [`link`]: the ways to the hub, and what of them may be used; [`sync`]: the connection to it.
//! * [`reporting`]: which outcomes travel, as the hub asks, and sketches of the others.
//! * [`rules`]: rules that the hub gives.
//! * [`service`]: starts and stops them in order.
//!
//! Decisions themselves live in `landfall-agent-core`; this crate acts on them.

pub mod bulk;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courier;
pub mod http;
pub mod input;
pub mod link;
pub mod metrics;
pub mod pipeline;
pub mod queue;
pub mod release;
pub mod reporting;
pub mod rules;
pub mod service;
pub mod spool;
mod stamp;
pub mod store;
pub mod sync;

/// Version of the agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
