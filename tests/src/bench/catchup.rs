//! Catching up over a bad line: a device that was out of reach delivers its backlog over
//! 64 kbit/s, 600 ms round trip and 3 % loss. Real agent, hub, TLS and TCP; the line is
//! [`crate::tunnel`]. Needs root.
//!
//! The time is held against what the line carried: every byte of every packet from the device,
//! handshakes, headers, repetitions and what was lost on the way included, at the line's rate.
//! 1.00 is a line that was never idle. Beside it, on a line of its own, plain TCP carries the
//! bytes of the frames alone, which shows what the kernel's congestion control makes of the line.
//! Each congestion control has its own lines, namespaces, agent and hub; all run at once, since
//! a slow line leaves the processor idle.

use super::records::Texts;
use super::{machine, rate};
use crate::faults::Rig;
use crate::tunnel::{Line, Tunnel};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Address of the device's end.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The line: 64 kbit/s, 600 ms there and back, 3 of 100 packets lost. A modem's queue of four
/// seconds.
const LINE: Line = Line {
    delay: Duration::from_millis(300),
    bytes_per_sec: Some(BYTES_PER_SEC),
    loss_permille: 30,
    queue_bytes: 4 * BYTES_PER_SEC,
};
const BYTES_PER_SEC: u64 = 8_000;

/// Which packets are lost; the same for all.
const SEED: u64 = 7;

/// Requests of one HTTP call.
const CALL_ITEMS: usize = 256;

/// How often the hub is looked at: the error of the time.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Longest time without progress.
const STALLED_AFTER: Duration = Duration::from_secs(300);

/// What is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Outcomes, those of escalations included.
    pub outcomes: usize,
    /// Of which so many are escalated.
    pub escalations: usize,
}

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Caught {
    /// What was delivered.
    pub backlog: Backlog,
    /// From the start of the agent to the last record at the hub.
    pub seconds: f64,
    /// Bytes that the line carried from the device, and to it.
    pub up_bytes: u64,
    /// See `up_bytes`.
    pub down_bytes: u64,
    /// Bytes of frames in it.
    pub frame_bytes: u64,
    /// Packets that passed and that were lost, both ways.
    pub packets: (u64, u64),
    /// Connections that it took.
    pub connections: u64,
    /// Records that came to the hub twice, and were known.
    pub repeated: u64,
    /// Losses on record at the hub.
    pub losses: u64,
    /// The kernel's congestion control, at both ends.
    pub control: String,
    /// Plain TCP on such a line.
    pub tcp: Tcp,
}

/// A plain TCP upload of the same frame bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tcp {
    /// How long it took.
    pub seconds: f64,
    /// Bytes that the line carried from the device.
    pub up_bytes: u64,
}

/// Time against the line's.
fn ratio(seconds: f64, bytes: u64) -> f64 {
    seconds * BYTES_PER_SEC as f64 / bytes as f64
}

impl Caught {
    /// Time against that of the carried bytes at the line's rate.
    pub fn ratio(&self) -> f64 {
        ratio(self.seconds, self.up_bytes)
    }

    /// Rows of the table: what, and its value.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Caught { tcp, frame_bytes, .. } = self;
        let (passed, lost) = self.packets;
        let outcomes = self.backlog.outcomes as f64;
        let goodput = |seconds| ratio(seconds, *frame_bytes);
        vec![
            ("**time / (carried bytes / rate)**, at most 1.25", format!("**{:.2}**", self.ratio())),
            ("the same of plain TCP", format!("{:.2}", ratio(tcp.seconds, tcp.up_bytes))),
            ("time, from the start of the agent", format!("{:.0} s", self.seconds)),
            ("time of plain TCP", format!("{:.0} s", tcp.seconds)),
            ("time / (bytes of frames / rate)", format!("{:.2}", goodput(self.seconds))),
            ("the same of plain TCP", format!("{:.2}", goodput(tcp.seconds))),
            ("carried from the device", format!("{} bytes", rate(self.up_bytes as f64))),
            ("carried to the device", format!("{} bytes", rate(self.down_bytes as f64))),
            ("frames from the device", format!("{} bytes", rate(*frame_bytes as f64))),
            (
                "an outcome, all of its share",
                format!("{:.0} bytes", self.up_bytes as f64 / outcomes),
            ),
            ("packets passed, lost", format!("{passed}, {lost}")),
            ("connections", self.connections.to_string()),
            ("records sent twice, lost", format!("{}, {}", self.repeated, self.losses)),
        ]
    }
}

/// The results as Markdown, a column for each.
pub fn text(all: &[Caught]) -> String {
    let mut text = format!("On {}.\n\n", machine());
    let mut line = |first: &str, rest: Vec<String>| {
        let _infallible = writeln!(text, "| {first} | {} |", rest.join(" | "));
    };
    let sizes = |caught: &Caught| {
        let Backlog { outcomes, escalations } = caught.backlog;
        format!("{outcomes} outcomes, {escalations} escalations, {}", caught.control)
    };
    line("64 kbit/s, 600 ms, 3 % loss", all.iter().map(sizes).collect());
    line("---", vec!["---".to_owned(); all.len()]);
    let columns: Vec<_> = all.iter().map(Caught::rows).collect();
    let rows = columns.first().map_or(0, Vec::len);
    for at in 0..rows {
        line(columns[0][at].0, columns.iter().map(|column| column[at].1.clone()).collect());
    }
    text
}

/// Piles a backlog up and lets it go, once with each congestion control.
///
/// # Errors
/// When it cannot be set up, or does not arrive.
pub fn run(
    executable: &Path,
    backlog: Backlog,
    controls: &[String],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Caught>> {
    ensure!(backlog.escalations <= backlog.outcomes, "more escalations than outcomes");
    thread::scope(|scope| {
        let running: Vec<_> = controls
            .iter()
            .map(|control| scope.spawn(move || catch_up(executable, backlog, control, progress)))
            .collect();
        let joined = running.into_iter().map(|run| run.join());
        joined.map(|done| done.map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}

fn catch_up(
    executable: &Path,
    backlog: Backlog,
    control: &str,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Caught> {
    let say = |text: &str| progress(&format!("{control}: {text}"));
    let tunnel = Tunnel::open(FAR, LINE, SEED)?;
    tunnel.control(control)?;
    tunnel.cut();
    let mut rig = tunnel.near(|| Rig::at(executable, Tunnel::NEAR.into(), None))?;
    tunnel.far(|| rig.device.start())?;
    say("filling the store");
    tunnel.far(|| fill(&rig, backlog))?;
    // A fresh start instead of the rest of a pause between two attempts to connect.
    rig.device.kill()?;
    tunnel.restore();
    let before = tunnel.carried();
    let start = Instant::now();
    tunnel.far(|| rig.device.start())?;
    arrived(|| tunnel.near(|| at_hub(&rig)), backlog, start, &say)?;
    let seconds = start.elapsed().as_secs_f64();
    let (carried, packets) = (tunnel.carried(), tunnel.packets());
    let status = tunnel.far(|| rig.device.address.client().get("/v1/status")?.success())?;
    let stats = tunnel.near(|| rig.hub.client().get("/api/v1/stats")?.success())?;
    let count = |value: &Value| value.as_u64().context("a count of the agent or the hub");
    let frame_bytes = count(&status["link"]["bytes_up"])?;
    say(&format!("{seconds:.0} s; now plain TCP with {frame_bytes} bytes"));
    Ok(Caught {
        backlog,
        seconds,
        up_bytes: carried.to_near_bytes - before.to_near_bytes,
        down_bytes: carried.to_far_bytes - before.to_far_bytes,
        frame_bytes,
        packets,
        connections: count(&status["link"]["connections"])?,
        repeated: count(&stats["records"]["repeated"])?,
        losses: count(&stats["losses"])?,
        control: control.to_owned(),
        tcp: plain(frame_bytes, control)?,
    })
}

fn fill(rig: &Rig, backlog: Backlog) -> Result<()> {
    let texts = Texts::new()?;
    let client = rig.device.address.client();
    let path = format!("/v1/tasks/{}", crate::load::TASK);
    let every = backlog.outcomes.checked_div(backlog.escalations).unwrap_or(usize::MAX);
    let is_escalated =
        |number: usize| number.is_multiple_of(every) && number / every < backlog.escalations;
    let numbers: Vec<usize> = (0..backlog.outcomes).collect();
    for call in numbers.chunks(CALL_ITEMS) {
        let item = |number: &usize| {
            let text = match is_escalated(*number) {
                true => texts.escalated(*number),
                false => texts.answered(*number),
            };
            json!({ "id": format!("wo-{number:07}"), "text": text })
        };
        let items: Vec<Value> = call.iter().map(item).collect();
        let replies = client.post(&path, &Value::from(items))?.success()?;
        let replies = replies.as_array().context("replies to a batch")?;
        let escalated = |reply: &&Value| reply["status"] == "escalated";
        let wanted = call.iter().filter(|number| is_escalated(**number)).count();
        let escalated = replies.iter().filter(escalated).count();
        ensure!(escalated == wanted, "{escalated} of {wanted} escalated");
        ensure!(replies.iter().all(|reply| reply["outcome"].is_string()), "not recorded");
    }
    Ok(())
}

/// Outcomes and escalations at the hub.
fn at_hub(rig: &Rig) -> Result<(u64, u64)> {
    let stats = rig.hub.client().get("/api/v1/stats")?.success()?;
    let outcomes = stats["outcomes"].as_u64().context("outcomes of the hub")?;
    Ok((outcomes, stats["escalations"]["open"].as_u64().context("escalations of the hub")?))
}

/// Waits until the hub has everything.
fn arrived(
    look: impl Fn() -> Result<(u64, u64)>,
    backlog: Backlog,
    start: Instant,
    say: &dyn Fn(&str),
) -> Result<()> {
    let wanted = (backlog.outcomes as u64, backlog.escalations as u64);
    let (mut seen, mut moved_at, mut said_at) = ((0, 0), Instant::now(), Instant::now());
    loop {
        let (outcomes, escalations) = look()?;
        if (outcomes, escalations) == wanted {
            return Ok(());
        }
        if (outcomes, escalations) != seen {
            (seen, moved_at) = ((outcomes, escalations), Instant::now());
        }
        if moved_at.elapsed() > STALLED_AFTER {
            bail!("no progress at {outcomes} outcomes and {escalations} escalations");
        }
        if said_at.elapsed() > Duration::from_secs(20) {
            said_at = Instant::now();
            let seconds = start.elapsed().as_secs();
            say(&format!("{seconds} s: {outcomes} outcomes, {escalations} escalations"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Plain TCP with so many bytes over a line of its own.
fn plain(bytes: u64, control: &str) -> Result<Tcp> {
    let tunnel = Tunnel::open(FAR, LINE, SEED)?;
    tunnel.control(control)?;
    let listener = tunnel.near(|| Ok(TcpListener::bind((Tunnel::NEAR, 0))?))?;
    let address: SocketAddr = listener.local_addr()?;
    let start = Instant::now();
    let received = thread::spawn(move || -> Result<u64> {
        let (mut stream, _) = listener.accept()?;
        let mut chunk = vec![0; 16 << 10];
        let mut received = 0;
        loop {
            match stream.read(&mut chunk)? {
                0 => return Ok(received),
                count => received += count as u64,
            }
        }
    });
    let mut stream = tunnel.far(|| Ok(TcpStream::connect(address)?))?;
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(4 << 10);
        stream.write_all(&vec![b'x'; usize::try_from(piece)?])?;
        left -= piece;
    }
    drop(stream);
    let received = received.join().map_err(|_| anyhow!("a thread panicked"))??;
    ensure!(received == bytes, "{received} of {bytes} bytes");
    Ok(Tcp { seconds: start.elapsed().as_secs_f64(), up_bytes: tunnel.carried().to_near_bytes })
}
