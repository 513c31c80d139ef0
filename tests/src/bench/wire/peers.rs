//! The same outcomes as others send them: JSON over MQTT 3.1.1 and mutual TLS, with rumqttc to
//! Mosquitto, quality of service 1.

use super::{FAR, SEED, line, quiet};
use crate::mosquitto::Mosquitto;
use crate::site::Hub;
use crate::tunnel::Tunnel;
use anyhow::{Context, Result, bail, ensure};
use landfall_agent::sync::{Identity, split_address};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, Transport};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Outcomes of a message with many.
const MANY: usize = 256;

/// Messages without an acknowledgement: rumqttc's own default.
const INFLIGHT: u16 = 100;

/// Largest message: `MANY` outcomes with text, before gzip.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One way, as for the agent.
const DELAY_MS: u64 = 20;

/// Bytes of one outcome a message, and of many with gzip; `None` without Mosquitto.
pub(super) fn run(hub: &Hub, dir: &Path, records: &[Value]) -> Result<Option<(u64, u64)>> {
    if !Mosquitto::is_installed() {
        return Ok(None);
    }
    let single = records.iter().map(|record| record.to_string().into_bytes()).collect();
    let many =
        records.chunks(MANY).map(|records| gzip(Value::from(records).to_string().as_bytes()));
    let many = many.collect::<Result<Vec<_>>>()?;
    Ok(Some((carry(hub, &dir.join("one"), single)?, carry(hub, &dir.join("many"), many)?)))
}

/// Bytes on the line of these messages, both ways, with the connection.
fn carry(hub: &Hub, dir: &Path, messages: Vec<Vec<u8>>) -> Result<u64> {
    let tunnel = Tunnel::open(FAR, line(DELAY_MS), SEED)?;
    let files = dir.join("broker");
    let files_arg = files.to_str().context("a directory name that is not UTF-8")?;
    let broker = tunnel.near(|| {
        Mosquitto::start_at(&files, Tunnel::NEAR.into(), |address| {
            let listen = address.to_string();
            let args = ["broker-config", "mosquitto", "--listen", &listen, "--out", files_arg];
            hub.command(&args).map(drop)
        })
    })?;
    let identity = dir.join("identity");
    let out = identity.to_str().context("a directory name that is not UTF-8")?;
    let at = broker.address().to_string();
    let name = dir.file_name().and_then(|name| name.to_str()).context("a name")?;
    hub.command(&["enroll", name, "--out", out, "--hub", &at])?;
    let identity = Identity::load(&identity, &landfall_agent::clock::Clock::open(&identity))?;
    let (before, _) = quiet(&tunnel, Duration::from_millis(500))?;
    tunnel.far(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(send(&identity, messages))
    })?;
    let (after, _) = quiet(&tunnel, Duration::from_secs(1))?;
    let carried = |to: fn(&crate::tunnel::Carried) -> u64| to(&after) - to(&before);
    Ok(carried(|carried| carried.to_near_bytes) + carried(|carried| carried.to_far_bytes))
}

async fn send(identity: &Identity, messages: Vec<Vec<u8>>) -> Result<()> {
    let (host, port) = split_address(&identity.hub).map_err(anyhow::Error::msg)?;
    let mut options = MqttOptions::new(identity.device.as_str(), host, port);
    options
        .set_transport(Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(
            identity.tls.clone(),
        )))
        .set_keep_alive(Duration::from_secs(60))
        .set_inflight(INFLIGHT)
        .set_max_packet_size(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, usize::from(INFLIGHT));
    let topic = format!("landfall/1/{}/up", identity.device);
    let wanted = messages.len();
    let sending = tokio::spawn(async move {
        for message in messages {
            client.publish(&topic, QoS::AtLeastOnce, false, message).await?;
        }
        anyhow::Ok(client)
    });
    let mut acknowledged = 0;
    while acknowledged < wanted {
        match events.poll().await.context("the broker")? {
            Event::Incoming(Packet::PubAck(_)) => acknowledged += 1,
            Event::Incoming(Packet::Disconnect) => bail!("the broker ends the connection"),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
    let client = sending.await??;
    client.disconnect().await?;
    // Until the goodbye is written.
    while events.poll().await.is_ok() {}
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run gzip")?;
    let mut stdin = child.stdin.take().context("gzip's input")?;
    let input = bytes.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().context("gzip")?;
    writing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    ensure!(output.status.success(), "gzip failed");
    Ok(output.stdout)
}
