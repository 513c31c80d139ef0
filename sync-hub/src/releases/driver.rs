//! Drives rollouts while a hub runs: looks what is known, asks the core what is due, does it.

use super::books::{Known, Move, Order, Return, running, to_return};
use crate::database::{Database, DbError};
use crate::hub::now_ms;
use landfall_hub_core::rollout::{Phase, Step, step};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often rollouts are looked at: one query on an index while none runs.
const EVERY: Duration = Duration::from_secs(1);

/// Steps of one rollout in one look: an order to every device of every ring, and then some.
const STEPS_MAX: usize = 64;

/// Until the database is closed.
pub(crate) async fn drive(database: Database, wake: Arc<Notify>) {
    loop {
        match look(&database, &wake).await {
            Ok(()) => {}
            Err(DbError::Closed) => return,
            Err(error) => tracing::warn!(%error, "rollouts wait: the database cannot be asked"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(database: &Database, wake: &Notify) -> Result<(), DbError> {
    take_back(database, wake).await?;
    for known in database.read(running).await? {
        let id = known.id;
        let mut known = Some(known);
        for _ in 0..STEPS_MAX {
            let Some(rollout) = known.take() else { break };
            if !act(database, wake, &rollout).await? {
                break;
            }
            // Looked at again: somebody else may have done something.
            known = database.read(running).await?.into_iter().find(|known| known.id == id);
        }
    }
    Ok(())
}

/// Devices of rollouts that were rolled back are told to run what they ran before.
async fn take_back(database: &Database, wake: &Notify) -> Result<(), DbError> {
    loop {
        let devices = database.read(to_return).await?;
        if devices.is_empty() {
            return Ok(());
        }
        for (rollout, device) in devices {
            database.write(Return { rollout, device, now_ms: now_ms() }).await?;
        }
        wake.notify_one();
    }
}

/// Whether there may be more to do at once.
async fn act(database: &Database, wake: &Notify, known: &Known) -> Result<bool, DbError> {
    let Known { id: rollout, members, rows, .. } = known;
    let (rollout, ring, now_ms) = (*rollout, known.rollout.ring, now_ms());
    let to = |to_ring, phase, reason| Move { rollout, ring, to_ring, phase, reason, now_ms };
    let moved = match step(now_ms, &known.rollout, members) {
        Step::Rest => return Ok(false),
        Step::Order(which) => {
            for at in which {
                let ordered = database.write(Order { rollout, device: rows[at], now_ms }).await?;
                if ordered {
                    tracing::info!(rollout, device = members[at].device, "a release is ordered");
                }
            }
            wake.notify_one();
            return Ok(true);
        }
        Step::Advance => {
            tracing::info!(rollout, ring = ring + 1, "the next ring of a rollout begins");
            to(ring + 1, Phase::Running, None)
        }
        Step::Finish => {
            tracing::info!(rollout, "a rollout is done");
            to(ring, Phase::Done, None)
        }
        Step::Halt(why) => {
            tracing::error!(rollout, %why, "a rollout is halted");
            to(ring, Phase::Halted, Some(why.to_string()))
        }
    };
    database.write(moved).await
}
