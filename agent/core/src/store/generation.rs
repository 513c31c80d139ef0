//! One generation: a table of its own, sealed when it is large, removed when the hub has all
//! of it.

use super::keys;
use super::medium::{Changes, Medium, Table, TableError};
use super::meta::Meta;
use super::run::Run;
use super::state::Failed;
use super::value::{PACK_RECORDS_MAX, Value};
use super::witness::Seal;
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;
use std::collections::BTreeMap;

pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) table: Box<dyn Table>,
    /// One past the last record of each stream in it.
    pub(super) ends: BTreeMap<(StreamId, Epoch), u64>,
    /// Records written to it since it was opened.
    pub(super) records: u64,
    /// Outcomes of all epochs up to its end.
    pub(super) outcomes: u64,
    /// Running time when it was last written to.
    pub(super) until_ms: u64,
    /// The counter of its own positions.
    pub(super) counter: u64,
    /// How the generation before it ended.
    pub(super) seal: Option<Seal>,
    /// Bytes on disk when last looked at.
    pub(super) bytes: u64,
}

impl Generation {
    pub(super) fn open(medium: &mut dyn Medium, number: u64) -> Result<Generation, TableError> {
        let table = medium.open(number)?;
        let bytes = table.bytes();
        let seal = table.get(keys::SEAL)?;
        Ok(Generation {
            number,
            table,
            ends: BTreeMap::new(),
            records: 0,
            outcomes: 0,
            until_ms: 0,
            counter: 0,
            seal: seal.as_deref().and_then(Seal::parse),
            bytes,
        })
    }

    /// Where the store stood when it failed, if this one is to take what is salvaged.
    pub(super) fn told(&self) -> Result<Option<Meta>, Failed> {
        let bytes = self.table.get(keys::TOLD).map_err(|e| Failed::Generation(self.number, e))?;
        Ok(bytes.as_deref().and_then(Value::open).and_then(|value| Meta::parse(&value)))
    }

    /// Another one takes it.
    pub(super) fn forget_told(&mut self) -> Result<(), Failed> {
        if self.told()?.is_none() {
            return Ok(());
        }
        let changes = Changes { put: Vec::new(), remove: vec![keys::TOLD.to_vec()] };
        self.table.commit(changes).map_err(|e| Failed::Generation(self.number, e))
    }

    /// These positions are in it.
    pub(super) fn holds(&mut self, meta: &Meta) {
        self.outcomes = meta.outcomes;
        self.until_ms = meta.running_ms;
        self.counter = meta.counter;
    }

    /// The generation before it is about to go.
    pub(super) fn unseal(&mut self) -> Result<(), TableError> {
        self.table.commit(Changes { put: Vec::new(), remove: vec![keys::SEAL.to_vec()] })?;
        self.seal = None;
        Ok(())
    }

    /// Looks up where its streams end.
    pub(super) fn find_ends(&mut self, meta: &Meta) -> Result<(), TableError> {
        for s in &meta.streams {
            let mut from = keys::record(s.stream, s.epoch, 0);
            let mut to = keys::record(s.stream, s.epoch, u64::MAX);
            let mut end = None;
            while let Some((key, bytes)) = self.table.last(&from, &to)? {
                let first = keys::parse_seq(&key).unwrap_or(0);
                // Of one that cannot be read the first record is known.
                let run = Run::open(s.stream, s.epoch, &key, bytes);
                let known = run.map_or(first.saturating_add(1), |run| run.numbers().end);
                if end.is_none() {
                    // A pack that begins before the last value may reach further.
                    let first = first.saturating_sub(PACK_RECORDS_MAX);
                    from = keys::record(s.stream, s.epoch, first);
                }
                end = end.max(Some(known));
                to = key;
            }
            self.ends.extend(end.map(|end| ((s.stream, s.epoch), end)));
        }
        Ok(())
    }

    /// Whether the hub has every record of it.
    pub(super) fn is_finished(&self, meta: &Meta) -> bool {
        self.ends.iter().all(|((stream, epoch), end)| meta.acked(*stream, *epoch) >= *end)
    }
}
