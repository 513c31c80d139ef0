//! Golden vectors: what the reference computes for a few texts, chosen so that their answers do
//! not hang on a rounding.
//!
//! Where one activation falls to the other side of a half, logits move by as much as a device may
//! be off. So each text is tried again with a little jitter, and compared with what the operators
//! said of it on this processor; texts that move are left out. When most texts disagree it is no
//! longer rounding, and the import fails.

use super::error::{Result, refused};
use super::model::{Encoder, Head, Pool};
use super::reference::{Reference, energy};
use super::run::{REPORT, Reading};
use crate::engine::tolerance;
use serde_json::json;

/// Most golden texts: enough to meet many patterns of rounding, few enough to run at every start.
const TEXTS_MAX: usize = 16;
/// Texts tried for each that is kept.
const TRIED: usize = 2;
/// Multiplications to spend on the reference: about a minute.
const WORK_MAX: u64 = 100_000_000_000;
/// Fewest texts tried whatever the work.
const TRIED_MIN: usize = 4;
/// Share by which a trial is off: a few roundings of single precision, as sums in another order
/// differ.
const JITTER: f32 = 1e-6;
/// Trials with jitter of each text.
const TRIALS: u64 = RUNS as u64 - 1;
/// Runs of the reference for each text.
const RUNS: usize = 3;
/// Share of what a device may be off by that a steady text moves, at most.
const MOVED_SHARE_MAX: f32 = 0.5;

/// Golden lines from the texts that can be read in one pass.
pub(super) fn lines(
    encoder: &Encoder,
    head: &Head,
    readings: &[&Reading],
    mut progress: impl FnMut(usize, usize),
) -> Result<Vec<u8>> {
    let candidates = candidates(encoder, readings);
    let mut tried = Vec::new();
    let mut agreeing = 0;
    for (at, reading) in candidates.iter().enumerate() {
        let logits = logits(Reference::new(encoder), head, reading);
        let apart = largest_difference(&logits, &reading.said);
        agreeing += usize::from(apart <= tolerance(&logits));
        let trial = |seed| self::logits(Reference::jittery(encoder, JITTER, seed), head, reading);
        let moved = (1..=TRIALS)
            .map(|seed| largest_difference(&logits, &trial(seed)))
            .fold(apart, f32::max);
        let row = if head.pool == Pool::Each {
            head.layers.last().map_or(1, |dense| dense.outputs)
        } else {
            logits.len()
        };
        let margin = logits.chunks_exact(row).map(margin).fold(f32::INFINITY, f32::min);
        let share = moved / tolerance(&logits);
        if share <= MOVED_SHARE_MAX && margin > 2.0 * moved {
            tried.push((share, logits, *reading));
        }
        progress(at + 1, candidates.len());
    }
    if agreeing * 2 < candidates.len() {
        return Err(refused(
            format!(
                "operators and reference agree on {agreeing} of {} texts only",
                candidates.len()
            ),
            REPORT,
        ));
    }
    tried.sort_by(|left, right| left.0.total_cmp(&right.0));
    tried.truncate(TEXTS_MAX);
    if tried.is_empty() {
        return Err(refused(
            format!(
                "in int8 the answers to all of {} texts hang on single roundings",
                candidates.len()
            ),
            "the weights hardly tell these texts apart: check that the model is trained, and that the data is of its kind",
        ));
    }
    let line = |(_, logits, reading): (f32, Vec<f32>, &Reading)| {
        let rounded: Vec<f32> = logits.iter().map(|x| (x * 1e5).round() / 1e5).collect();
        let value = match head.pool {
            Pool::Each => json!({"text": reading.text, "logits": rounded}),
            Pool::First | Pool::Mean => {
                json!({"text": reading.text, "logits": rounded, "familiarity": energy(&logits)})
            }
        };
        format!("{value}\n")
    };
    Ok(tried.into_iter().map(line).collect::<String>().into_bytes())
}

/// Short texts, evenly spread over all, as many as the work allows.
fn candidates<'a>(encoder: &Encoder, readings: &[&'a Reading]) -> Vec<&'a Reading> {
    let mut sorted: Vec<&Reading> = readings.to_vec();
    // The longest work order of many is left out; ties keep their order.
    sorted.sort_by_key(|reading| reading.ids.len());
    sorted.truncate((readings.len() * 3).div_ceil(4));
    let count = sorted.len().min(TEXTS_MAX * TRIED);
    let mut left = WORK_MAX;
    let mut found = Vec::new();
    for at in 0..count {
        let reading = sorted[at * sorted.len() / count];
        let work = (RUNS * reading.ids.len()) as u64 * encoder.products() as u64;
        if found.len() >= TRIED_MIN && work > left {
            break;
        }
        left = left.saturating_sub(work);
        found.push(reading);
    }
    found
}

/// The logits that a golden line has: one row, or one for each word that has a piece.
fn logits(mut reference: Reference<'_>, head: &Head, reading: &Reading) -> Vec<f32> {
    let hidden = reference.hidden(&reading.ids);
    reading.rows(&head.run(&hidden, reference.width()), head).concat()
}

/// By how much the best of a row leads.
fn margin(row: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &x in row {
        if x > first {
            (first, second) = (x, first);
        } else if x > second {
            second = x;
        }
    }
    first - second
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}
