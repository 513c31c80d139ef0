//! Bounds of a store.

use landfall_wire::id::DeviceId;
use std::time::Duration;

/// Most records written in one durable commit. Write amplification of sled is 56x at one record a
/// commit, and every commit waits for the disk once; records of one commit share values.
pub const GROUP_RECORDS_MAX: usize = 512;

/// So many records wait for no more company: most of the gain is there. What waits already still
/// joins them.
pub const GROUP_RECORDS_ENOUGH: usize = 64;

/// How long a record that nobody waits for may wait for company.
pub const GROUP_WAIT: Duration = Duration::from_millis(50);

/// A generation is sealed at this size. sled never gives space back, so space returns by
/// removing whole generations.
pub const GENERATION_BYTES_MAX: u64 = 64 << 20;

/// A generation is also sealed after this many records: it bounds sled's page table in memory.
pub const GENERATION_RECORDS_MAX: u64 = 200_000;

/// Retries with a caller's own id are recognised for at least this many later outcomes; a
/// generation that is otherwise finished is kept that long. A retry comes within minutes, and
/// no site takes ten thousand decisions in that time.
pub const RETRY_WINDOW_OUTCOMES: u64 = 10_000;

/// Cache of each open generation: sled's default of 1 GB would take all of a small box.
pub const CACHE_BYTES: u64 = 8 << 20;

/// A file of this size is given up when the disk is full, because sled needs free space to
/// open a store again: three segments of 512 kB and a snapshot.
pub const BALLAST_BYTES: u64 = 4 << 20;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3_600_000;

/// Part of `bytes_max` that only events may use, so that the news of a full store fits in.
pub const RESERVE_BYTES: u64 = 2 << 20;

/// Smallest sensible `bytes_max`: two generations of the smallest size, reserve and ballast.
pub const BYTES_MIN: u64 = 16 << 20;

/// What the hub has is kept for audit within this many bytes, and within half of the store's
/// limit: a generation or two beside the one that is written to. It goes first when room is
/// needed.
pub const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// What the hub has is kept for audit for this many days of running time: a voyage.
pub const JOURNAL_DAYS: u64 = 30;

/// What happens to new records when the store has reached its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// New records are refused, and the caller is told.
    #[default]
    Refuse,
    /// The oldest records are dropped; a loss record tells the hub which.
    DropOldest,
}

/// Bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Most bytes on disk, ballast included. What was damaged and set aside, at most two
    /// generations, lies beside it.
    pub bytes_max: u64,
    /// What happens to new outcomes when it is full.
    pub outcomes_when_full: WhenFull,
    /// What happens to new escalations when it is full.
    pub escalations_when_full: WhenFull,
    /// Seal a generation at this size; at most [`GENERATION_BYTES_MAX`], and at most a quarter
    /// of `bytes_max`.
    pub generation_bytes_max: u64,
    /// Seal a generation after this many records.
    pub generation_records_max: u64,
    /// See [`RETRY_WINDOW_OUTCOMES`].
    pub retry_window_outcomes: u64,
    /// Generations that the hub has whole are kept while they are within this many bytes; see
    /// [`StoreConfig::journal_bytes_min`].
    pub journal_bytes_max: u64,
    /// They are kept for this long, in running time.
    pub journal_ms: u64,
    /// The device's name, if it has one: the hash chain of its outcomes is bound to it.
    pub device: Option<DeviceId>,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        // Half a million outcomes of a kilobyte.
        StoreConfig::new(512 << 20)
    }
}

impl StoreConfig {
    /// The usual bounds for a limit on disk; less than [`BYTES_MIN`] counts as [`BYTES_MIN`].
    pub fn new(bytes_max: u64) -> StoreConfig {
        let bytes_max = bytes_max.max(BYTES_MIN);
        StoreConfig {
            bytes_max,
            outcomes_when_full: WhenFull::Refuse,
            escalations_when_full: WhenFull::Refuse,
            generation_bytes_max: GENERATION_BYTES_MAX.min(bytes_max / 4),
            generation_records_max: GENERATION_RECORDS_MAX,
            retry_window_outcomes: RETRY_WINDOW_OUTCOMES,
            journal_bytes_max: JOURNAL_BYTES_MAX.min(bytes_max / 2),
            journal_ms: JOURNAL_DAYS * DAY_MS,
            device: None,
        }
    }

    /// The smallest `journal_bytes_max` that keeps anything: whole generations are kept, and one
    /// is sealed once it has reached its size.
    pub fn journal_bytes_min(&self) -> u64 {
        self.generation_bytes_max + self.generation_bytes_max / 8
    }
}
