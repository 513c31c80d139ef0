//! Sender and receiver over a network that drops, repeats, reorders and cuts: everything is
//! applied once, in order, and what was shed is a gap.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use landfall_wire::stream::{Limits, Sender, receive};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMITS: Limits = Limits { window_bytes_max: 64, stall_ms: 100 };
const RECORD_BYTES: usize = 8;

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(u64),
    Send { records: u64 },
    Deliver { at: usize, keep: bool },
    DeliverAck { at: usize, keep: bool },
    Reconnect,
    Shed { records: u64 },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..5_u64).prop_map(Step::Append),
        6 => (1..4_u64).prop_map(|records| Step::Send { records }),
        6 => (0..8_usize, any::<bool>()).prop_map(|(at, keep)| Step::Deliver { at, keep }),
        4 => (0..8_usize, any::<bool>()).prop_map(|(at, keep)| Step::DeliverAck { at, keep }),
        1 => Just(Step::Reconnect),
        1 => (1..4_u64).prop_map(|records| Step::Shed { records }),
        2 => (1..80_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

#[derive(Debug, Clone)]
struct Frame {
    floor: u64,
    first: u64,
    count: usize,
}

struct World {
    sender: Sender,
    now_ms: u64,
    durable: u64,
    floor: u64,
    frames: Vec<Frame>,
    acks: Vec<u64>,
    mark: u64,
    applied: Vec<u64>,
    gaps: Vec<u64>,
}

impl World {
    fn new() -> World {
        let sender = Sender::new(LIMITS, 0, 0, 0);
        let (frames, acks, applied, gaps) = (vec![], vec![], vec![], vec![]);
        let mut world =
            World { sender, now_ms: 0, durable: 0, floor: 0, frames, acks, mark: 0, applied, gaps };
        world.reconnect();
        world
    }

    fn reconnect(&mut self) {
        self.frames.clear();
        self.acks.clear();
        self.sender.disconnected();
        self.sender.connected(self.now_ms, self.mark).expect("the store was never rolled back");
    }

    fn send(&mut self, records: u64) {
        if let Some(window) = self.sender.window() {
            let end = window.end.min(window.first + records);
            let count = usize::try_from(end - window.first).unwrap();
            self.frames.push(Frame { floor: window.floor, first: window.first, count });
            self.sender.sent(self.now_ms, end, count * RECORD_BYTES);
        }
    }

    fn deliver(&mut self, at: usize, keep: bool) {
        if self.frames.is_empty() {
            return;
        }
        let at = at % self.frames.len();
        let frame = if keep { self.frames[at].clone() } else { self.frames.remove(at) };
        let receipt = receive(self.mark, frame.floor, frame.first, frame.count);
        assert!(receipt.mark >= self.mark, "the mark never moves back");
        self.gaps.extend(receipt.gap.clone().into_iter().flatten());
        self.applied.extend(receipt.apply.map(|i| frame.first + i as u64));
        self.mark = receipt.mark;
        self.acks.push(self.mark);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(count) => {
                self.durable += count;
                self.sender.durable(self.durable);
            }
            Step::Send { records } => self.send(records),
            Step::Deliver { at, keep } => self.deliver(at, keep),
            Step::DeliverAck { at, keep } if !self.acks.is_empty() => {
                let at = at % self.acks.len();
                let mark = if keep { self.acks[at] } else { self.acks.remove(at) };
                self.sender.acked(self.now_ms, mark);
            }
            Step::DeliverAck { .. } => {}
            Step::Reconnect => self.reconnect(),
            Step::Shed { records } => {
                self.floor = (self.floor.max(self.sender.mark()) + records).min(self.durable);
                self.sender.shed(self.floor);
            }
            Step::Wait { ms } => {
                self.now_ms += ms;
                self.sender.tick(self.now_ms);
            }
        }
    }

    fn check(&self) {
        assert!(self.sender.mark() <= self.mark, "acknowledged before it was committed");
        let mut all = [self.applied.clone(), self.gaps.clone()].concat();
        all.sort_unstable();
        let want: Vec<u64> = (0..self.mark).collect();
        assert_eq!(all, want, "each number below the mark is applied or a gap, once");
        assert!(self.applied.is_sorted(), "applied in order");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn everything_arrives_once_in_order(steps in vec(step(), 0..200)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        // Heal: a good link drains the rest, with bounded effort.
        world.reconnect();
        for _ in 0..10_000 {
            if world.mark == world.durable && world.sender.mark() == world.mark {
                break;
            }
            world.send(3);
            world.deliver(0, false);
            if let Some(mark) = world.acks.pop() {
                world.sender.acked(world.now_ms, mark);
            }
        }
        world.check();
        // Shed records at the very end are known to be gone only with the next record.
        let shed_tail = world.floor == world.durable;
        prop_assert!(world.mark == world.durable || shed_tail);
    }
}
