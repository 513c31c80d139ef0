//! What one conversation may cost, with the reason for each number.

use std::time::Duration;

/// Frames of one device that wait for their commit; then no more of it are taken.
pub const PENDING_MAX: usize = 64;

/// Decoded bytes of all devices that wait for their commit; then reading stops.
pub const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Payloads of one device that are no frames, within [`MALFORMED_WINDOW`]: damage on the
/// way is rare, a device that goes on has a fault or an intent.
pub const MALFORMED_MAX: u32 = 16;

/// See [`MALFORMED_MAX`].
pub const MALFORMED_WINDOW: Duration = Duration::from_secs(60);
