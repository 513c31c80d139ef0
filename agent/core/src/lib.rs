//! Pure decisions of the device: what to answer, what to ask the hub, what may leave.
//!
//! A request passes `guard -> rules -> (model, run by the shell) -> decide -> redact`, all of it
//! behind [`task::TaskPolicy`]:
//!
//! * [`request`]: what is asked, and what a model saw.
//! * [`guard`]: input that is refused unread, or never leaves.
//! * [`rules`]: the site's deterministic decisions.
//! * [`calibrate`]: which answers of a model are good enough, and what that promises.
//! * [`pattern`], [`words`]: what rules and guard look for.
//! * [`judgement`]: what was decided, with positions instead of text.
//! * [`redact`]: what may leave the device, masked.
//! * [`reply`]: what the caller gets; [`report`]: which outcomes travel, and sketches of the others.
//! * [`task`]: one task's whole path; [`replay`]: whether it comes out again as it did.
//!
//! [`clock`]: what time it is, on a box that may not know.
//!
//! What must not be lost is kept by [`store`]: streams of records, tickets and replies on any
//! [`store::Medium`]; [`verify`] says whether it is whole. [`link`] says which way to the hub may be
//! used, when and how much of it, and [`session`] is a state machine for one connection.
//! Which model packages run is decided in [`release`].
//!
//! Invariants: no text makes it panic, and its work is linear in the text; the same request,
//! model view and draw give the same judgement; nothing of a text that the guard refused, and
//! nothing that a site did not allow by name, is in a record.
//!
//! Not here: sockets, disks, clocks, randomness, models. They are values that the shell passes,
//! or, for the disk, an implementation of two traits.

pub mod clock;
mod decide;
pub mod guard;
pub mod judgement;
pub mod link;
pub mod pattern;
pub mod redact;
pub mod release;
pub mod replay;
pub mod reply;
pub mod report;
pub mod request;
pub mod rules;
pub mod session;
pub mod store;
pub mod task;
pub mod verify;
pub mod words;

pub use landfall_calibration as calibrate;
