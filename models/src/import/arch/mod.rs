//! The architectures that can be imported, one file for each family: what transformers calls
//! their tensors, and how they become an [`Encoder`] and a [`Head`].

mod bert;
mod deberta;
mod distilbert;
mod modernbert;
mod roberta;

use super::config::{Config, HeadKind};
use super::error::{Result, refused};
use super::model::{Activation, Dense, Encoder, Head, Linear, Norm, Rows};
use super::quantize::{self, Part};
use super::weights::Weights;
use crate::limits;

/// What to import instead.
pub(super) const SUPPORTED: &str = "import a BERT, MiniLM, DistilBERT, RoBERTa, XLM-RoBERTa, CamemBERT, DeBERTa-v2, DeBERTa-v3 or ModernBERT model";

/// A model that is being read.
pub(super) struct Reader<'a> {
    pub(super) config: &'a Config,
    pub(super) weights: &'a mut Weights,
    /// Most pieces in one pass, if the model has as many positions.
    pub(super) tokens_wanted: usize,
    /// Called after each layer with the number read and the number of all.
    pub(super) progress: &'a mut dyn FnMut(usize, usize),
}

/// One family of architectures.
trait Family {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder>;

    /// The head, of as many outputs.
    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head>;
}

fn family(config: &Config) -> Result<&'static dyn Family> {
    if config.flag_or("is_decoder", false)? || config.flag_or("is_encoder_decoder", false)? {
        let what = "config.json: the model is a decoder, it is not an encoder";
        return Err(refused(what, SUPPORTED));
    }
    Ok(match config.model_type()? {
        "bert" => &bert::Bert,
        "distilbert" => &distilbert::DistilBert,
        "roberta" | "xlm-roberta" | "camembert" => &roberta::Roberta,
        "deberta-v2" => &deberta::Deberta,
        "modernbert" => &modernbert::ModernBert,
        other => {
            let what = format!("config.json: model_type {other:?} is not supported");
            return Err(refused(what, SUPPORTED));
        }
    })
}

/// Reads the encoder.
pub(super) fn encoder(reader: &mut Reader<'_>) -> Result<Encoder> {
    family(reader.config)?.encoder(reader)
}

/// Reads the head that the model was saved with, of as many outputs.
pub(super) fn head(reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
    family(reader.config)?.head(reader, kind, outputs)
}

/// The sizes that every architecture has.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    vocabulary: usize,
    width: usize,
    heads: usize,
    layers: usize,
    inner: usize,
    positions: usize,
}

/// What `config.json` calls the sizes.
struct Keys {
    width: &'static str,
    heads: &'static str,
    layers: &'static str,
    inner: &'static str,
}

/// As nearly all configurations have it.
const KEYS: Keys = Keys {
    width: "hidden_size",
    heads: "num_attention_heads",
    layers: "num_hidden_layers",
    inner: "intermediate_size",
};

impl Reader<'_> {
    fn sizes(&self, keys: &Keys) -> Result<Sizes> {
        let config = self.config;
        let sizes = Sizes {
            vocabulary: config.count("vocab_size", limits::VOCABULARY_MAX)?,
            width: config.count(keys.width, limits::WIDTH_MAX)?,
            heads: config.count(keys.heads, limits::WIDTH_MAX)?,
            layers: config.count(keys.layers, limits::LAYERS_MAX)?,
            inner: config.count(keys.inner, limits::INNER_MAX)?,
            positions: config.count("max_position_embeddings", 1 << 20)?,
        };
        if !sizes.width.is_multiple_of(sizes.heads) {
            return Err(refused(
                format!("config.json: {} heads cannot share {}", sizes.heads, sizes.width),
                "check that config.json belongs to these weights",
            ));
        }
        Ok(sizes)
    }

    /// The activation that `config.json` names under `key`.
    fn activation(&self, key: &str) -> Result<Activation> {
        let name = self.config.text_or(key, "gelu")?;
        Activation::parse(name).ok_or_else(|| {
            refused(
                format!("config.json: {key} {name:?} is not supported"),
                "import a model with gelu, gelu_new, gelu_pytorch_tanh, relu, silu or tanh",
            )
        })
    }

    /// The epsilon of layer normalisations.
    fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let epsilon = self.config.number_or(key, default)?;
        if !(0.0..1.0).contains(&epsilon) {
            let what = format!("config.json: {key} is {epsilon}");
            return Err(refused(what, "check that config.json belongs to these weights"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "to single precision")]
        Ok(epsilon as f32)
    }

    /// Pieces of one pass, with `positions` of them known.
    fn tokens_max(&self, positions: usize) -> Result<usize> {
        let tokens_max = self.tokens_wanted.min(positions);
        if tokens_max < limits::TOKENS_MIN {
            let what = format!(
                "the model takes {tokens_max} word pieces, fewer than {}",
                limits::TOKENS_MIN
            );
            return Err(refused(what, "import a model with more positions"));
        }
        Ok(tokens_max)
    }

    /// `first` if a tensor's name begins so, else nothing: a bare encoder is saved without the
    /// name that a head gives it.
    fn prefix(&self, first: &str, tensor: &str) -> String {
        let full = format!("{first}{tensor}");
        if self.weights.has(&full) { first.to_owned() } else { String::new() }
    }

    fn norm(&mut self, name: &str, width: usize, epsilon: f32) -> Result<Norm> {
        Ok(Norm {
            gain: self.weights.vector(&format!("{name}.weight"), width)?,
            bias: self.weights.vector(&format!("{name}.bias"), width)?,
            epsilon,
        })
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        self.joined(&[name], inputs, outputs)
    }

    /// Layers of the same sizes, side by side.
    fn joined(&mut self, names: &[&str], inputs: usize, outputs: usize) -> Result<Linear> {
        let part = |name| Part { name, outputs, has_bias: true };
        let parts: Vec<Part<'_>> = names.iter().copied().map(part).collect();
        quantize::linear(self.weights, &parts, inputs)
    }

    /// A word table.
    fn words(&mut self, name: &str, sizes: Sizes) -> Result<Rows> {
        let mut rows = Rows::default();
        let shape = [sizes.vocabulary, sizes.width];
        self.weights.rows(name, shape, |part| rows.push(part, sizes.width))?;
        Ok(rows)
    }

    /// Rows of positions, with the token type that every piece has added to each.
    fn positions(
        &mut self,
        name: &str,
        shape: [usize; 2],
        rows: std::ops::Range<usize>,
        types: Option<&str>,
    ) -> Result<Vec<f32>> {
        let mut positions = self.weights.some_rows(name, shape, rows)?;
        if let Some(types) = types {
            let count = self.config.count("type_vocab_size", limits::VOCABULARY_MAX)?;
            let first = self.weights.some_rows(types, [count, shape[1]], 0..1)?;
            for row in positions.chunks_exact_mut(shape[1]) {
                for (position, kind) in row.iter_mut().zip(&first) {
                    *position += kind;
                }
            }
        }
        Ok(positions)
    }

    /// A layer of a head.
    fn dense(
        &mut self,
        name: &str,
        [inputs, outputs]: [usize; 2],
        activation: Option<Activation>,
    ) -> Result<Dense> {
        let weight =
            self.weights.some_rows(&format!("{name}.weight"), [outputs, inputs], 0..outputs)?;
        let mut turned = vec![0.0; weight.len()];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            for (input, value) in row.iter().enumerate() {
                turned[input * outputs + output] = *value;
            }
        }
        let bias = format!("{name}.bias");
        let bias = if self.weights.has(&bias) {
            self.weights.vector(&bias, outputs)?
        } else {
            vec![0.0; outputs]
        };
        Ok(Dense { inputs, outputs, weight: turned, bias, activation, norm: None })
    }
}
