//! The threads that run the model.
//!
//! The integer product would spread itself over rayon's global pool, which costs more than it
//! gains on texts this short, and much more when other work has the processors. A pool of one
//! thread makes it sequential; several such pools let several texts run side by side. A text
//! goes to its pool once, not once for each product.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Most texts at once: each lane keeps about a megabyte of scratch.
const LANES_MAX: usize = 8;

/// Pools of one thread each.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

struct Lane {
    pool: ThreadPool,
    waiting: AtomicUsize,
}

impl Lanes {
    /// As many as there are processors, up to a limit.
    pub(super) fn new() -> Result<Lanes, String> {
        let count = available_parallelism().map_or(1, usize::from).min(LANES_MAX);
        let lanes = (0..count)
            .map(|at| {
                let pool = ThreadPoolBuilder::new()
                    .num_threads(1)
                    .thread_name(move |_| format!("inference-{at}"))
                    .build()
                    .map_err(|error| error.to_string())?;
                Ok(Lane { pool, waiting: AtomicUsize::new(0) })
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
