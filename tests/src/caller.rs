//! A caller of the agent's HTTP interface that tries again with the same id until it is told.

use crate::api::Reply;
use crate::client::Response;
use crate::site::Address;
use anyhow::Result;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// First pause before another attempt; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(20);
/// Longest pause before another attempt.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// After this long without a reply, a caller gives up. Longer than any restart takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks one device.
#[derive(Clone)]
pub struct Caller {
    /// The device's interface.
    pub address: Address,
    /// The task to ask for.
    pub task: &'static str,
    /// Set when everything is to end.
    pub stop: Arc<AtomicBool>,
    /// Attempts that failed and were repeated.
    pub repeated: Arc<AtomicU64>,
    /// Of these, answered without a record.
    pub unrecorded: Arc<AtomicU64>,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// A decision.
    Told(Reply),
    /// The agent would not take the request, and said why: no outcome.
    Rejected(String),
    /// No reply within the caller's patience; the last failure.
    GaveUp(String),
}

impl Caller {
    /// Asks with `body`, which has an `id`, until there is a reply.
    pub fn ask(&self, body: &Value) -> Asked {
        let path = format!("/v1/tasks/{}", self.task);
        let start = Instant::now();
        let mut pause = RETRY_MIN;
        loop {
            let response = self.address.client().post(&path, body);
            if response.as_ref().is_ok_and(is_unrecorded) {
                self.unrecorded.fetch_add(1, Ordering::Relaxed);
            }
            let why = match judge(response) {
                Ok(asked) => return asked,
                Err(why) => why,
            };
            if start.elapsed() > PATIENCE || self.stop.load(Ordering::Relaxed) {
                return Asked::GaveUp(why);
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

/// A decision without a record: this caller wants one, and asks again.
fn is_unrecorded(response: &Response) -> bool {
    response.is_success() && response.body["recorded"] == false
}

/// What a response settles; the error says why to try again.
fn judge(response: Result<Response>) -> Result<Asked, String> {
    let response = response.map_err(|error| format!("{error:#}"))?;
    if is_unrecorded(&response) {
        return Err(format!("not recorded: {}", response.body["unrecorded"]));
    }
    if response.is_success() {
        let reply = serde_json::from_value(response.body);
        return Ok(reply.map_or_else(|error| Asked::GaveUp(error.to_string()), Asked::Told));
    }
    let status = response.status;
    let why = format!("HTTP {status}: {}", response.body);
    // Too slow and too busy pass; anything else about the request stays wrong.
    let is_final = (400..500).contains(&status) && status != 408 && status != 429;
    if is_final { Ok(Asked::Rejected(why)) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let judged = |status, body| judge(Ok(Response { status, body }));
        let reply = json!({
            "status": "answered", "mechanism": { "kind": "rule", "name": "leak" },
            "label": "Leaking", "outcome": "e-1", "decide_ms": 0.5, "repeated": true
        });
        assert!(matches!(judged(200, reply), Ok(Asked::Told(reply)) if reply.repeated));
        assert!(matches!(judged(200, json!({})), Ok(Asked::GaveUp(_))), "not a reply");
        assert!(matches!(judged(409, Value::Null), Ok(Asked::Rejected(_))));
        assert!(judged(503, Value::Null).is_err());
        assert!(judged(200, json!({ "recorded": false })).is_err());
        assert!(judged(408, Value::Null).is_err());
        assert!(judge(Err(anyhow::anyhow!("refused"))).is_err());
    }
}
