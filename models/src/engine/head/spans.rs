//! A class for each pair of a first and a last word: a biaffine product (Dozat and Manning 2017).
//!
//! `start` and `end` are two views of a piece, linear layers with a GELU. The logits of a pair are
//! `start · product · end`, one matrix for each class, and linear layers on both.

use super::graph::Graph;
use super::{Hidden, Output};
use crate::ops::{Dense, activate, add_products};

const NODES: [&str; 25] = [
    "start_linear_product = MatMul(hidden, start.weight)",
    "start_linear = Add(start_linear_product, start.bias)",
    "start_scaled = Mul(start_linear, start.root)",
    "start_erf = Erf(start_scaled)",
    "start_share = Add(start_erf, start.one)",
    "start_twice = Mul(start_linear, start_share)",
    "start = Mul(start_twice, start.half)",
    "end_linear_product = MatMul(hidden, end.weight)",
    "end_linear = Add(end_linear_product, end.bias)",
    "end_scaled = Mul(end_linear, end.root)",
    "end_erf = Erf(end_scaled)",
    "end_share = Add(end_erf, end.one)",
    "end_twice = Mul(end_linear, end_share)",
    "end = Mul(end_twice, end.half)",
    "turned = MatMul(start, product)",
    "end_turned = Transpose(end) perm=[0, 2, 1]",
    "pairs_first = MatMul(turned, end_turned)",
    "pairs = Transpose(pairs_first) perm=[1, 2, 0]",
    "from_start_product = MatMul(start, of_start.weight)",
    "from_start = Add(from_start_product, of_start.bias)",
    "from_end = MatMul(end, of_end.weight)",
    "from_start_wide = Unsqueeze(from_start, axis_2)",
    "from_end_wide = Unsqueeze(from_end, axis_1)",
    "from_both = Add(from_start_wide, from_end_wide)",
    "logits = Add(pairs, from_both)",
];

/// The head.
pub(in super::super) struct SpanHead {
    start: Dense,
    end: Dense,
    /// All classes side by side.
    product: Dense,
    of_start: Dense,
    of_end: Dense,
}

impl SpanHead {
    pub(super) fn of(graph: &Graph, width: usize) -> Option<SpanHead> {
        if !graph.is(&NODES, &["logits"]) {
            return None;
        }
        let root = std::f32::consts::FRAC_1_SQRT_2;
        let scalars = ["start", "end"].into_iter().all(|view| {
            let is = |name: &str, value| graph.is_number(&format!("{view}.{name}"), value);
            is("root", root) && is("one", 1.0) && is("half", 0.5)
        });
        if !scalars || !graph.is_number("axis_1", 1.0) || !graph.is_number("axis_2", 2.0) {
            return None;
        }
        let (start, end) = (graph.dense("start", width)?, graph.dense("end", width)?);
        let inner = start.outputs();
        let classes = *graph.shape("product")?.first()?;
        let product = graph.numbers("product", &[classes, inner, inner])?;
        let head = SpanHead {
            product: Dense::new(&side_by_side(product, classes, inner), None, inner),
            of_start: graph.dense("of_start", inner)?,
            of_end: graph.dense("of_end", inner)?,
            start,
            end,
        };
        let fits = head.end.outputs() == inner
            && head.of_start.outputs() == classes
            && head.of_end.outputs() == classes;
        fits.then_some(head)
    }

    pub(super) fn row(&self) -> usize {
        self.of_start.outputs()
    }

    pub(super) fn run(&self, hidden: Hidden<'_>, pairs: &[(usize, usize)]) -> Output {
        let (classes, inner) = (self.row(), self.product.inputs());
        let first = Side::of(pairs.iter().map(|pair| pair.0), hidden, &self.start);
        let last = Side::of(pairs.iter().map(|pair| pair.1), hidden, &self.end);
        let turned = self.product.run(&first.rows());
        let from_start = self.of_start.run(&first.rows());
        let from_end = self.of_end.run(&last.rows());
        let mut logits = Vec::with_capacity(pairs.len() * classes);
        for &(start, end) in pairs {
            let (start, end) = (first.at[start], last.at[end]);
            let from_start = &from_start[start * classes..][..classes];
            let from_end = &from_end[end * classes..][..classes];
            let at = logits.len();
            logits.extend(from_start.iter().zip(from_end).map(|(start, end)| start + end));
            let turned = &turned[start * classes * inner..][..classes * inner];
            add_products(&last.view[end * inner..][..inner], turned, &mut logits[at..]);
        }
        Output { logits, familiarity: None }
    }
}

/// `[class][row][column]` as `[row][class][column]`.
fn side_by_side(product: &[f32], classes: usize, inner: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(product.len());
    for row in 0..inner {
        for class in 0..classes {
            out.extend(&product[(class * inner + row) * inner..][..inner]);
        }
    }
    out
}

/// One view of the pieces that are asked for.
struct Side {
    /// Rows one after the other, as wide as `width`.
    view: Vec<f32>,
    width: usize,
    /// The row of each place.
    at: Vec<usize>,
}

impl Side {
    fn of(places: impl Iterator<Item = usize>, hidden: Hidden<'_>, view: &Dense) -> Side {
        let mut at = vec![usize::MAX; hidden.numbers.len() / hidden.width];
        let mut found = Vec::new();
        for place in places {
            if at[place] == usize::MAX {
                at[place] = found.len();
                found.push(place);
            }
        }
        let mut rows = view.run(&hidden.rows(&found));
        activate(&mut rows);
        Side { view: rows, width: view.outputs(), at }
    }

    fn rows(&self) -> Vec<&[f32]> {
        self.view.chunks_exact(self.width).collect()
    }
}
