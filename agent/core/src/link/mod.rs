//! Which link to use, for what, and how much of it: a state machine.
//!
//! The shell says which links are there ([`Event::Seen`]), what was carried on the one in use
//! ([`Event::Carried`]) and what the site knows better ([`Event::Site`]); [`Links::step`] says
//! which link to use and what to write down. Before each frame the shell asks for leave
//! ([`Links::grant`]), and before each range of a model file ([`Links::files`]).
//!
//! Invariants:
//! * of the links that may be used now, the cheapest is;
//! * what would go beyond a day's budget waits, and [`Links::standing`] says until when; what is
//!   spent is written down before it is ([`Event::Handing`]), so that no restart and no step of the
//!   clock renews it;
//! * over any stretch of time, no more than the rate and one second's worth is granted.
//!
//! Not here: interfaces, commands, sockets, clocks, time zones. Time is an argument.

mod budget;
mod window;

#[cfg(test)]
mod tests;

pub use budget::Spent;
pub use window::Window;

use budget::{Bucket, Budget};
use landfall_wire::record::StreamId;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// The least budget of a day in bytes: ten connections, each with a batch.
pub const BUDGET_BYTES_MIN: u64 = 128 * 1024;

/// The least rate in bytes a second: a batch of the largest record takes a minute.
pub const RATE_BYTES_MIN: u64 = 64;

/// What a connection costs before a record is sent: TCP and TLS with both certificates, the
/// greetings, the end; measured by `landfall-bench wire`, and rounded up. With less left of a
/// budget, none is begun.
pub const CONNECT_BYTES: u64 = 8 * 1024;

/// With less than this left of a budget nothing more is sent and the connection ends: the
/// largest record with what is around it, and the goodbye.
pub const GRANT_BYTES_MIN: u64 = 5 * 1024;

/// The share of a day's budget that model files leave to records: one in so many.
const KEPT_SHARE: u64 = 4;

/// With less than this for a range of a model file it is not asked for: a request and its answer
/// take about a tenth of it.
pub const RANGE_BYTES_MIN: u64 = 16 * 1024;

/// A range with what is around it takes at most a tenth more: two headers for every segment and a
/// half, and records of TLS.
const AROUND_SHARE: u64 = 10;

/// Largest batch on a link without a rate: so that a cut costs little.
const BATCH_BYTES: usize = 16 * 1024;
/// Seconds of a slow link that one batch may take: an escalation waits behind it.
const BATCH_SECS: u64 = 4;
/// The largest record must have a chance.
const BATCH_BYTES_MIN: usize = 1024;
/// Most bytes in flight, as [`crate::session::SessionLimits`] has it without links.
const WINDOW_BYTES_MAX: u64 = 256 * 1024;
/// Seconds of a slow link that may be in flight: a ping waits behind them.
const WINDOW_SECS: u64 = 15;

/// When what is on its way is looked at again.
const PENDING_MS: u64 = 1000;

/// A wall clock that is this far from where it would have come by itself was set.
const STEP_MS_MIN: u64 = 10_000;

/// How much a new measurement of the rate counts: one in so many.
const RATE_MEMORY: f64 = 8.0;

/// So many changes of budget and windows ahead, an estimate gives up: about a year.
const FORECAST_STEPS_MAX: usize = 2000;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back.
    pub running_ms: u64,
    /// Wall clock, milliseconds since 1970.
    pub wall_ms: u64,
    /// What is added to it to get the link's time.
    pub offset_secs: i32,
}

impl Now {
    fn local_ms(self) -> i64 {
        i64::try_from(self.wall_ms).unwrap_or(i64::MAX / 2) + i64::from(self.offset_secs) * 1000
    }

    /// Wall clock of a local time.
    fn wall_of(self, local_ms: i64) -> u64 {
        u64::try_from(local_ms - i64::from(self.offset_secs) * 1000).unwrap_or(0)
    }
}

/// The time in which a link's days and windows are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// The system's own.
    Local,
}

/// What may travel on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carries {
    /// Decisions.
    pub outcomes: bool,
    /// Questions.
    pub escalations: bool,
    /// Health, losses, the chain.
    pub events: bool,
    /// Model files.
    pub models: bool,
}

impl Carries {
    /// Everything.
    pub const ALL: Carries =
        Carries { outcomes: true, escalations: true, events: true, models: true };

    /// Whether records of this stream may.
    pub fn stream(self, stream: StreamId) -> bool {
        match stream {
            StreamId::Outcome => self.outcomes,
            StreamId::Escalation => self.escalations,
            StreamId::Event => self.events,
            // The hub's.
            StreamId::Answer => true,
        }
    }
}

/// One link, as the site declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkPolicy {
    /// Its name.
    pub name: String,
    /// Its cost; the link of the lowest class that may be used is.
    pub class: u8,
    /// Most bytes a second, both ways together.
    pub bytes_per_sec: Option<u64>,
    /// Most bytes a day, both ways together.
    pub bytes_per_day: Option<u64>,
    /// When it may be used; always if empty.
    pub windows: Vec<Window>,
    /// The time in which days and windows are meant.
    pub zone: Zone,
    /// What may travel.
    pub carries: Carries,
}

/// What the site's own software knows better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteWord {
    /// The link that it is about; `None` for all.
    pub link: Option<usize>,
    /// Whether it is up. One that is up is used, whatever else is there.
    pub is_up: bool,
    /// How long that holds; `None` until it is taken back.
    pub for_ms: Option<u64>,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Which links are there, in their order.
    Seen(Vec<bool>),
    /// The site's word; `None` takes it back.
    Site(Option<SiteWord>),
    /// Bytes went over a link.
    Carried {
        /// Which: one that was in use, if it is no more.
        link: usize,
        /// Both ways, headers and all.
        bytes: u64,
        /// Bytes, and milliseconds that they took, while records were waiting all the time: it
        /// measures the link.
        busy: Option<(u64, u64)>,
    },
    /// So many bytes will be handed over, or are and are not carried yet, on the link in use.
    Handing {
        /// With what is around them.
        bytes: u64,
    },
    /// Model files came.
    Files {
        /// Over which link: one that was in use, if it is no more.
        link: usize,
        /// Bytes since the last time, both ways, headers and all.
        carried: u64,
        /// Bytes of a range that was asked for, or will be, and did not come yet.
        pending: u64,
    },
    /// The agent stops: nothing more will be spent.
    Stop,
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Write this down, in place of what was written before, and only then go on.
    pub persist: Option<Vec<Spent>>,
    /// Another link is to be used, or none: end the connection.
    pub changed: bool,
}

/// Which link is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This one.
    Uses(usize),
    /// There are links, but none may be used now.
    Waits {
        /// The one that is first to be used again.
        link: usize,
        /// Wall clock of that, milliseconds since 1970.
        until_ms: u64,
        /// What for.
        what: Wait,
    },
    /// No link is there.
    Down,
}

/// What a link waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its hours.
    Window,
    /// The next day's budget.
    Budget,
}

/// Leave to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// So many bytes.
    Bytes(usize),
    /// Nothing before this, of the running clock.
    At(u64),
    /// Nothing more on this link: end the connection.
    Over,
}

/// Leave to ask for a range of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Of so many bytes at most, over this link.
    Range {
        /// The link in use.
        link: usize,
        /// Without what is around them.
        bytes: u64,
    },
    /// Nothing before this, of the running clock.
    At(u64),
    /// Nothing more of this day: wall clock of the next, milliseconds since 1970.
    Until(u64),
    /// None over the link in use, or there is none.
    Closed,
}

/// How large frames may be, and how many may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of one batch.
    pub batch_bytes_max: usize,
    /// Bytes in flight.
    pub window_bytes_max: usize,
}

struct Link {
    policy: LinkPolicy,
    budget: Option<Budget>,
    bucket: Option<Bucket>,
    is_seen: bool,
    /// Bytes since the start.
    total: u64,
    /// Bytes a second while records were waiting.
    measured: Option<f64>,
}

/// One link at a glance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkView {
    /// It is there, as far as is known.
    pub is_up: bool,
    /// Its hours.
    pub is_open: bool,
    /// Bytes since the start.
    pub carried_bytes: u64,
    /// Bytes of the day that are spent.
    pub spent_bytes: u64,
    /// Bytes of the day that are left, with a budget.
    pub left_bytes: Option<u64>,
    /// When the budget is renewed, milliseconds since 1970.
    pub renews_ms: Option<u64>,
    /// Bytes a second, measured while records were waiting.
    pub measured_bytes_per_sec: Option<f64>,
}

/// The links of a site.
pub struct Links {
    links: Vec<Link>,
    site: Option<SiteWord>,
    /// When the site's word ends, of the running clock.
    site_until_ms: Option<u64>,
    /// What was asked for of model files and did not come yet, and over which link.
    files_pending: (usize, u64),
    passed: Now,
    standing: Standing,
}

/// The time at a link, from what the clocks say and the system's offset.
fn at(now: Now, zone: Zone) -> Now {
    match zone {
        Zone::Utc => Now { offset_secs: 0, ..now },
        Zone::Local => now,
    }
}

impl Links {
    /// Links that nobody has seen yet. `kept` is what [`Effects::persist`] wrote last.
    pub fn new(policies: Vec<LinkPolicy>, kept: &[Spent], now: Now) -> Links {
        let links = policies.into_iter().map(|policy| {
            let kept = kept.iter().find(|kept| kept.link == policy.name);
            let here = at(now, policy.zone);
            let budget = policy.bytes_per_day.map(|bytes| Budget::new(bytes, here, kept));
            let bucket = policy.bytes_per_sec.map(Bucket::new);
            Link { policy, budget, bucket, is_seen: false, total: 0, measured: None }
        });
        Links {
            links: links.collect(),
            site: None,
            site_until_ms: None,
            files_pending: (0, 0),
            passed: now,
            standing: Standing::Down,
        }
    }

    /// The links as declared.
    pub fn policies(&self) -> impl Iterator<Item = &LinkPolicy> {
        self.links.iter().map(|link| &link.policy)
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        let elapsed_ms = now.running_ms.saturating_sub(self.passed.running_ms);
        // Written down at once, or after a restart it would be taken for time in which the device
        // was off.
        let stepped = now.wall_ms.abs_diff(self.passed.wall_ms.saturating_add(elapsed_ms));
        let stepped = stepped >= STEP_MS_MIN;
        self.passed = now;
        self.links.iter_mut().for_each(|link| link.pass(elapsed_ms, now));
        if self.site_until_ms.is_some_and(|until_ms| now.running_ms >= until_ms) {
            (self.site, self.site_until_ms) = (None, None);
        }
        let is_last = event == Event::Stop;
        match event {
            Event::Seen(seen) => {
                self.links.iter_mut().zip(seen).for_each(|(link, seen)| link.is_seen = seen);
            }
            Event::Site(word) => {
                self.site = word;
                let for_ms = word.and_then(|word| word.for_ms);
                self.site_until_ms = for_ms.map(|ms| now.running_ms.saturating_add(ms));
            }
            Event::Carried { link, bytes, busy } => self.links[link].carried(bytes, busy),
            Event::Handing { bytes } => {
                if let Some(at) = self.standing.used() {
                    self.reserve(at, bytes);
                }
            }
            Event::Files { link, carried, pending } => {
                self.links[link].carried(carried, None);
                self.files_pending = (link, pending);
                self.reserve(link, 0);
            }
            Event::Stop | Event::Tick => {}
        }
        let before = self.standing;
        self.standing = self.choose(now);
        Effects {
            persist: self.write_ahead(now, is_last, stepped),
            changed: before.used() != self.used(),
        }
    }

    /// Which link is used, or what is waited for.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The link in use.
    pub fn used(&self) -> Option<usize> {
        self.standing.used()
    }

    /// The site's word, and when it ends of the running clock.
    pub fn site(&self) -> Option<(SiteWord, Option<u64>)> {
        self.site.map(|word| (word, self.site_until_ms))
    }

    /// What is about to be spent of a link's budget, with what was asked for of files.
    fn reserve(&mut self, link: usize, bytes: u64) {
        let bytes = bytes.saturating_add(self.files_pending(link));
        if let Some(budget) = &mut self.links[link].budget {
            budget.reserve(bytes);
        }
    }

    fn files_pending(&self, link: usize) -> u64 {
        let (of, bytes) = self.files_pending;
        if of == link { bytes } else { 0 }
    }

    /// How much of a model file may be asked for now. A share of each day's budget is left to
    /// records.
    pub fn files(&self, now: Now) -> Files {
        let Some(index) = self.used() else { return Files::Closed };
        let link = &self.links[index];
        if !link.policy.carries.models {
            return Files::Closed;
        }
        let mut bytes = u64::MAX;
        if let Some(budget) = &link.budget {
            let kept = budget.bytes_per_day / KEPT_SHARE + CONNECT_BYTES;
            let left = budget.left().saturating_sub(kept);
            bytes = left - left / AROUND_SHARE;
            if bytes < RANGE_BYTES_MIN {
                let here = at(now, link.policy.zone);
                return Files::Until(here.wall_of(budget.renews(here.local_ms())));
            }
        }
        if let Some(bucket) = &link.bucket {
            let wait_ms = bucket.wait_ms(0);
            if wait_ms > 0 {
                return Files::At(now.running_ms.saturating_add(wait_ms));
            }
            bytes = bytes.min(self.sizes().window_bytes_max as u64);
        }
        Files::Range { link: index, bytes }
    }

    /// How much may be sent now on the link in use, when `pending` bytes were handed to it and are
    /// not carried yet.
    pub fn grant(&self, now: Now, pending: u64) -> Grant {
        let Some(used) = self.used() else { return Grant::Over };
        let link = &self.links[used];
        let left = link.budget.as_ref().map_or(u64::MAX, Budget::left);
        if left < GRANT_BYTES_MIN {
            return Grant::Over;
        }
        let left = left.saturating_sub(pending).saturating_sub(self.files_pending(used));
        if left < GRANT_BYTES_MIN {
            // Once they are carried, it is over.
            return Grant::At(now.running_ms.saturating_add(PENDING_MS));
        }
        let wait_ms = link.bucket.as_ref().map_or(0, |bucket| bucket.wait_ms(pending));
        if wait_ms > 0 {
            return Grant::At(now.running_ms.saturating_add(wait_ms));
        }
        // What is lost on the way, or seems to be, is sent twice: that too has room then.
        let room = usize::try_from((left / 2).max(GRANT_BYTES_MIN / 2)).unwrap_or(usize::MAX);
        Grant::Bytes(room.min(self.sizes().batch_bytes_max))
    }

    /// What may travel on the link in use.
    pub fn carries(&self) -> Option<Carries> {
        self.used().map(|at| self.links[at].policy.carries)
    }

    /// How large frames may be on the link in use.
    pub fn sizes(&self) -> Sizes {
        let rate = self.used().and_then(|at| self.links[at].policy.bytes_per_sec);
        let Some(rate) = rate else {
            let window = usize::try_from(WINDOW_BYTES_MAX).unwrap_or(usize::MAX);
            return Sizes { batch_bytes_max: BATCH_BYTES, window_bytes_max: window };
        };
        let bytes = |secs: u64| usize::try_from(rate.saturating_mul(secs)).unwrap_or(usize::MAX);
        let batch_bytes_max = bytes(BATCH_SECS).clamp(BATCH_BYTES_MIN, BATCH_BYTES);
        let window = usize::try_from(WINDOW_BYTES_MAX).unwrap_or(usize::MAX);
        Sizes {
            batch_bytes_max,
            window_bytes_max: bytes(WINDOW_SECS).clamp(4 * batch_bytes_max, window),
        }
    }

    /// When [`Event::Tick`] has something to do at the latest, of the running clock, if the wall
    /// clock does not step.
    pub fn next_wakeup(&self, now: Now) -> Option<u64> {
        let from_wall = |wall_ms: u64| {
            now.running_ms.saturating_add(wall_ms.saturating_sub(now.wall_ms).max(1))
        };
        let closes = self.used().and_then(|at| self.links[at].closes(now)).map(from_wall);
        let opens = match self.standing {
            Standing::Waits { until_ms, .. } => Some(from_wall(until_ms)),
            Standing::Uses(_) | Standing::Down => None,
        };
        closes.into_iter().chain(opens).chain(self.site_until_ms).min()
    }

    /// One link at a glance.
    pub fn view(&self, index: usize, now: Now) -> LinkView {
        let link = &self.links[index];
        let here = at(now, link.policy.zone);
        let renews = link.budget.as_ref().map(|budget| budget.renews(here.local_ms()));
        LinkView {
            is_up: self.is_up(index),
            is_open: window::closes(&link.policy.windows, here.local_ms()).is_some(),
            carried_bytes: link.total,
            spent_bytes: link.budget.as_ref().map_or(0, |budget| budget.spent),
            left_bytes: link.budget.as_ref().map(Budget::left),
            renews_ms: renews.map(|local_ms| here.wall_of(local_ms)),
            measured_bytes_per_sec: link.measured,
        }
    }

    /// When `bytes` will have gone over the link in use, or the one that is waited for, at its
    /// rate, within its windows and budgets, if nothing is added; wall clock, milliseconds since
    /// 1970. `None` if no link is there, or its rate is not known.
    pub fn drained_ms(&self, now: Now, bytes: u64) -> Option<u64> {
        let index = match self.standing {
            Standing::Uses(index) | Standing::Waits { link: index, .. } => index,
            Standing::Down => return None,
        };
        let link = &self.links[index];
        link.forecast(at(now, link.policy.zone), bytes)
    }

    fn write_ahead(&mut self, now: Now, is_last: bool, stepped: bool) -> Option<Vec<Spent>> {
        let mut due = stepped;
        for budget in self.links.iter_mut().filter_map(|link| link.budget.as_mut()) {
            due |= budget.write_ahead(is_last);
        }
        due |= is_last;
        let is_any = self.links.iter().any(|link| link.budget.is_some());
        (due && is_any).then(|| {
            let keep = |link: &Link| Some(link.budget.as_ref()?.keep(&link.policy.name, now));
            self.links.iter().filter_map(keep).collect()
        })
    }

    fn is_up(&self, index: usize) -> bool {
        match self.site {
            Some(SiteWord { link: None, is_up, .. }) => is_up && self.links[index].is_seen,
            Some(SiteWord { link: Some(link), is_up, .. }) if link == index => is_up,
            Some(_) | None => self.links[index].is_seen,
        }
    }

    fn choose(&self, now: Now) -> Standing {
        let mut up: Vec<usize> = (0..self.links.len()).filter(|at| self.is_up(*at)).collect();
        if let Some(SiteWord { link: Some(link), is_up: true, .. }) = self.site {
            up = vec![link];
        }
        up.sort_by_key(|at| self.links[*at].policy.class);
        let least = |index: usize| match self.standing {
            Standing::Uses(used) if used == index => GRANT_BYTES_MIN,
            Standing::Uses(_) | Standing::Waits { .. } | Standing::Down => {
                CONNECT_BYTES + GRANT_BYTES_MIN
            }
        };
        let waits: Vec<_> =
            up.iter().map(|at| (*at, self.links[*at].waits(now, least(*at)))).collect();
        if let Some((at, _)) = waits.iter().find(|(_, wait)| wait.is_none()) {
            return Standing::Uses(*at);
        }
        let waits = waits.into_iter().filter_map(|(link, wait)| Some((link, wait?)));
        match waits.min_by_key(|(_, (until_ms, _))| *until_ms) {
            Some((link, (until_ms, what))) => Standing::Waits { link, until_ms, what },
            None => Standing::Down,
        }
    }
}

impl Standing {
    fn used(self) -> Option<usize> {
        match self {
            Standing::Uses(at) => Some(at),
            Standing::Waits { .. } | Standing::Down => None,
        }
    }
}

impl Link {
    fn pass(&mut self, elapsed_ms: u64, now: Now) {
        if let Some(budget) = &mut self.budget {
            budget.pass(elapsed_ms, at(now, self.policy.zone));
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.pass(elapsed_ms);
        }
    }

    fn carried(&mut self, bytes: u64, busy: Option<(u64, u64)>) {
        self.total = self.total.saturating_add(bytes);
        if let Some(budget) = &mut self.budget {
            budget.spend(bytes);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take(bytes);
        }
        if let Some((bytes, ms)) = busy.filter(|(bytes, ms)| *bytes > 0 && *ms > 0) {
            let now = bytes as f64 * 1000.0 / ms as f64;
            let before = self.measured.unwrap_or(now);
            self.measured = Some(before + (now - before) / RATE_MEMORY);
        }
    }

    /// When it closes, wall clock; `None` if it never does.
    fn closes(&self, now: Now) -> Option<u64> {
        let here = at(now, self.policy.zone);
        let closes = window::closes(&self.policy.windows, here.local_ms())?;
        (closes < i64::MAX).then(|| here.wall_of(closes))
    }

    /// Until when (wall clock) and for what it waits, if it may not be used now, with at least
    /// so much left of its budget.
    fn waits(&self, now: Now, least_bytes: u64) -> Option<(u64, Wait)> {
        let here = at(now, self.policy.zone);
        let mut local_ms = here.local_ms();
        let mut wait = None;
        if let Some(budget) = self.budget.as_ref().filter(|budget| budget.left() < least_bytes) {
            local_ms = budget.renews(local_ms);
            wait = Some(Wait::Budget);
        }
        if window::closes(&self.policy.windows, local_ms).is_none() {
            local_ms = window::opens(&self.policy.windows, local_ms).unwrap_or(i64::MAX / 2);
            wait = Some(wait.unwrap_or(Wait::Window));
        }
        wait.map(|wait| (here.wall_of(local_ms), wait))
    }

    fn forecast(&self, now: Now, bytes: u64) -> Option<u64> {
        if bytes == 0 {
            return Some(now.wall_ms);
        }
        let limit = self.policy.bytes_per_sec.map_or(f64::INFINITY, |rate| rate as f64);
        let rate = self.measured.map_or(limit, |measured| measured.min(limit));
        if !rate.is_finite() || rate < 1.0 {
            return None;
        }
        let per_day = self.budget.as_ref().map(|budget| budget.bytes_per_day as f64);
        let usable = |bytes: f64| (bytes - GRANT_BYTES_MIN as f64).max(0.0);
        let mut day_left = self.budget.as_ref().map(|budget| usable(budget.left() as f64));
        let mut renews = self.budget.as_ref().map(|budget| budget.renews(now.local_ms()));
        let (mut at_ms, mut left) = (now.local_ms(), bytes as f64);
        for _ in 0..FORECAST_STEPS_MAX {
            if renews.is_some_and(|renews| at_ms >= renews) {
                day_left = per_day.map(usable);
                renews = renews.map(|renews| renews + DAY_MS);
            }
            let Some(closes) = window::closes(&self.policy.windows, at_ms) else {
                at_ms = window::opens(&self.policy.windows, at_ms)?;
                continue;
            };
            let until = closes.min(renews.unwrap_or(i64::MAX));
            let span_ms = (until.saturating_sub(at_ms)) as f64;
            let can = (rate * span_ms / 1000.0).min(day_left.unwrap_or(f64::INFINITY));
            if left <= can {
                #[expect(clippy::cast_possible_truncation, reason = "within the span")]
                return Some(now.wall_of(at_ms + (left * 1000.0 / rate) as i64));
            }
            left -= can;
            day_left = day_left.map(|day_left| day_left - can);
            at_ms = until;
        }
        None
    }
}
