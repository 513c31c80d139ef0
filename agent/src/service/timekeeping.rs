//! Keeps the time while the agent runs: remembers it, and tells the hub of outcomes that were
//! stamped with a wrong one.
//!
//! A record is never changed after it was written. What was wrong about its time is an event of its
//! own, by which the hub shows the right one. A decision in the very moment in which the hub's word
//! comes may keep the old time.

use crate::clock::{Clock, Correction, Guessed, REMEMBER_EVERY};
use crate::store::{Store, StoreError};
use landfall_agent_core::clock::Source;
use landfall_wire::id::Epoch;
use landfall_wire::record::{Event, StreamId};
use std::sync::Arc;

/// Runs until it is aborted.
pub(super) async fn keep(clock: Arc<Clock>, store: Store) {
    let (epoch, started) = end(&store);
    if clock.shown().source == Source::Floor {
        tracing::warn!(
            "the wall clock shows a time that has passed; times go on from the last known"
        );
        clock.guess_from(Guessed { epoch, first: started });
        clock.remember();
    }
    let mut from = started;
    let mut corrections = clock.corrections();
    let mut remember = tokio::time::interval(REMEMBER_EVERY);
    remember.tick().await;
    loop {
        tokio::select! {
            _ = remember.tick() => clock.remember(),
            changed = corrections.changed() => {
                let correction = *corrections.borrow_and_update();
                match (changed, correction) {
                    (Err(_), _) => return,
                    (Ok(()), None) => {}
                    (Ok(()), Some(correction)) => {
                        let (now_epoch, next) = end(&store);
                        // A store that was replaced meanwhile has its own numbers.
                        let first = if now_epoch == epoch { from } else { 0 };
                        let run = Run { epoch: now_epoch, first, end: next };
                        match tell(&clock, &store, correction, run).await {
                            Ok(()) => clock.settle(),
                            Err(error) => tracing::error!(
                                %error, "the hub is not told that times were wrong"
                            ),
                        }
                        from = next;
                    }
                }
            }
        }
    }
}

/// The outcomes of this run whose times were wrong.
struct Run {
    epoch: Epoch,
    first: u64,
    end: u64,
}

/// Queues what the hub must know of times that were wrong.
async fn tell(
    clock: &Clock,
    store: &Store,
    correction: Correction,
    run: Run,
) -> Result<(), StoreError> {
    let Correction { behind_ms } = correction;
    let (off_ms, behind) = (behind_ms.unsigned_abs(), behind_ms > 0);
    let earlier = clock.guessed().filter(|earlier| earlier.epoch == run.epoch);
    // Between two runs the box was off, for nobody knows how long.
    if let Some(Guessed { first, .. }) = earlier.filter(|earlier| earlier.first < run.first) {
        let event = Event::Clock { first, end: run.first, off_ms, behind, exact: false };
        store.event(event).await?;
    }
    if run.first < run.end {
        let Run { first, end, .. } = run;
        store.event(Event::Clock { first, end, off_ms, behind, exact: true }).await?;
    }
    Ok(())
}

/// The present epoch, and the number of its next outcome.
fn end(store: &Store) -> (Epoch, u64) {
    let status = store.status();
    let outcomes = status.streams.iter();
    let mut outcomes =
        outcomes.filter(|it| it.stream == StreamId::Outcome && it.epoch == status.epoch);
    (status.epoch, outcomes.next().map_or(0, |outcomes| outcomes.end))
}
