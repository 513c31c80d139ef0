//! A device's shell: a process with a store, a session and callers. It does what the product's
//! shell does, one effect after another, and may lose power before any of them. What is decided
//! is decided by `landfall-agent-core`, as in the product.

use crate::book::Numbers;
use crate::disk::{Disk, Image};
use crate::fault::Fault;
use crate::invariant::Invariant;
use crate::net::{Link, Way, shown};
use crate::plant::Plant;
use crate::world::{Event, World};
use landfall_agent_core::session::{
    Closing, Down, DownBatch, Event as Happened, Persist, Send, Session, Wanted,
};
use landfall_agent_core::store::{
    Committed, Engine, Failed, GROUP_RECORDS_MAX, Op, RESERVE_BYTES, Refused, Reply, Shared,
    StoreError,
};
use landfall_wire::backoff::Backoff;
use landfall_wire::frame::{Batch, Frame, Position};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::limits::RECORD_BYTES_MAX;
use landfall_wire::record::{Event as DeviceEvent, Record, StreamId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// A device that was put back to an old image is out of reach for up to so long.
const OUT_OF_REACH_MS: u64 = 20_000;

/// What the store said to whoever asked.
pub(crate) enum Heard {
    Committed {
        request: u64,
        result: Result<Committed, StoreError>,
    },
    Delivered {
        ticket: Ticket,
        result: Result<(), StoreError>,
    },
    /// Something that nobody waits for.
    Done,
}

type Inbox = Arc<Mutex<Vec<Heard>>>;

/// A connection, as the device has it.
pub(crate) struct Conn {
    pub(crate) link: u64,
    pub(crate) session: Session,
    since_ms: u64,
    /// What is in flight, by stream: the end of each batch and its bytes.
    flights: BTreeMap<(StreamId, Epoch), VecDeque<(u64, usize)>>,
}

/// A process.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u64,
    pub(crate) ops: Vec<Op>,
    flushing: bool,
    inbox: Inbox,
    /// Told only once the disk has what is said.
    withheld: Vec<Heard>,
    pub(crate) conn: Option<Conn>,
    backoff: Backoff,
    wake_ms: Option<u64>,
    has_subscribed: bool,
}

pub(crate) struct Device {
    pub(crate) disk: Disk,
    pub(crate) life: Option<Life>,
    lives: u64,
    /// An image of the disk, with the numbers that had been told by then.
    pub(crate) image: Option<(Numbers, Image)>,
    pub(crate) wall_ms: u64,
    /// There is no link until then.
    ashore_ms: u64,
}

impl Device {
    pub(crate) fn new(disk: Disk) -> Device {
        Device { disk, life: None, lives: 0, image: None, wall_ms: 1_700_000_000_000, ashore_ms: 0 }
    }

    pub(crate) fn life(&mut self, number: u64) -> Option<&mut Life> {
        self.life.as_mut().filter(|life| life.number == number)
    }
}

impl Life {
    pub(crate) fn inbox<T>(
        &self,
        disk: &Disk,
        heard: impl FnOnce(Result<T, StoreError>) -> Heard + std::marker::Send + 'static,
    ) -> Reply<T> {
        let (inbox, disk) = (self.inbox.clone(), disk.clone());
        Box::new(move |result| {
            // A process without power says nothing.
            if !disk.lock().has_crashed() {
                inbox.lock().unwrap_or_else(PoisonError::into_inner).push(heard(result));
            }
        })
    }
}

impl World {
    /// The process starts.
    pub(crate) fn boot(&mut self, device: usize) {
        let now_ms = self.now_ms;
        let unit = &mut self.devices[device];
        if unit.life.is_some() {
            return;
        }
        unit.disk.lock().boot();
        let opened = Engine::open(Box::new(unit.disk.clone()), self.plan.store.clone(), now_ms);
        let crashed = unit.disk.lock().has_crashed();
        let engine = match opened {
            Ok((engine, _)) if !crashed => engine,
            Ok(_) | Err(_) => {
                let why = opened.err();
                self.note(|_| format!("d{device} does not start: {why:?}"));
                return self.within(6_000, Event::Boot(device));
            }
        };
        let unit = &mut self.devices[device];
        unit.lives += 1;
        let number = unit.lives;
        let life = Life {
            shared: engine.shared(),
            engine,
            number,
            ops: Vec::new(),
            flushing: false,
            inbox: Inbox::default(),
            withheld: Vec::new(),
            conn: None,
            backoff: Backoff::new(500, 8_000),
            wake_ms: None,
            has_subscribed: false,
        };
        unit.life = Some(life);
        self.note(|world| {
            let life = world.devices[device].life.as_ref();
            let streams = life.map(|life| life.shared.streams());
            format!("d{device} starts, life {number}: {streams:?}")
        });
        self.within(500, Event::Connect(device, number));
        self.ask(device, |life, disk| Op::Event {
            event: Box::new(landfall_wire::record::Event::Started {
                at_ms: 0,
                version: String::new(),
                config: landfall_wire::id::ShortDigest::default(),
            }),
            reply: life.inbox(disk, |_| Heard::Done),
        });
        self.plan_wake(device);
    }

    /// Power is lost: the process is gone, and what was not durable.
    pub(crate) fn crash(&mut self, device: usize) {
        self.happened(Fault::DeviceCrash);
        self.end_life(device, "crashes");
        self.within(6_000, Event::Boot(device));
    }

    fn end_life(&mut self, device: usize, how: &str) {
        self.note(|_| format!("d{device} {how}"));
        let unit = &mut self.devices[device];
        let mut disk = unit.disk.lock();
        disk.cut_power();
        // What nobody was told is known only as long as the process lives: a commit that failed in
        // part is to the next one what a power cut makes of a write.
        self.books[device].fate.damaged |= disk.is_damaged();
        drop(disk);
        let Some(life) = unit.life.take() else { return };
        if let Some(conn) = life.conn {
            self.device_end(conn.link, true);
        }
    }

    /// The process is stopped in good order, and started again.
    pub(crate) fn shutdown(&mut self, device: usize, number: u64) {
        if self.devices[device].life(number).is_none() {
            return;
        }
        self.happened(Fault::Reboot);
        self.process(device);
        let now_ms = self.now_ms;
        if let Some(life) = self.devices[device].life(number) {
            life.engine.stop(now_ms);
            self.settle_lag(device);
            self.end_life(device, "is stopped");
            self.within(4_000, Event::Boot(device));
        }
    }

    /// The process is killed, and the end of its file is gone when it starts again.
    pub(crate) fn lose_tail(&mut self, device: usize) {
        if self.devices[device].life.is_none() {
            return;
        }
        self.end_life(device, "is killed, and its file is damaged");
        if self.devices[device].disk.lock().lose_tail() {
            self.happened(Fault::TailLost);
            self.books[device].fate.damaged = true;
            self.books[device].shake();
        }
        self.within(6_000, Event::Boot(device));
    }

    /// The disk is put back to an older image, with the device switched off.
    pub(crate) fn put_back(&mut self, device: usize) {
        let unit = &self.devices[device];
        let Some((numbers, image)) = unit.image.clone() else {
            let image = unit.disk.lock().image();
            let numbers = self.books[device].numbers.clone();
            self.devices[device].image = Some((numbers, image));
            return;
        };
        self.happened(Fault::ImageRestored);
        self.end_life(device, "is put back to an old image");
        self.devices[device].disk.lock().restore(&image);
        self.devices[device].image = None;
        // It may write as much as it had written, before it meets the hub.
        self.devices[device].ashore_ms = self.now_ms + self.rng.below(OUT_OF_REACH_MS);
        let rows = &self.hub.rows[device];
        self.books[device].put_back(numbers, |told, request| {
            let outcome = rows.outcomes.get(&(told.epoch, told.seq)) == Some(&request);
            let question = told.ticket.and_then(|ticket| rows.questions.get(&ticket));
            (outcome, question.is_some_and(|question| question.request == request))
        });
        // What an older connection still carries has arrived or died by then.
        let links: Vec<u64> =
            self.links.iter().filter(|(_, l)| l.device == device).map(|(n, _)| *n).collect();
        links.into_iter().for_each(|number| self.hub_closes(number));
        self.within(6_000, Event::Boot(device));
    }

    /// An effect is due: says whether there is still power for it.
    fn burn(&mut self, device: usize) -> bool {
        let on = self.devices[device].disk.lock().burn();
        if !on && self.devices[device].life.is_some() {
            self.crash(device);
        }
        on
    }

    // --- the store ---------------------------------------------------------------------------

    /// Asks the store to write something, a little later and together with others.
    pub(crate) fn ask(&mut self, device: usize, op: impl FnOnce(&Life, &Disk) -> Op) {
        let unit = &mut self.devices[device];
        let Some(life) = &mut unit.life else { return };
        let op = op(life, &unit.disk);
        life.ops.push(op);
        if !life.flushing {
            life.flushing = true;
            let number = life.number;
            self.within(60, Event::Flush(device, number));
        }
    }

    pub(crate) fn flush(&mut self, device: usize, number: u64) {
        if self.devices[device].life(number).is_some() {
            self.process(device);
        }
    }

    /// Lets the store write what waits.
    fn process(&mut self, device: usize) {
        let now_ms = self.now_ms;
        let Some(life) = &mut self.devices[device].life else { return };
        life.flushing = false;
        let mut ops = std::mem::take(&mut life.ops);
        while !ops.is_empty() {
            let rest = ops.split_off(ops.len().min(GROUP_RECORDS_MAX));
            let closing = life.engine.process(now_ms, ops);
            debug_assert!(closing.is_none(), "nobody asked to close");
            ops = rest;
        }
        self.after_engine(device);
    }

    /// After the engine ran: power, news, answers, limits, the next wake-up.
    fn after_engine(&mut self, device: usize) {
        let unit = &mut self.devices[device];
        if unit.disk.lock().has_crashed() {
            if unit.life.is_some() {
                self.crash(device);
            }
            return;
        }
        let Some(life) = &mut unit.life else { return };
        let number = life.number;
        let news = life.engine.take_news();
        let heard = std::mem::take(&mut *life.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        if news.durable {
            self.after(0, Event::Durable(device, number));
        }
        if self.plant == Some(Plant::SendsBeforeDurable) {
            self.withhold(device, heard);
        } else {
            heard.into_iter().for_each(|heard| self.hear(device, heard));
        }
        self.check_disk(device);
        self.plan_wake(device);
    }

    fn withhold(&mut self, device: usize, heard: Vec<Heard>) {
        if let Some(life) = &mut self.devices[device].life {
            life.withheld.extend(heard);
        }
    }

    /// The operating system writes back what was not synced; only with a planted fault is there
    /// any.
    pub(crate) fn write_back(&mut self, device: usize) {
        self.settle_lag(device);
        self.within(3_000, Event::WriteBack(device));
    }

    fn settle_lag(&mut self, device: usize) {
        if self.devices[device].disk.lock().has_crashed() {
            return;
        }
        self.devices[device].disk.lock().write_back();
        let life = self.devices[device].life.as_mut();
        let withheld = life.map(|life| std::mem::take(&mut life.withheld)).unwrap_or_default();
        withheld.into_iter().for_each(|heard| self.hear(device, heard));
    }

    fn check_disk(&mut self, device: usize) {
        let unit = &self.devices[device];
        let Some(life) = &unit.life else { return };
        let status = life.shared.status();
        self.books[device].fate.full |= status.bytes + RESERVE_BYTES >= status.bytes_max;
        // One commit is measured before it is made; making room copies what must stay first.
        let slack = 3 * unit.disk.lock().commit_bytes_max + status.bytes_max / 4;
        let fate = self.books[device].fate;
        let salvaged = fate.damaged || fate.torn;
        if status.bytes > status.bytes_max + slack && !salvaged {
            let detail = format!("d{device} has {} of {} bytes", status.bytes, status.bytes_max);
            self.broken(Invariant::DiskWithinLimit, detail);
        }
    }

    /// Says when the device has something to do by time.
    fn plan_wake(&mut self, device: usize) {
        let now_ms = self.now_ms;
        let Some(life) = &mut self.devices[device].life else { return };
        let session = life
            .conn
            .as_ref()
            .and_then(|conn| conn.session.next_wakeup().map(|ms| conn.since_ms.saturating_add(ms)));
        let session = session.filter(|_| self.plant != Some(Plant::NoResend));
        let due_ms = life.engine.housekeep_at_ms().min(session.unwrap_or(u64::MAX)).max(now_ms);
        if life.wake_ms.is_none_or(|known| due_ms < known || known < now_ms) {
            life.wake_ms = Some(due_ms);
            let number = life.number;
            self.after(due_ms - now_ms, Event::Wake(device, number));
        }
    }

    pub(crate) fn wake(&mut self, device: usize, number: u64) {
        let (now_ms, plant) = (self.now_ms, self.plant);
        let Some(life) = self.devices[device].life(number) else { return };
        if life.wake_ms != Some(now_ms) {
            return;
        }
        life.wake_ms = None;
        if life.engine.housekeep_at_ms() <= now_ms {
            life.engine.housekeep(now_ms);
            self.after_engine(device);
        }
        let Some(life) = self.devices[device].life(number) else { return };
        if let Some(conn) = &mut life.conn
            && plant != Some(Plant::NoResend)
            && conn.session.next_wakeup().is_some_and(|ms| conn.since_ms + ms <= now_ms)
        {
            if conn.session.is_online() {
                self.happened(Fault::WentBack);
            }
            self.step(device, Happened::Tick);
        }
        self.plan_wake(device);
    }

    // --- the connection ----------------------------------------------------------------------

    pub(crate) fn connect(&mut self, device: usize, number: u64) {
        let (now_ms, limits) = (self.now_ms, self.plan.limits);
        let often = self.plan.mischief.contains(&Fault::NoLink) && self.rng.permille(400);
        let no_link = !self.healed && (often || now_ms < self.devices[device].ashore_ms);
        let down = self.hub.is_down();
        let plant = self.plant;
        let Some(life) = self.devices[device].life(number) else { return };
        if life.conn.is_some() {
            return;
        }
        if no_link || down {
            if no_link {
                self.happened(Fault::NoLink);
            }
            return self.connect_later(device);
        }
        let link = self.next_link;
        self.next_link += 1;
        let mut held = life.shared.held();
        if plant == Some(Plant::OldImageUnnoticed) {
            held.iter_mut().for_each(|held| held.reach = held.end);
        }
        let session = Session::new(limits, held, life.shared.answers());
        life.conn = Some(Conn { link, session, since_ms: now_ms, flights: BTreeMap::new() });
        let mut made = Link::new(device);
        made.subscribed = plant != Some(Plant::NotResubscribed) || !life.has_subscribed;
        life.has_subscribed = true;
        self.links.insert(link, made);
        self.hub_accepts(link, device);
        self.note(|_| format!("d{device} connects, link {link}"));
        let (low, high) = self.plan.latency_ms;
        let round_trip_ms = 2 * self.rng.between(low, high);
        self.after(round_trip_ms, Event::Subscribed(link));
    }

    fn connect_later(&mut self, device: usize) {
        let draw = self.rng.u32();
        let Some(life) = &mut self.devices[device].life else { return };
        let (pause_ms, number) = (life.backoff.failed(draw), life.number);
        self.after(pause_ms, Event::Connect(device, number));
    }

    fn conn_of(&mut self, link: u64) -> Option<usize> {
        let device = self.links.get(&link)?.device;
        let conn = self.devices[device].life.as_ref()?.conn.as_ref()?;
        (conn.link == link).then_some(device)
    }

    pub(crate) fn subscribed(&mut self, link: u64) {
        let dead = self.links.get(&link).is_none_or(|link| link.dead);
        if let Some(device) = self.conn_of(link).filter(|_| !dead) {
            let at_ms = self.now_ms.wrapping_add(self.devices[device].wall_ms);
            self.step(device, Happened::Connected { version: "sim".to_owned(), at_ms });
        }
    }

    pub(crate) fn deliver_down(&mut self, link: u64, frame: Frame) {
        let Some(device) = self.conn_of(link) else { return };
        if self.links.get(&link).is_none_or(|link| link.dead) {
            return;
        }
        self.note(|_| format!("link {link}: d{device} takes {}", shown(&frame)));
        self.step(device, Happened::Frame(frame));
    }

    /// The device learns that its connection is gone.
    pub(crate) fn device_notices(&mut self, link: u64) {
        if let Some(device) = self.conn_of(link) {
            self.disconnect(device);
        }
    }

    fn disconnect(&mut self, device: usize) {
        let Some(life) = &mut self.devices[device].life else { return };
        let Some(conn) = life.conn.take() else { return };
        life.shared.withdraw();
        if conn.session.is_online() {
            life.backoff.succeeded();
        }
        self.device_end(conn.link, false);
        self.connect_later(device);
    }

    /// The device's end of a link is over; the hub hears of it soon, or after a crash late.
    fn device_end(&mut self, number: u64, silently: bool) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.device_open = false;
        let hears = link.hub_open && !link.dead;
        if hears {
            let most_ms = if silently { 15_000 } else { 100 };
            self.within(most_ms, Event::HubNotices(number));
        }
        self.bury(number);
    }

    pub(crate) fn durable(&mut self, device: usize, number: u64) {
        let Some(life) = self.devices[device].life(number) else { return };
        for held in life.shared.held() {
            self.step(device, Happened::Durable(held));
        }
    }

    /// Feeds the session, and does what it says: first what is to persist, durably, and only
    /// then what is to send.
    fn step(&mut self, device: usize, event: Happened) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now_ms = self.now_ms;
            let unit = &mut self.devices[device];
            let Some(conn) = unit.life.as_mut().and_then(|life| life.conn.as_mut()) else { return };
            let link = conn.link;
            let effects = conn.session.step(now_ms - conn.since_ms, event);
            let early = self.plant == Some(Plant::DeviceAcksBeforeWrite);
            if early {
                for send in &effects.send {
                    if let Send::Frame(frame @ Frame::Ack(_)) = send {
                        self.check_own_ack(device, frame);
                        self.carry(link, Way::Up, frame);
                    }
                }
            }
            for persist in effects.persist {
                if !self.burn(device) || !self.persist(device, persist) {
                    return;
                }
            }
            for send in effects.send {
                if !self.burn(device) {
                    return;
                }
                match send {
                    Send::Frame(Frame::Ack(_)) if early => {}
                    Send::Frame(frame) => {
                        self.check_own_ack(device, &frame);
                        self.carry(link, Way::Up, &frame);
                    }
                    Send::Range(wanted) => match self.serve(device, link, wanted) {
                        Some(event) => events.push_back(event),
                        None => return self.disconnect(device),
                    },
                    Send::Close(why) => {
                        self.note(|_| format!("d{device} leaves link {link}: {why}"));
                        if matches!(why, Closing::Silent(_)) {
                            self.happened(Fault::SilentHub);
                        }
                        return self.disconnect(device);
                    }
                }
            }
        }
        self.plan_wake(device);
    }

    /// Says whether the connection goes on.
    fn persist(&mut self, device: usize, persist: Persist) -> bool {
        self.note(|_| format!("d{device} persists {persist:?}"));
        let slot: Arc<Mutex<Option<Result<(), StoreError>>>> = Arc::default();
        let told = slot.clone();
        let reply: Reply<()> = Box::new(move |result| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        let op = match persist {
            Persist::Acked(mark) => {
                self.landed(device, mark);
                self.ask(device, |life, disk| Op::Acked {
                    mark,
                    reply: life.inbox(disk, |_| Heard::Done),
                });
                return true;
            }
            Persist::Offer => Op::Offer { reply },
            Persist::Down(mut batch) => {
                self.check_down(device, &batch);
                if self.plant == Some(Plant::RefusalForgotten) {
                    batch.arrived.retain(|one| !matches!(one.down, Down::Refusal(_)));
                }
                Op::Down { batch, reply }
            }
            Persist::RolledBack(mark) => Op::RolledBack { mark, reply },
        };
        let Some(life) = &mut self.devices[device].life else { return false };
        life.ops.push(op);
        self.process(device);
        let result = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Some(Ok(())) => self.devices[device].life.is_some(),
            Some(Err(error)) => {
                self.note(|_| format!("d{device} cannot write: {error}"));
                self.disconnect(device);
                false
            }
            None => false,
        }
    }

    /// The hub has been updated: what it refused is sent once more.
    pub(crate) fn resend(&mut self, device: usize) {
        if !self.refused(device).iter().any(|one| one.record.is_some()) {
            return;
        }
        self.ask(device, |life, disk| Op::Resend {
            which: None,
            reply: life.inbox(disk, |_| Heard::Done),
        });
    }

    /// What the device knows the hub to have refused.
    pub(crate) fn refused(&self, device: usize) -> Vec<Refused> {
        let life = self.devices[device].life.as_ref();
        life.and_then(|life| life.shared.refused().ok()).unwrap_or_default()
    }

    fn check_down(&mut self, device: usize, batch: &DownBatch) {
        let mut tickets = Vec::new();
        let mut unreadable = batch.gone;
        for one in &batch.arrived {
            match &one.down {
                Down::Answer(answer) => tickets.push(answer.ticket),
                Down::Refusal(_) | Down::Directive(_) => {}
                Down::Unreadable => unreadable += 1,
            }
        }
        if unreadable > 0 && !self.hub.restored {
            let mark = batch.mark;
            let detail =
                format!("d{device} cannot read {unreadable} records of the hub at {mark:?}");
            self.broken(Invariant::GapsRecorded, detail);
        }
        self.count_late(device, tickets);
    }

    fn count_late(&mut self, device: usize, tickets: Vec<Ticket>) {
        for ticket in tickets {
            let seen = self.books[device].tickets.get(&ticket);
            if seen.is_some_and(|seen| seen.over && seen.answer.is_none()) {
                self.happened(Fault::LateAnswer);
            }
        }
    }

    /// Reads a range and sends it.
    fn serve(&mut self, device: usize, link: u64, wanted: Wanted) -> Option<Happened> {
        let Wanted { stream, epoch, first, end, bytes_max, floor } = wanted;
        let life = self.devices[device].life.as_mut()?;
        let chunk = match life.shared.read(stream, epoch, first, end, bytes_max) {
            Ok(chunk) => chunk,
            Err(Failed::Generation(number, error)) => {
                let detail = format!("{error:?}");
                life.ops.push(Op::Suspect { number, detail });
                self.process(device);
                return None;
            }
            Err(Failed::Store(_)) => return None,
        };
        if chunk.records.is_empty() {
            self.happened(Fault::HoleJumped);
            return Some(Happened::Hole { next_held: chunk.next_held });
        }
        let end = first + chunk.records.len() as u64;
        let bytes: usize = chunk.records.iter().map(Vec::len).sum();
        for (seq, record) in (first..).zip(&chunk.records) {
            if !self.devices[device].disk.lock().is_durable(stream, epoch, seq, record) {
                let name = stream.name();
                let detail = format!("d{device} sends {name} {epoch}-{seq}, which is not durable");
                self.broken(Invariant::DurableBeforeSend, detail);
            }
        }
        let mut records = chunk.records;
        if self.plant == Some(Plant::LossForgotten) {
            records.iter_mut().for_each(forget_loss);
        }
        self.carry(link, Way::Up, &Frame::Batch(Batch { stream, epoch, floor, first, records }));
        let life = self.devices[device].life.as_mut()?;
        life.shared.sent(Position { stream, epoch, next: end });
        self.launched(device, (stream, epoch), first, end, bytes);
        Some(Happened::Sent { end, bytes })
    }

    /// A batch is in flight: a window and one batch over it is the most there may be.
    fn launched(&mut self, device: usize, key: (StreamId, Epoch), first: u64, end: u64, n: usize) {
        let limits = self.plan.limits;
        let Some(life) = &mut self.devices[device].life else { return };
        let Some(conn) = &mut life.conn else { return };
        let flights = conn.flights.entry(key).or_default();
        if flights.back().is_some_and(|(end, _)| *end > first) {
            // It went back: what was in flight counts no more.
            flights.clear();
        }
        flights.push_back((end, n));
        let flying: usize = flights.iter().map(|(_, bytes)| bytes).sum();
        let most = limits.window_bytes_max / 2 + limits.batch_bytes_max + RECORD_BYTES_MAX;
        if flying > most {
            let detail = format!("d{device} has {flying} bytes of {} in flight", key.0.name());
            self.broken(Invariant::MemoryWithinLimit, detail);
        }
    }

    fn landed(&mut self, device: usize, mark: Position) {
        let life = self.devices[device].life.as_mut();
        let Some(conn) = life.and_then(|life| life.conn.as_mut()) else { return };
        if let Some(flights) = conn.flights.get_mut(&(mark.stream, mark.epoch)) {
            flights.retain(|(end, _)| *end > mark.next);
        }
    }

    /// The device acknowledges answers only when its store has them.
    fn check_own_ack(&mut self, device: usize, frame: &Frame) {
        let Frame::Ack(mark) = frame else { return };
        let Some(life) = &self.devices[device].life else { return };
        let has = life.shared.answers();
        let covered = has.is_some_and(|has| has.epoch == mark.epoch && has.next >= mark.next);
        if !covered && mark.next > 0 {
            let detail = format!("d{device} acknowledges answers to {mark:?}, it has {has:?}");
            self.broken(Invariant::CommittedBeforeAck, detail);
        }
    }
}

/// Another event takes the place of a loss.
fn forget_loss(record: &mut Vec<u8>) {
    if let Ok(Record::Loss(_)) = Record::decode(record) {
        let event = DeviceEvent::Trouble { at_ms: 0, detail: "nothing".to_owned() };
        *record = Record::Event(event).encode().expect("it is small");
    }
}
