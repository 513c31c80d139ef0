//! Durable records a second: the agent's store, beside raw appends with `fdatasync`, which are
//! the limit of the disk, and SQLite in WAL mode with `synchronous = FULL`. All three write the
//! same records and say that a batch is done when it is on the disk. The store also numbers each
//! record, hashes it into the chain and writes its positions.

use super::records::Texts;
use super::{Rounds, machine, rate};
use anyhow::{Context, Result};
use landfall_agent::store::{Store, StoreConfig};
use landfall_agent_core::judgement::{Answer, Ruling};
use landfall_agent_core::reply::Reply;
use landfall_agent_core::task::Entry;
use landfall_wire::record::{Mechanism, Outcome, Record};
use rusqlite::Connection;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Records that are made durable together.
pub const BATCHES: [usize; 3] = [1, 64, 512];

/// Records prepared beforehand; they are written again and again.
const RECORDS: usize = 4_096;

const NAMES: [&str; 3] = ["raw append + fdatasync", "SQLite, WAL, FULL", "the agent's store"];
const RAW: usize = 0;
const SQLITE: usize = 1;
const STORE: usize = 2;

/// How long it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Rounds for each size of batch.
    pub rounds: usize,
    /// Time of each contender in a round.
    pub turn: Duration,
}

/// Rates of all three at one size of batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// Records that are made durable together.
    pub batch: usize,
    rounds: Rounds,
}

impl Rates {
    /// The store's rate as a share of raw appends.
    pub fn ratio_to_raw(&self) -> f64 {
        self.rounds.ratio(STORE, RAW)
    }
}

/// What was measured on one disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Milliseconds that each flush took longer than the disk's own.
    pub extra_ms: u64,
    /// A rate for each size of batch.
    pub rates: Vec<Rates>,
}

/// The results as Markdown, a table for each disk.
pub fn text(disks: &[Disk]) -> String {
    let mut text = format!("On {}.\n", machine());
    let [raw, sqlite, store] = NAMES;
    for Disk { extra_ms, rates } in disks {
        let disk = match extra_ms {
            0 => "This disk as it is".to_owned(),
            more => format!("The same disk with flushes that take {more} ms longer"),
        };
        let _infallible = writeln!(
            text,
            "\n{disk}, records a second:\n\n\
             | batch | {raw} | {sqlite} | {store} | **store / raw** | SQLite / raw | store / SQLite |\n\
             |---|---|---|---|---|---|---|"
        );
        for Rates { batch, rounds } in rates {
            let _infallible = writeln!(
                text,
                "| {batch} | {} | {} | {} | **{:.2}** | {:.2} | {:.2} |",
                rate(rounds.rate(RAW)),
                rate(rounds.rate(SQLITE)),
                rate(rounds.rate(STORE)),
                rounds.ratio(STORE, RAW),
                rounds.ratio(SQLITE, RAW),
                rounds.ratio(STORE, SQLITE),
            );
        }
    }
    text
}

/// Measures all sizes of batches; the files are in a new directory in `parent`.
///
/// # Errors
/// When something cannot be written.
pub fn run(parent: &Path, effort: Effort, progress: &dyn Fn(&str)) -> Result<Vec<Rates>> {
    let records = Records::new()?;
    let mut all = Vec::new();
    for batch in BATCHES {
        let dir = tempfile::Builder::new().prefix("landfall-bench-").tempdir_in(parent);
        let dir = dir.with_context(|| format!("no directory in {}", parent.display()))?;
        let mut contenders = Contenders::open(&dir)?;
        let mut rounds = Rounds::default();
        // The first round warms files and caches up, and does not count.
        for round in 0..=effort.rounds {
            let mut rates = vec![0.0; NAMES.len()];
            for turn in 0..NAMES.len() {
                let contender = (round + turn) % NAMES.len();
                rates[contender] = contenders.turn(contender, &records, batch, effort.turn)?;
            }
            if round > 0 {
                let [raw, sqlite, store] = [RAW, SQLITE, STORE].map(|at| rate(rates[at]));
                progress(&format!("{batch} {round}/{}: {raw}, {sqlite}, {store}", effort.rounds));
                rounds.0.push(rates);
            }
        }
        contenders.close();
        all.push(Rates { batch, rounds });
    }
    Ok(all)
}

/// The same decisions as the store takes them, and as the others do.
struct Records {
    entries: Vec<Entry>,
    encoded: Vec<Vec<u8>>,
}

impl Records {
    fn new() -> Result<Records> {
        let texts = Texts::new()?;
        let outcomes: Result<Vec<Outcome>> = (0..RECORDS).map(|n| texts.outcome(n)).collect();
        let outcomes = outcomes?;
        let encode = |outcome: &Outcome| Record::Outcome(outcome.clone()).encode();
        let encoded: Result<Vec<Vec<u8>>, _> = outcomes.iter().map(encode).collect();
        let encoded = encoded.context("a record")?;
        Ok(Records { entries: outcomes.into_iter().map(entry).collect(), encoded })
    }

    /// Indices of the batch that starts at a running number.
    fn batch(start: usize, batch: usize) -> impl Iterator<Item = usize> {
        (start..start + batch).map(|number| number % RECORDS)
    }
}

fn entry(outcome: Outcome) -> Entry {
    let reply = Reply {
        ruling: Ruling::Answered,
        mechanism: Mechanism::Model,
        answer: Some(Answer::Label("External leakage - process medium".into())),
        confidence: outcome.confidence,
        candidates: Vec::new(),
        reason: None,
        read: outcome.read,
    };
    Entry { outcome, escalation: None, reply }
}

struct Contenders {
    raw: File,
    sqlite: Connection,
    store: Store,
    runtime: Runtime,
    written: usize,
}

impl Contenders {
    fn open(dir: &TempDir) -> Result<Contenders> {
        let raw = File::create(dir.path().join("raw")).context("the raw file")?;
        let sqlite = Connection::open(dir.path().join("sqlite")).context("SQLite")?;
        sqlite.pragma_update(None, "journal_mode", "WAL")?;
        sqlite.pragma_update(None, "synchronous", "FULL")?;
        sqlite.execute_batch(
            "CREATE TABLE record (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT",
        )?;
        // Room enough that nothing is refused while no hub acknowledges.
        let config = StoreConfig::new(64 << 30);
        let (store, _) = Store::open(&dir.path().join("store"), config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        Ok(Contenders { raw, sqlite, store, runtime, written: 0 })
    }

    /// Writes batches for as long as the turn lasts; returns records a second.
    fn turn(
        &mut self,
        contender: usize,
        records: &Records,
        batch: usize,
        turn: Duration,
    ) -> Result<f64> {
        let (mut count, mut took) = (0, Duration::ZERO);
        while took < turn {
            let start = self.written;
            self.written += batch;
            took += match contender {
                RAW => self.append(records, start, batch)?,
                SQLITE => self.insert(records, start, batch)?,
                _ => self.commit(records, start, batch)?,
            };
            count += batch;
        }
        Ok(count as f64 / took.as_secs_f64())
    }

    fn append(&mut self, records: &Records, start: usize, batch: usize) -> Result<Duration> {
        let began = Instant::now();
        let mut bytes = Vec::new();
        Records::batch(start, batch).for_each(|at| bytes.extend(&records.encoded[at]));
        self.raw.write_all(&bytes).context("the raw file")?;
        self.raw.sync_data().context("the raw file")?;
        Ok(began.elapsed())
    }

    fn insert(&mut self, records: &Records, start: usize, batch: usize) -> Result<Duration> {
        let began = Instant::now();
        let transaction = self.sqlite.transaction()?;
        {
            let sql = "INSERT INTO record (payload) VALUES (?1)";
            let mut insert = transaction.prepare_cached(sql)?;
            for at in Records::batch(start, batch) {
                insert.execute([&records.encoded[at]])?;
            }
        }
        transaction.commit()?;
        Ok(began.elapsed())
    }

    /// As callers of the agent do: each waits for its own record.
    fn commit(&mut self, records: &Records, start: usize, batch: usize) -> Result<Duration> {
        let entries: Vec<Entry> =
            Records::batch(start, batch).map(|at| records.entries[at].clone()).collect();
        let began = Instant::now();
        self.runtime.block_on(async {
            let mut waiting = JoinSet::new();
            for (at, entry) in entries.into_iter().enumerate() {
                let store = self.store.clone();
                // With the last one the batch is whole, and need not wait for company.
                let urgent = at + 1 == batch;
                waiting.spawn(async move { store.commit(entry, None, urgent).await });
            }
            while let Some(done) = waiting.join_next().await {
                done.context("a caller panicked")?.context("the store")?;
            }
            Ok(began.elapsed())
        })
    }

    fn close(self) {
        self.runtime.block_on(self.store.close());
    }
}
