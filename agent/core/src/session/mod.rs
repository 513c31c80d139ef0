//! One connection to the hub, as a state machine.
//!
//! The shell connects, makes a [`Session`] from what its store holds, and feeds it with events;
//! [`Session::step`] says what to do in two ordered halves: *persist*, make that durable, and
//! only then *send*. If persisting fails, the shell drops the connection and sends nothing of
//! that step. A session ends with its connection; the next one starts from the store again.
//!
//! Invariants:
//! * nothing is offered for sending before the hub has told its marks, never what is not
//!   durable, and never above a stream's durable reach;
//! * answers, refusals and directives are acknowledged only in the send half of the step that
//!   persists them;
//! * a hole in a salvaged stream is jumped only once the hub has everything before it, so that
//!   what is merely late is never taken for lost;
//! * what is sent next is worth most a byte, and a stream that waits gains with every turn, so none
//!   starves (`schedule`); a stream that the link does not carry waits for another link;
//! * a connection on which the hub is silent although something is in flight is given up, so
//!   that a broker which forgot a subscription is greeted, and subscribed to, anew;
//! * between the two may be a broker, and the hub may go and come back without the connection's
//!   end: it then calls the roll, and the session greets again and starts from the marks it is
//!   told.
//!
//! Not here: bytes on the wire, the store, clocks. Time is monotonic milliseconds, given.

mod down;
mod schedule;
mod up;

#[cfg(test)]
mod tests;

pub use down::{Arrived, Down, DownBatch};

use crate::link::Carries;
use landfall_wire::frame::{Batch, Frame, Hello, Position, Welcome};
use landfall_wire::id::Epoch;
use landfall_wire::limits::GREETING_STREAMS_MAX;
use landfall_wire::record::StreamId;
use landfall_wire::stream::receive;
use schedule::Schedule;
use std::ops::Range;
use up::Up;

/// So many times the stall time without a word of the hub, while something is in flight, and the
/// connection is given up: two resends went unanswered, and a frame is seldom lost twice.
const SILENT_STALLS: u64 = 3;

/// Bounds of a session; they depend on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Most encoded bytes sent and not yet acknowledged: 64 to 256 kB fill 1 Mbit/s at 600 ms.
    /// Half of it is for outcomes, a quarter for each of the others.
    pub window_bytes_max: usize,
    /// About how large one batch is: 16 kB, so that a cut costs little.
    pub batch_bytes_max: usize,
    /// Shortest wait without progress before sending again; four round trips if those are longer.
    pub stall_ms_min: u64,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            window_bytes_max: 256 * 1024,
            batch_bytes_max: 16 * 1024,
            stall_ms_min: 30_000,
        }
    }
}

/// What the store holds of one stream: records `floor..end`, of which the hub has committed
/// everything below `acked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which stream.
    pub stream: StreamId,
    /// Which life of the store.
    pub epoch: Epoch,
    /// The oldest record that may still be there.
    pub floor: u64,
    /// Everything below is committed at the hub.
    pub acked: u64,
    /// One past the last durable record.
    pub end: u64,
    /// The hub can have nothing from here on: no record above was ever handed to a connection.
    pub reach: u64,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The connection is up and the down topic is subscribed.
    Connected {
        /// The agent's version, for the greeting.
        version: String,
        /// Wall clock, milliseconds since 1970, for the greeting.
        at_ms: u64,
    },
    /// The connection is gone.
    Disconnected,
    /// A frame came.
    Frame(Frame),
    /// More is durable, or the store dropped old records, or a new epoch began.
    Durable(Held),
    /// The records up to `end` of the range that was asked for are handed to the connection.
    Sent {
        /// One past the last record sent.
        end: u64,
        /// Size of the frame.
        bytes: usize,
    },
    /// The store holds nothing at the start of the range that was asked for.
    Hole {
        /// The first sequence number after it that is held, or the end of the range.
        next_held: u64,
    },
    /// The link takes nothing before this: what was asked for is not sent. What is worth most
    /// then is asked for then.
    Deferred {
        /// Monotonic milliseconds.
        until_ms: u64,
    },
    /// Time has passed.
    Tick,
}

/// What to do: first all of `persist`, made durable, then all of `send`, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// To the store.
    pub persist: Vec<Persist>,
    /// To the connection.
    pub send: Vec<Send>,
}

/// For the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persist {
    /// The hub has committed everything below. Need not be durable before the send half.
    Acked(Position),
    /// The hub may be given everything there is: write that the reach of every stream is its
    /// end, now and with every commit of this connection.
    Offer,
    /// Apply what came from the hub and move the mark of its stream, in one atomic durable write.
    Down(DownBatch),
    /// The hub holds more of this stream than it can have had from this store, which was
    /// restored from an old image: it must begin a new epoch.
    RolledBack(Position),
}

/// For the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Send {
    /// Send this frame.
    Frame(Frame),
    /// Read records from the store and send them in one batch; then report [`Event::Sent`] or
    /// [`Event::Hole`]. There is never more than one such request open.
    Range(Wanted),
    /// Drop the connection, and connect again after a pause.
    Close(Closing),
}

/// Records to read and send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which stream.
    pub stream: StreamId,
    /// Which epoch.
    pub epoch: Epoch,
    /// The first record.
    pub first: u64,
    /// One past the last that may be sent.
    pub end: u64,
    /// Read records until this many bytes, but at least one.
    pub bytes_max: usize,
    /// For the batch's `floor`.
    pub floor: u64,
}

/// Why the session gives the connection up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closing {
    /// The greeting was not answered in time.
    #[error("the hub did not answer the greeting within {0} ms")]
    NoWelcome(u64),
    /// The hub said something that makes no sense.
    #[error("the hub broke the protocol: {0}")]
    Protocol(&'static str),
    /// The store began a new epoch, or ended a stream earlier, of which the hub must be told.
    #[error("the streams of the store changed")]
    StoreChanged,
    /// The hub holds more than it can have had from this store.
    #[error("the hub holds more than it had from this store, which was restored from an old image")]
    RolledBack,
    /// Something is in flight and the hub says nothing.
    #[error("the hub said nothing for {0} ms, although records are on their way to it")]
    Silent(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    Greeting { since_ms: u64 },
    Online,
    Closed,
}

/// One connection to the hub.
#[derive(Debug, Clone)]
pub struct Session {
    limits: SessionLimits,
    phase: Phase,
    held: Vec<Held>,
    ups: Vec<Up>,
    answers: Option<Position>,
    carries: Carries,
    schedule: Schedule,
    /// Nothing is offered before.
    deferred_ms: Option<u64>,
    stall_ms: u64,
    /// When something was first sent since the hub last said anything.
    unanswered_ms: Option<u64>,
    /// Stream, epoch and first record of the range that the shell is reading.
    reading: Option<(StreamId, Epoch, u64)>,
    connected: Option<Connected>,
}

/// What [`Event::Connected`] said, and when, for a later greeting.
#[derive(Debug, Clone)]
struct Connected {
    version: String,
    at_ms: u64,
    since_ms: u64,
}

impl Session {
    /// A session that starts from what the store holds. At most [`GREETING_STREAMS_MAX`]
    /// streams take part; the others wait for a later connection.
    pub fn new(limits: SessionLimits, mut held: Vec<Held>, answers: Option<Position>) -> Session {
        held.truncate(GREETING_STREAMS_MAX);
        Session {
            limits,
            phase: Phase::Offline,
            held,
            ups: Vec::new(),
            answers,
            carries: Carries::ALL,
            schedule: Schedule::default(),
            deferred_ms: None,
            stall_ms: limits.stall_ms_min,
            unanswered_ms: None,
            reading: None,
            connected: None,
        }
    }

    /// Offers only what the link carries.
    #[must_use]
    pub fn over(self, carries: Carries) -> Session {
        Session { carries, ..self }
    }

    /// Whether the hub has answered the greeting.
    pub fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Whether everything that was offered is committed at the hub.
    pub fn is_idle(&self) -> bool {
        self.is_online() && self.ups.iter().all(Up::is_idle)
    }

    /// When [`Event::Tick`] has something to do.
    pub fn next_wakeup(&self) -> Option<u64> {
        match self.phase {
            Phase::Greeting { since_ms } => Some(since_ms.saturating_add(self.limits.stall_ms_min)),
            Phase::Online => {
                self.ups.iter().filter_map(Up::next_wakeup).chain(self.deferred_ms).min()
            }
            Phase::Offline | Phase::Closed => None,
        }
    }

    /// Takes one event in.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Connected { version, at_ms } => {
                self.connected = Some(Connected { version, at_ms, since_ms: now_ms });
                self.greet(now_ms, &mut effects);
            }
            Event::Disconnected => self.phase = Phase::Closed,
            Event::Frame(frame) => self.frame(now_ms, frame, &mut effects),
            Event::Durable(held) => self.durable(held, &mut effects),
            Event::Sent { end, bytes } => {
                if let Some((up, first)) = self.read() {
                    up.sent(now_ms, first, end, bytes);
                    let stream = up.stream();
                    self.schedule.sent(stream, end.saturating_sub(first), bytes);
                    self.unanswered_ms.get_or_insert(now_ms);
                }
            }
            Event::Deferred { until_ms } => {
                self.reading = None;
                self.deferred_ms = Some(until_ms);
            }
            Event::Hole { next_held } => {
                if let Some((up, first)) = self.read() {
                    if next_held > first {
                        up.hole(first, next_held);
                    } else {
                        self.close(Closing::StoreChanged, &mut effects);
                    }
                }
            }
            Event::Tick => self.tick(now_ms, &mut effects),
        }
        self.pump(now_ms, &mut effects);
        effects
    }

    /// Says where the device stands; nothing is offered until the hub has said where it does.
    fn greet(&mut self, now_ms: u64, effects: &mut Effects) {
        let Some(Connected { version, .. }) = &self.connected else { return };
        let (version, at_ms) = (version.clone(), self.wall_ms(now_ms));
        let up = self.held.iter().map(|held| Position {
            stream: held.stream,
            epoch: held.epoch,
            next: held.end,
        });
        let hello = Hello { version, at_ms, up: up.collect(), answers: self.answers };
        self.phase = Phase::Greeting { since_ms: now_ms };
        self.ups.clear();
        effects.send.push(Send::Frame(Frame::Hello(hello)));
    }

    /// The wall clock as the connection's start had it, gone on since.
    fn wall_ms(&self, now_ms: u64) -> u64 {
        let connected = self.connected.as_ref();
        connected.map_or(0, |known| known.at_ms + now_ms.saturating_sub(known.since_ms))
    }

    fn close(&mut self, why: Closing, effects: &mut Effects) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            effects.send.push(Send::Close(why));
        }
    }

    fn frame(&mut self, now_ms: u64, frame: Frame, effects: &mut Effects) {
        self.unanswered_ms = None;
        match (self.phase, frame) {
            (Phase::Offline | Phase::Closed, _) => {}
            (Phase::Greeting { .. } | Phase::Online, Frame::RollCall) => {
                self.greet(now_ms, effects);
            }
            (Phase::Greeting { since_ms }, Frame::Welcome(welcome)) => {
                self.welcome(now_ms, since_ms, &welcome, effects);
            }
            (Phase::Online, Frame::Ack(mark)) => self.acked(now_ms, mark, effects),
            (Phase::Online, Frame::Batch(batch)) => self.batch(now_ms, &batch, effects),
            // From before the welcome: the hub sends it again after it.
            (Phase::Greeting { .. }, Frame::Ack(_) | Frame::Batch(_)) => {}
            // The hub answered two greetings: its session began again with the second.
            (Phase::Online, Frame::Welcome(welcome)) => {
                self.welcome(now_ms, now_ms, &welcome, effects);
            }
            (_, Frame::Hello(_)) => self.close(Closing::Protocol("a hello from the hub"), effects),
        }
    }

    fn acked(&mut self, now_ms: u64, mark: Position, effects: &mut Effects) {
        let up = self.ups.iter_mut().find(|up| up.is(mark.stream, mark.epoch));
        let Some(up) = up else { return };
        if up.is_behind(mark.next) {
            // The welcome that it began with was older than this. It proves nothing now, but a new
            // greeting tells where the hub stands.
            self.greet(now_ms, effects);
        } else {
            let released = up.acked(now_ms, mark.next);
            persist_acked(mark, &released, effects);
        }
    }

    fn welcome(&mut self, now_ms: u64, since_ms: u64, welcome: &Welcome, effects: &mut Effects) {
        if welcome.answers.stream != StreamId::Answer {
            return self.close(Closing::Protocol("a welcome without the answer stream"), effects);
        }
        let round_trip_ms = now_ms.saturating_sub(since_ms);
        self.stall_ms = self.limits.stall_ms_min.max(round_trip_ms.saturating_mul(4));
        self.ups.clear();
        for held in self.held.clone() {
            let find = |p: &&Position| p.stream == held.stream && p.epoch == held.epoch;
            let Some(mark) = welcome.marks.iter().find(find).copied() else {
                return self.close(Closing::Protocol("a welcome without a mark"), effects);
            };
            match Up::online(&self.limits, self.stall_ms, now_ms, held, mark.next) {
                Some(up) => self.ups.push(up),
                None => {
                    effects.persist.push(Persist::RolledBack(mark));
                    return self.close(Closing::RolledBack, effects);
                }
            }
            persist_acked(mark, &(held.acked..mark.next.max(held.acked)), effects);
        }
        effects.persist.push(Persist::Offer);
        self.held.iter_mut().for_each(|held| held.reach = held.end);
        // Another epoch than the one we know: the hub's answers start over.
        if self.answers.is_none_or(|known| known.epoch != welcome.answers.epoch) {
            self.answers = Some(Position { next: 0, ..welcome.answers });
        }
        self.phase = Phase::Online;
    }

    fn batch(&mut self, now_ms: u64, batch: &Batch, effects: &mut Effects) {
        let known = self.answers.filter(|known| known.epoch == batch.epoch);
        let (StreamId::Answer, Some(known)) = (batch.stream, known) else {
            return self.close(Closing::Protocol("a batch of an unknown stream"), effects);
        };
        let receipt = receive(known.next, batch.floor, batch.first, batch.records.len());
        let mark = Position { next: receipt.mark, ..known };
        if mark != known {
            let arrived = receipt.apply.map(|index| Arrived {
                seq: batch.first + index as u64,
                down: Down::read(&batch.records[index]),
            });
            let gone = receipt.gap.map_or(0, |gap| gap.end - gap.start);
            let (arrived, at_ms) = (arrived.collect(), self.wall_ms(now_ms));
            effects.persist.push(Persist::Down(DownBatch { mark, arrived, gone, at_ms }));
            self.answers = Some(mark);
        }
        effects.send.push(Send::Frame(Frame::Ack(mark)));
    }

    fn durable(&mut self, held: Held, effects: &mut Effects) {
        let same = |other: &Held| other.stream == held.stream && other.epoch == held.epoch;
        if let Some(known) = self.held.iter_mut().find(|known| same(known)) {
            *known = held;
            if let Some(up) = self.ups.iter_mut().find(|up| up.is(held.stream, held.epoch)) {
                up.durable(held);
                // The store could not write an acknowledgement when it came.
                let Held { stream, epoch, .. } = held;
                let released = held.acked..up.mark();
                persist_acked(Position { stream, epoch, next: 0 }, &released, effects);
            }
        } else if self.held.len() < GREETING_STREAMS_MAX && held.end > held.acked {
            match self.phase {
                Phase::Offline => self.held.push(held),
                Phase::Greeting { .. } | Phase::Online => {
                    self.close(Closing::StoreChanged, effects);
                }
                Phase::Closed => {}
            }
        }
    }

    fn tick(&mut self, now_ms: u64, effects: &mut Effects) {
        if let Phase::Greeting { .. } = self.phase
            && self.next_wakeup().is_some_and(|at_ms| now_ms >= at_ms)
        {
            self.close(Closing::NoWelcome(self.limits.stall_ms_min), effects);
        }
        let mut stalled = false;
        self.ups.iter_mut().for_each(|up| stalled |= up.tick(now_ms));
        let silent_ms = self.stall_ms.saturating_mul(SILENT_STALLS);
        let since_ms = self.unanswered_ms.unwrap_or(now_ms);
        if stalled && now_ms.saturating_sub(since_ms) >= silent_ms {
            self.close(Closing::Silent(silent_ms), effects);
        }
    }

    /// The stream whose range was read, and its first record; `None` if the session greets anew
    /// meanwhile.
    fn read(&mut self) -> Option<(&mut Up, u64)> {
        let (stream, epoch, first) = self.reading.take()?;
        let up = self.ups.iter_mut().find(|up| up.is(stream, epoch))?;
        (self.phase == Phase::Online).then_some((up, first))
    }

    /// Offers the next range, unless one is being read.
    fn pump(&mut self, now_ms: u64, effects: &mut Effects) {
        self.deferred_ms = self.deferred_ms.filter(|until_ms| now_ms < *until_ms);
        if self.phase != Phase::Online || self.reading.is_some() || self.deferred_ms.is_some() {
            return;
        }
        for batch in self.ups.iter_mut().filter_map(|up| up.news_of_floor(now_ms)) {
            self.unanswered_ms.get_or_insert(now_ms);
            effects.send.push(Send::Frame(Frame::Batch(batch)));
        }
        let ready = |stream: StreamId| {
            let carried = self.carries.stream(stream);
            self.ups.iter().position(|up| carried && up.stream() == stream && up.window().is_some())
        };
        let next = self.schedule.next(|stream| ready(stream).is_some()).and_then(ready);
        if let Some((at, window)) = next.and_then(|at| Some((at, self.ups[at].window()?))) {
            self.reading = Some((self.ups[at].stream(), self.ups[at].epoch(), window.first));
            effects.send.push(Send::Range(Wanted {
                stream: self.ups[at].stream(),
                epoch: self.ups[at].epoch(),
                first: window.first,
                end: window.end,
                bytes_max: window.bytes_max.min(self.limits.batch_bytes_max),
                floor: window.floor,
            }));
        }
    }
}

fn persist_acked(mark: Position, released: &Range<u64>, effects: &mut Effects) {
    if !released.is_empty() {
        effects.persist.push(Persist::Acked(Position { next: released.end, ..mark }));
    }
}
