//! Who is not let in, what is not let through, and that others notice nothing.

use crate::client::{Device, at, batch, outcomes, raw, raw_at, tls};
use crate::process::{DEADLINE, Hub, copy_dir};
use landfall_wire::frame::Frame;
use landfall_wire::record::StreamId;
use rumqttc::ConnectionError;
use rumqttc::mqttbytes::v4::ConnectReturnCode;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn refused(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized))
}

#[tokio::test]
async fn only_this_hubs_own_certificates_get_in() {
    let hub = Hub::with_devices(&["ship-7"]);
    let other = Hub::new();
    other.enroll("ship-7");
    // Trusts the right hub, but was issued by another one.
    std::fs::copy(hub.identity("ship-7").join("ca.pem"), other.identity("ship-7").join("ca.pem"))
        .unwrap();
    let mut foreign = Device::with_identity(&hub, "ship-7", tls(&other.identity("ship-7"), true));
    let error = foreign.ended().await;
    assert!(!refused(&error), "refused by TLS, before any MQTT: {error}");
    let mut nobody = Device::with_identity(&hub, "ship-7", tls(&hub.identity("ship-7"), false));
    nobody.ended().await;

    // Signed by the same authority, but in the books of a copy only.
    let copy = Hub::new();
    copy_dir(&hub.data(), &copy.data());
    copy.enroll("ship-9");
    let mut unknown = Device::with_identity(&hub, "ship-9", tls(&copy.identity("ship-9"), true));
    let error = unknown.ended().await;
    assert!(refused(&error), "{error}");
    let stats = hub.wait_stats("the refusal to be counted", |s| s.connections_refused == 1);
    assert_eq!((stats.devices, stats.outcomes), (1, 0));
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_and_stays_out() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let (mut other, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    let said = hub.run_ok(&["revoke", "ship-7"]);
    assert!(said.contains("cut off"), "{said}");
    device.ended().await;
    let mut again = Device::with_identity(&hub, "ship-7", tls(&hub.identity("ship-7"), true));
    let error = again.ended().await;
    assert!(refused(&error), "{error}");
    other.send(&outcomes(0, 3)).await;
    other.acked(StreamId::Outcome, 3).await;
    let fleet = hub.get_json("/api/v1/fleet");
    assert_eq!(fleet["devices"][0]["revoked"], true);
}

/// Asks for a file that there is none of, and says how the hub answers.
async fn ask_for_a_file(hub: &Hub, name: &str) -> String {
    let mut stream = raw_at(hub.files(), hub, name).await;
    let path = format!("/blobs/sha256:{}", "0".repeat(64));
    let request = format!("GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    let _ = tokio::time::timeout(DEADLINE, read).await.expect("an answer in time");
    let response = String::from_utf8_lossy(&response).into_owned();
    response.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_revoked_device_gets_no_files() {
    let mut hub = Hub::new();
    ["ship-7", "ship-8"].into_iter().for_each(|name| hub.enroll(name));
    hub.start_more(&["--files-listen".to_owned(), "127.0.0.1:0".to_owned()]);
    assert_eq!(ask_for_a_file(&hub, "ship-7").await, "HTTP/1.1 404 Not Found");
    hub.run_ok(&["revoke", "ship-7"]);
    assert_eq!(ask_for_a_file(&hub, "ship-7").await, "HTTP/1.1 403 Forbidden");
    assert_eq!(ask_for_a_file(&hub, "ship-8").await, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn a_device_is_confined_to_its_own_topics() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut victim, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    let frame = outcomes(0, 3).encode().unwrap();
    for topic in ["landfall/1/ship-8/up", "landfall/1/ship-8/down", "landfall/1/ship-7/down", "x"] {
        let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
        device.publish(topic, frame.clone()).await;
        device.ended().await;
    }
    for topic in ["landfall/1/ship-8/down", "landfall/1/+/down", "#", "landfall/1/ship-7/up"] {
        let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
        device.subscribe(topic).await;
        device.ended().await;
    }
    let stats = hub.wait_stats("the refusals to be counted", |s| s.frames.refused == 8);
    assert_eq!(stats.outcomes, 0, "nothing was applied");
    victim.send(&outcomes(0, 3)).await;
    victim.acked(StreamId::Outcome, 3).await;
    let shown = hub.get_json("/api/v1/devices/ship-7")["problem"].to_string();
    assert!(shown.contains("subscription"), "{shown}");
}

#[tokio::test]
async fn malformed_frames_are_counted_and_a_flood_ends_the_connection() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut other, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let topic = device.topic("up");
    let mut damaged = outcomes(0, 3).encode().unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    for payload in [vec![], vec![9; 40], damaged] {
        device.publish(&topic, payload).await;
    }
    device.send(&outcomes(0, 3)).await;
    device.acked(StreamId::Outcome, 3).await;
    // What makes no sense from a device, though it is a frame.
    device.send(&batch(StreamId::Answer, 0, &[])).await;
    device.ended().await;

    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    for _ in 0..40 {
        device.publish(&topic, vec![0; 8]).await;
    }
    device.ended().await;
    let stats = hub.wait_stats("the malformed", |s| s.frames.malformed >= 4 + 17);
    assert_eq!(stats.outcomes, 3);
    other.send(&outcomes(0, 3)).await;
    other.acked(StreamId::Outcome, 3).await;
}

#[tokio::test]
async fn hostile_bytes_end_their_own_connection_only() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut other, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    // CONNECT of MQTT 3.1.1 with client id "x", clean session.
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x";
    let hostile: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        b"\x30\x05\x00\x01x\x00\x00", // a publication before CONNECT
        b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01x", // MQTT 5, near enough
        &[0x10, 0xff, 0xff, 0xff, 0x7f], // a CONNECT of 256 MB
        &[connect, &[0x32, 0xff, 0xff, 0xff, 0x7f][..]].concat(), // a publication of 256 MB
        &[connect, &[0xa2, 0x01, 0x00][..]].concat(), // an unsubscribe that ends too early
        &[connect, &[0x82, 0x02, 0x00, 0x01][..]].concat(), // a subscribe to nothing
        &[connect, &connect[..]].concat(), // CONNECT twice
    ];
    for bytes in hostile {
        let mut stream = raw(&hub, "ship-7").await;
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "not ended after {bytes:?}");
    }
    // Without TLS at all.
    let mut plain = TcpStream::connect(hub.mqtt()).await.unwrap();
    plain.write_all(connect).await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, plain.read_to_end(&mut rest)).await.expect("ended");

    other.send(&outcomes(0, 3)).await;
    other.acked(StreamId::Outcome, 3).await;
    assert!(!hub.log().contains("panicked"), "{}", hub.log());
}

/// Frames sent in one go, as many as the client queues.
const VOLLEY: usize = 50;

#[tokio::test]
async fn a_flood_of_replayed_frames_changes_nothing_and_holds_up_nobody() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut other, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    device.send(&outcomes(0, 6)).await;
    device.acked(StreamId::Outcome, 6).await;
    let flood = tokio::spawn(async move {
        for _ in 0..40 {
            let heard = device.pubacks + VOLLEY;
            for _ in 0..VOLLEY {
                device.send(&outcomes(0, 3)).await;
            }
            while device.pubacks < heard {
                device.packet().await.expect("it is let go on, and heard in its turn");
            }
        }
        device
    });
    for first in 0..20 {
        other.send(&outcomes(first, first + 1)).await;
        other.acked(StreamId::Outcome, first + 1).await;
    }
    let mut device = flood.await.unwrap();
    let stats = hub.wait_stats("every frame to be counted", |s| s.frames.received >= 40 * 50);
    assert_eq!(stats.outcomes, 6 + 20, "each is there once");
    drop(device);
    // An old greeting does not put the hub back.
    (device, _) = Device::greeted(&hub, "ship-7", vec![at(StreamId::Outcome, 2)]).await;
    device.send(&outcomes(2, 6)).await;
    device.acked(StreamId::Outcome, 6).await;
    assert_eq!(hub.stats().outcomes, 6 + 20);
}

#[tokio::test]
async fn the_newer_connection_of_a_device_takes_over() {
    let hub = Hub::with_devices(&["ship-7"]);
    let (mut first, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let (mut second, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    first.ended().await;
    second.send(&outcomes(0, 3)).await;
    second.acked(StreamId::Outcome, 3).await;
    assert_eq!(hub.get_json("/api/v1/fleet")["devices"][0]["online"], true);
    drop(second);
    hub.wait_stats("the device to be offline", |stats| stats.devices_online == 0);
}

#[tokio::test]
async fn independent_clients_work_and_are_confined() {
    if Command::new("mosquitto_pub").arg("--help").output().is_err() {
        eprintln!("skipped: mosquitto_pub is not installed (apt: mosquitto-clients)");
        return;
    }
    let hub = Hub::with_devices(&["ship-7"]);
    let file = hub.path("frame");
    std::fs::write(&file, outcomes(0, 5).encode().unwrap()).unwrap();
    let mosquitto = |tool: &str, args: &[&str]| {
        let identity = hub.identity("ship-7");
        let path = |name: &str| identity.join(name).to_str().unwrap().to_owned();
        Command::new(tool)
            .args(["-h", "127.0.0.1", "-p", &hub.mqtt().port().to_string(), "-V", "311"])
            .args(["--cafile", &path("ca.pem"), "--cert", &path("device.pem")])
            .args(["--key", &path("device.key")])
            .args(args)
            .output()
            .unwrap()
    };
    let file = file.to_str().unwrap();
    let up = ["-q", "1", "-t", "landfall/1/ship-7/up", "-f", file];
    for _ in 0..2 {
        let output = mosquitto("mosquitto_pub", &up);
        assert!(output.status.success(), "{output:?}");
    }
    let stats = hub.stats();
    assert_eq!((stats.outcomes, stats.records.repeated), (5, 5), "PUBACK comes after the commit");
    let down = ["-t", "landfall/1/ship-7/down", "-E"];
    let output = mosquitto("mosquitto_sub", &down);
    assert!(output.status.success(), "subscribed, then left: {output:?}");
    mosquitto("mosquitto_pub", &["-q", "1", "-t", "landfall/1/ship-8/up", "-m", "x"]);
    hub.wait_stats("the refusal", |stats| stats.frames.refused >= 1);
}

/// A device that asks for a lot and reads nothing.
#[tokio::test]
async fn a_device_that_does_not_read_holds_up_nobody() {
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut slow, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    slow.send(&outcomes(0, 500)).await;
    slow.flush().await;
    let (mut other, _) = Device::greeted(&hub, "ship-8", vec![]).await;
    for round in 0..10_u64 {
        other.send(&outcomes(round * 100, round * 100 + 100)).await;
        other.acked(StreamId::Outcome, round * 100 + 100).await;
    }
    let Frame::Ack(position) = slow.frame().await else { panic!("an acknowledgement waits") };
    assert_eq!(position.next, 500);
}
