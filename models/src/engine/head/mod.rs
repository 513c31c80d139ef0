//! The head of a task: logits for what a window was read for.
//!
//! Heads in the forms that `models/train` writes are recognised (`graph`) and computed here, for
//! the pieces alone that are asked for. tract runs any other head on all pieces, and what is asked
//! for is taken out of its output.

mod foreign;
mod graph;
mod label;
mod spans;
mod tags;

use foreign::Foreign;
use graph::Graph;
use label::LabelHead;
use spans::SpanHead;
use tags::TagHead;
use tract_onnx::prelude::TValue;

/// A head, which several tasks may share.
pub(super) enum Head {
    Label(LabelHead),
    Tags(TagHead),
    Spans(SpanHead),
    Foreign(Foreign),
}

/// What is asked of a head. Places are those of pieces in a window, special ones included.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// One row, and how familiar the text is.
    Label,
    /// A row for each place.
    Words(&'a [usize]),
    /// A row for each pair of places.
    Pairs(&'a [(usize, usize)]),
}

/// What a head gave: rows in the order in which they were asked for.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) logits: Vec<f32>,
    /// Of a label.
    pub(super) familiarity: Option<f32>,
}

/// An encoder's output: a row for each piece.
#[derive(Clone, Copy)]
pub(super) struct Hidden<'a> {
    numbers: &'a [f32],
    width: usize,
}

impl<'a> Hidden<'a> {
    fn row(self, place: usize) -> &'a [f32] {
        &self.numbers[place * self.width..][..self.width]
    }

    fn rows(self, places: &[usize]) -> Vec<&'a [f32]> {
        places.iter().map(|place| self.row(*place)).collect()
    }
}

impl Head {
    /// Reads a head for an encoder's output so many numbers wide.
    pub(super) fn load(onnx: &[u8], width: usize) -> Result<Head, String> {
        if let Some(graph) = Graph::read(onnx) {
            if let Some(head) = LabelHead::of(&graph, width) {
                return Ok(Head::Label(head));
            }
            if let Some(head) = TagHead::of(&graph, width) {
                return Ok(Head::Tags(head));
            }
            if let Some(head) = SpanHead::of(&graph, width) {
                return Ok(Head::Spans(head));
            }
        }
        Ok(Head::Foreign(Foreign::load(onnx, width)?))
    }

    /// Runs it on an encoder's output; `row` is how many logits a row has.
    pub(super) fn run(
        &self,
        hidden: &TValue,
        wanted: Wanted<'_>,
        row: usize,
    ) -> Result<Output, String> {
        if let Head::Foreign(head) = self {
            return head.run(hidden, wanted, row);
        }
        let &[1, _, width] = hidden.shape() else {
            return Err(format!("it reads rows, not {:?}", hidden.shape()));
        };
        let hidden = Hidden { numbers: super::network::numbers(hidden)?, width };
        let (output, found) = match (self, wanted) {
            (Head::Label(head), Wanted::Label) => (head.run(hidden), head.row()),
            (Head::Tags(head), Wanted::Words(places)) => (head.run(hidden, places), head.row()),
            (Head::Spans(head), Wanted::Pairs(pairs)) => (head.run(hidden, pairs), head.row()),
            (_, wanted) => {
                return Err(format!("it labels {}, not {}", self.subject(), wanted.subject()));
            }
        };
        match found == row {
            true => Ok(output),
            false => Err(format!("it gives {found} logits in a row, {row} are expected")),
        }
    }

    fn subject(&self) -> &'static str {
        match self {
            Head::Label(_) => Wanted::Label.subject(),
            Head::Tags(_) => Wanted::Words(&[]).subject(),
            Head::Spans(_) => Wanted::Pairs(&[]).subject(),
            Head::Foreign(_) => "anything",
        }
    }
}

impl Wanted<'_> {
    fn subject(self) -> &'static str {
        match self {
            Wanted::Label => "whole texts",
            Wanted::Words(_) => "words",
            Wanted::Pairs(_) => "pairs of words",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Package, shipped_dirs, shipped_trust};
    use tract_onnx::prelude::{IntoTValue as _, Tensor};

    /// Numbers between -1 and 1, repeatable.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at as f32) * 12.9898).sin()).collect()
    }

    /// What is computed here is what tract makes of the file.
    #[test]
    fn heads_of_the_shipped_packages_are_recognised_and_compute_what_their_graphs_say() {
        let trust = shipped_trust().unwrap();
        for dir in shipped_dirs().unwrap() {
            let package = Package::open(&dir, &trust).unwrap();
            let width = package.manifest().encoder.hidden;
            for (name, task) in &package.manifest().tasks {
                let onnx = package.file(&task.head);
                let head = Head::load(onnx, width).unwrap();
                assert!(!matches!(head, Head::Foreign(_)), "{name} has a head of another form");
                let foreign = Head::Foreign(Foreign::load(onnx, width).unwrap());
                for pieces in [2, 3, 21] {
                    let hidden = numbers(pieces * width);
                    let hidden = Tensor::from_shape(&[1, pieces, width], &hidden).unwrap();
                    let hidden = hidden.into_tvalue();
                    let places: Vec<usize> = (1..pieces).rev().collect();
                    let pairs: Vec<(usize, usize)> =
                        places.iter().flat_map(|a| [(0, *a), (*a, *a)]).collect();
                    let (wanted, row) = match head {
                        Head::Label(_) => (Wanted::Label, task.labels.len()),
                        Head::Tags(_) => (Wanted::Words(&places), 1 + 2 * task.labels.len()),
                        _ => (Wanted::Pairs(&pairs), 1 + task.labels.len()),
                    };
                    let got = head.run(&hidden, wanted, row).unwrap();
                    let expected = foreign.run(&hidden, wanted, row).unwrap();
                    assert_eq!(got.logits.len(), expected.logits.len(), "{name}");
                    for (got, expected) in got.logits.iter().zip(&expected.logits) {
                        let error = (got - expected).abs() / expected.abs().max(1.0);
                        assert!(error < 1e-4, "{name}: {got} is not {expected}");
                    }
                    let both = got.familiarity.zip(expected.familiarity);
                    assert_eq!(both.is_some(), matches!(head, Head::Label(_)), "{name}");
                    assert!(both.is_none_or(|(a, b)| (a - b).abs() < 1e-4), "{name}: {both:?}");
                }
                let error = head.run(
                    &Tensor::zero::<f32>(&[1, 2, width]).unwrap().into_tvalue(),
                    match head {
                        Head::Label(_) => Wanted::Words(&[0]),
                        _ => Wanted::Label,
                    },
                    1,
                );
                assert!(error.unwrap_err().starts_with("it labels"), "{name}");
            }
        }
    }
}
