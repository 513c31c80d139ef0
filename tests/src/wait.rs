//! Waiting for something to become true, with a deadline and the last thing seen.

use anyhow::{Result, bail};
use std::fmt::Display;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is a result (`Break`) or the time is up; the error then names what was
/// waited for and the last state seen (`Continue`).
///
/// # Errors
/// When the deadline passes.
pub fn until<T, S: Display>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> ControlFlow<T, S>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match look() {
            ControlFlow::Break(result) => return Ok(result),
            ControlFlow::Continue(state) if start.elapsed() >= within => {
                bail!("{what}: not within {} s; last seen: {state}", within.as_secs())
            }
            ControlFlow::Continue(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_was_seen_last() {
        let never = until("the tide", Duration::ZERO, || ControlFlow::<(), _>::Continue("ebb"));
        assert_eq!(never.unwrap_err().to_string(), "the tide: not within 0 s; last seen: ebb");
        let mut count = 0;
        let third = until("three", Duration::from_secs(10), || {
            count += 1;
            if count == 3 { ControlFlow::Break(count) } else { ControlFlow::Continue(count) }
        });
        assert_eq!(third.unwrap(), 3);
    }
}
