//! The hub's memory: one SQLite file, or a PostgreSQL database that several hubs share.
//!
//! One thread writes; it takes whatever waits, applies it in one transaction, commits
//! (synced to disk), and only then tells those who asked. Readers have connections of their
//! own and never wait for it. Commands of other processes use the same database.
//!
//! A [`Command`] is data, so that a group which fails is tried again one by one: what is wrong
//! with one command never spoils another. Where hubs share a database, a command that moves
//! marks of a device names it ([`Command::device`]): its row is locked before anything is read.
//!
//! How statements are written is in [`sql`]; what the tables are, in `schema`.

pub mod accounts;
pub mod audit;
pub mod backup;
mod columns;
pub mod commands;
pub mod desk;
mod error;
pub mod ingest;
mod ledger;
pub mod quality;
pub mod queries;
pub mod reporting;
pub mod retention;
mod rows;
mod schema;
mod source;
pub mod sql;
#[cfg(test)]
pub(crate) mod testing;
pub mod views;
mod writer;

pub use error::DbError;
pub use source::{FILE, Source, SourceError};
pub use writer::Reply;

use landfall_systemd::Pulse;
use sql::{Connection, Engine, SqlError, params};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Readers at once: pages and deliveries; more would only compete for the disk.
const READERS_MAX: usize = 4;

/// Something to write, applied in one transaction, possibly together with others.
pub trait Command: Send + 'static {
    /// What is known once it is committed.
    type Done: Send + 'static;
    /// The device whose streams it moves, if it does: no other hub moves them meanwhile.
    fn device(&self) -> Option<i64> {
        None
    }

    /// Applies it. May be called again after a rollback.
    ///
    /// # Errors
    /// Those of the database; all is undone then.
    fn apply(&self, transaction: &Connection) -> sql::Result<Self::Done>;
}

/// The running hub's database.
#[derive(Debug, Clone)]
pub struct Database {
    writer: writer::Jobs,
    readers: Arc<Readers>,
    pulse: Pulse,
}

#[derive(Debug)]
struct Readers {
    source: Source,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens (creating or upgrading) the database and starts its thread, which ends after
    /// [`Database::stop`]; joining it waits for the last commit. Not to be called on a thread that
    /// drives a runtime.
    ///
    /// # Errors
    /// [`DbError`] if the database cannot be opened or is of a newer version.
    pub fn start(source: &Source) -> Result<(Database, std::thread::JoinHandle<()>), DbError> {
        let pulse = Pulse::new("database");
        let connection = schema::open(source)?;
        let (writer, thread) = writer::start(source.clone(), connection, pulse.clone())?;
        let permits = Semaphore::new(READERS_MAX);
        let readers = Readers { source: source.clone(), permits, idle: Mutex::default() };
        let readers = Arc::new(readers);
        Ok((Database { writer, readers, pulse }, thread))
    }

    /// Whether the writer gets on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
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
        query: impl FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    ) -> Result<T, DbError> {
        let _permit = self.readers.permits.acquire().await.map_err(|_| DbError::Closed)?;
        let readers = Arc::clone(&self.readers);
        let work = move || {
            let connection = readers.take()?;
            let result = query(&connection).map_err(|source| DbError::new("read", source))?;
            readers.give_back(connection);
            Ok(result)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(DbError::Closed))
    }

    /// A connection that sees when any process has committed: see [`queries::data_version`]. Not
    /// to be called on a thread that drives a runtime.
    ///
    /// # Errors
    /// [`DbError`] if it cannot be opened.
    pub fn watcher(&self) -> Result<Connection, DbError> {
        schema::open_reader(&self.readers.source)
    }
}

impl Readers {
    fn take(&self) -> Result<Connection, DbError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A server may have gone and come back.
        while let Some(connection) = idle() {
            if connection.is_alive() {
                return Ok(connection);
            }
        }
        schema::open_reader(&self.source)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// Opens the database for one command of another process.
///
/// # Errors
/// [`DbError`] if it cannot be opened or is of a newer version.
pub fn open(source: &Source) -> Result<Connection, DbError> {
    schema::open(source)
}

/// Applies one command on a connection of one's own.
///
/// # Errors
/// [`DbError`]; then nothing of it was applied.
pub fn apply<C: Command>(connection: &mut Connection, command: &C) -> Result<C::Done, DbError> {
    let mut run = || {
        let transaction = connection.begin()?;
        if let Some(device) = command.device() {
            lock(&transaction, device)?;
        }
        let done = command.apply(&transaction)?;
        transaction.commit()?;
        Ok(done)
    };
    run().map_err(|source: SqlError| DbError::new("write", source))
}

/// Keeps other hubs from moving the streams of a device until the transaction ends.
pub(crate) fn lock(transaction: &Connection, device: i64) -> sql::Result<()> {
    match transaction.engine() {
        // There is one transaction that writes.
        Engine::Sqlite => Ok(()),
        Engine::Postgres => {
            let sql = "SELECT id FROM device WHERE id = ?1 FOR NO KEY UPDATE";
            transaction.execute(sql, params![device]).map(drop)
        }
    }
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
