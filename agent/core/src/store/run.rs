//! Reading records in order: each number once, whether it was written alone or in a pack, and
//! whichever generations have it.

use super::generation::Generation;
use super::keys;
use super::pack::Records;
use super::state::{Failed, State};
use super::value::{Kind, PACK_RECORDS_MAX, Value};
use landfall_wire::chain::ChainValue;
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;
use std::ops::Range;

/// Consecutive records out of one value.
#[derive(Debug)]
pub(super) struct Run {
    bytes: Vec<u8>,
    /// Where the payload begins.
    at: usize,
    kind: Kind,
    epoch: Epoch,
    /// Of the whole value.
    whole: Range<u64>,
    before: Option<ChainValue>,
    numbers: Range<u64>,
}

impl Run {
    /// The records of a value, if it is whole and is what its key says.
    pub(super) fn open(
        stream: StreamId,
        epoch: Epoch,
        key: &[u8],
        mut bytes: Vec<u8>,
    ) -> Option<Run> {
        let value = Value::open(&bytes).filter(|value| {
            let kinds = [Kind::Record(stream), Kind::Pack(stream)];
            kinds.contains(&value.kind)
                && value.epoch == epoch
                && Some(value.seq) == keys::parse_seq(key)
        })?;
        let Value { kind, before, seq, .. } = value;
        let whole = seq..value.records().end();
        let sealed = value.bytes();
        let at = sealed - value.payload.len();
        bytes.truncate(sealed);
        Some(Run { bytes, at, kind, epoch, numbers: whole.clone(), whole, before })
    }

    /// Those that are wanted; `None` if there are none.
    fn within(mut self, wanted: &Range<u64>) -> Option<Run> {
        let Range { start, end } = self.whole;
        self.numbers = start.max(wanted.start)..end.min(wanted.end);
        (!self.numbers.is_empty()).then_some(self)
    }

    pub(super) fn numbers(&self) -> Range<u64> {
        self.numbers.clone()
    }

    /// Each record with its number.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let Range { start, end } = self.numbers;
        self.all().skip_while(move |(seq, _)| *seq < start).take_while(move |(seq, _)| *seq < end)
    }

    /// Each record with its number and, of an outcome, the hash chain before it.
    pub(super) fn chained(&self) -> impl Iterator<Item = (u64, Option<ChainValue>, &[u8])> {
        let Range { start, end } = self.numbers;
        let mut next = self.before;
        let chained =
            self.all().take_while(move |(seq, _)| *seq < end).map(move |(seq, payload)| {
                let before = next;
                // Not after the last one, which nobody asks for.
                next = before.filter(|_| seq + 1 < end).map(|before| before.after(payload));
                (seq, before, payload)
            });
        chained.skip_while(move |(seq, ..)| *seq < start)
    }

    /// The first record as if it had been written alone.
    pub(super) fn first_alone(&self) -> Option<Vec<u8>> {
        let first = self.numbers.start;
        self.value().singles().find(|value| value.seq == first)?.seal()
    }

    /// The value as it is stored, and the numbers in it.
    pub(super) fn into_whole(self) -> (Range<u64>, Vec<u8>) {
        (self.whole, self.bytes)
    }

    fn value(&self) -> Value<'_> {
        let Run { bytes, at, kind, epoch, whole, before, .. } = self;
        let (kind, epoch, before) = (*kind, *epoch, *before);
        Value { kind, epoch, seq: whole.start, before, payload: &bytes[*at..] }
    }

    fn all(&self) -> Records<'_> {
        self.value().records()
    }
}

/// Goes through one stream of an epoch, by rising numbers.
pub(super) struct Cursor {
    stream: StreamId,
    epoch: Epoch,
    /// The generations to look at, the oldest first.
    generations: Vec<usize>,
}

impl Cursor {
    pub(super) fn of(stream: StreamId, epoch: Epoch, generations: Vec<usize>) -> Cursor {
        Cursor { stream, epoch, generations }
    }

    /// The first records that can be read of `wanted`, as many as one value has.
    pub(super) fn next(
        &mut self,
        state: &State,
        wanted: Range<u64>,
    ) -> Result<Option<Run>, Failed> {
        let mut best: Option<Run> = None;
        let mut over = 0;
        for &at in &self.generations {
            let Some(run) = state.run_in(at, self.stream, self.epoch, &wanted)? else {
                // Those before have no more either.
                over += usize::from(best.is_none());
                continue;
            };
            let exact = run.numbers.start == wanted.start;
            if best.as_ref().is_none_or(|best| run.numbers.start < best.numbers.start) {
                best = Some(run);
            }
            if exact {
                break;
            }
        }
        self.generations.drain(..over);
        Ok(best)
    }
}

impl State {
    /// A cursor over the generations that have something from `first` on.
    pub(super) fn cursor(&self, stream: StreamId, epoch: Epoch, first: u64) -> Cursor {
        let reaches = |g: &Generation| g.ends.get(&(stream, epoch)).is_some_and(|end| *end > first);
        let generations = self.generations.iter().enumerate().filter(|(_, g)| reaches(g));
        Cursor::of(stream, epoch, generations.map(|(at, _)| at).collect())
    }

    /// One record, wherever it is held.
    pub(super) fn held(
        &self,
        stream: StreamId,
        epoch: Epoch,
        seq: u64,
    ) -> Result<Option<Run>, Failed> {
        let generations = (0..self.generations.len()).rev().collect();
        Cursor::of(stream, epoch, generations).next(self, seq..seq.saturating_add(1))
    }

    /// The first records of `wanted` that one generation has.
    fn run_in(
        &self,
        at: usize,
        stream: StreamId,
        epoch: Epoch,
        wanted: &Range<u64>,
    ) -> Result<Option<Run>, Failed> {
        let first = keys::record(stream, epoch, wanted.start);
        let mut found = None;
        let mut from = first.clone();
        let to = keys::record(stream, epoch, wanted.end);
        while found.is_none() {
            let Some((key, bytes)) = self.first(at, &from, &to)? else { break };
            from = [key.as_slice(), &[0]].concat();
            found = Run::open(stream, epoch, &key, bytes).and_then(|run| run.within(wanted));
        }
        if found.as_ref().is_some_and(|run| run.numbers.start == wanted.start) {
            return Ok(found);
        }
        // A pack that begins before may reach so far.
        let from = keys::record(stream, epoch, wanted.start.saturating_sub(PACK_RECORDS_MAX - 1));
        let mut to = first;
        while let Some((key, bytes)) = self.last(at, &from, &to)? {
            let run = Run::open(stream, epoch, &key, bytes);
            let run = run.filter(|run| run.whole.end > wanted.start);
            let run = run.and_then(|run| run.within(wanted));
            if run.is_some() {
                return Ok(run);
            }
            to = key;
        }
        Ok(found)
    }
}
