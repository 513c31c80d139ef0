//! What an outcome takes when a backlog of them travels.

use super::{FAR, PATIENCE, SEED, line, orders, peers, quiet};
use crate::client::Client;
use crate::site::{Device, DeviceConfig, Hub};
use crate::tunnel::Tunnel;
use crate::wait;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// One way: acknowledgements come while later batches are under way, as on any link.
const DELAY_MS: u64 = 20;

/// Requests of one HTTP call, and outcomes of one page.
const CALL_ITEMS: usize = 256;

/// What may leave: a name, the task, and its `leave`.
const VARIANTS: [(&str, &str, &str); 4] = [
    ("label, without text", "failure-mode", "{}"),
    ("label, with text", "failure-mode", "{ text = true }"),
    ("fields, without text and values", "work-order-fields", "{}"),
    (
        "fields, with text and values",
        "work-order-fields",
        "{ text = true, fields = [\"Item\", \"Activity\", \"Observation\", \"Location\"] }",
    ),
];

/// One kind of outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    what: &'static str,
    /// How many.
    pub outcomes: u64,
    /// Bytes that the line carried from the device.
    pub up_bytes: u64,
    /// And to it.
    pub down_bytes: u64,
    /// The same outcomes as JSON, one a message, both ways.
    pub json_bytes: Option<u64>,
    /// And many a message, with gzip.
    pub gzip_bytes: Option<u64>,
}

impl Measured {
    /// Bytes an outcome, both ways.
    pub fn each(&self) -> f64 {
        (self.up_bytes + self.down_bytes) as f64 / self.outcomes as f64
    }

    pub(super) fn row(&self) -> String {
        let of = |bytes: u64| bytes as f64 / self.outcomes as f64;
        let peer = |bytes: Option<u64>| match bytes.map(of) {
            None => "– | –".to_owned(),
            Some(bytes) => format!("{bytes:.1} | {:.1}", bytes / self.each()),
        };
        format!(
            "| {} | **{:.1}** | {:.1} | {} | {} |\n",
            self.what,
            self.each(),
            of(self.up_bytes),
            peer(self.json_bytes),
            peer(self.gzip_bytes)
        )
    }
}

/// Measures every variant.
pub(super) fn run(
    executable: &Path,
    path: &Path,
    most: usize,
    progress: &dyn Fn(&str),
) -> Result<Vec<Measured>> {
    let texts = orders(path, most)?;
    ensure!(texts.len() > 1, "no work orders in {}", path.display());
    let one = |(what, task, leave)| {
        progress(what);
        variant(executable, &texts, what, (task, leave)).with_context(|| format!("measure {what}"))
    };
    VARIANTS.into_iter().map(one).collect()
}

fn variant(
    executable: &Path,
    texts: &[String],
    what: &'static str,
    (task, leave): (&str, &str),
) -> Result<Measured> {
    let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
    let tunnel = Tunnel::open(FAR, line(DELAY_MS), SEED)?;
    let hub =
        tunnel.near(|| Hub::start_at(executable, &dir.path().join("hub"), Tunnel::NEAR.into()))?;
    let tasks = format!("[task.{task}]\nthreshold = 0.0\nescalate = false\nleave = {leave}\n");
    let config = DeviceConfig { tasks, hub: Some(hub.mqtt), ..DeviceConfig::shipped()? };
    let mut device =
        tunnel.near(|| Device::enroll(&hub, &dir.path().join("ship-7"), "ship-7", &config))?;
    tunnel.cut();
    tunnel.far(|| device.start())?;
    let client = device.address.client();
    let decided = tunnel.far(|| decide(&client, task, texts))?;
    // A fresh start instead of the rest of a pause between two attempts to connect.
    device.kill()?;
    tunnel.restore();
    let (before, _) = quiet(&tunnel, Duration::from_millis(500))?;
    tunnel.far(|| device.start())?;
    let wanted = texts.len() as u64;
    tunnel.near(|| {
        wait::until("the outcomes at the hub", PATIENCE, || {
            let stats = hub.client().get("/api/v1/stats").and_then(|stats| stats.success());
            match stats {
                Ok(stats) if stats["outcomes"] == wanted => ControlFlow::Break(()),
                Ok(stats) => ControlFlow::Continue(stats["outcomes"].to_string()),
                Err(error) => ControlFlow::Continue(format!("{error:#}")),
            }
        })
    })?;
    let (after, _) = quiet(&tunnel, Duration::from_secs(2))?;
    drop(device);
    let (json_bytes, gzip_bytes) = peers::run(&hub, dir.path(), &decided)?.unzip();
    Ok(Measured {
        what,
        outcomes: wanted,
        up_bytes: after.to_near_bytes - before.to_near_bytes,
        down_bytes: after.to_far_bytes - before.to_far_bytes,
        json_bytes,
        gzip_bytes,
    })
}

/// Decides every text and returns what is recorded of each, as JSON.
fn decide(client: &Client, task: &str, texts: &[String]) -> Result<Vec<Value>> {
    for (call, texts) in texts.chunks(CALL_ITEMS).enumerate() {
        let item = |(at, text): (usize, &String)| json!({ "id": format!("wo-{:07}", call * CALL_ITEMS + at), "text": text });
        let items: Vec<Value> = texts.iter().enumerate().map(item).collect();
        client.post(&format!("/v1/tasks/{task}"), &Value::from(items))?.success()?;
    }
    let mut records = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/queue/outcome?limit={CALL_ITEMS}{after}");
        let mut page = client.get(&path)?.success()?;
        let entries = page["entries"].as_array_mut().context("a page of records")?;
        records.extend(entries.iter_mut().map(|entry| entry["record"].take()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(records),
        }
    }
}
