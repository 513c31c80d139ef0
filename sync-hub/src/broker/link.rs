//! One connection to the broker: rumqttc carries frames between it and the seats.
//!
//! rumqttc keeps nothing over a reconnect, so each connection has a fresh client, and the seats
//! end with it. The loop waits for nothing but the network and the next frame to send; seats
//! wait for room in `outgoing`, never the other way round.

use super::seats::Seats;
use super::trouble::Trouble;
use super::{BrokerConfig, limits, stopped};
use crate::database::queries;
use crate::exchange::{Exchange, add};
use landfall_wire::frame::Frame;
use landfall_wire::id::DeviceId;
use landfall_wire::limits::PACKET_BYTES_MAX;
use landfall_wire::topic::{Direction, topic};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What every device sends, divided among the hubs that subscribe to the same.
const EVERY_UP: &str = "$share/hub/landfall/1/+/up";

/// How a connection ended.
pub(super) enum Ended {
    /// The hub was asked to stop.
    Stopped,
    /// It failed.
    Failed(Trouble),
}

/// What the MQTT client told.
type Happened = mpsc::Receiver<Result<Event, ConnectionError>>;

/// A frame for a device.
pub(super) type Letter = (DeviceId, Vec<u8>);

struct Link<'a> {
    exchange: &'a Arc<Exchange>,
    client: AsyncClient,
    seats: Seats,
    /// For seats and calls.
    sender: mpsc::Sender<Letter>,
    outgoing: mpsc::Receiver<Letter>,
    /// Frames that rumqttc has not written yet.
    queued: usize,
    calls: JoinSet<()>,
}

/// Connects and carries until the connection fails or the hub stops; `online` is called once the
/// subscription stands.
pub(super) async fn run(
    config: &BrokerConfig,
    exchange: &Arc<Exchange>,
    online: impl Fn(),
    stop: &mut watch::Receiver<bool>,
) -> Ended {
    let (client, mut events) = client(config);
    // Never cancelled in favour of other work while connecting, only to give it up for good.
    let connected = tokio::select! {
        event = events.poll() => event,
        () = stopped(stop) => return Ended::Stopped,
    };
    if let Err(error) = connected {
        return Ended::Failed(Trouble::connection(&error, &config.address));
    }
    if client.try_subscribe(EVERY_UP, QoS::AtLeastOnce).is_err() {
        return Ended::Failed(Trouble::new("the MQTT client takes no request"));
    }
    let (sender, outgoing) = mpsc::channel(limits::OUTGOING_MAX);
    let seats = Seats::new(Arc::clone(exchange), sender.clone());
    let calls = JoinSet::new();
    let mut link = Link { exchange, client, seats, sender, outgoing, queued: 0, calls };
    let (tell, mut happened) = mpsc::channel(limits::EVENTS_MAX);
    // Aborted when it is dropped.
    let mut polling = JoinSet::new();
    polling.spawn(poll(events, tell));
    let ended = link.carry(&mut happened, online, config, stop).await;
    let Link { client, seats, outgoing, .. } = link;
    drop(outgoing);
    seats.end().await;
    if matches!(ended, Ended::Stopped) {
        goodbye(&client, &mut happened).await;
    }
    ended
}

/// Polls in a task of its own and tells what happens, until an error or until nobody listens. A poll
/// is never dropped for other work: rumqttc counts a packet as sent before it is written, and a
/// poll that is dropped while the link takes nothing loses it.
async fn poll(mut events: EventLoop, tell: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = events.poll().await;
        let is_over = event.is_err();
        if tell.send(event).await.is_err() || is_over {
            return;
        }
    }
}

fn client(config: &BrokerConfig) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(&config.user, config.address.host(), config.address.port());
    options
        .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config.tls.clone())))
        .set_keep_alive(limits::KEEP_ALIVE)
        .set_clean_session(true)
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, limits::OUTGOING_MAX);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(limits::CONNECTION_TIMEOUT_SECS);
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}

impl Link<'_> {
    async fn carry(
        &mut self,
        happened: &mut Happened,
        online: impl Fn(),
        config: &BrokerConfig,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended {
        // Far off until the subscription stands.
        let mut next_call = None;
        loop {
            let may_send = self.queued < limits::OUTGOING_MAX;
            tokio::select! {
                () = stopped(stop) => return Ended::Stopped,
                event = happened.recv() => match event {
                    Some(Ok(Event::Incoming(Packet::SubAck(ack)))) => {
                        if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                            return Ended::Failed(Trouble::subscription(EVERY_UP));
                        }
                        online();
                        next_call = Some(Instant::now());
                    }
                    Some(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                        add(&self.exchange.counters.bytes_received, publish.payload.len());
                        self.seats.deliver(&publish.topic, publish.payload);
                    }
                    Some(Ok(Event::Outgoing(Outgoing::Publish(_)))) => {
                        self.queued = self.queued.saturating_sub(1);
                    }
                    Some(Ok(Event::Incoming(_) | Event::Outgoing(_))) => {}
                    Some(Err(error)) => {
                        return Ended::Failed(Trouble::connection(&error, &config.address));
                    }
                    None => return Ended::Failed(Trouble::new("the MQTT client stopped")),
                },
                Some(letter) = self.outgoing.recv(), if may_send => {
                    if let Err(trouble) = self.post(letter) {
                        return Ended::Failed(trouble);
                    }
                }
                () = self.seats.somebody_left() => {}
                names = self.exchange.orphans.next(), if next_call.is_some() => self.call(names),
                () = sleep_until(next_call) => {
                    next_call = Some(Instant::now() + limits::CALL_AFTER);
                    self.call_the_roll();
                }
            }
        }
    }

    /// Quality of service 0: what counts is the device's own acknowledgement after its commit,
    /// and the stream is sent again without it.
    fn post(&mut self, (device, payload): Letter) -> Result<(), Trouble> {
        add(&self.exchange.counters.bytes_sent, payload.len());
        self.client
            .try_publish(topic(&device, Direction::Down), QoS::AtMostOnce, false, payload)
            .map_err(|_| Trouble::new("the MQTT client takes no publication"))?;
        self.queued += 1;
        Ok(())
    }

    /// Calls every device that is not here.
    fn call_the_roll(&mut self) {
        while self.calls.try_join_next().is_some() {}
        self.seats.roll_called();
        let (here, sender) = (self.seats.names(), self.sender.clone());
        let database = self.exchange.database.clone();
        // Another hub calls those who are with it.
        let only_without_hub = self.exchange.shared.frames;
        self.calls.spawn(async move {
            let names = database.read(move |it| queries::valid_devices(it, only_without_hub)).await;
            let names = match names {
                Ok(names) => names,
                Err(error) => return tracing::warn!(%error, "the devices cannot be called"),
            };
            let names = names.iter().filter_map(|name| name.parse::<DeviceId>().ok());
            send_calls(names.filter(|name| !here.contains(name)), &sender).await;
        });
    }

    /// Calls these.
    fn call(&mut self, names: Vec<DeviceId>) {
        let sender = self.sender.clone();
        self.calls.spawn(async move { send_calls(names.into_iter(), &sender).await });
    }
}

async fn send_calls(names: impl Iterator<Item = DeviceId>, sender: &mpsc::Sender<Letter>) {
    let Ok(call) = Frame::RollCall.encode() else { return };
    for name in names {
        if sender.send((name, call.clone())).await.is_err() {
            return;
        }
    }
}

async fn goodbye(client: &AsyncClient, happened: &mut Happened) {
    if client.try_disconnect().is_err() {
        return;
    }
    let farewell = async {
        while let Some(Ok(event)) = happened.recv().await {
            if event == Event::Outgoing(Outgoing::Disconnect) {
                return;
            }
        }
    };
    // The broker copes with a connection that just ends.
    let _ = tokio::time::timeout(limits::GOODBYE_MAX, farewell).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
