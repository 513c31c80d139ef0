//! Asks for a new certificate in time, and takes the one that the hub gives. Both go through the
//! streams, so they need no connection of their own, and go over whatever carries records.

use crate::store::Store;
use crate::sync::Wallet;
use landfall_wire::directive::Directive;
use landfall_wire::record::Event;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// How often it is looked before the question is put again: it is on its way, or the hub is far.
const LOOKS_APART: u32 = 24 * 7;

/// Runs until it is aborted.
pub(super) async fn keep(wallet: Arc<Wallet>, store: Store) {
    let mut following = store.follow_directives();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut looks_left = 0;
    loop {
        tokio::select! {
            _ = look.tick() => {
                if looks_left > 0 {
                    looks_left -= 1;
                } else if ask(&wallet, &store).await {
                    looks_left = LOOKS_APART;
                }
            }
            directive = following.next() => match directive {
                None => return,
                Some(Directive::Certificate(given)) => {
                    let wallet = Arc::clone(&wallet);
                    match tokio::task::spawn_blocking(move || wallet.take(&given)).await {
                        Ok(Ok(true)) => {
                            tracing::info!("a new certificate is used from the next connection on");
                        }
                        Ok(Ok(false)) => {}
                        Ok(Err(error)) => {
                            tracing::error!(error, "the certificate that the hub gave is not used");
                        }
                        Err(error) => tracing::error!(%error, "a new certificate was not taken"),
                    }
                }
                // Those of others.
                Some(
                    Directive::Reporting(_)
                    | Directive::Release(_)
                    | Directive::Rules(_)
                    | Directive::Unknown(_),
                ) => {}
            }
        }
    }
}

/// Whether the hub was asked.
async fn ask(wallet: &Arc<Wallet>, store: &Store) -> bool {
    let its = Arc::clone(wallet);
    let request = tokio::task::spawn_blocking(move || its.request()).await;
    let request = match request {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return false,
        Ok(Err(error)) => {
            tracing::error!(error, "a new certificate cannot be asked for");
            return false;
        }
        Err(error) => {
            tracing::error!(%error, "a new certificate cannot be asked for");
            return false;
        }
    };
    match store.event(Event::CertificateWanted { request }).await {
        Ok(()) => {
            tracing::info!(
                "a third of the certificate's time is over: asked the hub for a new one"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "a new certificate is asked for later");
            false
        }
    }
}
