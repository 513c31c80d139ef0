//! A tag for each word: a linear layer on its first piece.

use super::graph::Graph;
use super::{Hidden, Output};
use crate::ops::Dense;

const NODES: [&str; 2] =
    ["logits_product = MatMul(hidden, tag.weight)", "logits = Add(logits_product, tag.bias)"];

/// The head.
pub(in super::super) struct TagHead {
    tag: Dense,
}

impl TagHead {
    pub(super) fn of(graph: &Graph, width: usize) -> Option<TagHead> {
        let is_form = graph.is(&NODES, &["logits"]);
        is_form.then(|| graph.dense("tag", width)).flatten().map(|tag| TagHead { tag })
    }

    pub(super) fn row(&self) -> usize {
        self.tag.outputs()
    }

    pub(super) fn run(&self, hidden: Hidden<'_>, places: &[usize]) -> Output {
        Output { logits: self.tag.run(&hidden.rows(places)), familiarity: None }
    }
}
