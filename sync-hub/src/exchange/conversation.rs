//! One device's session, driven: frames in, commits, and only then frames out.

use super::pending::{Charged, Done, Fetching, Pending, Work, cost_bytes, first_done, joined};
use super::{Close, Exchange, Place, limits};
use crate::database::commands::{Deliver, Greet, Offer, Problem, ProblemKind};
use crate::database::ingest::Ingest;
use crate::database::{Database, DbError, Reply, queries};
use crate::hub::now_ms;
use landfall_hub_core::ledger::{IngestError, Ingested};
use landfall_hub_core::session::{Effects, Fetch, Input as Happened, Persist, Session};
use landfall_wire::coding::Primer;
use landfall_wire::frame::{Frame, Position, Received};
use landfall_wire::id::{DeviceId, Epoch};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The hub ends it.
    Told(Close),
    /// Frames that make no sense as a whole.
    Nonsense(String),
    /// Too many payloads that are no frames.
    Flood,
    /// A commit failed.
    Database(DbError),
    /// The task panicked, or a frame of our own cannot be encoded.
    Bug(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Told(Close::TakenOver) => f.write_str("another connection took over"),
            Halt::Told(Close::Revoked) => f.write_str("the device was revoked"),
            Halt::Told(Close::Stopping) => f.write_str("the hub stops"),
            Halt::Nonsense(what) => write!(f, "not as agreed: {what}"),
            Halt::Flood => f.write_str("too many payloads that are no frames"),
            Halt::Database(error) => write!(f, "{error}"),
            Halt::Bug(what) => write!(f, "bug: {what}"),
        }
    }
}

impl Halt {
    /// What is to be counted and shown of it.
    pub(crate) fn problem(&self) -> Option<(ProblemKind, String)> {
        match self {
            Halt::Nonsense(_) => Some((ProblemKind::Malformed, self.to_string())),
            Halt::Told(_) | Halt::Flood | Halt::Database(_) | Halt::Bug(_) => None,
        }
    }
}

impl From<DbError> for Halt {
    fn from(error: DbError) -> Halt {
        Halt::Database(error)
    }
}

/// What is to be said now: all of it is committed.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Encoded frames, in order.
    pub(crate) payloads: Vec<Vec<u8>>,
    /// What the transport gave with a frame that is now committed.
    pub(crate) receipt: Option<u16>,
}

/// Something that [`Conversation::next`] came upon; only [`Conversation::hear`] looks inside.
pub(crate) enum News {
    Signalled,
    Committed(Option<u16>, Done),
    Fetched(Happened),
    Due,
}

/// One device's conversation with the hub.
pub(crate) struct Conversation {
    exchange: Arc<Exchange>,
    device: i64,
    name: DeviceId,
    place: Place,
    session: Session,
    pending: VecDeque<Pending>,
    fetching: Option<Fetching>,
    malformed: (Instant, u32),
    greeted: bool,
    /// What the device knows of coding, since its greeting.
    primer: Option<Primer>,
}

impl Conversation {
    /// With a device that was let in.
    pub(crate) fn new(exchange: Arc<Exchange>, place: Place, device: i64) -> Conversation {
        Conversation {
            exchange,
            device,
            name: place.name().clone(),
            place,
            session: Session::default(),
            pending: VecDeque::new(),
            fetching: None,
            malformed: (Instant::now(), 0),
            greeted: false,
            primer: None,
        }
    }

    /// Whether another frame may be handed in.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < limits::PENDING_MAX
    }

    /// Whether the device has greeted.
    pub(crate) fn was_greeted(&self) -> bool {
        self.greeted
    }

    /// Ends it; the place is given back, so that it outlives the last word.
    pub(crate) fn end(mut self) -> Place {
        if let Some(fetching) = self.fetching.take() {
            fetching.abort();
        }
        self.place
    }

    /// Waits until something happened beside what the device sends. Cancel-safe; what it yields
    /// goes to [`Conversation::hear`].
    pub(crate) async fn next(&mut self) -> Result<News, Halt> {
        let wakeup = self.session.next_wakeup().map(|at_ms| {
            Instant::now() + Duration::from_millis(at_ms.saturating_sub(self.exchange.now_ms()))
        });
        tokio::select! {
            biased;
            changed = self.place.signals.changed() => match changed {
                Ok(()) => Ok(News::Signalled),
                Err(_) => Err(Halt::Told(Close::TakenOver)),
            },
            done = first_done(&mut self.pending), if !self.pending.is_empty() => {
                let (receipt, done) = done?;
                Ok(News::Committed(receipt, done))
            }
            fetched = joined(&mut self.fetching), if self.fetching.is_some() => {
                self.fetching = None;
                Ok(News::Fetched(fetched?))
            }
            () = sleep_until(wakeup) => Ok(News::Due),
        }
    }

    /// Handles what [`Conversation::next`] came upon.
    pub(crate) async fn hear(&mut self, news: News) -> Result<Said, Halt> {
        match news {
            News::Signalled => self.signalled().await,
            News::Committed(receipt, done) => self.committed(receipt, done).await,
            News::Fetched(fetched) => {
                let effects = self.step(fetched);
                self.effects(effects, None).await
            }
            News::Due => {
                let mut payloads = Vec::new();
                if self.exchange.shared.frames {
                    let elsewhere = self.acknowledged_elsewhere().await?;
                    let effects = self.step(elsewhere);
                    payloads = self.effects(effects, None).await?.payloads;
                }
                let effects = self.step(Happened::Tick);
                payloads.extend(self.effects(effects, None).await?.payloads);
                Ok(Said { payloads, receipt: None })
            }
        }
    }

    /// Nothing was acknowledged to this hub for long; perhaps it was to another.
    async fn acknowledged_elsewhere(&self) -> Result<Happened, DbError> {
        let device = self.device;
        let mark = self.exchange.database.read(move |it| queries::answers_mark(it, device)).await?;
        Ok(Happened::Frame(Frame::Ack(mark)))
    }

    /// Takes a payload of the device; `receipt` comes back once it is committed.
    pub(crate) async fn take(
        &mut self,
        payload: &[u8],
        receipt: Option<u16>,
    ) -> Result<Said, Halt> {
        let effects = match Received::decode(payload) {
            Ok(Received { frame, primer }) => {
                if let Frame::Hello(_) = frame {
                    self.primer = primer;
                }
                self.step(Happened::Frame(frame))
            }
            Err(error) => {
                self.count_malformed(error.to_string()).await?;
                Effects::default()
            }
        };
        self.effects(effects, receipt).await
    }

    async fn signalled(&mut self) -> Result<Said, Halt> {
        let signals = self.place.signals.borrow_and_update().clone();
        if let Some(close) = signals.close {
            return Err(Halt::Told(close));
        }
        let told = signals.answers.map(|end| self.step(Happened::AnswersUntil(end)));
        self.effects(told.unwrap_or_default(), None).await
    }

    async fn count_malformed(&mut self, detail: String) -> Result<(), Halt> {
        tracing::warn!(device = %self.name, detail, "a payload makes no sense, it was ignored");
        let (since, count) = &mut self.malformed;
        if since.elapsed() > limits::MALFORMED_WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        let flood = *count > limits::MALFORMED_MAX;
        let kind = ProblemKind::Malformed;
        let problem = Problem { device: Some(self.device), kind, detail, now_ms: now_ms() };
        self.exchange.database.submit(problem).await?;
        if flood { Err(Halt::Flood) } else { Ok(()) }
    }

    fn step(&mut self, input: Happened) -> Effects {
        self.session.step(self.exchange.now_ms(), input)
    }

    /// First half: hands over what is to be committed. The second half, `say`, holds only what
    /// is committed already.
    async fn effects(&mut self, effects: Effects, receipt: Option<u16>) -> Result<Said, Halt> {
        if let Some(problem) = effects.problem {
            self.count_malformed(problem.to_owned()).await?;
        }
        let mut works = VecDeque::new();
        for persist in &effects.persist {
            self.greeted |= matches!(persist, Persist::Greet(_));
            works.push_back(self.persist(persist.clone()).await?);
        }
        let last = works.pop_back().or(receipt.map(|_| Work::Nothing));
        self.pending.extend(works.into_iter().map(|work| Pending { receipt: None, work }));
        self.pending.extend(last.map(|work| Pending { receipt, work }));
        self.say(&effects)
    }

    async fn persist(&self, persist: Persist) -> Result<Work, DbError> {
        let (device, now_ms) = (self.device, now_ms());
        let database = &self.exchange.database;
        Ok(match persist {
            Persist::Greet(hello) => {
                let spare_epoch = Epoch(getrandom::u64().map_err(|_| DbError::Closed)?);
                let hub = self.exchange.hub.to_string();
                let greet = Greet { device, hello, now_ms, spare_epoch, hub };
                Work::Greet(database.submit(greet).await?)
            }
            Persist::Ingest(batch) => {
                let share = Arc::clone(&self.exchange.pending_bytes)
                    .acquire_many_owned(cost_bytes(&batch))
                    .await
                    .map_err(|_| DbError::Closed)?;
                let ingest = Ingest { device, batch, now_ms };
                if self.exchange.shared.frames {
                    return Ok(Work::Ingest(patient(database.clone(), ingest, share)));
                }
                Work::Ingest(database.submit(Charged { ingest, _share: share }).await?)
            }
            Persist::Offer(position) => {
                Work::Offer(database.submit(Offer { device, position, now_ms }).await?)
            }
            Persist::Delivered(position) => {
                Work::Deliver(database.submit(Deliver { device, position, now_ms }).await?)
            }
        })
    }

    /// Second half: what goes out now.
    fn say(&mut self, effects: &Effects) -> Result<Said, Halt> {
        if let Some(fetch) = effects.fetch {
            let exchange = Arc::clone(&self.exchange);
            self.fetching = Some(tokio::spawn(fetched(exchange, self.device, fetch)));
        }
        let payloads = effects.send.iter().map(|frame| frame.encode_for(self.primer));
        let payloads = payloads.collect::<Result<_, _>>();
        let payloads = payloads.map_err(|error| Halt::Bug(error.to_string()))?;
        Ok(Said { payloads, receipt: None })
    }

    /// The first frame is committed: only now it is acknowledged.
    async fn committed(&mut self, receipt: Option<u16>, done: Done) -> Result<Said, Halt> {
        let mut payloads = Vec::new();
        let effects = match done {
            Done::Nothing | Done::Delivered => Effects::default(),
            Done::Greeted(greeting) => {
                let effects = self.step(Happened::Greeted(greeting));
                payloads = self.say(&effects)?.payloads;
                // An answer may have been told between the look-up and now.
                let told = self.place.signals.borrow().answers;
                told.map(|end| self.step(Happened::AnswersUntil(end))).unwrap_or_default()
            }
            Done::Offered(position) => self.step(Happened::Offered(position)),
            Done::Ingested(Ok(ingested)) => {
                self.log(&ingested);
                self.step(Happened::Ingested(ingested.position))
            }
            // Nothing of it was applied, and nothing is acknowledged.
            Done::Ingested(Err(error)) => return Err(Halt::Nonsense(error.to_string())),
        };
        payloads.extend(self.effects(effects, None).await?.payloads);
        Ok(Said { payloads, receipt })
    }

    fn log(&self, ingested: &Ingested) {
        let Ingested { position: Position { stream, epoch, .. }, rejected, lost, .. } = ingested;
        let (device, stream) = (&self.name, stream.name());
        if *rejected > 0 {
            tracing::warn!(%device, stream, %epoch, rejected, "records of no use here were kept as they came");
        }
        if *lost > 0 {
            tracing::error!(%device, stream, %epoch, lost, "records of a device will never arrive");
        }
    }
}

async fn fetched(exchange: Arc<Exchange>, device: i64, fetch: Fetch) -> Result<Happened, DbError> {
    let (hub, is_shared) = (Arc::clone(&exchange.hub), exchange.shared.frames);
    let read = exchange.database.read(move |reader| {
        // The one that it greeted last sends, no other.
        if is_shared && queries::hub_of(reader, device)?.as_deref() != Some(&*hub) {
            return Ok(None);
        }
        queries::answers(reader, device, fetch).map(Some)
    });
    Ok(match read.await? {
        Some(records) => Happened::Fetched { epoch: fetch.epoch, first: fetch.first, records },
        None => Happened::Yielded,
    })
}

/// How often, and how far apart, a batch is tried that is ahead of the mark: another hub has the
/// one before it and is about to commit it. Later than that the device sends again.
const EARLY_TRIES_MAX: u32 = 20;
/// See [`EARLY_TRIES_MAX`].
const EARLY_REST: Duration = Duration::from_millis(25);

/// Applies a batch that may have overtaken the one before it.
fn patient(
    database: Database,
    ingest: Ingest,
    share: OwnedSemaphorePermit,
) -> Reply<Result<Ingested, IngestError>> {
    let (sender, reply) = oneshot::channel();
    tokio::spawn(async move {
        let _share = share;
        let mut outcome = database.write(ingest.clone()).await;
        for _ in 1..EARLY_TRIES_MAX {
            let Ok(Ok(done)) = &outcome else { break };
            if ingest.batch.records.is_empty() || ingest.batch.first <= done.position.next {
                break;
            }
            tokio::time::sleep(EARLY_REST).await;
            outcome = database.write(ingest.clone()).await;
        }
        // The conversation may be over.
        let _ = sender.send(outcome);
    });
    reply
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
