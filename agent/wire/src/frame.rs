//! One MQTT payload.
//!
//! ```text
//! offset  size  field
//! 0       1     version, 1
//! 1       1     flags: bit 0 = body is zstd; all others zero
//! 2       4     CRC-32 (IEEE) of the body as sent, little endian
//! 6       ..    body: a postcard-encoded Frame
//! ```
//! TLS protects the link; the checksum catches what a broker, a proxy or a file did to it.

use crate::id::Epoch;
use crate::limits::{
    BATCH_RECORDS_MAX, BODY_BYTES_MAX, COMPRESS_BYTES_MIN, FRAME_BYTES_MAX, GREETING_STREAMS_MAX,
    RECORD_BYTES_MAX,
};
use crate::record::StreamId;
use serde::{Deserialize, Serialize};

/// Version byte of every frame.
pub const VERSION: u8 = 1;
const FLAG_ZSTD: u8 = 1;
const HEADER_BYTES: usize = 6;
/// Level 3 is zstd's default: a batch of outcomes takes well under a millisecond.
const ZSTD_LEVEL: i32 = 3;

/// What one payload says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Device to hub, first on every connection.
    Hello(Hello),
    /// Hub to device, the reply to a hello.
    Welcome(Welcome),
    /// Consecutive records of one stream, either way.
    Batch(Batch),
    /// Everything before `next` is committed, either way.
    Ack(Position),
    /// Hub to device over a broker: greet again. The hub has come back, or has long heard
    /// nothing. An agent that does not know it connects again, and so greets.
    RollCall,
}

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which stream.
    pub stream: StreamId,
    /// Which life of its store.
    pub epoch: Epoch,
    /// The first sequence number that is not included.
    pub next: u64,
}

/// Opens a session: where the device stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's version.
    pub version: String,
    /// Wall clock of the device, milliseconds since 1970.
    pub at_ms: u64,
    /// Each up stream with the end of what is durable.
    pub up: Vec<Position>,
    /// How far the device has the answer stream; `None` if it never heard from this hub.
    pub answers: Option<Position>,
}

/// The hub's reply: where to resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Wall clock of the hub, milliseconds since 1970.
    pub at_ms: u64,
    /// For each stream of the hello, the hub's high-water mark.
    pub marks: Vec<Position>,
    /// The end of the hub's answer stream for this device.
    pub answers: Position,
}

/// Consecutive records of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Which stream.
    pub stream: StreamId,
    /// Which life of its store.
    pub epoch: Epoch,
    /// The oldest sequence number that the sender still holds. A receiver whose mark is below
    /// it will never get what lies between.
    pub floor: u64,
    /// Sequence number of the first record.
    pub first: u64,
    /// The records, each encoded with [`crate::record::Record::encode`].
    pub records: Vec<Vec<u8>>,
}

/// Why a payload is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Larger than the limit, before or after decompression.
    #[error("frame is over the limit of {bytes_max} bytes")]
    TooLarge {
        /// The limit it broke.
        bytes_max: usize,
    },
    /// Shorter than a header.
    #[error("frame of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// Another version; the other side is newer or not ours.
    #[error(
        "frame version {0} is not supported, this side speaks {VERSION}: update the older side"
    )]
    Version(u8),
    /// Flag bits that this version does not know.
    #[error("frame flags {0:#04x} are not supported")]
    Flags(u8),
    /// Damaged on the way.
    #[error("frame checksum does not match")]
    Checksum,
    /// The body does not decompress or decode.
    #[error("frame body is malformed: {0}")]
    Malformed(String),
    /// Decodes, but breaks a count limit.
    #[error("frame has too many {0}")]
    TooMany(&'static str),
}

impl Frame {
    /// Encodes a frame, compressing the body where that makes it smaller.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] or [`FrameError::TooMany`]: the caller built too large a batch.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        self.check_counts()?;
        let body = postcard::to_stdvec(self).map_err(|e| FrameError::Malformed(e.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX });
        }
        let packed = if body.len() < COMPRESS_BYTES_MIN {
            None
        } else {
            zstd::bulk::compress(&body, ZSTD_LEVEL).ok().filter(|packed| packed.len() < body.len())
        };
        let (flags, body) = packed.map_or((0, body), |packed| (FLAG_ZSTD, packed));
        if HEADER_BYTES + body.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes_max: FRAME_BYTES_MAX });
        }
        let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
        frame.extend([VERSION, flags]);
        frame.extend(crc32fast::hash(&body).to_le_bytes());
        frame.extend(body);
        Ok(frame)
    }

    /// Decodes a payload. Never panics; allocates at most about twice [`BODY_BYTES_MAX`].
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not one whole frame of this version.
    pub fn decode(payload: &[u8]) -> Result<Frame, FrameError> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes_max: FRAME_BYTES_MAX });
        }
        let (header, body) = payload
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(FrameError::TooShort(payload.len()))?;
        let [version, flags, crc @ ..] = *header;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(crc) {
            return Err(FrameError::Checksum);
        }
        let frame = match flags {
            0 => decode_body(body)?,
            FLAG_ZSTD => decode_body(&decompress(body)?)?,
            other => return Err(FrameError::Flags(other)),
        };
        frame.check_counts()?;
        Ok(frame)
    }

    fn check_counts(&self) -> Result<(), FrameError> {
        match self {
            Frame::Hello(hello) if hello.up.len() > GREETING_STREAMS_MAX => {
                Err(FrameError::TooMany("streams"))
            }
            Frame::Welcome(welcome) if welcome.marks.len() > GREETING_STREAMS_MAX => {
                Err(FrameError::TooMany("streams"))
            }
            Frame::Batch(batch) if batch.records.len() > BATCH_RECORDS_MAX => {
                Err(FrameError::TooMany("records"))
            }
            Frame::Batch(batch) if batch.records.iter().any(|r| r.len() > RECORD_BYTES_MAX) => {
                Err(FrameError::TooLarge { bytes_max: RECORD_BYTES_MAX })
            }
            Frame::Batch(batch)
                if batch.first.checked_add(batch.records.len() as u64).is_none() =>
            {
                Err(FrameError::Malformed("sequence numbers overflow".to_owned()))
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Batch(_)
            | Frame::Ack(_)
            | Frame::RollCall => Ok(()),
        }
    }
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, FrameError> {
    // Grows with what is really there: a forged size in the zstd header reserves nothing.
    let limit = BODY_BYTES_MAX as u64 + 1;
    let mut out = Vec::new();
    let decoder =
        zstd::stream::read::Decoder::new(body).map_err(|e| FrameError::Malformed(e.to_string()))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, limit), &mut out)
        .map_err(|e| FrameError::Malformed(e.to_string()))?;
    if out.len() > BODY_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX });
    }
    Ok(out)
}

fn decode_body(body: &[u8]) -> Result<Frame, FrameError> {
    let (frame, rest) =
        postcard::take_from_bytes(body).map_err(|e| FrameError::Malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(FrameError::Malformed(format!("{} bytes too many", rest.len())));
    }
    Ok(frame)
}
