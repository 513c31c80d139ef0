//! What waits for its commit, in the order in which it came.

use super::limits;
use crate::database::ingest::Ingest;
use crate::database::sql::{self, Connection};
use crate::database::{Command, DbError, Reply};
use landfall_hub_core::ledger::{IngestError, Ingested};
use landfall_hub_core::session::{Greeting, Input as Happened};
use landfall_wire::frame::{Batch, Position};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// A frame whose commit is awaited.
pub(super) struct Pending {
    /// To acknowledge to the transport afterwards.
    pub(super) receipt: Option<u16>,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Nothing to commit; keeps acknowledgements in order.
    Nothing,
    Greet(Reply<Greeting>),
    Ingest(Reply<Result<Ingested, IngestError>>),
    Offer(Reply<Position>),
    Deliver(Reply<()>),
}

/// What the database said.
pub(crate) enum Done {
    Nothing,
    Greeted(Greeting),
    Ingested(Result<Ingested, IngestError>),
    Offered(Position),
    Delivered,
}

/// A batch with its share of [`limits::PENDING_BYTES_MAX`], given back when it is committed.
pub(super) struct Charged {
    pub(super) ingest: Ingest,
    pub(super) _share: OwnedSemaphorePermit,
}

impl Command for Charged {
    type Done = <Ingest as Command>::Done;
    fn device(&self) -> Option<i64> {
        self.ingest.device()
    }

    fn apply(&self, transaction: &Connection) -> sql::Result<Self::Done> {
        self.ingest.apply(transaction)
    }
}

/// Room that a batch takes while it waits: its records and their bookkeeping.
pub(super) fn cost_bytes(batch: &Batch) -> u32 {
    let bytes: usize = batch.records.iter().map(|record| record.len() + size_of::<Vec<u8>>()).sum();
    u32::try_from(bytes.clamp(1, limits::PENDING_BYTES_MAX)).unwrap_or(u32::MAX)
}

pub(super) type Fetching = JoinHandle<Result<Happened, DbError>>;

pub(super) async fn joined(fetching: &mut Option<Fetching>) -> Result<Happened, DbError> {
    match fetching {
        Some(task) => task.await.unwrap_or(Err(DbError::Closed)),
        None => std::future::pending().await,
    }
}

/// Resolves when the first frame is decided, and takes it off. Polls one oneshot, so
/// nothing is lost if it is dropped in between.
pub(super) async fn first_done(
    pending: &mut VecDeque<Pending>,
) -> Result<(Option<u16>, Done), DbError> {
    let done = poll_fn(|context| {
        macro_rules! ready {
            ($reply:expr, $done:expr) => {
                match Pin::new($reply).poll(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(Ok(value))) => Poll::Ready(Ok($done(value))),
                    Poll::Ready(Ok(Err(error))) => Poll::Ready(Err(error)),
                    Poll::Ready(Err(_)) => Poll::Ready(Err(DbError::Closed)),
                }
            };
        }
        match pending.front_mut().map(|first| &mut first.work) {
            None => Poll::Pending,
            Some(Work::Nothing) => Poll::Ready(Ok(Done::Nothing)),
            Some(Work::Greet(reply)) => ready!(reply, Done::Greeted),
            Some(Work::Ingest(reply)) => ready!(reply, Done::Ingested),
            Some(Work::Offer(reply)) => ready!(reply, Done::Offered),
            Some(Work::Deliver(reply)) => ready!(reply, |()| Done::Delivered),
        }
    })
    .await?;
    let receipt = pending.pop_front().and_then(|first| first.receipt);
    Ok((receipt, done))
}
