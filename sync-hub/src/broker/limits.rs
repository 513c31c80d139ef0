//! What a broker may cost the hub, with the reason for each number.

use std::time::Duration;

/// Devices that are heard at once: as many as any one hub is meant for; each costs a task.
pub const SEATS_MAX: usize = 16_384;

/// Bytes of frames that wait for their turn, of all devices: a frame that finds no room is
/// dropped and counted, its device sends it again. Reading cannot wait instead: it goes with
/// sending, which makes room.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same of one device: four windows of an agent. Beyond is one that keeps to none.
pub const DEVICE_BYTES_MAX: usize = 1024 * 1024;

/// What a waiting frame costs beside its bytes.
pub const FRAME_COST_BYTES: usize = 256;

/// Frames of all devices that wait to be sent, and in the MQTT client at once. More only wait
/// longer.
pub const OUTGOING_MAX: usize = 256;

/// Events of the MQTT client that wait to be looked at; then it stops reading.
pub const EVENTS_MAX: usize = 64;

/// Silence after which a device is called: its own keep-alive with the broker is not heard here.
/// A call and its answer are some 400 bytes on the device's link.
pub const CALL_AFTER: Duration = Duration::from_secs(600);

/// Silence after which a device counts as offline: a call went unanswered for as long as any
/// link takes.
pub const SILENCE_MAX: Duration = Duration::from_secs(720);

/// A device that sends without having greeted this hub is called this often.
pub const CALL_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A device that is not let in, or sends nonsense, is not listened to for this long: over a
/// broker it cannot be disconnected.
pub const DEAF_FOR: Duration = Duration::from_secs(60);

/// After a failed commit (a full disk), a device is not listened to for this long.
pub const REST_FOR: Duration = Duration::from_secs(5);

/// The broker is near: a ping that takes longer than this was lost.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Time for TCP, TLS, CONNECT and each flush.
pub const CONNECTION_TIMEOUT_SECS: u64 = 15;

/// Pauses before connecting again: devices wait for the hub, not the other way round.
pub const RETRY_MIN_MS: u64 = 250;
/// See [`RETRY_MIN_MS`].
pub const RETRY_MAX_MS: u64 = 15_000;

/// What a stopping hub allows for the last words.
pub const GOODBYE_MAX: Duration = Duration::from_secs(3);
