//! `landfall-models bench`: the time of a decision, one text at a time.
//!
//! All tasks of a package are asked at once, as an agent with all of them configured does. With
//! `--encoder` one ONNX file is timed alone, run by run on request, so that `bench/compare.py`
//! can take turns with other engines.

use super::{Which, out};
use crate::engine::network::{Input, Network, pieces};
use crate::engine::{Engine, EngineOptions};
use crate::package::Package;
use anyhow::{Context, anyhow, ensure};
use serde::Serialize;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Lengths of text that are measured, in word pieces. Work orders have 10 to 30.
const LENGTHS: [usize; 4] = [16, 32, 64, 128];
/// Decisions before measuring: caches, branch predictors and buffers settle.
const WARM_UP: usize = 20;
/// Decisions measured for each length: enough that two of them lie beyond the 99th percentile.
const MEASURED: usize = 200;
/// Texts of a soak before memory is looked at: every buffer has seen its longest text.
const SOAK_WARM_UP: usize = 1000;

/// What `bench` takes.
#[derive(clap::Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    which: Which,
    /// Threads that work on one text.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    threads: u8,
    /// Run this many more texts, all different, and print the memory before and after them.
    #[arg(long, value_name = "TEXTS")]
    soak: Option<usize>,
    /// Time this ONNX encoder alone: for each line `PIECES RUNS` on standard input, print the
    /// microseconds of each run as a JSON array.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "trust", "soak", "json"])]
    encoder: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Bench {
    package: String,
    version: String,
    tasks: usize,
    threads: u8,
    load_ms: f64,
    /// From the beginning of the command to the first answer.
    first_ms: f64,
    lengths: Vec<Length>,
    soak: Option<Soak>,
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

/// What many texts do to memory.
#[derive(Serialize)]
struct Soak {
    texts: usize,
    rss_before_kb: Option<u64>,
    rss_after_kb: Option<u64>,
}

pub(super) fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.encoder {
        Some(encoder) => time_encoder(encoder, args.threads),
        None => bench_packages(args),
    }
}

fn bench_packages(args: &BenchArgs) -> anyhow::Result<()> {
    let trust = args.which.trusted()?;
    for dir in args.which.dirs()? {
        let start = Instant::now();
        let options = EngineOptions { threads: args.threads.into() };
        let engine = Engine::load_with(&Package::open(&dir, &trust)?, options)?;
        let load_ms = millis(start.elapsed());
        engine.run("pump leaks", &tasks(&engine))?;
        let first_ms = millis(start.elapsed());
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
            threads: args.threads,
            load_ms,
            first_ms,
            lengths: measured,
            soak: args.soak.map(|texts| soak(&engine, texts)).transpose()?,
            rss_kb: memory_kb("VmRSS:"),
            rss_peak_kb: memory_kb("VmHWM:"),
        };
        out::line(&if args.json { serde_json::to_string(&bench)? } else { table(&bench) })?;
    }
    Ok(())
}

fn tasks(engine: &Engine) -> Vec<&str> {
    engine.tasks().map(|task| task.name.as_str()).collect()
}

/// Answers requests for runs until standard input ends.
fn time_encoder(path: &Path, threads: u8) -> anyhow::Result<()> {
    let what = || path.display().to_string();
    let network = Network::load(&std::fs::read(path).with_context(what)?, Input::Pieces)
        .map_err(|error| anyhow!(error).context(what()))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (count, runs) = line.split_once(' ').context("a line is PIECES RUNS")?;
        let (count, runs): (usize, usize) = (count.parse()?, runs.parse()?);
        // Any ids will do: the time does not depend on them.
        let ids: Vec<i64> = (1000..).take(count).collect();
        let times = pool.install(|| {
            (0..runs)
                .map(|_| {
                    let input = pieces(&ids).map_err(|error| anyhow!(error))?;
                    let start = Instant::now();
                    network.run(input).map_err(|error| anyhow!(error))?;
                    Ok(start.elapsed().as_secs_f64() * 1e6)
                })
                .collect::<anyhow::Result<Vec<f64>>>()
        })?;
        out::line(&serde_json::to_string(&times)?)?;
    }
    Ok(())
}

/// Runs texts of all lengths, no two alike: what keeps something of each is found out.
fn soak(engine: &Engine, texts: usize) -> anyhow::Result<Soak> {
    let tasks = tasks(engine);
    let mut progress = out::Progress::new("texts", SOAK_WARM_UP + texts);
    let mut before = None;
    for at in 0..SOAK_WARM_UP + texts {
        if at == SOAK_WARM_UP {
            before = memory_kb("VmRSS:");
        }
        let text = format!("pump {at} leaks oil at seal {} ", at % 7).repeat(1 + at % 9);
        engine.run(&text, &tasks)?;
        progress.update(at + 1);
    }
    Ok(Soak { texts, rss_before_kb: before, rss_after_kb: memory_kb("VmRSS:") })
}

fn measure(
    engine: &Engine,
    pieces: usize,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Length> {
    let tasks = tasks(engine);
    let special = engine.count_pieces("")?;
    // The letter is one piece in every vocabulary; a space at the end would be one in some.
    let text = "a ".repeat(pieces.saturating_sub(special));
    let text = text.trim_end();
    ensure!(engine.count_pieces(text)? == pieces, "the tokenizer has no piece for \"a\"");
    let mut times = Vec::with_capacity(MEASURED);
    for done in 0..WARM_UP + MEASURED {
        let start = Instant::now();
        engine.run(text, &tasks)?;
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
        format!(
            "{} {}, {} tasks at once, threads {}",
            bench.package, bench.version, bench.tasks, bench.threads
        ),
        format!("loaded in {:.0} ms, first answer after {:.0} ms", bench.load_ms, bench.first_ms),
        "word pieces  median ms  p99 ms".to_owned(),
    ];
    for length in &bench.lengths {
        lines
            .push(format!("{:11}  {:9.2}  {:6.2}", length.pieces, length.median_ms, length.p99_ms));
    }
    if let Some(Soak { texts, rss_before_kb: Some(before), rss_after_kb: Some(after) }) = bench.soak
    {
        lines.push(format!("{texts} texts: memory {before} kB before, {after} kB after"));
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
