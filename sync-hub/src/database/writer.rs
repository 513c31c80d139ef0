//! The writing thread and its group commit.

use super::sql::{Connection, Engine, SqlError, params};
use super::{Command, DbError, Source, schema};
use landfall_systemd::Pulse;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait. Each connection bounds what it has in flight, so this only smooths
/// bursts; a full queue makes connections stop reading.
const QUEUE_MAX: usize = 1024;

/// Commands in one transaction: enough that the sync is shared, few enough that the first does
/// not wait long for the last (a batch of 1,024 records takes some 10 ms).
const GROUP_MAX: usize = 64;

/// How often a group is tried while other hubs are in its way; each of them gets further meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// Resolves when the command is committed or failed.
pub type Reply<T> = oneshot::Receiver<Result<T, DbError>>;

/// Where commands are handed in.
pub(super) type Jobs = mpsc::Sender<Message>;

/// What the thread is told.
pub(super) enum Message {
    Job(Box<dyn Job>),
    /// Finish what was queued before, then end.
    Stop,
}

/// A command whose type is forgotten.
pub(super) trait Job: Send {
    /// The device whose streams it moves.
    fn device(&self) -> Option<i64>;
    /// Applies it within a transaction; kept until that is committed.
    fn apply(&mut self, transaction: &Connection) -> Result<(), DbError>;
    /// Tells the caller.
    fn finish(self: Box<Self>, committed: Result<(), DbError>);
}

struct Pending<C: Command> {
    command: C,
    done: Option<C::Done>,
    reply: oneshot::Sender<Result<C::Done, DbError>>,
}

impl<C: Command> Job for Pending<C> {
    fn device(&self) -> Option<i64> {
        self.command.device()
    }

    fn apply(&mut self, transaction: &Connection) -> Result<(), DbError> {
        // A bug met by one command must not end the thread that all devices need.
        let applied = catch_unwind(AssertUnwindSafe(|| self.command.apply(transaction)));
        let done = applied.map_err(|_| DbError::Panicked)?;
        self.done = Some(done.map_err(|source| DbError::new("write", source))?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), DbError>) {
        let Pending { done, reply, .. } = *self;
        let outcome = committed.and_then(|()| done.ok_or(DbError::Closed));
        // The connection that asked may be gone; what is committed is committed.
        let _ = reply.send(outcome);
    }
}

/// A command as a job, and what will tell its outcome.
pub(super) fn job<C: Command>(command: C) -> (Box<dyn Job>, Reply<C::Done>) {
    let (reply, receiver) = oneshot::channel();
    (Box::new(Pending { command, done: None, reply }), receiver)
}

pub(super) fn start(
    source: Source,
    connection: Connection,
    pulse: Pulse,
) -> Result<(Jobs, JoinHandle<()>), DbError> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let thread = std::thread::Builder::new()
        .name("database".to_owned())
        .spawn(move || run(&source, connection, receiver, &pulse))
        .map_err(|error| DbError::Thread(Arc::new(error)))?;
    Ok((sender, thread))
}

fn run(
    source: &Source,
    connection: Connection,
    mut messages: mpsc::Receiver<Message>,
    pulse: &Pulse,
) {
    let mut writer = Writer { source, connection: Some(connection), failing: false };
    let mut next = messages.blocking_recv();
    while let Some(Message::Job(first)) = next.take() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX {
            match messages.try_recv() {
                Ok(Message::Job(job)) => group.push(job),
                Ok(Message::Stop) => {
                    next = Some(Message::Stop);
                    break;
                }
                Err(_) => break,
            }
        }
        let busy = pulse.busy();
        writer.commit(group);
        drop(busy);
        if next.is_none() {
            next = messages.blocking_recv();
        }
    }
}

struct Writer<'a> {
    source: &'a Source,
    /// `None` after the disk or the connection failed.
    connection: Option<Connection>,
    failing: bool,
}

impl Writer<'_> {
    /// Commits a group, then tells its callers; never the other way round.
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let mut outcome = self.attempt(&mut group);
        for _ in 1..ATTEMPTS_MAX {
            match &outcome {
                Err(error) if error.is_passing() => outcome = self.attempt(&mut group),
                _ => break,
            }
        }
        self.note(outcome.as_ref().err());
        match outcome {
            // One of them is at fault: each on its own, so that the others pass.
            Err(error) if group.len() > 1 && !error.is_disk() => {
                for job in group {
                    self.commit(vec![job]);
                }
            }
            outcome => group.into_iter().for_each(|job| job.finish(outcome.clone())),
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), DbError> {
        let failed = |source| DbError::new("commit", source);
        let connection = self.connection()?;
        let transaction = connection.begin().map_err(failed)?;
        lock(&transaction, group).map_err(failed)?;
        for job in group.iter_mut() {
            job.apply(&transaction)?;
        }
        transaction.commit().map_err(failed)
    }

    fn connection(&mut self) -> Result<&mut Connection, DbError> {
        // A server may have gone and come back since.
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            slot => Ok(slot.insert(schema::open(self.source)?)),
        }
    }

    fn note(&mut self, error: Option<&DbError>) {
        match error {
            Some(error) if error.is_disk() => {
                // After a failed write the state of the file handle is not to be trusted.
                self.connection = None;
                if !self.failing {
                    tracing::error!(
                        %error, database = %self.source,
                        "the database cannot be written: nothing is acknowledged until it can; \
                         free disk space, repair the disk, or see to the server"
                    );
                }
                self.failing = true;
            }
            Some(_) => {}
            None if self.failing => {
                tracing::warn!(database = %self.source, "the database is written again");
                self.failing = false;
            }
            None => {}
        }
    }
}

/// Keeps other hubs from moving the streams of the group's devices until it is committed. All at
/// once and in one order, so that two hubs never wait for each other.
fn lock(transaction: &Connection, group: &[Box<dyn Job>]) -> Result<(), SqlError> {
    if transaction.engine() == Engine::Sqlite {
        return Ok(());
    }
    let devices: BTreeSet<i64> = group.iter().filter_map(|job| job.device()).collect();
    if devices.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = devices.iter().map(i64::to_string).collect();
    let sql = "SELECT id FROM device WHERE id = ANY (CAST(string_to_array(?1, ',') AS BIGINT[]))
               ORDER BY id FOR NO KEY UPDATE";
    transaction.execute(sql, params![list.join(",")]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{Database, sql};

    /// Writes one row; fails or panics on demand.
    struct Put(&'static str, fn());

    impl Command for Put {
        type Done = ();
        fn apply(&self, transaction: &Connection) -> sql::Result<()> {
            (self.1)();
            let sql = "INSERT INTO meta (key, value) VALUES (?1, '')";
            transaction.execute(sql, params![self.0]).map(drop)
        }
    }

    fn keys(connection: &Connection) -> sql::Result<Vec<String>> {
        connection.rows("SELECT key FROM meta ORDER BY key", &[], |row| row.get(0))
    }

    #[tokio::test]
    async fn a_command_that_fails_or_panics_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::file(dir.path());
        let connection = Some(schema::open(&source).unwrap());
        let mut writer = Writer { source: &source, connection, failing: false };
        let commands = [
            Put("a", || {}),
            Put("a", || {}),
            Put("b", || panic!("as the test wants")),
            Put("c", || {}),
        ];
        let (group, replies): (Vec<_>, Vec<_>) = commands.into_iter().map(job).unzip();
        writer.commit(group);
        let mut outcomes = Vec::new();
        for reply in replies {
            outcomes.push(reply.await.unwrap());
        }
        assert!(outcomes[0].is_ok() && outcomes[3].is_ok(), "{outcomes:?}");
        assert!(matches!(outcomes[1], Err(DbError::Sql { .. })), "{outcomes:?}");
        assert!(matches!(outcomes[2], Err(DbError::Panicked)), "{outcomes:?}");
        assert_eq!(keys(&schema::open_reader(&source).unwrap()).unwrap(), ["a", "c"]);
    }

    /// Fills the file to `PRAGMA max_page_count`.
    struct Grow;

    impl Command for Grow {
        type Done = ();
        fn apply(&self, transaction: &Connection) -> sql::Result<()> {
            transaction
                .execute(
                    "INSERT INTO meta (key, value) VALUES (hex(randomblob(8)), hex(randomblob(99000)))",
                    &[],
                )
                .map(drop)
        }
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_command_and_is_left_behind_when_there_is_space() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::file(dir.path());
        let connection = schema::open(&source).unwrap();
        connection.batch("PRAGMA max_page_count = 100").unwrap();
        let mut writer = Writer { source: &source, connection: Some(connection), failing: false };
        let mut full = || {
            let (job, mut reply) = job(Grow);
            writer.commit(vec![job]);
            reply.try_recv().unwrap()
        };
        let error = (0..20).find_map(|_| full().err()).expect("the file has a limit");
        assert!(matches!(error, DbError::Full { .. }), "{error}");
        // The connection is opened anew, without the limit: as when space is back.
        full().expect("written again");
    }

    #[tokio::test]
    async fn what_was_queued_before_the_end_is_committed_and_nothing_after() {
        let dir = tempfile::tempdir().unwrap();
        let (database, thread) = Database::start(&Source::file(dir.path())).unwrap();
        let first = database.submit(Put("a", || {})).await.unwrap();
        let second = database.submit(Put("b", || {})).await.unwrap();
        database.stop().await;
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        let late = database.write(Put("c", || {})).await;
        assert!(matches!(late, Err(DbError::Closed)), "{late:?}");
        assert_eq!(database.read(keys).await.unwrap(), ["a", "b"]);
    }
}
