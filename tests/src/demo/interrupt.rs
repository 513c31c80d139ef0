//! Ctrl-C: the demo ends in good order, so that no process and no directory stays behind.

use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Becomes true on SIGINT or SIGTERM.
///
/// # Errors
/// When the signals cannot be listened for.
pub(super) fn listen() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let seen = Arc::clone(&interrupted);
    thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            seen.store(true, Ordering::Relaxed);
        });
    });
    Ok(interrupted)
}
