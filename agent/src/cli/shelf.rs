//! What the device holds: asked of the running agent, or read from a copy of the store. Neither
//! changes anything.

use super::client::Client;
use super::desk;
use super::failure::Failure;
use crate::config::Config;
use crate::queue::{self, Ask, Entry, LIMIT_MAX, OutcomePage, Page, RefusedPage, Summary};
use crate::store::{Opened, OutcomeId, StoreCopy, StoreError, scratch_home};
use crate::sync::Identity;
use landfall_wire::id::DeviceId;
use landfall_wire::record::StreamId;
use std::collections::BTreeSet;

/// Where records are read.
pub(super) enum Shelf {
    /// The running agent.
    Remote(Client),
    /// A copy of the store of an agent that does not run.
    Copy(Box<CopyShelf>),
}

/// A copy of the store.
pub(super) struct CopyShelf {
    copy: StoreCopy,
    device: Option<DeviceId>,
    bytes_max: u64,
}

impl Shelf {
    pub(super) fn open(config: &Config) -> Result<Shelf, Failure> {
        if let Some(client) = desk::running(config) {
            return Ok(Shelf::Remote(client));
        }
        let device = config.hub.as_ref().and_then(|hub| Identity::device_in(&hub.identity));
        let store = crate::store::StoreConfig { device: device.clone(), ..config.store.clone() };
        let copy = StoreCopy::open(&config.data_dir, &scratch_home(), store);
        let copy = copy.map_err(|error| match error {
            StoreError::Locked { .. } => desk::locked(),
            error => Failure::from(error),
        })?;
        let copy = copy.ok_or_else(|| {
            Failure::usage(format!("there is no store in {}", config.data_dir.display()))
                .remedy("give the configuration of the agent that recorded, with --config")
        })?;
        let bytes_max = config.store.bytes_max;
        Ok(Shelf::Copy(Box::new(CopyShelf { copy, device, bytes_max })))
    }

    /// What the agent will find at its next start, if the store is damaged.
    pub(super) fn damage(&self) -> Option<&Opened> {
        match self {
            Shelf::Remote(_) => None,
            Shelf::Copy(shelf) => Some(&shelf.copy.opened).filter(|opened| opened.damaged > 0),
        }
    }

    pub(super) fn summary(&self) -> Result<Summary, Failure> {
        match self {
            Shelf::Remote(client) => client.queue(),
            Shelf::Copy(shelf) => shelf.summary(),
        }
    }

    pub(super) fn page(&self, ask: &Ask) -> Result<Page, Failure> {
        match self {
            Shelf::Remote(client) => client.records(ask),
            Shelf::Copy(shelf) => {
                let mut page = queue::page(&shelf.copy.store, *ask)?;
                page.entries.retain(|entry| !shelf.is_made_up(&entry.id));
                Ok(page)
            }
        }
    }

    pub(super) fn refused(&self) -> Result<RefusedPage, Failure> {
        match self {
            Shelf::Remote(client) => client.refused(),
            Shelf::Copy(shelf) => Ok(queue::refused(&shelf.copy.store)?),
        }
    }

    pub(super) fn outcome(&self, id: OutcomeId) -> Result<OutcomePage, Failure> {
        match self {
            Shelf::Remote(client) => client.outcome(id),
            Shelf::Copy(shelf) => {
                let found = queue::outcome(&shelf.copy.store, id)?;
                found.ok_or_else(|| {
                    Failure::usage(format!("no outcome {id} is held here"))
                        .remedy("the hub may have it: see its page of outcomes")
                })
            }
        }
    }

    /// Every outcome that is held, in order.
    pub(super) fn outcomes(
        &self,
        mut each: impl FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut read: BTreeSet<String> = BTreeSet::new();
        let mut after = None;
        loop {
            let ask = Ask { stream: StreamId::Outcome, after, limit: LIMIT_MAX, kept: true };
            let Page { entries, next } = self.page(&ask)?;
            for entry in entries {
                read.insert(epoch_of(&entry.id));
                each(entry)?;
            }
            after = next.as_deref().map(queue::record_id).transpose()?;
            if after.is_none() && !self.has_more(&read)? {
                return Ok(());
            }
        }
    }

    /// Whether the oldest outcome is of an epoch not read yet: the one that was being read can
    /// have been removed meanwhile, which looks like the end.
    fn has_more(&self, read: &BTreeSet<String>) -> Result<bool, Failure> {
        let ask = Ask { stream: StreamId::Outcome, after: None, limit: 1, kept: true };
        let first = self.page(&ask)?.entries.into_iter().next();
        Ok(first.is_some_and(|entry| !read.contains(&epoch_of(&entry.id))))
    }

    /// Every record of the event stream that is held.
    pub(super) fn events(
        &self,
        mut each: impl FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let ask = Ask { stream: StreamId::Event, after, limit: LIMIT_MAX, kept: true };
            let Page { entries, next } = self.page(&ask)?;
            entries.into_iter().try_for_each(&mut each)?;
            after = next.as_deref().map(queue::record_id).transpose()?;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

impl CopyShelf {
    fn summary(&self) -> Result<Summary, Failure> {
        let mut summary = queue::summary(&self.copy.store, self.device.as_ref())?;
        summary.bytes_max = self.bytes_max;
        // Nobody takes records now, and that is no fault.
        summary.refusing = None;
        if self.copy.opened.damaged > 0 {
            let made_up = self.copy.store.status().epoch.to_string();
            summary.streams.retain(|part| part.epoch != made_up);
            summary.chain = None;
        }
        Ok(summary)
    }

    /// Of the epoch that salvage began in the copy: the device has no such records.
    fn is_made_up(&self, id: &str) -> bool {
        self.copy.opened.damaged > 0 && epoch_of(id) == self.copy.store.status().epoch.to_string()
    }
}

fn epoch_of(id: &str) -> String {
    id.split_once('-').map_or(id, |(epoch, _)| epoch).to_owned()
}
