//! The one thread that writes: it gathers requests into groups, and lets the engine of
//! `landfall-agent-core` commit and answer them.

use landfall_agent_core::store::{
    Engine, GROUP_RECORDS_ENOUGH, GROUP_RECORDS_MAX, GROUP_WAIT, News, Op, Reply,
};
use landfall_systemd::Pulse;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(super) struct Writer {
    pub(super) engine: Engine,
    pub(super) tell: Tell,
    pub(super) pulse: Pulse,
    /// Where the engine's milliseconds count from.
    pub(super) started: Instant,
}

/// Who hears of news.
pub(super) struct Tell {
    pub(super) durable: watch::Sender<u64>,
    pub(super) tickets: watch::Sender<u64>,
    pub(super) directives: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn run(mut self, ops: &Receiver<Op>) {
        let pulse = self.pulse.clone();
        loop {
            if self.now_ms() >= self.engine.housekeep_at_ms() {
                let _busy = pulse.busy();
                self.engine.housekeep(self.now_ms());
                self.tell();
            }
            let pause_ms = self.engine.housekeep_at_ms().saturating_sub(self.now_ms());
            match ops.recv_timeout(Duration::from_millis(pause_ms)) {
                Ok(first) => {
                    let _busy = pulse.busy();
                    let close = self.engine.process(self.now_ms(), gather(first, ops));
                    self.tell();
                    if let Some(reply) = close {
                        return self.close(reply);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.engine.stop(self.now_ms()),
            }
        }
    }

    fn close(mut self, reply: Reply<()>) {
        self.engine.stop(self.now_ms());
        self.tell();
        // The engine and the lock are released before whoever closes hears of it.
        drop(self);
        reply(Ok(()));
    }

    fn tell(&mut self) {
        let News { durable, tickets, directives } = self.engine.take_news();
        let Tell { durable: to_durable, tickets: to_tickets, directives: to_directives } =
            &self.tell;
        let news = [(durable, to_durable), (tickets, to_tickets), (directives, to_directives)];
        for (_, to) in news.into_iter().filter(|(is_new, _)| *is_new) {
            to.send_modify(|count| *count += 1);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Takes what else waits; unless someone is in a hurry, waits a little for more.
fn gather(first: Op, ops: &Receiver<Op>) -> Vec<Op> {
    let until = Instant::now() + GROUP_WAIT;
    let mut urgent = first.is_urgent();
    let mut group = vec![first];
    while group.len() < GROUP_RECORDS_MAX {
        let left = until.saturating_duration_since(Instant::now());
        let go = urgent || group.len() >= GROUP_RECORDS_ENOUGH;
        let Ok(op) = ops.recv_timeout(if go { Duration::ZERO } else { left }) else { break };
        urgent |= op.is_urgent();
        group.push(op);
    }
    group
}
