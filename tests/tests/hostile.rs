//! Bytes and files from outside that are nothing good: every reader takes its seeds and many changes
//! of them, without a panic. `tests/fuzz` does the same for longer, guided by coverage.
//!
//! `LANDFALL_FUZZ_SECS=600` lets each reader here run so long.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says how far it came"
)]
#![allow(missing_docs, unreachable_pub, reason = "what is shared with the fuzzer is no library")]

#[path = "../fuzz/src/targets.rs"]
mod targets;

use landfall_agent::config::Config;
use landfall_models::package::{SHIPPED_KEY, shipped_dirs};
use landfall_models::{Manifest, Package, Trust};
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs of each reader, in an ordinary run: a second or so for all.
const INPUTS: usize = 400;

/// Numbers that nobody chose, the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        // Xorshift (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap_or(0)
    }
}

/// Changes some of it: bits, bytes, lengths; a part of another seed.
fn change(dice: &mut Dice, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(dice.roll(256)).unwrap_or(0)),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            3 if at < bytes.len() => {
                bytes[at] = [0, 0x7f, 0x80, 0xff][dice.roll(4)];
            }
            4 if at < bytes.len() => {
                bytes.remove(at);
            }
            5 => {
                let from = dice.roll(other.len() + 1);
                let part = &other[from..(from + dice.roll(64)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            _ => {
                let end = (at + dice.roll(32)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// Runs a reader on its seeds and on changes of them; says how many.
fn feed(name: &str, seeds: &[Vec<u8>], inputs: usize, run: impl Fn(&[u8])) {
    let long = std::env::var("LANDFALL_FUZZ_SECS").ok().and_then(|secs| secs.parse().ok());
    let (long, started) = (long.map(Duration::from_secs), Instant::now());
    // A long run goes elsewhere each time.
    let start = if long.is_some() { u64::from(std::process::id()) << 20 } else { 0 };
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ start);
    seeds.iter().for_each(|seed| run(seed));
    let mut count = seeds.len();
    while long.map_or(count < inputs, |long| started.elapsed() < long) {
        let (one, other) = (dice.roll(seeds.len()), dice.roll(seeds.len()));
        let bytes = change(&mut dice, &seeds[one], &seeds[other]);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&bytes)));
        assert!(result.is_ok(), "{name} fails on {}", hex(&bytes));
        count += 1;
    }
    eprintln!("{name}: {count} inputs in {:.0} s", started.elapsed().as_secs_f64());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn readers_of_bytes_take_whatever_comes() {
    for target in targets::ALL {
        feed(target.name, &(target.seeds)(), INPUTS, target.run);
    }
}

#[test]
fn the_agents_configuration_takes_whatever_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/landfall-agent.toml");
    let example = std::fs::read(example).unwrap();
    let tasks = landfall_tests::site::TASKS.as_bytes();
    let small = b"data_dir = \"d\"\n[task.t]\nerror_max = 0.1\n[[task.t.rule]]\nname = \"a\"\nregex = '(a|b)*c'\nrefuse = \"x\"\n";
    let seeds = vec![example, tasks.to_vec(), small.to_vec()];
    feed("agent configuration", &seeds, INPUTS, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        if let Err(error) = Config::load_to_run(&path) {
            assert!(error.problems.iter().all(|problem| !problem.remedy.is_empty()), "{error}");
        }
    });
}

#[test]
fn the_manifest_of_a_package_takes_whatever_comes() {
    let shipped = shipped_dirs().unwrap().remove(0);
    let trust = Trust::load(&[shipped.parent().unwrap().join(SHIPPED_KEY)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let signature = std::fs::read_dir(&shipped).unwrap().flatten();
    for file in signature.filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let seeds = vec![std::fs::read(shipped.join("manifest.json")).unwrap()];
    feed("package manifest", &seeds, INPUTS / 4, |bytes| {
        std::fs::write(dir.path().join("manifest.json"), bytes).unwrap();
        // Signed, it would still lack its blobs.
        assert!(Package::open(dir.path(), &trust).is_err());
        let parsed = serde_json::from_slice::<Manifest>(bytes);
        let _checked = parsed.map(|manifest| manifest.check());
    });
}
