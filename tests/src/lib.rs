//! The demo, and what the end-to-end tests share with it: the real agent and hub as processes,
//! links that can be cut, clients of the two interfaces.
//!
//! * [`node`]: agent and hub as processes of this very executable.
//! * [`site`]: a hub and its devices in one directory, set up as a technician would.
//! * [`link`]: a link between them that counts bytes and can be cut.
//! * [`client`], [`api`]: the HTTP interfaces as a program outside sees them.
//! * [`caller`]: asks a device until it is told.
//! * [`input`]: work orders, the project's own or anybody's.
//! * [`demo`]: the main job in one command.
//! * [`wait`]: waiting for a condition.

pub mod api;
pub mod caller;
pub mod client;
pub mod demo;
pub mod input;
pub mod link;
pub mod node;
pub mod site;
pub mod wait;
