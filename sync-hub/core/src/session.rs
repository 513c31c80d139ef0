//! One device's connection.
//!
//! Effects come in two halves that are never in one step: a step asks the shell to *persist*,
//! and only when the shell says that this is committed, the next step *sends* the
//! acknowledgement. So nothing can be acknowledged that is not committed.
//!
//! Answers go the other way through [`Sender`], on the hub's answer stream for this device. One
//! that is given during a connection is sent once its number is within the stream's committed
//! reach (see [`crate::ledger`]).

use landfall_wire::frame::{Batch, Frame, Hello, Position, Welcome};
use landfall_wire::id::Epoch;
use landfall_wire::limits::BATCH_RECORDS_MAX;
use landfall_wire::record::StreamId;
use landfall_wire::stream::{Limits, Sender};

/// Most answer bytes in flight to one device: four batches fill a satellite link of 1 Mbit/s.
pub const WINDOW_BYTES_MAX: usize = 64 * 1024;

/// Size of an answer batch in bytes; 16 kB keeps the line busy without delaying a ping much.
pub const BATCH_BYTES_MAX: usize = 16 * 1024;

/// Without an acknowledgement for this long, answers are sent again: beyond the worst round
/// trip of a satellite link with a full queue.
pub const STALL_MS: u64 = 30_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A frame came from the device.
    Frame(Frame),
    /// The shell committed a [`Persist::Greet`].
    Greeted(Greeting),
    /// The shell committed a [`Persist::Ingest`]; this is the mark.
    Ingested(Position),
    /// The shell committed a [`Persist::Offer`].
    Offered(Position),
    /// The answers asked for by [`Effects::fetch`].
    Fetched {
        /// The stream's epoch.
        epoch: Epoch,
        /// Number of the first record.
        first: u64,
        /// Consecutive encoded answers.
        records: Vec<Vec<u8>>,
    },
    /// Another hub speaks with the device now; what was to be fetched is its to send.
    Yielded,
    /// The answer stream of this device now ends here, durably.
    AnswersUntil(Position),
    /// [`Session::next_wakeup`] has come.
    Tick,
}

/// The committed greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Wall clock of the hub, milliseconds since 1970.
    pub at_ms: u64,
    /// The mark of each stream that the hello named.
    pub marks: Vec<Position>,
    /// Everything below is on the device.
    pub answers_mark: u64,
    /// The end of the answer stream.
    pub answers: Position,
}

/// What the shell must do: first make `persist` durable, then report back; `send` may go now,
/// because what it tells is committed already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// To commit, in this order.
    pub persist: Vec<Persist>,
    /// To send, in this order.
    pub send: Vec<Frame>,
    /// To read; comes back as [`Input::Fetched`].
    pub fetch: Option<Fetch>,
    /// The frame made no sense; count it and show it.
    pub problem: Option<&'static str>,
}

/// Something to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persist {
    /// Look up the marks and note where the device stands.
    Greet(Hello),
    /// Apply a batch.
    Ingest(Batch),
    /// Answers below this are about to be sent.
    Offer(Position),
    /// The device has every answer below this.
    Delivered(Position),
}

/// Answers to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// The stream's epoch.
    pub epoch: Epoch,
    /// The first to read.
    pub first: u64,
    /// One past the last that may be read.
    pub end: u64,
    /// Stop before this many bytes, but read at least one.
    pub bytes_max: usize,
    /// Stop after this many.
    pub records_max: usize,
}

/// Where a connection stands.
#[derive(Debug, Clone)]
enum Phase {
    /// No committed greeting yet; nothing may be sent but acknowledgements.
    Greeting,
    /// Answers flow.
    Serving {
        epoch: Epoch,
        sender: Sender,
        /// End of what was asked to be offered.
        offered: u64,
        fetching: bool,
    },
}

/// One device's connection.
#[derive(Debug, Clone)]
pub struct Session {
    phase: Phase,
}

impl Default for Session {
    fn default() -> Session {
        Session { phase: Phase::Greeting }
    }
}

impl Session {
    /// Takes one input, at `now_ms` of a clock that never goes back.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Effects {
        let mut effects = Effects::default();
        match input {
            Input::Frame(frame) => self.frame(now_ms, frame, &mut effects),
            Input::Greeted(greeting) => self.greeted(now_ms, greeting, &mut effects),
            Input::Ingested(position) => effects.send.push(Frame::Ack(position)),
            Input::Fetched { epoch, first, records } => {
                self.fetched(now_ms, Run { epoch, first, records }, &mut effects);
            }
            Input::Yielded => self.phase = Phase::Greeting,
            Input::AnswersUntil(position) => {
                if let Phase::Serving { epoch, offered, .. } = &mut self.phase
                    && *epoch == position.epoch
                    && *offered < position.next
                {
                    *offered = position.next;
                    effects.persist.push(Persist::Offer(position));
                }
            }
            Input::Offered(position) => {
                if let Phase::Serving { epoch, sender, .. } = &mut self.phase
                    && *epoch == position.epoch
                {
                    sender.durable(position.next);
                }
            }
            Input::Tick => {
                if let Phase::Serving { sender, .. } = &mut self.phase {
                    sender.tick(now_ms);
                }
            }
        }
        self.pump(&mut effects);
        effects
    }

    /// When [`Input::Tick`] has something to do.
    pub fn next_wakeup(&self) -> Option<u64> {
        match &self.phase {
            Phase::Greeting => None,
            Phase::Serving { sender, .. } => sender.next_wakeup(),
        }
    }

    fn frame(&mut self, now_ms: u64, frame: Frame, effects: &mut Effects) {
        match frame {
            Frame::Hello(hello) => {
                self.phase = Phase::Greeting;
                effects.persist.push(Persist::Greet(hello));
            }
            Frame::Batch(batch) => effects.persist.push(Persist::Ingest(batch)),
            Frame::Ack(position) => self.acked(now_ms, position, effects),
            Frame::Welcome(_) => effects.problem = Some("a welcome from a device"),
            Frame::RollCall => effects.problem = Some("a roll call from a device"),
        }
    }

    fn acked(&mut self, now_ms: u64, position: Position, effects: &mut Effects) {
        if position.stream != StreamId::Answer {
            effects.problem = Some("an acknowledgement of a stream that the hub does not send");
            return;
        }
        // A broker may hand it to another hub than the one that sent what it acknowledges.
        if let Phase::Greeting = self.phase {
            effects.persist.push(Persist::Delivered(position));
        }
        // One of another epoch is late, from before the hub's stream was replaced.
        if let Phase::Serving { epoch, sender, .. } = &mut self.phase
            && *epoch == position.epoch
            && !sender.acked(now_ms, position.next).is_empty()
        {
            effects.persist.push(Persist::Delivered(position));
        }
    }

    fn greeted(&mut self, now_ms: u64, greeting: Greeting, effects: &mut Effects) {
        let Greeting { at_ms, marks, answers_mark, answers } = greeting;
        let limits = Limits { window_bytes_max: WINDOW_BYTES_MAX, stall_ms: STALL_MS };
        // A device that knows nothing starts at 0: the sender must not skip what an earlier
        // store of that device had acknowledged, or the two would wait for each other.
        let mark = answers_mark.min(answers.next);
        let mut sender = Sender::new(limits, 0, mark, answers.next);
        sender.connected(now_ms, mark);
        self.phase =
            Phase::Serving { epoch: answers.epoch, sender, offered: answers.next, fetching: false };
        effects.send.push(Frame::Welcome(Welcome { at_ms, marks, answers }));
    }

    fn fetched(&mut self, now_ms: u64, run: Run, effects: &mut Effects) {
        let Phase::Serving { epoch, sender, fetching, .. } = &mut self.phase else { return };
        *fetching = false;
        let Some(window) = sender.window() else { return };
        // What was asked for before a stall or a new greeting may no longer be what is next.
        if run.records.is_empty() || (run.epoch, run.first) != (*epoch, window.first) {
            return;
        }
        let bytes = run.records.iter().map(Vec::len).sum();
        let end = run.first + run.records.len() as u64;
        sender.sent(now_ms, end, bytes);
        effects.send.push(Frame::Batch(Batch {
            stream: StreamId::Answer,
            epoch: run.epoch,
            floor: window.floor,
            first: run.first,
            records: run.records,
        }));
    }

    fn pump(&mut self, effects: &mut Effects) {
        let Phase::Serving { epoch, sender, fetching, .. } = &mut self.phase else { return };
        if *fetching {
            return;
        }
        if let Some(window) = sender.window() {
            *fetching = true;
            effects.fetch = Some(Fetch {
                epoch: *epoch,
                first: window.first,
                end: window.end,
                bytes_max: window.bytes_max.min(BATCH_BYTES_MAX),
                records_max: BATCH_RECORDS_MAX,
            });
        }
    }
}

struct Run {
    epoch: Epoch,
    first: u64,
    records: Vec<Vec<u8>>,
}

/// How a device's answer stream goes on after a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// From this mark, in the same epoch. It is also proof of delivery.
    From(u64),
    /// The device does not know this epoch: from the start.
    Start,
    /// The device has more than the hub ever sent: the hub's database was put back to an older
    /// copy. What is undelivered goes into a new epoch, or numbers would be used twice.
    NewEpoch,
}

/// Compares how far the hub can have sent its answer stream with what the device has.
pub fn resume(hub: Position, device: Option<Position>) -> Resume {
    match device {
        Some(device) if device.epoch == hub.epoch && device.next > hub.next => Resume::NewEpoch,
        Some(device) if device.epoch == hub.epoch => Resume::From(device.next),
        Some(_) | None => Resume::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(9);

    fn at(next: u64) -> Position {
        Position { stream: StreamId::Answer, epoch: EPOCH, next }
    }

    fn hello() -> Hello {
        Hello { version: "1".into(), at_ms: 0, up: vec![], answers: None }
    }

    fn greeting(mark: u64, end: u64) -> Input {
        Input::Greeted(Greeting { at_ms: 5, marks: vec![], answers_mark: mark, answers: at(end) })
    }

    fn serving(mark: u64, end: u64) -> (Session, Effects) {
        let mut session = Session::default();
        let effects = session.step(0, Input::Frame(Frame::Hello(hello())));
        assert_eq!(effects.persist, [Persist::Greet(hello())]);
        assert_eq!(effects.send, [], "nothing before the commit");
        let effects = session.step(0, greeting(mark, end));
        (session, effects)
    }

    fn fetched(first: u64, count: usize) -> Input {
        Input::Fetched { epoch: EPOCH, first, records: vec![vec![1; 10]; count] }
    }

    #[test]
    fn a_batch_is_acknowledged_only_once_committed() {
        let mut session = Session::default();
        let batch = Batch {
            stream: StreamId::Outcome,
            epoch: Epoch(1),
            floor: 0,
            first: 0,
            records: vec![vec![]],
        };
        let effects = session.step(0, Input::Frame(Frame::Batch(batch.clone())));
        assert_eq!((effects.persist, effects.send), (vec![Persist::Ingest(batch)], vec![]));
        let mark = Position { stream: StreamId::Outcome, epoch: Epoch(1), next: 1 };
        assert_eq!(session.step(0, Input::Ingested(mark)).send, [Frame::Ack(mark)]);
    }

    #[test]
    fn answers_flow_from_the_devices_mark() {
        let (mut session, effects) = serving(2, 5);
        assert!(matches!(&effects.send[..], [Frame::Welcome(w)] if w.answers == at(5)));
        assert_eq!(effects.fetch.map(|f| (f.first, f.end)), Some((2, 5)));
        let effects = session.step(1, fetched(2, 3));
        assert!(matches!(&effects.send[..], [Frame::Batch(b)] if b.first == 2 && b.floor == 0));
        assert_eq!(effects.fetch, None, "all is sent");
        let effects = session.step(2, Input::Frame(Frame::Ack(at(5))));
        assert_eq!(effects.persist, [Persist::Delivered(at(5))]);
        let effects = session.step(3, Input::AnswersUntil(at(6)));
        assert_eq!((effects.persist, effects.fetch), (vec![Persist::Offer(at(6))], None));
        let effects = session.step(3, Input::AnswersUntil(at(6)));
        assert_eq!(effects.persist, [], "asked for once");
        let effects = session.step(3, Input::Offered(at(6)));
        assert_eq!(effects.fetch.map(|f| (f.first, f.end)), Some((5, 6)));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_delivers_nothing() {
        let (mut session, _) = serving(0, 5);
        for position in [at(5), at(0), Position { epoch: Epoch(1), ..at(1) }] {
            let effects = session.step(0, Input::Frame(Frame::Ack(position)));
            assert_eq!(effects.persist, [], "{position:?}");
        }
        let up = Position { stream: StreamId::Outcome, ..at(1) };
        assert!(session.step(0, Input::Frame(Frame::Ack(up))).problem.is_some());
    }

    #[test]
    fn silence_sends_again() {
        let (mut session, _) = serving(0, 2);
        session.step(0, fetched(0, 2));
        assert_eq!(session.next_wakeup(), Some(STALL_MS));
        let effects = session.step(STALL_MS, Input::Tick);
        assert_eq!(effects.fetch.map(|f| f.first), Some(0));
    }

    #[test]
    fn what_was_fetched_for_an_older_place_is_dropped() {
        let (mut session, _) = serving(0, 2);
        session.step(0, Input::Frame(Frame::Hello(hello())));
        session.step(0, greeting(1, 2));
        let effects = session.step(0, fetched(0, 2));
        assert_eq!(effects.send, []);
        assert_eq!(effects.fetch.map(|f| f.first), Some(1), "asked for again");
    }

    #[test]
    fn where_the_answer_stream_resumes() {
        let device = |epoch, next| Some(Position { stream: StreamId::Answer, epoch, next });
        assert_eq!(resume(at(5), None), Resume::Start);
        assert_eq!(resume(at(5), device(Epoch(1), 3)), Resume::Start);
        assert_eq!(resume(at(5), device(EPOCH, 3)), Resume::From(3));
        assert_eq!(resume(at(5), device(EPOCH, 6)), Resume::NewEpoch);
    }
}
