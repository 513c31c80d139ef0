//! What a store knows of itself beside its records. Written with every commit.

use super::table::{Table, TableError};
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
}

impl Meta {
    pub(super) fn new() -> Result<Meta, StoreError> {
        let mut meta = Meta {
            counter: 0,
            epoch: Epoch(0),
            running_ms: 0,
            outcomes: 0,
            answers: None,
            streams: Vec::new(),
        };
        meta.begin_epoch()?;
        Ok(meta)
    }

    /// Begins a new epoch; the streams of the old one stay while they have a backlog.
    pub(super) fn begin_epoch(&mut self) -> Result<(), StoreError> {
        let epoch = getrandom::u64()
            .map_err(|e| StoreError::Closed { detail: format!("no random numbers: {e}") })?;
        self.epoch = Epoch(epoch);
        self.forget_finished();
        let new = StreamId::UP.map(|stream| StreamStatus {
            stream,
            epoch: self.epoch,
            floor: 0,
            acked: 0,
            end: 0,
        });
        self.streams.extend(new);
        Ok(())
    }

    /// Drops former epochs' streams that the hub has whole, and the oldest of more than a
    /// greeting can name.
    pub(super) fn forget_finished(&mut self) {
        self.streams.retain(|s| s.epoch == self.epoch || s.acked < s.end);
        let surplus =
            (self.streams.len() + StreamId::UP.len()).saturating_sub(GREETING_STREAMS_MAX);
        if surplus > 0 {
            tracing::error!(surplus, "streams of the oldest damaged stores are given up");
        }
        self.streams.drain(..surplus.min(self.streams.len().saturating_sub(StreamId::UP.len())));
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

    /// Takes the next sequence number of a stream of this epoch.
    pub(super) fn take_seq(&mut self, stream: StreamId) -> u64 {
        let epoch = self.epoch;
        let stream = self.stream_mut(stream, epoch).expect("the epoch's own streams are kept");
        stream.end += 1;
        stream.end - 1
    }

    pub(super) fn seal(&self) -> Vec<u8> {
        let payload = postcard::to_stdvec(self).unwrap_or_default();
        let (epoch, seq) = (self.epoch, self.counter);
        let value = Value { kind: Kind::Meta, epoch, seq, payload: &payload };
        value.seal().expect("64 streams of at most 40 bytes fit")
    }

    pub(super) fn parse(value: &Value<'_>) -> Option<Meta> {
        (value.kind == Kind::Meta).then(|| postcard::from_bytes(value.payload).ok())?
    }

    pub(super) fn load(table: &dyn Table) -> Result<Option<Meta>, TableError> {
        let Some(bytes) = table.get(keys::META)? else { return Ok(None) };
        let meta = Value::open(&bytes).and_then(|value| Meta::parse(&value));
        meta.map(Some).ok_or_else(|| TableError::Damaged("its meta value is unreadable".to_owned()))
    }
}
