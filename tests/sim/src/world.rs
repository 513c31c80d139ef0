//! One run: the clock, what is due when, and the parts. Everything that happens is an event on
//! one queue, taken in the order of its time, so a seed gives one history.

use crate::book::Book;
use crate::device::Device;
use crate::disk::{Disk, DiskHabits};
use crate::fault::{Counts, Fault};
use crate::hub::Hub;
use crate::invariant::{Invariant, Violation};
use crate::net::Link;
use crate::plan::Plan;
use crate::plant::Plant;
use crate::rng::Rng;
use landfall_agent_core::store::WhenFull;
use landfall_hub_core::session::Fetch;
use landfall_wire::frame::Frame;
use std::collections::BTreeMap;

/// Time for everything to drain once all is well: ten times the hub's stall time.
const HEAL_MS_MAX: u64 = 300_000;

/// So long after everything was mended, the broker restarts.
const RESTART_MS: u64 = 90_000;

/// Events of one run: far more than any run needs, so a loop without progress ends.
const EVENTS_MAX: u64 = 400_000;

/// Between two looks whether everything has drained.
const LOOK_EVERY_MS: u64 = 2_000;

/// Something is due. A device's events carry its life, a connection's its number: they come to
/// nothing if that is over.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Request(usize),
    Retry(usize, u64),
    Poll(usize),
    Flush(usize, u64),
    Durable(usize, u64),
    WriteBack(usize),
    Wake(usize, u64),
    Connect(usize, u64),
    Boot(usize),
    Shutdown(usize, u64),
    DiskFree(usize),
    Subscribed(u64),
    ToHub(u64, Box<Frame>),
    ToDevice(u64, Box<Frame>),
    DeviceNotices(u64),
    HubNotices(u64),
    HubWake(u64),
    HubFetches(u64, Fetch),
    HubCommit(u64),
    HubBoot,
    HubDiskFree,
    Operator,
    Mischief,
    Heal,
    Look,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which run.
    pub seed: u64,
    /// Events that were handled.
    pub events: u64,
    /// Simulated time in milliseconds.
    pub simulated_ms: u64,
    /// Requests that callers were told are recorded.
    pub told: u64,
    /// Tickets that came to an end.
    pub tickets: u64,
    /// Losses on record.
    pub losses: u64,
    /// What went wrong, and how often.
    pub faults: Counts,
    /// The first promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// What happened, if it was asked for.
    pub log: Vec<String>,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) plant: Option<Plant>,
    pub(crate) devices: Vec<Device>,
    pub(crate) books: Vec<Book>,
    pub(crate) hub: Hub,
    pub(crate) links: BTreeMap<u64, Link>,
    pub(crate) next_link: u64,
    pub(crate) faults: Counts,
    pub(crate) healed: bool,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    events: u64,
    violation: Option<Violation>,
    logs: bool,
    log: Vec<String>,
    done: bool,
}

/// How to run a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A fault planted into a shell.
    pub plant: Option<Plant>,
    /// Keep a log of all events.
    pub log: bool,
}

/// Runs one seed to its end, or to the first broken promise.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut world = World::new(seed, options);
    world.go();
    let (told, tickets) = world.totals();
    Outcome {
        seed,
        events: world.events,
        simulated_ms: world.now_ms,
        told,
        tickets,
        losses: world.hub.rows.iter().map(|rows| rows.lost.len() as u64).sum(),
        faults: world.faults,
        violation: world.violation,
        log: world.log,
    }
}

impl World {
    fn new(seed: u64, options: Options) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let plant = options.plant;
        let habits = DiskHabits {
            scale: plan.scale,
            skips_sync: matches!(plant, Some(Plant::SyncSkipped | Plant::SendsBeforeDurable)),
            one_epoch: plant == Some(Plant::EpochReused),
            removes_early: plant == Some(Plant::RemovedTooEarly),
            ignores_witness: plant == Some(Plant::WitnessIgnored),
        };
        let devices = (0..plan.devices)
            .map(|_| Device::new(Disk::new(habits, Rng::new(rng.next()))))
            .collect();
        let hub = Hub::new(plan.devices, &mut rng);
        let books = (0..plan.devices).map(|_| Book::default()).collect();
        let mut world = World {
            now_ms: 0,
            rng,
            plan,
            plant,
            devices,
            books,
            hub,
            links: BTreeMap::new(),
            next_link: 0,
            faults: Counts::default(),
            healed: false,
            queue: BTreeMap::new(),
            queued: 0,
            events: 0,
            violation: None,
            logs: options.log,
            log: Vec::new(),
            done: false,
        };
        world.note(|world| format!("{:?}", world.plan));
        for device in 0..world.devices.len() {
            world.within(200, Event::Boot(device));
            world.within(2 * world.plan.request_every_ms, Event::Request(device));
            world.within(1_000, Event::Poll(device));
            if habits.skips_sync {
                world.within(3_000, Event::WriteBack(device));
            }
        }
        world.after(world.plan.mischief_every_ms, Event::Mischief);
        world.after(world.plan.answer_every_ms, Event::Operator);
        world.after(world.plan.active_ms, Event::Heal);
        world
    }

    fn go(&mut self) {
        while let Some(((at_ms, _), event)) = self.queue.pop_first() {
            if self.violation.is_some() || self.done {
                return;
            }
            self.now_ms = at_ms;
            self.events += 1;
            if self.events > EVENTS_MAX {
                let detail = format!("no end after {EVENTS_MAX} events");
                return self.broken(Invariant::Drains, detail);
            }
            self.handle(event);
            self.gather_faults();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Request(device) => self.request(device),
            Event::Retry(device, number) => self.retry(device, number),
            Event::Poll(device) => self.poll(device),
            Event::Flush(device, life) => self.flush(device, life),
            Event::Durable(device, life) => self.durable(device, life),
            Event::WriteBack(device) => self.write_back(device),
            Event::Wake(device, life) => self.wake(device, life),
            Event::Connect(device, life) => self.connect(device, life),
            Event::Boot(device) => self.boot(device),
            Event::Shutdown(device, life) => self.shutdown(device, life),
            Event::DiskFree(device) => self.devices[device].disk.lock().full = false,
            Event::Subscribed(link) => self.subscribed(link),
            Event::ToHub(link, frame) => self.deliver_up(link, *frame),
            Event::ToDevice(link, frame) => self.deliver_down(link, *frame),
            Event::DeviceNotices(link) => self.device_notices(link),
            Event::HubNotices(link) => self.hub_closes(link),
            Event::HubWake(link) => self.hub_wakes(link),
            Event::HubFetches(link, fetch) => self.hub_fetches(link, fetch),
            Event::HubCommit(life) => self.hub_commits(life),
            Event::HubBoot => self.hub_boots(),
            Event::HubDiskFree => self.hub.disk_full = false,
            Event::Operator => self.operator(),
            Event::Mischief => self.mischief(),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    /// Has something happen after so many milliseconds.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now_ms + ms, self.queued), event);
    }

    /// Has something happen at some time until then.
    pub(crate) fn within(&mut self, ms: u64, event: Event) {
        let at_ms = self.rng.below(ms + 1);
        self.after(at_ms, event);
    }

    pub(crate) fn broken(&mut self, invariant: Invariant, detail: String) {
        self.note(|_| format!("BROKEN {}: {detail}", invariant.name()));
        self.violation.get_or_insert(Violation { invariant, detail });
    }

    pub(crate) fn happened(&mut self, fault: Fault) {
        self.faults.count(fault);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce(&World) -> String) {
        if self.logs {
            let line = format!("{:>9.3} s  {}", secs(self.now_ms), line(self));
            self.log.push(line);
        }
    }

    /// What the disks saw.
    fn gather_faults(&mut self) {
        for device in 0..self.devices.len() {
            let mut disk = self.devices[device].disk.lock();
            if disk.happened.is_empty() && disk.notes.is_empty() {
                continue;
            }
            let happened = std::mem::take(&mut disk.happened);
            let notes = std::mem::take(&mut disk.notes);
            drop(disk);
            let drops = self.plan.store.outcomes_when_full == WhenFull::DropOldest;
            let fate = &mut self.books[device].fate;
            for fault in happened {
                self.faults.count(fault);
                fate.shed |= fault == Fault::Shed;
                // Room was made, perhaps of what the hub had.
                fate.full |= fault == Fault::Shed || (drops && fault == Fault::GenerationRemoved);
                if matches!(fault, Fault::TornWrite | Fault::DamagedCommit) {
                    fate.damaged |= fault == Fault::TornWrite;
                    fate.torn = true;
                    self.books[device].shake();
                    return self.gather_faults();
                }
            }
            for note in notes {
                self.note(|_| format!("d{device} {note}"));
            }
        }
    }

    /// Everything that was broken is mended, once and for all.
    fn heal(&mut self) {
        self.note(|_| "everything is mended".to_owned());
        self.healed = true;
        self.hub.disk_full = false;
        if self.hub.is_down() {
            self.hub_boots();
        }
        for device in 0..self.devices.len() {
            let mut disk = self.devices[device].disk.lock();
            (disk.full, disk.failing) = (false, 0);
            drop(disk);
            // Traffic shows a device that a broker has forgotten it.
            self.within(5_000, Event::Request(device));
        }
        self.after(10_000, Event::Look);
    }

    /// Whether everything has drained; if it has, what should be there is there.
    fn look(&mut self) {
        (0..self.devices.len()).for_each(|device| self.resend(device));
        let waiting = self.waiting();
        if waiting.is_empty() {
            self.done = true;
            return self.settle();
        }
        if self.now_ms > self.plan.active_ms + HEAL_MS_MAX {
            let shown: Vec<_> = waiting.into_iter().take(8).collect();
            return self.broken(Invariant::Drains, shown.join("; "));
        }
        if self.now_ms > self.plan.active_ms + RESTART_MS {
            // By then a device with traffic has noticed; the broker's restart shows the others.
            let deaf = self.links.iter().filter(|(_, link)| !link.subscribed);
            let deaf: Vec<u64> = deaf.map(|(number, _)| *number).collect();
            deaf.into_iter().for_each(|number| self.cut(number));
        }
        self.after(LOOK_EVERY_MS, Event::Look);
    }
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn secs(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
