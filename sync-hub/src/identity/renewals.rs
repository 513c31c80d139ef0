//! Devices that want a new certificate get one through their stream, over whatever carries it.
//!
//! Only the key of the request counts: the name is that of the device whose stream it came in, the
//! time is that of its last certificate. The old certificate stays good until it ends.

use super::{Authority, IdentityError};
use crate::database::commands::{DropRenewal, Renew};
use crate::database::{DbError, queries};
use crate::exchange::Exchange;
use crate::hub::now_ms;
use landfall_wire::directive::{Certificate, Directive};
use landfall_wire::record::Record;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for requests: a query of a table that is empty.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Certificates of one device within a day: one that asks for more is broken, or not ours.
const A_DAY_MAX: i64 = 4;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Runs until it is aborted.
pub(crate) async fn keep(authority: Arc<Authority>, exchange: Arc<Exchange>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Err(error) = renew_all(&authority, &exchange).await {
            tracing::warn!(%error, "certificates are renewed later");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

async fn renew_all(authority: &Authority, exchange: &Exchange) -> Result<(), RenewalError> {
    let day_ago_ms = now_ms().saturating_sub(DAY_MS);
    let wanted = exchange.database.read(move |books| queries::renewals(books, day_ago_ms)).await?;
    for queries::Renewal { device, name, request, lifetime_ms, lately } in wanted {
        let now_ms = now_ms();
        let days = u32::try_from(lifetime_ms.div_ceil(DAY_MS)).unwrap_or(1).max(1);
        let signed = if lately < A_DAY_MAX {
            authority.sign(&name, &request, days, now_ms)
        } else {
            let reason = format!("{lately} certificates in a day are enough");
            Err(IdentityError::Damaged { path: name.as_str().into(), reason })
        };
        match signed {
            Ok(signed) => {
                let (certificate, authorities) = authority.as_der(&signed.certificate_pem)?;
                let given = Certificate { certificate, authorities };
                let record = Record::Directive(Directive::Certificate(given));
                let (serial, expires_ms) = (signed.serial, signed.expires_ms);
                let authority = authority.issuing();
                let command =
                    Renew { device, request, serial, authority, expires_ms, record, now_ms };
                if exchange.database.write(command).await? {
                    tracing::info!(device = %name, days, "renewed a certificate");
                    exchange.wake.notify_one();
                }
            }
            Err(error) => {
                tracing::warn!(device = %name, %error, "a certificate was not renewed");
                let reason = format!("no new certificate: {error}");
                exchange.database.write(DropRenewal { device, request, reason, now_ms }).await?;
            }
        }
    }
    Ok(())
}
