//! For any processor, without vectors.

use super::{LINE_COLUMNS, Line, QUAD, Tile};

/// One row, one line wide.
pub(super) fn tile(row: &[[i8; QUAD]], panel: &[Line], tile: &mut Tile) {
    let sums = &mut tile.0[..LINE_COLUMNS];
    sums.fill(0);
    for (quad, line) in row.iter().zip(panel) {
        let [a, b, c, d] = quad.map(i32::from);
        let (columns, _) = line.0.as_chunks::<QUAD>();
        for (sum, weights) in sums.iter_mut().zip(columns) {
            let [e, f, g, h] = weights.map(i32::from);
            *sum += a * e + b * f + c * g + d * h;
        }
    }
}
