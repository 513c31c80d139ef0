//! Looks at every agent now and then: its backlog and its memory.

use crate::api::AgentStatus;
use crate::site::Address;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks: a peak that lasts longer is seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The latest look and the peaks.
#[derive(Default)]
pub(super) struct Watch {
    /// Records that wait for the hub, over all agents that answer.
    pub backlog: AtomicU64,
    /// Most that ever waited.
    pub backlog_peak: AtomicU64,
    /// Largest resident memory of one agent.
    pub memory_peak_bytes: AtomicU64,
}

impl Watch {
    /// Watches in a thread of its own until `stop`.
    pub(super) fn start(agents: Vec<Address>, stop: Arc<AtomicBool>) -> Arc<Watch> {
        let watch = Arc::new(Watch::default());
        let watching = Arc::clone(&watch);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                watching.look(&agents);
                thread::sleep(LOOK_EVERY);
            }
        });
        watch
    }

    fn look(&self, agents: &[Address]) {
        // An agent that is down just now counts again when it is back.
        let statuses: Vec<AgentStatus> = agents.iter().filter_map(status).collect();
        let backlog = statuses.iter().map(|status| status.store.backlog).sum();
        self.backlog.store(backlog, Ordering::Relaxed);
        self.backlog_peak.fetch_max(backlog, Ordering::Relaxed);
        let memory = statuses.iter().filter_map(|status| status.memory_bytes).max();
        self.memory_peak_bytes.fetch_max(memory.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// What an agent says of itself; `None` if it does not answer.
fn status(agent: &Address) -> Option<AgentStatus> {
    let body = agent.client().get("/v1/status").ok()?.success().ok()?;
    serde_json::from_value(body).ok()
}
