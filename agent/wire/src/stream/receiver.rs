//! What a receiver does with a batch: a pure function of its mark and the batch's numbers.

use std::ops::Range;

/// What to do with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Which of the batch's records are new, by index; apply these, in order.
    pub apply: Range<usize>,
    /// Sequence numbers that the sender no longer holds and that will never come: record them.
    pub gap: Option<Range<u64>>,
    /// The mark after that; acknowledge it once it is committed, even if nothing was new.
    pub mark: u64,
}

/// Compares a batch of `count` records from `first`, sent by a side that holds nothing below
/// `floor`, with the receiver's `mark`.
pub fn receive(mark: u64, floor: u64, first: u64, count: usize) -> Receipt {
    // A sender never holds less than it sends: a floor above `first` can only be damage.
    let floor = floor.min(first);
    let gap = (floor > mark).then_some(mark..floor);
    let mark = mark.max(floor);
    let end = first.saturating_add(count as u64);
    if first > mark || end <= mark {
        // A frame before it is still on its way, or all of it is known already.
        return Receipt { apply: 0..0, gap, mark };
    }
    let skip = usize::try_from(mark - first).unwrap_or(count).min(count);
    Receipt { apply: skip..count, gap, mark: end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        #[rustfmt::skip]
        let cases = [
            // mark floor first count -> apply   gap           mark
            (0,  0,  0, 3, 0..3, None,        3, "first batch"),
            (3,  0,  3, 2, 0..2, None,        5, "in order"),
            (3,  0,  0, 3, 0..0, None,        3, "all known"),
            (3,  0,  1, 4, 2..4, None,        5, "overlap"),
            (3,  3,  5, 2, 0..0, None,        3, "a frame is missing: wait for it"),
            (3,  5,  5, 2, 0..2, Some(3..5),  7, "shed by the sender: gap"),
            (3,  5,  6, 2, 0..0, Some(3..5),  5, "shed, and a frame missing"),
            (3,  9,  5, 2, 0..2, Some(3..5),  7, "floor above first is read as first"),
            (3,  5,  5, 0, 0..0, Some(3..5),  5, "empty batch tells of a gap"),
            (7,  0,  7, 0, 0..0, None,        7, "empty batch"),
        ];
        for (mark, floor, first, count, apply, gap, new_mark, why) in cases {
            let want = Receipt { apply, gap, mark: new_mark };
            assert_eq!(receive(mark, floor, first, count), want, "{why}");
        }
    }
}
