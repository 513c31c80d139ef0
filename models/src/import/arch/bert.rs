//! BERT and what has its shape, MiniLM for one: absolute positions, normalisation after each sum.

use super::{Family, KEYS, Reader, Result, Sizes};
use crate::import::config::HeadKind;
use crate::import::error::refused;
use crate::import::model::{Activation, Attention, Encoder, Head, Layer, Norms, Pool, Positions};

pub(super) struct Bert;

impl Family for Bert {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder> {
        absolute_positions(reader)?;
        let sizes = reader.sizes(&KEYS)?;
        let epsilon = reader.epsilon("layer_norm_eps", 1e-12)?;
        let prefix = reader.prefix("bert.", "embeddings.word_embeddings.weight");
        let tokens_max = reader.tokens_max(sizes.positions)?;
        let embeddings = format!("{prefix}embeddings");
        let positions = reader.positions(
            &format!("{embeddings}.position_embeddings.weight"),
            [sizes.positions, sizes.width],
            0..tokens_max,
            Some(&format!("{embeddings}.token_type_embeddings.weight")),
        )?;
        Ok(Encoder {
            width: sizes.width,
            heads: sizes.heads,
            tokens_max,
            words: reader.words(&format!("{embeddings}.word_embeddings.weight"), sizes)?,
            positions: Positions::Each(positions),
            embedded: reader.norm(&format!("{embeddings}.LayerNorm"), sizes.width, epsilon)?,
            layers: layers(reader, &prefix, sizes, epsilon)?,
            last: None,
        })
    }

    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
        let width = reader.sizes(&KEYS)?.width;
        let last = reader.dense("classifier", [width, outputs], None)?;
        if kind == HeadKind::Token {
            return Ok(Head { pool: Pool::Each, layers: vec![last] });
        }
        let pooler = reader.dense("bert.pooler.dense", [width, width], Some(Activation::Tanh))?;
        Ok(Head { pool: Pool::First, layers: vec![pooler, last] })
    }
}

/// Refuses relative positions.
pub(super) fn absolute_positions(reader: &Reader<'_>) -> Result<()> {
    let kind = reader.config.text_or("position_embedding_type", "absolute")?;
    if kind == "absolute" {
        return Ok(());
    }
    Err(refused(
        format!("config.json: position_embedding_type {kind:?} is not supported"),
        "import a model with absolute positions",
    ))
}

/// Layers as BERT and RoBERTa name them.
pub(super) fn layers(
    reader: &mut Reader<'_>,
    prefix: &str,
    sizes: Sizes,
    epsilon: f32,
) -> Result<Vec<Layer>> {
    let Sizes { width, inner, .. } = sizes;
    let activation = reader.activation("hidden_act")?;
    let mut layers = Vec::with_capacity(sizes.layers);
    for at in 0..sizes.layers {
        let name = |part: &str| format!("{prefix}encoder.layer.{at}.{part}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        layers.push(Layer {
            qkv: reader.joined(&qkv.each_ref().map(String::as_str), width, width)?,
            attention: Attention::Plain,
            attended: reader.linear(&name("attention.output.dense"), width, width)?,
            norms: Norms::After {
                attended: reader.norm(&name("attention.output.LayerNorm"), width, epsilon)?,
                out: reader.norm(&name("output.LayerNorm"), width, epsilon)?,
            },
            wide: reader.linear(&name("intermediate.dense"), width, inner)?,
            activation,
            gated: false,
            narrow: reader.linear(&name("output.dense"), inner, width)?,
        });
        (reader.progress)(at + 1, sizes.layers);
    }
    Ok(layers)
}
