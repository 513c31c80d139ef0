//! Random batches against a model: whatever is lost, repeated or reordered on the way, every
//! record below the mark is applied exactly once, or lies in a recorded gap.

use landfall_hub_core::ingest::{Content, plan};
use landfall_hub_core::session::{Greeting, Input, Persist, Session};
use landfall_wire::frame::{Batch, Frame, Hello, Position};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Event, Record, StreamId};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn record(seq: u64) -> Vec<u8> {
    let ticket = Ticket { epoch: Epoch(1), seq };
    Record::Event(Event::Expired { ticket }).encode().unwrap()
}

/// A batch of a device that writes its sequence number into each record.
fn batch(floor: u64, first: u64, count: u64) -> Batch {
    let records = (first..first + count).map(record).collect();
    Batch { stream: StreamId::Event, epoch: Epoch(1), floor, first, records }
}

proptest! {
    #[test]
    fn every_record_below_the_mark_is_applied_once_or_in_a_gap(
        batches in proptest::collection::vec((0_u64..40, 0_u64..40, 0_u64..12), 1..60)
    ) {
        let (mut mark, mut applied, mut gaps) = (0, BTreeSet::new(), BTreeSet::new());
        for (floor, first, count) in batches {
            // A sender never sends what it no longer holds.
            let batch = batch(floor.min(first), first, count);
            let plan = plan(mark, &batch).unwrap();
            prop_assert!(plan.mark >= mark, "the mark never moves back");
            gaps.extend(plan.gap.into_iter().flatten());
            for entry in plan.entries {
                let Content::Record(record) = entry.content else { panic!("all are valid") };
                let want = Event::Expired { ticket: Ticket { epoch: Epoch(1), seq: entry.seq } };
                prop_assert_eq!(*record, Record::Event(want));
                prop_assert!(applied.insert(entry.seq), "{} applied twice", entry.seq);
            }
            mark = plan.mark;
            let covered: BTreeSet<u64> = applied.union(&gaps).copied().collect();
            prop_assert!(covered.iter().copied().eq(0..mark), "{covered:?} up to {mark}");
            prop_assert!(applied.is_disjoint(&gaps));
        }
    }

    #[test]
    fn any_bytes_in_a_batch_are_kept(
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20)
    ) {
        let count = records.len();
        let stream = StreamId::Outcome;
        let batch = Batch { stream, epoch: Epoch(1), floor: 0, first: 0, records: records.clone() };
        let plan = plan(0, &batch).unwrap();
        prop_assert_eq!(plan.entries.len(), count);
        for (entry, sent) in plan.entries.into_iter().zip(records) {
            match entry.content {
                Content::Record(record) => prop_assert_eq!(record.encode().unwrap(), sent),
                Content::Rejected { raw, .. } => prop_assert_eq!(raw, sent),
            }
        }
    }

    /// Answers reach a device that loses batches and acknowledgements, each once and in order,
    /// and the hub believes in no more than the device has.
    #[test]
    fn answers_arrive_in_order_over_a_lossy_link(
        losses in proptest::collection::vec(any::<bool>(), 1..200), total in 1_u64..40
    ) {
        let mut losses = losses.into_iter().chain(std::iter::repeat(false));
        let epoch = Epoch(3);
        let at = |next| Position { stream: StreamId::Answer, epoch, next };
        let (mut session, mut now_ms) = (Session::default(), 0);
        let (mut device_mark, mut hub_mark) = (0_u64, 0_u64);
        let hello = Hello { version: String::new(), at_ms: 0, up: vec![], answers: None };
        session.step(0, Input::Frame(Frame::Hello(hello)));
        let greeting =
            Greeting { at_ms: 0, marks: vec![], answers_mark: 0, answers: at(total) };
        let mut inputs = vec![Input::Greeted(greeting)];
        let mut steps = 0;
        while hub_mark < total {
            steps += 1;
            prop_assert!(steps < 10_000, "no progress: device {device_mark}, hub {hub_mark}");
            let input = inputs.pop().unwrap_or_else(|| {
                now_ms = session.next_wakeup().unwrap_or(now_ms);
                Input::Tick
            });
            let effects = session.step(now_ms, input);
            for persist in effects.persist {
                let Persist::Delivered(position) = persist else { panic!("{persist:?}") };
                prop_assert!(position.next <= device_mark && position.next > hub_mark);
                hub_mark = position.next;
            }
            if let Some(fetch) = effects.fetch {
                let end = fetch.end.min(fetch.first + 3);
                let records = (fetch.first..end).map(record).collect();
                inputs.push(Input::Fetched { epoch: fetch.epoch, first: fetch.first, records });
            }
            for frame in effects.send {
                let Frame::Batch(batch) = frame else { continue };
                if losses.next() == Some(true) {
                    continue;
                }
                let receipt = landfall_wire::stream::receive(
                    device_mark, batch.floor, batch.first, batch.records.len(),
                );
                prop_assert_eq!(receipt.gap, None);
                device_mark = receipt.mark;
                if losses.next() == Some(false) {
                    inputs.insert(0, Input::Frame(Frame::Ack(at(device_mark))));
                }
            }
        }
    }
}
