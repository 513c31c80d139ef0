//! Attention whose scores are changed between the product and the softmax.
//!
//! All scores of a head are held at once, a matrix of pieces by pieces. `LfAttention` is the
//! faster one where nothing is changed.

use super::kernel::{LANES, exp_negative, largest_of, sum_of, vectorised};
use std::cell::RefCell;

/// The sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) pieces: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
}

impl Shape {
    pub(super) fn head_width(self) -> usize {
        self.width / self.heads
    }
}

/// What changes the scores.
pub(super) enum Bias<'a> {
    /// Pieces further apart than this do not see each other.
    Window(usize),
    /// Products with what stands for the distance of two pieces.
    Relative(&'a Relative),
}

/// Keys and queries for every distance: row `query - key + positions - 1`, all heads side by side.
#[derive(Debug)]
pub(super) struct Relative {
    pub(super) positions: usize,
    pub(super) keys: Table,
    pub(super) queries: Table,
}

/// Rows in int8, each with its scale.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Vec<i8>,
    pub(super) scales: Vec<f32>,
}

/// Buffers that grow to the longest text and stay, one set for each thread.
#[derive(Default)]
struct Scratch {
    /// `[piece][dimension]`.
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    /// `[dimension][piece]`, filled up to whole chunks.
    across: Vec<f32>,
    /// `[dimension][distance]`, likewise.
    distances: Vec<f32>,
    /// `[query][key]`, likewise.
    scores: Vec<f32>,
    /// `[key][query]`, likewise.
    turned: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Attends, `qkv` being queries, keys and values side by side; scores are multiplied by `scale`.
pub(super) fn attend(qkv: &[f32], shape: Shape, scale: f32, bias: &Bias<'_>, out: &mut [f32]) {
    SCRATCH.with_borrow_mut(|scratch| {
        vectorised(
            #[inline(always)]
            || {
                for head in 0..shape.heads {
                    scratch.take(qkv, shape, head, scale);
                    scratch.score(shape);
                    match bias {
                        Bias::Window(reach) => scratch.hide(shape, *reach),
                        Bias::Relative(relative) => scratch.relate(shape, head, scale, relative),
                    }
                    scratch.mix(shape, head, out);
                }
            },
        );
    });
}

/// Columns of a matrix that is read in whole chunks, from any column on.
#[inline(always)]
fn filled(columns: usize) -> usize {
    columns.next_multiple_of(LANES) + LANES
}

/// `out[c] += sum over d of row[d] * matrix[d][first + c]`.
#[inline(always)]
fn add_product(row: &[f32], matrix: &[f32], stride: usize, first: usize, out: &mut [f32]) {
    for (at, out) in out.chunks_exact_mut(LANES).enumerate() {
        let mut sums = [0f32; LANES];
        for (x, line) in row.iter().zip(matrix.chunks_exact(stride)) {
            for (sum, y) in sums.iter_mut().zip(&line[first + at * LANES..][..LANES]) {
                *sum += x * y;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

impl Scratch {
    /// Copies one head's part out of `qkv`, the queries scaled.
    #[inline(always)]
    fn take(&mut self, qkv: &[f32], shape: Shape, head: usize, scale: f32) {
        let Shape { width, .. } = shape;
        let head_width = shape.head_width();
        self.queries.clear();
        self.keys.clear();
        self.values.clear();
        for row in qkv.chunks_exact(3 * width) {
            let part = |part: usize| &row[part * width + head * head_width..][..head_width];
            self.queries.extend(part(0).iter().map(|x| x * scale));
            self.keys.extend(part(1));
            self.values.extend(part(2));
        }
    }

    /// Every query with every key.
    #[inline(always)]
    fn score(&mut self, shape: Shape) {
        let (head_width, stride) = (shape.head_width(), filled(shape.pieces));
        self.across.clear();
        self.across.resize(head_width * stride, 0.0);
        for (piece, key) in self.keys.chunks_exact(head_width).enumerate() {
            for (line, x) in self.across.chunks_exact_mut(stride).zip(key) {
                line[piece] = *x;
            }
        }
        self.scores.clear();
        self.scores.resize(shape.pieces * stride, 0.0);
        let rows = self.scores.chunks_exact_mut(stride);
        for (scores, query) in rows.zip(self.queries.chunks_exact(head_width)) {
            add_product(query, &self.across, stride, 0, &mut scores[..stride - LANES]);
        }
    }

    #[inline(always)]
    fn hide(&mut self, shape: Shape, reach: usize) {
        for (query, scores) in self.scores.chunks_exact_mut(filled(shape.pieces)).enumerate() {
            scores[..query.saturating_sub(reach)].fill(f32::NEG_INFINITY);
            scores[(query + reach + 1).min(shape.pieces)..].fill(f32::NEG_INFINITY);
        }
    }

    /// Adds the products of queries with position keys, and of keys with position queries.
    #[inline(always)]
    fn relate(&mut self, shape: Shape, head: usize, scale: f32, relative: &Relative) {
        let Shape { pieces, .. } = shape;
        let (head_width, stride) = (shape.head_width(), filled(pieces));
        let wide = filled(2 * pieces - 1);
        // From the distance `pieces - 1` down: a query's row then runs along with its keys.
        self.spread(shape, head, relative, &relative.keys, |at| 2 * pieces - 2 - at);
        let rows = self.scores.chunks_exact_mut(stride);
        for (at, (scores, query)) in rows.zip(self.queries.chunks_exact(head_width)).enumerate() {
            let first = pieces - 1 - at;
            add_product(query, &self.distances, wide, first, &mut scores[..stride - LANES]);
        }
        self.spread(shape, head, relative, &relative.queries, |at| at);
        self.turned.clear();
        self.turned.resize(pieces * stride, 0.0);
        let rows = self.turned.chunks_exact_mut(stride);
        for (at, (turned, key)) in rows.zip(self.keys.chunks_exact(head_width)).enumerate() {
            let first = pieces - 1 - at;
            add_product(key, &self.distances, wide, first, &mut turned[..stride - LANES]);
        }
        for (query, scores) in self.scores.chunks_exact_mut(stride).enumerate() {
            for (score, turned) in scores.iter_mut().zip(self.turned.chunks_exact(stride)) {
                *score += turned[query] * scale;
            }
        }
    }

    /// One head's part of a table for the distances of this text; column `at` is the distance
    /// `order(at) - (pieces - 1)`.
    #[inline(always)]
    fn spread(
        &mut self,
        shape: Shape,
        head: usize,
        relative: &Relative,
        table: &Table,
        order: impl Fn(usize) -> usize,
    ) {
        let Shape { pieces, width, .. } = shape;
        let (head_width, wide) = (shape.head_width(), filled(2 * pieces - 1));
        self.distances.clear();
        self.distances.resize(head_width * wide, 0.0);
        for at in 0..2 * pieces - 1 {
            let row = relative.positions - pieces + order(at);
            let scale = table.scales[row];
            let part = &table.rows[row * width + head * head_width..][..head_width];
            for (line, x) in self.distances.chunks_exact_mut(wide).zip(part) {
                line[at] = f32::from(*x) * scale;
            }
        }
    }

    /// Turns scores into weights and adds up the values.
    #[inline(always)]
    fn mix(&mut self, shape: Shape, head: usize, out: &mut [f32]) {
        let Shape { pieces, width, .. } = shape;
        let head_width = shape.head_width();
        let rows = self.scores.chunks_exact_mut(filled(pieces)).zip(out.chunks_exact_mut(width));
        for (scores, out) in rows {
            let scores = &mut scores[..pieces];
            let largest = largest_of(
                scores,
                #[inline(always)]
                |score| score,
            );
            for score in &mut *scores {
                *score = exp_negative(*score - largest);
            }
            let sum = sum_of(
                scores,
                #[inline(always)]
                |power| power,
            );
            let out = &mut out[head * head_width..][..head_width];
            out.fill(0.0);
            for (weight, value) in scores.iter().zip(self.values.chunks_exact(head_width)) {
                let weight = weight / sum;
                for (out, value) in out.iter_mut().zip(value) {
                    *out += weight * value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1, repeatable.
    fn numbers(count: usize, seed: f32) -> Vec<f32> {
        let at = |at: usize| ((at as f32 + seed) * 12.9898).sin() * 43758.547;
        (0..count).map(|i| at(i).fract()).collect()
    }

    fn table(rows: usize, width: usize, seed: f32) -> Table {
        let values = numbers(rows * width, seed);
        #[expect(clippy::cast_possible_truncation, reason = "at most 100")]
        let rows_of = values.iter().map(|x| (x * 100.0) as i8).collect();
        Table {
            rows: rows_of,
            scales: numbers(rows, seed + 0.5).iter().map(|x| x / 50.0).collect(),
        }
    }

    /// One score at a time, in double precision.
    fn expected(qkv: &[f32], shape: Shape, scale: f32, bias: &Bias<'_>) -> Vec<f32> {
        let Shape { pieces, width, .. } = shape;
        let head_width = shape.head_width();
        let mut out = vec![0.0; pieces * width];
        for at in 0..width {
            let first = at / head_width * head_width;
            for query in 0..pieces {
                let mut sums = (0.0, 0.0);
                for key in 0..pieces {
                    let row = |relative: &Relative| relative.positions - 1 + query - key;
                    let mut score = 0.0;
                    for d in first..first + head_width {
                        let q = f64::from(qkv[query * 3 * width + d]);
                        let k = f64::from(qkv[key * 3 * width + width + d]);
                        score += q * k;
                        if let Bias::Relative(relative) = bias {
                            let of = |table: &Table, row: usize| {
                                f64::from(table.rows[row * width + d])
                                    * f64::from(table.scales[row])
                            };
                            score += q * of(&relative.keys, row(relative));
                            score += k * of(&relative.queries, row(relative));
                        }
                    }
                    let is_hidden =
                        matches!(bias, Bias::Window(reach) if query.abs_diff(key) > *reach);
                    let power = if is_hidden { 0.0 } else { (score * f64::from(scale)).exp() };
                    let value = f64::from(qkv[key * 3 * width + 2 * width + at]);
                    sums = (sums.0 + power, sums.1 + power * value);
                }
                #[expect(clippy::cast_possible_truncation, reason = "to single precision")]
                {
                    out[query * width + at] = (sums.1 / sums.0) as f32;
                }
            }
        }
        out
    }

    fn check(shape: Shape, bias: &Bias<'_>) {
        let qkv = numbers(shape.pieces * 3 * shape.width, 0.25);
        let mut out = vec![0.0; shape.pieces * shape.width];
        attend(&qkv, shape, 0.3, bias, &mut out);
        for (got, expected) in out.iter().zip(expected(&qkv, shape, 0.3, bias)) {
            assert!((got - expected).abs() < 1e-5, "{shape:?}: {got} is not {expected}");
        }
    }

    #[test]
    fn distances_and_windows_at_every_length() {
        for (width, heads) in [(32, 2), (21, 3), (48, 1)] {
            let positions = 40;
            let rows = 2 * positions - 1;
            let (keys, queries) = (table(rows, width, 1.0), table(rows, width, 2.0));
            let relative = Relative { positions, keys, queries };
            for pieces in [1, 2, 15, 16, 17, 33, 40] {
                let shape = Shape { pieces, width, heads };
                check(shape, &Bias::Relative(&relative));
                for reach in [0, 3, 100] {
                    check(shape, &Bias::Window(reach));
                }
            }
        }
    }
}
