//! A disk that takes its time to flush. Disks of servers and virtual machines may have a cache
//! that survives a power cut, and flush in microseconds; flash cards take milliseconds. Everything
//! that this process makes durable goes through here, whoever asks: Rust, sled or SQLite.

#![expect(unsafe_code, reason = "stands in the place of two functions of the C library")]

use libc::{c_int, c_long};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static EXTRA_MS: AtomicU64 = AtomicU64::new(0);

/// From now on each flush takes this much longer.
pub(crate) fn slow_down(extra_ms: u64) {
    EXTRA_MS.store(extra_ms, Ordering::Relaxed);
}

fn flushed(result: c_long) -> c_int {
    let extra = Duration::from_millis(EXTRA_MS.load(Ordering::Relaxed));
    if !extra.is_zero() {
        std::thread::sleep(extra);
    }
    c_int::try_from(result).unwrap_or(-1)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    flushed(unsafe { libc::syscall(libc::SYS_fdatasync, fd) })
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    flushed(unsafe { libc::syscall(libc::SYS_fsync, fd) })
}
