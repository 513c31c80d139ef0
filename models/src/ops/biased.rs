//! `LfWindowAttention` and `LfRelativeAttention`: attention that knows how far apart two pieces
//! are.
//!
//! `LfRelativeAttention` is DeBERTa's disentangled attention (He et al., arXiv 2006.03654). What
//! its position keys and queries are for each distance is worked out when a model is imported, so
//! that buckets of distances are none of its business: rows are for the distances from
//! `1 - P` to `P - 1`, query minus key.

use super::scores::{Bias, Relative, Shape, Table, attend};
use super::{Parsed, check_arity, constant, floats, matrix_shape, parsed, vector};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// What changes the scores.
#[derive(Debug, Clone)]
enum Kind {
    Window(usize),
    Relative(Arc<Relative>),
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Kind::Window(left), Kind::Window(right)) => left == right,
            (Kind::Relative(left), Kind::Relative(right)) => Arc::ptr_eq(left, right),
            (Kind::Window(_), Kind::Relative(_)) | (Kind::Relative(_), Kind::Window(_)) => false,
        }
    }
}
impl Eq for Kind {}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Window(_) => "LfWindowAttention",
            Kind::Relative(_) => "LfRelativeAttention",
        }
    }

    fn bias(&self) -> Bias<'_> {
        match self {
            Kind::Window(reach) => Bias::Window(*reach),
            Kind::Relative(relative) => Bias::Relative(relative),
        }
    }
}

/// The operator as tract runs it.
#[derive(Debug, Clone)]
pub(super) struct Biased {
    heads: usize,
    scale: f32,
    kind: Kind,
}

impl Biased {
    /// The most word pieces of one text; `None` if there may be any number.
    pub(super) fn positions(&self) -> Option<usize> {
        match &self.kind {
            Kind::Window(_) => None,
            Kind::Relative(relative) => Some(relative.positions),
        }
    }
}

impl PartialEq for Biased {
    fn eq(&self, other: &Self) -> bool {
        self.heads == other.heads
            && self.scale.to_bits() == other.scale.to_bits()
            && self.kind == other.kind
    }
}
impl Eq for Biased {}

impl Op for Biased {
    fn name(&self) -> StaticName {
        self.kind.name().into()
    }
    op_as_typed_op!();
}

impl EvalOp for Biased {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let qkv = &inputs[0];
        let &[1, pieces, columns] = qkv.shape() else {
            bail!("{} takes one text, not {:?}", self.kind.name(), qkv.shape());
        };
        if let Kind::Relative(relative) = &self.kind {
            ensure!(
                pieces <= relative.positions,
                "the text has {pieces} word pieces, LfRelativeAttention has {} positions",
                relative.positions
            );
        }
        let shape = Shape { pieces, width: columns / 3, heads: self.heads };
        let mut out = Tensor::zero::<f32>(&[1, pieces, shape.width])?;
        if pieces > 0 {
            let mut plain = out.try_as_plain_ram_mut()?;
            let out = plain.as_slice_mut::<f32>()?;
            attend(floats(qkv)?, shape, self.scale, &self.kind.bias(), out);
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Biased {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut fact = inputs[0].without_value();
        let width = fact.shape[2].clone() / 3;
        fact.shape.set(2, width);
        Ok(tvec!(fact))
    }
}

/// The operator as it is read; without a reach it is `LfRelativeAttention`.
#[derive(Debug, Clone)]
struct Unpacked {
    heads: usize,
    scale: Option<f32>,
    reach: Option<usize>,
}

pub(super) fn parse_window(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    unpacked(node, Some(node.get_attr("reach")?), None)
}

pub(super) fn parse_relative(_: &ParsingContext<'_>, node: &NodeProto) -> Parsed {
    let scale: f32 = node.get_attr("scale")?;
    ensure!(scale.is_finite() && scale > 0.0, "LfRelativeAttention has the scale {scale}");
    unpacked(node, None, Some(scale))
}

fn unpacked(node: &NodeProto, reach: Option<usize>, scale: Option<f32>) -> Parsed {
    let heads: usize = node.get_attr("heads")?;
    ensure!(heads > 0, "{} needs heads", node.op_type);
    parsed(Unpacked { heads, scale, reach })
}

impl Unpacked {
    fn kind(&self, model: &TypedModel, inputs: &[OutletId], width: usize) -> TractResult<Kind> {
        if let Some(reach) = self.reach {
            return Ok(Kind::Window(reach));
        }
        let keys = table(model, inputs[1], inputs[2], "keys", width)?;
        let queries = table(model, inputs[3], inputs[4], "queries", width)?;
        let rows = keys.scales.len();
        ensure!(
            rows % 2 == 1 && queries.scales.len() == rows,
            "keys are for {rows} distances, queries for {}",
            queries.scales.len()
        );
        let positions = rows.div_ceil(2);
        Ok(Kind::Relative(Arc::new(Relative { positions, keys, queries })))
    }
}

fn table(
    model: &TypedModel,
    rows: OutletId,
    scales: OutletId,
    what: &str,
    width: usize,
) -> TractResult<Table> {
    let values = constant(model, rows, what)?;
    let (count, columns) = matrix_shape(&values, what)?;
    ensure!(columns == width, "{what} have {columns} columns, {width} expected");
    let rows = values.try_as_plain_ram()?.as_slice::<i8>()?.to_vec();
    Ok(Table { rows, scales: vector(model, scales, what, count)? })
}

impl Expansion for Unpacked {
    fn name(&self) -> StaticName {
        "LfBiasedAttention".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_arity(inputs, outputs, if self.reach.is_some() { 1 } else { 5 })?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&inputs[0].rank, 3)?;
        solver.given(&inputs[0].shape, move |solver, qkv| {
            let shape = tvec!(qkv[0].clone(), qkv[1].clone(), qkv[2].clone() / 3);
            solver.equals(&outputs[0].shape, shape)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let columns = model.outlet_fact(inputs[0])?.shape[2].to_usize()?;
        ensure!(
            columns > 0 && columns.is_multiple_of(3 * self.heads),
            "attention cannot share {columns} columns among {} heads",
            self.heads
        );
        let width = columns / 3;
        let scale = self.scale.unwrap_or_else(|| 1.0 / ((width / self.heads) as f32).sqrt());
        let kind = self.kind(model, inputs, width)?;
        model.wire_node(prefix, Biased { heads: self.heads, scale, kind }, &inputs[..1])
    }
}
