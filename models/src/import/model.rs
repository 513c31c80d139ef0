//! An encoder in int8, as it will be written: what every architecture becomes.

/// How a layer activates its wide part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl Activation {
    /// From the name that transformers has for it.
    pub(super) fn parse(name: &str) -> Option<Activation> {
        Some(match name {
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh"
            | "gelu_accurate" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            _ => return None,
        })
    }

    /// As `LfActivate` reads it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Tanh => "tanh",
        }
    }
}

/// Rows in int8, each with its scale.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) values: Vec<i8>,
    pub(super) scales: Vec<f32>,
}

/// A linear layer: `weight[input * outputs + output]`, a scale and a bias for each output.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Vec<i8>,
    pub(super) scales: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// A layer normalisation.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) epsilon: f32,
}

/// What is added to the word embeddings.
#[derive(Debug)]
pub(super) enum Positions {
    /// A row for each position.
    Each(Vec<f32>),
    /// One row for all: positions are known elsewhere.
    Same(Vec<f32>),
}

/// How a layer attends.
#[derive(Debug)]
pub(super) enum Attention {
    /// Everything to everything.
    Plain,
    /// Rotary positions; with `reach`, no further than that many pieces away.
    Rotary { theta: f32, reach: Option<usize> },
    /// Keys and queries for every distance; scores are multiplied by `scale`.
    Relative { keys: Rows, queries: Rows, scale: f32 },
}

/// Where a layer normalises.
#[derive(Debug)]
pub(super) enum Norms {
    /// The sum after attention and the sum after the wide part.
    After { attended: Norm, out: Norm },
    /// What goes into attention, if at all, and what goes into the wide part.
    Before { attention: Option<Norm>, wide: Norm },
}

/// One transformer layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// Queries, keys and values side by side.
    pub(super) qkv: Linear,
    pub(super) attention: Attention,
    pub(super) attended: Linear,
    pub(super) norms: Norms,
    pub(super) wide: Linear,
    pub(super) activation: Activation,
    /// The first half of `wide`, activated, times the second half.
    pub(super) gated: bool,
    pub(super) narrow: Linear,
}

/// A whole encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) width: usize,
    pub(super) heads: usize,
    /// Most pieces in one pass.
    pub(super) tokens_max: usize,
    pub(super) words: Rows,
    pub(super) positions: Positions,
    pub(super) embedded: Norm,
    pub(super) layers: Vec<Layer>,
    /// After the last layer, where layers normalise before.
    pub(super) last: Option<Norm>,
}

impl Encoder {
    /// How many word pieces it knows.
    pub(super) fn vocabulary(&self) -> usize {
        self.words.scales.len()
    }

    /// Weights of one layer's products, all layers together: multiplications for each piece.
    pub(super) fn products(&self) -> usize {
        let of = |layer: &Layer| {
            [&layer.qkv, &layer.attended, &layer.wide, &layer.narrow]
                .iter()
                .map(|linear| linear.weight.len())
                .sum::<usize>()
        };
        self.layers.iter().map(of).sum()
    }
}

/// What a classifier looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// The first piece.
    First,
    /// The mean of all pieces.
    Mean,
    /// Nothing is pooled: every piece has its own output.
    Each,
}

/// A linear layer of a head, in full precision: `weight[input * outputs + output]`.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) activation: Option<Activation>,
    pub(super) norm: Option<Norm>,
}

/// A head.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) pool: Pool,
    pub(super) layers: Vec<Dense>,
}
