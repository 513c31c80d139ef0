//! A device without a store: its frames are made beforehand, so that what is measured is the hub.

use anyhow::{Context, Result, bail};
use landfall_agent::sync::{Identity, split_address};
use landfall_wire::frame::{Batch, Frame, Hello, Position};
use landfall_wire::id::Epoch;
use landfall_wire::limits::{BATCH_RECORDS_MAX, PACKET_BYTES_MAX};
use landfall_wire::record::{Record, StreamId};
use landfall_wire::topic::{Direction, topic};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, Transport};
use std::collections::VecDeque;
use std::time::Duration;

use super::records::Texts;

/// Bytes of records in a batch, as a device's session has it.
const BATCH_BYTES: usize = 16 << 10;

/// Batches sent and not acknowledged: about what a device's window holds.
const FLYING_MAX: usize = 24;

/// Requests that wait for the connection; more than may be in flight.
const QUEUE_MAX: usize = 64;

/// Longest wait for anything of the hub.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// The frames of one device's outcomes.
pub(super) struct Frames {
    epoch: Epoch,
    /// Each with the position after it.
    pub(super) frames: Vec<(u64, Vec<u8>)>,
    /// Outcomes in all of them.
    pub(super) outcomes: u64,
}

impl Frames {
    /// `outcomes` outcomes, as the device of this number decides them.
    pub(super) fn new(device: usize, outcomes: usize) -> Result<Frames> {
        let texts = Texts::new()?;
        let epoch = Epoch(0xb0 + device as u64);
        let mut frames = Frames { epoch, frames: Vec::new(), outcomes: outcomes as u64 };
        let mut waiting: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for number in 0..outcomes {
            let outcome = texts.outcome(device * outcomes + number)?;
            let record = Record::Outcome(outcome).encode().context("a record")?;
            if bytes + record.len() > BATCH_BYTES || waiting.len() == BATCH_RECORDS_MAX {
                frames.close(std::mem::take(&mut waiting))?;
                bytes = 0;
            }
            bytes += record.len();
            waiting.push(record);
        }
        frames.close(waiting)?;
        Ok(frames)
    }

    fn close(&mut self, records: Vec<Vec<u8>>) -> Result<()> {
        let first = self.frames.last().map_or(0, |(end, _)| *end);
        let end = first + records.len() as u64;
        let (stream, epoch) = (StreamId::Outcome, self.epoch);
        let frame = Frame::Batch(Batch { stream, epoch, floor: 0, first, records });
        self.frames.push((end, frame.encode().context("a frame")?));
        Ok(())
    }
}

/// A greeted connection.
pub(super) struct Sender {
    client: AsyncClient,
    events: EventLoop,
    up: String,
    down: String,
}

impl Sender {
    /// Connects, subscribes and greets.
    pub(super) async fn greet(identity: &Identity, frames: &Frames) -> Result<Sender> {
        let (host, port) = split_address(&identity.hub).map_err(anyhow::Error::msg)?;
        let mut options = MqttOptions::new(identity.device.as_str(), host, port);
        options
            .set_transport(Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(
                identity.tls.clone(),
            )))
            .set_keep_alive(ANSWERS_WITHIN)
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        let (client, events) = AsyncClient::new(options, QUEUE_MAX);
        let up = topic(&identity.device, Direction::Up);
        let down = topic(&identity.device, Direction::Down);
        let mut sender = Sender { client, events, up, down };
        sender.client.try_subscribe(&sender.down, QoS::AtLeastOnce).context("the MQTT client")?;
        while !matches!(sender.packet().await?, Packet::SubAck(_)) {}
        let (stream, epoch) = (StreamId::Outcome, frames.epoch);
        let position = Position { stream, epoch, next: frames.outcomes };
        let hello = Hello { version: "bench".into(), at_ms: 0, up: vec![position], answers: None };
        sender.publish(Frame::Hello(hello).encode().context("a frame")?)?;
        while !matches!(sender.frame().await?, Frame::Welcome(_)) {}
        Ok(sender)
    }

    /// Sends everything; done when the hub has acknowledged it, and so committed it.
    pub(super) async fn deliver(&mut self, frames: &Frames) -> Result<()> {
        let mut flying: VecDeque<u64> = VecDeque::new();
        let mut waiting = frames.frames.iter();
        loop {
            while flying.len() < FLYING_MAX
                && let Some((end, frame)) = waiting.next()
            {
                self.publish(frame.clone())?;
                flying.push_back(*end);
            }
            if flying.is_empty() {
                return Ok(());
            }
            if let Frame::Ack(mark) = self.frame().await? {
                flying.retain(|end| *end > mark.next);
            }
        }
    }

    fn publish(&self, payload: Vec<u8>) -> Result<()> {
        let sent = self.client.try_publish(&self.up, QoS::AtLeastOnce, false, payload);
        sent.context("the MQTT client")
    }

    async fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Packet::Publish(publish) = self.packet().await? {
                return Frame::decode(&publish.payload).context("a frame of the hub");
            }
        }
    }

    async fn packet(&mut self) -> Result<Packet> {
        let next = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await? {
                    return Ok::<_, anyhow::Error>(packet);
                }
            }
        };
        match tokio::time::timeout(ANSWERS_WITHIN, next).await {
            Ok(packet) => packet.context("the connection to the hub"),
            Err(_) => bail!("nothing from the hub within {} s", ANSWERS_WITHIN.as_secs()),
        }
    }
}
