//! DeBERTa-v2 and -v3: what a piece is and where it is are kept apart in attention.
//!
//! Position keys and queries are products of learnt rows, one for each bucket of distances, with
//! weights of each layer. Both are constant once a model is trained: they are multiplied out here,
//! and written down for every distance that a text can have.

use super::{Family, KEYS, Reader, Result, Sizes};
use crate::import::config::HeadKind;
use crate::import::error::refused;
use crate::import::model::{Attention, Encoder, Head, Layer, Norm, Norms, Pool, Positions, Rows};
use crate::limits;

pub(super) struct Deberta;

/// Where attention gets its distances from.
struct Distances {
    /// The learnt rows, normalised if the model says so; empty without relative attention.
    rows: Vec<f32>,
    /// The row of each distance, from `1 - tokens_max` to `tokens_max - 1`.
    buckets: Vec<usize>,
    content_to_position: bool,
    position_to_content: bool,
    shared: bool,
}

impl Family for Deberta {
    fn encoder(&self, reader: &mut Reader<'_>) -> Result<Encoder> {
        let sizes = reader.sizes(&KEYS)?;
        refuse_variants(reader, sizes)?;
        let epsilon = reader.epsilon("layer_norm_eps", 1e-7)?;
        let prefix = reader.prefix("deberta.", "embeddings.word_embeddings.weight");
        let tokens_max = reader.tokens_max(sizes.positions)?;
        let distances = distances(reader, &prefix, sizes, epsilon, tokens_max)?;
        let (words, positions) = embeddings(reader, &prefix, sizes, tokens_max)?;
        Ok(Encoder {
            width: sizes.width,
            heads: sizes.heads,
            tokens_max,
            words,
            positions,
            embedded: reader.norm(
                &format!("{prefix}embeddings.LayerNorm"),
                sizes.width,
                epsilon,
            )?,
            layers: layers(reader, &prefix, sizes, epsilon, &distances)?,
            last: None,
        })
    }

    fn head(&self, reader: &mut Reader<'_>, kind: HeadKind, outputs: usize) -> Result<Head> {
        let width = reader.sizes(&KEYS)?.width;
        let last = reader.dense("classifier", [width, outputs], None)?;
        if kind == HeadKind::Token {
            return Ok(Head { pool: Pool::Each, layers: vec![last] });
        }
        let activation = reader.activation("pooler_hidden_act")?;
        let pooler = reader.dense("pooler.dense", [width, width], Some(activation))?;
        Ok(Head { pool: Pool::First, layers: vec![pooler, last] })
    }
}

/// Refuses what this family may have and no public model of these sizes needs.
fn refuse_variants(reader: &Reader<'_>, sizes: Sizes) -> Result<()> {
    let config = reader.config;
    let remedy = "import a DeBERTa-v3 model, or DeBERTa-v2 without this";
    if config.integer_or("conv_kernel_size", 0)? > 0 {
        let what =
            "config.json: conv_kernel_size: a convolution beside the first layer is not supported";
        return Err(refused(what, remedy));
    }
    if config.has("attention_head_size")
        && config.count("attention_head_size", limits::WIDTH_MAX)? * sizes.heads != sizes.width
    {
        let what = "config.json: attention_head_size: heads that do not share the hidden size are not supported";
        return Err(refused(what, remedy));
    }
    Ok(())
}

/// Words and what is added to them. A narrower table is multiplied out to the hidden size.
fn embeddings(
    reader: &mut Reader<'_>,
    prefix: &str,
    sizes: Sizes,
    tokens_max: usize,
) -> Result<(Rows, Positions)> {
    let width = sizes.width;
    let narrow = match reader.config.has("embedding_size") {
        true => reader.config.count("embedding_size", limits::WIDTH_MAX)?,
        false => width,
    };
    let projection = match narrow == width {
        true => None,
        false => Some(reader.weights.some_rows(
            &format!("{prefix}embeddings.embed_proj.weight"),
            [width, narrow],
            0..width,
        )?),
    };
    let widen = |rows: Vec<f32>| match &projection {
        Some(weight) => product(&rows, weight, None, narrow),
        None => rows,
    };
    let mut words = Rows::default();
    let name = format!("{prefix}embeddings.word_embeddings.weight");
    reader.weights.rows(&name, [sizes.vocabulary, narrow], |part| {
        words.push(&widen(part.to_vec()), width);
    })?;
    let types = format!("{prefix}embeddings.token_type_embeddings.weight");
    let types = (reader.config.integer_or("type_vocab_size", 0)? > 0).then_some(types.as_str());
    if reader.config.flag_or("position_biased_input", true)? {
        let name = format!("{prefix}embeddings.position_embeddings.weight");
        let rows = reader.positions(&name, [sizes.positions, narrow], 0..tokens_max, types)?;
        return Ok((words, Positions::Each(widen(rows))));
    }
    let same = match types {
        None => vec![0.0; narrow],
        Some(types) => {
            let count = reader.config.count("type_vocab_size", limits::VOCABULARY_MAX)?;
            reader.weights.some_rows(types, [count, narrow], 0..1)?
        }
    };
    Ok((words, Positions::Same(widen(same))))
}

fn distances(
    reader: &mut Reader<'_>,
    prefix: &str,
    sizes: Sizes,
    epsilon: f32,
    tokens_max: usize,
) -> Result<Distances> {
    let config = reader.config;
    let kinds = config.texts("pos_att_type")?.unwrap_or_default();
    let has = |kind: &str| kinds.iter().any(|known| known == kind);
    if kinds.iter().any(|kind| !kind.is_empty() && kind != "c2p" && kind != "p2c") {
        let what = format!("config.json: pos_att_type {kinds:?} is not supported");
        return Err(refused(what, "import a model with c2p and p2c only"));
    }
    let mut distances = Distances {
        rows: Vec::new(),
        buckets: Vec::new(),
        content_to_position: has("c2p"),
        position_to_content: has("p2c"),
        shared: config.flag_or("share_att_key", false)?,
    };
    if !config.flag_or("relative_attention", false)? {
        return Ok(distances);
    }
    let whole = |key: &str| -> Result<usize> {
        Ok(usize::try_from(config.integer_or(key, -1)?).unwrap_or(0).min(1 << 20))
    };
    let reach = match whole("max_relative_positions")? {
        0 => sizes.positions,
        reach => reach,
    };
    let span = match whole("position_buckets")? {
        0 => reach,
        buckets => buckets,
    };
    let is_bucketed = whole("position_buckets")? > 0;
    if is_bucketed && (span < 4 || reach < span) {
        let what = format!("config.json: position_buckets {span} for {reach} positions");
        return Err(refused(what, "check that config.json belongs to these weights"));
    }
    let is_normed = config.text_or("norm_rel_ebd", "none")?.to_lowercase().contains("layer_norm");
    let name = format!("{prefix}encoder.rel_embeddings.weight");
    distances.rows = reader.weights.some_rows(&name, [2 * span, sizes.width], 0..2 * span)?;
    if is_normed {
        let norm = reader.norm(&format!("{prefix}encoder.LayerNorm"), sizes.width, epsilon)?;
        normalise(&mut distances.rows, &norm);
    }
    let furthest = i64::try_from(tokens_max).unwrap_or(i64::MAX) - 1;
    distances.buckets = (-furthest..=furthest)
        .map(|distance| {
            let place = if is_bucketed { bucket(distance, span, reach) } else { distance };
            let last = i64::try_from(2 * span).unwrap_or(i64::MAX) - 1;
            usize::try_from((place + (last + 1) / 2).clamp(0, last)).unwrap_or(0)
        })
        .collect();
    Ok(distances)
}

/// The bucket of a distance: near ones have their own, far ones share, logarithmically. In single
/// precision, as `make_log_bucket_position` of transformers works it out.
#[expect(clippy::cast_possible_truncation, reason = "distances are far below 2^24")]
fn bucket(distance: i64, buckets: usize, reach: usize) -> i64 {
    let middle = buckets as i64 / 2;
    let size = distance.abs();
    if size <= middle {
        return distance;
    }
    let middle = middle as f32;
    let whole = ((reach - 1) as f32 / middle).ln();
    let log = ((size as f32 / middle).ln() / whole * (middle - 1.0)).ceil() + middle;
    log as i64 * distance.signum()
}

impl Distances {
    /// The attention of one layer.
    fn attention(&self, reader: &mut Reader<'_>, name: &str, sizes: Sizes) -> Result<Attention> {
        let kinds = usize::from(self.content_to_position) + usize::from(self.position_to_content);
        if self.rows.is_empty() || kinds == 0 {
            if kinds > 0 {
                let what = "config.json: pos_att_type without relative_attention";
                return Err(refused(what, "check that config.json belongs to these weights"));
            }
            return Ok(Attention::Plain);
        }
        let [key, query] = match self.shared {
            true => ["key_proj", "query_proj"],
            false => ["pos_key_proj", "pos_query_proj"],
        };
        let head_width = sizes.width / sizes.heads;
        Ok(Attention::Relative {
            keys: self.table(reader, &format!("{name}.{key}"), self.content_to_position)?,
            queries: self.table(reader, &format!("{name}.{query}"), self.position_to_content)?,
            scale: 1.0 / ((head_width * (1 + kinds)) as f32).sqrt(),
        })
    }

    /// The learnt rows through a layer, for every distance; zeros where they are not used.
    fn table(&self, reader: &mut Reader<'_>, name: &str, is_used: bool) -> Result<Rows> {
        let width = reader.sizes(&KEYS)?.width;
        let mut table = Rows::default();
        if !is_used {
            table.push(&vec![0.0; self.buckets.len() * width], width);
            return Ok(table);
        }
        let weight =
            reader.weights.some_rows(&format!("{name}.weight"), [width, width], 0..width)?;
        let bias = reader.weights.vector(&format!("{name}.bias"), width)?;
        // Only the buckets that a text can reach: they are next to each other.
        let first = self.buckets.iter().copied().min().unwrap_or(0);
        let last = self.buckets.iter().copied().max().unwrap_or(0);
        let rows = &self.rows[first * width..(last + 1) * width];
        let projected = product(rows, &weight, Some(&bias), width);
        for bucket in &self.buckets {
            table.push(&projected[(bucket - first) * width..][..width], width);
        }
        Ok(table)
    }
}

fn layers(
    reader: &mut Reader<'_>,
    prefix: &str,
    sizes: Sizes,
    epsilon: f32,
    distances: &Distances,
) -> Result<Vec<Layer>> {
    let Sizes { width, inner, .. } = sizes;
    let activation = reader.activation("hidden_act")?;
    let mut layers = Vec::with_capacity(sizes.layers);
    for at in 0..sizes.layers {
        let name = |part: &str| format!("{prefix}encoder.layer.{at}.{part}");
        let own = name("attention.self");
        let qkv = ["query_proj", "key_proj", "value_proj"].map(|part| format!("{own}.{part}"));
        layers.push(Layer {
            qkv: reader.joined(&qkv.each_ref().map(String::as_str), width, width)?,
            attention: distances.attention(reader, &own, sizes)?,
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

/// Rows times the rows of a weight as PyTorch stores it, plus the bias.
fn product(rows: &[f32], weight: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f32> {
    const LANES: usize = 16;
    let outputs = weight.len() / width;
    let mut out = Vec::with_capacity(rows.len() / width * outputs);
    for row in rows.chunks_exact(width) {
        for (at, weight) in weight.chunks_exact(width).enumerate() {
            let (chunks, rest) = row.as_chunks::<LANES>();
            let (others, others_rest) = weight.as_chunks::<LANES>();
            let mut sums = [0f32; LANES];
            for (chunk, other) in chunks.iter().zip(others) {
                for ((sum, x), w) in sums.iter_mut().zip(chunk).zip(other) {
                    *sum += x * w;
                }
            }
            let rest: f32 = rest.iter().zip(others_rest).map(|(x, w)| x * w).sum();
            out.push(sums.iter().sum::<f32>() + rest + bias.map_or(0.0, |bias| bias[at]));
        }
    }
    out
}

fn normalise(rows: &mut [f32], norm: &Norm) {
    let width = norm.gain.len();
    for row in rows.chunks_exact_mut(width) {
        let mean = row.iter().sum::<f32>() / width as f32;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
        let inverse = 1.0 / (variance + norm.epsilon).sqrt();
        for ((x, gain), bias) in row.iter_mut().zip(&norm.gain).zip(&norm.bias) {
            *x = (*x - mean) * inverse * gain + bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bucket;

    /// What transformers' `make_log_bucket_position` gives for 8 buckets of 32 positions, and for
    /// 256 of 512.
    #[test]
    fn buckets_are_those_of_transformers() {
        let small: Vec<i64> = (0..32).map(|distance| bucket(distance, 8, 32)).collect();
        let expected = [
            0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
            7, 7, 7,
        ];
        assert_eq!(small, expected);
        let large = [-511, -300, -129, -128, 128, 129, 200, 511].map(|d| bucket(d, 256, 512));
        assert_eq!(large, [-255, -207, -129, -128, 128, 129, 169, 255]);
    }
}
