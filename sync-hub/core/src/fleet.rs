//! Figures derived from what is stored.

use std::ops::Range;

/// Records of one stream that are durable on the device and not yet committed here. The device
/// told its end when it last greeted, so the figure is as old as that.
pub fn backlog(end: u64, mark: u64) -> u64 {
    end.saturating_sub(mark)
}

/// How many records the ranges cover. A loss is often told twice, by the device and by the gap
/// that it leaves, so ranges overlap; each record counts once.
pub fn lost_records(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_by_key(|range| range.start);
    let mut covered_to = 0;
    ranges.into_iter().fold(0_u64, |total, range| {
        let start = range.start.max(covered_to);
        covered_to = covered_to.max(range.end);
        total.saturating_add(range.end.saturating_sub(start))
    })
}

/// Wall clock of the device minus the hub's, in milliseconds: a box whose clock is wrong shows.
pub fn clock_offset_ms(device_ms: u64, hub_ms: u64) -> i64 {
    let (device, hub) = (i128::from(device_ms), i128::from(hub_ms));
    i64::try_from(device - hub).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_told_twice_counts_once() {
        assert_eq!(lost_records(vec![]), 0);
        assert_eq!(lost_records(vec![3..5, 3..5]), 2);
        assert_eq!(lost_records(vec![4..9, 0..2, 3..5, 8..9]), 8);
        assert_eq!(
            lost_records(vec![Range { start: 5, end: 3 }, 0..1]),
            1,
            "damage counts nothing"
        );
    }

    #[test]
    fn offsets_have_a_sign() {
        assert_eq!(clock_offset_ms(1_000, 4_000), -3_000);
        assert_eq!(clock_offset_ms(u64::MAX, 0), i64::MAX);
        assert_eq!(backlog(5, 9), 0, "the device was rolled back");
    }
}
