//! Encoders and heads as ONNX files: encoders in our operators, heads in standard ones.

use super::model::{
    Activation, Attention, Dense, Encoder, Head, Layer, Linear, Norm, Norms, Pool, Positions, Rows,
};
use super::proto::{Attribute, Graph, Values};

/// `input_ids` int64 `[1,S]` to `hidden` float32 `[1,S,H]`.
pub(super) fn encoder(encoder: &Encoder) -> Graph<'_> {
    let mut graph = Graph::default();
    graph.input_ids();
    let mut x = embed(&mut graph, encoder);
    for (at, layer) in encoder.layers.iter().enumerate() {
        let is_last = at + 1 == encoder.layers.len();
        let name = if is_last && encoder.last.is_none() {
            "hidden".to_owned()
        } else {
            format!("layer{at}.out")
        };
        x = Scope { graph: &mut graph, encoder, layer, at }.add(&x, &name);
    }
    if let Some(last) = &encoder.last {
        x = norm(&mut graph, "hidden", &x, last);
    }
    graph.output(&x, &[Some(1), None, Some(encoder.width)]);
    graph
}

fn embed<'a>(graph: &mut Graph<'a>, encoder: &'a Encoder) -> String {
    let width = encoder.width;
    let words = &encoder.words;
    let shape = [encoder.vocabulary(), width];
    let rows = match &encoder.positions {
        Positions::Each(rows) | Positions::Same(rows) => rows,
    };
    let inputs = [
        "input_ids".to_owned(),
        graph.constant("embed.words_q", &shape, Values::I8(&words.values)),
        graph.vector("embed.words_scale", &words.scales),
        graph.constant("embed.positions", &[rows.len() / width, width], Values::F32(rows)),
        graph.vector("embed.ln_gain", &encoder.embedded.gain),
        graph.vector("embed.ln_bias", &encoder.embedded.bias),
    ];
    let inputs = inputs.each_ref().map(String::as_str);
    let epsilon = ("eps", Attribute::Float(encoder.embedded.epsilon));
    match encoder.positions {
        Positions::Each(_) => graph.node("LfEmbed", "embed", &inputs, &[epsilon]),
        Positions::Same(_) => {
            let most = ("positions_max", Attribute::Int(encoder.tokens_max));
            graph.node("LfEmbed", "embed", &inputs, &[epsilon, most])
        }
    }
}

/// One layer and where it goes.
struct Scope<'g, 'a> {
    graph: &'g mut Graph<'a>,
    encoder: &'a Encoder,
    layer: &'a Layer,
    at: usize,
}

impl<'a> Scope<'_, 'a> {
    fn name(&self, part: &str) -> String {
        format!("layer{}.{part}", self.at)
    }

    /// Adds the layer on `x`; its output gets the name `out`.
    fn add(&mut self, x: &str, out: &str) -> String {
        match &self.layer.norms {
            Norms::After { attended, out: last } => {
                let mixed = self.attend(x);
                let x = self.add_norm(&self.name("norm_attended"), [x, &mixed], attended);
                let narrow = self.wide(&x);
                self.add_norm(out, [&x, &narrow], last)
            }
            Norms::Before { attention, wide } => {
                let input = match attention {
                    None => x.to_owned(),
                    Some(constants) => norm(self.graph, &self.name("norm_in"), x, constants),
                };
                let mixed = self.attend(&input);
                let x = self.graph.node("Add", &self.name("sum_attended"), &[x, &mixed], &[]);
                let input = norm(self.graph, &self.name("norm_wide"), &x, wide);
                let narrow = self.wide(&input);
                self.graph.node("Add", out, &[&x, &narrow], &[])
            }
        }
    }

    fn attend(&mut self, x: &str) -> String {
        let mut qkv = self.linear("qkv", x, &self.layer.qkv, "none");
        let heads = || ("heads", Attribute::Int(self.encoder.heads));
        let mixed = self.name("mixed");
        let mixed = match &self.layer.attention {
            Attention::Plain => self.graph.node("LfAttention", &mixed, &[&qkv], &[heads()]),
            Attention::Rotary { theta, reach } => {
                let turn = [
                    heads(),
                    ("theta", Attribute::Float(*theta)),
                    ("positions_max", Attribute::Int(self.encoder.tokens_max)),
                ];
                qkv = self.graph.node("LfRotary", &self.name("turned"), &[&qkv], &turn);
                match reach {
                    None => self.graph.node("LfAttention", &mixed, &[&qkv], &[heads()]),
                    Some(reach) => {
                        let attributes = [heads(), ("reach", Attribute::Int(*reach))];
                        self.graph.node("LfWindowAttention", &mixed, &[&qkv], &attributes)
                    }
                }
            }
            Attention::Relative { keys, queries, scale } => {
                let [keys, keys_scale] = self.table("position_keys", keys);
                let [queries, queries_scale] = self.table("position_queries", queries);
                let inputs = [&qkv, &keys, &keys_scale, &queries, &queries_scale];
                let attributes = [heads(), ("scale", Attribute::Float(*scale))];
                let inputs = inputs.map(String::as_str);
                self.graph.node("LfRelativeAttention", &mixed, &inputs, &attributes)
            }
        };
        self.linear("attended", &mixed, &self.layer.attended, "none")
    }

    fn wide(&mut self, x: &str) -> String {
        let Layer { wide, narrow, activation, gated, .. } = self.layer;
        if *activation == Activation::Gelu && !gated {
            let wide = self.linear("wide", x, wide, "gelu");
            return self.linear("narrow", &wide, narrow, "none");
        }
        let wide = self.linear("wide", x, wide, "none");
        let attributes = [
            ("function", Attribute::Text(activation.name())),
            ("gated", Attribute::Int(usize::from(*gated))),
        ];
        let active = self.graph.node("LfActivate", &self.name("active"), &[&wide], &attributes);
        self.linear("narrow", &active, narrow, "none")
    }

    fn linear(&mut self, part: &str, x: &str, linear: &'a Linear, activation: &str) -> String {
        let name = self.name(part);
        let shape = [linear.inputs, linear.outputs];
        let weight =
            self.graph.constant(&format!("{name}.weight_q"), &shape, Values::I8(&linear.weight));
        let scales = self.graph.vector(&format!("{name}.weight_scale"), &linear.scales);
        let bias = self.graph.vector(&format!("{name}.bias"), &linear.bias);
        let activation = [("activation", Attribute::Text(activation))];
        self.graph.node("LfLinear", &name, &[x, &weight, &scales, &bias], &activation)
    }

    fn table(&mut self, part: &str, rows: &'a Rows) -> [String; 2] {
        let name = self.name(part);
        let shape = [rows.scales.len(), self.encoder.width];
        let values = self.graph.constant(&format!("{name}_q"), &shape, Values::I8(&rows.values));
        [values, self.graph.vector(&format!("{name}_scale"), &rows.scales)]
    }

    fn add_norm(&mut self, name: &str, [x, y]: [&str; 2], norm: &'a Norm) -> String {
        let gain = self.graph.vector(&format!("{name}.gain"), &norm.gain);
        let bias = self.graph.vector(&format!("{name}.bias"), &norm.bias);
        let epsilon = [("eps", Attribute::Float(norm.epsilon))];
        self.graph.node("LfAddNorm", name, &[x, y, &gain, &bias], &epsilon)
    }
}

fn norm<'a>(graph: &mut Graph<'a>, name: &str, x: &str, norm: &'a Norm) -> String {
    let gain = graph.vector(&format!("{name}.gain"), &norm.gain);
    let bias = graph.vector(&format!("{name}.bias"), &norm.bias);
    graph.node("LfNorm", name, &[x, &gain, &bias], &[("eps", Attribute::Float(norm.epsilon))])
}

/// `hidden` to `logits`; of a classifier also `familiarity`, the logarithm of the sum of the
/// logits' powers (Liu et al., Energy-based out-of-distribution detection, arXiv 2010.03759).
pub(super) fn head(head: &Head, width: usize) -> Graph<'_> {
    let mut graph = Graph::default();
    graph.input("hidden", &[Some(1), None, Some(width)]);
    let mut x = match head.pool {
        Pool::Each => "hidden".to_owned(),
        Pool::First => {
            let first = graph.constant("first", &[], Values::Index(0));
            graph.node("Gather", "pooled", &["hidden", &first], &[("axis", Attribute::Int(1))])
        }
        Pool::Mean => graph.node("ReduceMean", "pooled", &["hidden"], &over(&[1], false)),
    };
    for (at, dense) in head.layers.iter().enumerate() {
        let is_last = at + 1 == head.layers.len();
        let name = if is_last { "logits".to_owned() } else { format!("dense{at}") };
        x = add_dense(&mut graph, &name, &x, dense);
    }
    let outputs = head.layers.last().map_or(0, |dense| dense.outputs);
    if head.pool == Pool::Each {
        graph.output(&x, &[Some(1), None, Some(outputs)]);
        return graph;
    }
    let top = graph.node("ReduceMax", "top", &[&x], &over(&[1], true));
    let below = graph.node("Sub", "below", &[&x, &top], &[]);
    let powers = graph.node("Exp", "powers", &[&below], &[]);
    let mean = graph.node("ReduceMean", "power", &[&powers], &over(&[1], true));
    let log = graph.node("Log", "log", &[&mean], &[]);
    let count = graph.constant("count", &[], Values::Scalar((outputs as f32).ln()));
    let sum = graph.node("Add", "sum", &[&log, &count], &[]);
    let energy = graph.node("Add", "energy", &[&sum, &top], &[]);
    let familiarity = graph.node("ReduceMax", "familiarity", &[&energy], &over(&[1], false));
    graph.output(&x, &[Some(1), Some(outputs)]);
    graph.output(&familiarity, &[Some(1)]);
    graph
}

fn over(axes: &[i64], keep: bool) -> [(&str, Attribute<'_>); 2] {
    [("axes", Attribute::Ints(axes)), ("keepdims", Attribute::Int(usize::from(keep)))]
}

/// A layer of a head; the last node gets the layer's name.
fn add_dense<'a>(graph: &mut Graph<'a>, name: &str, x: &str, dense: &'a Dense) -> String {
    let shape = [dense.inputs, dense.outputs];
    let weight = graph.constant(&format!("{name}.weight"), &shape, Values::F32(&dense.weight));
    let bias = graph.vector(&format!("{name}.bias"), &dense.bias);
    let ends = [dense.activation.is_none() && dense.norm.is_none(), dense.norm.is_none(), true];
    let named = |ends: bool, part: &str| {
        if ends { name.to_owned() } else { format!("{name}.{part}") }
    };
    let product = graph.node("MatMul", &format!("{name}.product"), &[x, &weight], &[]);
    let mut x = graph.node("Add", &named(ends[0], "sum"), &[&product, &bias], &[]);
    if let Some(activation) = dense.activation {
        x = activate(graph, &named(ends[1], "active"), &x, activation);
    }
    if let Some(norm) = &dense.norm {
        let gain = graph.vector(&format!("{name}.gain"), &norm.gain);
        let shift = graph.vector(&format!("{name}.shift"), &norm.bias);
        let epsilon = [("epsilon", Attribute::Float(norm.epsilon))];
        x = graph.node("LayerNormalization", &named(ends[2], ""), &[&x, &gain, &shift], &epsilon);
    }
    x
}

/// An activation in standard operators; the last node is called `name`.
fn activate(graph: &mut Graph<'_>, name: &str, x: &str, activation: Activation) -> String {
    let part = |part: &str| format!("{name}.{part}");
    let half_sum = |graph: &mut Graph<'_>, curve: &str| {
        let one = graph.constant(&part("one"), &[], Values::Scalar(1.0));
        let half = graph.constant(&part("half"), &[], Values::Scalar(0.5));
        let raised = graph.node("Add", &part("raised"), &[curve, &one], &[]);
        let share = graph.node("Mul", &part("share"), &[&raised, &half], &[]);
        graph.node("Mul", name, &[x, &share], &[])
    };
    match activation {
        Activation::Relu => graph.node("Relu", name, &[x], &[]),
        Activation::Tanh => graph.node("Tanh", name, &[x], &[]),
        Activation::Silu => {
            let gate = graph.node("Sigmoid", &part("gate"), &[x], &[]);
            graph.node("Mul", name, &[x, &gate], &[])
        }
        Activation::Gelu => {
            let root = Values::Scalar(std::f32::consts::FRAC_1_SQRT_2);
            let root = graph.constant(&part("root"), &[], root);
            let scaled = graph.node("Mul", &part("scaled"), &[x, &root], &[]);
            let curve = graph.node("Erf", &part("curve"), &[&scaled], &[]);
            half_sum(graph, &curve)
        }
        Activation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            let root = graph.constant(&part("root"), &[], Values::Scalar(root));
            let cubic = graph.constant(&part("cubic"), &[], Values::Scalar(0.044_715));
            let square = graph.node("Mul", &part("square"), &[x, x], &[]);
            let cube = graph.node("Mul", &part("cube"), &[&square, x], &[]);
            let bent = graph.node("Mul", &part("bent"), &[&cube, &cubic], &[]);
            let inner = graph.node("Add", &part("inner"), &[x, &bent], &[]);
            let scaled = graph.node("Mul", &part("scaled"), &[&inner, &root], &[]);
            let curve = graph.node("Tanh", &part("curve"), &[&scaled], &[]);
            half_sum(graph, &curve)
        }
    }
}
