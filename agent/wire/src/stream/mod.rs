//! The reliable stream, the same in both directions.
//!
//! A [`Sender`] holds numbered, durable records and sends them in a window. A receiver keeps
//! one number per (device, epoch, stream): its high-water mark, the first sequence number that
//! it has not committed. [`receive`] says what to do with a batch; the mark moves in the same
//! transaction as the records, and only then is the new mark acknowledged.
//!
//! Invariants:
//! * a record is applied at most once, in order, however often or in whatever order frames come;
//! * the mark never moves back;
//! * only records known to be durable are sent (else a power cut could reuse a number);
//! * an acknowledgement past what was sent is ignored;
//! * a range that the sender no longer holds is reported as a gap, and never waited for.
//!
//! Not here: bytes, sockets, disks, clocks. Time is monotonic milliseconds, given.

mod receiver;
mod sender;

pub use receiver::{Receipt, receive};
pub use sender::{Acked, Limits, Sender, Window};
