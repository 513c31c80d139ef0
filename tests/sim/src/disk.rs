//! A device's disk: what was committed survives, what was not may be there, or half there.

use crate::fault::Fault;
use crate::rng::Rng;
use landfall_agent_core::store::{
    Changes, Medium, Notice, PACK_RECORDS_MAX, Pair, StoreError, Table, TableError, sealed_records,
};
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Overwritten values that a damaged file still shows: sled's log keeps old versions a while.
const STALE_MAX: usize = 24;

/// Commits that fit on a full disk once the ballast is given up.
const BALLAST_COMMITS: u32 = 40;

/// Commits that a damaged end of a file takes with it, at most.
const TAIL_MAX: usize = 12;

/// Records that are lost with a page, at most.
const PAGE_MAX: u64 = 6;

/// One in so many witnesses is written back before the next: a page may wait long.
const WRITTEN_BACK: u64 = 8;

/// The key of the store's positions.
const META: &[u8] = b"m";

/// A key and what it held before a write.
type Before = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug, Clone, Default)]
struct File {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What keys held before writes that are not synced. Empty unless a plant skips the sync.
    unsynced: Vec<Before>,
    stale: VecDeque<Vec<u8>>,
    /// What keys held before the last commits, the newest last.
    tail: VecDeque<Vec<Before>>,
    damaged: Option<String>,
    /// Of all that was ever put.
    bytes: u64,
}

impl File {
    fn apply(&mut self, changes: Changes, synced: bool) {
        let mut before = Vec::new();
        for (key, value) in changes.put {
            self.bytes += (key.len() + value.len()) as u64;
            let old = self.values.insert(key.clone(), value);
            before.push((key, old));
        }
        for key in changes.remove {
            let old = self.values.remove(&key);
            before.push((key, old));
        }
        if !synced {
            self.unsynced.extend(before.iter().cloned());
        }
        before.iter().for_each(|(_, old)| self.outdated(old.clone()));
        self.tail.push_back(before);
        if self.tail.len() > TAIL_MAX {
            self.tail.pop_front();
        }
    }

    /// The last commits are gone; their values are still there to be read, or not.
    fn lose_tail(&mut self, commits: usize, readable: bool) {
        for _ in 0..commits {
            for (key, old) in self.tail.pop_back().into_iter().flatten().rev() {
                let lost = match old {
                    Some(value) => self.values.insert(key, value),
                    None => self.values.remove(&key),
                };
                self.stale.extend(lost.filter(|_| readable));
            }
        }
    }

    fn outdated(&mut self, old: Option<Vec<u8>>) {
        self.stale.extend(old);
        while self.stale.len() > STALE_MAX {
            self.stale.pop_front();
        }
    }

    fn lose_unsynced(&mut self) {
        for (key, old) in std::mem::take(&mut self.unsynced).into_iter().rev() {
            match old {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
    }
}

/// How a disk behaves apart from its faults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DiskHabits {
    /// Each stored byte counts for so many, so that limits are reached with few records.
    pub(crate) scale: u64,
    /// Commits return before they are durable.
    pub(crate) skips_sync: bool,
    /// Every epoch is the same.
    pub(crate) one_epoch: bool,
    /// A new generation takes the place of the oldest, finished or not.
    pub(crate) removes_early: bool,
    /// Nobody asks the witness.
    pub(crate) ignores_witness: bool,
}

/// The content of a disk, to be put back later.
#[derive(Debug, Clone)]
pub(crate) struct Image(BTreeMap<u64, File>, [Vec<u8>; 2]);

#[derive(Debug)]
pub(crate) struct DiskState {
    habits: DiskHabits,
    rng: Rng,
    files: BTreeMap<u64, File>,
    /// What the store keeps beside its files, as the system would give it back, and as it is on
    /// the disk.
    witness: [Vec<u8>; 2],
    witness_on_disk: [Vec<u8>; 2],
    /// The place that was written last.
    witness_at: usize,
    /// Effects until the power goes.
    fuse: Option<u64>,
    crashed: bool,
    /// Whether the write that the power went in may be torn.
    pub(crate) may_tear: bool,
    pub(crate) full: bool,
    ballast: bool,
    /// Commits that the released ballast still has room for.
    room: u32,
    /// Writes that fail from now on.
    pub(crate) failing: u32,
    /// The largest commit yet, scaled.
    pub(crate) commit_bytes_max: u64,
    pub(crate) happened: Vec<Fault>,
    pub(crate) notes: Vec<String>,
}

/// A handle to it; a device's process has one, and the world another.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<DiskState>>);

impl Disk {
    pub(crate) fn new(habits: DiskHabits, rng: Rng) -> Disk {
        Disk(Arc::new(Mutex::new(DiskState {
            habits,
            rng,
            files: BTreeMap::new(),
            witness: Default::default(),
            witness_on_disk: Default::default(),
            witness_at: 0,
            fuse: None,
            crashed: false,
            may_tear: false,
            full: false,
            ballast: false,
            room: 0,
            failing: 0,
            commit_bytes_max: 0,
            happened: Vec::new(),
            notes: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskState {
    /// The power goes after so many more effects.
    pub(crate) fn light(&mut self, effects: u64) {
        self.fuse = Some(effects);
    }

    /// One effect; says whether the power is still there.
    pub(crate) fn burn(&mut self) -> bool {
        if let Some(left) = &mut self.fuse {
            if *left == 0 {
                self.fuse = None;
                self.crashed = true;
                // Nobody synced it.
                self.witness = self.witness_on_disk.clone();
            } else {
                *left -= 1;
            }
        }
        !self.crashed
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed
    }

    /// The power goes now: what is not durable is gone.
    pub(crate) fn cut_power(&mut self) {
        self.crashed = true;
        self.fuse = None;
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.files.values().any(|file| file.damaged.is_some())
    }

    /// The power comes back.
    pub(crate) fn boot(&mut self) {
        self.files.values_mut().for_each(File::lose_unsynced);
        self.crashed = false;
        self.fuse = None;
    }

    /// The operating system writes back what nobody synced.
    pub(crate) fn write_back(&mut self) {
        self.files.values_mut().for_each(|file| file.unsynced.clear());
    }

    pub(crate) fn image(&self) -> Image {
        Image(self.files.clone(), self.witness.clone())
    }

    pub(crate) fn restore(&mut self, image: &Image) {
        self.files = image.0.clone();
        self.witness = image.1.clone();
        self.write_witness_back();
    }

    fn write_witness_back(&mut self) {
        self.witness_on_disk = self.witness.clone();
    }

    /// Takes the last commits out of the newest file, as if they had never been made.
    pub(crate) fn lose_tail(&mut self) -> bool {
        let readable = self.rng.permille(500);
        let Some(file) = self.files.values().next_back() else { return false };
        if file.tail.is_empty() || file.damaged.is_some() {
            return false;
        }
        let commits = usize::try_from(self.rng.between(1, file.tail.len() as u64)).unwrap_or(1);
        // The damage and the loss of the witness at once would leave nothing to show it.
        self.write_witness_back();
        let newest = self.files.values_mut().next_back().expect("it was there");
        newest.lose_tail(commits, readable);
        true
    }

    /// Takes records that follow each other out of a file, as if they had never been written:
    /// nothing but their numbers tells.
    pub(crate) fn lose_page(&mut self) -> bool {
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        let Some(number) = self.rng.pick(&numbers).copied() else { return false };
        let readable = self.rng.permille(500);
        let (count, at) = (self.rng.between(1, PAGE_MAX), self.rng.next());
        let file = self.files.get_mut(&number).expect("it was there");
        if file.damaged.is_some() {
            return false;
        }
        let is_record = |key: &&Vec<u8>| key.starts_with(b"r");
        let held = file.values.keys().filter(is_record).count() as u64;
        let at = usize::try_from(at % held.max(1)).unwrap_or(0);
        let page: Vec<Vec<u8>> = file.values.keys().filter(is_record).skip(at).cloned().collect();
        let page = page.into_iter().take(usize::try_from(count).unwrap_or(1));
        let lost: Vec<Vec<u8>> = page.filter_map(|key| file.values.remove(&key)).collect();
        let any = !lost.is_empty();
        file.stale.extend(lost.into_iter().filter(|_| readable));
        any
    }

    /// Damages values of one file; whoever reads it next finds out.
    pub(crate) fn rot(&mut self) -> bool {
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        let Some(number) = self.rng.pick(&numbers).copied() else { return false };
        // Damaged again before anyone noticed, nothing might be left to tell what was there.
        if self.files[&number].damaged.is_some() {
            return false;
        }
        let count = self.rng.between(1, 3);
        for _ in 0..count {
            let file = &self.files[&number];
            let at = self.rng.below(file.values.len() as u64);
            let key = file.values.keys().nth(usize::try_from(at).unwrap_or(0)).cloned();
            let Some(key) = key else { return false };
            // The newest of many copies of the positions: damaged alone, or nothing would be
            // left to show that the last records were there.
            if key == META && count > 1 {
                continue;
            }
            let flip = self.rng.next();
            let file = self.files.get_mut(&number).expect("it was there");
            if let Some(value) = file.values.get_mut(&key).filter(|value| !value.is_empty()) {
                let at = usize::try_from(flip % value.len() as u64).unwrap_or(0);
                value[at] ^= 0x41;
            }
            file.damaged = Some("a checksum does not match".to_owned());
        }
        true
    }

    /// Whether a power cut now would leave this record there.
    pub(crate) fn is_durable(
        &self,
        stream: StreamId,
        epoch: Epoch,
        seq: u64,
        payload: &[u8],
    ) -> bool {
        let code = match stream {
            StreamId::Outcome => 0,
            StreamId::Escalation => 1,
            StreamId::Event => 2,
            StreamId::Answer => 3,
        };
        let key =
            |seq: u64| [&[b'r', code][..], &epoch.0.to_be_bytes(), &seq.to_be_bytes()].concat();
        self.files.values().any(|file| {
            // It may be among others in a value that begins before.
            let mut near = file.values.range(key(seq.saturating_sub(PACK_RECORDS_MAX))..=key(seq));
            near.any(|(key, value)| {
                let mut records = sealed_records(value).into_iter();
                records.any(|record| record == (seq, payload.to_vec()))
                    && !file.unsynced.iter().any(|(unsynced, _)| unsynced == key)
            })
        })
    }

    fn commit(&mut self, number: u64, changes: Changes) -> Result<(), TableError> {
        if self.crashed {
            return Err(no_power());
        }
        let size: usize = changes.put.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.commit_bytes_max = self.commit_bytes_max.max(size as u64 * self.habits.scale);
        if !self.burn() {
            let torn = self.may_tear && self.rng.permille(250);
            let there = !torn && self.rng.permille(500);
            self.happened.push(if torn { Fault::TornWrite } else { Fault::CrashInCommit });
            self.interrupted(number, changes, there, torn);
            return Err(no_power());
        }
        if self.failing > 0 {
            self.failing -= 1;
            if self.rng.permille(250) {
                self.happened.push(Fault::DamagedCommit);
                self.interrupted(number, changes, false, true);
                return Err(TableError::Damaged("its end is torn".to_owned()));
            }
            self.happened.push(Fault::WriteError);
            let there = self.rng.permille(500);
            self.interrupted(number, changes, there, false);
            return Err(TableError::Io("input/output error".to_owned()));
        }
        if self.full {
            if self.room == 0 {
                return Err(TableError::Full);
            }
            self.room -= 1;
        }
        let synced = !self.habits.skips_sync;
        let file = self.files.get_mut(&number).ok_or_else(gone)?;
        file.apply(changes, synced);
        Ok(())
    }

    fn interrupted(&mut self, number: u64, changes: Changes, there: bool, torn: bool) {
        let Some(file) = self.files.get_mut(&number) else { return };
        if there {
            file.apply(changes, true);
        } else if torn {
            let most = changes.put.len() as u64;
            let kept = usize::try_from(self.rng.below(most + 1)).unwrap_or(0);
            file.stale.extend(changes.put.into_iter().take(kept).map(|(_, value)| value));
            file.damaged = Some("its end is torn".to_owned());
        }
    }

    fn file(&self, number: u64) -> Result<&File, TableError> {
        if self.crashed {
            return Err(no_power());
        }
        let file = self.files.get(&number).ok_or_else(gone)?;
        match &file.damaged {
            Some(detail) => Err(TableError::Damaged(detail.clone())),
            None => Ok(file),
        }
    }

    fn effect(&mut self) -> Result<(), StoreError> {
        if self.burn() {
            return Ok(());
        }
        Err(StoreError::Closed { detail: "no power".to_owned() })
    }
}

fn no_power() -> TableError {
    TableError::Io("no power".to_owned())
}

fn gone() -> TableError {
    TableError::Io("the file is gone".to_owned())
}

struct SimTable {
    disk: Disk,
    number: u64,
}

impl Table for SimTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.disk.lock().file(self.number)?.values.get(key).cloned())
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        if from >= to {
            return Ok(None);
        }
        let disk = self.disk.lock();
        let mut range = disk.file(self.number)?.values.range(from.to_vec()..to.to_vec());
        Ok(range.next().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        if from >= to {
            return Ok(None);
        }
        let disk = self.disk.lock();
        let mut range = disk.file(self.number)?.values.range(from.to_vec()..to.to_vec());
        Ok(range.next_back().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn commit(&self, changes: Changes) -> Result<(), TableError> {
        self.disk.lock().commit(self.number, changes)
    }

    fn bytes(&self) -> u64 {
        let disk = self.disk.lock();
        let bytes = disk.files.get(&self.number).map_or(0, |file| file.bytes);
        bytes * disk.habits.scale
    }
}

impl Medium for Disk {
    fn list(&mut self) -> Result<Vec<u64>, StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        Ok(disk.files.keys().copied().collect())
    }

    fn open(&mut self, number: u64) -> Result<Box<dyn Table>, TableError> {
        let mut disk = self.lock();
        if !disk.burn() {
            return Err(no_power());
        }
        if disk.full && disk.room == 0 {
            return Err(TableError::Full);
        }
        if disk.habits.removes_early && !disk.files.contains_key(&number) && number > 1 {
            disk.files.pop_first();
        }
        disk.files.entry(number).or_default();
        disk.file(number)?;
        Ok(Box::new(SimTable { disk: self.clone(), number }))
    }

    fn remove(&mut self, number: u64, table: Box<dyn Table>) -> Result<(), StoreError> {
        drop(table);
        let mut disk = self.lock();
        disk.effect()?;
        disk.files.remove(&number);
        disk.happened.push(Fault::GenerationRemoved);
        Ok(())
    }

    fn raw(&mut self, number: u64, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        let Some(file) = disk.files.get(&number) else { return Ok(()) };
        let values: Vec<Vec<u8>> = file.stale.iter().chain(file.values.values()).cloned().collect();
        // Whoever visits writes what it finds.
        drop(disk);
        values.iter().for_each(|value| visit(value));
        Ok(())
    }

    fn discard(&mut self, number: u64) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        disk.files.remove(&number);
        Ok(())
    }

    fn set_aside(&mut self, number: u64) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        disk.files.remove(&number);
        Ok(())
    }

    fn reserve(&mut self) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        if disk.full && !disk.ballast {
            return Err(StoreError::DiskFull);
        }
        (disk.ballast, disk.room) = (true, 0);
        Ok(())
    }

    fn release(&mut self) {
        let mut disk = self.lock();
        if disk.ballast {
            (disk.ballast, disk.room) = (false, BALLAST_COMMITS);
        }
    }

    fn tip(&mut self, _number: u64) -> Vec<u8> {
        // Opening a simulated file discards nothing.
        Vec::new()
    }

    fn keep_witness(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        disk.witness_at = 1 - disk.witness_at;
        let at = disk.witness_at;
        disk.witness[at] = bytes.to_vec();
        if disk.rng.below(WRITTEN_BACK) == 0 {
            disk.write_witness_back();
        }
        Ok(())
    }

    fn witnesses(&mut self) -> Vec<Vec<u8>> {
        let disk = self.lock();
        if disk.habits.ignores_witness { Vec::new() } else { disk.witness.to_vec() }
    }

    fn epoch(&mut self) -> Result<Epoch, StoreError> {
        let mut disk = self.lock();
        disk.effect()?;
        Ok(if disk.habits.one_epoch { Epoch(7) } else { Epoch(disk.rng.next()) })
    }

    fn path(&self, number: Option<u64>) -> PathBuf {
        PathBuf::from(number.map_or("q".to_owned(), |number| format!("q/{number}")))
    }

    fn notice(&self, notice: Notice<'_>) {
        let mut disk = self.lock();
        let fault = match &notice {
            Notice::SetAside { .. } => Some(Fault::Salvaged),
            Notice::Shed { .. } => Some(Fault::Shed),
            Notice::RolledBack { .. } => Some(Fault::RolledBack),
            Notice::Expired(_) => Some(Fault::TicketExpired),
            Notice::StreamsGivenUp { .. }
            | Notice::Failed { .. }
            | Notice::DiskFull
            | Notice::StillClosed(_)
            | Notice::Recovered
            | Notice::Upkeep { .. } => None,
        };
        if !disk.crashed {
            disk.happened.extend(fault);
        }
        disk.notes.push(format!("{notice:?}"));
    }
}
