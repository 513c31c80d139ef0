//! Which bytes of a file a request asks for, as RFC 9110 has it; one range, no more.

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The whole file: there is no range, or one that may be ignored.
    Whole,
    /// From the first of these up to, not including, the second.
    Part(u64, u64),
    /// Nothing that the file has.
    Beyond,
}

/// Reads a `Range` header about a file of so many bytes.
pub fn asked(header: Option<&str>, bytes: u64) -> Asked {
    let Some(ranges) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    // Several ranges may be answered with the whole.
    let Some((first, last)) = ranges.trim().split_once('-') else { return Asked::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => within(first, bytes, bytes),
        (Some(first), Some(last)) if first <= last => within(first, last.saturating_add(1), bytes),
        (None, Some(count)) if first.is_empty() => {
            within(bytes.saturating_sub(count), if count == 0 { 0 } else { bytes }, bytes)
        }
        _ => Asked::Whole,
    }
}

fn within(first: u64, end: u64, bytes: u64) -> Asked {
    let end = end.min(bytes);
    if first < end { Asked::Part(first, end) } else { Asked::Beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        #[rustfmt::skip]
        let cases = [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0, 100)),
            (Some("bytes=7-"), Asked::Part(7, 100)),
            (Some(" bytes=0-0 "), Asked::Part(0, 1)),
            (Some("bytes=10-19"), Asked::Part(10, 20)),
            (Some("bytes=90-500"), Asked::Part(90, 100)),
            (Some("bytes=90-99999999999999999999999"), Asked::Part(90, 100)),
            (Some("bytes=-10"), Asked::Part(90, 100)),
            (Some("bytes=-500"), Asked::Part(0, 100)),
            (Some("bytes=100-"), Asked::Beyond),
            (Some("bytes=200-300"), Asked::Beyond),
            (Some("bytes=-0"), Asked::Beyond),
            (Some("bytes=5-2"), Asked::Whole),
            (Some("bytes=0-1,5-6"), Asked::Whole),
            (Some("bytes=a-b"), Asked::Whole),
            (Some("bytes=-"), Asked::Whole),
            (Some("lines=1-2"), Asked::Whole),
        ];
        for (header, want) in cases {
            assert_eq!(asked(header, 100), want, "{header:?}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Beyond);
    }
}
