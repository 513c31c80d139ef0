//! The threads that run models, and the bounded queue in front of them.

use landfall_models::{Engine, View};
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
    pub(super) view: Result<View, String>,
    pub(super) queued: Duration,
    pub(super) ran: Duration,
}

struct Job {
    engine: Arc<Engine>,
    task: String,
    text: String,
    since: Instant,
    reply: oneshot::Sender<Ran>,
}

/// A handle to the workers; they end when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    jobs: mpsc::Sender<Job>,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> std::io::Result<Pool> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..WORKERS {
            let queue = Arc::clone(&queue);
            let name = format!("model-{number}");
            std::thread::Builder::new().name(name).spawn(move || work(&queue))?;
        }
        Ok(Pool { jobs })
    }

    /// Runs one task of an engine over a text.
    ///
    /// # Errors
    /// [`Busy`]: nothing was run.
    pub(super) async fn run(
        &self,
        engine: &Arc<Engine>,
        task: &str,
        text: &str,
    ) -> Result<Ran, Busy> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let engine = Arc::clone(engine);
        let job = Job { engine, task: task.to_owned(), text: text.to_owned(), since, reply };
        if self.jobs.send_timeout(job, QUEUE_WAIT).await.is_err() {
            return Err(Busy);
        }
        // A worker that panicked over this text dropped the reply.
        Ok(answer.await.unwrap_or_else(|_| Ran {
            view: Err("the model failed on this text".to_owned()),
            queued: since.elapsed(),
            ran: Duration::ZERO,
        }))
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { engine, task, text, since, reply }) = job else { return };
        let start = Instant::now();
        // One text that makes an operator panic must not end the decisions of all others.
        let run = std::panic::AssertUnwindSafe(|| engine.run(&text, &[&task]));
        let view = match std::panic::catch_unwind(run) {
            Ok(Ok(views)) => views.into_iter().next().ok_or_else(|| "no view".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the model failed on this text".to_owned()),
        };
        let ran = Ran { view, queued: start.duration_since(since), ran: start.elapsed() };
        // The caller may be gone; its request is then decided again when it asks again.
        let _gone = reply.send(ran);
    }
}
