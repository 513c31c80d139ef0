//! The last warnings and errors of this process, for `status`, `doctor` and a support bundle: a
//! technician on a serial console has no journal at hand.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// So many are kept: a screen.
const LINES_MAX: usize = 16;

/// Longest line in bytes; the journal has the whole.
const LINE_BYTES_MAX: usize = 400;

static LINES: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// A warning or an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The wall clock when it was last said, milliseconds since 1970.
    pub at_ms: u64,
    /// `warn` or `error`.
    pub level: String,
    /// What was said, with its fields.
    pub text: String,
    /// How often, one after another.
    pub times: u64,
}

/// What was said last, oldest first.
pub fn recent() -> Vec<Line> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// Keeps them.
pub(crate) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut text = Text(String::new());
        event.record(&mut text);
        let Text(mut text) = text;
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.back_mut().filter(|last| last.text == text) {
            Some(last) => (last.at_ms, last.times) = (wall_ms(), last.times + 1),
            None => {
                let line = Line { at_ms: wall_ms(), level: level.to_owned(), text, times: 1 };
                lines.push_back(line);
            }
        }
        while lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The message, then every field.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _never = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn the_last_warnings_are_kept_and_repetition_is_counted() {
        let subscriber = tracing_subscriber::registry().with(Recent);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("nothing to see");
            for n in 0..20 {
                tracing::warn!(n, "it broke");
            }
            tracing::error!("it is gone");
            tracing::error!("it is gone");
        });
        let lines = recent();
        assert_eq!(lines.len(), LINES_MAX);
        let last = lines.last().unwrap();
        assert_eq!(
            (last.level.as_str(), last.text.as_str(), last.times),
            ("error", "it is gone", 2)
        );
        assert_eq!(lines[LINES_MAX - 2].text, "it broke n=19");
    }
}
