//! Whether the outcomes that a device holds are whole and agree with their hash chain (see
//! [`landfall_wire::chain`]), as far as the device itself can tell.
//!
//! Each outcome is kept with the chain's value before it, and the store keeps the value after
//! the last one. An outcome is *linked* if the value after it, computed from its record, is the
//! one that is kept with its successor, or the store's own at the end. One that was changed,
//! exchanged, moved or removed breaks a link. That proves nothing against somebody who can write
//! to the device and computes all later values anew: for that, the values that the hub was told
//! are compared at the hub.
//!
//! A number that is not there is *gone* if the hub has it, *lost* if a loss record says so, and
//! *missing* otherwise, which is a [`Finding`]. Memory is bounded by marks, losses and gaps, not
//! by outcomes.

use crate::store::{HeldOutcome, StreamStatus};
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::record::{Loss, Record, StreamId};
use serde::Serialize;
use std::collections::BTreeMap;

/// Findings and ranges that a report lists: more of them would tell nobody more.
pub const LISTED_MAX: usize = 100;

/// Gaps that are told apart; a store with more of them is broken whatever they are.
pub const GAPS_MAX: usize = 10_000;

/// Something is wrong with what the device holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// Outcomes are not there, the hub does not have them, and no loss record tells of them.
    Missing {
        /// The first.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// The outcome does not lead to what its successor, or the store, says of it.
    Altered {
        /// Which one: it was changed or exchanged, or the value after it was.
        seq: u64,
    },
    /// The chain begins here with a value that is not this device's in this epoch.
    ForeignChain {
        /// Where.
        at: u64,
    },
    /// What the hub is told of the chain here is not what is kept.
    MarkDiffers {
        /// Where.
        at: u64,
    },
    /// The record is whole, and is not one of an outcome.
    Unreadable {
        /// Which one.
        seq: u64,
    },
}

/// Numbers `first..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// What is held of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The epoch.
    #[serde(serialize_with = "shown")]
    pub epoch: Epoch,
    /// The oldest outcome that is held.
    pub first: u64,
    /// One past the newest.
    pub end: u64,
    /// Outcomes that are held.
    pub held: u64,
    /// Of these, how many wait for the hub.
    pub waiting: u64,
    /// How many are linked to what follows.
    pub linked: u64,
    /// How many are not, because they stand before a gap or have no successor yet.
    pub loose: u64,
    /// How many were written by an agent that kept no chain.
    pub unchained: u64,
    /// Numbers between them that are not held any more, and that the hub has.
    pub gone: u64,
    /// Numbers that are lost, with a loss record.
    pub lost: u64,
    /// Where the lost ones were, at most [`LISTED_MAX`].
    pub lost_at: Vec<Span>,
    /// Values that the hub is told, and that agree.
    pub marks: u64,
    /// The chain is bound to the device's name; `None` if its beginning is not held.
    pub bound: Option<bool>,
    /// The value after the newest outcome, to compare with the hub's.
    #[serde(serialize_with = "shown_if")]
    pub head: Option<ChainValue>,
    /// What is wrong, at most [`LISTED_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub findings_count: u64,
}

fn shown<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn shown_if<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

impl Report {
    /// Nothing contradicts what is held.
    pub fn is_intact(&self) -> bool {
        self.findings_count == 0
    }

    /// Every outcome that is held is linked.
    pub fn is_proven(&self) -> bool {
        self.is_intact() && self.loose == 0 && self.unchained == 0
    }
}

/// What the store says beside its outcomes, taken before they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The device's name, if it has one.
    pub device: Option<DeviceId>,
    /// Its streams.
    pub streams: Vec<StreamStatus>,
    /// The end of its chain.
    pub head: Option<ChainMark>,
    /// The chain marks among its events.
    pub marks: Vec<ChainMark>,
    /// The loss records among them.
    pub losses: Vec<Loss>,
}

/// A check under way; outcomes are fed in the order in which the store gives them.
#[derive(Debug, Clone)]
pub struct Verify {
    known: Known,
    marks: BTreeMap<(Epoch, u64), Vec<ChainMark>>,
    epochs: Vec<OfEpoch>,
}

#[derive(Debug, Clone)]
struct OfEpoch {
    report: Report,
    gaps: Vec<Span>,
    /// The next number.
    next: u64,
    /// The chain after the last outcome, if it has one.
    after: Option<ChainValue>,
    /// The last outcome waits for its successor.
    open: bool,
    /// The next outcome is the first, or follows a gap: nothing tells what comes before it.
    apart: bool,
}

impl Verify {
    /// Begins a check.
    pub fn new(mut known: Known) -> Verify {
        // The end of the chain was read before the positions: what was written in between is left
        // out, as what is written from now on.
        if let Some(head) = known.head {
            let present =
                |s: &&mut StreamStatus| s.stream == StreamId::Outcome && s.epoch == head.epoch;
            known.streams.iter_mut().filter(present).for_each(|s| s.end = s.end.min(head.at));
        }
        let mut marks: BTreeMap<(Epoch, u64), Vec<ChainMark>> = BTreeMap::new();
        for mark in &known.marks {
            marks.entry((mark.epoch, mark.at)).or_default().push(*mark);
        }
        Verify { known, marks, epochs: Vec::new() }
    }

    /// Takes the next outcome. What was written after the check began is left out.
    pub fn outcome(&mut self, held: &HeldOutcome) {
        let (epoch, seq) = (held.id.epoch, held.id.seq);
        let end = self.stream(epoch).map_or(u64::MAX, |stream| stream.end);
        if seq >= end {
            return;
        }
        if self.epochs.last().is_none_or(|last| last.report.epoch != epoch) {
            self.close();
            self.epochs.push(OfEpoch::begin(epoch, seq));
        }
        let Some(last) = self.epochs.last_mut() else { return };
        if seq > last.next {
            last.end(None, at(&self.marks, epoch, last.next));
            last.skip_to(seq);
        }
        last.outcome(held, self.known.device.as_ref(), at(&self.marks, epoch, seq));
    }

    /// Ends the check. `streams` are the positions now: what the hub took meanwhile may be gone.
    pub fn finish(mut self, streams: &[StreamStatus]) -> Vec<Report> {
        self.close();
        let mut reports = Vec::with_capacity(self.epochs.len());
        let (known, epochs) = (&self.known, std::mem::take(&mut self.epochs));
        for of_epoch in epochs {
            reports.push(of_epoch.settle(known, streams));
        }
        // Where nothing is held at all, what waits is missing too.
        let waits = known.streams.iter().filter(|s| s.stream == StreamId::Outcome);
        for stream in waits.filter(|s| s.acked < s.end) {
            if !reports.iter().any(|report| report.epoch == stream.epoch) {
                let mut empty = OfEpoch::begin(stream.epoch, stream.acked);
                empty.skip_to(stream.end);
                reports.push(empty.settle(known, streams));
            }
        }
        reports
    }

    /// Compares the last outcome of an epoch with what the store says follows it.
    fn close(&mut self) {
        let Some(last) = self.epochs.last_mut() else { return };
        let epoch = last.report.epoch;
        let stream =
            self.known.streams.iter().find(|s| s.stream == StreamId::Outcome && s.epoch == epoch);
        let head = self.known.head.filter(|head| head.epoch == epoch && head.at == last.next);
        last.end(head.map(|head| head.value), at(&self.marks, epoch, last.next));
        if let Some(stream) = stream {
            last.skip_to(stream.end);
        }
    }

    fn stream(&self, epoch: Epoch) -> Option<&StreamStatus> {
        self.known.streams.iter().find(|s| s.stream == StreamId::Outcome && s.epoch == epoch)
    }
}

fn at(marks: &BTreeMap<(Epoch, u64), Vec<ChainMark>>, epoch: Epoch, at: u64) -> &[ChainMark] {
    marks.get(&(epoch, at)).map_or(&[], Vec::as_slice)
}

impl OfEpoch {
    fn begin(epoch: Epoch, first: u64) -> OfEpoch {
        let report = Report {
            epoch,
            first,
            end: first,
            held: 0,
            waiting: 0,
            linked: 0,
            loose: 0,
            unchained: 0,
            gone: 0,
            lost: 0,
            lost_at: Vec::new(),
            marks: 0,
            bound: None,
            head: None,
            findings: Vec::new(),
            findings_count: 0,
        };
        OfEpoch { report, gaps: Vec::new(), next: first, after: None, open: false, apart: true }
    }

    fn outcome(&mut self, held: &HeldOutcome, device: Option<&DeviceId>, marks: &[ChainMark]) {
        let seq = held.id.seq;
        self.report.held += 1;
        self.report.waiting += u64::from(!held.at_hub);
        if !matches!(Record::decode(&held.record), Ok(Record::Outcome(_))) {
            self.find(Finding::Unreadable { seq });
        }
        self.link(held, device);
        if let Some(before) = held.before {
            self.compare(before, seq, marks);
        } else {
            self.report.unchained += 1;
        }
        self.after = held.before.map(|before| before.after(&held.record));
        (self.open, self.apart) = (held.before.is_some(), false);
        self.next = seq + 1;
        self.report.end = self.next;
        self.report.head = self.after;
    }

    /// The last outcome's place in the chain against this one's.
    fn link(&mut self, held: &HeldOutcome, device: Option<&DeviceId>) {
        let seq = held.id.seq;
        let Some(before) = held.before else {
            self.loosen();
            return;
        };
        if self.open && self.after == Some(before) {
            self.report.linked += 1;
            self.open = false;
            return;
        }
        // After nothing, or another chain, one must begin.
        if seq == 0 || !self.apart {
            let bound = before == ChainValue::begin(device, held.id.epoch, seq);
            let nameless = before == ChainValue::begin(None, held.id.epoch, seq);
            match (bound || nameless, self.open) {
                (true, _) => self.report.bound = Some(bound && device.is_some()),
                (false, true) => self.find(Finding::Altered { seq: seq - 1 }),
                (false, false) => self.find(Finding::ForeignChain { at: seq }),
            }
        }
        self.loosen();
    }

    /// The last outcome has nothing that it can be compared with.
    fn loosen(&mut self) {
        self.report.loose += u64::from(std::mem::take(&mut self.open));
    }

    fn compare(&mut self, value: ChainValue, at: u64, marks: &[ChainMark]) {
        // At one position a chain can end and another begin.
        let mut agree = marks.iter().filter(|mark| mark.value == value);
        if agree.next().is_some() {
            self.report.marks += 1;
        } else if !marks.is_empty() {
            self.find(Finding::MarkDiffers { at });
        }
    }

    fn end(&mut self, head: Option<ChainValue>, marks: &[ChainMark]) {
        let Some(after) = self.after.filter(|_| self.open) else { return };
        let told: Vec<ChainMark> = marks.iter().filter(|mark| !mark.begins).copied().collect();
        self.compare(after, self.next, &told);
        match head {
            Some(head) if head == after => self.report.linked += 1,
            Some(_) => self.find(Finding::Altered { seq: self.next - 1 }),
            None if told.iter().any(|mark| mark.value == after) => self.report.linked += 1,
            None => self.report.loose += 1,
        }
        self.open = false;
    }

    /// Outcomes up to `seq` are not there.
    fn skip_to(&mut self, seq: u64) {
        if self.next >= seq {
            return;
        }
        self.loosen();
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(Span { first: self.next, end: seq });
        } else {
            self.find(Finding::Missing { first: self.next, end: seq });
        }
        (self.next, self.after, self.apart) = (seq, None, true);
    }

    /// Says what became of the numbers that are not there.
    fn settle(mut self, known: &Known, streams: &[StreamStatus]) -> Report {
        let epoch = self.report.epoch;
        let now = streams.iter().find(|s| s.stream == StreamId::Outcome && s.epoch == epoch);
        // An epoch that the positions have forgotten is at the hub as a whole.
        let acked = now.map_or(u64::MAX, |stream| stream.acked);
        let mut lost: Vec<Span> = known
            .losses
            .iter()
            .filter(|loss| loss.stream == StreamId::Outcome && loss.epoch == epoch)
            .map(|loss| Span { first: loss.first, end: loss.end })
            .collect();
        lost.sort_by_key(|span| span.first);
        for gap in std::mem::take(&mut self.gaps) {
            self.explain(gap, acked, &lost);
        }
        self.report
    }

    fn explain(&mut self, gap: Span, acked: u64, lost: &[Span]) {
        let mut at = gap.first;
        let within = lost.iter().filter(|span| span.first < gap.end && span.end > gap.first);
        for span in within {
            let (first, end) = (span.first.max(at), span.end.min(gap.end));
            if first < end {
                self.unexplained(Span { first: at, end: first }, acked);
                self.report.lost += end - first;
                if self.report.lost_at.len() < LISTED_MAX {
                    self.report.lost_at.push(Span { first, end });
                }
                at = end;
            }
        }
        self.unexplained(Span { first: at, end: gap.end }, acked);
    }

    fn unexplained(&mut self, span: Span, acked: u64) {
        let Span { first, end } = span;
        self.report.gone += acked.min(end).saturating_sub(first);
        let first = first.max(acked);
        if first < end {
            self.find(Finding::Missing { first, end });
        }
    }

    fn find(&mut self, finding: Finding) {
        self.report.findings_count += 1;
        if self.report.findings.len() < LISTED_MAX {
            self.report.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OutcomeId;
    use landfall_wire::id::{Confidence, ShortDigest};
    use landfall_wire::record::{LossReason, Mechanism, Outcome, Verdict};

    const EPOCH: Epoch = Epoch(7);

    fn ship() -> DeviceId {
        "ship-7".parse().unwrap()
    }

    fn record(number: u64) -> Vec<u8> {
        let outcome = Outcome {
            task: "t".parse().unwrap(),
            caller_id: None,
            at_ms: number,
            mechanism: Mechanism::Model,
            verdict: Verdict::Refused,
            decision: None,
            confidence: Confidence::default(),
            package: ShortDigest::default(),
            config: ShortDigest::default(),
            decide_us: 0,
            read: None,
            fields_left_out: 0,
            text: None,
            masking: None,
            meta: vec![],
        };
        Record::Outcome(outcome).encode().unwrap()
    }

    /// Outcomes `from..end`, chained from a beginning at `from`, and the value after them.
    fn chained(device: Option<&DeviceId>, from: u64, end: u64) -> (Vec<HeldOutcome>, ChainValue) {
        let mut value = ChainValue::begin(device, EPOCH, from);
        let outcome = |seq| {
            let (record, before) = (record(seq), Some(value));
            value = value.after(&record);
            HeldOutcome { id: OutcomeId { epoch: EPOCH, seq }, record, before, at_hub: seq < 3 }
        };
        let outcomes = (from..end).map(outcome).collect();
        (outcomes, value)
    }

    fn known(acked: u64, head: ChainValue) -> Known {
        let stream = StreamId::Outcome;
        let position = StreamStatus { stream, epoch: EPOCH, floor: 0, acked, end: 10, reach: 10 };
        let head = ChainMark { epoch: EPOCH, at: 10, value: head, begins: false };
        Known {
            device: Some(ship()),
            streams: vec![position],
            head: Some(head),
            ..Known::default()
        }
    }

    fn check(known: Known, outcomes: &[HeldOutcome]) -> Report {
        let streams = known.streams.clone();
        let mut verify = Verify::new(known);
        outcomes.iter().for_each(|held| verify.outcome(held));
        let mut reports = verify.finish(&streams);
        assert_eq!(reports.len(), 1, "{reports:?}");
        reports.remove(0)
    }

    #[test]
    fn a_whole_log_is_proven_up_to_its_end() {
        let (outcomes, head) = chained(Some(&ship()), 0, 10);
        let report = check(known(3, head), &outcomes);
        assert_eq!((report.held, report.waiting, report.linked), (10, 7, 10));
        assert!(report.is_proven(), "{report:?}");
        assert_eq!((report.bound, report.head), (Some(true), Some(head)));
        // What was written since the check began is left to the next one; that is, since the end
        // of the chain was read.
        let early = Known {
            head: Some(ChainMark {
                at: 6,
                value: outcomes[6].before.unwrap(),
                ..known(3, head).head.unwrap()
            }),
            ..known(3, head)
        };
        let report = check(early, &outcomes);
        assert_eq!((report.held, report.is_proven()), (6, true), "{report:?}");
        let (more, _) = chained(Some(&ship()), 0, 12);
        assert!(check(known(3, head), &more).is_proven());
    }

    #[test]
    fn each_kind_of_change_is_found() {
        let (outcomes, head) = chained(Some(&ship()), 0, 10);
        let altered = |seq| vec![Finding::Altered { seq }];
        let mut changed = outcomes.clone();
        changed[5].record = record(77);
        assert_eq!(check(known(3, head), &changed).findings, altered(5));
        changed = outcomes.clone();
        changed[9].record = record(77);
        assert_eq!(check(known(3, head), &changed).findings, altered(9), "the store's own end");
        changed = outcomes;
        changed[6].record = b"rubbish".to_vec();
        let report = check(known(3, head), &changed);
        assert_eq!(report.findings, [Finding::Unreadable { seq: 6 }, Finding::Altered { seq: 6 }]);
        let (foreign, head) = chained(Some(&"shed-1".parse().unwrap()), 0, 10);
        let report = check(known(3, head), &foreign);
        assert_eq!(report.findings, [Finding::ForeignChain { at: 0 }]);
    }

    #[test]
    fn what_is_not_there_is_gone_lost_or_missing() {
        let (outcomes, head) = chained(Some(&ship()), 0, 10);
        let held = |seqs: &[u64]| -> Vec<HeldOutcome> {
            outcomes.iter().filter(|held| seqs.contains(&held.id.seq)).cloned().collect()
        };
        // The hub has 0 to 2.
        let report = check(known(3, head), &held(&[0, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!((report.gone, report.loose, report.is_intact()), (1, 1, true));
        assert!(!report.is_proven());
        let some = held(&[3, 4, 7, 8, 9]);
        let report = check(known(3, head), &some);
        assert_eq!(report.findings, [Finding::Missing { first: 5, end: 7 }]);
        let loss = |first, end| Loss {
            stream: StreamId::Outcome,
            epoch: EPOCH,
            first,
            end,
            reason: LossReason::Damaged,
        };
        let told = Known { losses: vec![loss(5, 7)], ..known(3, head) };
        let report = check(told.clone(), &some);
        assert_eq!((report.lost, report.is_intact()), (2, true));
        assert_eq!(report.lost_at, [Span { first: 5, end: 7 }]);
        assert!(!report.is_proven(), "nothing tells what follows 4");
        let bridge = ChainMark { value: outcomes[5].before.unwrap(), at: 5, ..told.head.unwrap() };
        let report = check(Known { marks: vec![bridge], ..told }, &some);
        assert_eq!((report.linked, report.is_proven()), (5, true), "{report:?}");
        let less = Known { losses: vec![loss(6, 9)], ..known(3, head) };
        assert_eq!(check(less, &some).findings, [Finding::Missing { first: 5, end: 6 }]);
        let tail = Finding::Missing { first: 8, end: 10 };
        assert_eq!(check(known(3, head), &outcomes[..8]).findings, [tail]);
        let all = Finding::Missing { first: 3, end: 10 };
        assert_eq!(check(known(3, head), &[]).findings, [all]);
    }

    #[test]
    fn a_chain_that_begins_late_or_anew_is_told() {
        let (mut outcomes, _) = chained(None, 0, 4);
        let (named, head) = chained(Some(&ship()), 4, 10);
        outcomes.extend(named.clone());
        let report = check(known(0, head), &outcomes);
        assert_eq!((report.linked, report.loose, report.bound), (9, 1, Some(true)));
        assert!(report.is_intact(), "{report:?}");
        let (mut outcomes, _) = chained(None, 0, 4);
        outcomes.iter_mut().for_each(|held| held.before = None);
        outcomes.extend(named);
        let report = check(known(0, head), &outcomes);
        assert_eq!((report.unchained, report.linked), (4, 6));
        assert!(report.is_intact() && !report.is_proven(), "{report:?}");
    }

    #[test]
    fn what_the_hub_is_told_is_compared() {
        let (outcomes, head) = chained(Some(&ship()), 0, 10);
        let mark = |at: usize| ChainMark {
            epoch: EPOCH,
            at: at as u64,
            value: outcomes[at].before.unwrap(),
            begins: false,
        };
        let marks = vec![mark(4), mark(8)];
        let report = check(Known { marks, ..known(3, head) }, &outcomes);
        assert_eq!((report.marks, report.is_proven()), (2, true));
        let wrong = ChainMark { value: head, ..mark(4) };
        let report = check(Known { marks: vec![wrong], ..known(3, head) }, &outcomes);
        assert_eq!(report.findings, [Finding::MarkDiffers { at: 4 }]);
    }
}
