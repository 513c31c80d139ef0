//! One device's connection, after it was let in: one task, one loop.
//!
//! What was read waits in `pending`, in order, until its commit is known; then its PUBACK and
//! the session's frames go into `output`. Nothing here waits on another connection.

use super::codec::{Input, encode, publication};
use super::gate::Admitted;
use super::registry::{Close, Place};
use super::{Shared, limits};
use crate::database::commands::{Deliver, Greet, Offer, Problem, ProblemKind};
use crate::database::ingest::Ingest;
use crate::database::{Command, Database, DbError, Reply, queries};
use crate::hub::now_ms;
use landfall_hub_core::ledger::{IngestError, Ingested};
use landfall_hub_core::session::{Effects, Fetch, Greeting, Input as Happened, Persist, Session};
use landfall_wire::frame::{Batch, Frame, Position};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::limits::PACKET_BYTES_MAX;
use landfall_wire::topic::{Direction, topic};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// Bytes asked for in one read: a batch.
const READ_BYTES: usize = 16 * 1024;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The device said goodbye or closed.
    Left,
    /// The network failed.
    Lost(std::io::Error),
    /// Nothing came for one and a half keep-alives.
    Silent,
    /// It did not take what was sent.
    Slow,
    /// Not MQTT as agreed.
    Protocol(String),
    /// It went outside its topics.
    Refused(String),
    /// Too many payloads that are no frames.
    Flood,
    /// The hub ends it.
    Told(Close),
    /// A commit failed.
    Database(DbError),
    /// The task panicked.
    Bug(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Left => f.write_str("the device left"),
            Ended::Lost(error) => write!(f, "connection lost: {error}"),
            Ended::Silent => f.write_str("nothing heard for one and a half keep-alives"),
            Ended::Slow => f.write_str("the device takes nothing of what is sent"),
            Ended::Protocol(what) => write!(f, "not MQTT 3.1.1 as served here: {what}"),
            Ended::Refused(what) => write!(f, "refused: {what}"),
            Ended::Flood => f.write_str("too many payloads that are no frames"),
            Ended::Told(Close::TakenOver) => f.write_str("another connection took over"),
            Ended::Told(Close::Revoked) => f.write_str("the device was revoked"),
            Ended::Told(Close::Stopping) => f.write_str("the hub stops"),
            Ended::Database(error) => write!(f, "{error}"),
            Ended::Bug(what) => write!(f, "bug: {what}"),
        }
    }
}

impl Ended {
    /// What is to be counted and shown of it.
    pub(super) fn problem(&self) -> Option<(ProblemKind, String)> {
        match self {
            Ended::Protocol(_) => Some((ProblemKind::Malformed, self.to_string())),
            Ended::Refused(_) => Some((ProblemKind::Refused, self.to_string())),
            Ended::Left
            | Ended::Lost(_)
            | Ended::Silent
            | Ended::Slow
            | Ended::Flood
            | Ended::Told(_)
            | Ended::Database(_)
            | Ended::Bug(_) => None,
        }
    }
}

/// A publication whose commit is awaited.
struct Pending {
    /// To acknowledge afterwards, unless quality of service 0.
    packet_id: Option<u16>,
    work: Work,
}

enum Work {
    /// Nothing to commit; keeps acknowledgements in order.
    Nothing,
    Greet(Reply<Greeting>),
    Ingest(Reply<Result<Ingested, IngestError>>),
    Offer(Reply<Position>),
    Deliver(Reply<()>),
}

/// What the database said.
enum Done {
    Nothing,
    Greeted(Greeting),
    Ingested(Result<Ingested, IngestError>),
    Offered(Position),
    Delivered,
}

/// A batch with its share of [`limits::PENDING_BYTES_MAX`], given back when it is committed.
struct Charged {
    ingest: Ingest,
    _share: OwnedSemaphorePermit,
}

impl Command for Charged {
    type Done = <Ingest as Command>::Done;
    fn apply(&self, transaction: &rusqlite::Connection) -> rusqlite::Result<Self::Done> {
        self.ingest.apply(transaction)
    }
}

type Fetching = JoinHandle<Result<Happened, DbError>>;

pub(super) struct Connection {
    shared: Arc<Shared>,
    device: i64,
    name: DeviceId,
    place: Place,
    session: Session,
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    input: Input,
    output: Output,
    pending: VecDeque<Pending>,
    fetching: Option<Fetching>,
    subscribed: bool,
    silence_max: Duration,
    heard: Instant,
    malformed: (Instant, u32),
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
    unflushed: bool,
    progress: Option<Instant>,
}

impl Output {
    fn push(&mut self, packet: &Packet) -> Result<(), Ended> {
        let bytes = encode(packet).map_err(|error| Ended::Bug(error.to_string()))?;
        self.bytes.drain(..std::mem::take(&mut self.sent));
        self.bytes.extend(bytes);
        self.progress.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn has_work(&self) -> bool {
        self.unflushed || !self.waiting().is_empty()
    }
}

impl Connection {
    pub(super) fn new(admitted: Admitted, shared: Arc<Shared>) -> Connection {
        let Admitted { stream, input, connect, place, peer, device } = admitted;
        let (reader, writer) = tokio::io::split(stream);
        let asked = if connect.keep_alive == 0 { u16::MAX } else { connect.keep_alive };
        let keep_alive = Duration::from_secs(asked.min(limits::KEEP_ALIVE_SECS_MAX).into());
        let heard = Instant::now();
        Connection {
            shared,
            device,
            name: peer.device,
            place,
            session: Session::default(),
            reader,
            writer,
            input,
            output: Output::default(),
            pending: VecDeque::new(),
            fetching: None,
            subscribed: false,
            silence_max: keep_alive.mul_f32(1.5),
            heard,
            malformed: (heard, 0),
        }
    }

    /// Serves until the end; the place is given back, so that it outlives the last word.
    pub(super) async fn run(mut self) -> (Place, Ended) {
        let why = match self.serve().await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        if let Some(fetching) = self.fetching.take() {
            fetching.abort();
        }
        let _ = tokio::time::timeout(limits::GOODBYE_MAX, async {
            self.writer.write_all(self.output.waiting()).await?;
            self.writer.shutdown().await
        })
        .await;
        (self.place, why)
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut chunk = vec![0; READ_BYTES];
        self.packets().await?;
        loop {
            let may_read = self.pending.len() < limits::PENDING_MAX
                && self.output.waiting().len() < limits::OUTPUT_BYTES_MAX;
            let deadline = self.deadline();
            // Every arm is cancel-safe; what it yields is handled after the choice.
            tokio::select! {
                biased;
                changed = self.place.signals.changed() => {
                    if changed.is_err() {
                        return Err(Ended::Told(Close::TakenOver));
                    }
                    self.signalled().await?;
                }
                done = first_done(&mut self.pending), if !self.pending.is_empty() => {
                    self.committed(done.map_err(Ended::Database)?).await?;
                }
                fetched = joined(&mut self.fetching), if self.fetching.is_some() => {
                    self.fetching = None;
                    self.happened(fetched.map_err(Ended::Database)?).await?;
                }
                written = write(&mut self.writer, &mut self.output), if self.output.has_work() => {
                    let count = written.map_err(Ended::Lost)?;
                    self.shared.counters.bytes_sent.fetch_add(count as u64, Ordering::Relaxed);
                }
                read = self.reader.read(&mut chunk), if may_read => {
                    let count = read.map_err(Ended::Lost)?;
                    if count == 0 {
                        return Err(Ended::Left);
                    }
                    self.shared.counters.bytes_received.fetch_add(count as u64, Ordering::Relaxed);
                    self.heard = Instant::now();
                    self.input.push(&chunk[..count]);
                    self.packets().await?;
                }
                () = tokio::time::sleep_until(deadline) => self.overdue(may_read).await?,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let silent = self.heard + self.silence_max;
        let stalled = self.output.progress.map(|at| at + limits::OUTPUT_STALL_MAX);
        let session = self.session.next_wakeup().map(|at_ms| {
            Instant::now() + Duration::from_millis(at_ms.saturating_sub(self.shared.now_ms()))
        });
        [stalled, session].into_iter().flatten().fold(silent, Instant::min)
    }

    async fn overdue(&mut self, may_read: bool) -> Result<(), Ended> {
        let now = Instant::now();
        if self.output.progress.is_some_and(|at| now >= at + limits::OUTPUT_STALL_MAX) {
            return Err(Ended::Slow);
        }
        if now >= self.heard + self.silence_max {
            if may_read {
                return Err(Ended::Silent);
            }
            // The hub did not listen; that is no silence of the device.
            self.heard = now;
        }
        self.happened(Happened::Tick).await
    }

    async fn signalled(&mut self) -> Result<(), Ended> {
        let signals = self.place.signals.borrow_and_update().clone();
        if let Some(close) = signals.close {
            return Err(Ended::Told(close));
        }
        if let Some(answers) = signals.answers {
            let effects = self.step(Happened::AnswersUntil(answers));
            return self.effects(effects, None).await;
        }
        Ok(())
    }

    /// Handles every whole packet that has come.
    async fn packets(&mut self) -> Result<(), Ended> {
        loop {
            let packet = self.input.packet(PACKET_BYTES_MAX);
            let packet = packet.map_err(|error| Ended::Protocol(error.to_string()))?;
            let Some(packet) = packet else { return Ok(()) };
            match packet {
                Packet::Publish(publish) => self.published(publish).await?,
                Packet::Subscribe(subscribe) => self.subscribe(&subscribe)?,
                Packet::Unsubscribe(unsubscribe) => {
                    self.subscribed &= !unsubscribe.topics.contains(&self.topic(Direction::Down));
                    self.output.push(&Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid }))?;
                }
                Packet::PingReq => self.output.push(&Packet::PingResp)?,
                Packet::Disconnect => return Err(Ended::Left),
                // The hub publishes with quality of service 0 and expects none of these.
                Packet::PubAck(_) => {}
                Packet::Connect(_)
                | Packet::ConnAck(_)
                | Packet::PubRec(_)
                | Packet::PubRel(_)
                | Packet::PubComp(_)
                | Packet::SubAck(_)
                | Packet::UnsubAck(_)
                | Packet::PingResp => {
                    return Err(Ended::Protocol("a packet that makes no sense here".to_owned()));
                }
            }
        }
    }

    fn topic(&self, direction: Direction) -> String {
        topic(&self.name, direction)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), Ended> {
        let own = self.topic(Direction::Down);
        let foreign = subscribe.filters.iter().find(|filter| filter.path != own);
        let code = |is_own| match is_own {
            true => SubscribeReasonCode::Success(QoS::AtMostOnce),
            false => SubscribeReasonCode::Failure,
        };
        let codes = subscribe.filters.iter().map(|filter| code(filter.path == own)).collect();
        self.output.push(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
        if let Some(foreign) = foreign {
            let path: String = foreign.path.chars().take(80).collect();
            return Err(Ended::Refused(format!("a subscription to '{path}'")));
        }
        self.subscribed = true;
        Ok(())
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Ended> {
        if publish.topic != self.topic(Direction::Up) {
            let topic: String = publish.topic.chars().take(80).collect();
            return Err(Ended::Refused(format!("a publication to '{topic}'")));
        }
        let packet_id = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(publish.pkid),
            QoS::ExactlyOnce => {
                return Err(Ended::Protocol("quality of service 2 is not served".to_owned()));
            }
        };
        let effects = match Frame::decode(&publish.payload) {
            Ok(frame) => self.step(Happened::Frame(frame)),
            Err(error) => {
                self.count_malformed(error.to_string()).await?;
                Effects::default()
            }
        };
        self.effects(effects, packet_id).await
    }

    async fn count_malformed(&mut self, detail: String) -> Result<(), Ended> {
        tracing::warn!(device = %self.name, detail, "a payload makes no sense, it was ignored");
        let (since, count) = &mut self.malformed;
        if since.elapsed() > limits::MALFORMED_WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        let flood = *count > limits::MALFORMED_MAX;
        let kind = ProblemKind::Malformed;
        let problem = Problem { device: Some(self.device), kind, detail, now_ms: now_ms() };
        self.shared.database.submit(problem).await.map_err(Ended::Database)?;
        if flood { Err(Ended::Flood) } else { Ok(()) }
    }

    fn step(&mut self, input: Happened) -> Effects {
        self.session.step(self.shared.now_ms(), input)
    }

    async fn happened(&mut self, input: Happened) -> Result<(), Ended> {
        let effects = self.step(input);
        self.send(&effects)
    }

    /// First half: hands over what is to be committed. The second half, `send`, holds only what
    /// is committed already.
    async fn effects(&mut self, effects: Effects, packet_id: Option<u16>) -> Result<(), Ended> {
        if let Some(problem) = effects.problem {
            self.count_malformed(problem.to_owned()).await?;
        }
        let mut works = VecDeque::new();
        for persist in &effects.persist {
            works.push_back(self.persist(persist.clone()).await.map_err(Ended::Database)?);
        }
        let last = works.pop_back().or(packet_id.map(|_| Work::Nothing));
        self.pending.extend(works.into_iter().map(|work| Pending { packet_id: None, work }));
        self.pending.extend(last.map(|work| Pending { packet_id, work }));
        self.send(&effects)
    }

    async fn persist(&self, persist: Persist) -> Result<Work, DbError> {
        let (device, now_ms) = (self.device, now_ms());
        let database = &self.shared.database;
        Ok(match persist {
            Persist::Greet(hello) => {
                let spare_epoch = Epoch(getrandom::u64().map_err(|_| DbError::Closed)?);
                let greet = Greet { device, hello, now_ms, spare_epoch };
                Work::Greet(database.submit(greet).await?)
            }
            Persist::Ingest(batch) => {
                let share = Arc::clone(&self.shared.pending_bytes)
                    .acquire_many_owned(cost_bytes(&batch))
                    .await
                    .map_err(|_| DbError::Closed)?;
                let ingest = Ingest { device, batch, now_ms };
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

    /// Second half: sends.
    fn send(&mut self, effects: &Effects) -> Result<(), Ended> {
        for frame in &effects.send {
            self.send_frame(frame)?;
        }
        if let Some(fetch) = effects.fetch {
            self.fetching =
                Some(tokio::spawn(fetched(self.shared.database.clone(), self.device, fetch)));
        }
        Ok(())
    }

    fn send_frame(&mut self, frame: &Frame) -> Result<(), Ended> {
        if !self.subscribed {
            // As any broker: who has not subscribed is not told. The device sends again.
            return Ok(());
        }
        let payload = frame.encode().map_err(|error| Ended::Bug(error.to_string()))?;
        self.output.push(&publication(&self.topic(Direction::Down), payload))
    }

    /// The first pending publication is committed: only now it is acknowledged.
    async fn committed(&mut self, (packet_id, done): (Option<u16>, Done)) -> Result<(), Ended> {
        let effects = match done {
            Done::Nothing | Done::Delivered => Effects::default(),
            Done::Greeted(greeting) => {
                let effects = self.step(Happened::Greeted(greeting));
                self.send(&effects)?;
                // An answer may have been told between the look-up and now.
                let told = self.place.signals.borrow().answers;
                told.map(|end| self.step(Happened::AnswersUntil(end))).unwrap_or_default()
            }
            Done::Offered(position) => self.step(Happened::Offered(position)),
            Done::Ingested(Ok(ingested)) => {
                self.log(&ingested);
                self.step(Happened::Ingested(ingested.position))
            }
            Done::Ingested(Err(error)) => {
                // Nothing of it was applied, and nothing is acknowledged.
                return Err(Ended::Protocol(error.to_string()));
            }
        };
        if let Some(pkid) = packet_id {
            self.output.push(&Packet::PubAck(PubAck::new(pkid)))?;
        }
        self.effects(effects, None).await
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

/// Room that a batch takes while it waits: its records and their bookkeeping.
fn cost_bytes(batch: &Batch) -> u32 {
    let bytes: usize = batch.records.iter().map(|record| record.len() + size_of::<Vec<u8>>()).sum();
    u32::try_from(bytes.clamp(1, limits::PENDING_BYTES_MAX)).unwrap_or(u32::MAX)
}

async fn fetched(database: Database, device: i64, fetch: Fetch) -> Result<Happened, DbError> {
    let records = database.read(move |reader| queries::answers(reader, device, fetch)).await?;
    Ok(Happened::Fetched { epoch: fetch.epoch, first: fetch.first, records })
}

async fn joined(fetching: &mut Option<Fetching>) -> Result<Happened, DbError> {
    match fetching {
        Some(task) => task.await.unwrap_or(Err(DbError::Closed)),
        None => std::future::pending().await,
    }
}

/// Resolves when the first publication is decided, and takes it off. Polls one oneshot, so
/// nothing is lost if it is dropped in between.
async fn first_done(pending: &mut VecDeque<Pending>) -> Result<(Option<u16>, Done), DbError> {
    let done = poll_fn(|context| {
        use std::pin::Pin;
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
    let packet_id = pending.pop_front().and_then(|first| first.packet_id);
    Ok((packet_id, done))
}

/// Writes some of what waits, or flushes what was written; says how much was taken.
async fn write(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    output: &mut Output,
) -> std::io::Result<usize> {
    if output.waiting().is_empty() {
        writer.flush().await?;
        (output.unflushed, output.progress) = (false, None);
        return Ok(0);
    }
    let count = writer.write(&output.bytes[output.sent..]).await?;
    if count == 0 {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    output.sent += count;
    output.unflushed = true;
    output.progress = Some(Instant::now());
    Ok(count)
}
