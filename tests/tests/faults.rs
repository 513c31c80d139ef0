//! Faults of disks, processes and links under the real agent and the real hub; few of each.
//! `landfall-break --long` runs many. The seed of a failed run is in its output;
//! `LANDFALL_SEED` repeats it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod common;

use common::moments;
use landfall_tests::faults::{Fault, Row, Stage};
use landfall_tests::mosquitto::Mosquitto;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn run(fault: Fault) {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if fault.needs_root() && !is_root {
        println!("SKIPPED: {fault:?} needs root");
        return;
    }
    if fault.needs_mosquitto() && !Mosquitto::is_installed() {
        println!("SKIPPED: {fault:?} needs mosquitto (apt: mosquitto)");
        return;
    }
    let mut said = String::new();
    let mut progress = |text: &str| said = text.to_owned();
    let executable = Path::new(env!("CARGO_BIN_EXE_landfall-break"));
    let mut stage = Stage { executable, moments: moments(), progress: &mut progress };
    let seed = stage.moments.seed;
    let rows = match fault.run(&mut stage, false) {
        Ok(rows) => rows,
        Err(error) => panic!("seed {seed}, at {said:?}: {error:#}"),
    };
    assert!(!rows.is_empty());
    assert!(rows.iter().all(Row::is_as_it_should), "seed {seed}: {rows:#?}");
}

#[test]
fn a_power_cut_loses_nothing_told() {
    run(Fault::Power);
}

#[test]
fn a_damaged_store_is_salvaged_and_what_is_gone_is_on_record() {
    run(Fault::Damage);
}

#[test]
fn a_full_or_read_only_disk_is_waited_out() {
    run(Fault::Disk);
}

#[test]
fn an_agent_that_is_killed_loses_nothing_told_and_doubles_nothing() {
    run(Fault::KillAgent);
}

#[test]
fn a_hub_that_is_killed_loses_nothing_and_applies_nothing_twice() {
    run(Fault::KillHub);
}

#[test]
fn agent_and_hub_killed_at_once_lose_nothing() {
    run(Fault::KillBoth);
}

#[test]
fn a_broker_that_is_killed_between_agent_and_hub_loses_nothing() {
    run(Fault::KillBroker);
}

#[test]
fn a_backlog_survives_a_kill_and_drains() {
    run(Fault::Backlog);
}

#[test]
fn bad_links_lose_nothing_and_hold_nobody_up() {
    run(Fault::Links);
}
