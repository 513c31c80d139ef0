//! Every bound of the wire format, with the reason for its number.

/// Longest device name in bytes: one DNS label, so that it also fits a certificate's CN.
pub const DEVICE_ID_BYTES_MAX: usize = 63;

/// Longest name of a task, label, rule or stream in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest caller-chosen request id in bytes: a UUID, a URN or a work-order number fits.
pub const CALLER_ID_BYTES_MAX: usize = 128;

/// Largest encoded record in bytes. The device's store is only proven durable for values of
/// at most 4 kB (see the store's module docs), and 96 bytes are left for its header.
pub const RECORD_BYTES_MAX: usize = 4000;

/// Longest text that a record carries, in bytes. Longer text is cut at a character boundary
/// and its full length is recorded; a work order's short text has 40, its long text a few hundred.
pub const RECORD_TEXT_BYTES_MAX: usize = 2048;

/// Most bytes of labels and values of extracted fields in one record.
pub const RECORD_FIELDS_BYTES_MAX: usize = 1024;

/// Most bytes of metadata keys and values in one record.
pub const RECORD_META_BYTES_MAX: usize = 512;

/// Most records in one batch: bounds the work of one database transaction.
pub const BATCH_RECORDS_MAX: usize = 1024;

/// Largest frame in bytes, and so the largest MQTT payload. Both MQTT ends set their packet
/// limit above it, or the crate's default of 10 kB would drop the connection.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// MQTT packet limit in bytes: one frame plus topic and headers.
pub const PACKET_BYTES_MAX: usize = FRAME_BYTES_MAX + 1024;

/// Largest frame body after decompression in bytes: stops a small frame from filling memory.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Bodies below this many bytes are sent as they are: zstd would make them larger.
pub const COMPRESS_BYTES_MIN: usize = 128;

/// Most stream positions in one greeting: a device has three streams in its current epoch and
/// as many for each damaged store that it still salvages.
pub const GREETING_STREAMS_MAX: usize = 64;
