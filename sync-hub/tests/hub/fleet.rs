//! A fleet at one hub: a real TLS connection for each device, all back at once after an outage.
//!
//! `LANDFALL_FLEET=1000` says how many; what it takes is printed, and nothing of it is judged.

use crate::client::{Device, at, outcomes, tls};
use crate::process::Hub;
use landfall_hub::identity::{Authority, Request, enroll};
use landfall_wire::frame::Frame;
use landfall_wire::record::StreamId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Devices unless told otherwise: a quick run that shows the same.
const DEVICES_DEFAULT: usize = 40;

/// Outcomes of a device in each of the two parts.
const OUTCOMES: u64 = 20;

/// Devices that do their TLS handshake at once: agents come back with jitter.
const CONNECTING_MAX: usize = 64;

/// Nothing here takes longer, however large the fleet.
const PATIENCE: Duration = Duration::from_secs(600);

fn devices() -> usize {
    let wanted = std::env::var("LANDFALL_FLEET").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(DEVICES_DEFAULT)
}

fn enroll_all(hub: &Hub, names: &[String]) {
    let authority = Authority::open(&hub.data(), 1_780_000_000_000).unwrap();
    hub.ask_mut(|books| {
        for name in names {
            let request = Request {
                device: name.parse().unwrap(),
                out: hub.identity(name),
                hub: "127.0.0.1:1".parse().unwrap(),
                files: None,
                days: 3_650,
                renew: false,
            };
            enroll(&authority, books, &request, 1_780_000_000_000).unwrap();
        }
    });
}

/// Everybody connects, greets, and delivers outcomes from `first` on; the connections stay.
async fn everybody(hub: &Hub, names: &[String], first: u64) -> Vec<Device> {
    let (port, gate) = (hub.mqtt(), Arc::new(Semaphore::new(CONNECTING_MAX)));
    let mut tasks = JoinSet::new();
    for name in names {
        let (name, gate) = (name.clone(), Arc::clone(&gate));
        let config = tls(&hub.identity(&name), true);
        tasks.spawn(async move {
            let permit = gate.acquire_owned().await.unwrap();
            let mut device = Device::through(port, &name, config).await;
            drop(permit);
            let end = first + OUTCOMES;
            let welcome = device.greet(vec![at(StreamId::Outcome, end)], None).await;
            assert_eq!(welcome.marks, [at(StreamId::Outcome, first)], "{name}");
            let Frame::Batch(batch) = outcomes(first, end) else { unreachable!() };
            device.send(&Frame::Batch(batch)).await;
            device.acked(StreamId::Outcome, end).await;
            device
        });
    }
    tasks.join_all().await
}

/// Resident memory of the hub, in MB.
fn memory_mb(hub: &Hub) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_connects_delivers_and_comes_back_all_at_once() {
    let names: Vec<String> = (0..devices()).map(|number| format!("ship-{number}")).collect();
    let mut hub = Hub::new();
    enroll_all(&hub, &names);
    hub.start();
    let idle_mb = memory_mb(&hub);
    let all = names.len() as u64 * OUTCOMES;
    let run = async {
        let start = Instant::now();
        let fleet = everybody(&hub, &names, 0).await;
        let (first, first_mb) = (start.elapsed(), memory_mb(&hub));
        assert_eq!(hub.stats().devices_online, names.len() as u64);
        // The outage: every connection is gone, and everybody is back.
        drop(fleet);
        let start = Instant::now();
        let fleet = everybody(&hub, &names, OUTCOMES).await;
        let (storm, storm_mb) = (start.elapsed(), memory_mb(&hub));
        drop(fleet);
        (first, first_mb, storm, storm_mb)
    };
    let (first, first_mb, storm, storm_mb) =
        tokio::time::timeout(PATIENCE, run).await.expect("the fleet is done in time");
    let stats = hub.stats();
    assert_eq!((stats.outcomes, stats.records.repeated, stats.losses), (2 * all, 0, 0));
    let rate = |took: Duration| (all as f64 / took.as_secs_f64()).round();
    eprintln!(
        "| {} devices | {first:.1?} | {} | {storm:.1?} | {} | {idle_mb} MB | {first_mb} MB | {storm_mb} MB |",
        names.len(),
        rate(first),
        rate(storm)
    );
}
