//! The real binary, with real TLS, certificates, database files and clients.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail loudly and say why on standard error"
)]

/// See `tests/hub-postgres.rs`.
const POSTGRES: bool = false;

mod accounts;
mod alarms;
mod answers;
mod audit;
mod client;
mod desk;
mod double;
mod fleet;
mod hubs;
mod identity;
mod ingest;
mod process;
mod security;
mod web;
