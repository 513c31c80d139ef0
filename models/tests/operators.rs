//! Each fused operator against its meaning, through tract.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::encoder::{Random, Sizes, add_norm, assert_close, linear};
use common::onnx::{Attribute, Dim, Graph, Values};
use common::{encoder::Encoder, reference, run_onnx};
use tract_onnx::prelude::Tensor;

const PIECES: [usize; 6] = [1, 2, 15, 16, 33, 130];

fn rows(values: &[f32], width: usize) -> Tensor {
    Tensor::from_shape(&[1, values.len() / width, width], values).unwrap()
}

fn graph(width: usize) -> Graph {
    let mut graph = Graph::default();
    graph.input("x", &[Dim::Fixed(1), Dim::Pieces, Dim::Fixed(width as i64)]);
    graph
}

fn finish(mut graph: Graph, output: &str, width: usize) -> Vec<u8> {
    graph.output(output, &[Dim::Fixed(1), Dim::Pieces, Dim::Fixed(width as i64)]);
    graph.to_bytes()
}

#[test]
fn linear_is_the_quantised_product() {
    let mut random = Random(1);
    for (inputs, outputs, gelu) in [(32, 48, false), (70, 33, true), (384, 96, true), (1, 1, false)]
    {
        let layer = random.linear(inputs, outputs, gelu);
        let mut graph = graph(inputs);
        let out = linear(&mut graph, "linear", "x", &layer);
        let onnx = finish(graph, &out, outputs);
        for pieces in PIECES {
            let mut x = random.units(pieces * inputs, 3.0);
            x[..inputs].fill(0.0);
            let got = run_onnx(&onnx, rows(&x, inputs)).unwrap();
            let what = format!("{inputs}x{outputs} {pieces} pieces");
            assert_close(&got, &layer.run(&x), 2e-6, &what);
        }
    }
}

#[test]
fn attention_is_softmax_of_scaled_dot_products() {
    let mut random = Random(2);
    for (width, heads) in [(32, 2), (48, 3), (40, 4), (21, 3), (384, 12)] {
        let mut graph = graph(3 * width);
        let heads_attribute = [("heads", Attribute::Int(heads as i64))];
        let out = graph.node("LfAttention", "mix", &["x"], &heads_attribute);
        let onnx = finish(graph, &out, width);
        for pieces in PIECES {
            let qkv = random.units(pieces * 3 * width, 4.0);
            let got = run_onnx(&onnx, rows(&qkv, 3 * width)).unwrap();
            let expected = reference::attention(&qkv, width, heads);
            assert_close(&got, &expected, 2e-5, &format!("{width}/{heads} {pieces} pieces"));
        }
    }
}

#[test]
fn attention_survives_scores_beyond_the_exponential() {
    let width = 16;
    let mut graph = graph(3 * width);
    let out = graph.node("LfAttention", "mix", &["x"], &[("heads", Attribute::Int(1))]);
    let onnx = finish(graph, &out, width);
    let qkv = Random(3).units(5 * 3 * width, 200.0);
    let got = run_onnx(&onnx, rows(&qkv, 3 * width)).unwrap();
    assert!(got.iter().all(|x| x.is_finite()), "{got:?}");
}

#[test]
fn add_norm_normalises_the_sum() {
    let mut random = Random(4);
    for width in [1, 24, 33, 384] {
        let norm = random.norm(width);
        let mut graph = graph(width);
        // The same tensor twice: the operator must not write over an input that is still read.
        let out = add_norm(&mut graph, "norm", ["x", "x"], &norm);
        let onnx = finish(graph, &out, width);
        for pieces in PIECES {
            let x = random.units(pieces * width, 5.0);
            let got = run_onnx(&onnx, rows(&x, width)).unwrap();
            let expected = norm.run(&reference::add(&x, &x));
            // With one number a row is its own mean; with few, differences are magnified.
            assert_close(&got, &expected, 2e-5, &format!("{width} wide, {pieces} pieces"));
        }
    }
}

#[test]
fn a_random_encoder_agrees_with_its_reference_at_every_length() {
    for (seed, width, heads, inner) in [(5, 48, 3, 80), (6, 40, 4, 100)] {
        let sizes = Sizes { vocabulary: 90, positions: 64, width, heads, inner, layers: 3 };
        let mut random = Random(seed);
        let encoder = Encoder::random(sizes, &mut random);
        let onnx = encoder.onnx();
        for pieces in [1, 2, 7, 16, 31, 64] {
            let ids: Vec<i64> = (0..pieces).map(|_| (random.next() % 90) as i64).collect();
            let input = Tensor::from_shape(&[1, pieces], &ids).unwrap();
            let got = run_onnx(&onnx, input).unwrap();
            // A last bit that turns one rounding moves the result by about a hundredth.
            assert_close(&got, &encoder.run(&ids), 0.05, &format!("{width} wide, {pieces} pieces"));
        }
    }
}

/// Each graph is wrong in one way; loading or running it must say which, not panic.
#[test]
fn wrong_graphs_are_refused_with_the_reason() {
    let mut random = Random(7);
    let x = || Tensor::zero::<f32>(&[1, 3, 8]).unwrap();
    let refuse = |onnx: &[u8], input: Tensor, reason: &str| {
        let error = format!("{:#}", run_onnx(onnx, input).unwrap_err());
        assert!(error.contains(reason), "{error}");
    };

    let mut wrong = graph(8);
    let out = linear(&mut wrong, "linear", "x", &random.linear(9, 4, false));
    refuse(&finish(wrong, &out, 4), x(), "weight_q has 9 rows");

    let mut layer = random.linear(8, 4, false);
    layer.bias.pop();
    let mut wrong = graph(8);
    let shape = [8, 4];
    let weight = wrong.constant("w", &shape, &Values::I8(&layer.weight));
    let scales = wrong.constant("s", &[4], &Values::F32(&layer.scales));
    let bias = wrong.constant("b", &[3], &Values::F32(&layer.bias));
    let out = wrong.node("LfLinear", "linear", &["x", &weight, &scales, &bias], &[]);
    refuse(&finish(wrong, &out, 4), x(), "bias has 3 values, 4 expected");

    let mut wrong = graph(8);
    let bad = [("activation", Attribute::Text("tanh"))];
    let out = wrong.node("LfLinear", "linear", &["x", &weight, &scales, &bias], &bad);
    refuse(&finish(wrong, &out, 4), x(), "activation \"tanh\" is not known");

    let mut wrong = graph(9);
    let out = wrong.node("LfAttention", "mix", &["x"], &[("heads", Attribute::Int(2))]);
    let nine = Tensor::zero::<f32>(&[1, 3, 9]).unwrap();
    refuse(&finish(wrong, &out, 3), nine, "cannot share 9 columns among 2 heads");

    let sizes = Sizes { vocabulary: 5, positions: 4, width: 16, heads: 1, inner: 16, layers: 1 };
    let onnx = Encoder::random(sizes, &mut random).onnx();
    let unknown = Tensor::from_shape(&[1, 2], &[1i64, 5]).unwrap();
    refuse(&onnx, unknown, "there is no word piece 5");
    let negative = Tensor::from_shape(&[1, 2], &[1i64, -1]).unwrap();
    refuse(&onnx, negative, "there is no word piece -1");
    let long = Tensor::from_shape(&[1, 5], &[1i64; 5]).unwrap();
    refuse(&onnx, long, "the encoder has 4 positions");
}
