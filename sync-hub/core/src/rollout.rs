//! A rollout: a release, delivered ring by ring, and halted when something goes wrong.
//!
//! ```text
//! running --every device of the last ring keeps it--> done
//!   |  ^ \-- a device rolls back, falls silent, or is wrong too often --> halted
//!   v  |                                                                    |
//! paused <----------------------------- resume -----------------------------/
//!
//! any of them --roll back--> rolled back: every device goes back to what it ran before
//! ```
//! Rings are worked through in order. A ring is complete when enough of its devices keep the
//! release; the next one begins after a time of waiting. A device belongs to the first ring that
//! takes it.
//!
//! Invariants: an order is given to a device of the present ring or of an earlier one, never
//! ahead; a rollout that is not running gives none; the same facts give the same step.
//!
//! Not here: databases, clocks, who is told what. A step is a function of what is known.

use crate::quality::share;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most rings: more than canary, early, most and rest nobody tells apart.
pub const RINGS_MAX: usize = 16;

/// How long a release serves on trial on a device, unless asked otherwise.
pub const TRIAL_SECS_DEFAULT: u64 = 10 * 60;

/// After how long a device is silent, unless asked otherwise: a week at sea.
pub const SILENCE_SECS_DEFAULT: u64 = 7 * 24 * 60 * 60;

/// How a rollout goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The rings, first to last.
    pub rings: Vec<Ring>,
    /// How long a release serves on trial on a device, in seconds.
    pub trial_secs: u32,
    /// A device that has the order and is not heard of for so long is silent.
    pub silence_secs: u64,
    /// Devices that may roll back before the rollout halts.
    pub failures_max: u32,
    /// Percent of a ring that must keep the release for the ring to be complete.
    pub quorum_percent: u8,
    /// Largest share of answers that audits may find wrong; `None` does not look.
    pub error_max: Option<f64>,
}

/// Some devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Its name.
    pub name: String,
    /// Of these devices; of any if empty.
    #[serde(default)]
    pub devices: Vec<String>,
    /// With all of these labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Of those so many percent, drawn by name.
    pub percent: u8,
    /// How long the ring is watched, once it is complete, before the next one begins.
    pub wait_secs: u64,
}

/// Why a ring cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no ring: {what}")]
pub struct RingError {
    text: String,
    what: String,
}

/// `NAME[:KEY=VALUE[,KEY=VALUE]…]` with `device`, `label` (both may stand several times),
/// `percent` and `wait` in seconds.
impl FromStr for Ring {
    type Err = RingError;

    fn from_str(text: &str) -> Result<Ring, RingError> {
        let wrong = |what: String| RingError { text: text.to_owned(), what };
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
            return Err(wrong("its name is of letters, digits and '-'".to_owned()));
        }
        let mut ring = Ring {
            name: name.to_owned(),
            devices: Vec::new(),
            labels: Vec::new(),
            percent: 100,
            wait_secs: 0,
        };
        for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| wrong(format!("'{pair}' is not KEY=VALUE")))?;
            match key {
                "device" => ring.devices.push(value.to_owned()),
                "label" => ring.labels.push(value.to_owned()),
                "percent" => {
                    let percent = value.parse().ok().filter(|percent| (1..=100).contains(percent));
                    ring.percent = percent
                        .ok_or_else(|| wrong(format!("percent is 1 to 100, not {value}")))?;
                }
                "wait" => {
                    ring.wait_secs = seconds(value)
                        .ok_or_else(|| wrong(format!("wait is such as 30m or 2d, not {value}")))?;
                }
                other => {
                    return Err(wrong(format!("it has device, label, percent, wait, not {other}")));
                }
            }
        }
        Ok(ring)
    }
}

impl Ring {
    /// Every device at once.
    pub fn all() -> Ring {
        let (devices, labels) = (Vec::new(), Vec::new());
        Ring { name: "all".to_owned(), devices, labels, percent: 100, wait_secs: 0 }
    }
}

/// Seconds of `90`, `90s`, `15m`, `6h`, `7d`.
pub fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

impl Plan {
    /// Checks all that parsing does not.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        if self.rings.is_empty() || self.rings.len() > RINGS_MAX {
            return Err(format!("a rollout has 1 to {RINGS_MAX} rings"));
        }
        for (at, ring) in self.rings.iter().enumerate() {
            if self.rings[..at].iter().any(|other| other.name == ring.name) {
                return Err(format!("two rings are called '{}'", ring.name));
            }
        }
        if !(1..=100).contains(&self.quorum_percent) {
            return Err("the quorum is 1 to 100 percent".to_owned());
        }
        if self.error_max.is_some_and(|error| !(0.0..1.0).contains(&error)) {
            return Err("the largest error is a share from 0 to 1".to_owned());
        }
        Ok(())
    }

    /// The first ring that takes a device. `salt` makes each rollout draw others.
    pub fn ring_of(&self, device: &str, labels: &[String], salt: u64) -> Option<usize> {
        self.rings.iter().enumerate().find_map(|(at, ring)| {
            let named = ring.devices.is_empty() || ring.devices.iter().any(|name| name == device);
            let labelled = ring.labels.iter().all(|label| labels.contains(label));
            // Each ring draws for itself: what one leaves, another may take.
            let drawn = draw(device, salt.wrapping_add(at as u64)) < u64::from(ring.percent);
            (named && labelled && drawn).then_some(at)
        })
    }
}

/// 0 to 99, the same for the same: FNV-1a, which is no secret and need not be one.
fn draw(device: &str, salt: u64) -> u64 {
    let bytes = salt.to_le_bytes().into_iter().chain(device.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV are the weaker ones.
    (hash ^ (hash >> 32)) % 100
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Ring after ring.
    Running,
    /// A person stopped it.
    Paused,
    /// Something went wrong.
    Halted,
    /// Every ring is complete.
    Done,
    /// Every device was told to go back.
    RolledBack,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 5] =
        [Phase::Running, Phase::Paused, Phase::Halted, Phase::Done, Phase::RolledBack];

    /// Its name in the database, the API and the pages.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Halted => "halted",
            Phase::Done => "done",
            Phase::RolledBack => "rolled-back",
        }
    }

    /// Reads back [`Phase::name`].
    pub fn from_name(name: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// How far a device of a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Its ring has not begun.
    Waiting,
    /// It was given the order, and may not have it yet.
    Ordered,
    /// It has the order.
    Accepted,
    /// It has the files.
    Fetched,
    /// The release serves on trial.
    Trial,
    /// It keeps the release.
    Current,
    /// It went back to what it ran before, by itself.
    Failed,
    /// It was told to go back.
    Returned,
}

impl MemberState {
    /// All of them.
    pub const ALL: [MemberState; 8] = [
        MemberState::Waiting,
        MemberState::Ordered,
        MemberState::Accepted,
        MemberState::Fetched,
        MemberState::Trial,
        MemberState::Current,
        MemberState::Failed,
        MemberState::Returned,
    ];

    /// Its name in the database, the API and the pages.
    pub fn name(self) -> &'static str {
        match self {
            MemberState::Waiting => "waiting",
            MemberState::Ordered => "ordered",
            MemberState::Accepted => "accepted",
            MemberState::Fetched => "fetched",
            MemberState::Trial => "trial",
            MemberState::Current => "current",
            MemberState::Failed => "failed",
            MemberState::Returned => "returned",
        }
    }

    /// Reads back [`MemberState::name`].
    pub fn from_name(name: &str) -> Option<MemberState> {
        MemberState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the device has the order, and has not come to an end with it.
    fn is_under_way(self) -> bool {
        match self {
            MemberState::Accepted | MemberState::Fetched | MemberState::Trial => true,
            MemberState::Waiting
            | MemberState::Ordered
            | MemberState::Current
            | MemberState::Failed
            | MemberState::Returned => false,
        }
    }
}

/// One device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub device: String,
    /// Its ring.
    pub ring: usize,
    /// How far it is.
    pub state: MemberState,
    /// Since when.
    pub since_ms: u64,
    /// When the device was last heard of.
    pub contact_ms: u64,
    /// Why it failed.
    pub detail: Option<String>,
}

/// What audits say of the release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audits {
    /// Answers that a person or a stronger model looked at.
    pub judged: u64,
    /// Those that were wrong.
    pub wrong: u64,
}

/// What is known of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// How it goes.
    pub plan: Plan,
    /// How far it is.
    pub phase: Phase,
    /// The ring that is worked on.
    pub ring: usize,
    /// Failures that a person has seen and resumed after.
    pub failures_seen: u32,
    /// What audits say.
    pub audits: Audits,
}

/// Why a rollout halts.
#[derive(Debug, Clone, PartialEq)]
pub enum Halt {
    /// A device went back by itself.
    Failed {
        /// Which.
        device: String,
        /// Why.
        detail: String,
        /// How many did.
        failures: u32,
    },
    /// A device that has the order is not heard of.
    Silent {
        /// Which.
        device: String,
        /// For how long.
        secs: u64,
    },
    /// Audits find too much wrong.
    Wrong(Audits),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Failed { device, detail, failures: 1 } => {
                write!(f, "{device} went back to what it ran before: {detail}")
            }
            Halt::Failed { device, detail, failures } => {
                write!(f, "{failures} devices went back, {device} among them: {detail}")
            }
            Halt::Silent { device, secs } => {
                write!(f, "{device} has the order and was not heard of for {} h", secs / 3600)
            }
            Halt::Wrong(Audits { judged, wrong }) => {
                write!(f, "{wrong} of {judged} audited answers of the release are wrong")
            }
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing now.
    Rest,
    /// These devices are to run the release: indexes of members.
    Order(Vec<usize>),
    /// The next ring begins.
    Advance,
    /// It is done.
    Finish,
    /// It goes no further.
    Halt(Halt),
}

/// What follows of what is known. To be asked again after what it says was done.
pub fn step(now_ms: u64, rollout: &Rollout, members: &[Member]) -> Step {
    if rollout.phase != Phase::Running {
        return Step::Rest;
    }
    if let Some(halt) = trouble(now_ms, rollout, members) {
        return Step::Halt(halt);
    }
    let due = |member: &Member| member.state == MemberState::Waiting && member.ring <= rollout.ring;
    let order: Vec<usize> =
        members.iter().enumerate().filter(|(_, member)| due(member)).map(|(at, _)| at).collect();
    if !order.is_empty() {
        return Step::Order(order);
    }
    let Some(complete_ms) = complete_since(rollout, members) else { return Step::Rest };
    let Some(ring) = rollout.plan.rings.get(rollout.ring) else { return Step::Finish };
    if rollout.ring + 1 == rollout.plan.rings.len() {
        return Step::Finish;
    }
    let wait_ms = ring.wait_secs.saturating_mul(1000);
    if now_ms < complete_ms.saturating_add(wait_ms) { Step::Rest } else { Step::Advance }
}

fn trouble(now_ms: u64, rollout: &Rollout, members: &[Member]) -> Option<Halt> {
    let plan = &rollout.plan;
    let failed = || members.iter().filter(|member| member.state == MemberState::Failed);
    let failures = u32::try_from(failed().count()).unwrap_or(u32::MAX);
    if failures.saturating_sub(rollout.failures_seen) > plan.failures_max {
        let last = failed().max_by_key(|member| member.since_ms)?;
        let detail = last.detail.clone().unwrap_or_default();
        return Some(Halt::Failed { device: last.device.clone(), detail, failures });
    }
    let silent = members.iter().filter(|member| member.state.is_under_way()).find_map(|member| {
        let heard_ms = member.contact_ms.max(member.since_ms);
        let secs = now_ms.saturating_sub(heard_ms) / 1000;
        (secs > plan.silence_secs).then(|| Halt::Silent { device: member.device.clone(), secs })
    });
    if silent.is_some() {
        return silent;
    }
    let error_max = plan.error_max?;
    let Audits { judged, wrong } = rollout.audits;
    (share(wrong, judged).low > error_max).then_some(Halt::Wrong(rollout.audits))
}

/// Since when enough of the present ring's devices keep the release.
fn complete_since(rollout: &Rollout, members: &[Member]) -> Option<u64> {
    let ring: Vec<&Member> = members.iter().filter(|member| member.ring == rollout.ring).collect();
    let mut kept: Vec<u64> = ring
        .iter()
        .filter(|member| member.state == MemberState::Current)
        .map(|member| member.since_ms)
        .collect();
    kept.sort_unstable();
    // Failures that a person resumed after do not hold the ring up.
    let counted = ring.iter().filter(|member| member.state != MemberState::Failed).count();
    let needed = (counted * usize::from(rollout.plan.quorum_percent)).div_ceil(100);
    match needed.checked_sub(1) {
        None => Some(0),
        Some(last) => kept.get(last).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn plan(rings: &[&str]) -> Plan {
        Plan {
            rings: rings.iter().map(|ring| ring.parse().unwrap()).collect(),
            trial_secs: 600,
            silence_secs: 24 * 3600,
            failures_max: 0,
            quorum_percent: 100,
            error_max: Some(0.05),
        }
    }

    /// A rollout with its devices, stepped until it rests.
    struct World {
        rollout: Rollout,
        members: Vec<Member>,
        now_ms: u64,
        halted: Option<String>,
    }

    impl World {
        fn new(plan: Plan, rings: &[usize]) -> World {
            let member = |(at, ring): (usize, &usize)| Member {
                device: format!("ship-{at}"),
                ring: *ring,
                state: MemberState::Waiting,
                since_ms: 0,
                contact_ms: 0,
                detail: None,
            };
            let members = rings.iter().enumerate().map(member).collect();
            let audits = Audits::default();
            let rollout =
                Rollout { plan, phase: Phase::Running, ring: 0, failures_seen: 0, audits };
            World { rollout, members, now_ms: HOUR_MS, halted: None }
        }

        fn run(&mut self) {
            loop {
                match step(self.now_ms, &self.rollout, &self.members) {
                    Step::Rest => return,
                    Step::Order(which) => which.into_iter().for_each(|at| {
                        assert!(self.members[at].ring <= self.rollout.ring, "ahead of its ring");
                        self.set(at, MemberState::Ordered);
                    }),
                    Step::Advance => self.rollout.ring += 1,
                    Step::Finish => self.rollout.phase = Phase::Done,
                    Step::Halt(why) => {
                        self.rollout.phase = Phase::Halted;
                        self.halted = Some(why.to_string());
                    }
                }
            }
        }

        fn set(&mut self, at: usize, state: MemberState) {
            let member = &mut self.members[at];
            (member.state, member.since_ms, member.contact_ms) = (state, self.now_ms, self.now_ms);
        }

        fn states(&self) -> Vec<&'static str> {
            self.members.iter().map(|member| member.state.name()).collect()
        }
    }

    #[test]
    fn rings_follow_each_other_after_their_waiting_time() {
        let mut world = World::new(plan(&["canary:wait=1h", "rest"]), &[0, 1, 1]);
        world.run();
        assert_eq!(world.states(), ["ordered", "waiting", "waiting"]);
        for state in [MemberState::Accepted, MemberState::Fetched, MemberState::Trial] {
            world.set(0, state);
            world.run();
            assert_eq!(world.rollout.ring, 0);
        }
        world.set(0, MemberState::Current);
        world.now_ms += HOUR_MS - 1;
        world.run();
        assert_eq!(world.states(), ["current", "waiting", "waiting"]);
        world.now_ms += 1;
        world.run();
        assert_eq!(world.states(), ["current", "ordered", "ordered"]);
        world.set(1, MemberState::Current);
        world.run();
        assert_eq!(world.rollout.phase, Phase::Running, "not without the last");
        world.set(2, MemberState::Current);
        world.run();
        assert_eq!(world.rollout.phase, Phase::Done);
    }

    #[test]
    fn a_device_that_goes_back_halts_it_and_nobody_else_gets_the_release() {
        let mut world = World::new(plan(&["canary", "rest"]), &[0, 0, 1]);
        world.run();
        world.set(0, MemberState::Current);
        world.set(1, MemberState::Failed);
        world.members[1].detail = Some("evaluation: 31 of 61 right".to_owned());
        world.run();
        assert_eq!(world.rollout.phase, Phase::Halted);
        let why = world.halted.take().unwrap();
        assert!(why.contains("ship-1") && why.contains("31 of 61"), "{why}");
        world.now_ms += 1000 * HOUR_MS;
        world.run();
        assert_eq!(world.states(), ["current", "failed", "waiting"]);
        // A person has looked and goes on.
        (world.rollout.phase, world.rollout.failures_seen) = (Phase::Running, 1);
        world.run();
        assert_eq!(world.states(), ["current", "failed", "ordered"]);
    }

    #[test]
    fn a_device_that_never_reports_back_halts_it_but_one_without_a_link_does_not() {
        let mut world = World::new(plan(&["all"]), &[0, 0]);
        world.run();
        world.now_ms += 1000 * HOUR_MS;
        world.run();
        assert_eq!(world.rollout.phase, Phase::Running, "the order may not have arrived");
        world.set(0, MemberState::Trial);
        world.now_ms += 24 * HOUR_MS;
        world.run();
        assert_eq!(world.rollout.phase, Phase::Running);
        world.members[0].contact_ms = world.now_ms;
        world.now_ms += 24 * HOUR_MS + 1000;
        world.run();
        assert_eq!(world.rollout.phase, Phase::Halted);
        assert!(world.halted.unwrap().contains("ship-0"));
    }

    #[test]
    fn audits_halt_it_when_the_error_is_surely_too_large() {
        let mut world = World::new(plan(&["all"]), &[0]);
        world.run();
        world.rollout.audits = Audits { judged: 10, wrong: 1 };
        world.run();
        assert_eq!(world.rollout.phase, Phase::Running, "one of ten says little");
        world.rollout.audits = Audits { judged: 100, wrong: 20 };
        world.run();
        assert_eq!(world.rollout.phase, Phase::Halted);
    }

    #[test]
    fn a_quorum_does_not_wait_for_every_device() {
        let lenient = Plan { quorum_percent: 60, ..plan(&["most", "rest"]) };
        let mut world = World::new(lenient, &[0, 0, 0, 1]);
        world.run();
        world.set(0, MemberState::Current);
        world.run();
        assert_eq!(world.rollout.ring, 0);
        world.set(2, MemberState::Current);
        world.run();
        assert_eq!(world.rollout.ring, 1);
    }

    #[test]
    fn an_empty_ring_is_passed() {
        let mut world = World::new(plan(&["canary", "empty", "rest"]), &[0, 2]);
        world.run();
        world.set(0, MemberState::Current);
        world.run();
        assert_eq!(world.states(), ["current", "ordered"]);
    }

    #[test]
    fn rings_are_read_and_take_who_belongs_to_them() {
        let rings = plan(&["canary:device=a,device=b", "east:label=site:east,percent=100", "rest"]);
        let labels = |label: &str| vec![label.to_owned()];
        assert_eq!(rings.ring_of("a", &labels("site:east"), 1), Some(0));
        assert_eq!(rings.ring_of("c", &labels("site:east"), 1), Some(1));
        assert_eq!(rings.ring_of("c", &labels("site:west"), 1), Some(2));
        let some = plan(&["some:percent=20"]);
        let taken = (0..1000).filter(|n| some.ring_of(&format!("ship-{n}"), &[], 7).is_some());
        let taken = taken.count();
        assert!((150..250).contains(&taken), "{taken} of 1000");
        for bad in ["", ":", "a b", "x:percent=0", "x:percent=101", "x:wait=1w", "x:y=1", "x:wait"]
        {
            assert!(bad.parse::<Ring>().is_err(), "{bad}");
        }
        let ring: Ring = "x:wait=2h,percent=5".parse().unwrap();
        assert_eq!((ring.wait_secs, ring.percent), (7200, 5));
        assert!(plan(&["x", "x"]).check().is_err());
        assert!(plan(&[]).check().is_err());
    }

    #[test]
    fn names_read_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
        for state in MemberState::ALL {
            assert_eq!(MemberState::from_name(state.name()), Some(state));
        }
    }
}
