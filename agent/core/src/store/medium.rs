//! What the store needs of the outside: a few ordered maps that commit durably, and a source
//! of epochs. On a device that is sled in directories; in the simulator, memory with faults.

use super::StoreError;
use landfall_wire::id::{DeviceId, Epoch};
use std::path::PathBuf;

/// Why a table failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableError {
    /// The disk is full.
    Full,
    /// The content makes no sense.
    Damaged(String),
    /// Anything else: permissions, a dying disk.
    Io(String),
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys to set.
    pub put: Vec<Pair>,
    /// Keys to remove.
    pub remove: Vec<Vec<u8>>,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map on disk.
pub trait Table: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`TableError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;
    /// The first pair of `from..to`.
    ///
    /// # Errors
    /// [`TableError`].
    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError>;
    /// The last pair of `from..to`.
    ///
    /// # Errors
    /// [`TableError`].
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError>;
    /// Makes all changes, atomically; they are durable when it returns.
    ///
    /// # Errors
    /// [`TableError`]; then the changes may or may not be there when the table is opened again,
    /// all of them or none, and this handle must be dropped.
    fn commit(&self, changes: Changes) -> Result<(), TableError>;
    /// Bytes on disk.
    fn bytes(&self) -> u64;
}

/// Where tables, called generations and numbered, live.
pub trait Medium: Send {
    /// The generations there are, in rising order; the place for them is made if it is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&mut self) -> Result<Vec<u64>, StoreError>;
    /// Opens a generation, or creates it, durably.
    ///
    /// # Errors
    /// [`TableError`].
    fn open(&mut self, number: u64) -> Result<Box<dyn Table>, TableError>;
    /// Removes a generation for good.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&mut self, number: u64, table: Box<dyn Table>) -> Result<(), StoreError>;
    /// Visits all raw bytes of a generation that cannot be opened, in pieces of which the next
    /// repeats the end of the one before, so that every value is whole in one of them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn raw(&mut self, number: u64, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError>;
    /// The raw bytes of a generation that were written last, as far as that can be told, to be
    /// kept before it is opened: opening may discard what it cannot read. Empty if there is no
    /// such thing.
    fn tip(&mut self, number: u64) -> Vec<u8>;
    /// Removes what is left of a generation that could not be created, if anything is.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn discard(&mut self, number: u64) -> Result<(), StoreError>;

    /// Puts a damaged generation aside for a person to look at; one that is gone is as good.
    ///
    /// # Errors
    /// [`StoreError`].
    fn set_aside(&mut self, number: u64) -> Result<(), StoreError>;
    /// Makes sure that as much space is free as opening a full disk's store needs, and keeps it.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    fn reserve(&mut self) -> Result<(), StoreError>;
    /// Gives that space up.
    fn release(&mut self);
    /// Keeps these bytes beside the tables, in place of the older of the two that were kept last.
    /// They need not be durable: what is read later may be what was kept before. It takes no
    /// space that it did not have before.
    ///
    /// # Errors
    /// [`StoreError`]; nothing depends on it.
    fn keep_witness(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
    /// The bytes kept last and before that, in any order, as far as they can be read; they may
    /// be followed by others, or be damaged.
    fn witnesses(&mut self) -> Vec<Vec<u8>>;
    /// A random epoch, never seen before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn epoch(&mut self) -> Result<Epoch, StoreError>;
    /// The device's name, if it has one: what the hash chain is bound to.
    fn device(&self) -> Option<&DeviceId> {
        None
    }
    /// What to call a generation, or all of them, in messages.
    fn path(&self, number: Option<u64>) -> PathBuf;
    /// Something a log should have.
    fn notice(&self, notice: Notice<'_>);
}

/// Something a log should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A generation was damaged and is set aside.
    SetAside {
        /// Which one.
        generation: u64,
        /// What was wrong with it.
        detail: &'a str,
        /// Records read out of what was damaged.
        salvaged: u64,
        /// Records lost with it.
        lost: u64,
    },
    /// More streams of damaged stores than a greeting can name: the oldest are given up.
    StreamsGivenUp {
        /// How many.
        count: usize,
    },
    /// The store failed and is opened again.
    Failed {
        /// The generation that failed.
        generation: u64,
        /// How.
        detail: &'a str,
    },
    /// The disk was full when the store was opened: decisions are refused.
    DiskFull,
    /// It could not be opened again; it is tried every few seconds.
    StillClosed(&'a StoreError),
    /// Records are taken again.
    Recovered,
    /// The byte limit is reached and the oldest records are dropped.
    Shed {
        /// Of this stream.
        stream: &'static str,
        /// The first that goes.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// The hub holds more than this store, which was restored from an old image.
    RolledBack {
        /// The stream that showed it.
        stream: &'static str,
        /// What the hub has of it.
        hub: u64,
        /// What it can have had from this store.
        reach: u64,
        /// Records that are lost.
        lost: u64,
    },
    /// An escalation got no answer in its time.
    Expired(landfall_wire::id::Ticket),
    /// Upkeep that is tried again later failed.
    Upkeep {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: &'a StoreError,
    },
}
