//! From a TCP connection to a known device: TLS, the books, CONNECT.

use super::codec::{Input, encode};
use super::connection::{Connection, Ended};
use super::tls::{Guest, Tls};
use super::{Shared, enroll, limits};
use crate::database::commands::{Problem, ProblemKind};
use crate::database::queries::{self, Admission};
use crate::exchange::{Halt, Place, contact, count, tell as tell_halt};
use crate::hub::now_ms;
use crate::identity::peer;
use rumqttc::mqttbytes::Protocol;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;

/// A device that may go on.
pub(super) struct Admitted {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) input: Input,
    pub(super) connect: Connect,
    pub(super) place: Place,
    /// Row of the device.
    pub(super) device: i64,
}

/// Serves one TCP connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Tls,
    shared: Arc<Shared>,
    handshake: OwnedSemaphorePermit,
) {
    // Acknowledgements are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let opening = open(stream, &acceptor, &shared);
    let admitted = match tokio::time::timeout(limits::HANDSHAKE_MAX, opening).await {
        Ok(Ok(Opened::Device(admitted))) => *admitted,
        Ok(Ok(Opened::Stranger(stream))) => {
            enroll::serve(*stream, address, &shared).await;
            return;
        }
        Ok(Err(reason)) => {
            tracing::info!(%address, reason, "a connection was not let in");
            return;
        }
        Err(_) => {
            count(&shared.exchange.counters.handshakes_failed);
            tracing::info!(%address, "a connection took too long to say who it is");
            return;
        }
    };
    drop(handshake);
    run(admitted, address, shared).await;
}

async fn run(admitted: Admitted, address: SocketAddr, shared: Arc<Shared>) {
    let (device, name) = (admitted.device, admitted.place.name().clone());
    if admitted.place.took_over {
        count(&shared.exchange.counters.takeovers);
        tracing::warn!(device = %name, %address, "a second connection of the device takes over");
    }
    tracing::info!(device = %name, %address, "device connected");
    contact(&shared.exchange, device, true).await;
    // A task of its own: a panic ends there, and is told here.
    let connection = Connection::new(admitted, Arc::clone(&shared));
    let (why, last) = match tokio::spawn(connection.run()).await {
        Ok((place, ended)) => (ended, place.is_current()),
        Err(error) => (Ended::Halted(Halt::Bug(error.to_string())), true),
    };
    tell(&why, &name, &shared);
    if last {
        contact(&shared.exchange, device, false).await;
    }
    if let Some((kind, detail)) = why.problem() {
        let problem = Problem { device: Some(device), kind, detail, now_ms: now_ms() };
        let _ = shared.exchange.database.submit(problem).await;
    }
}

fn tell(why: &Ended, device: &landfall_wire::id::DeviceId, shared: &Shared) {
    match why {
        Ended::Halted(halt) => tell_halt(halt, device),
        Ended::Silent | Ended::Slow => {
            count(&shared.exchange.counters.timeouts);
            tracing::info!(%device, reason = %why, "device disconnected");
        }
        Ended::Left | Ended::Lost(_) => {
            tracing::info!(%device, reason = %why, "device disconnected");
        }
        Ended::Protocol(_) | Ended::Refused(_) => {
            tracing::warn!(%device, reason = %why, "device disconnected for what it sent");
        }
    }
}

/// Who came in.
enum Opened {
    Device(Box<Admitted>),
    Stranger(Box<TlsStream<TcpStream>>),
}

/// The handshakes; on refusal the reason in words.
async fn open(stream: TcpStream, acceptor: &Tls, shared: &Shared) -> Result<Opened, String> {
    let guest = acceptor.accept(stream).await.map_err(|error| {
        count(&shared.exchange.counters.handshakes_failed);
        format!("TLS: {error}")
    })?;
    match guest {
        Guest::Device(stream) => {
            admit(stream, shared).await.map(|admitted| Opened::Device(Box::new(admitted)))
        }
        Guest::Stranger(stream) => Ok(Opened::Stranger(Box::new(stream))),
    }
}

async fn admit(mut stream: TlsStream<TcpStream>, shared: &Shared) -> Result<Admitted, String> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or("no client certificate")?;
    let peer = peer(certificate).map_err(|error| format!("client certificate: {error}"))?;
    let mut input = Input::default();
    let connect = read_connect(&mut stream, &mut input).await?;
    let (name, serial) = (peer.device.clone(), peer.serial.clone());
    let admission = shared
        .exchange
        .database
        .read(move |connection| queries::admission(connection, &name, &serial))
        .await;
    let (code, device, reason) = match admission {
        Ok(Admission::Granted(id)) if connect.protocol == Protocol::V4 => {
            (ConnectReturnCode::Success, Some(id), String::new())
        }
        Ok(Admission::Granted(id)) => (
            ConnectReturnCode::RefusedProtocolVersion,
            Some(id),
            "it does not speak MQTT 3.1.1".to_owned(),
        ),
        Ok(Admission::Revoked(id)) => {
            (ConnectReturnCode::NotAuthorized, Some(id), "it is revoked".to_owned())
        }
        Ok(Admission::NotEnrolled) => {
            let reason = "its certificate is not in the hub's books".to_owned();
            (ConnectReturnCode::NotAuthorized, None, reason)
        }
        Err(error) => (ConnectReturnCode::ServiceUnavailable, None, error.to_string()),
    };
    let answer = encode(&Packet::ConnAck(ConnAck::new(code, false))).map_err(|e| e.to_string())?;
    if let (ConnectReturnCode::Success, Some(device)) = (code, device) {
        // In place before the device can hear that it is in, so that none of it goes unseen.
        let place = shared.exchange.registry.enter(&peer.device, device, Some(&peer.serial));
        send(&mut stream, &answer).await?;
        return Ok(Admitted { stream, input, connect, place, device });
    }
    count(&shared.exchange.counters.not_admitted);
    let detail = format!("{} was refused: {reason}", peer.device);
    let problem =
        Problem { device, kind: ProblemKind::Connection, detail: detail.clone(), now_ms: now_ms() };
    let _ = shared.exchange.database.submit(problem).await;
    send(&mut stream, &answer).await?;
    let _ = stream.shutdown().await;
    Err(detail)
}

async fn send(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())
}

async fn read_connect(
    stream: &mut TlsStream<TcpStream>,
    input: &mut Input,
) -> Result<Connect, String> {
    let mut chunk = [0; limits::CONNECT_BYTES_MAX];
    loop {
        if !input.may_be_connect() {
            return Err("the first packet is not CONNECT".to_owned());
        }
        match input.packet(limits::CONNECT_BYTES_MAX) {
            Ok(Some(Packet::Connect(connect))) => return Ok(connect),
            Ok(Some(_)) => return Err("the first packet is not CONNECT".to_owned()),
            Ok(None) => {}
            Err(error) => return Err(format!("not MQTT: {error}")),
        }
        match stream.read(&mut chunk).await {
            Ok(0) => return Err("closed before CONNECT".to_owned()),
            Ok(count) => input.push(&chunk[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
}
