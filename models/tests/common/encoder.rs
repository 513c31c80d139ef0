//! A small encoder with random weights, as an ONNX file and as a reference.

use super::onnx::{Attribute, Dim, Graph, Values};
use super::reference::{self, Embed, Linear, Norm};

/// As BERT has it.
pub(crate) const EPSILON: f32 = 1e-12;

/// A repeatable source of numbers (SplitMix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Between -1 and 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn units(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.unit() * scale).collect()
    }

    /// Between -127 and 127.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() % 255) as u8 as i8).map(|b| b.max(-127)).collect()
    }

    pub(crate) fn linear(&mut self, inputs: usize, outputs: usize, gelu: bool) -> Linear {
        let scale = 1.7 / 127.0 / (inputs as f32).sqrt();
        Linear {
            inputs,
            outputs,
            weight: self.bytes(inputs * outputs),
            scales: (0..outputs).map(|_| scale * (1.0 + 0.3 * self.unit())).collect(),
            bias: self.units(outputs, 0.1),
            gelu,
        }
    }

    pub(crate) fn norm(&mut self, width: usize) -> Norm {
        Norm {
            gain: (0..width).map(|_| 1.0 + 0.2 * self.unit()).collect(),
            bias: self.units(width, 0.1),
            epsilon: EPSILON,
        }
    }
}

/// Its sizes.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) inner: usize,
    pub(crate) layers: usize,
}

struct Layer {
    qkv: Linear,
    output: Linear,
    norm: Norm,
    expand: Linear,
    contract: Linear,
    last_norm: Norm,
}

pub(crate) struct Encoder {
    pub(crate) sizes: Sizes,
    embed: Embed,
    layers: Vec<Layer>,
}

impl Encoder {
    pub(crate) fn random(sizes: Sizes, random: &mut Random) -> Encoder {
        let Sizes { vocabulary, positions, width, inner, .. } = sizes;
        let embed = Embed {
            width,
            words: random.bytes(vocabulary * width),
            word_scales: (0..vocabulary).map(|_| 0.01 + 0.001 * random.unit()).collect(),
            positions: random.units(positions * width, 0.2),
            norm: random.norm(width),
        };
        let layer = |_| Layer {
            qkv: random.linear(width, 3 * width, false),
            output: random.linear(width, width, false),
            norm: random.norm(width),
            expand: random.linear(width, inner, true),
            contract: random.linear(inner, width, false),
            last_norm: random.norm(width),
        };
        Encoder { sizes, embed, layers: (0..sizes.layers).map(layer).collect() }
    }

    /// The reference answer.
    pub(crate) fn run(&self, ids: &[i64]) -> Vec<f32> {
        let mut x = self.embed.run(ids);
        for layer in &self.layers {
            let qkv = layer.qkv.run(&x);
            let mixed = reference::attention(&qkv, self.sizes.width, self.sizes.heads);
            x = layer.norm.run(&reference::add(&x, &layer.output.run(&mixed)));
            let inner = layer.contract.run(&layer.expand.run(&x));
            x = layer.last_norm.run(&reference::add(&x, &inner));
        }
        x
    }

    pub(crate) fn onnx(&self) -> Vec<u8> {
        let Sizes { vocabulary, positions, width, heads, .. } = self.sizes;
        let mut graph = Graph::default();
        graph.input_ids();
        let embed = &self.embed;
        let words = graph.constant("words", &[vocabulary, width], &Values::I8(&embed.words));
        let scales = graph.constant("scales", &[vocabulary], &Values::F32(&embed.word_scales));
        let table =
            graph.constant("positions", &[positions, width], &Values::F32(&embed.positions));
        let (gain, bias) = norm(&mut graph, "embed", &embed.norm);
        let inputs = ["input_ids", &words, &scales, &table, &gain, &bias];
        let mut x = graph.node("LfEmbed", "embed", &inputs, &[("eps", Attribute::Float(EPSILON))]);
        for (at, layer) in self.layers.iter().enumerate() {
            let name = |part: &str| format!("{part}{at}");
            let qkv = linear(&mut graph, &name("qkv"), &x, &layer.qkv);
            let heads = [("heads", Attribute::Int(heads as i64))];
            let mixed = graph.node("LfAttention", &name("mix"), &[&qkv], &heads);
            let out = linear(&mut graph, &name("out"), &mixed, &layer.output);
            x = add_norm(&mut graph, &name("norm"), [&x, &out], &layer.norm);
            let inner = linear(&mut graph, &name("expand"), &x, &layer.expand);
            let inner = linear(&mut graph, &name("contract"), &inner, &layer.contract);
            x = add_norm(&mut graph, &name("last"), [&x, &inner], &layer.last_norm);
        }
        graph.output(&x, &[Dim::Fixed(1), Dim::Pieces, Dim::Fixed(width as i64)]);
        graph.to_bytes()
    }
}

/// Adds an `LfLinear` on `x`.
pub(crate) fn linear(graph: &mut Graph, name: &str, x: &str, layer: &Linear) -> String {
    let shape = [layer.inputs, layer.outputs];
    let weight = graph.constant(&format!("{name}.w"), &shape, &Values::I8(&layer.weight));
    let scales =
        graph.constant(&format!("{name}.s"), &[layer.outputs], &Values::F32(&layer.scales));
    let bias = graph.constant(&format!("{name}.b"), &[layer.outputs], &Values::F32(&layer.bias));
    let activation = Attribute::Text(if layer.gelu { "gelu" } else { "none" });
    graph.node("LfLinear", name, &[x, &weight, &scales, &bias], &[("activation", activation)])
}

/// Adds an `LfAddNorm`.
pub(crate) fn add_norm(
    graph: &mut Graph,
    name: &str,
    [x, y]: [&str; 2],
    constants: &Norm,
) -> String {
    let (gain, bias) = norm(graph, name, constants);
    let epsilon = [("eps", Attribute::Float(constants.epsilon))];
    graph.node("LfAddNorm", name, &[x, y, &gain, &bias], &epsilon)
}

fn norm(graph: &mut Graph, name: &str, norm: &Norm) -> (String, String) {
    let width = [norm.gain.len()];
    (
        graph.constant(&format!("{name}.gain"), &width, &Values::F32(&norm.gain)),
        graph.constant(&format!("{name}.bias"), &width, &Values::F32(&norm.bias)),
    )
}

/// Asserts that two vectors are the same within `tolerance`.
pub(crate) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(error <= tolerance, "{what}: {got} at {at} is not {expected}");
    }
}
