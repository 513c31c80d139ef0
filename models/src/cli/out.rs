//! Everything the tool says: results on standard output, the rest on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often progress is redrawn: smooth to the eye, nothing to the processor.
const REDRAW: Duration = Duration::from_millis(100);

/// Prints a result.
///
/// # Errors
/// When standard output is closed.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints an error and its remedy.
pub(super) fn error(error: &anyhow::Error, remedy: Option<&str>) {
    let mut stderr = io::stderr().lock();
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(stderr, "error: {error:#}");
    if let Some(remedy) = remedy {
        let _ = writeln!(stderr, "remedy: {remedy}");
    }
}

/// Prints a warning.
pub(super) fn warning(text: &str) {
    let _ = writeln!(io::stderr().lock(), "warning: {text}");
}

/// Whether a command failed only because nobody reads its output any more.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A line of progress on standard error, if that is a terminal; it is erased at the end.
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Progress {
        Progress { what, total, drawn: None, shown: io::stderr().is_terminal() }
    }

    pub(super) fn update(&mut self, done: usize) {
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let _ = write!(io::stderr().lock(), "\r{} {done}/{}\x1b[K", self.what, self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
