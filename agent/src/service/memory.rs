//! How much memory this process takes, as Linux tells it, and giving back what it does not need.

/// Resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident_bytes: u64,
    /// At its peak.
    pub(crate) peak_bytes: u64,
}

/// Of this process; `None` where there is no `/proc`.
pub(crate) fn of_this_process() -> Option<Memory> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Blocks from this size on are taken from the system one by one, and go back when they are freed.
/// The coding of a batch has such a block; those of an inference are smaller.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: i32 = 1_000_000;

/// Keeps glibc from holding on to large blocks: it raises the limit above which they go back, to up
/// to 32 MB, as soon as one was freed. Other C libraries give back by themselves.
pub(crate) fn keep_large_apart() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc has no safe binding; it takes two numbers")]
    // SAFETY: `mallopt` sets a number of the allocator's, under its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

/// Gives memory that was freed back to the system. Loading a model frees tens of megabytes, which
/// glibc would keep for good. Other C libraries give back by themselves.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "glibc has no safe binding; it takes no pointer and any thread may call it"
    )]
    // SAFETY: `malloc_trim` only touches the allocator's own free lists, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn parse(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Memory { resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(text), Some(Memory { resident_bytes: 1 << 20, peak_bytes: 2 << 20 }));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
