//! A site's software: asks for a decision on each work order, at a pace.

use super::board::Board;
use crate::caller::{Asked, Caller};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a feeder needs.
pub(super) struct Feeder {
    /// Asks the device.
    pub(super) caller: Caller,
    /// Its orders, by index.
    pub(super) orders: Vec<usize>,
    /// Time between two orders.
    pub(super) every: Duration,
    /// Where replies go.
    pub(super) board: Arc<Board>,
}

impl Feeder {
    /// Feeds in a thread of its own.
    pub(super) fn start(self) -> JoinHandle<()> {
        thread::spawn(move || self.run())
    }

    fn run(&self) {
        let mut due = Instant::now();
        for order in &self.orders {
            due += self.every;
            // After an outage it is behind, and does not wait until it has caught up.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.caller.stop.load(Ordering::Relaxed) {
                return;
            }
            self.feed(*order);
        }
    }

    fn feed(&self, index: usize) {
        let order = &self.board.orders()[index];
        let mut body = json!({ "id": order.id, "text": order.text });
        if !order.asset.is_empty() {
            body["meta"] = json!({ "asset": order.asset });
        }
        match self.caller.ask(&body) {
            Asked::Told(reply) => self.board.told(index, reply),
            Asked::Rejected(why) => self.board.rejected(index, why),
            Asked::GaveUp(why) => self.board.gave_up(index, why),
        }
    }
}
