//! What `tests/hub` shows, on PostgreSQL. Where there is no server it says so and uses files.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail loudly and say why on standard error"
)]
#![expect(dead_code, reason = "what does not touch the database is shown by `tests/hub`")]

const POSTGRES: bool = true;

#[path = "hub/alarms.rs"]
mod alarms;
#[path = "hub/answers.rs"]
mod answers;
#[path = "hub/audit.rs"]
mod audit;
#[path = "hub/client.rs"]
mod client;
#[path = "hub/desk.rs"]
mod desk;
#[path = "hub/double.rs"]
mod double;
#[path = "hub/fleet.rs"]
mod fleet;
#[path = "hub/hubs.rs"]
mod hubs;
#[path = "hub/identity.rs"]
mod identity;
#[path = "hub/ingest.rs"]
mod ingest;
#[path = "hub/process.rs"]
mod process;
