//! Sessions against the hub's side of the stream: frames are lost, repeated and cut off, the
//! device crashes, its salvaged streams have holes. Whatever happens, the hub has each record
//! once and in order, what cannot come is a gap, and answers are applied once.

use super::*;
use crate::link::Carries;
use landfall_wire::id::Ticket;
use landfall_wire::record::{Answer, Decision, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NEW: Epoch = Epoch(2);
const OLD: Epoch = Epoch(1);
const HUB: Epoch = Epoch(9);
const LIMITS: SessionLimits =
    SessionLimits { window_bytes_max: 256, batch_bytes_max: 24, stall_ms_min: 100 };
const RECORD_BYTES: usize = 8;

type Key = (StreamId, Epoch);

/// What the device's disk holds; survives a crash.
#[derive(Debug, Clone, Default)]
struct Disk {
    streams: BTreeMap<Key, (Held2, BTreeSet<u64>)>,
    answers: Option<Position>,
    applied: Vec<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held2 {
    floor: u64,
    acked: u64,
    end: u64,
    reach: u64,
}

impl Disk {
    fn held(&self) -> Vec<Held> {
        let all = self.streams.iter();
        all.map(|(&(stream, epoch), (held, _))| Held {
            stream,
            epoch,
            floor: held.floor,
            acked: held.acked,
            end: held.end,
            reach: held.reach,
        })
        .collect()
    }
}

/// The hub's database.
#[derive(Debug, Default)]
struct Hub {
    marks: BTreeMap<Key, u64>,
    applied: BTreeMap<Key, Vec<u64>>,
    gaps: BTreeMap<Key, Vec<u64>>,
    answers: u64,
    device_mark: u64,
}

struct World {
    now_ms: u64,
    disk: Disk,
    hub: Hub,
    session: Session,
    wanted: Option<Wanted>,
    up: Vec<Frame>,
    down: Vec<Frame>,
    connected: bool,
    offering: bool,
    sent_outcomes: u64,
}

fn ticket_answer(seq: u64) -> Vec<u8> {
    let ticket = Ticket { epoch: NEW, seq };
    let decision = Decision::OutOfScope;
    let answer = Answer { ticket, decision, by: "operator".into(), at_ms: 0, note: None };
    Record::Answer(answer).encode().unwrap()
}

impl World {
    fn new(holes: &BTreeSet<u64>) -> World {
        let mut disk = Disk::default();
        for stream in StreamId::UP {
            disk.streams.insert((stream, NEW), (Held2::default(), BTreeSet::new()));
        }
        let salvaged: BTreeSet<u64> = (0..20).filter(|seq| !holes.contains(seq)).collect();
        let held = Held2 { floor: 0, acked: 0, end: 20, reach: 0 };
        disk.streams.insert((StreamId::Outcome, OLD), (held, salvaged));
        let session = Session::new(LIMITS, disk.held(), None);
        World {
            now_ms: 0,
            disk,
            hub: Hub::default(),
            session,
            wanted: None,
            up: vec![],
            down: vec![],
            connected: false,
            offering: false,
            sent_outcomes: 0,
        }
    }

    fn step(&mut self, event: Event) {
        let effects = self.session.step(self.now_ms, event);
        for persist in effects.persist {
            match persist {
                Persist::Acked(mark) => {
                    let held =
                        &mut self.disk.streams.get_mut(&(mark.stream, mark.epoch)).unwrap().0;
                    assert!(mark.next <= self.hub.marks[&(mark.stream, mark.epoch)]);
                    held.acked = held.acked.max(mark.next);
                }
                Persist::Down(DownBatch { mark, arrived, gone, .. }) => {
                    assert_eq!(gone, 0);
                    self.disk.applied.extend(arrived.iter().map(|one| match &one.down {
                        Down::Answer(answer) => answer.ticket.seq,
                        other => panic!("{other:?}"),
                    }));
                    self.disk.answers = Some(mark);
                }
                Persist::Offer => {
                    self.offering = true;
                    self.disk.streams.values_mut().for_each(|(held, _)| held.reach = held.end);
                }
                Persist::RolledBack(mark) => panic!("never rolled back: {mark:?}"),
            }
        }
        for send in effects.send {
            match send {
                Send::Frame(frame) => {
                    if let Frame::Ack(mark) = &frame {
                        assert_eq!(self.disk.answers, Some(*mark), "acknowledged, not durable");
                    }
                    self.up.push(frame);
                }
                Send::Range(wanted) => {
                    assert!(self.wanted.replace(wanted).is_none(), "one range at a time");
                }
                Send::Close(Closing::NoWelcome(_) | Closing::Silent(_)) => self.cut(),
                Send::Close(why) => panic!("{why}"),
            }
        }
    }

    fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        self.wanted = None;
        self.connected = false;
        self.offering = false;
    }

    /// The device crashes, or the link is cut: either way a new session starts from the disk.
    fn reconnect(&mut self) {
        self.cut();
        self.session = Session::new(LIMITS, self.disk.held(), self.disk.answers);
        self.connected = true;
        self.step(Event::Connected { version: "0".into(), at_ms: 0 });
    }

    fn read(&mut self) {
        let Some(wanted) = self.wanted.take() else { return };
        let (held, seqs) = &self.disk.streams[&(wanted.stream, wanted.epoch)];
        assert!(wanted.end <= held.reach, "only what is durable and offered");
        let mut records = Vec::new();
        while seqs.contains(&(wanted.first + records.len() as u64))
            && wanted.first + (records.len() as u64) < wanted.end
            && (records.is_empty() || (records.len() + 1) * RECORD_BYTES <= wanted.bytes_max)
        {
            records.push((wanted.first + records.len() as u64).to_le_bytes().to_vec());
        }
        if records.is_empty() {
            let next_held = seqs.range(wanted.first..wanted.end).next().copied();
            return self.step(Event::Hole { next_held: next_held.unwrap_or(wanted.end) });
        }
        let end = wanted.first + records.len() as u64;
        let bytes = records.len() * RECORD_BYTES;
        if wanted.stream == StreamId::Outcome {
            self.sent_outcomes += 1;
        }
        let Wanted { stream, epoch, floor, first, .. } = wanted;
        self.up.push(Frame::Batch(Batch { stream, epoch, floor, first, records }));
        self.step(Event::Sent { end, bytes });
    }

    fn append(&mut self, stream: StreamId, count: u64) {
        let (held, seqs) = self.disk.streams.get_mut(&(stream, NEW)).unwrap();
        seqs.extend(held.end..held.end + count);
        held.end += count;
        if self.offering {
            held.reach = held.end;
        }
        let Held2 { floor, acked, end, reach } = *held;
        self.step(Event::Durable(Held { stream, epoch: NEW, floor, acked, end, reach }));
    }

    fn shed(&mut self, count: u64) {
        let (held, seqs) = self.disk.streams.get_mut(&(StreamId::Outcome, NEW)).unwrap();
        held.floor = (held.floor.max(held.acked) + count).min(held.end);
        held.acked = held.acked.max(held.floor);
        let Held2 { floor, acked, end, reach } = *held;
        seqs.retain(|seq| *seq >= floor);
        self.step(Event::Durable(Held {
            stream: StreamId::Outcome,
            epoch: NEW,
            floor,
            acked,
            end,
            reach,
        }));
    }

    /// The hub takes the frame: commits, then answers.
    fn hub_takes(&mut self, at: usize, keep: bool) {
        if self.up.is_empty() {
            return;
        }
        let at = at % self.up.len();
        let frame = if keep { self.up[at].clone() } else { self.up.remove(at) };
        match frame {
            Frame::Hello(hello) => {
                self.hub.device_mark = hello.answers.map_or(0, |answers| answers.next);
                let marks = hello.up.iter().map(|position| {
                    let mark = self.hub.marks.entry((position.stream, position.epoch)).or_default();
                    Position { next: *mark, ..*position }
                });
                let marks = marks.collect();
                let next = self.hub.answers;
                let answers = Position { stream: StreamId::Answer, epoch: HUB, next };
                self.down.push(Frame::Welcome(Welcome { at_ms: 0, marks, answers }));
            }
            Frame::Batch(batch) => {
                let key = (batch.stream, batch.epoch);
                let mark = self.hub.marks.entry(key).or_default();
                let receipt = receive(*mark, batch.floor, batch.first, batch.records.len());
                self.hub.gaps.entry(key).or_default().extend(receipt.gap.into_iter().flatten());
                let new = receipt.apply.map(|i| batch.first + i as u64);
                self.hub.applied.entry(key).or_default().extend(new);
                *mark = receipt.mark;
                let (stream, epoch) = key;
                self.down.push(Frame::Ack(Position { stream, epoch, next: receipt.mark }));
            }
            Frame::Ack(mark) => self.hub.device_mark = self.hub.device_mark.max(mark.next),
            Frame::Welcome(_) | Frame::RollCall => panic!("only the hub says {frame:?}"),
        }
    }

    fn hub_sends_answers(&mut self) {
        let (first, end) = (self.hub.device_mark, self.hub.answers);
        if self.connected && first < end {
            let records = (first..end.min(first + 3)).map(ticket_answer).collect();
            let stream = StreamId::Answer;
            self.down.push(Frame::Batch(Batch { stream, epoch: HUB, floor: 0, first, records }));
        }
    }

    fn device_takes(&mut self, at: usize, keep: bool) {
        if self.down.is_empty() {
            return;
        }
        let at = at % self.down.len();
        // What the hub says of where it stands is not repeated, nor does it overtake.
        let at = self.down.iter().position(is_welcome).unwrap_or(at);
        let keep = keep && !is_welcome(&self.down[at]);
        let frame = if keep { self.down[at].clone() } else { self.down.remove(at) };
        self.step(Event::Frame(frame));
    }

    fn check(&self) {
        for (key, mark) in &self.hub.marks {
            let applied = self.hub.applied.get(key).cloned().unwrap_or_default();
            assert!(applied.is_sorted(), "in order");
            let mut all = applied;
            all.extend(self.hub.gaps.get(key).into_iter().flatten());
            all.sort_unstable();
            assert_eq!(all, (0..*mark).collect::<Vec<_>>(), "{key:?}: each once or a gap");
        }
        let count = self.disk.answers.map_or(0, |mark| mark.next);
        assert_eq!(self.disk.applied, (0..count).collect::<Vec<_>>(), "answers once, in order");
    }
}

fn is_welcome(frame: &Frame) -> bool {
    matches!(frame, Frame::Welcome(_))
}

#[derive(Debug, Clone)]
enum Act {
    Append(usize, u64),
    Read,
    ToHub { at: usize, keep: bool },
    ToDevice { at: usize, keep: bool },
    DropUp(usize),
    Answer,
    HubSends,
    Reconnect,
    RollCall,
    Shed(u64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3_usize, 1..5_u64).prop_map(|(stream, count)| Act::Append(stream, count)),
        8 => Just(Act::Read),
        8 => (0..4_usize, any::<bool>()).prop_map(|(at, keep)| Act::ToHub { at, keep }),
        8 => (0..4_usize, any::<bool>()).prop_map(|(at, keep)| Act::ToDevice { at, keep }),
        2 => (0..4_usize).prop_map(Act::DropUp),
        2 => Just(Act::Answer),
        3 => Just(Act::HubSends),
        1 => Just(Act::Reconnect),
        1 => Just(Act::RollCall),
        1 => (1..3_u64).prop_map(Act::Shed),
        2 => (1..80_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn each_record_arrives_once_whatever_happens(
        holes in proptest::collection::btree_set(0..20_u64, 0..8),
        acts in vec(act(), 0..200),
    ) {
        let mut world = World::new(&holes);
        world.reconnect();
        for act in acts {
            match act {
                Act::Append(stream, count) => world.append(StreamId::UP[stream], count),
                Act::Read => world.read(),
                Act::ToHub { at, keep } => world.hub_takes(at, keep),
                Act::ToDevice { at, keep } => world.device_takes(at, keep),
                Act::DropUp(at) if !world.up.is_empty() => {
                    let at = at % world.up.len();
                    world.up.remove(at);
                }
                Act::DropUp(_) => {}
                Act::Answer => world.hub.answers += 1,
                Act::HubSends => world.hub_sends_answers(),
                Act::Reconnect => world.reconnect(),
                Act::RollCall => world.down.push(Frame::RollCall),
                Act::Shed(count) => world.shed(count),
                Act::Wait(ms) => {
                    world.now_ms += ms;
                    world.step(Event::Tick);
                }
            }
            world.check();
        }
        // Heal: one good connection drains everything, with bounded effort.
        world.reconnect();
        for _ in 0..2_000 {
            world.read();
            world.hub_takes(0, false);
            world.hub_sends_answers();
            world.device_takes(0, false);
        }
        world.check();
        for (key, (held, _)) in &world.disk.streams {
            prop_assert_eq!(world.hub.marks[key], held.end, "{:?} is drained", key);
        }
        prop_assert!(world.session.is_idle(), "nothing waits");
        prop_assert_eq!(world.disk.applied.len() as u64, world.hub.answers);
        let gaps: BTreeSet<u64> =
            world.hub.gaps.get(&(StreamId::Outcome, OLD)).into_iter().flatten().copied().collect();
        prop_assert_eq!(gaps, holes, "exactly the holes are gaps");
    }
}

fn online(held: &[Held]) -> Session {
    let mut session = Session::new(LIMITS, held.to_vec(), None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let marks = held.iter().map(|h| Position { stream: h.stream, epoch: h.epoch, next: h.acked });
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Welcome { at_ms: 0, marks: marks.collect(), answers };
    let effects = session.step(5, Event::Frame(Frame::Welcome(welcome)));
    assert!(session.is_online(), "{effects:?}");
    session
}

fn held(stream: StreamId, end: u64) -> Held {
    Held { stream, epoch: NEW, floor: 0, acked: 0, end, reach: end }
}

#[test]
fn the_outcome_stream_gets_its_turn_beside_a_flood_of_escalations() {
    let all = StreamId::UP.map(|stream| held(stream, 1000));
    let mut session = Session::new(SessionLimits::default(), all.to_vec(), None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let marks = all.iter().map(|h| Position { stream: h.stream, epoch: h.epoch, next: 0 });
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Welcome { at_ms: 0, marks: marks.collect(), answers };
    let mut effects = session.step(0, Event::Frame(Frame::Welcome(welcome)));
    let mut turns = Vec::new();
    for _ in 0..40 {
        let Some(Send::Range(wanted)) = effects.send.pop() else { panic!("{effects:?}") };
        turns.push(wanted.stream);
        effects = session.step(0, Event::Sent { end: wanted.first + 1, bytes: 100 });
    }
    let count = |stream| turns.iter().filter(|turn| **turn == stream).count();
    assert!(count(StreamId::Escalation) >= 20, "{turns:?}");
    assert!(count(StreamId::Event) >= 3, "{turns:?}");
    assert!(count(StreamId::Outcome) >= 3, "{turns:?}");
}

#[test]
fn a_link_that_takes_nothing_for_a_while_is_asked_again_and_gets_what_is_worth_most_then() {
    let outcomes = held(StreamId::Outcome, 10);
    let escalations = held(StreamId::Escalation, 0);
    let carries = Carries { events: false, ..Carries::ALL };
    let all = vec![outcomes, escalations, held(StreamId::Event, 5)];
    let mut session = Session::new(LIMITS, all.clone(), None).over(carries);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let marks = all.iter().map(|h| Position { stream: h.stream, epoch: h.epoch, next: 0 });
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Welcome { at_ms: 0, marks: marks.collect(), answers };
    let asked = |effects: Effects| {
        let ranges = effects.send.into_iter().filter_map(|send| match send {
            Send::Range(wanted) => Some(wanted.stream),
            Send::Frame(_) | Send::Close(_) => None,
        });
        ranges.collect::<Vec<_>>()
    };
    let effects = session.step(0, Event::Frame(Frame::Welcome(welcome)));
    assert_eq!(asked(effects), [StreamId::Outcome]);
    assert_eq!(asked(session.step(1, Event::Deferred { until_ms: 50 })), []);
    assert_eq!(session.next_wakeup(), Some(50));
    let more = Held { end: 1, reach: 1, ..escalations };
    assert_eq!(asked(session.step(20, Event::Durable(more))), []);
    assert_eq!(asked(session.step(50, Event::Tick)), [StreamId::Escalation]);
    let effects = session.step(51, Event::Sent { end: 1, bytes: 9 });
    assert_eq!(asked(effects), [StreamId::Outcome], "the link carries no events");
}

#[test]
fn a_hub_that_knows_more_than_it_was_ever_sent_is_a_roll_back() {
    // Two records were written since the store was put back to an image with three.
    let restored = Held { reach: 3, ..held(StreamId::Outcome, 5) };
    let mut session = Session::new(LIMITS, vec![restored], None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let mark = Position { stream: StreamId::Outcome, epoch: NEW, next: 4 };
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Frame::Welcome(Welcome { at_ms: 0, marks: vec![mark], answers });
    let effects = session.step(1, Event::Frame(welcome));
    assert_eq!(effects.persist, [Persist::RolledBack(mark)]);
    assert_eq!(effects.send, [Send::Close(Closing::RolledBack)]);
}

#[test]
fn a_hub_restored_from_a_backup_gets_what_is_still_held() {
    let stream = Held { floor: 2, acked: 9, reach: 10, ..held(StreamId::Outcome, 12) };
    let mut session = Session::new(LIMITS, vec![stream], None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let mark = Position { stream: StreamId::Outcome, epoch: NEW, next: 4 };
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Frame::Welcome(Welcome { at_ms: 0, marks: vec![mark], answers });
    let effects = session.step(1, Event::Frame(welcome));
    assert_eq!(effects.persist, [Persist::Offer], "the store's own mark does not move back");
    assert!(
        matches!(effects.send[..], [Send::Range(Wanted { first: 4, end: 12, floor: 2, .. })]),
        "{effects:?}"
    );
}

#[test]
fn nonsense_from_the_hub_ends_the_connection() {
    let record = ticket_answer(0);
    let batch = |stream, epoch| {
        Frame::Batch(Batch { stream, epoch, floor: 0, first: 0, records: vec![record.clone()] })
    };
    let hello = Hello { version: "0".into(), at_ms: 0, up: vec![], answers: None };
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    // Without the mark of a stream that was greeted with.
    let welcome = Welcome { at_ms: 0, marks: vec![], answers };
    for frame in [
        Frame::Hello(hello),
        Frame::Welcome(welcome),
        batch(StreamId::Outcome, NEW),
        batch(StreamId::Answer, Epoch(77)),
    ] {
        let mut session = online(&[held(StreamId::Event, 0)]);
        let effects = session.step(9, Event::Frame(frame.clone()));
        assert!(
            matches!(effects.send[..], [Send::Close(Closing::Protocol(_))]),
            "{frame:?}: {effects:?}"
        );
        assert_eq!(effects.persist, []);
        assert_eq!(session.step(10, Event::Tick), Effects::default(), "closed");
    }
    let mut session = online(&[held(StreamId::Event, 1)]);
    session.step(6, Event::Sent { end: 1, bytes: 1 });
    let unknown = Position { stream: StreamId::Event, epoch: Epoch(77), next: 1 };
    let too_far = Position { stream: StreamId::Event, epoch: NEW, next: 2 };
    for ack in [unknown, too_far] {
        let effects = session.step(9, Event::Frame(Frame::Ack(ack)));
        assert_eq!(effects, Effects::default(), "released by {ack:?}");
    }
}

#[test]
fn a_roll_call_is_answered_with_where_the_device_stands_now() {
    let stream = StreamId::Outcome;
    let mut session = online(&[held(stream, 3)]);
    let effects = session.step(1_000, Event::Frame(Frame::RollCall));
    let [Send::Frame(Frame::Hello(hello))] = &effects.send[..] else { panic!("{effects:?}") };
    assert_eq!((hello.version.as_str(), hello.at_ms), ("0", 1_000), "by the device's clock now");
    assert!(!session.is_online());
    // What was being read belongs to the time before.
    assert_eq!(session.step(1_001, Event::Sent { end: 2, bytes: 9 }), Effects::default());
    let mark = Position { stream, epoch: NEW, next: 2 };
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Welcome { at_ms: 0, marks: vec![mark], answers };
    for _ in 0..2 {
        let effects = session.step(1_002, Event::Frame(Frame::Welcome(welcome.clone())));
        let from_mark = matches!(effects.send[..], [Send::Range(Wanted { first: 2, end: 3, .. })]);
        assert!(from_mark && session.is_online(), "{effects:?}");
        session.step(1_003, Event::Sent { end: 3, bytes: 9 });
    }
}

#[test]
fn a_silent_hub_is_left_and_a_new_epoch_greets_again() {
    let mut session = Session::new(LIMITS, vec![], None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    assert_eq!(session.next_wakeup(), Some(100));
    let effects = session.step(100, Event::Tick);
    assert_eq!(effects.send, [Send::Close(Closing::NoWelcome(100))]);

    let mut session = online(&[held(StreamId::Event, 0)]);
    let other = Held { epoch: Epoch(77), ..held(StreamId::Event, 1) };
    let effects = session.step(9, Event::Durable(other));
    assert_eq!(effects.send, [Send::Close(Closing::StoreChanged)]);
}

#[test]
fn a_hub_that_falls_silent_is_left_once_something_is_in_flight() {
    let mut session = online(&[held(StreamId::Event, 1)]);
    for at_ms in [500, 5_000] {
        assert_eq!(session.step(at_ms, Event::Tick), Effects::default(), "nothing is in flight");
    }
    session.step(5_000, Event::Sent { end: 1, bytes: 1 });
    let mut closed = Vec::new();
    for at_ms in [5_099, 5_100, 5_200, 5_300] {
        let sent = session.step(at_ms, Event::Tick).send;
        closed.extend(sent.iter().filter_map(|send| match send {
            Send::Close(why) => Some((at_ms, why.clone())),
            Send::Frame(_) | Send::Range(_) => None,
        }));
        session.step(at_ms, Event::Sent { end: 1, bytes: 1 });
    }
    assert_eq!(closed, [(5_300, Closing::Silent(300))]);
}

fn batches(effects: &Effects) -> Vec<(u64, u64, usize)> {
    let batch = |send: &Send| match send {
        Send::Frame(Frame::Batch(b)) => Some((b.floor, b.first, b.records.len())),
        Send::Frame(_) | Send::Range(_) | Send::Close(_) => None,
    };
    effects.send.iter().filter_map(batch).collect()
}

#[test]
fn news_of_a_floor_that_is_lost_on_the_way_is_told_again() {
    let mut session = online(&[held(StreamId::Event, 2)]);
    let effects = session.step(10, Event::Hole { next_held: 2 });
    assert_eq!(batches(&effects), [(2, 2, 0)]);
    assert_eq!(session.next_wakeup(), Some(110));
    assert_eq!(batches(&session.step(109, Event::Tick)), []);
    assert_eq!(batches(&session.step(110, Event::Tick)), [(2, 2, 0)]);
    let mark = Position { stream: StreamId::Event, epoch: NEW, next: 2 };
    session.step(111, Event::Frame(Frame::Ack(mark)));
    assert_eq!(session.next_wakeup(), None, "the hub knows");
}

#[test]
fn a_hole_right_above_the_floor_is_jumped_although_the_hub_has_less() {
    // The hub was put back to an old copy, the device holds nothing below 53 nor 53 itself.
    let stream = Held { floor: 53, acked: 54, ..held(StreamId::Outcome, 117) };
    let mut session = Session::new(LIMITS, vec![stream], None);
    session.step(0, Event::Connected { version: "0".into(), at_ms: 0 });
    let mark = Position { stream: StreamId::Outcome, epoch: NEW, next: 10 };
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Frame::Welcome(Welcome { at_ms: 0, marks: vec![mark], answers });
    let effects = session.step(1, Event::Frame(welcome));
    assert!(matches!(effects.send[..], [Send::Range(Wanted { first: 53, .. })]), "{effects:?}");
    let effects = session.step(1, Event::Hole { next_held: 54 });
    let [Send::Range(Wanted { first: 54, floor: 54, .. })] = effects.send[..] else {
        panic!("{effects:?}")
    };
}

#[test]
fn a_stream_that_the_store_ended_earlier_is_left_and_not_asked_for_for_ever() {
    // A salvage during the connection: the store holds nothing from the first record on.
    let mut session = online(&[held(StreamId::Event, 4)]);
    let effects = session.step(6, Event::Hole { next_held: 0 });
    assert_eq!(effects.send, [Send::Close(Closing::StoreChanged)]);
}

#[test]
fn an_acknowledgement_beyond_what_was_sent_is_no_proof_but_a_reason_to_ask() {
    // The welcome came late, from before the hub had what it acknowledges now.
    let mut session = online(&[held(StreamId::Outcome, 20)]);
    session.step(6, Event::Sent { end: 3, bytes: 30 });
    let mark = Position { stream: StreamId::Outcome, epoch: NEW, next: 19 };
    let effects = session.step(7, Event::Frame(Frame::Ack(mark)));
    assert_eq!(effects.persist, []);
    assert!(matches!(effects.send[..], [Send::Frame(Frame::Hello(_))]), "{effects:?}");
    // Once, whatever else is on its way.
    assert_eq!(session.step(8, Event::Frame(Frame::Ack(mark))), Effects::default());
    let answers = Position { stream: StreamId::Answer, epoch: HUB, next: 0 };
    let welcome = Frame::Welcome(Welcome { at_ms: 0, marks: vec![mark], answers });
    let effects = session.step(9, Event::Frame(welcome));
    assert!(effects.persist.contains(&Persist::Acked(mark)), "{effects:?}");
    // What was being read meanwhile is of the time before.
    let effects = session.step(10, Event::Sent { end: 6, bytes: 30 });
    assert!(matches!(effects.send[..], [Send::Range(Wanted { first: 19, .. })]), "{effects:?}");
}

#[test]
fn a_hole_behind_what_is_shed_meanwhile_is_jumped() {
    let mut session = online(&[held(StreamId::Outcome, 6)]);
    session.step(6, Event::Sent { end: 3, bytes: 30 });
    // 3 is damaged; before the hub has 0 to 2, the store drops them.
    session.step(7, Event::Hole { next_held: 4 });
    let shed = Held { floor: 3, acked: 3, ..held(StreamId::Outcome, 6) };
    let effects = session.step(8, Event::Durable(shed));
    assert!(
        matches!(effects.send[..], [Send::Range(Wanted { first: 4, end: 6, floor: 4, .. })]),
        "{effects:?}"
    );
}

#[test]
fn an_acknowledgement_that_the_store_could_not_write_is_written_later() {
    let mut session = online(&[held(StreamId::Event, 1)]);
    session.step(6, Event::Sent { end: 1, bytes: 1 });
    let mark = Position { stream: StreamId::Event, epoch: NEW, next: 1 };
    let effects = session.step(7, Event::Frame(Frame::Ack(mark)));
    assert_eq!(effects.persist, [Persist::Acked(mark)]);
    // The disk was full; now the store writes again, and does not have it.
    let effects = session.step(8, Event::Durable(held(StreamId::Event, 1)));
    assert_eq!(effects.persist, [Persist::Acked(mark)]);
    let written = Held { acked: 1, ..held(StreamId::Event, 1) };
    assert_eq!(session.step(9, Event::Durable(written)).persist, []);
}

#[test]
fn an_unreadable_answer_is_counted_and_does_not_spoil_its_neighbour() {
    let mut session = online(&[held(StreamId::Event, 0)]);
    let records = vec![vec![0xff, 0xff], ticket_answer(5)];
    let stream = StreamId::Answer;
    let batch = Batch { stream, epoch: HUB, floor: 0, first: 0, records };
    let effects = session.step(9, Event::Frame(Frame::Batch(batch)));
    let [Persist::Down(DownBatch { mark, arrived, gone, at_ms })] = &effects.persist[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((mark.next, *gone, *at_ms), (2, 0, 9));
    assert!(
        matches!(
            arrived[..],
            [Arrived { seq: 0, down: Down::Unreadable }, Arrived { seq: 1, down: Down::Answer(_) }]
        ),
        "{arrived:?}"
    );
    assert_eq!(effects.send, [Send::Frame(Frame::Ack(*mark))]);
}
