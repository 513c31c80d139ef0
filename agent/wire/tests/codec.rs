//! Round trips, damage and limits of records and frames.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use landfall_wire::coding::{self, Primer};
use landfall_wire::frame::{
    Batch, Frame, FrameError, Hello, Position, Received, VERSION, VERSION_CODED, Welcome,
};
use landfall_wire::id::{Confidence, Epoch, ShortDigest};
use landfall_wire::limits::{BATCH_RECORDS_MAX, BODY_BYTES_MAX, FRAME_BYTES_MAX, RECORD_BYTES_MAX};
use landfall_wire::record::{
    Decision, Mechanism, Outcome, Read, Record, RecordError, StreamId, Verdict,
};
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

fn primer() -> impl Strategy<Value = Primer> {
    prop_oneof![Just(Primer::None), Just(Primer::WorkOrders)]
}

/// Payloads of version 2, of greetings and of any records, known or not.
fn coded() -> impl Strategy<Value = (Frame, Primer)> {
    let record = prop_oneof![
        4 => common::record().prop_map(|record| record.fit().encode().unwrap()),
        1 => vec(any::<u8>(), 0..300),
    ];
    let batch = (any::<u64>(), any::<u64>(), 0..u64::MAX / 2, vec(record, 0..12)).prop_map(
        |(epoch, floor, first, records)| {
            let (stream, epoch) = (StreamId::Outcome, Epoch(epoch));
            Frame::Batch(Batch { stream, epoch, floor, first, records })
        },
    );
    (prop_oneof![frame(), batch], primer())
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
        // Past version and checksum, with each kind of body.
        for head in [[VERSION, 0], [VERSION, 1], [VERSION_CODED, 0]] {
            let mut framed = head.to_vec();
            framed.extend(crc32fast::hash(&bytes).to_le_bytes());
            framed.extend(&bytes);
            let _ = Frame::decode(&framed);
        }
    }

    #[test]
    fn noise_never_panics_the_coding(bytes in vec(any::<u8>(), 0..600), count in 0..1024_usize, primer in primer()) {
        if let Ok(records) = coding::decode(&bytes, count, primer) {
            prop_assert_eq!(records.len(), count);
            prop_assert!(records.concat().len() <= BODY_BYTES_MAX);
        }
    }

    #[test]
    fn coded_frames_read_back_what_was_written((frame, primer) in coded()) {
        let bytes = frame.encode_coded(primer).unwrap();
        let told = match &frame {
            Frame::Hello(_) | Frame::Welcome(_) => Some(Primer::NEWEST),
            Frame::Batch(_) => Some(primer),
            Frame::Ack(_) | Frame::RollCall => None,
        };
        prop_assert_eq!(Received::decode(&bytes), Ok(Received { frame, primer: told }));
    }

    #[test]
    fn a_changed_byte_of_a_coded_frame_is_always_noticed((frame, primer) in coded(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = frame.encode_coded(primer).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Frame::decode(&bytes).is_err(), "byte {} of {}", at, bytes.len());
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
    bytes[0] = 3;
    assert_eq!(Frame::decode(&bytes), Err(FrameError::Version(3)));
    assert_eq!(Frame::decode(&[1, 0, 0]), Err(FrameError::TooShort(3)));
}

#[test]
fn a_batch_of_like_records_is_compressed() {
    let record = vec![b'x'; 200];
    let bytes = batch(vec![record; 64]).encode().unwrap();
    assert!(bytes.len() < 400, "{} bytes for 64 records of 200", bytes.len());
}

/// Outcomes like those of a site, a minute apart, without text.
fn outcomes(count: u64) -> Vec<Vec<u8>> {
    let labels = ["Leaking", "Breakdown", "Electrical", "Overheating", "Noise"];
    let outcome = |seq: u64| {
        let noise = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let small = u32::try_from(noise % 9).unwrap();
        Record::Outcome(Outcome {
            task: "failure-mode".parse().unwrap(),
            caller_id: None,
            at_ms: 1_795_000_000_000 + seq * 60_000 + noise % 60_000,
            mechanism: Mechanism::Model,
            verdict: Verdict::Answered,
            decision: Some(Decision::Label(labels[usize::try_from(noise % 5).unwrap()].to_owned())),
            confidence: Confidence::from_basis_points(10_000 - u16::try_from(noise % 999).unwrap()),
            package: ShortDigest([1, 2, 3, 4, 5, 6, 7, 8]),
            config: ShortDigest([8, 7, 6, 5, 4, 3, 2, 1]),
            decide_us: 1_600 + u32::try_from(noise % 700).unwrap(),
            read: Some(Read { words: 4 + small, words_blank: 0, pieces: 7 + small, windows: 1 }),
            fields_left_out: 0,
            text: None,
            masking: None,
            meta: Vec::new(),
        })
    };
    (0..count).map(|seq| outcome(seq).encode().unwrap()).collect()
}

#[test]
fn outcomes_take_few_bytes() {
    for (count, bytes_max) in [(1, 50), (64, 64 * 10), (1024, 1024 * 8)] {
        let frame = batch(outcomes(count));
        let (coded, plain) = (frame.encode_coded(Primer::NEWEST).unwrap(), frame.encode().unwrap());
        assert!(coded.len() < bytes_max, "{} bytes for {count}", coded.len());
        assert!(coded.len() * 3 < plain.len() * 2, "{} against {}", coded.len(), plain.len());
    }
}

#[test]
fn limits_hold_for_coded_records() {
    let too_many = batch(vec![vec![]; BATCH_RECORDS_MAX + 1]);
    assert_eq!(too_many.encode_coded(Primer::None), Err(FrameError::TooMany("records")));
    let too_much = batch(vec![vec![0; RECORD_BYTES_MAX]; BODY_BYTES_MAX / RECORD_BYTES_MAX + 1]);
    let over = Err(FrameError::TooLarge { bytes_max: BODY_BYTES_MAX });
    assert_eq!(too_much.encode_coded(Primer::None), over);
    // What swells when it is decoded: the same large record again and again, for some bits each.
    let record = vec![b'x'; RECORD_BYTES_MAX];
    let coded = coding::encode(&vec![&record; BATCH_RECORDS_MAX], Primer::None);
    assert!(coded.len() < 1_000, "the attack is cheap");
    let decoded = coding::decode(&coded, BATCH_RECORDS_MAX, Primer::None);
    assert_eq!(decoded, Err(coding::CodingError::TooLarge));
}

#[test]
fn a_primer_of_the_future_is_named_and_a_greeting_still_read() {
    let mut bytes = batch(outcomes(2)).encode_coded(Primer::None).unwrap();
    bytes[6] = 9;
    let crc = crc32fast::hash(&bytes[6..]).to_le_bytes();
    bytes[2..6].copy_from_slice(&crc);
    assert_eq!(Frame::decode(&bytes), Err(FrameError::Primer(9)));
    let hello = Hello { version: "9".into(), at_ms: 0, up: Vec::new(), answers: None };
    let mut bytes = Frame::Hello(hello).encode_coded(Primer::None).unwrap();
    bytes[6] = 9;
    let crc = crc32fast::hash(&bytes[6..]).to_le_bytes();
    bytes[2..6].copy_from_slice(&crc);
    assert_eq!(Received::decode(&bytes).unwrap().primer, Some(Primer::NEWEST));
}
