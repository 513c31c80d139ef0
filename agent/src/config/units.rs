//! Sizes and durations as people write them.

use std::time::Duration;

/// `512 MiB`, `16KiB`, `2 GB`, `300` (bytes). Units without "i" are decimal.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `72h`, `90s`, `1day 12h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// A size in the unit that makes it short.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    whole.map_or_else(|| format!("{bytes} B"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        #[rustfmt::skip]
        let cases = [
            ("512 MiB", Some(512 << 20)), ("16KiB", Some(16 << 10)), ("2 GB", Some(2_000_000_000)),
            (" 300 ", Some(300)), ("0 B", Some(0)), ("1tib", Some(1 << 40)),
            ("", None), ("MiB", None), ("-1 MiB", None), ("1.5 GiB", None), ("5 apples", None),
            ("99999999999 TiB", None), ("1 MiB MiB", None), ("१ MiB", None),
        ];
        for (text, want) in cases {
            assert_eq!(size_bytes(text), want, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("72h"), Some(Duration::from_secs(259_200)));
        assert_eq!(duration("1day 12h"), Some(Duration::from_secs(129_600)));
        for bad in ["", "72", "h", "-1h", "99999999999999999y"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_read_back_what_is_shown() {
        for bytes in [0, 1, 1023, 1024, 16 << 10, 512 << 20, (1 << 30) + 1, 3 << 40] {
            assert_eq!(size_bytes(&show_bytes(bytes)), Some(bytes));
        }
    }
}
