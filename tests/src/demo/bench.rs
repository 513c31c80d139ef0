//! The model alone: one text of exactly so many word pieces, one after the other.

use super::report::{Bench, Times};
use anyhow::{Context, Result};
use landfall_models::package::{shipped_dirs, shipped_trust};
use landfall_models::{Engine, Package};
use std::time::Instant;

/// Length of the text in word pieces: a work order of some twenty words.
const TOKENS: usize = 32;

/// Passes that are measured, after as many that warm up caches and clocks.
const PASSES: usize = 100;

/// Enough words to choose a prefix of the right length from.
const WORDS: &str = "main hydraulic pump on port side deck crane leaks oil at the shaft seal and \
                     runs hot after one hour of work please check seal and bearing and replace if \
                     needed before next port call";

/// Times the engine on `task`. It runs one text on one thread.
///
/// # Errors
/// When the shipped package does not open or has no such task.
pub(super) fn run(task: &str) -> Result<Bench> {
    let dir = shipped_dirs()?.into_iter().next().context("no shipped package")?;
    let engine = Engine::load(&Package::open(&dir, &shipped_trust()?)?)?;
    let text = text_of(&engine, TOKENS)?;
    let mut measured = Vec::with_capacity(PASSES);
    for pass in 0..2 * PASSES {
        let start = Instant::now();
        engine.run(&text, &[task])?;
        if pass >= PASSES {
            measured.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(Bench { tokens: TOKENS, median_ms: Times::of(measured).median })
}

fn text_of(engine: &Engine, tokens: usize) -> Result<String> {
    let mut text = String::new();
    for word in WORDS.split_whitespace() {
        text.push_str(word);
        if engine.count_pieces(&text)? >= tokens {
            return Ok(text);
        }
        text.push(' ');
    }
    anyhow::bail!("the text is shorter than {tokens} word pieces")
}
