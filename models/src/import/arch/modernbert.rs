//! ModernBERT: rotary positions, normalisation before each part, a gated wide part, and layers
//! that see only what is near, in turn with layers that see everything.

use super::{Family, KEYS, Reader, Result, Sizes};
use crate::import::config::HeadKind;
use crate::import::error::refused;
use crate::import::model::{Attention, Encoder, Head, Layer, Linear, Norm, Norms, Pool, Positions};
use crate::import::quantize::{self, Part};

pub(super) struct ModernBert;

/// What all layers share.
struct Shared {
    sizes: Sizes,
    prefix: String,
    epsilon: f32,
    norm_bias: bool,
    attention_bias: bool,
    wide_bias: bool,
    tokens_max: usize,
}

impl Family for ModernBert {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder> {
        let sizes = reader.sizes(&KEYS)?;
        if !sizes.width.is_multiple_of(2 * sizes.heads) {
            let what = "config.json: rotary positions need heads of an even width";
            return Err(refused(what, "check that config.json belongs to these weights"));
        }
        let shared = Shared {
            sizes,
            prefix: reader.prefix("model.", "embeddings.tok_embeddings.weight"),
            epsilon: reader.epsilon("norm_eps", 1e-5)?,
            norm_bias: reader.config.flag_or("norm_bias", false)?,
            attention_bias: reader.config.flag_or("attention_bias", false)?,
            wide_bias: reader.config.flag_or("mlp_bias", false)?,
            tokens_max: reader.tokens_max(sizes.positions)?,
        };
        let kinds = layer_kinds(reader, sizes.layers)?;
        let mut layers = Vec::with_capacity(sizes.layers);
        for (at, is_local) in kinds.into_iter().enumerate() {
            layers.push(shared.layer(reader, at, is_local)?);
            (reader.progress)(at + 1, sizes.layers);
        }
        let words = format!("{}embeddings.tok_embeddings.weight", shared.prefix);
        Ok(Encoder {
            width: sizes.width,
            heads: sizes.heads,
            tokens_max: shared.tokens_max,
            words: reader.words(&words, sizes)?,
            positions: Positions::Same(vec![0.0; sizes.width]),
            embedded: shared.norm(reader, "embeddings.norm")?,
            layers,
            last: Some(shared.norm(reader, "final_norm")?),
        })
    }

    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
        let width = reader.sizes(&KEYS)?.width;
        let activation = reader.activation("classifier_activation")?;
        let mut dense = reader.dense("head.dense", [width, width], Some(activation))?;
        let epsilon = reader.epsilon("norm_eps", 1e-5)?;
        let has_bias = reader.config.flag_or("norm_bias", false)?;
        dense.norm = Some(norm(reader, "head.norm", width, epsilon, has_bias)?);
        let last = reader.dense("classifier", [width, outputs], None)?;
        let pool = match (kind, reader.config.text_or("classifier_pooling", "cls")?) {
            (HeadKind::Token, _) => Pool::Each,
            (_, "cls") => Pool::First,
            (_, "mean") => Pool::Mean,
            (_, other) => {
                let what = format!("config.json: classifier_pooling {other:?} is not supported");
                return Err(refused(what, "import a model that pools by cls or mean"));
            }
        };
        Ok(Head { pool, layers: vec![dense, last] })
    }
}

impl Shared {
    fn layer(&self, reader: &mut Reader<'_>, at: usize, is_local: bool) -> Result<Layer> {
        let Sizes { width, inner, .. } = self.sizes;
        let (kind, old_key, default) = if is_local {
            ("sliding_attention", "local_rope_theta", 10_000.0)
        } else {
            ("full_attention", "global_rope_theta", 160_000.0)
        };
        let theta = reader.config.rope_theta(kind, old_key, default)?;
        let window = reader.config.integer_or("local_attention", 128)?;
        let reach = usize::try_from(window / 2).unwrap_or(0);
        // The first layer's input is normalised already.
        let attention = match at {
            0 => None,
            _ => Some(self.norm(reader, &format!("layers.{at}.attn_norm"))?),
        };
        let name = |part: &str| format!("layers.{at}.{part}");
        let linear = |reader: &mut Reader<'_>, part: &str, inputs, outputs, has_bias| {
            self.linear(reader, &name(part), [inputs, outputs], has_bias)
        };
        #[expect(clippy::cast_possible_truncation, reason = "to single precision")]
        Ok(Layer {
            qkv: linear(reader, "attn.Wqkv", width, 3 * width, self.attention_bias)?,
            attention: Attention::Rotary {
                theta: theta as f32,
                // A window as wide as the longest text hides nothing.
                reach: (is_local && reach + 1 < self.tokens_max).then_some(reach),
            },
            attended: linear(reader, "attn.Wo", width, width, self.attention_bias)?,
            norms: Norms::Before { attention, wide: self.norm(reader, &name("mlp_norm"))? },
            wide: linear(reader, "mlp.Wi", width, 2 * inner, self.wide_bias)?,
            activation: reader.activation("hidden_activation")?,
            gated: true,
            narrow: linear(reader, "mlp.Wo", inner, width, self.wide_bias)?,
        })
    }

    fn linear(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        [inputs, outputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Linear> {
        let name = format!("{}{name}", self.prefix);
        quantize::linear(reader.weights, &[Part { name: &name, outputs, has_bias }], inputs)
    }

    fn norm(&self, reader: &mut Reader<'_>, name: &str) -> Result<Norm> {
        let name = format!("{}{name}", self.prefix);
        norm(reader, &name, self.sizes.width, self.epsilon, self.norm_bias)
    }
}

fn norm(
    reader: &mut Reader<'_>,
    name: &str,
    width: usize,
    epsilon: f32,
    has_bias: bool,
) -> Result<Norm> {
    if has_bias {
        return reader.norm(name, width, epsilon);
    }
    let gain = reader.weights.vector(&format!("{name}.weight"), width)?;
    Ok(Norm { gain, bias: vec![0.0; width], epsilon })
}

/// For each layer, whether it sees only what is near.
fn layer_kinds(reader: &Reader<'_>, layers: usize) -> Result<Vec<bool>> {
    let wrong = |what: String| {
        refused(format!("config.json: {what}"), "check that config.json belongs to these weights")
    };
    let Some(kinds) = reader.config.texts("layer_types")? else {
        let every = reader.config.integer_or("global_attn_every_n_layers", 3)?;
        let every = usize::try_from(every).ok().filter(|every| *every > 0);
        let every =
            every.ok_or_else(|| wrong("global_attn_every_n_layers is not positive".to_owned()))?;
        return Ok((0..layers).map(|at| at % every != 0).collect());
    };
    if kinds.len() != layers {
        return Err(wrong(format!("layer_types has {} entries for {layers} layers", kinds.len())));
    }
    let is_local = |kind: String| match kind.as_str() {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => Err(wrong(format!("layer type {other:?} is not supported"))),
    };
    kinds.into_iter().map(is_local).collect()
}
