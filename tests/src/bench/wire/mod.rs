//! Bytes on the line: every byte of every packet between a device and its hub, IP and TCP headers,
//! TLS, MQTT and acknowledgements included, as two network namespaces with a line between them
//! ([`crate::tunnel`]) see it. Needs root.
//!
//! * `outcomes`: what an outcome of a real work order takes, by what may leave.
//! * `peers`: the same outcomes as JSON over MQTT and TLS to Mosquitto, one in a message, and many
//!   in a message with gzip.
//! * `connections`: what it takes to connect, to connect again, to stay, and to be refused.

mod connections;
mod outcomes;
mod peers;

pub use connections::Cost;
pub use outcomes::Measured;

use super::machine;
use crate::tunnel::{Carried, Line, Tunnel};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Address of the device's end.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Which packets are lost: none.
const SEED: u64 = 7;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);

/// A line without loss, so that what is counted is what was said.
fn line(delay_ms: u64) -> Line {
    Line {
        delay: Duration::from_millis(delay_ms),
        bytes_per_sec: None,
        loss_permille: 0,
        queue_bytes: 64 << 20,
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A CSV file with a column `OriginalShorttext`.
    pub orders: Option<PathBuf>,
    /// At most so many of its work orders.
    pub outcomes: usize,
    /// Of connections.
    pub pace: Pace,
}

/// How long measuring connections takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// One way.
    pub delay_ms: u64,
    /// Keep-alives that are waited for while nothing else is said.
    pub keep_alives: u32,
}

impl Pace {
    /// As over a geostationary satellite.
    pub const SATELLITE: Pace = Pace { delay_ms: 300, keep_alives: 6 };
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    /// Rows of outcomes; none without work orders.
    pub measured: Vec<Measured>,
    /// What connections take.
    pub costs: Vec<Cost>,
}

/// Measures.
///
/// # Errors
/// When it cannot be set up, or something does not arrive.
pub fn run(executable: &Path, plan: &Plan, progress: &dyn Fn(&str)) -> Result<Wire> {
    let costs = connections::run(executable, plan.pace, progress)?;
    let measured = match &plan.orders {
        Some(orders) => outcomes::run(executable, orders, plan.outcomes, progress)?,
        None => Vec::new(),
    };
    Ok(Wire { measured, costs })
}

impl Wire {
    /// As Markdown.
    pub fn text(&self) -> String {
        let mut text = format!("On {}.\n\n", machine());
        if let Some(first) = self.measured.first() {
            let _infallible = write!(
                text,
                "{} work orders. Bytes an outcome, both ways:\n\n\
                 | outcome | Landfall | of which up | JSON, one a message | times | JSON, 256 a \
                 message, gzip | times |\n|---|---|---|---|---|---|---|\n",
                first.outcomes
            );
            for row in &self.measured {
                text.push_str(&row.row());
            }
            text.push('\n');
        }
        text.push_str(
            "| connection | up | down | both, bytes | packets | round trips until records flow |\n\
             |---|---|---|---|---|---|\n",
        );
        for cost in &self.costs {
            text.push_str(&cost.row());
        }
        text
    }
}

/// Waits until the line has been silent for a while, and says what it has carried.
fn quiet(tunnel: &Tunnel, silence: Duration) -> Result<(Carried, u64)> {
    let start = Instant::now();
    let mut seen = tunnel.packets();
    let mut since = Instant::now();
    while since.elapsed() < silence {
        if start.elapsed() > PATIENCE {
            bail!("the line is never silent for {silence:?}");
        }
        thread::sleep(Duration::from_millis(20));
        let now = tunnel.packets();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok((tunnel.carried(), seen.0))
}

/// Work orders of a CSV file.
fn orders(path: &Path, most: usize) -> Result<Vec<String>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let column = reader.headers()?.iter().position(|name| name == "OriginalShorttext");
    let column = column.context("a column OriginalShorttext")?;
    let mut texts = Vec::new();
    for record in reader.records() {
        let text = record?.get(column).unwrap_or_default().trim().to_owned();
        if !text.is_empty() && texts.len() < most {
            texts.push(text);
        }
    }
    Ok(texts)
}
