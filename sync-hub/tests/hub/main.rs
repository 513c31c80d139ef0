//! The real binary, with real TLS, certificates, database files and clients.

mod answers;
mod client;
mod identity;
mod ingest;
mod process;
mod security;
mod web;
