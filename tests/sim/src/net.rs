//! Connections between devices and the hub, as MQTT over a broker offers them: frames may be
//! lost, doubled, overtaken and late, a connection may die at both ends, at one, or at none.

use crate::fault::Fault;
use crate::world::{Event, World};
use landfall_wire::coding::Primer;
use landfall_wire::frame::Frame;

/// How long a keep-alive needs to notice a dead connection, at the device and at the hub.
const NOTICE_MS: (u64, u64) = (5_000, 15_000);

/// How late a late frame is.
const LATE_MS: (u64, u64) = (1_000, 20_000);

/// One frame in so many is also put through the codec; all of them would take most of the time.
const CODEC_EVERY: u64 = 16;

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) device: usize,
    /// Each side believes that it is connected.
    pub(crate) device_open: bool,
    pub(crate) hub_open: bool,
    /// Nothing passes any more.
    pub(crate) dead: bool,
    /// The broker delivers what comes for the device.
    pub(crate) subscribed: bool,
    /// When the last frame of each direction arrives.
    up_ms: u64,
    down_ms: u64,
}

impl Link {
    pub(crate) fn new(device: usize) -> Link {
        Link {
            device,
            device_open: true,
            hub_open: true,
            dead: false,
            subscribed: false,
            up_ms: 0,
            down_ms: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl World {
    /// Puts a frame on its way, and decides its fate.
    pub(crate) fn carry(&mut self, number: u64, way: Way, frame: &Frame) {
        let Some(link) = self.links.get(&number) else { return };
        if link.dead || (way == Way::Down && !link.subscribed) {
            return;
        }
        if self.rng.below(CODEC_EVERY) == 0 {
            // Seldom coded: it is slow beside everything else here.
            let primer = match self.now_ms % 32 {
                0 => Some(Primer::NEWEST),
                1 => Some(Primer::None),
                _ => None,
            };
            let decoded = frame.encode_for(primer).and_then(|bytes| Frame::decode(&bytes));
            assert_eq!(decoded.as_ref(), Ok(frame), "the codec gives back what it was given");
        }
        let lossy = !self.healed;
        if lossy && self.rng.permille(self.plan.drop_permille) {
            self.note(|_| format!("link {number}: dropped {}", shown(frame)));
            return self.happened(Fault::FrameDropped);
        }
        let twice = lossy && self.rng.permille(self.plan.double_permille);
        if twice {
            self.happened(Fault::FrameDoubled);
        }
        for _ in 0..1 + u32::from(twice) {
            let (low, high) = self.plan.latency_ms;
            let mut delay_ms = self.rng.between(low, high);
            if lossy && self.rng.permille(self.plan.late_permille) {
                delay_ms += self.rng.between(LATE_MS.0, LATE_MS.1);
                self.happened(Fault::FrameLate);
            }
            let mut at_ms = self.now_ms + delay_ms;
            let in_order = self.plan.in_order || self.healed;
            let link = self.links.get_mut(&number).expect("it was there");
            let last_ms = if way == Way::Up { &mut link.up_ms } else { &mut link.down_ms };
            let overtakes = at_ms < *last_ms;
            if in_order {
                at_ms = at_ms.max(*last_ms);
            }
            *last_ms = at_ms.max(*last_ms);
            if overtakes && !in_order {
                self.happened(Fault::FrameOvertaken);
            }
            let frame = Box::new(frame.clone());
            let event = match way {
                Way::Up => Event::ToHub(number, frame),
                Way::Down => Event::ToDevice(number, frame),
            };
            self.after(at_ms - self.now_ms, event);
        }
    }

    /// Both ends learn soon that the connection is gone.
    pub(crate) fn cut(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.dead = true;
            self.within(50, Event::DeviceNotices(number));
            self.within(50, Event::HubNotices(number));
        }
    }

    /// The connection is gone and nobody is told; keep-alives find out.
    pub(crate) fn half_open(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.dead = true;
            let (low, high) = NOTICE_MS;
            let (device_ms, hub_ms) = (self.rng.between(low, high), self.rng.between(low, high));
            self.after(device_ms, Event::DeviceNotices(number));
            self.after(hub_ms, Event::HubNotices(number));
        }
    }

    /// The links that carry something.
    pub(crate) fn live_links(&self) -> Vec<u64> {
        let live = |link: &Link| !link.dead && link.device_open && link.hub_open;
        self.links.iter().filter(|(_, link)| live(link)).map(|(number, _)| *number).collect()
    }

    /// Forgets a connection that is over at both ends.
    pub(crate) fn bury(&mut self, number: u64) {
        if self.links.get(&number).is_some_and(|link| !link.device_open && !link.hub_open) {
            self.links.remove(&number);
        }
    }
}

/// A frame in a log line.
pub(crate) fn shown(frame: &Frame) -> String {
    match frame {
        Frame::Hello(hello) => format!("hello {:?} answers {:?}", hello.up, hello.answers),
        Frame::Welcome(welcome) => {
            format!("welcome {:?} answers {:?}", welcome.marks, welcome.answers)
        }
        Frame::Batch(batch) => format!(
            "batch {} {} {}..{} floor {}",
            batch.stream.name(),
            batch.epoch,
            batch.first,
            batch.first + batch.records.len() as u64,
            batch.floor
        ),
        Frame::Ack(mark) => {
            format!("ack {} {} {}", mark.stream.name(), mark.epoch, mark.next)
        }
        Frame::RollCall => "roll call".to_owned(),
    }
}
