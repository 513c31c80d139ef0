//! `LfEmbed`: word embeddings in int8 rows, positions, and the layer normalisation after them.
//!
//! An encoder that knows positions elsewhere has one row of them, for every piece; the attribute
//! `positions_max` then says how many pieces a text may have.
//!
//! The word table is the largest constant of an encoder; it stays where the reader put it.

use super::kernel::{Norm, add_norm, vectorised};
use super::{
    Parsed, buffer, check_arity, constant, floats, matrix_shape, parsed, shared_op, vector,
};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The constants.
#[derive(Debug)]
pub(crate) struct Tables {
    words: Arc<Tensor>,
    word_scales: Vec<f32>,
    positions: Vec<f32>,
    positions_max: usize,
    norm: Norm,
}

/// The operator as tract runs it.
#[derive(Debug, Clone)]
pub(crate) struct LfEmbed(Arc<Tables>);
shared_op!(LfEmbed, "LfEmbed");

impl LfEmbed {
    /// How many word pieces it knows.
    pub(crate) fn vocabulary_size(&self) -> usize {
        self.0.word_scales.len()
    }

    /// The most word pieces of one text.
    pub(crate) fn positions(&self) -> usize {
        self.0.positions_max
    }
}

impl Tables {
    fn run(&self, ids: &[i64], out: &mut [f32]) -> TractResult<()> {
        let width = self.norm.gain.len();
        let words = self.words.try_as_plain_ram()?;
        let words = words.as_slice::<i8>()?;
        ensure!(
            ids.len() <= self.positions_max,
            "the text has {} word pieces, the encoder has {} positions",
            ids.len(),
            self.positions_max
        );
        let rows = out.chunks_exact_mut(width).zip(self.positions.chunks_exact(width).cycle());
        for (&id, (out, position)) in ids.iter().zip(rows) {
            let word = usize::try_from(id).ok().filter(|word| *word < self.word_scales.len());
            let word = word.with_context(|| format!("there is no word piece {id}"))?;
            let scale = self.word_scales[word];
            let row = &words[word * width..][..width];
            vectorised(
                #[inline(always)]
                || {
                    for ((out, word), position) in out.iter_mut().zip(row).zip(position) {
                        *out = f32::from(*word) * scale + position;
                    }
                },
            );
        }
        add_norm(out, None, &self.norm);
        Ok(())
    }
}

impl EvalOp for LfEmbed {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let ids = &inputs[0];
        let mut shape: TVec<usize> = ids.shape().into();
        shape.push(self.0.norm.gain.len());
        let mut out = buffer::take(&shape)?;
        let plain = ids.try_as_plain_ram()?;
        self.0.run(plain.as_slice::<i64>()?, out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LfEmbed {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape: TVec<TDim> = inputs[0].shape.to_tvec();
        shape.push(self.0.norm.gain.len().to_dim());
        Ok(tvec!(f32::fact(&*shape)))
    }
}

/// The operator as it is read.
#[derive(Debug, Clone)]
struct Unpacked {
    epsilon: f32,
    positions_max: Option<usize>,
}

pub(super) fn parse(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let positions_max = node.get_attr_opt("positions_max")?;
    parsed(Unpacked { epsilon: node.get_attr("eps")?, positions_max })
}

impl Expansion for Unpacked {
    fn name(&self) -> StaticName {
        "LfEmbed".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, 6)?;
        solver.equals(&inputs[0].datum_type, i64::datum_type())?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.given_2(&inputs[0].shape, &inputs[1].shape, move |solver, ids, words| {
            ensure!(words.len() == 2, "LfEmbed takes a matrix of words");
            let mut shape = ids;
            shape.push(words[1].clone());
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let words = constant(model, inputs[1], "words_q")?;
        words.try_as_plain_ram()?.as_slice::<i8>()?;
        let (count, width) = matrix_shape(&words, "words_q")?;
        ensure!(width > 0, "words_q has no columns");
        let positions = constant(model, inputs[3], "positions")?;
        let (rows, position_width) = matrix_shape(&positions, "positions")?;
        ensure!(position_width == width, "words have {width} columns, positions {position_width}");
        ensure!(
            rows > 0 && (rows == 1 || self.positions_max.is_none()),
            "positions have {rows} rows, one is expected with positions_max"
        );
        let tables = Tables {
            word_scales: vector(model, inputs[2], "words_scale", count)?,
            words,
            positions: floats(&positions)?.to_vec(),
            positions_max: self.positions_max.unwrap_or(rows),
            norm: Norm {
                gain: vector(model, inputs[4], "ln_gain", width)?,
                bias: vector(model, inputs[5], "ln_bias", width)?,
                epsilon: self.epsilon,
            },
        };
        model.wire_node(prefix, LfEmbed(Arc::new(tables)), &inputs[..1])
    }
}
