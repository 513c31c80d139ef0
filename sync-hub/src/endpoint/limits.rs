//! What one connection may cost, with the reason for each number; what is said over it costs
//! what [`crate::exchange::limits`] allows.

use std::time::Duration;

/// From accepting a connection to its CONNECT packet: three round trips of TLS and one of MQTT
/// on a loaded satellite link, several times over.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// Connections that have not proved who they are; each costs a TLS handshake and a socket.
pub const HANDSHAKES_MAX: usize = 256;

/// Connections in all: as many devices as any one hub is meant for, each with one; a takeover needs
/// a second for a moment. Each costs a file descriptor, of which the unit allows 65,536.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Size of a CONNECT packet in bytes: names and flags, nothing else.
pub const CONNECT_BYTES_MAX: usize = 1024;

/// Keep-alive where the device asks for none; nobody is believed alive for longer.
pub const KEEP_ALIVE_SECS_MAX: u16 = 1200;

/// Bytes that wait to be sent to one device; then reading from it stops, since every packet
/// read adds an acknowledgement.
pub const OUTPUT_BYTES_MAX: usize = 512 * 1024;

/// A device that takes nothing for this long while something waits for it is gone.
pub const OUTPUT_STALL_MAX: Duration = Duration::from_secs(60);

/// What a closing connection may still take to say goodbye.
pub const GOODBYE_MAX: Duration = Duration::from_secs(1);
