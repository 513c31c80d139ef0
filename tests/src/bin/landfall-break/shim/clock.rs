//! A wall clock that is behind, as that of a box without a battery.

#![expect(unsafe_code, reason = "a function of the C library, and the system call under it")]

use landfall_tests::faults::CLOCK_VARIABLE;
use libc::{c_int, clockid_t, timespec};
use std::sync::OnceLock;

/// Seconds that the wall clock of this process is behind.
fn behind_secs() -> i64 {
    static BEHIND: OnceLock<i64> = OnceLock::new();
    *BEHIND.get_or_init(|| {
        std::env::var(CLOCK_VARIABLE).ok().and_then(|secs| secs.parse().ok()).unwrap_or(0)
    })
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's arguments.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if done == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the kernel has just written it.
        unsafe { (*time).tv_sec -= behind_secs() };
    }
    c_int::try_from(done).unwrap_or(-1)
}
