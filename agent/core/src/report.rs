//! Which outcomes travel, as the hub asks and the site allows, and the sketches of those that do not.
//!
//! The site can keep a task's outcomes from dear links. They cannot wait for a cheap one: a stream
//! travels in order, and everything behind them would wait too. So over a dear link they are told as
//! a sketch alone, and stay in the device's journal.
//!
//! Invariants:
//! * an outcome that was escalated always travels: its answer is worth little without it;
//! * one that does not travel keeps its place in the stream: a [`Withheld`] travels in its stead, so
//!   that nothing is taken for lost, and the outcome stays in the device's journal with its chain;
//! * whether an outcome is in the sample depends on its place alone;
//! * every outcome of a task is in at most one sketch.
//!
//! Not here: the store, and when a day ends. Days are those of the records' own time, in UTC.

use landfall_wire::directive::{Reporting, ReportingMode};
use landfall_wire::id::{Epoch, TaskName};
use landfall_wire::record::{Outcome, Record, Verdict};
use landfall_wire::sketch::{Sketch, TaskSketch, Withheld};
use std::collections::{BTreeMap, BTreeSet};

use crate::store::DAY_MS;

/// How much of its outcomes a device reports, by task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    all: ReportingMode,
    tasks: BTreeMap<TaskName, ReportingMode>,
    /// The dearest class of link over which a task's outcomes travel, where the site says so.
    class_max: BTreeMap<TaskName, u8>,
}

impl Default for Policy {
    /// Everything.
    fn default() -> Policy {
        Policy { all: ReportingMode::Full, tasks: BTreeMap::new(), class_max: BTreeMap::new() }
    }
}

impl Policy {
    /// The site's word: over links of a class above this, outcomes of a task do not travel.
    pub fn limit(&mut self, task: TaskName, class_max: u8) {
        self.class_max.insert(task, class_max);
    }

    /// What the site said by [`Policy::limit`].
    pub fn limits(&self) -> impl Iterator<Item = (&TaskName, u8)> {
        self.class_max.iter().map(|(task, class_max)| (task, *class_max))
    }

    /// What the hub asks for from now on.
    pub fn set(&mut self, reporting: &Reporting) {
        match &reporting.task {
            Some(task) => drop(self.tasks.insert(task.clone(), reporting.mode)),
            None => self.all = reporting.mode,
        }
    }

    /// How much of a task travels.
    pub fn mode(&self, task: &TaskName) -> ReportingMode {
        self.tasks.get(task).copied().unwrap_or(self.all)
    }

    /// Whether every outcome of every task travels, whatever the link.
    pub fn is_full(&self) -> bool {
        let full = |mode: &ReportingMode| *mode == ReportingMode::Full;
        full(&self.all) && self.tasks.values().all(full) && self.class_max.is_empty()
    }

    /// Whether some outcomes of a task may not travel.
    pub fn is_partial(&self, task: &TaskName) -> bool {
        self.mode(task) != ReportingMode::Full || self.class_max.contains_key(task)
    }

    /// Tasks that the hub named, and what it wants of them; none stands for all others.
    pub fn asked(&self) -> impl Iterator<Item = (Option<&TaskName>, ReportingMode)> {
        let tasks = self.tasks.iter().map(|(task, mode)| (Some(task), *mode));
        std::iter::once((None, self.all)).chain(tasks)
    }

    /// Why the outcome at this place does not travel over a link of this class, if so.
    pub fn withheld(
        &self,
        (epoch, seq): (Epoch, u64),
        outcome: &Outcome,
        class: u8,
    ) -> Option<Withheld> {
        if matches!(outcome.verdict, Verdict::Escalated { .. }) {
            return None;
        }
        if self.class_max.get(&outcome.task).is_some_and(|most| class > *most) {
            return Some(Withheld::Sketched);
        }
        match self.mode(&outcome.task) {
            ReportingMode::Full => None,
            ReportingMode::Sampled { one_in } => {
                let is_drawn = spread(epoch.0 ^ seq).is_multiple_of(one_in.max(1).into());
                (!is_drawn).then_some(Withheld::Sampled)
            }
            ReportingMode::Sketch => Some(Withheld::Sketched),
        }
    }

    /// What travels of consecutive outcomes from `first` over a link of this class.
    pub fn apply(
        &self,
        (epoch, first): (Epoch, u64),
        records: Vec<Vec<u8>>,
        class: u8,
    ) -> Vec<Vec<u8>> {
        if self.is_full() {
            return records;
        }
        let travels = |(seq, raw): (u64, Vec<u8>)| {
            let Ok(Record::Outcome(outcome)) = Record::decode(&raw) else { return raw };
            let withheld = self.withheld((epoch, seq), &outcome, class);
            withheld.and_then(|why| Record::Withheld(why).encode().ok()).unwrap_or(raw)
        };
        (first..).zip(records).map(travels).collect()
    }
}

/// Mixes a number so that its remainders are even (splitmix64, Steele et al. 2014).
fn spread(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes sketches, one a task and day.
#[derive(Debug, Clone)]
pub struct Sketcher {
    epoch: Epoch,
    /// First of what is not told yet.
    first: u64,
    /// One past the last that was counted.
    next: u64,
    /// Tasks of which less than everything travelled since `first`.
    partial: BTreeSet<TaskName>,
    day: Option<u64>,
    open: BTreeMap<TaskName, TaskSketch>,
}

impl Sketcher {
    /// Counts from `first` on. `partial` are tasks of which less than everything travelled
    /// since.
    pub fn new(epoch: Epoch, first: u64, partial: BTreeSet<TaskName>) -> Sketcher {
        Sketcher { epoch, first, next: first, partial, day: None, open: BTreeMap::new() }
    }

    /// The epoch of what it counts.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next outcome that it is to be given.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Where it would begin again, and with what.
    pub fn state(&self) -> (Epoch, u64, &BTreeSet<TaskName>) {
        (self.epoch, self.first, &self.partial)
    }

    /// Notes of which tasks less than everything travels; says whether that is new.
    pub fn observe(&mut self, policy: &Policy, tasks: impl Iterator<Item = TaskName>) -> bool {
        let before = self.partial.len();
        self.partial.extend(tasks.filter(|task| policy.is_partial(task)));
        before != self.partial.len()
    }

    /// Whether this outcome is of another day than those that were counted: then
    /// [`Sketcher::finish`] comes first.
    pub fn begins_day(&self, at_ms: u64) -> bool {
        self.day.is_some_and(|day| day != at_ms / DAY_MS)
    }

    /// Whether the day of what was counted is over.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.day.is_some_and(|day| now_ms / DAY_MS > day)
    }

    /// Counts the outcome at [`Sketcher::next`], or what is not there any more.
    pub fn add(&mut self, outcome: Option<&Outcome>) {
        if let Some(outcome) = outcome {
            self.day.get_or_insert(outcome.at_ms / DAY_MS);
            let open = self.open.entry(outcome.task.clone()).or_insert_with(|| TaskSketch {
                task: outcome.task.clone(),
                epoch: self.epoch,
                first: self.first,
                end: self.first,
                from_ms: outcome.at_ms,
                until_ms: outcome.at_ms,
                sketch: Sketch::default(),
            });
            open.until_ms = open.until_ms.max(outcome.at_ms);
            open.sketch.add(outcome);
        }
        self.next += 1;
    }

    /// What is to be told of what was counted. Once that is durable, [`Sketcher::told`].
    pub fn finish(&self) -> Vec<TaskSketch> {
        let told = self.open.values().filter(|open| self.partial.contains(&open.task));
        told.map(|open| TaskSketch { end: self.next, ..open.clone() }).collect()
    }

    /// What [`Sketcher::finish`] gave is durable: the next begins. `policy` says of which of its
    /// tasks less than everything still travels.
    pub fn told(&mut self, policy: &Policy) {
        self.first = self.next;
        self.day = None;
        self.open.clear();
        self.partial.retain(|task| policy.is_partial(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_wire::id::{Confidence, ShortDigest};
    use landfall_wire::record::{Decision, EscalationReason, Mechanism};

    const EPOCH: Epoch = Epoch(7);

    fn outcome(task: &str, at_ms: u64) -> Outcome {
        Outcome {
            task: task.parse().unwrap(),
            caller_id: None,
            at_ms,
            mechanism: Mechanism::Model,
            verdict: Verdict::Answered,
            decision: Some(Decision::Label("Leaking".into())),
            confidence: Confidence::from_basis_points(9_000),
            package: ShortDigest([0; 8]),
            config: ShortDigest([0; 8]),
            decide_us: 0,
            read: None,
            fields_left_out: 0,
            text: None,
            masking: None,
            meta: vec![],
        }
    }

    fn asks(task: Option<&str>, mode: ReportingMode) -> Reporting {
        Reporting { task: task.map(|task| task.parse().unwrap()), mode }
    }

    #[test]
    fn a_task_follows_its_own_directive_or_the_one_for_all() {
        let mut policy = Policy::default();
        assert!(policy.is_full());
        policy.set(&asks(None, ReportingMode::Sketch));
        policy.set(&asks(Some("a"), ReportingMode::Full));
        assert_eq!(policy.withheld((EPOCH, 0), &outcome("b", 0), 1), Some(Withheld::Sketched));
        assert_eq!(policy.withheld((EPOCH, 0), &outcome("a", 0), 1), None);
        let escalated = Verdict::Escalated { reason: EscalationReason::Audit, seq: 3 };
        let escalated = Outcome { verdict: escalated, ..outcome("b", 0) };
        assert_eq!(policy.withheld((EPOCH, 0), &escalated, 1), None);
    }

    #[test]
    fn over_a_dear_link_a_task_that_is_kept_from_it_is_told_as_a_sketch() {
        let mut policy = Policy::default();
        policy.limit("a".parse().unwrap(), 3);
        let travels = |task: &str, class| policy.withheld((EPOCH, 0), &outcome(task, 0), class);
        assert_eq!((travels("a", 3), travels("b", 9)), (None, None));
        assert_eq!(travels("a", 4), Some(Withheld::Sketched));
        let records = ["b", "a", "b"].map(|task| Record::Outcome(outcome(task, 0)));
        let records = records.map(|record| record.encode().unwrap()).to_vec();
        let mut without = records.clone();
        without[1] = Record::Withheld(Withheld::Sketched).encode().unwrap();
        assert_eq!(policy.apply((EPOCH, 0), records.clone(), 5), without, "nothing waits for it");
        assert_eq!(policy.apply((EPOCH, 0), records.clone(), 1), records);
        let mut sketcher = Sketcher::new(EPOCH, 0, BTreeSet::new());
        let tasks = ["a", "b"].map(|task| task.parse().unwrap());
        assert!(sketcher.observe(&policy, tasks.into_iter()));
        assert_eq!(sketcher.state().2.len(), 1, "of the other everything travels");
        sketcher.told(&policy);
        assert_eq!(sketcher.state().2.len(), 1, "and so it goes on");
    }

    #[test]
    fn a_sample_is_even_and_the_same_again() {
        let mut policy = Policy::default();
        policy.set(&asks(None, ReportingMode::Sampled { one_in: 10 }));
        let raw = Record::Outcome(outcome("a", 0)).encode().unwrap();
        let travels = policy.apply((EPOCH, 100), vec![raw.clone(); 10_000], 1);
        let full = travels.iter().filter(|record| **record == raw).count();
        assert!((900..1_100).contains(&full), "{full}");
        assert_eq!(policy.apply((EPOCH, 100), vec![raw; 10_000], 1), travels);
        let stub = Record::Withheld(Withheld::Sampled).encode().unwrap();
        assert!(travels.iter().filter(|record| **record == stub).count() == 10_000 - full);
    }

    #[test]
    fn each_day_and_task_is_told_once() {
        let mut policy = Policy::default();
        policy.set(&asks(Some("a"), ReportingMode::Sketch));
        let mut sketcher = Sketcher::new(EPOCH, 5, BTreeSet::new());
        let tasks = || ["a", "b"].into_iter().map(|task| task.parse().unwrap());
        assert!(sketcher.observe(&policy, tasks()));
        assert!(!sketcher.observe(&policy, tasks()));
        sketcher.add(Some(&outcome("a", 10)));
        sketcher.add(Some(&outcome("b", 20)));
        sketcher.add(None);
        sketcher.add(Some(&outcome("a", 30)));
        assert!(sketcher.begins_day(DAY_MS) && !sketcher.is_due(DAY_MS - 1));
        let told = sketcher.finish();
        let [told] = &told[..] else { panic!("{told:?}") };
        assert_eq!((told.first, told.end, told.from_ms, told.until_ms), (5, 9, 10, 30));
        assert_eq!(told.sketch.outcomes, 2);
        policy.set(&asks(Some("a"), ReportingMode::Full));
        sketcher.told(&policy);
        assert_eq!(sketcher.state(), (EPOCH, 9, &BTreeSet::new()));
        sketcher.add(Some(&outcome("a", DAY_MS)));
        assert_eq!(sketcher.finish(), [], "everything travels again");
    }
}
