//! The threads that run models, and the bounded queue in front of them.

use super::masking::Masker;
use landfall_models::{Engine, Read, Span, View};
use landfall_systemd::Pulse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Most texts that wait for a worker. At 5 ms each the last one waits a third of a second, on
/// a slow ARM board a few seconds; more waiting helps nobody.
pub const QUEUE_MAX: usize = 64;

/// How long a caller waits for a place in the queue before it is told to come back.
pub const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// Worker threads. One core decides some 200 texts a second, and the site's own software needs
/// the others.
pub const WORKERS: usize = 1;

/// The queue was full for [`QUEUE_WAIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model has been busy with {QUEUE_MAX} waiting texts for {} s", QUEUE_WAIT.as_secs())]
pub struct Busy;

/// What a worker made of a text, and how long it took.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) seen: Result<Seen, String>,
    pub(super) queued: Duration,
    pub(super) ran: Duration,
}

/// What one pass over a text gave.
#[derive(Debug)]
pub(super) struct Seen {
    /// Of the task, if one was asked.
    pub(super) view: Option<View>,
    pub(super) read: Read,
    /// What is to be masked, if that was asked.
    pub(super) masks: Option<Vec<Span>>,
}

/// What is asked of one pass over a text.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) engine: Arc<Engine>,
    pub(super) task: Option<String>,
    pub(super) masker: Option<Masker>,
    pub(super) text: String,
}

struct Job {
    ask: Ask,
    since: Instant,
    reply: oneshot::Sender<Ran>,
}

/// A handle to the workers; they end when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    jobs: mpsc::Sender<Job>,
    pulses: [Pulse; WORKERS],
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> std::io::Result<Pool> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let pulses = std::array::from_fn(|_| Pulse::new("model"));
        for (number, pulse) in pulses.iter().cloned().enumerate() {
            let queue = Arc::clone(&queue);
            let name = format!("model-{number}");
            std::thread::Builder::new().name(name).spawn(move || work(&queue, &pulse))?;
        }
        Ok(Pool { jobs, pulses })
    }

    /// Whether each worker gets on.
    pub(super) fn pulses(&self) -> &[Pulse] {
        &self.pulses
    }

    /// Runs an engine over a text.
    ///
    /// # Errors
    /// [`Busy`]: nothing was run.
    pub(super) async fn run(&self, ask: Ask) -> Result<Ran, Busy> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let job = Job { ask, since, reply };
        if self.jobs.send_timeout(job, QUEUE_WAIT).await.is_err() {
            return Err(Busy);
        }
        // A worker that panicked over this text dropped the reply.
        Ok(answer.await.unwrap_or_else(|_| Ran {
            seen: Err("the model failed on this text".to_owned()),
            queued: since.elapsed(),
            ran: Duration::ZERO,
        }))
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>, pulse: &Pulse) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { ask, since, reply }) = job else { return };
        let start = Instant::now();
        let _busy = pulse.busy();
        // One text that makes an operator panic must not end the decisions of all others.
        let seen = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask.run())) {
            Ok(seen) => seen,
            Err(_) => Err("the model failed on this text".to_owned()),
        };
        let ran = Ran { seen, queued: start.duration_since(since), ran: start.elapsed() };
        // The caller may be gone; its request is then decided again when it asks again.
        let _gone = reply.send(ran);
    }
}

impl Ask {
    fn run(&self) -> Result<Seen, String> {
        let tasks: Vec<&str> = self.task.iter().map(String::as_str).collect();
        let (reading, masks) = match &self.masker {
            None => (self.engine.read(&self.text, &tasks), None),
            Some(masker) => {
                let ran = self.engine.read_and_mask(&self.text, &tasks, &masker.task, masker.floor);
                match ran {
                    Ok((reading, masks)) => (Ok(reading), Some(masks)),
                    Err(error) => (Err(error), None),
                }
            }
        };
        let reading = reading.map_err(|error| error.to_string())?;
        Ok(Seen { view: reading.views.into_iter().next(), read: reading.read, masks })
    }
}
