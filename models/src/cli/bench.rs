//! `landfall-models bench`: the time of a decision, one text at a time.
//!
//! All tasks of a package are asked at once, as an agent with all of them configured does.

use super::{Which, out};
use crate::engine::Engine;
use crate::package::Package;
use anyhow::ensure;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Lengths of text that are measured, in word pieces. Work orders have 10 to 30.
const LENGTHS: [usize; 4] = [16, 32, 64, 128];
/// Decisions before measuring: caches, branch predictors and buffers settle.
const WARM_UP: usize = 20;
/// Decisions measured for each length: enough that two of them lie beyond the 99th percentile.
const MEASURED: usize = 200;

#[derive(Serialize)]
struct Bench {
    package: String,
    version: String,
    tasks: usize,
    load_ms: f64,
    lengths: Vec<Length>,
    /// Resident memory in kB; `None` where the system does not tell.
    rss_kb: Option<u64>,
    /// Its peak.
    rss_peak_kb: Option<u64>,
}

#[derive(Serialize)]
struct Length {
    pieces: usize,
    median_ms: f64,
    p99_ms: f64,
}

pub(super) fn bench(which: &Which, json: bool) -> anyhow::Result<()> {
    let trust = which.trusted()?;
    for dir in which.dirs()? {
        let start = Instant::now();
        let engine = Engine::load(&Package::open(&dir, &trust)?)?;
        let load_ms = millis(start.elapsed());
        let lengths: Vec<usize> =
            LENGTHS.into_iter().filter(|&l| l <= engine.manifest().encoder.tokens_max).collect();
        let mut progress = out::Progress::new("decisions", lengths.len() * (WARM_UP + MEASURED));
        let mut measured = Vec::new();
        for (at, &pieces) in lengths.iter().enumerate() {
            let before = at * (WARM_UP + MEASURED);
            measured.push(measure(&engine, pieces, |done| progress.update(before + done))?);
        }
        drop(progress);
        let bench = Bench {
            package: engine.manifest().name.clone(),
            version: engine.manifest().version.clone(),
            tasks: engine.tasks().count(),
            load_ms,
            lengths: measured,
            rss_kb: memory_kb("VmRSS:"),
            rss_peak_kb: memory_kb("VmHWM:"),
        };
        out::line(&if json { serde_json::to_string(&bench)? } else { table(&bench) })?;
    }
    Ok(())
}

fn measure(
    engine: &Engine,
    pieces: usize,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Length> {
    let tasks: Vec<&str> = engine.tasks().map(|task| task.name.as_str()).collect();
    let special = engine.count_pieces("")?;
    // The letter is one piece in every vocabulary.
    let text = "a ".repeat(pieces.saturating_sub(special));
    ensure!(engine.count_pieces(&text)? == pieces, "the tokenizer has no piece for \"a\"");
    let mut times = Vec::with_capacity(MEASURED);
    for done in 0..WARM_UP + MEASURED {
        let start = Instant::now();
        engine.run(&text, &tasks)?;
        if done >= WARM_UP {
            times.push(start.elapsed());
        }
        progress(done + 1);
    }
    times.sort();
    Ok(Length {
        pieces,
        median_ms: millis(times[times.len() / 2]),
        p99_ms: millis(times[times.len() * 99 / 100]),
    })
}

fn table(bench: &Bench) -> String {
    let mut lines = vec![
        format!("{} {}, {} tasks at once", bench.package, bench.version, bench.tasks),
        format!("loaded in {:.0} ms", bench.load_ms),
        "word pieces  median ms  p99 ms".to_owned(),
    ];
    for length in &bench.lengths {
        lines
            .push(format!("{:11}  {:9.2}  {:6.2}", length.pieces, length.median_ms, length.p99_ms));
    }
    if let (Some(now), Some(peak)) = (bench.rss_kb, bench.rss_peak_kb) {
        lines.push(format!("memory {} MB, peak {} MB", now / 1024, peak / 1024));
    }
    lines.join("\n")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A figure of this process as Linux tells it.
pub(super) fn memory_kb(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
