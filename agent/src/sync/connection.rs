//! One connection: rumqttc carries frames, the session decides, the store keeps.
//!
//! rumqttc keeps nothing over a reconnect and may lose what waits in its channel, so each
//! connection gets a fresh client and a fresh session, and everything is sent again from the
//! store. A PUBACK is flow control; only the hub's own acknowledgement releases records.

use super::link::Link;
use super::trouble::Trouble;
use super::{Hub, Identity, SyncConfig, split_address};
use crate::clock::Clock;
use crate::link::{CLOSE_BYTES, Meter, REFUSED_BYTES, UNANSWERED_BYTES, Uplink, Way};
use crate::reporting::Reporting;
use crate::store::{Store, StoreError};
use landfall_agent_core::link::Grant;
use landfall_agent_core::session::{Down, Event, Persist, Send, Session, SessionLimits, Wanted};
use landfall_wire::coding::Primer;
use landfall_wire::frame::{Batch, Frame, Position, Received};
use landfall_wire::id::Epoch;
use landfall_wire::limits::{BATCH_RECORDS_MAX, FRAME_BYTES_MAX, PACKET_BYTES_MAX};
use landfall_wire::record::{Event as StoreEvent, StreamId};
use landfall_wire::topic::{Direction, topic};
use rumqttc::{
    AsyncClient, ConnectionError, Event as MqttEvent, EventLoop, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, SubscribeReasonCode, Transport,
};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most bytes of records in one batch before they are coded: whatever they are, the frame then is
/// within [`FRAME_BYTES_MAX`].
const RANGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// Most that a batch is expected to shrink.
const RATIO_MAX: usize = 32;

/// Frames handed to rumqttc and not written yet. Batches wait in the store beyond half of it,
/// so that greetings and acknowledgements always find room.
const QUEUE_FRAMES_MAX: usize = 64;

/// QoS 1 messages without a PUBACK: more than any window of batches.
const INFLIGHT_MAX: u16 = 128;

/// Time for TCP, TLS, CONNECT and each flush: a satellite link takes tens of seconds at worst.
const CONNECTION_TIMEOUT_SECS: u64 = 60;

/// What rumqttc takes at least, and what MQTT can say at most.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);

/// Time for the last acknowledgements and the goodbye when stopping.
const GOODBYE: Duration = Duration::from_secs(3);

/// How often bytes are counted while records are on their way, and how often otherwise: pings.
const COUNT_BUSY: Duration = Duration::from_secs(1);
const COUNT_IDLE: Duration = Duration::from_secs(60);

/// How long a connection that may send no more waits for its end.
const OVER_MS: u64 = 60_000;

/// The link that a connection is made over.
pub(super) struct Over<'a> {
    pub(super) uplink: &'a Uplink,
    pub(super) way: Way,
}

/// How a connection ended.
pub(super) enum Ended {
    /// It was asked to stop.
    Stopped,
    /// Another link is to be used, or none.
    Moved,
    /// It failed.
    Failed {
        trouble: Trouble,
        /// Whether the hub had answered the greeting.
        was_online: bool,
    },
}

struct Connection<'a> {
    store: &'a Store,
    clock: &'a Clock,
    link: &'a mut Link,
    reporting: &'a Reporting,
    over: &'a Over<'a>,
    meter: Meter,
    /// Since when records are on their way, and the bytes that went since.
    busy: Option<(Instant, u64)>,
    client: AsyncClient,
    session: Session,
    topic_up: String,
    started: Instant,
    /// What the hub knows of coding, since its welcome.
    primer: Option<Primer>,
    /// How much smaller the last batch of each stream was than its records.
    ratios: BTreeMap<StreamId, usize>,
    /// Frames that rumqttc has not written yet.
    queued: usize,
    /// A range that waits for room.
    wanted: Option<Wanted>,
    /// Acknowledgements to write to the store, and the write that is under way.
    acked: BTreeMap<(StreamId, Epoch), Position>,
    acking: Option<JoinHandle<Result<(), StoreError>>>,
}

/// Connects and syncs until the connection fails, the link is not to be used any more, or `stop`
/// turns true.
pub(super) async fn run(
    hub: &Hub,
    identity: &Identity,
    over: &Over<'_>,
    link: &mut Link,
    stop: &mut watch::Receiver<bool>,
) -> Ended {
    let Hub { store, wallet, config, reporting } = hub;
    let clock = wallet.clock();
    let failed = |trouble| Ended::Failed { trouble, was_online: false };
    let hub = config.address.as_deref().unwrap_or(&identity.hub);
    let (host, port) = match split_address(hub) {
        Ok(address) => address,
        Err(text) => return failed(Trouble::new(text)),
    };
    let mut changes = over.uplink.changes();
    let (client, events) = client(identity, config, &over.way, (host, port));
    let mut polling = poll(events);
    let (events, connected) = tokio::select! {
        polled = &mut polling => polled,
        () = stopped(stop) => return Ended::Stopped,
        _ = changes.changed() => {
            over.uplink.carried(over.way.link, UNANSWERED_BYTES, None).await;
            return Ended::Moved;
        }
    };
    if let Err(error) = connected {
        let bytes = if got_through(&error) { REFUSED_BYTES } else { UNANSWERED_BYTES };
        over.uplink.carried(over.way.link, bytes, None).await;
        return failed(Trouble::connection(&error, hub));
    }
    polling = poll(events);
    let sizes = over.way.sizes;
    let limits = SessionLimits {
        window_bytes_max: sizes.window_bytes_max,
        batch_bytes_max: sizes.batch_bytes_max,
        ..SessionLimits::default()
    };
    let mut connection = Connection {
        store,
        clock,
        link,
        reporting,
        over,
        meter: Meter::of(port),
        busy: None,
        client,
        session: Session::new(limits, store.held(), store.answers()).over(over.way.carries),
        topic_up: topic(&identity.device, Direction::Up),
        started: Instant::now(),
        primer: None,
        ratios: BTreeMap::new(),
        queued: 0,
        wanted: None,
        acked: BTreeMap::new(),
        acking: None,
    };
    let topic_down = topic(&identity.device, Direction::Down);
    if connection.client.try_subscribe(&topic_down, QoS::AtLeastOnce).is_err() {
        return failed(Trouble::new("the MQTT client takes no request"));
    }
    let ended = connection.drive(&mut polling, &topic_down, hub, stop).await;
    store.withdraw();
    connection.count().await;
    over.uplink.carried(over.way.link, CLOSE_BYTES, None).await;
    match ended {
        Ok(left) => {
            connection.goodbye(polling).await;
            match left {
                Left::Stopped => Ended::Stopped,
                Left::Moved => Ended::Moved,
            }
        }
        Err(trouble) => {
            connection.finish_acking().await;
            Ended::Failed { trouble, was_online: connection.link.is_online() }
        }
    }
}

/// Why a connection is left that works.
enum Left {
    Stopped,
    Moved,
}

/// Whether something answered, so that a handshake was paid for.
fn got_through(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::NetworkTimeout => false,
        // Without TLS in it, it is the TCP connection that failed.
        ConnectionError::Io(error) => error.get_ref().is_some(),
        _ => true,
    }
}

/// A poll of the event loop, which it owns. It is kept until it is done and never dropped for other
/// work: rumqttc counts a packet as sent before it is written, and a poll that is dropped while
/// the link takes nothing loses it. It would be missing at the hub, and its number in use for
/// ever.
type Polling = Pin<
    Box<dyn Future<Output = (EventLoop, Result<MqttEvent, ConnectionError>)> + std::marker::Send>,
>;

fn poll(mut events: EventLoop) -> Polling {
    Box::pin(async move {
        let event = events.poll().await;
        (events, event)
    })
}

fn client(
    identity: &Identity,
    config: &SyncConfig,
    way: &Way,
    (host, port): (&str, u16),
) -> (AsyncClient, EventLoop) {
    let keep_alive = way.keep_alive.unwrap_or(config.keep_alive);
    let mut options = MqttOptions::new(identity.device.as_str(), host, port);
    options
        .set_transport(Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(
            identity.tls.clone(),
        )))
        .set_keep_alive(keep_alive.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX))
        .set_clean_session(true)
        .set_inflight(INFLIGHT_MAX)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, QUEUE_FRAMES_MAX);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECTION_TIMEOUT_SECS);
    network.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    if let Some(interface) = &way.interface {
        network.set_bind_device(interface);
    }
    events.set_network_options(network);
    (client, events)
}

impl Connection<'_> {
    /// Until asked to stop.
    async fn drive(
        &mut self,
        polling: &mut Polling,
        topic_down: &str,
        hub: &str,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Left, Trouble> {
        let mut durable = self.store.durable_changes();
        let mut changes = self.over.uplink.changes();
        if self.over.uplink.way().is_none_or(|way| way.link != self.over.way.link) {
            return Ok(Left::Moved);
        }
        let mut counted = Instant::now();
        // Right behind the subscription, which is then in force when the welcome comes: whoever
        // serves MQTT takes what a client says in its order. It saves a round trip.
        let version = crate::VERSION.to_owned();
        self.step(Event::Connected { version, at_ms: self.clock.now_ms() }).await?;
        loop {
            let wakeup = self.session.next_wakeup();
            let count_every = if self.session.is_idle() { COUNT_IDLE } else { COUNT_BUSY };
            tokio::select! {
                () = stopped(stop) => return Ok(Left::Stopped),
                _ = changes.changed() => return Ok(Left::Moved),
                () = tokio::time::sleep_until((counted + count_every).into()) => {
                    self.count().await;
                    self.tell_link();
                    counted = Instant::now();
                }
                (events, event) = &mut *polling => {
                    *polling = poll(events);
                    let event = event.map_err(|e| Trouble::connection(&e, hub))?;
                    self.mqtt(event, topic_down).await?;
                }
                changed = durable.changed() => {
                    if changed.is_err() {
                        return Err(Trouble::store(&StoreError::Stopped));
                    }
                    for held in self.store.held() {
                        self.step(Event::Durable(held)).await?;
                    }
                }
                () = sleep_until(self.started, wakeup) => self.step(Event::Tick).await?,
                done = join(&mut self.acking) => {
                    self.acking = None;
                    // Not written: the hub has them all the same, and says so again.
                    if let Err(error) = done {
                        tracing::warn!(%error, "an acknowledgement could not be written");
                    }
                }
            }
            self.start_acking();
            if self.queued < QUEUE_FRAMES_MAX / 2
                && let Some(wanted) = self.wanted.take()
            {
                let event = self.serve(wanted).await?;
                self.step(event).await?;
            }
        }
    }

    async fn mqtt(&mut self, event: MqttEvent, topic_down: &str) -> Result<(), Trouble> {
        match event {
            MqttEvent::Outgoing(Outgoing::Publish(_)) => {
                self.queued = self.queued.saturating_sub(1);
                Ok(())
            }
            MqttEvent::Incoming(Packet::SubAck(ack)) => {
                let refused = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Failure;
                if ack.return_codes.iter().any(refused) {
                    return Err(Trouble::new(format!(
                        "the hub refuses a subscription to {topic_down}"
                    )));
                }
                Ok(())
            }
            MqttEvent::Incoming(Packet::Publish(publish)) if publish.topic == topic_down => {
                self.link.count(0, publish.payload.len());
                self.meter.received(publish.payload.len());
                let received =
                    Received::decode(&publish.payload).map_err(|e| Trouble::frame(&e))?;
                if let Frame::Welcome(welcome) = &received.frame {
                    self.primer = received.primer;
                    self.clock.hub_said(welcome.at_ms);
                }
                self.step(Event::Frame(received.frame)).await
            }
            MqttEvent::Incoming(_) | MqttEvent::Outgoing(_) => Ok(()),
        }
    }

    /// Feeds the session, and does what it says: first what is to persist, durably, and only
    /// then what is to send.
    async fn step(&mut self, event: Event) -> Result<(), Trouble> {
        let pulse = self.link.pulse();
        let _busy = pulse.busy();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now_ms = elapsed_ms(self.started);
            let effects = self.session.step(now_ms, event);
            for persist in effects.persist {
                self.persist(persist).await?;
            }
            for send in effects.send {
                match send {
                    Send::Frame(frame) => {
                        self.publish(&frame)?;
                    }
                    Send::Range(wanted) if self.queued < QUEUE_FRAMES_MAX / 2 => {
                        events.push_back(self.serve(wanted).await?);
                    }
                    Send::Range(wanted) => self.wanted = Some(wanted),
                    Send::Close(why) => return Err(Trouble::closing(&why)),
                }
            }
        }
        if !self.link.is_online() && self.session.is_online() {
            self.link.online();
            self.tell_link();
        }
        Ok(())
    }

    async fn persist(&mut self, persist: Persist) -> Result<(), Trouble> {
        match persist {
            Persist::Acked(mark) => {
                self.acked.insert((mark.stream, mark.epoch), mark);
                self.start_acking();
                Ok(())
            }
            Persist::Down(batch) => {
                let unreadable = batch.arrived.iter().filter(|one| one.down == Down::Unreadable);
                let unreadable = unreadable.count() as u64 + batch.gone;
                if unreadable > 0 {
                    tracing::error!(
                        unreadable,
                        "records of the hub cannot be read by this version, or are gone"
                    );
                }
                self.store.apply_down(batch).await.map_err(|e| Trouble::store(&e))
            }
            Persist::Offer => self.store.offer().await.map_err(|e| Trouble::store(&e)),
            Persist::RolledBack(mark) => {
                self.store.rolled_back(mark).await.map_err(|e| Trouble::store(&e))
            }
        }
    }

    /// Reads the range and sends it.
    async fn serve(&mut self, wanted: Wanted) -> Result<Event, Trouble> {
        let Wanted { stream, epoch, first, end, bytes_max, floor } = wanted;
        self.count().await;
        let bytes_max = match self.over.uplink.grant(self.meter.pending()).await {
            Grant::Bytes(granted) => bytes_max.min(granted),
            Grant::At(at_ms) => {
                let pause_ms = elapsed_in(self.over.uplink.pause(at_ms)).max(1);
                return Ok(Event::Deferred { until_ms: elapsed_ms(self.started) + pause_ms });
            }
            // The change of link that follows from it ends this connection.
            Grant::Over => {
                return Ok(Event::Deferred { until_ms: elapsed_ms(self.started) + OVER_MS });
            }
        };
        let store = self.store.clone();
        // Coded, records are smaller than in the store: as many as fill a frame.
        let ratio = self.ratios.get(&stream).copied().unwrap_or(1);
        let bytes_max = bytes_max.saturating_mul(ratio).min(RANGE_BYTES_MAX);
        let read = move || store.read(stream, epoch, first, end, bytes_max);
        let read = tokio::task::spawn_blocking(read).await;
        let chunk = read.unwrap_or(Err(StoreError::Stopped)).map_err(|e| Trouble::store(&e))?;
        let mut records = chunk.records;
        records.truncate(BATCH_RECORDS_MAX);
        if records.is_empty() {
            return Ok(Event::Hole { next_held: chunk.next_held });
        }
        let end = first + records.len() as u64;
        let records = match stream {
            StreamId::Outcome => self.reporting.apply((epoch, first), records, self.over.way.class),
            StreamId::Escalation | StreamId::Event | StreamId::Answer => records,
        };
        let (plain, count) = (records.iter().map(Vec::len).sum::<usize>(), records.len());
        let bytes = self.publish(&Frame::Batch(Batch { stream, epoch, floor, first, records }))?;
        self.ratios.insert(stream, (plain / bytes).clamp(1, RATIO_MAX));
        self.over.uplink.sent(stream, count, bytes);
        self.store.sent(Position { stream, epoch, next: end });
        Ok(Event::Sent { end, bytes })
    }

    /// Tells the hub of the link, if that is news.
    fn tell_link(&self) {
        if let Some(report) = self.over.uplink.news() {
            let store = self.store.clone();
            tokio::spawn(async move {
                if let Err(error) = store.event(StoreEvent::Link(report)).await {
                    tracing::warn!(%error, "the hub is not told which link is used");
                }
            });
        }
    }

    /// Tells what went over the link since the last time, and how fast while records waited.
    async fn count(&mut self) {
        let bytes = self.meter.read();
        let busy = match (&mut self.busy, self.session.is_idle()) {
            (busy, true) => {
                *busy = None;
                None
            }
            (busy @ None, false) => {
                *busy = Some((Instant::now(), 0));
                None
            }
            (Some((since, total)), false) => {
                *total += bytes;
                let (total, ms) = (*total, elapsed_ms(*since));
                let whole = ms >= elapsed_in(COUNT_BUSY);
                whole.then(|| {
                    self.busy = Some((Instant::now(), 0));
                    (total, ms)
                })
            }
        };
        self.over.uplink.carried(self.over.way.link, bytes, busy).await;
    }

    fn publish(&mut self, frame: &Frame) -> Result<usize, Trouble> {
        // A greeting says that this side codes records; the welcome says whether the hub does.
        let payload = match frame {
            Frame::Hello(_) => frame.encode_coded(Primer::NEWEST),
            _ => frame.encode_for(self.primer),
        };
        let payload = payload.map_err(|e| Trouble::new(format!("cannot send: {e}")))?;
        let bytes = payload.len();
        self.client
            .try_publish(&self.topic_up, QoS::AtLeastOnce, false, payload)
            .map_err(|_| Trouble::new("the link is too slow for what is to be acknowledged"))?;
        self.queued += 1;
        self.meter.sent(bytes);
        self.link.count(bytes, 0);
        Ok(bytes)
    }

    /// Writes acknowledgements one after another, each stream's latest.
    fn start_acking(&mut self) {
        if self.acking.is_none()
            && let Some((_, mark)) = self.acked.pop_first()
        {
            let store = self.store.clone();
            self.acking = Some(tokio::spawn(async move { store.acked(mark).await }));
        }
    }

    async fn finish_acking(&mut self) {
        loop {
            self.start_acking();
            if self.acking.is_none() {
                return;
            }
            if let Err(error) = join(&mut self.acking).await {
                tracing::warn!(%error, "an acknowledgement could not be written");
            }
            self.acking = None;
        }
    }

    async fn goodbye(&mut self, mut polling: Polling) {
        self.finish_acking().await;
        if self.client.try_disconnect().is_err() {
            return;
        }
        let farewell = async {
            while let (events, Ok(event)) = polling.await {
                polling = poll(events);
                if event == MqttEvent::Outgoing(Outgoing::Disconnect) {
                    return;
                }
            }
        };
        // The hub copes with a connection that just ends.
        drop(tokio::time::timeout(GOODBYE, farewell).await);
    }
}

/// Until asked to stop, or nobody is left to ask.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn elapsed_ms(since: Instant) -> u64 {
    elapsed_in(since.elapsed())
}

fn elapsed_in(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(started: Instant, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => {
            let at = started + Duration::from_millis(at_ms);
            tokio::time::sleep_until(at.into()).await;
        }
        None => std::future::pending().await,
    }
}

/// The end of a write, or never if there is none.
async fn join(writing: &mut Option<JoinHandle<Result<(), StoreError>>>) -> Result<(), StoreError> {
    match writing {
        Some(handle) => handle.await.unwrap_or(Err(StoreError::Stopped)),
        None => std::future::pending().await,
    }
}
