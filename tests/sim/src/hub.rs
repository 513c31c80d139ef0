//! The hub's shell: connections, a queue of commands, and one commit after another. What is
//! decided is decided by `landfall-hub-core`, as in the product.

use crate::fault::Fault;
use crate::invariant::Invariant;
use crate::ledger::{MemLedger, Rows, as_too_old};
use crate::net::{Link, Way, shown};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::world::{Event, World};
use landfall_hub_core::desk::{Draft, DraftDecision, State};
use landfall_hub_core::ledger as rules;
use landfall_hub_core::session::{Effects, Fetch, Greeting, Input, Persist, Session};
use landfall_wire::frame::{Frame, Position};
use landfall_wire::id::{Epoch, Ticket};
use std::collections::{BTreeMap, VecDeque};

/// Commands of one commit.
const GROUP_MAX: usize = 16;

/// Commands of one connection that wait, at most: what its windows let in, doubled by the
/// network, and its greetings.
const WAITING_MAX: usize = 256;

/// A command that waits for its commit.
#[derive(Debug, Clone)]
enum Job {
    Session { link: u64, device: usize, persist: Persist },
    Answer { device: usize, ticket: Ticket, label: String },
}

enum Done {
    Greeted(Greeting),
    Ingested(Option<Position>),
    Offered(Position),
    Nothing,
}

struct Served {
    session: Session,
    since_ms: u64,
    wake_ms: Option<u64>,
}

pub(crate) struct Hub {
    /// What is committed, by device.
    pub(crate) rows: Vec<Rows>,
    copy: Option<Vec<Rows>>,
    rng: Rng,
    served: BTreeMap<u64, Served>,
    jobs: VecDeque<Job>,
    /// Counts up with every start.
    life: u64,
    down: bool,
    committing: bool,
    pub(crate) disk_full: bool,
    pub(crate) wall_ms: u64,
    pub(crate) restored: bool,
}

impl Hub {
    pub(crate) fn new(devices: usize, rng: &mut Rng) -> Hub {
        let mut rng = Rng::new(rng.next());
        let rows = (0..devices).map(|_| Rows::new(Epoch(rng.next()))).collect();
        Hub {
            rows,
            copy: None,
            rng,
            served: BTreeMap::new(),
            jobs: VecDeque::new(),
            life: 0,
            down: false,
            committing: false,
            disk_full: false,
            wall_ms: 1_700_000_000_000,
            restored: false,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down
    }

    pub(crate) fn waits(&self) -> bool {
        !self.jobs.is_empty()
    }
}

impl World {
    /// A device connects: its newest connection counts, an older one is ended.
    pub(crate) fn hub_accepts(&mut self, number: u64, device: usize) {
        let older: Vec<u64> = self
            .links
            .iter()
            .filter(|(other, link)| link.device == device && **other != number && link.hub_open)
            .map(|(other, _)| *other)
            .collect();
        for other in older {
            self.hub_closes(other);
        }
        let served = Served { session: Session::default(), since_ms: self.now_ms, wake_ms: None };
        self.hub.served.insert(number, served);
    }

    /// The hub's end of a connection is over; the device hears of it if it can.
    pub(crate) fn hub_closes(&mut self, number: u64) {
        self.hub.served.remove(&number);
        let Some(link) = self.links.get_mut(&number) else { return };
        let hears = link.hub_open && link.device_open && !link.dead;
        link.hub_open = false;
        if hears {
            link.dead = true;
            self.within(100, Event::DeviceNotices(number));
        }
        self.bury(number);
    }

    pub(crate) fn deliver_up(&mut self, number: u64, frame: Frame) {
        let open = self.links.get(&number).is_some_and(|link: &Link| link.hub_open);
        if !open || !self.hub.served.contains_key(&number) {
            return;
        }
        self.note(|_| format!("link {number}: hub takes {}", shown(&frame)));
        self.hub_steps(number, Input::Frame(frame));
    }

    pub(crate) fn hub_wakes(&mut self, number: u64) {
        let now_ms = self.now_ms;
        let Some(served) = self.hub.served.get_mut(&number) else { return };
        if served.wake_ms != Some(now_ms) {
            return;
        }
        served.wake_ms = None;
        self.hub_steps(number, Input::Tick);
    }

    pub(crate) fn hub_fetches(&mut self, number: u64, fetch: Fetch) {
        let Some(link) = self.links.get(&number) else { return };
        let given = &self.hub.rows[link.device].given;
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for (_, given) in given.range((fetch.epoch, fetch.first)..(fetch.epoch, fetch.end)) {
            bytes += given.record.len();
            let enough = records.len() >= fetch.records_max || bytes > fetch.bytes_max;
            if enough && !records.is_empty() {
                break;
            }
            records.push(given.record.clone());
        }
        let (epoch, first) = (fetch.epoch, fetch.first);
        self.hub_steps(number, Input::Fetched { epoch, first, records });
    }

    fn hub_steps(&mut self, number: u64, input: Input) {
        let now_ms = self.now_ms;
        let Some(served) = self.hub.served.get_mut(&number) else { return };
        let effects = served.session.step(now_ms - served.since_ms, input);
        let wake_ms = served.session.next_wakeup().map(|ms| (served.since_ms + ms).max(now_ms));
        if let Some(wake_ms) = wake_ms
            && served.wake_ms.is_none_or(|known| wake_ms < known || known < now_ms)
        {
            served.wake_ms = Some(wake_ms);
            self.after(wake_ms - now_ms, Event::HubWake(number));
        }
        self.hub_acts(number, effects);
    }

    fn hub_acts(&mut self, number: u64, effects: Effects) {
        let Some(device) = self.links.get(&number).map(|link| link.device) else { return };
        if let Some(problem) = effects.problem {
            let detail = format!("the hub cannot make sense of device {device}: {problem}");
            return self.broken(Invariant::Drains, detail);
        }
        for persist in effects.persist {
            if self.plant == Some(Plant::HubAcksBeforeCommit)
                && let Persist::Ingest(batch) = &persist
            {
                let next = batch.first + batch.records.len() as u64;
                let mark = Position { stream: batch.stream, epoch: batch.epoch, next };
                self.hub_steps(number, Input::Ingested(mark));
            }
            self.hub.jobs.push_back(Job::Session { link: number, device, persist });
            let waiting = self
                .hub
                .jobs
                .iter()
                .filter(|job| matches!(job, Job::Session { link, .. } if *link == number))
                .count();
            if waiting > WAITING_MAX {
                let detail = format!("{waiting} commands of link {number} wait");
                self.broken(Invariant::MemoryWithinLimit, detail);
            }
            self.commit_soon();
        }
        for frame in effects.send {
            self.check_ack(device, &frame);
            self.carry(number, Way::Down, &frame);
        }
        if let Some(fetch) = effects.fetch {
            self.within(5, Event::HubFetches(number, fetch));
        }
    }

    fn check_ack(&mut self, device: usize, frame: &Frame) {
        if let Frame::Ack(mark) = frame {
            let committed = self.hub.rows[device].marks.get(&(mark.stream, mark.epoch));
            if committed.is_none_or(|committed| *committed < mark.next) {
                let detail = format!(
                    "the hub acknowledges {} of {} {}, committed is {committed:?}",
                    mark.next,
                    mark.stream.name(),
                    mark.epoch
                );
                self.broken(Invariant::CommittedBeforeAck, detail);
            }
        }
    }

    fn commit_soon(&mut self) {
        if !self.hub.committing {
            self.hub.committing = true;
            let life = self.hub.life;
            let ms = self.rng.between(1, 40);
            self.after(ms, Event::HubCommit(life));
        }
    }

    /// Commits a group, then tells its callers.
    pub(crate) fn hub_commits(&mut self, life: u64) {
        if self.hub.down || self.hub.life != life {
            return;
        }
        self.hub.committing = false;
        let count = self.hub.jobs.len().min(GROUP_MAX);
        let group: Vec<Job> = self.hub.jobs.drain(..count).collect();
        let mut done = Vec::new();
        for job in group {
            if self.hub.disk_full {
                // The connection that it came from ends; the device sends it again.
                if let Job::Session { link, .. } = job {
                    self.hub_closes(link);
                }
                continue;
            }
            if let Job::Answer { device, .. } = &job {
                done.push((None, *device, Done::Nothing));
            }
            if let Job::Session { link, device, .. } = &job {
                let (link, device) = (*link, *device);
                let result = self.apply(job);
                done.push((Some(link), device, result));
            } else {
                self.apply(job);
            }
        }
        for (link, device, result) in done {
            match (link, result) {
                (Some(link), Done::Greeted(greeting)) => {
                    self.hub_steps(link, Input::Greeted(greeting));
                    self.tell_answers(device);
                }
                (Some(link), Done::Ingested(Some(mark))) => {
                    self.hub_steps(link, Input::Ingested(mark));
                    // There may be refusals.
                    self.tell_answers(device);
                }
                (Some(link), Done::Ingested(None)) => self.hub_closes(link),
                (Some(link), Done::Offered(end)) => self.hub_steps(link, Input::Offered(end)),
                (Some(_), Done::Nothing) => {}
                (None, _) => self.tell_answers(device),
            }
        }
        if !self.hub.jobs.is_empty() {
            self.commit_soon();
        }
    }

    fn apply(&mut self, mut job: Job) -> Done {
        if let Job::Session { persist: Persist::Ingest(batch), .. } = &mut job
            && self.plan.old_hub
            && !self.healed
        {
            for record in &mut batch.records {
                *record = as_too_old(record).unwrap_or_else(|| std::mem::take(record));
            }
        }
        let now_ms = self.now_ms + self.hub.wall_ms;
        let spare = Epoch(self.hub.rng.next());
        let plant = self.plant;
        let (device, first) = match &job {
            Job::Session { device, persist: Persist::Ingest(batch), .. } => (*device, batch.first),
            Job::Session { device, .. } | Job::Answer { device, .. } => (*device, 0),
        };
        let rows = &mut self.hub.rows[device];
        let (answers_epoch, rejected) = (rows.answers.epoch, rows.rejected.len());
        let mut ledger = MemLedger::new(rows, plant, first);
        let done = match job {
            Job::Session { persist: Persist::Greet(hello), .. } => {
                rules::greet(&mut ledger, &hello, now_ms, spare).map(Done::Greeted)
            }
            Job::Session { persist: Persist::Ingest(batch), .. } => {
                rules::ingest(&mut ledger, &batch)
                    .map(|done| Done::Ingested(done.ok().map(|done| done.position)))
            }
            Job::Session { persist: Persist::Offer(end), .. } => {
                rules::offer(&mut ledger, end).map(|()| Done::Offered(end))
            }
            Job::Session { persist: Persist::Delivered(below), .. } => {
                rules::deliver(&mut ledger, below).map(|()| Done::Nothing)
            }
            Job::Answer { ticket, label, .. } => {
                let draft = Draft {
                    decision: DraftDecision::Label(label),
                    by: "operator".to_owned(),
                    note: None,
                };
                rules::give_answer(&mut ledger, ticket, draft, now_ms).map(|_| Done::Nothing)
            }
        };
        let violations = std::mem::take(&mut ledger.violations);
        if self.hub.rows[device].rejected.len() > rejected {
            self.happened(Fault::RecordRefused);
        }
        if self.hub.rows[device].answers.epoch != answers_epoch {
            self.happened(Fault::AnswersRolledBack);
        }
        for violation in violations {
            self.broken(violation.invariant, format!("d{device}: {}", violation.detail));
        }
        done.unwrap_or(Done::Nothing)
    }

    /// Tells a device's connection where its answer stream ends now.
    fn tell_answers(&mut self, device: usize) {
        let open = self.links.iter().find(|(_, link)| link.device == device && link.hub_open);
        let Some(number) = open.map(|(number, _)| *number) else { return };
        if self.hub.rows[device].given.values().any(|given| !given.delivered) {
            let end = self.hub.rows[device].answers.end();
            self.hub_steps(number, Input::AnswersUntil(end));
        }
    }

    /// Someone answers one of the open questions; in the end, all of them.
    pub(crate) fn operator(&mut self) {
        let many = if self.healed { usize::MAX } else { 1 };
        if !self.hub.down {
            let open: Vec<(usize, Ticket, u64)> = self
                .hub
                .rows
                .iter()
                .enumerate()
                .flat_map(|(device, rows)| {
                    let answerable = |state| match self.plant {
                        Some(Plant::AnsweredTwice) => state != State::Expired,
                        Some(_) | None => state == State::Open,
                    };
                    let open = rows.questions.iter().filter(move |(_, q)| answerable(q.state));
                    open.map(move |(ticket, question)| (device, *ticket, question.request))
                })
                .collect();
            let start = self.rng.below(open.len() as u64);
            let start = usize::try_from(start).unwrap_or(0);
            let chosen = open.iter().cycle().skip(start).take(many.min(open.len()));
            for (device, ticket, request) in chosen.cloned().collect::<Vec<_>>() {
                let label = label_for(request);
                self.note(|_| format!("d{device} {ticket} is being answered"));
                self.hub.jobs.push_back(Job::Answer { device, ticket, label });
                self.commit_soon();
            }
        }
        let pause_ms = if self.healed { 5_000 } else { self.plan.answer_every_ms };
        self.within(2 * pause_ms, Event::Operator);
    }

    /// The hub loses power: what is not committed is gone, and all connections.
    pub(crate) fn hub_crashes(&mut self) {
        self.note(|_| "the hub crashes".to_owned());
        self.hub.down = true;
        self.hub.life += 1;
        self.hub.committing = false;
        self.hub.jobs.clear();
        let open: Vec<u64> = self.links.keys().copied().collect();
        open.into_iter().for_each(|number| self.hub_closes(number));
        self.within(8_000, Event::HubBoot);
    }

    pub(crate) fn hub_boots(&mut self) {
        self.hub.down = false;
    }

    /// The database is copied, or put back to the last copy.
    pub(crate) fn hub_is_put_back(&mut self) {
        match self.hub.copy.take() {
            None => self.hub.copy = Some(self.hub.rows.clone()),
            Some(copy) => {
                self.note(|_| "the hub's database is put back to its copy".to_owned());
                self.happened(Fault::HubRestored);
                self.hub_crashes();
                self.hub.rows = copy;
                self.hub.restored = true;
            }
        }
    }
}

/// What the operator answers to a request, so that a mix-up shows.
pub(crate) fn label_for(request: u64) -> String {
    format!("answer-{request}")
}
