//! The demo, and what the end-to-end tests share with it: the real agent and hub as processes,
//! links that can be cut, clients of the two interfaces.
//!
//! * [`node`]: agent and hub as processes of this very executable.
//! * [`site`]: a hub and its devices in one directory, set up as a technician would.
//! * [`link`]: a link between them that counts bytes and can be cut.
//! * [`mosquitto`]: a broker between them.
//! * [`tunnel`]: a link between network namespaces that delays, loses and forgets.
//! * [`client`], [`api`]: the HTTP interfaces as a program outside sees them.
//! * [`caller`]: asks a device until it is told.
//! * [`load`]: callers that ask one thing after the other.
//! * [`faults`]: power cuts, damage, full disks and more, and what came of them.
//! * [`mod@bench`]: speed, as a ratio to something known that is measured in the same run.
//! * [`moments`]: random moments that can be repeated.
//! * [`results`]: what was measured, in `tests/RESULTS.md`.
//! * [`input`]: work orders, the project's own or anybody's.
//! * [`demo`]: the main job in one command.
//! * [`wait`]: waiting for a condition.

pub mod api;
pub mod bench;
pub mod caller;
pub mod client;
pub mod demo;
pub mod faults;
pub mod input;
pub mod link;
pub mod load;
pub mod moments;
pub mod month;
pub mod mosquitto;
pub mod node;
pub mod results;
pub mod site;
pub mod tunnel;
pub mod wait;
