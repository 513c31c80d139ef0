//! Removes old outcomes from time to time, if the operator wants that.

use crate::database::retention::{RemoveOld, epochs};
use crate::database::{Database, DbError, number};
use crate::hub::now_ms;
use std::time::Duration;

/// How often it is looked for old ones: often enough that little comes together.
const EVERY: Duration = Duration::from_secs(3_600);

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Goes on for as long as it is polled.
pub(crate) async fn keep(database: Database, outcomes_days: u32) {
    loop {
        match sweep(&database, outcomes_days).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, outcomes_days, "outcomes were removed for their age");
            }
            Err(error) => tracing::warn!(%error, "old outcomes could not be removed"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn sweep(database: &Database, outcomes_days: u32) -> Result<u64, DbError> {
    let now = now_ms();
    let before_ms = number(now.saturating_sub(u64::from(outcomes_days) * DAY_MS));
    let mut total = 0;
    for (device, epoch) in database.read(epochs).await? {
        loop {
            let some = RemoveOld { device, epoch, before_ms, now_ms: number(now) };
            match database.write(some).await? {
                0 => break,
                removed => total += removed,
            }
        }
    }
    Ok(total)
}
