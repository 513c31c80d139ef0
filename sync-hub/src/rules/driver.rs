//! Sends devices what they should have of the rules, while a hub runs.

use super::Signer;
use super::books::{SendRule, What, due, stamp};
use crate::database::{Database, DbError};
use crate::hub::now_ms;
use crate::identity::Authority;
use crate::identity::IdentityError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often it is looked whether rules came or went: one query of a small table.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at everything without that, for devices and labels that are new: once in so many.
const LOOKS_APART: u32 = 60;

/// Until the database is closed.
pub(crate) async fn drive(database: Database, authority: Arc<Authority>, wake: Arc<Notify>) {
    let mut known = None;
    let mut looks_left = 0;
    loop {
        match look(&database, &authority, &wake, (&mut known, &mut looks_left)).await {
            Ok(()) => {}
            Err(DriveError::Database(DbError::Closed)) => return,
            Err(error) => tracing::warn!(%error, "devices learn of rules later"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

async fn look(
    database: &Database,
    authority: &Authority,
    wake: &Notify,
    (known, looks_left): (&mut Option<(i64, i64)>, &mut u32),
) -> Result<(), DriveError> {
    let now = database.read(stamp).await?;
    if *known == Some(now) && (now.0 == 0 || *looks_left > 0) {
        *looks_left = looks_left.saturating_sub(1);
        return Ok(());
    }
    let signer = Arc::new(Signer::of(authority)?);
    loop {
        let name = signer.name.clone();
        let found = database.read(move |reader| due(reader, &name)).await?;
        if found.is_empty() {
            break;
        }
        let mut sent = false;
        for due in found {
            let (device, what) = (due.name.clone(), due.what);
            let command = SendRule { due, signer: Arc::clone(&signer), now_ms: now_ms() };
            if database.write(command).await? {
                sent = true;
                match what {
                    What::Rule(rule) => tracing::info!(%device, rule, "a device is given a rule"),
                    What::Empty(slot) => tracing::info!(%device, slot, "a rule is taken back"),
                }
            } else {
                tracing::warn!(%device, "a device has no slot for another rule: remove some");
            }
        }
        wake.notify_one();
        if !sent {
            break;
        }
    }
    (*known, *looks_left) = (Some(now), LOOKS_APART);
    Ok(())
}
