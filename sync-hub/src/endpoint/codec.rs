//! MQTT 3.1.1 packets out of a byte stream, with the codec of `rumqttc`.

use axum::body::Bytes;
use landfall_wire::limits::PACKET_BYTES_MAX;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rumqttc::mqttbytes::{Error, QoS, check};

/// Bytes received and not yet understood. Never longer than one packet and one read.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// Adds what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether what came so far can be a CONNECT: its first byte is always the same, so that
    /// another protocol is recognised without waiting for a packet that never ends.
    pub(super) fn may_be_connect(&self) -> bool {
        const CONNECT: u8 = 0x10;
        self.bytes.get(self.start).is_none_or(|first| *first == CONNECT)
    }

    /// The next whole packet, if there is one, of at most `bytes_max`.
    pub(super) fn packet(&mut self, bytes_max: usize) -> Result<Option<Packet>, Error> {
        let waiting = &self.bytes[self.start..];
        let length = match check(waiting.iter(), bytes_max) {
            Ok(header) => header.frame_length(),
            Err(Error::InsufficientBytes(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut packet = Bytes::copy_from_slice(&waiting[..length]).into();
        self.start += length;
        Packet::read(&mut packet, bytes_max).map(Some)
    }
}

/// Bytes of one packet, as they are sent.
pub(super) fn encode(packet: &Packet) -> Result<Vec<u8>, Error> {
    // A `BytesMut`, whose crate is not named here.
    let mut bytes = Default::default();
    packet.write(&mut bytes, PACKET_BYTES_MAX)?;
    Ok(bytes.to_vec())
}

/// A publication of the hub. Quality of service 0: what counts is the device's own
/// acknowledgement after its commit, and the stream is sent again without it.
pub(super) fn publication(topic: &str, payload: Vec<u8>) -> Packet {
    Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::mqttbytes::v4::PubAck;

    #[test]
    fn packets_come_out_however_the_bytes_come_in() {
        let mut bytes = encode(&publication("a/b", vec![7; 300])).unwrap();
        bytes.extend(encode(&Packet::PingReq).unwrap());
        bytes.extend(encode(&Packet::PubAck(PubAck::new(9))).unwrap());
        for chunk in [1, 2, 5, bytes.len()] {
            let mut input = Input::default();
            let mut packets = Vec::new();
            for part in bytes.chunks(chunk) {
                input.push(part);
                while let Some(packet) = input.packet(1000).unwrap() {
                    packets.push(packet);
                }
            }
            assert_eq!(packets.len(), 3, "in chunks of {chunk}");
            assert!(matches!(&packets[0], Packet::Publish(p) if p.payload.len() == 300));
            assert_eq!(packets[2], Packet::PubAck(PubAck::new(9)));
        }
    }

    #[test]
    fn what_is_too_large_or_no_packet_is_an_error_at_once() {
        let large = encode(&publication("a/b", vec![7; 300])).unwrap();
        let mut input = Input::default();
        input.push(&large[..5]);
        assert!(matches!(input.packet(200), Err(Error::PayloadSizeLimitExceeded(_))));
        let mut input = Input::default();
        input.push(&[0xff; 16]);
        assert!(input.packet(200).is_err());
        let mut input = Input::default();
        input.push(&[0xa2, 1, 0]);
        assert!(input.packet(200).is_err(), "an unsubscribe that ends too early");
    }
}
