//! DistilBERT: BERT without token types and pooler, under other names.

use super::{Family, Keys, Reader, Result};
use crate::import::config::HeadKind;
use crate::import::model::{Activation, Attention, Encoder, Head, Layer, Norms, Pool, Positions};

const KEYS: Keys = Keys { width: "dim", heads: "n_heads", layers: "n_layers", inner: "hidden_dim" };

/// DistilBERT has it in its code, not in its configuration.
const EPSILON: f32 = 1e-12;

pub(super) struct DistilBert;

impl Family for DistilBert {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder> {
        let sizes = reader.sizes(&KEYS)?;
        let (width, inner) = (sizes.width, sizes.inner);
        let prefix = reader.prefix("distilbert.", "embeddings.word_embeddings.weight");
        let tokens_max = reader.tokens_max(sizes.positions)?;
        let embeddings = format!("{prefix}embeddings");
        let positions = reader.positions(
            &format!("{embeddings}.position_embeddings.weight"),
            [sizes.positions, width],
            0..tokens_max,
            None,
        )?;
        let activation = reader.activation("activation")?;
        let mut layers = Vec::with_capacity(sizes.layers);
        for at in 0..sizes.layers {
            let name = |part: &str| format!("{prefix}transformer.layer.{at}.{part}");
            let qkv = ["q_lin", "k_lin", "v_lin"].map(|part| name(&format!("attention.{part}")));
            layers.push(Layer {
                qkv: reader.joined(&qkv.each_ref().map(String::as_str), width, width)?,
                attention: Attention::Plain,
                attended: reader.linear(&name("attention.out_lin"), width, width)?,
                norms: Norms::After {
                    attended: reader.norm(&name("sa_layer_norm"), width, EPSILON)?,
                    out: reader.norm(&name("output_layer_norm"), width, EPSILON)?,
                },
                wide: reader.linear(&name("ffn.lin1"), width, inner)?,
                activation,
                gated: false,
                narrow: reader.linear(&name("ffn.lin2"), inner, width)?,
            });
            (reader.progress)(at + 1, sizes.layers);
        }
        Ok(Encoder {
            width,
            heads: sizes.heads,
            tokens_max,
            words: reader.words(&format!("{embeddings}.word_embeddings.weight"), sizes)?,
            positions: Positions::Each(positions),
            embedded: reader.norm(&format!("{embeddings}.LayerNorm"), width, EPSILON)?,
            layers,
            last: None,
        })
    }

    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
        let width = reader.sizes(&KEYS)?.width;
        let last = reader.dense("classifier", [width, outputs], None)?;
        if kind == HeadKind::Token {
            return Ok(Head { pool: Pool::Each, layers: vec![last] });
        }
        let dense = reader.dense("pre_classifier", [width, width], Some(Activation::Relu))?;
        Ok(Head { pool: Pool::First, layers: vec![dense, last] })
    }
}
