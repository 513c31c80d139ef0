//! What the demo shows while it runs: lines that stay, and one line that lives.
//!
//! On a terminal the living line is rewritten in place; elsewhere it is printed now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the living line is printed where it cannot be rewritten.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Longest living line in characters: a longer one would wrap on a common terminal, and what
/// has wrapped cannot be rewritten.
const LIVE_CHARS_MAX: usize = 100;

/// Where progress goes.
pub(super) struct Progress {
    out: Box<dyn Write + Send>,
    is_terminal: bool,
    last_plain: Option<Instant>,
    live_shown: bool,
    start: Instant,
}

impl Progress {
    /// On standard output, or on standard error when standard output is for data.
    pub(super) fn new(data_on_stdout: bool) -> Progress {
        let (out, is_terminal): (Box<dyn Write + Send>, bool) = if data_on_stdout {
            (Box::new(io::stderr()), io::stderr().is_terminal())
        } else {
            (Box::new(io::stdout()), io::stdout().is_terminal())
        };
        Progress::to(out, is_terminal)
    }

    fn to(out: Box<dyn Write + Send>, is_terminal: bool) -> Progress {
        Progress { out, is_terminal, last_plain: None, live_shown: false, start: Instant::now() }
    }

    /// A line that stays, with the time since the start.
    pub(super) fn say(&mut self, line: &str) {
        let clear = if self.live_shown { "\r\x1b[K" } else { "" };
        self.live_shown = false;
        let seconds = self.start.elapsed().as_secs();
        // Whoever closed our output does not want to see it: go on without.
        let _closed = writeln!(self.out, "{clear}[{seconds:>4} s] {line}");
        let _closed = self.out.flush();
    }

    /// Text as it is, such as the table.
    pub(super) fn print(&mut self, text: &str) {
        let clear = if self.live_shown { "\r\x1b[K" } else { "" };
        self.live_shown = false;
        let _closed = writeln!(self.out, "{clear}{text}");
        let _closed = self.out.flush();
    }

    /// The line that lives.
    pub(super) fn live(&mut self, line: &str) {
        if self.is_terminal {
            let shown: String = line.chars().take(LIVE_CHARS_MAX).collect();
            let _closed = write!(self.out, "\r\x1b[K{shown}");
            let _closed = self.out.flush();
            self.live_shown = true;
        } else if self.last_plain.is_none_or(|at| at.elapsed() >= PLAIN_EVERY) {
            self.last_plain = Some(Instant::now());
            self.say(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(is_terminal: bool) -> String {
        let shared = Shared::default();
        let mut progress = Progress::to(Box::new(shared.clone()), is_terminal);
        progress.live("1 of 3");
        progress.live("2 of 3");
        progress.say("done");
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_sees_one_line_rewritten() {
        assert_eq!(written(true), "\r\x1b[K1 of 3\r\x1b[K2 of 3\r\x1b[K[   0 s] done\n");
    }

    #[test]
    fn a_file_gets_plain_lines_now_and_then() {
        assert_eq!(written(false), "[   0 s] 1 of 3\n[   0 s] done\n");
    }
}
