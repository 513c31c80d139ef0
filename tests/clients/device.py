"""A device in Python, written from agent/wire/PROTOCOL.md alone: greets, delivers outcomes, and ends
when the hub has committed them. Needs paho-mqtt.

usage: device.py IDENTITY HOST PORT COUNT [--topic TOPIC] [--client-id ID] [--garbage]
Prints one line of JSON: {"mark": M, "acked": N, "disconnected": bool}.
"""

import argparse
import json
import os
import ssl
import struct
import sys
import time
import tomllib
import zlib

import paho.mqtt.client as mqtt

OUTCOME, ANSWER = 0, 3


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def text(value):
    return varint(len(value.encode())) + value.encode()


def items(values):
    return varint(len(values)) + b"".join(values)


def position(stream, epoch, after):
    return varint(stream) + varint(epoch) + varint(after)


def frame(body):
    return bytes([1, 0]) + struct.pack("<I", zlib.crc32(body)) + body


def outcome(number):
    """Answered by a rule; no text leaves."""
    fields = [
        varint(0),  # Record::Outcome
        text("failure-mode"),
        bytes([1]) + text(f"py-{number}"),  # the caller's id
        varint(int(time.time() * 1000)),
        varint(1) + text("leak"),  # Mechanism::Rule
        varint(0),  # Verdict::Answered
        bytes([1]) + varint(0) + text("Leaking"),  # Decision::Label
        varint(10_000),
        bytes(8) + bytes(8),  # package, configuration
        varint(120),  # microseconds
        bytes([0]),  # the model read nothing
        varint(0),
        bytes([0, 0]),  # no text, no masking
        varint(0),  # no metadata
    ]
    return b"".join(fields)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        number = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def position(self):
        return self.varint(), self.varint(), self.varint()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("identity")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--topic")
    parser.add_argument("--client-id")
    parser.add_argument("--garbage", action="store_true")
    args = parser.parse_args()
    with open(os.path.join(args.identity, "bundle.toml"), "rb") as file:
        device = tomllib.load(file)["device"]
    up, down = f"landfall/1/{device}/up", f"landfall/1/{device}/down"
    epoch = int.from_bytes(os.urandom(8), "little")
    state = {"mark": None, "acked": 0, "disconnected": False}

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=args.client_id or device, protocol=mqtt.MQTTv311
    )
    path = lambda name: os.path.join(args.identity, name)
    client.tls_set(path("ca.pem"), path("device.pem"), path("device.key"), cert_reqs=ssl.CERT_REQUIRED)

    def on_subscribe(client, *_):
        hello = (
            varint(0) + text("python 1") + varint(int(time.time() * 1000))
            + items([position(OUTCOME, epoch, args.count)]) + bytes([0])
        )
        client.publish(args.topic or up, frame(hello), qos=1)
        if args.garbage:
            for number in range(64):
                client.publish(up, os.urandom(number), qos=1)

    def on_message(client, _, message):
        version, flags = message.payload[:2]
        body = message.payload[6:]
        assert (version, flags) == (1, 0), "greeted in version 1, answered in version 1"
        assert struct.unpack("<I", message.payload[2:6])[0] == zlib.crc32(body)
        reader = Reader(body)
        kind = reader.varint()
        if kind == 1:  # Welcome
            reader.varint()
            assert reader.varint() == 1, "the mark of the one stream"
            _, _, state["mark"] = reader.position()
            records = [outcome(number) for number in range(state["mark"], args.count)]
            sized = [varint(len(record)) + record for record in records]
            head = varint(2) + varint(OUTCOME) + varint(epoch) + varint(0) + varint(state["mark"])
            client.publish(up, frame(head + items(sized)), qos=1)
        elif kind == 3:  # Ack
            stream, of, after = reader.position()
            if (stream, of) == (OUTCOME, epoch):
                state["acked"] = after

    client.on_connect = lambda client, *_: client.subscribe(down, qos=1)
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_disconnect = lambda *_: state.update(disconnected=True)
    client.connect(args.host, args.port, keepalive=30)
    end = time.monotonic() + 30
    while time.monotonic() < end and not state["disconnected"] and state["acked"] < args.count:
        client.loop(0.2)
    print(json.dumps(state))
    sys.exit(0 if state["acked"] == args.count else 1)


main()
