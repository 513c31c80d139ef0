//! What a store knows of itself beside its records. Written with every commit.
//!
//! Beside its positions each stream has a *reach*: the hub can have nothing from there on. It
//! grows to the stream's end before a connection is given records, with every commit while
//! there is a connection, and once more when the store is first opened after that, because
//! whoever copied the store may have copied all of it. A hub that has more than the reach has
//! it from a later life of this store, which was put back to an old image since. What lies
//! above the reach was then written after that, under numbers that the hub has seen.
//!
//! The value holds the meta, then, since a later version, the reaches and whether an open has
//! raised them, then the end of the hash chain. An older reader ignores what follows; what an
//! older writer wrote reaches to its end, and has no chain.

use super::chain::Head;
use super::medium::{Medium, Table, TableError};
use super::types::StreamStatus;
use super::value::{Kind, Value};
use super::{StoreError, keys};
use landfall_wire::frame::Position;
use landfall_wire::id::Epoch;
use landfall_wire::limits::GREETING_STREAMS_MAX;
use landfall_wire::record::StreamId;
use serde::{Deserialize, Serialize};

/// Positions, epoch and running time of the whole store; the newest one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Counts writes, to tell the newest.
    pub(super) counter: u64,
    /// Epoch of new records.
    pub(super) epoch: Epoch,
    /// How long devices ran with this store: what a time to live is measured in.
    pub(super) running_ms: u64,
    /// Outcomes written in all epochs: what the retry window is measured in.
    pub(super) outcomes: u64,
    /// How far the hub's answers are applied.
    pub(super) answers: Option<Position>,
    /// The streams of this epoch, and those of former epochs that the hub does not have yet.
    pub(super) streams: Vec<StreamStatus>,
    /// The reaches were raised by an open since there last was a connection: later opens leave
    /// them.
    #[serde(skip)]
    pub(super) reopened: bool,
    /// The end of the hash chain over the outcomes of this epoch.
    #[serde(skip)]
    pub(super) chain: Option<Head>,
}

/// What follows the meta in its value.
#[derive(Debug, Serialize, Deserialize)]
struct Reaches {
    /// One for each stream.
    reaches: Vec<u64>,
    reopened: bool,
}

impl Meta {
    pub(super) fn new(medium: &mut dyn Medium) -> Result<Meta, StoreError> {
        let mut meta = Meta::unknown();
        let epoch = medium.epoch()?;
        let given_up = meta.begin_epoch(epoch, medium);
        debug_assert!(given_up.is_empty(), "there was nothing");
        Ok(meta)
    }

    /// Of a store that could not be opened yet.
    pub(super) fn unknown() -> Meta {
        Meta {
            counter: 0,
            epoch: Epoch(0),
            running_ms: 0,
            outcomes: 0,
            answers: None,
            streams: Vec::new(),
            reopened: false,
            chain: None,
        }
    }

    /// Begins a new epoch; the streams of older ones stay while they have a backlog, those of the
    /// last one until the next commit of the engine: if this salvage fails, the next one must know
    /// that what names more than they held was lost. Returns those of the oldest epochs that a
    /// greeting has no room for: they are given up, which the caller must record.
    #[must_use]
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, medium: &dyn Medium) -> Vec<StreamStatus> {
        self.forget_finished();
        self.epoch = epoch;
        let surplus =
            (self.streams.len() + StreamId::UP.len()).saturating_sub(GREETING_STREAMS_MAX);
        let given_up = self.streams.drain(..surplus.min(self.streams.len())).collect();
        let new = StreamId::UP.map(|stream| StreamStatus {
            stream,
            epoch: self.epoch,
            floor: 0,
            acked: 0,
            end: 0,
            reach: 0,
        });
        self.streams.extend(new);
        self.chain = None;
        self.bind(medium);
        given_up
    }

    /// Drops former epochs' streams that the hub has whole.
    pub(super) fn forget_finished(&mut self) {
        self.streams.retain(|s| s.epoch == self.epoch || s.acked < s.end);
    }

    pub(super) fn stream(&self, stream: StreamId, epoch: Epoch) -> Option<&StreamStatus> {
        self.streams.iter().find(|s| s.stream == stream && s.epoch == epoch)
    }

    pub(super) fn stream_mut(
        &mut self,
        stream: StreamId,
        epoch: Epoch,
    ) -> Option<&mut StreamStatus> {
        self.streams.iter_mut().find(|s| s.stream == stream && s.epoch == epoch)
    }

    /// Everything of the stream below is at the hub, or given up.
    pub(super) fn acked(&self, stream: StreamId, epoch: Epoch) -> u64 {
        self.stream(stream, epoch).map_or(u64::MAX, |s| s.acked)
    }

    /// The next sequence number of a stream of this epoch.
    pub(super) fn end(&self, stream: StreamId) -> u64 {
        self.stream(stream, self.epoch).map_or(0, |s| s.end)
    }

    /// Takes the next sequence number of a stream of this epoch.
    pub(super) fn take_seq(&mut self, stream: StreamId) -> u64 {
        let epoch = self.epoch;
        let stream = self.stream_mut(stream, epoch).expect("the epoch's own streams are kept");
        stream.end += 1;
        stream.end - 1
    }

    /// The store was opened: see the module.
    pub(super) fn reopen(&mut self) {
        if !self.reopened {
            self.streams.iter_mut().for_each(|s| s.reach = s.end);
            self.reopened = true;
        }
    }

    /// From now on the hub may get everything there is. Says whether that changed anything.
    pub(super) fn offer(&mut self) -> bool {
        let changed = self.streams.iter().any(|s| s.reach < s.end);
        self.streams.iter_mut().for_each(|s| s.reach = s.end);
        self.reopened = false;
        changed
    }

    pub(super) fn seal(&self) -> Vec<u8> {
        let payload = self.payload();
        let (epoch, seq) = (self.epoch, self.counter);
        let value = Value { kind: Kind::Meta, epoch, seq, before: None, payload: &payload };
        value.seal().expect("64 streams of at most 51 bytes and a chain of at most 71 fit")
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload = postcard::to_stdvec(self).unwrap_or_default();
        let reaches = self.streams.iter().map(|s| s.reach).collect();
        let reaches = Reaches { reaches, reopened: self.reopened };
        payload.extend(postcard::to_stdvec(&reaches).unwrap_or_default());
        payload.extend(postcard::to_stdvec(&self.chain).unwrap_or_default());
        payload
    }

    pub(super) fn parse(value: &Value<'_>) -> Option<Meta> {
        (value.kind == Kind::Meta).then(|| Meta::parse_payload(value.payload))?
    }

    pub(super) fn parse_payload(payload: &[u8]) -> Option<Meta> {
        let (mut meta, rest) = postcard::take_from_bytes::<Meta>(payload).ok()?;
        meta.streams.iter_mut().for_each(|s| s.reach = s.end);
        if !rest.is_empty() {
            let (reaches, rest) = postcard::take_from_bytes(rest).ok()?;
            let Reaches { reaches, reopened } = reaches;
            meta.chain = if rest.is_empty() { None } else { postcard::from_bytes(rest).ok()? };
            meta.reopened = reopened;
            meta.streams.iter_mut().zip(reaches).for_each(|(s, reach)| s.reach = reach);
        }
        Some(meta)
    }

    pub(super) fn load(table: &dyn Table) -> Result<Option<Meta>, TableError> {
        let Some(bytes) = table.get(keys::META)? else { return Ok(None) };
        let meta = Value::open(&bytes).and_then(|value| Meta::parse(&value));
        meta.map(Some).ok_or_else(|| TableError::Damaged("its meta value is unreadable".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        let stream = |stream, end, reach| StreamStatus {
            stream,
            epoch: Epoch(7),
            floor: 0,
            acked: 0,
            end,
            reach,
        };
        Meta {
            counter: 3,
            epoch: Epoch(7),
            running_ms: 5,
            outcomes: 4,
            answers: None,
            streams: vec![stream(StreamId::Escalation, 2, 1), stream(StreamId::Outcome, 4, 4)],
            reopened: true,
            chain: None,
        }
    }

    /// The bytes of a version that knew no reaches.
    const OLD: &[u8] = &[3, 7, 5, 4, 0, 2, 1, 7, 0, 0, 2, 0, 7, 0, 0, 4];

    #[test]
    fn older_and_newer_versions_read_each_other() {
        let sealed = meta().seal();
        let value = Value::open(&sealed).unwrap();
        assert_eq!(Meta::parse(&value), Some(meta()));
        assert_eq!(value.payload, [OLD, &[2, 1, 4, 1, 0]].concat(), "golden bytes");
        // An old reader takes the meta from the front and ignores the rest.
        let (read, rest) = postcard::take_from_bytes::<Meta>(value.payload).unwrap();
        assert_eq!((read.counter, read.streams[0].end, rest.len()), (3, 2, 5));
        // What an old writer wrote reaches to its end.
        let old = Value { payload: OLD, ..value };
        let old = Meta::parse(&old).unwrap();
        assert_eq!(old.streams.iter().map(|s| s.reach).collect::<Vec<_>>(), [2, 4]);
        assert!(!old.reopened);
        // One that knew the reaches, but no chain.
        let reaches = [OLD, &[2, 1, 4, 1]].concat();
        let reaches = Value { payload: &reaches, ..value };
        assert_eq!(Meta::parse(&reaches), Some(meta()));
    }

    #[test]
    fn only_the_first_open_without_a_connection_raises_the_reach() {
        let mut meta = Meta { reopened: false, ..meta() };
        meta.reopen();
        assert_eq!(meta.streams[0].reach, 2);
        meta.streams[0].end = 9;
        meta.reopen();
        assert_eq!(meta.streams[0].reach, 2, "written since, and never sent");
        assert!(meta.offer() && !meta.offer());
        assert_eq!((meta.streams[0].reach, meta.reopened), (9, false));
    }
}
