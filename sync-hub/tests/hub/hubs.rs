//! Several hubs on one database behind one broker.

use crate::client::{Device, EPOCH, at, batch, escalation, outcome, task, tls};
use crate::process::{DEADLINE, Hub, wait_for};
use landfall_wire::frame::{Batch, Frame, Hello, Position};
use landfall_wire::record::{Record, StreamId, TaskKind};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Outcomes of each device; frames of [`FRAME`], of which [`WINDOW`] are under way at once.
const OUTCOMES: u64 = 3_000;
const FRAME: u64 = 20;
const WINDOW: u64 = 4;

/// A device of this test sends again after this much silence; an agent waits longer.
const STALL: Duration = Duration::from_secs(2);

struct Mosquitto(Child);

impl Mosquitto {
    /// Where a hub's configuration says; `None` where it is not installed.
    fn start(hub: &Hub) -> Option<(Mosquitto, SocketAddr)> {
        let found = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].map(Path::new);
        let Some(program) = found.into_iter().find(|path| path.is_file()) else {
            eprintln!("SKIPPED: mosquitto is not installed (apt: mosquitto)");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = hub.path("mosquitto");
        let (listen, out) = (free.to_string(), dir.to_str().unwrap());
        hub.run_ok(&["broker-config", "mosquitto", "--listen", &listen, "--out", out]);
        let written = std::fs::read_to_string(dir.join("mosquitto.conf")).unwrap();
        // Started as root it would become another user, who cannot read a test's directory.
        let config = dir.join("run.conf");
        std::fs::write(&config, format!("{written}\nuser root\n")).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Mosquitto(command.spawn().unwrap());
        wait_for("the broker to listen", || TcpStream::connect(free).ok());
        Some((broker, free))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a device of this test went through.
#[derive(Debug, Default)]
struct Seen {
    resent: u64,
    welcomes: u64,
    /// Records of the hub's stream by number: how often each came.
    down: BTreeMap<u64, u64>,
}

/// Delivers all outcomes and one question, takes what comes, until everything is acknowledged and
/// the question is answered.
async fn deliver(device: &mut Device) -> Seen {
    let mut seen = Seen::default();
    let (mut acked, mut sent, mut asked) = (0, 0, false);
    let mut answers: Option<Position> = None;
    let mut progress = Instant::now();
    hello(device, answers).await;
    while acked < OUTCOMES || !asked || seen.down.is_empty() {
        while sent < OUTCOMES && sent < acked + FRAME * WINDOW && seen.welcomes > 0 {
            let end = OUTCOMES.min(sent + FRAME);
            let records: Vec<Record> = (sent..end).map(|seq| outcome(seq, "pump leaks")).collect();
            let Frame::Batch(frame) = batch(StreamId::Outcome, sent, &records) else { panic!() };
            device.send(&Frame::Batch(Batch { floor: acked, ..frame })).await;
            sent = end;
        }
        let Some(frame) = device.frame_within(STALL).await else {
            if progress.elapsed() >= STALL {
                seen.resent += sent - acked;
                sent = acked;
                progress = Instant::now();
                hello(device, answers).await;
            }
            continue;
        };
        match frame {
            Frame::Welcome(welcome) => {
                seen.welcomes += 1;
                let mark = |stream| {
                    welcome.marks.iter().find(|mark| mark.stream == stream).map_or(0, |it| it.next)
                };
                acked = acked.max(mark(StreamId::Outcome));
                sent = sent.max(acked);
                asked |= mark(StreamId::Escalation) > 0;
                if answers.is_none_or(|known| known.epoch != welcome.answers.epoch) {
                    answers = Some(Position { next: 0, ..welcome.answers });
                }
                if !asked {
                    let labels = task("failure-mode", TaskKind::Classification, &["Leaking"]);
                    device.send(&batch(StreamId::Event, 0, &[labels])).await;
                    let question = escalation("failure-mode", "what is it?");
                    device.send(&batch(StreamId::Escalation, 0, &[question])).await;
                }
            }
            Frame::Ack(position) => match position.stream {
                StreamId::Outcome if position.next > acked => {
                    acked = position.next;
                    sent = sent.max(acked);
                    progress = Instant::now();
                }
                StreamId::Escalation => asked |= position.next > 0,
                _ => {}
            },
            Frame::RollCall => hello(device, answers).await,
            Frame::Batch(batch) => {
                let Some(known) = &mut answers else { continue };
                for seq in batch.first..batch.first + batch.records.len() as u64 {
                    *seen.down.entry(seq).or_default() += 1;
                }
                if batch.epoch == known.epoch && batch.first <= known.next {
                    known.next = known.next.max(batch.first + batch.records.len() as u64);
                }
                let ack = Frame::Ack(*known);
                device.send(&ack).await;
            }
            Frame::Hello(_) => panic!("a greeting from the hub"),
        }
    }
    seen
}

async fn hello(device: &mut Device, answers: Option<Position>) {
    let up = vec![at(StreamId::Outcome, OUTCOMES), at(StreamId::Escalation, 1)];
    let hello = Hello { version: "test".into(), at_ms: 1_780_000_000_000, up, answers };
    device.send(&Frame::Hello(hello)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_hubs_is_killed_under_load_and_nothing_is_lost_or_doubled() {
    let mut first = Hub::new();
    if first.is_file() {
        return;
    }
    let names = ["ship-1", "ship-2", "ship-3"];
    for name in names {
        first.enroll(name);
    }
    let Some((_broker, address)) = Mosquitto::start(&first) else { return };
    first.start_behind(address, 1);
    let mut second = Hub::beside(&first);
    second.start_behind(address, 2);
    let devices = names.map(|name| {
        let config = tls(&first.identity(name), true);
        tokio::spawn(async move {
            let mut device = Device::through(address, name, config).await;
            let seen = deliver(&mut device).await;
            (device, seen)
        })
    });
    let all = OUTCOMES * names.len() as u64;
    // Both have a part of it when one of them is gone.
    second.wait_stats("a third of the outcomes", |stats| stats.outcomes > all / 3);
    for hub in [&first, &second] {
        assert!(hub.log().contains("device heard over the broker"), "{}", hub.log());
    }
    first.kill();
    second.wait_stats("the questions", |stats| stats.escalations.open == 3);
    for name in names {
        let ticket = format!("{name}/{EPOCH}-0");
        second.run_ok(&["escalations", "answer", &ticket, "--by", "ann", "--label", "Leaking"]);
    }
    for device in devices {
        let done = tokio::time::timeout(DEADLINE * 2, device).await;
        let (device, seen) = done.expect("all is delivered in time").unwrap();
        eprintln!("{}: {seen:?}", device.name);
        assert_eq!(seen.down.keys().copied().collect::<Vec<_>>(), [0], "one answer");
    }
    let stats = second.wait_stats("the deliveries", |stats| stats.escalations.delivered == 3);
    assert_eq!((stats.outcomes, stats.losses), (all, 0), "{stats:?}");
    assert_eq!(stats.records.rejected, 0);
    let sql = "SELECT count(*), min(seq), max(seq) FROM outcome GROUP BY device";
    let rows = second.ask(|database| {
        let read = |row: &landfall_hub::database::sql::Row<'_>| {
            Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?))
        };
        database.rows(sql, &[], read).unwrap()
    });
    let whole = i64::try_from(OUTCOMES).unwrap();
    assert_eq!(rows, vec![(whole, 0, whole - 1); names.len()]);
    second.stop();
}
