//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT with positions that begin after the padding's.

use super::{Family, KEYS, Reader, Result, bert};
use crate::import::config::HeadKind;
use crate::import::error::refused;
use crate::import::model::{Activation, Encoder, Head, Pool, Positions};

pub(super) struct Roberta;

impl Family for Roberta {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder> {
        bert::absolute_positions(reader)?;
        let sizes = reader.sizes(&KEYS)?;
        let epsilon = reader.epsilon("layer_norm_eps", 1e-5)?;
        let prefix = reader.prefix("roberta.", "embeddings.word_embeddings.weight");
        let padding = reader.config.integer_or("pad_token_id", 1)?;
        // The first piece has the position after the padding's own id.
        let first = usize::try_from(padding + 1).ok().filter(|first| *first < sizes.positions);
        let first = first.ok_or_else(|| {
            refused(
                format!("config.json: pad_token_id {padding} leaves no positions"),
                "check that config.json belongs to these weights",
            )
        })?;
        let tokens_max = reader.tokens_max(sizes.positions - first)?;
        let embeddings = format!("{prefix}embeddings");
        let positions = reader.positions(
            &format!("{embeddings}.position_embeddings.weight"),
            [sizes.positions, sizes.width],
            first..first + tokens_max,
            Some(&format!("{embeddings}.token_type_embeddings.weight")),
        )?;
        Ok(Encoder {
            width: sizes.width,
            heads: sizes.heads,
            tokens_max,
            words: reader.words(&format!("{embeddings}.word_embeddings.weight"), sizes)?,
            positions: Positions::Each(positions),
            embedded: reader.norm(&format!("{embeddings}.LayerNorm"), sizes.width, epsilon)?,
            layers: bert::layers(reader, &prefix, sizes, epsilon)?,
            last: None,
        })
    }

    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
        let width = reader.sizes(&KEYS)?.width;
        if kind == HeadKind::Token {
            let last = reader.dense("classifier", [width, outputs], None)?;
            return Ok(Head { pool: Pool::Each, layers: vec![last] });
        }
        let dense = reader.dense("classifier.dense", [width, width], Some(Activation::Tanh))?;
        let last = reader.dense("classifier.out_proj", [width, outputs], None)?;
        Ok(Head { pool: Pool::First, layers: vec![dense, last] })
    }
}
