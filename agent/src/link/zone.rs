//! What the system's time zone adds to UTC.

/// Seconds to add to UTC now; zero where the system does not say.
pub(super) fn offset_secs(wall_ms: u64) -> i32 {
    // Of the C library's own type, which on musl must not be named while it changes.
    let Ok(secs) = (wall_ms / 1000).try_into() else { return 0 };
    #[expect(unsafe_code, reason = "the standard library knows no time zones")]
    // SAFETY: `tm` is plain data for which zeroes are valid; both pointers are to locals. The C
    // library reads TZ; nothing in this process changes its environment after the start.
    let (filled, tm) = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        let filled = !libc::localtime_r(&raw const secs, &raw mut tm).is_null();
        (filled, tm)
    };
    if filled { i32::try_from(tm.tm_gmtoff).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_offset_is_less_than_a_day() {
        assert!(super::offset_secs(1_700_000_000_000).abs() < 24 * 3600);
        assert_eq!(super::offset_secs(u64::MAX), 0);
    }
}
