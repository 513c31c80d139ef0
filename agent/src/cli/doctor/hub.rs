//! From the network to the hub's answer, step by step; the first that fails names what to mend.
//!
//! A hub lets each device in once and believes the newer connection: while the running agent is
//! connected, its word stands for the last steps. Otherwise they are taken, with a greeting that
//! brings nothing and takes nothing; the hub's books show the contact.

use super::Check;
use crate::config::Config;
use crate::http::StatusBody;
use crate::link::default_route;
use crate::sync::{Identity, Validity, split_address, told};
use axum::body::Bytes;
use landfall_wire::frame::{Frame, Hello};
use landfall_wire::limits::PACKET_BYTES_MAX;
use landfall_wire::topic::{Direction, topic};
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, Publish, Subscribe};
use rumqttc::mqttbytes::{self, QoS};
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The resolver tries several servers, several times.
const RESOLVE_MAX: Duration = Duration::from_secs(20);

/// For each address: five round trips of a satellite link, and its resends.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// For each answer of the hub: what the agent's own connection allows is twice this.
const ANSWER_MAX: Duration = Duration::from_secs(30);

const CHECK_NAME: &str = "check the name in bundle.toml (or hub.address), and the DNS server of \
                          this network";
const CHECK_WAY: &str = "check the link, that a firewall lets this port out, and that the hub runs";
const ENROLL: &str = "on the hub `landfall-hub devices` shows whether it is revoked; \
                      `landfall-hub enroll --renew` lets it in again";

pub(super) fn checks(
    config: &Config,
    identity: Option<&Identity>,
    status: Option<&StatusBody>,
    checks: &mut Vec<Check>,
) {
    checks.push(network());
    let (Some(hub), Some(identity)) = (&config.hub, identity) else { return };
    let hub = hub.address.as_deref().unwrap_or(&identity.hub);
    let link = status.and_then(|status| status.link.as_ref());
    let online = link.is_some_and(|link| link.state == "online");
    if let Err(check) = walk(hub, identity, online, checks) {
        checks.push(check);
    }
    if let Some(link) = link {
        let (up, down) = (link.bytes_up, link.bytes_down);
        let says = format!(
            "{} {}, {} connection(s) since the start, {up} bytes up, {down} down",
            link.hub, link.state, link.connections
        );
        checks.push(match (&link.last_error, online) {
            (Some(error), false) => {
                let (what, remedy) = error.split_once(" (remedy: ").unwrap_or((error, ""));
                let remedy = remedy.trim_end_matches(')');
                let remedy =
                    if remedy.is_empty() { "none needed: it is tried again" } else { remedy };
                Check::warning("link", format!("{says}; {what}"), remedy)
            }
            (_, _) => Check::ok("link", says),
        });
    }
}

/// Interfaces that are up, and whether there is a way out.
fn network() -> Check {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let up = entries.filter(|entry| {
        let state = std::fs::read_to_string(entry.path().join("operstate")).unwrap_or_default();
        // A tunnel does not know whether it is up.
        entry.file_name() != "lo" && ["up", "unknown"].contains(&state.trim())
    });
    let mut up: Vec<String> =
        up.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    up.sort();
    let out = default_route();
    let remedy = "check the cable or the modem; records wait in the store meanwhile";
    match (up.is_empty(), out) {
        (true, _) => Check::warning("network", "no interface is up", remedy),
        (false, None) => {
            let says = format!("{} up, no default route", up.join(", "));
            Check::note("network", says)
        }
        (false, Some(out)) => {
            Check::ok("network", format!("{} up, the way out is {out}", up.join(", ")))
        }
    }
}

/// The steps; the one that fails ends them.
fn walk(
    hub: &str,
    identity: &Identity,
    online: bool,
    checks: &mut Vec<Check>,
) -> Result<(), Check> {
    let (host, port) = split_address(hub).map_err(|e| Check::failed("hub name", e, CHECK_NAME))?;
    let addresses = resolve(host, port)?;
    let shown: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
    checks.push(Check::ok("hub name", format!("{host} is {}", shown.join(", "))));
    let (stream, took) = connect(hub, &addresses)?;
    let at = stream.peer_addr().map_or_else(|_| hub.to_owned(), |at| at.to_string());
    checks.push(Check::ok("hub port", format!("{at} answers in {} ms", took.as_millis())));
    let mut stream = handshake(hub, host, identity, stream)?;
    checks.push(certificate(&stream));
    if online {
        let says =
            "the running agent is let in and greeted; not asked again, which would cut it off";
        checks.push(Check::ok("hub", says));
        return Ok(());
    }
    let mut talk = Talk { stream: &mut stream, hub, bytes: Vec::new() };
    talk.let_in(identity)?;
    checks.push(Check::ok("hub door", "lets the device in (MQTT)"));
    checks.push(talk.greet(identity)?);
    Ok(())
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Check> {
    let (to, found) = mpsc::channel();
    let asked = host.to_owned();
    // The system's resolver knows no time limit; a thread that hangs ends with this process.
    std::thread::spawn(move || {
        let addresses = (asked.as_str(), port).to_socket_addrs();
        // Nobody may be waiting any more.
        let _late = to.send(addresses.map(Iterator::collect::<Vec<_>>));
    });
    match found.recv_timeout(RESOLVE_MAX) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(Check::failed("hub name", format!("{host} has no address"), CHECK_NAME)),
        Ok(Err(error)) => {
            Err(Check::failed("hub name", format!("{host} is not known: {error}"), CHECK_NAME))
        }
        Err(_) => {
            let says = format!("{host}: no answer in {} s", RESOLVE_MAX.as_secs());
            Err(Check::failed("hub name", says, CHECK_NAME))
        }
    }
}

fn connect(hub: &str, addresses: &[SocketAddr]) -> Result<(TcpStream, Duration), Check> {
    let mut last = String::new();
    for address in addresses {
        let started = Instant::now();
        match TcpStream::connect_timeout(address, CONNECT_MAX) {
            Ok(stream) => return Ok((stream, started.elapsed())),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(Check::failed("hub port", format!("{hub} cannot be reached: {last}"), CHECK_WAY))
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn handshake(
    hub: &str,
    host: &str,
    identity: &Identity,
    mut stream: TcpStream,
) -> Result<Stream, Check> {
    let failed = |error: io::Error| {
        let (says, remedy) = told(error, hub);
        Check::failed("hub TLS", says, remedy)
    };
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(failed)?;
    stream.set_write_timeout(Some(ANSWER_MAX)).map_err(failed)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other).map_err(failed)?;
    let connection = ClientConnection::new(identity.tls.clone(), name);
    let mut connection = connection.map_err(io::Error::other).map_err(failed)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(failed)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn certificate(stream: &Stream) -> Check {
    let version =
        stream.conn.protocol_version().map_or("TLS", |version| version.as_str().unwrap_or("TLS"));
    let first = stream.conn.peer_certificates().and_then(|chain| chain.first());
    let until = first
        .and_then(Validity::of)
        .map_or_else(|| "unknown".to_owned(), |valid| super::super::shown_time(valid.until_ms));
    Check::ok("hub TLS", format!("it proves that it is the hub ({version}), until {until}"))
}

/// What is said over a connection that both have proved themselves on.
struct Talk<'a> {
    stream: &'a mut Stream,
    hub: &'a str,
    bytes: Vec<u8>,
}

impl Talk<'_> {
    fn let_in(&mut self, identity: &Identity) -> Result<(), Check> {
        let failed = |hub: &str, error: io::Error| {
            let (says, remedy) = told(error, hub);
            Check::failed("hub door", says, remedy)
        };
        let mut connect = Connect::new(identity.device.as_str());
        connect.keep_alive = 60;
        connect.clean_session = true;
        self.send(&Packet::Connect(connect)).map_err(|e| failed(self.hub, e))?;
        match self.packet().map_err(|e| failed(self.hub, e))? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(()),
            Packet::ConnAck(ack) => {
                let says = format!("{} does not let the device in: {:?}", self.hub, ack.code);
                Err(Check::failed("hub door", says, ENROLL))
            }
            other => {
                let says = format!("{} answers with {other:?}", self.hub);
                Err(Check::failed("hub door", says, CHECK_WAY))
            }
        }
    }

    /// Greets with no stream at all, and waits for the welcome.
    fn greet(&mut self, identity: &Identity) -> Result<Check, Check> {
        let silent = "the way to the hub is open, but the hub itself is silent: behind a broker, \
                      check that the hub runs and is connected to it (its page says so)";
        let started = Instant::now();
        let (at_ms, elapsed) = self.greeted(identity, started).map_err(|error| {
            let says = format!("the greeting was not answered: {error}");
            Check::failed("hub", says, silent)
        })?;
        let (hub, ms) = (super::super::shown_time(at_ms), elapsed.as_millis());
        Ok(Check::ok("hub", format!("answers the greeting in {ms} ms; its time is {hub}")))
    }

    fn greeted(&mut self, identity: &Identity, started: Instant) -> io::Result<(u64, Duration)> {
        let down = topic(&identity.device, Direction::Down);
        let mut subscribe = Subscribe::new(down, QoS::AtMostOnce);
        subscribe.pkid = 1;
        self.send(&Packet::Subscribe(subscribe))?;
        let version = format!("{} doctor", crate::VERSION);
        let hello =
            Hello { version, at_ms: crate::stamp::wall_ms(), up: Vec::new(), answers: None };
        let payload = Frame::Hello(hello).encode().map_err(io::Error::other)?;
        let up = topic(&identity.device, Direction::Up);
        self.send(&Packet::Publish(Publish::new(up, QoS::AtMostOnce, payload)))?;
        while started.elapsed() < ANSWER_MAX {
            let Packet::Publish(publish) = self.packet()? else { continue };
            let frame = Frame::decode(&publish.payload).map_err(io::Error::other)?;
            if let Frame::Welcome(welcome) = frame {
                let elapsed = started.elapsed();
                // The hub copes with a connection that just ends.
                let _gone = self.send(&Packet::Disconnect);
                return Ok((welcome.at_ms, elapsed));
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        // A `BytesMut`, whose crate is not named here.
        let mut bytes = Default::default();
        packet.write(&mut bytes, PACKET_BYTES_MAX).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)?;
        self.stream.flush()
    }

    fn packet(&mut self) -> io::Result<Packet> {
        let mut chunk = [0; 4096];
        loop {
            match mqttbytes::check(self.bytes.iter(), PACKET_BYTES_MAX) {
                Ok(header) => {
                    let length = header.frame_length();
                    let mut packet = Bytes::copy_from_slice(&self.bytes[..length]).into();
                    self.bytes.drain(..length);
                    let packet = Packet::read(&mut packet, PACKET_BYTES_MAX);
                    return packet.map_err(io::Error::other);
                }
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
