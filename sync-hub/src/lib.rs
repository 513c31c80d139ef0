//! The hub: devices connect here, deliver what they decided, and get answers back.
//!
//! * [`cli`]: the commands of `landfall-hub`.
//! * [`hub`]: puts the parts together and runs them until told to stop.
//! * [`endpoint`]: the MQTT 3.1.1 endpoint that devices connect to, over mutual TLS.
//! * [`broker`]: an external MQTT broker in its place.
//! * [`exchange`]: what is said over either, and in which order.
//! * [`alarms`]: what a person should look at, told and kept.
//! * [`database`]: SQLite or PostgreSQL; one writing thread that commits in groups, readers beside it.
//! * [`identity`]: the hub's own certificate authority and what it issues.
//! * [`courier`]: parcels of devices without a link.
//! * [`releases`]: releases of model packages, kept, handed out and rolled out.
//! * [`rules`]: rules that devices decide by before their model.
//! * [`desk`]: asks stronger models and ticket systems, and sends what people agreed on.
//! * [`web`]: JSON API and pages.
//! * [`labels`]: answers as labelled data.
//! * [`password`]: passwords of accounts, hashed.
//!
//! Decisions are taken in `landfall-hub-core`, which does no I/O. Invariants held here:
//! * what a device is told is committed, is committed and synced, then told;
//! * a record is applied once, whatever is sent again: its high-water mark moves in the same
//!   transaction;
//! * what one connection does, sends or breaks is noticed by no other.

pub mod alarms;
pub mod broker;
pub mod cli;
pub mod courier;
pub mod database;
pub mod desk;
pub mod endpoint;
pub mod exchange;
pub mod hub;
pub mod identity;
pub mod labels;
pub mod password;
pub mod releases;
mod retention;
pub mod rules;
pub mod web;
