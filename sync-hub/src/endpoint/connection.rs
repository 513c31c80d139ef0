//! One device's connection, after it was let in: one task, one loop.
//!
//! It carries bytes: publications go to the [`Conversation`], what that says goes into `output`,
//! PUBACKs of what is committed with it. Nothing here waits on another connection.

use super::codec::{Input, encode, publication};
use super::gate::Admitted;
use super::{Shared, limits};
use crate::database::commands::ProblemKind;
use crate::exchange::{Conversation, Halt, Place, Said, add};
use landfall_wire::limits::PACKET_BYTES_MAX;
use landfall_wire::topic::{Direction, topic};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
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
    /// The conversation over it cannot go on.
    Halted(Halt),
}

impl From<Halt> for Ended {
    fn from(halt: Halt) -> Ended {
        Ended::Halted(halt)
    }
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
            Ended::Halted(halt) => write!(f, "{halt}"),
        }
    }
}

impl Ended {
    /// What is to be counted and shown of it.
    pub(super) fn problem(&self) -> Option<(ProblemKind, String)> {
        match self {
            Ended::Protocol(_) => Some((ProblemKind::Malformed, self.to_string())),
            Ended::Refused(_) => Some((ProblemKind::Refused, self.to_string())),
            Ended::Halted(halt) => halt.problem(),
            Ended::Left | Ended::Lost(_) | Ended::Silent | Ended::Slow => None,
        }
    }
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    topic_up: String,
    topic_down: String,
    conversation: Conversation,
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    input: Input,
    output: Output,
    subscribed: bool,
    silence_max: Duration,
    heard: Instant,
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
        let bytes = encode(packet).map_err(|error| Halt::Bug(error.to_string()))?;
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
        let Admitted { stream, input, connect, place, device } = admitted;
        let (reader, writer) = tokio::io::split(stream);
        let asked = if connect.keep_alive == 0 { u16::MAX } else { connect.keep_alive };
        let keep_alive = Duration::from_secs(asked.min(limits::KEEP_ALIVE_SECS_MAX).into());
        Connection {
            topic_up: topic(place.name(), Direction::Up),
            topic_down: topic(place.name(), Direction::Down),
            conversation: Conversation::new(Arc::clone(&shared.exchange), place, device),
            shared,
            reader,
            writer,
            input,
            output: Output::default(),
            subscribed: false,
            silence_max: keep_alive.mul_f32(1.5),
            heard: Instant::now(),
        }
    }

    /// Serves until the end; the place is given back, so that it outlives the last word.
    pub(super) async fn run(mut self) -> (Place, Ended) {
        let why = match self.serve().await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        let _ = tokio::time::timeout(limits::GOODBYE_MAX, async {
            self.writer.write_all(self.output.waiting()).await?;
            self.writer.shutdown().await
        })
        .await;
        (self.conversation.end(), why)
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut chunk = vec![0; READ_BYTES];
        self.packets().await?;
        loop {
            let may_read = self.conversation.has_room()
                && self.output.waiting().len() < limits::OUTPUT_BYTES_MAX;
            let deadline = self.deadline();
            // Every arm is cancel-safe; what it yields is handled after the choice.
            tokio::select! {
                biased;
                news = self.conversation.next() => {
                    let said = self.conversation.hear(news?).await?;
                    self.say(said)?;
                }
                written = write(&mut self.writer, &mut self.output), if self.output.has_work() => {
                    add(&self.shared.exchange.counters.bytes_sent, written.map_err(Ended::Lost)?);
                }
                read = self.reader.read(&mut chunk), if may_read => {
                    let count = read.map_err(Ended::Lost)?;
                    if count == 0 {
                        return Err(Ended::Left);
                    }
                    add(&self.shared.exchange.counters.bytes_received, count);
                    self.heard = Instant::now();
                    self.input.push(&chunk[..count]);
                    self.packets().await?;
                }
                () = tokio::time::sleep_until(deadline) => self.overdue(may_read)?,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let silent = self.heard + self.silence_max;
        let stalled = self.output.progress.map(|at| at + limits::OUTPUT_STALL_MAX);
        stalled.map_or(silent, |stalled| stalled.min(silent))
    }

    fn overdue(&mut self, may_read: bool) -> Result<(), Ended> {
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
                    self.subscribed &= !unsubscribe.topics.contains(&self.topic_down);
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

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), Ended> {
        let own = &self.topic_down;
        let foreign = subscribe.filters.iter().find(|filter| filter.path != *own);
        let code = |is_own| match is_own {
            true => SubscribeReasonCode::Success(QoS::AtMostOnce),
            false => SubscribeReasonCode::Failure,
        };
        let codes = subscribe.filters.iter().map(|filter| code(filter.path == *own)).collect();
        self.output.push(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)))?;
        if let Some(foreign) = foreign {
            let path: String = foreign.path.chars().take(80).collect();
            return Err(Ended::Refused(format!("a subscription to '{path}'")));
        }
        self.subscribed = true;
        Ok(())
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Ended> {
        if publish.topic != self.topic_up {
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
        let said = self.conversation.take(&publish.payload, packet_id).await?;
        self.say(said)
    }

    fn say(&mut self, said: Said) -> Result<(), Ended> {
        if let Some(packet_id) = said.receipt {
            self.output.push(&Packet::PubAck(PubAck::new(packet_id)))?;
        }
        for payload in said.payloads {
            // As any broker: who has not subscribed is not told. The device sends again.
            if self.subscribed {
                self.output.push(&publication(&self.topic_down, payload))?;
            }
        }
        Ok(())
    }
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
