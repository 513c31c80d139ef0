//! The hub's memory: one SQLite file.
//!
//! One thread writes; it takes whatever waits, applies it in one transaction, commits
//! (synced to disk), and only then tells those who asked. Readers have connections of their
//! own and never wait for it. Commands of other processes use the same file.
//!
//! A [`Command`] is data, so that a group which fails is tried again one by one: what is wrong
//! with one command never spoils another.

pub mod audit;
mod columns;
pub mod commands;
mod error;
pub mod ingest;
mod ledger;
pub mod queries;
mod schema;
pub mod views;
mod writer;

pub use error::DbError;
pub use writer::Reply;

use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Name of the database in the data directory.
pub const FILE: &str = "hub.sqlite";

/// Readers at once: pages and deliveries; more would only compete for the disk.
const READERS_MAX: usize = 4;

/// Something to write, applied in one transaction, possibly together with others.
pub trait Command: Send + 'static {
    /// What is known once it is committed.
    type Done: Send + 'static;
    /// Applies it. May be called again after a rollback.
    fn apply(&self, transaction: &Connection) -> rusqlite::Result<Self::Done>;
}

/// The running hub's database.
#[derive(Debug, Clone)]
pub struct Database {
    writer: writer::Jobs,
    readers: Arc<Readers>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens (creating or upgrading) the database of a data directory and starts its thread,
    /// which ends after [`Database::stop`]; joining it waits for the last commit.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be opened or is of a newer version.
    pub fn start(data: &Path) -> Result<(Database, std::thread::JoinHandle<()>), DbError> {
        let path = data.join(FILE);
        let (writer, thread) = writer::start(path.clone(), schema::open(&path)?)?;
        let permits = Semaphore::new(READERS_MAX);
        let readers = Arc::new(Readers { path, permits, idle: Mutex::default() });
        Ok((Database { writer, readers }, thread))
    }

    /// Applies a command; resolves once it is committed and synced.
    ///
    /// # Errors
    /// [`DbError`]; then nothing of it was applied.
    pub async fn write<C: Command>(&self, command: C) -> Result<C::Done, DbError> {
        let done = self.submit(command).await?;
        done.await.unwrap_or(Err(DbError::Closed))
    }

    /// Queues a command and returns what will tell its outcome. Commands queued by one caller
    /// are applied in that order.
    ///
    /// # Errors
    /// [`DbError::Closed`] while the hub stops.
    pub async fn submit<C: Command>(&self, command: C) -> Result<Reply<C::Done>, DbError> {
        let (job, reply) = writer::job(command);
        self.writer.send(writer::Message::Job(job)).await.map_err(|_| DbError::Closed)?;
        Ok(reply)
    }

    /// Ends the thread once everything queued until now is committed. Later commands fail with
    /// [`DbError::Closed`]; reading goes on.
    pub async fn stop(&self) {
        // It fails only if the thread has ended already.
        let _ = self.writer.send(writer::Message::Stop).await;
    }

    /// Reads with a connection of its own, off the runtime's threads.
    ///
    /// # Errors
    /// [`DbError`] of the query.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let _permit = self.readers.permits.acquire().await.map_err(|_| DbError::Closed)?;
        let readers = Arc::clone(&self.readers);
        let work = move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| schema::open_reader(&readers.path), Ok)?;
            let result = query(&connection).map_err(|source| DbError::new("read", source))?;
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(result)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(DbError::Closed))
    }

    /// A connection that sees when any process has committed: see [`queries::data_version`].
    ///
    /// # Errors
    /// [`DbError`] if it cannot be opened.
    pub fn watcher(&self) -> Result<Connection, DbError> {
        schema::open_reader(&self.readers.path)
    }
}

/// Opens the database of a data directory for one command of another process.
///
/// # Errors
/// [`DbError`] if the file cannot be opened or is of a newer version.
pub fn open(data: &Path) -> Result<Connection, DbError> {
    schema::open(&data.join(FILE))
}

/// Applies one command on a connection of one's own.
///
/// # Errors
/// [`DbError`]; then nothing of it was applied.
pub fn apply<C: Command>(connection: &mut Connection, command: &C) -> Result<C::Done, DbError> {
    let mut run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = command.apply(&transaction)?;
        transaction.commit()?;
        Ok(done)
    };
    run().map_err(|source| DbError::new("write", source))
}

/// The signed number with the same bits, as epochs are stored.
pub(crate) fn signed(bits: u64) -> i64 {
    bits.cast_signed()
}

/// A count, a time or a checked sequence number; what does not fit is the largest there is.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads back what [`number`] stored.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
