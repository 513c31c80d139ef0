//! Whether a loop gets on with its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shows whether one loop, a thread or a task, gets on: waiting for work is fine for ever, but
/// being busy with one thing is not. Clones are of the same loop.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    part: &'static str,
    born: Instant,
    /// How deep in work it is; 0 while it waits for some.
    depth: AtomicU32,
    /// When it last got on, in milliseconds from `born`.
    beat_ms: AtomicU64,
}

/// The loop is busy until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Busy<'a>(&'a Pulse);

impl Pulse {
    /// Of a loop that waits for work; `part` names it in the log.
    pub fn new(part: &'static str) -> Pulse {
        let (depth, beat_ms) = (AtomicU32::new(0), AtomicU64::new(0));
        Pulse(Arc::new(Inner { part, born: Instant::now(), depth, beat_ms }))
    }

    /// The name of the loop.
    pub fn part(&self) -> &'static str {
        self.0.part
    }

    /// The loop begins with something, possibly as part of something else.
    pub fn busy(&self) -> Busy<'_> {
        // In this order: whoever looks in between must not see old work as this.
        self.beat();
        self.0.depth.fetch_add(1, Ordering::SeqCst);
        Busy(self)
    }

    /// A step of long work is done.
    pub fn beat(&self) {
        let now_ms = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Polls a task's future as this loop: each poll is something it is busy with.
    pub async fn of<T>(self, task: impl Future<Output = T>) -> T {
        let mut task = std::pin::pin!(task);
        std::future::poll_fn(|context| {
            let _busy = self.busy();
            task.as_mut().poll(context)
        })
        .await
    }

    /// For how long, at `now`, it has been busy with one thing.
    pub(crate) fn busy_for(&self, now: Instant) -> Option<Duration> {
        let busy = self.0.depth.load(Ordering::SeqCst) > 0;
        let beat = self.0.born + Duration::from_millis(self.0.beat_ms.load(Ordering::SeqCst));
        busy.then(|| now.saturating_duration_since(beat))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.beat();
        self.0.0.depth.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn waiting_is_no_work_and_work_ends_with_its_guard() {
        let pulse = Pulse::new("loop");
        let later = || Instant::now() + HOUR;
        assert_eq!(pulse.busy_for(later()), None);
        let outer = pulse.busy();
        drop(pulse.busy());
        assert!(pulse.busy_for(later()).unwrap() >= HOUR - Duration::from_secs(60));
        drop(outer);
        assert_eq!(pulse.busy_for(later()), None);
    }

    #[test]
    fn a_step_of_long_work_counts() {
        let pulse = Pulse::new("loop");
        let _busy = pulse.busy();
        std::thread::sleep(Duration::from_millis(5));
        let before = pulse.busy_for(Instant::now()).unwrap();
        pulse.beat();
        let now = Instant::now();
        assert!(pulse.busy_for(now + HOUR).unwrap() < before + HOUR);
    }

    #[test]
    fn a_task_that_waits_is_not_busy() {
        let pulse = Pulse::new("task");
        let mut task = std::pin::pin!(pulse.clone().of(std::future::pending::<()>()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        assert_eq!(pulse.busy_for(Instant::now() + HOUR), None);
    }
}
