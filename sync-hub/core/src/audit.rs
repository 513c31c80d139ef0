//! Whether the outcomes kept of one epoch of a device are complete and unaltered, by their hash
//! chain (see [`landfall_wire::chain`]).
//!
//! The caller feeds what is kept in rising order; memory is bounded by marks and findings, not
//! by outcomes. What lies between two marks that agree with it is *proven*. What follows the
//! last mark is *pending*: the next one will prove it. What no mark can prove any more, because
//! it was written or kept without a chain or stands alone between losses, is *unproven*.
//! Anything that contradicts a mark, or is missing without a loss record, is a [`Finding`].

use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::{DeviceId, Epoch};
use serde::Serialize;
use std::ops::Range;

/// Findings and ranges that a report lists: more of them would tell nobody more.
pub const LISTED_MAX: usize = 100;

/// What is kept of one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<'a> {
    /// The record as it came, and whether what the hub shows of it says the same.
    Record {
        /// The record.
        raw: &'a [u8],
        /// Name of something that differs.
        differs: Option<&'a str>,
    },
    /// Only what the hub shows of it: it was kept by a hub that kept no records.
    Shown,
}

/// Something is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// Outcomes are not there, and no loss record tells of them.
    Missing {
        /// The first.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// Between these marks an outcome was changed, exchanged or moved.
    Altered {
        /// The first that may be.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// What the hub shows of an outcome is not what the record says.
    Differs {
        /// Which outcome.
        seq: u64,
        /// What differs.
        what: String,
    },
    /// A chain begins here with a value that is not this device's in this epoch.
    ForeignChain {
        /// Where.
        at: u64,
    },
    /// Outcomes that the hub never acknowledged.
    Surplus {
        /// The first.
        seq: u64,
    },
}

/// Outcomes `first..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// What an audit of one epoch found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The epoch.
    #[serde(serialize_with = "shown")]
    pub epoch: Epoch,
    /// Everything below is committed here.
    pub mark: u64,
    /// One past the last outcome that the device said it has.
    pub device_end: u64,
    /// Outcomes below were removed for their age.
    pub removed_below: u64,
    /// Outcomes that are kept.
    pub held: u64,
    /// Of these, how many are proven complete and unaltered.
    pub proven: u64,
    /// Outcomes after the last mark.
    pub pending: u64,
    /// Outcomes that no mark can prove.
    pub unproven: u64,
    /// Outcomes that are lost, with a loss record.
    pub lost: u64,
    /// Outcomes that stay on the device, as this hub asked: the device proves them, with
    /// `landfall-agent queue verify`.
    pub withheld: u64,
    /// Where the unproven ones are, at most [`LISTED_MAX`].
    pub unproven_at: Vec<Span>,
    /// Where the lost ones were, at most [`LISTED_MAX`].
    pub lost_at: Vec<Span>,
    /// The last position that is proven, and the chain's value there, to compare with the
    /// device's own.
    pub head: Option<Head>,
    /// The chain is bound to the device's name; not so while the device was not enrolled.
    pub bound: bool,
    /// What is wrong, at most [`LISTED_MAX`].
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub findings_count: u64,
}

/// A proven position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The position.
    pub at: u64,
    /// The chain's value there.
    #[serde(serialize_with = "shown")]
    pub value: ChainValue,
}

fn shown<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

impl Report {
    /// Nothing contradicts the log.
    pub fn is_intact(&self) -> bool {
        self.findings_count == 0
    }

    /// Every outcome that is kept is proven.
    pub fn is_proven(&self) -> bool {
        self.is_intact() && self.pending == 0 && self.unproven == 0
    }
}

/// What the hub knows of an epoch, beside its outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The epoch.
    pub epoch: Epoch,
    /// Everything below is committed.
    pub mark: u64,
    /// One past the last outcome that the device said it has.
    pub device_end: u64,
    /// What the device told of its chain.
    pub marks: Vec<ChainMark>,
    /// Outcomes that the device told are lost.
    pub lost: Vec<Range<u64>>,
    /// Outcomes below are not kept any more, as the hub was told; a mark tells the chain there.
    pub removed_below: u64,
    /// Outcomes that stay on the device.
    pub withheld: Vec<Range<u64>>,
}

/// An audit of one epoch under way.
#[derive(Debug, Clone)]
pub struct Audit {
    device: DeviceId,
    marks: std::iter::Peekable<std::vec::IntoIter<ChainMark>>,
    lost: Vec<Range<u64>>,
    withheld: std::iter::Peekable<std::vec::IntoIter<Range<u64>>>,
    report: Report,
    /// The chain before `next`, if it is known.
    value: Option<ChainValue>,
    /// The same for a device without a name, until a mark tells which it is.
    nameless: Option<ChainValue>,
    /// The first outcome that waits for a mark.
    open: u64,
    /// The next number.
    next: u64,
}

impl Audit {
    /// Begins the audit of an epoch.
    pub fn new(device: DeviceId, known: Known) -> Audit {
        let Known { epoch, mark, device_end, mut marks, mut lost, removed_below, mut withheld } =
            known;
        // At one position the chain ends before it begins anew.
        marks.sort_by_key(|m| (m.at, m.begins));
        lost.sort_by_key(|range| (range.start, range.end));
        withheld.sort_by_key(|range| (range.start, range.end));
        let report = Report {
            epoch,
            mark,
            device_end: device_end.max(mark),
            removed_below,
            held: 0,
            proven: 0,
            pending: 0,
            unproven: 0,
            lost: 0,
            withheld: 0,
            unproven_at: Vec::new(),
            lost_at: Vec::new(),
            head: None,
            bound: true,
            findings: Vec::new(),
            findings_count: 0,
        };
        let whole = removed_below == 0;
        Audit {
            value: whole.then(|| ChainValue::begin(Some(&device), epoch, 0)),
            nameless: whole.then(|| ChainValue::begin(None, epoch, 0)),
            device,
            marks: marks.into_iter().peekable(),
            lost,
            withheld: withheld.into_iter().peekable(),
            report,
            open: removed_below,
            next: removed_below,
        }
    }

    /// Takes the next outcome in; numbers rise.
    pub fn record(&mut self, seq: u64, kept: Kept<'_>) {
        if seq >= self.report.mark {
            return self.find(Finding::Surplus { seq });
        }
        self.skip_to(seq);
        self.settle();
        self.report.held += 1;
        self.next = seq + 1;
        match kept {
            Kept::Record { raw, differs } => {
                if let Some(what) = differs {
                    self.find(Finding::Differs { seq, what: what.to_owned() });
                }
                self.value = self.value.map(|value| value.after(raw));
                self.nameless = self.nameless.map(|value| value.after(raw));
            }
            Kept::Shown => (self.value, self.nameless) = (None, None),
        }
    }

    /// Ends the audit.
    pub fn finish(mut self) -> Report {
        self.skip_to(self.report.mark);
        self.settle();
        if self.value.is_some() {
            self.report.pending += self.next - self.open;
        } else {
            self.give_up();
        }
        self.report
    }

    /// Outcomes up to `end` are not there.
    fn skip_to(&mut self, end: u64) {
        if self.next >= end {
            return;
        }
        self.settle();
        self.give_up();
        while let Some(range) = self.withheld.next_if(|range| range.start < end) {
            let (first, last) = (range.start.max(self.next), range.end.min(end));
            if first < last {
                self.gone(self.next, first);
                self.report.withheld += last - first;
                self.next = last;
            }
        }
        self.gone(self.next, end);
        (self.next, self.open) = (end, end);
        (self.value, self.nameless) = (None, None);
    }

    /// These outcomes are not there, and do not stay on the device.
    fn gone(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        let mut at = first;
        for range in self.lost.clone() {
            let (first, last) = (range.start.max(at), range.end.min(end));
            if first < last {
                if at < first {
                    self.find(Finding::Missing { first: at, end: first });
                }
                self.report.lost += last - first;
                list(&mut self.report.lost_at, first, last);
                at = last;
            }
        }
        if at < end {
            self.find(Finding::Missing { first: at, end });
        }
    }

    /// Compares with the marks before the next outcome.
    fn settle(&mut self) {
        while let Some(mark) = self.marks.next_if(|mark| mark.at <= self.next) {
            if mark.at < self.next {
                // Of outcomes that are lost.
                continue;
            }
            if mark.begins { self.begin(&mark) } else { self.compare(&mark) }
        }
    }

    fn compare(&mut self, mark: &ChainMark) {
        if self.value != Some(mark.value) && self.nameless == Some(mark.value) {
            self.value = self.nameless;
            self.report.bound = false;
        }
        self.nameless = None;
        match self.value {
            Some(value) if value == mark.value => {
                self.report.proven += self.next - self.open;
                self.report.head = Some(Head { at: mark.at, value });
            }
            Some(_) if self.open == self.next => {
                // Two marks of one place that contradict each other.
                self.find(Finding::Altered { first: mark.at.saturating_sub(1), end: mark.at });
            }
            Some(_) => self.find(Finding::Altered { first: self.open, end: self.next }),
            None => self.give_up(),
        }
        self.open = self.next;
        self.value = Some(mark.value);
    }

    fn begin(&mut self, mark: &ChainMark) {
        let epoch = self.report.epoch;
        self.give_up();
        let bound = mark.value == ChainValue::begin(Some(&self.device), epoch, mark.at);
        if !bound && mark.value != ChainValue::begin(None, epoch, mark.at) {
            self.find(Finding::ForeignChain { at: mark.at });
        }
        self.report.bound = bound;
        (self.value, self.nameless) = (Some(mark.value), None);
    }

    /// What waits for a mark will have none.
    fn give_up(&mut self) {
        if self.open < self.next {
            self.report.unproven += self.next - self.open;
            list(&mut self.report.unproven_at, self.open, self.next);
            self.open = self.next;
        }
    }

    fn find(&mut self, finding: Finding) {
        self.report.findings_count += 1;
        if self.report.findings.len() < LISTED_MAX {
            self.report.findings.push(finding);
        }
    }
}

fn list(spans: &mut Vec<Span>, first: u64, end: u64) {
    let full = spans.len() >= LISTED_MAX;
    match spans.last_mut().filter(|last| last.end == first) {
        Some(last) => last.end = end,
        None if full => {}
        None => spans.push(Span { first, end }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn ship() -> DeviceId {
        "ship-7".parse().unwrap()
    }

    fn raw(seq: u64) -> Vec<u8> {
        format!("record {seq}").into_bytes()
    }

    /// The chain's value at each position, begun at `from`.
    fn values(device: Option<&DeviceId>, from: u64, end: u64) -> Vec<ChainValue> {
        let mut value = ChainValue::begin(device, EPOCH, from);
        let mut values = vec![value];
        for seq in from..end {
            value = value.after(&raw(seq));
            values.push(value);
        }
        values
    }

    fn mark(at: u64, value: ChainValue) -> ChainMark {
        ChainMark { epoch: EPOCH, at, value, begins: false }
    }

    fn marks(at: &[u64]) -> Vec<ChainMark> {
        let values = values(Some(&ship()), 0, 100);
        at.iter().map(|at| mark(*at, values[usize::try_from(*at).unwrap()])).collect()
    }

    fn audit(
        marks: Vec<ChainMark>,
        lost: Option<Range<u64>>,
        kept: impl IntoIterator<Item = (u64, Vec<u8>)>,
    ) -> Report {
        let known = Known {
            epoch: EPOCH,
            mark: 10,
            device_end: 12,
            marks,
            lost: Vec::from_iter(lost),
            removed_below: 0,
            withheld: vec![],
        };
        let mut audit = Audit::new(ship(), known);
        for (seq, raw) in kept {
            audit.record(seq, Kept::Record { raw: &raw, differs: None });
        }
        audit.finish()
    }

    fn all() -> impl Iterator<Item = (u64, Vec<u8>)> {
        (0..10).map(|seq| (seq, raw(seq)))
    }

    #[test]
    fn what_lies_between_marks_is_proven_and_the_rest_is_pending() {
        let report = audit(marks(&[4, 8]), None, all());
        assert_eq!((report.held, report.proven, report.pending), (10, 8, 2));
        assert!(report.is_intact() && !report.is_proven() && report.bound);
        assert_eq!(report.head.unwrap().at, 8);
        assert!(audit(marks(&[10]), None, all()).is_proven());
    }

    #[test]
    fn each_kind_of_change_is_found() {
        let altered = |first, end| vec![Finding::Altered { first, end }];
        let changed = all().map(|(seq, raw)| (seq, if seq == 5 { b"x".to_vec() } else { raw }));
        assert_eq!(audit(marks(&[4, 8, 10]), None, changed).findings, altered(4, 8));
        let exchanged = all().map(|(seq, _)| (seq, raw(if seq == 1 { 2 } else { seq })));
        assert_eq!(audit(marks(&[4, 8, 10]), None, exchanged).findings, altered(0, 4));
        let removed = all().filter(|(seq, _)| *seq != 6);
        let missing = vec![Finding::Missing { first: 6, end: 7 }];
        assert_eq!(audit(marks(&[4, 8, 10]), None, removed).findings, missing);
        let cut = all().take(7);
        let missing = vec![Finding::Missing { first: 7, end: 10 }];
        assert_eq!(audit(marks(&[4]), None, cut).findings, missing);
        let added = all().chain([(10, raw(10))]);
        assert_eq!(audit(marks(&[10]), None, added).findings, [Finding::Surplus { seq: 10 }]);
        // What comes after a change is proven again from the next mark.
        let changed = all().map(|(seq, raw)| (seq, if seq == 5 { b"x".to_vec() } else { raw }));
        assert_eq!(audit(marks(&[4, 8, 10]), None, changed).proven, 6);
    }

    #[test]
    fn a_loss_is_bridged_by_the_marks_at_its_ends() {
        let kept = || all().filter(|(seq, _)| !(3..6).contains(seq));
        let report = audit(marks(&[3, 6, 10]), Some(3..6), kept());
        assert_eq!((report.proven, report.lost, report.is_proven()), (7, 3, true));
        assert_eq!(report.lost_at, [Span { first: 3, end: 6 }]);
        // Without the bridge the rest waits for the next mark.
        let report = audit(marks(&[8, 10]), Some(3..6), kept());
        assert_eq!((report.proven, report.unproven), (2, 5));
        assert_eq!(report.unproven_at, [Span { first: 0, end: 3 }, Span { first: 6, end: 8 }]);
        // A loss record that tells of less than is missing.
        let report = audit(marks(&[3, 6, 10]), Some(3..5), kept());
        assert_eq!(report.findings, [Finding::Missing { first: 5, end: 6 }]);
    }

    #[test]
    fn a_chain_that_begins_late_proves_what_follows() {
        let values = values(Some(&ship()), 4, 10);
        let begins = ChainMark { begins: true, ..mark(4, values[0]) };
        let report = audit(vec![begins, mark(10, values[6])], None, all());
        assert_eq!((report.unproven, report.proven), (4, 6));
        let foreign = ChainValue::begin(Some(&"shed-1".parse().unwrap()), EPOCH, 4);
        let begins = ChainMark { begins: true, ..mark(4, foreign) };
        let report = audit(vec![begins], None, all());
        assert_eq!(report.findings, [Finding::ForeignChain { at: 4 }]);
    }

    #[test]
    fn a_device_that_had_no_name_yet_is_proven_but_not_bound() {
        let values = values(None, 0, 10);
        let report = audit(vec![mark(10, values[10])], None, all());
        assert!(report.is_proven() && !report.bound, "{report:?}");
    }

    #[test]
    fn what_was_kept_without_its_record_is_unproven() {
        let known = Known {
            epoch: EPOCH,
            mark: 10,
            device_end: 10,
            marks: marks(&[4, 10]),
            lost: vec![],
            removed_below: 0,
            withheld: vec![],
        };
        let mut audit = Audit::new(ship(), known);
        for (seq, raw) in all() {
            let differs = (seq == 7).then_some("task");
            let kept = Kept::Record { raw: &raw, differs };
            audit.record(seq, if seq == 2 { Kept::Shown } else { kept });
        }
        let report = audit.finish();
        assert_eq!((report.unproven, report.proven), (4, 6));
        assert_eq!(report.findings, [Finding::Differs { seq: 7, what: "task".into() }]);
    }
}
