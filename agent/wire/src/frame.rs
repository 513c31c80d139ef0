//! One MQTT payload.
//!
//! ```text
//! offset  size  field
//! 0       1     version, 1 or 2
//! 1       1     flags: bit 0 = body is zstd; all others zero
//! 2       4     CRC-32 (IEEE) of the rest as sent, little endian
//! 6       ..    version 1: the body, a postcard-encoded Frame
//! 6       1     version 2: number of a primer
//! 7       ..    version 2: the body; the records of a batch are replaced by their count (postcard)
//!               and follow it, coded
//! ```
//! Version 2 is for sides that code records ([`crate::coding`]). In a greeting, either way, the
//! number is the newest primer that its sender knows, in a batch the one it is coded with. A device
//! greets in version 2 and a hub replies in the version it was greeted in: each side then knows
//! what the other reads. Acknowledgements are the same in both and travel in version 1. A hub reads
//! devices of both versions, so hubs are updated first.
//!
//! TLS protects the link; the checksum catches what a broker, a proxy or a file did to it.

use crate::coding::{self, CodingError, Primer};
use crate::id::Epoch;
use crate::limits::{
    BATCH_RECORDS_MAX, BODY_BYTES_MAX, COMPRESS_BYTES_MIN, FRAME_BYTES_MAX, GREETING_STREAMS_MAX,
    RECORD_BYTES_MAX,
};
use crate::record::StreamId;
use serde::{Deserialize, Serialize};

/// Version byte of frames that every side reads.
pub const VERSION: u8 = 1;
/// Version byte of greetings of a side that codes records, and of coded batches.
pub const VERSION_CODED: u8 = 2;
const FLAG_ZSTD: u8 = 1;
/// How postcard writes the variant [`Frame::Batch`].
const BATCH_VARIANT: u8 = 2;
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
        "frame version {0} is not supported, this side speaks up to {VERSION_CODED}: \
         update the older side"
    )]
    Version(u8),
    /// Coded with a primer that this version does not have.
    #[error("records are coded with primer {0}, which is not known: update the older side")]
    Primer(u8),
    /// The coded records of a batch cannot be read.
    #[error("frame body is malformed: {0}")]
    Coding(#[from] CodingError),
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

/// A batch without its records, in version 2, after [`BATCH_VARIANT`].
#[derive(Serialize, Deserialize)]
struct CodedHead {
    stream: StreamId,
    epoch: Epoch,
    floor: u64,
    first: u64,
    count: u64,
}

/// What a payload says, and of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The frame.
    pub frame: Frame,
    /// The newest primer that its sender and this side know, if it codes records: what to send it
    /// batches with. Of a batch, the one that it was coded with.
    pub primer: Option<Primer>,
}

impl Received {
    /// Decodes a payload. Never panics; allocates at most about twice [`BODY_BYTES_MAX`].
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not one whole frame of a known version.
    pub fn decode(payload: &[u8]) -> Result<Received, FrameError> {
        if payload.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLarge { bytes_max: FRAME_BYTES_MAX });
        }
        let (header, body) = payload
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(FrameError::TooShort(payload.len()))?;
        let [version, flags, crc @ ..] = *header;
        if ![VERSION, VERSION_CODED].contains(&version) {
            return Err(FrameError::Version(version));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(crc) {
            return Err(FrameError::Checksum);
        }
        let received = match (version, flags) {
            (VERSION, 0) => Received { frame: from_body(body)?, primer: None },
            (VERSION, FLAG_ZSTD) => {
                Received { frame: from_body(&decompress(body)?)?, primer: None }
            }
            (VERSION_CODED, 0) => decode_coded(body)?,
            (_, other) => return Err(FrameError::Flags(other)),
        };
        received.frame.check()?;
        Ok(received)
    }
}

impl Frame {
    /// Encodes a frame for a side that is not known to code records, compressing the body where
    /// that makes it smaller.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] or [`FrameError::TooMany`]: the caller built too large a batch.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        self.check()?;
        let body = to_body(self)?;
        let packed = if body.len() < COMPRESS_BYTES_MIN {
            None
        } else {
            zstd::bulk::compress(&body, ZSTD_LEVEL).ok().filter(|packed| packed.len() < body.len())
        };
        match packed {
            Some(packed) => framed(VERSION, FLAG_ZSTD, &[&packed]),
            None => framed(VERSION, 0, &[&body]),
        }
    }

    /// Encodes a frame for a side that codes records; greetings and batches are in version 2.
    /// `primer` is what the receiver of a batch knows.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn encode_coded(&self, primer: Primer) -> Result<Vec<u8>, FrameError> {
        self.check()?;
        match self {
            Frame::Batch(batch) => {
                let Batch { stream, epoch, floor, first, ref records } = *batch;
                if records.iter().map(Vec::len).sum::<usize>() > BODY_BYTES_MAX {
                    return Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX });
                }
                let count = records.len() as u64;
                let head = to_body(&CodedHead { stream, epoch, floor, first, count })?;
                let records = coding::encode(records, primer);
                framed(VERSION_CODED, 0, &[&[primer.number(), BATCH_VARIANT], &head, &records])
            }
            Frame::Hello(_) | Frame::Welcome(_) => {
                framed(VERSION_CODED, 0, &[&[Primer::NEWEST.number()], &to_body(self)?])
            }
            Frame::Ack(_) | Frame::RollCall => self.encode(),
        }
    }

    /// Encodes a frame for the other side, of which [`Received::primer`] told what it reads.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn encode_for(&self, primer: Option<Primer>) -> Result<Vec<u8>, FrameError> {
        match primer {
            Some(primer) => self.encode_coded(primer),
            None => self.encode(),
        }
    }

    /// Decodes a payload, whoever sent it.
    ///
    /// # Errors
    /// As [`Received::decode`].
    pub fn decode(payload: &[u8]) -> Result<Frame, FrameError> {
        Received::decode(payload).map(|received| received.frame)
    }

    /// That the limits hold.
    fn check(&self) -> Result<(), FrameError> {
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

/// The body of a frame of version 2, from the primer's number on.
fn decode_coded(body: &[u8]) -> Result<Received, FrameError> {
    let (&number, body) = body.split_first().ok_or(FrameError::TooShort(HEADER_BYTES))?;
    let Some((&BATCH_VARIANT, batch)) = body.split_first() else {
        let frame = from_body(body)?;
        return Ok(Received { frame, primer: Some(Primer::at_most(number)) });
    };
    let primer = Primer::of(number).ok_or(FrameError::Primer(number))?;
    let (head, records) = postcard::take_from_bytes::<CodedHead>(batch).map_err(malformed)?;
    let count = usize::try_from(head.count).unwrap_or(usize::MAX);
    if count > BATCH_RECORDS_MAX {
        return Err(FrameError::TooMany("records"));
    }
    let records = coding::decode(records, count, primer)?;
    let CodedHead { stream, epoch, floor, first, .. } = head;
    let frame = Frame::Batch(Batch { stream, epoch, floor, first, records });
    Ok(Received { frame, primer: Some(primer) })
}

fn framed(version: u8, flags: u8, parts: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
    let body = parts.concat();
    if HEADER_BYTES + body.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes_max: FRAME_BYTES_MAX });
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend([version, flags]);
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    Ok(frame)
}

fn to_body(value: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_stdvec(value).map_err(malformed)?;
    match body.len() {
        0..=BODY_BYTES_MAX => Ok(body),
        _ => Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX }),
    }
}

fn from_body(body: &[u8]) -> Result<Frame, FrameError> {
    let (frame, rest) = postcard::take_from_bytes(body).map_err(malformed)?;
    if !rest.is_empty() {
        return Err(FrameError::Malformed(format!("{} bytes too many", rest.len())));
    }
    Ok(frame)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: postcard::Error) -> FrameError {
    FrameError::Malformed(error.to_string())
}
