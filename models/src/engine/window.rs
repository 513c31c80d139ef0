//! Cutting a long text into passes of the encoder.
//!
//! Windows overlap, and a piece's prediction is taken from the window in which it lies furthest
//! from an inner edge, so that every prediction has context on both sides.

use std::ops::Range;

/// One pass of the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The pieces it reads.
    pub(super) reads: Range<usize>,
    /// The pieces whose predictions are taken from it; together the windows own all pieces once.
    pub(super) owns: Range<usize>,
}

/// Windows of at most `capacity` pieces over `pieces`; one, empty, for a text without pieces.
///
/// They overlap by `widest` pieces at least, as far as that goes: any stretch of so many pieces
/// lies whole in the window that owns its middle.
pub(super) fn windows(pieces: usize, capacity: usize, widest: usize) -> Vec<Window> {
    if pieces <= capacity {
        return vec![Window { reads: 0..pieces, owns: 0..pieces }];
    }
    // A quarter: 31 of 126 pieces, a clause or two of context for a quarter more work. Three
    // quarters at most, or one monstrous word would multiply the work.
    let overlap = widest.clamp(capacity / 4, capacity - capacity / 4);
    let step = capacity - overlap;
    let mut windows = Vec::new();
    let (mut start, mut owned) = (0, 0);
    loop {
        let end = (start + capacity).min(pieces);
        let last = end == pieces;
        let owns_end = if last { pieces } else { end - overlap / 2 };
        windows.push(Window { reads: start..end, owns: owned..owns_end });
        if last {
            return windows;
        }
        owned = owns_end;
        start += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_take_one_window() {
        assert_eq!(windows(0, 126, 0), [Window { reads: 0..0, owns: 0..0 }]);
        assert_eq!(windows(126, 126, 9), [Window { reads: 0..126, owns: 0..126 }]);
    }

    #[test]
    fn windows_own_every_piece_once_and_read_what_they_own() {
        for capacity in [6, 7, 126] {
            for pieces in capacity + 1..capacity * 7 {
                let windows = windows(pieces, capacity, 0);
                let mut next = 0;
                for window in &windows {
                    assert_eq!(window.owns.start, next, "{capacity} {pieces}: {windows:?}");
                    assert!(!window.owns.is_empty(), "{capacity} {pieces}: {windows:?}");
                    assert!(window.reads.start <= window.owns.start);
                    assert!(window.owns.end <= window.reads.end);
                    assert!(window.reads.len() <= capacity);
                    next = window.owns.end;
                }
                assert_eq!(next, pieces, "{capacity}: {windows:?}");
            }
        }
    }

    #[test]
    fn the_window_that_owns_the_middle_of_a_stretch_reads_all_of_it() {
        for (capacity, widest) in [(6, 3), (13, 9), (126, 1), (126, 40), (126, 95), (126, 500)] {
            for pieces in [capacity + 1, capacity * 3, capacity * 5 + 7] {
                let windows = windows(pieces, capacity, widest);
                let overlap = widest.min(capacity - capacity / 4);
                for start in 0..pieces - overlap {
                    let stretch = start..start + overlap;
                    let middle = start.midpoint(stretch.end - 1);
                    let owner = windows.iter().find(|window| window.owns.contains(&middle));
                    let reads = &owner.unwrap().reads;
                    assert!(
                        reads.start <= stretch.start && stretch.end <= reads.end,
                        "{capacity} {widest}: {stretch:?} is not in {reads:?}"
                    );
                }
            }
        }
    }
}
