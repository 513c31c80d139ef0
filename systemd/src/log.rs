//! Log lines on standard error.

use crate::recent::Recent;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs to standard error what `RUST_LOG` asks for, else from `level` on. Where that goes to the
/// journal, each line begins with its priority (`sd-daemon(3)`) and has no time, which the journal
/// keeps itself. A program that calls as a library may have a log of its own, and keeps it.
pub fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let _already = if stderr_is_journal() {
        log.event_format(Journal::default()).finish().with(Recent).try_init()
    } else {
        log.finish().with(Recent).try_init()
    };
}

/// systemd names the device and inode of its socket, because a service may have redirected its
/// output since.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

struct Journal(Format<Full, ()>);

impl Default for Journal {
    fn default() -> Journal {
        Journal(tracing_subscriber::fmt::format().without_time().with_level(false).with_ansi(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// As in `syslog(3)`: err, warning, info, debug.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .event_format(Journal::default())
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::error!(lost = 1, "first");
            tracing::warn!("second");
            tracing::info!(seq = 7, "third");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("<3>") && lines[0].contains("first"), "{text}");
        assert!(lines[1].starts_with("<4>") && lines[1].contains("second"), "{text}");
        assert!(lines[2].starts_with("<6>") && lines[2].contains("third seq=7"), "{text}");
    }
}
