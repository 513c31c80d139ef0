//! Round trips, damage and limits of records and frames.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use landfall_wire::frame::{Batch, Frame, FrameError, Hello, Position, VERSION, Welcome};
use landfall_wire::id::Epoch;
use landfall_wire::limits::{BATCH_RECORDS_MAX, BODY_BYTES_MAX, FRAME_BYTES_MAX, RECORD_BYTES_MAX};
use landfall_wire::record::{Record, RecordError, StreamId};
use proptest::collection::vec;
use proptest::prelude::*;

fn batch(records: Vec<Vec<u8>>) -> Frame {
    let (stream, epoch) = (StreamId::Outcome, Epoch(7));
    Frame::Batch(Batch { stream, epoch, floor: 0, first: 5, records })
}

fn position() -> impl Strategy<Value = Position> {
    let stream = prop_oneof![Just(StreamId::Outcome), Just(StreamId::Answer)];
    (stream, any::<u64>(), any::<u64>()).prop_map(|(stream, epoch, next)| Position {
        stream,
        epoch: Epoch(epoch),
        next,
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let up = vec(position(), 0..5);
    let hello = (".{0,20}", any::<u64>(), up, proptest::option::of(position())).prop_map(
        |(version, at_ms, up, answers)| Frame::Hello(Hello { version, at_ms, up, answers }),
    );
    let welcome = (any::<u64>(), vec(position(), 0..5), position())
        .prop_map(|(at_ms, marks, answers)| Frame::Welcome(Welcome { at_ms, marks, answers }));
    let records = vec(vec(any::<u8>(), 0..300), 0..30);
    let batch = (any::<u64>(), any::<u64>(), 0..u64::MAX / 2, records).prop_map(
        |(epoch, floor, first, records)| {
            let (stream, epoch) = (StreamId::Escalation, Epoch(epoch));
            Frame::Batch(Batch { stream, epoch, floor, first, records })
        },
    );
    prop_oneof![hello, welcome, batch, position().prop_map(Frame::Ack), Just(Frame::RollCall)]
}

proptest! {
    #[test]
    fn records_read_back_what_was_written(record in common::record()) {
        let record = record.fit();
        let bytes = record.encode().expect("a fitted record is within the limit");
        prop_assert!(bytes.len() <= RECORD_BYTES_MAX);
        prop_assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        prop_assert_eq!(record.clone().fit(), record, "fitting twice changes nothing");
    }

    #[test]
    fn frames_read_back_what_was_written(frame in frame()) {
        let bytes = frame.encode().unwrap();
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn noise_never_panics_a_decoder(bytes in vec(any::<u8>(), 0..600)) {
        let _ = Record::decode(&bytes);
        let _ = Frame::decode(&bytes);
        // Past version and checksum, with both kinds of body.
        for flags in [0, 1] {
            let mut framed = vec![VERSION, flags];
            framed.extend(crc32fast::hash(&bytes).to_le_bytes());
            framed.extend(&bytes);
            let _ = Frame::decode(&framed);
        }
    }

    #[test]
    fn one_changed_byte_is_always_noticed(frame in frame(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = frame.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Frame::decode(&bytes).is_err(), "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn a_cut_frame_is_always_noticed(frame in frame(), at in any::<prop::sample::Index>()) {
        let bytes = frame.encode().unwrap();
        prop_assert!(Frame::decode(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn a_frame_that_swells_when_unpacked_is_refused() {
    let body = zstd::bulk::compress(&vec![0; BODY_BYTES_MAX + 1], 3).unwrap();
    assert!(body.len() < 1000, "the attack is cheap");
    let mut frame = vec![VERSION, 1];
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    assert_eq!(Frame::decode(&frame), Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX }));
}

#[test]
fn limits_hold_on_both_sides() {
    let too_many = batch(vec![vec![]; BATCH_RECORDS_MAX + 1]);
    assert_eq!(too_many.encode(), Err(FrameError::TooMany("records")));
    let too_large = batch(vec![vec![0; RECORD_BYTES_MAX + 1]]);
    assert_eq!(too_large.encode(), Err(FrameError::TooLarge { bytes_max: RECORD_BYTES_MAX }));
    let oversized = vec![VERSION; FRAME_BYTES_MAX + 1];
    assert_eq!(Frame::decode(&oversized), Err(FrameError::TooLarge { bytes_max: FRAME_BYTES_MAX }));
    assert_eq!(
        Record::decode(&vec![0; RECORD_BYTES_MAX + 1]),
        Err(RecordError::TooLarge { bytes: RECORD_BYTES_MAX + 1 })
    );
}

#[test]
fn versions_and_flags_of_the_future_are_named() {
    let mut bytes = batch(vec![]).encode().unwrap();
    bytes[1] = 0x80;
    assert_eq!(Frame::decode(&bytes), Err(FrameError::Flags(0x80)));
    bytes[0] = 2;
    assert_eq!(Frame::decode(&bytes), Err(FrameError::Version(2)));
    assert_eq!(Frame::decode(&[1, 0, 0]), Err(FrameError::TooShort(3)));
}

#[test]
fn a_batch_of_like_records_is_compressed() {
    let record = vec![b'x'; 200];
    let bytes = batch(vec![record; 64]).encode().unwrap();
    assert!(bytes.len() < 400, "{} bytes for 64 records of 200", bytes.len());
}
