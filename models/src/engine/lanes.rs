//! The threads that run the model.
//!
//! A text goes to a pool of its own, once, not once for each product; several pools let several
//! texts run side by side. In a pool of more than one thread the operators share a text's work
//! out among its threads. With one, the default, nothing waits for anything: texts are short.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

/// Most inference threads: each keeps about a megabyte of scratch.
const THREADS_MAX: usize = 8;

/// Pools of threads, one text at a time in each.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    pool: ThreadPool,
    /// Whose turn it is: a thread that waits for its share must not begin another text.
    turn: Mutex<()>,
    waiting: AtomicUsize,
}

impl Lanes {
    /// Pools of `threads` threads, as many as there are processors for, up to a limit.
    pub(super) fn new(threads: usize) -> Result<Lanes, String> {
        let threads = threads.clamp(1, THREADS_MAX);
        let processors = available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let lanes = (0..(processors / threads).max(1))
            .map(|at| {
                let pool = ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(move |thread| format!("inference-{at}-{thread}"))
                    .build()
                    .map_err(|error| error.to_string())?;
                Ok(Lane { pool, turn: Mutex::new(()), waiting: AtomicUsize::new(0) })
            })
            .collect::<Result<Vec<Lane>, String>>()?;
        Ok(Lanes { lanes })
    }

    /// Runs `work` on the lane with the least before it, and waits for it.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let lane = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.waiting.load(Ordering::Relaxed))
            .expect("there is at least one lane");
        lane.waiting.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&lane.waiting);
        // A panic leaves nothing half done: it took its text with it.
        let _turn = lane.turn.lock().unwrap_or_else(PoisonError::into_inner);
        lane.pool.install(work)
    }
}

/// Counts a text out again, also when its work panics.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
