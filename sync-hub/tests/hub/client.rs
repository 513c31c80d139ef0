//! A tiny device: rumqttc, real TLS, and frames by hand.

use crate::process::{DEADLINE, Hub};
use landfall_wire::frame::{Batch, Frame, Hello, Position, Welcome};
use landfall_wire::id::{Confidence, Epoch, ShortDigest, Ticket};
use landfall_wire::limits::PACKET_BYTES_MAX;
use landfall_wire::record::{
    Decision, Escalation, EscalationReason, Event as DeviceEvent, Masking, Mechanism, Outcome,
    Read, Record, RedactedText, StreamId, TaskKind, Verdict,
};
use rumqttc::mqttbytes::v4::Packet;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, QoS, TlsConfiguration, Transport,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// TLS as a device does it; without an identity if `with_identity` is false.
pub(crate) fn tls(identity: &Path, with_identity: bool) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(identity.join("ca.pem")).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    if !with_identity {
        return builder.with_no_client_auth();
    }
    let certificate = CertificateDer::from_pem_file(identity.join("device.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(identity.join("device.key")).unwrap();
    builder.with_client_auth_cert(vec![certificate], key).unwrap()
}

/// A TLS connection without MQTT, for what no client would send.
pub(crate) async fn raw(hub: &Hub, name: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
    raw_at(hub.mqtt(), hub, name).await
}

/// The same at another address of the hub.
pub(crate) async fn raw_at(
    address: SocketAddr,
    hub: &Hub,
    name: &str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let config = Arc::new(tls(&hub.identity(name), true));
    let stream = TcpStream::connect(address).await.unwrap();
    let server = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(config).connect(server, stream).await.unwrap()
}

pub(crate) struct Device {
    pub(crate) name: String,
    client: AsyncClient,
    events: EventLoop,
    pub(crate) pubacks: usize,
}

impl Device {
    /// Starts a connection with the identity in a directory; nothing has happened yet.
    pub(crate) fn with_identity(hub: &Hub, name: &str, config: rustls::ClientConfig) -> Device {
        Device::at(hub.mqtt(), name, config)
    }

    fn at(address: SocketAddr, name: &str, config: rustls::ClientConfig) -> Device {
        let mut options = MqttOptions::new(name, "127.0.0.1", address.port());
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(config))));
        options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, events) = AsyncClient::new(options, 64);
        Device { name: name.to_owned(), client, events, pubacks: 0 }
    }

    /// Connects and subscribes.
    pub(crate) async fn connect(hub: &Hub, name: &str) -> Device {
        Device::through(hub.mqtt(), name, tls(&hub.identity(name), true)).await
    }

    /// The same at the hub or its broker.
    pub(crate) async fn through(
        address: SocketAddr,
        name: &str,
        config: rustls::ClientConfig,
    ) -> Device {
        let mut device = Device::at(address, name, config);
        device.client.subscribe(device.topic("down"), QoS::AtLeastOnce).await.unwrap();
        loop {
            if let Packet::SubAck(_) = device.packet().await.expect("the hub lets it in") {
                return device;
            }
        }
    }

    /// Connects, subscribes and greets.
    pub(crate) async fn greeted(hub: &Hub, name: &str, up: Vec<Position>) -> (Device, Welcome) {
        let mut device = Device::connect(hub, name).await;
        let welcome = device.greet(up, None).await;
        (device, welcome)
    }

    pub(crate) async fn greet(&mut self, up: Vec<Position>, answers: Option<Position>) -> Welcome {
        let hello = Hello { version: "test".into(), at_ms: 1_780_000_000_000, up, answers };
        self.send(&Frame::Hello(hello)).await;
        match self.frame().await {
            Frame::Welcome(welcome) => welcome,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    pub(crate) fn topic(&self, direction: &str) -> String {
        format!("landfall/1/{}/{direction}", self.name)
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.publish(&self.topic("up"), frame.encode().unwrap()).await;
    }

    pub(crate) async fn publish(&mut self, topic: &str, payload: Vec<u8>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) {
        self.client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
    }

    /// The next packet from the hub.
    pub(crate) async fn packet(&mut self) -> Result<Packet, ConnectionError> {
        let next = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await? {
                    return Ok::<_, ConnectionError>(packet);
                }
            }
        };
        let packet = timeout(DEADLINE, next).await.expect("a packet or an end in time")?;
        self.pubacks += usize::from(matches!(packet, Packet::PubAck(_)));
        Ok(packet)
    }

    /// The next frame from the hub, if one comes in time.
    pub(crate) async fn frame_within(&mut self, within: Duration) -> Option<Frame> {
        let next = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap()
                {
                    return Frame::decode(&publish.payload).unwrap();
                }
            }
        };
        timeout(within, next).await.ok()
    }

    /// The next frame from the hub.
    pub(crate) async fn frame(&mut self) -> Frame {
        loop {
            if let Packet::Publish(publish) = self.packet().await.expect("still connected") {
                assert_eq!(publish.topic, self.topic("down"));
                return Frame::decode(&publish.payload).unwrap();
            }
        }
    }

    /// Waits until the hub acknowledges everything below `next`.
    pub(crate) async fn acked(&mut self, stream: StreamId, next: u64) {
        loop {
            match self.frame().await {
                Frame::Ack(position) if position.stream == stream && position.next >= next => {
                    assert_eq!(position.next, next);
                    return;
                }
                Frame::Ack(_) => {}
                other => panic!("not an acknowledgement: {other:?}"),
            }
        }
    }

    /// Waits until the hub ends the connection.
    pub(crate) async fn ended(&mut self) -> ConnectionError {
        loop {
            if let Err(error) = self.packet().await {
                return error;
            }
        }
    }

    /// Sends what is queued, without waiting for what it leads to.
    pub(crate) async fn flush(&mut self) {
        loop {
            match timeout(DEADLINE, self.events.poll()).await.expect("in time").unwrap() {
                Event::Outgoing(rumqttc::Outgoing::Publish(_)) => return,
                Event::Outgoing(_) | Event::Incoming(_) => {}
            }
        }
    }
}

pub(crate) const EPOCH: Epoch = Epoch(0xabcd);

pub(crate) fn at(stream: StreamId, next: u64) -> Position {
    Position { stream, epoch: EPOCH, next }
}

pub(crate) fn outcome(seq: u64, text: &str) -> Record {
    Record::Outcome(Outcome {
        task: "failure-mode".parse().unwrap(),
        caller_id: Some(format!("wo-{seq}")),
        at_ms: 1_780_000_000_000 + seq,
        mechanism: Mechanism::Model,
        verdict: Verdict::Answered,
        decision: Some(Decision::Label("Leaking".into())),
        confidence: Confidence::from_basis_points(9_100),
        package: ShortDigest::default(),
        config: ShortDigest::default(),
        decide_us: 1_900,
        read: Some(Read { words: 3, words_blank: 0, pieces: 5, windows: 1 }),
        fields_left_out: 0,
        masking: Some(Masking::PatternsAndModel { spans: 0 }),
        text: Some(RedactedText::new(text)),
        meta: vec![("asset".into(), "P-101".into())],
    })
}

pub(crate) fn escalation(task: &str, text: &str) -> Record {
    Record::Escalation(Escalation {
        outcome_seq: 0,
        task: task.parse().unwrap(),
        at_ms: 1_780_000_000_000,
        reason: EscalationReason::LowConfidence,
        text: Some(RedactedText::new(text)),
        provisional: Some(Decision::Label("Leaking".into())),
        candidates: vec![("Leaking".into(), Confidence::from_basis_points(4_000))],
        meta: vec![],
        ttl_secs: 3_600,
    })
}

pub(crate) fn task(name: &str, kind: TaskKind, labels: &[&str]) -> Record {
    Record::Event(DeviceEvent::Task {
        task: name.parse().unwrap(),
        kind,
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        package: "maintenance 0.1.0".into(),
    })
}

pub(crate) fn expired(seq: u64) -> Record {
    Record::Event(DeviceEvent::Expired { ticket: Ticket { epoch: EPOCH, seq } })
}

pub(crate) fn batch(stream: StreamId, first: u64, records: &[Record]) -> Frame {
    let records = records.iter().map(|record| record.encode().unwrap()).collect();
    raw_batch(stream, first, records)
}

pub(crate) fn raw_batch(stream: StreamId, first: u64, records: Vec<Vec<u8>>) -> Frame {
    Frame::Batch(Batch { stream, epoch: EPOCH, floor: 0, first, records })
}

/// Outcomes `first..end`, each with its own text.
pub(crate) fn outcomes(first: u64, end: u64) -> Frame {
    let records: Vec<Record> =
        (first..end).map(|seq| outcome(seq, &format!("pump {seq} leaks"))).collect();
    batch(StreamId::Outcome, first, &records)
}
