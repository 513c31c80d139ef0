//! A head's ONNX file as lines of text, to be compared with the forms that are known.
//!
//! A form that differs in anything but its constants is another head, and none of this is used.

use crate::ops::Dense;
use std::collections::BTreeMap;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::prelude::Framework as _;

/// Element types.
const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// The file.
pub(super) struct Graph {
    /// Each node as `output = Operator(inputs) attribute=[values]`.
    nodes: Vec<String>,
    outputs: Vec<String>,
    constants: BTreeMap<String, Constant>,
}

/// Shape and numbers.
struct Constant {
    shape: Vec<i64>,
    values: Vec<f32>,
}

impl Graph {
    /// `None` if it is not a graph of one input, `hidden`, and of constants in fp32 and int64.
    pub(super) fn read(onnx: &[u8]) -> Option<Graph> {
        let model = tract_onnx::onnx().proto_model_for_read(&mut &onnx[..]).ok()?;
        let graph = model.graph?;
        if graph.input.len() != 1 || graph.input[0].name != "hidden" {
            return None;
        }
        let constants =
            graph.initializer.iter().map(|tensor| Some((tensor.name.clone(), constant(tensor)?)));
        Some(Graph {
            nodes: graph.node.iter().map(line).collect(),
            outputs: graph.output.iter().map(|output| output.name.clone()).collect(),
            constants: constants.collect::<Option<_>>()?,
        })
    }

    /// Whether it has just these nodes, in this order, and these outputs.
    pub(super) fn is(&self, nodes: &[&str], outputs: &[&str]) -> bool {
        self.nodes == nodes && self.outputs == outputs
    }

    /// A linear layer of `inputs` inputs: `name.weight`, and `name.bias` if it has one.
    pub(super) fn dense(&self, name: &str, inputs: usize) -> Option<Dense> {
        let weight = self.constants.get(&format!("{name}.weight"))?;
        let &[rows, outputs] = &weight.shape[..] else { return None };
        let bias = self.constants.get(&format!("{name}.bias"));
        let fits = usize::try_from(rows) == Ok(inputs)
            && outputs > 0
            && bias.is_none_or(|bias| bias.shape == [outputs]);
        fits.then(|| Dense::new(&weight.values, bias.map(|bias| &bias.values[..]), inputs))
    }

    /// The numbers of a constant of this shape.
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Option<&[f32]> {
        let constant = self.constants.get(name)?;
        let same = constant.shape.len() == shape.len()
            && constant.shape.iter().zip(shape).all(|(is, of)| usize::try_from(*is) == Ok(*of));
        same.then_some(&constant.values)
    }

    /// Whether a constant is this one number.
    pub(super) fn is_number(&self, name: &str, value: f32) -> bool {
        self.constants.get(name).is_some_and(|constant| constant.values == [value])
    }

    /// The shape of a constant.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let dims = self.constants.get(name)?.shape.iter();
        dims.map(|dim| usize::try_from(*dim).ok()).collect()
    }
}

fn constant(tensor: &TensorProto) -> Option<Constant> {
    let values: Vec<f32> = match tensor.data_type {
        FLOAT => {
            let (quads, rest) = tensor.raw_data.as_chunks::<4>();
            rest.is_empty().then(|| quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())?
        }
        INT64 => {
            let (eights, rest) = tensor.raw_data.as_chunks::<8>();
            let small = |eight: &[u8; 8]| i16::try_from(i64::from_le_bytes(*eight)).map(f32::from);
            let values: Result<Vec<f32>, _> = eights.iter().map(small).collect();
            values.ok().filter(|_| rest.is_empty())?
        }
        _ => return None,
    };
    let shape = tensor.dims.clone();
    let count = shape.iter().try_fold(1i64, |count, dim| count.checked_mul(*dim))?;
    (usize::try_from(count) == Ok(values.len())).then_some(Constant { shape, values })
}

fn line(node: &NodeProto) -> String {
    let attributes: String = node.attribute.iter().map(attribute).collect();
    let (outputs, inputs) = (node.output.join(", "), node.input.join(", "));
    format!("{outputs} = {}({inputs}){attributes}", node.op_type)
}

/// One that is neither an integer nor some of them is written in a way that no form has.
fn attribute(of: &AttributeProto) -> String {
    let is_plain = of.f == 0.0 && of.s.is_empty() && of.t.is_none() && of.g.is_none();
    match (is_plain && of.floats.is_empty() && of.strings.is_empty(), &of.ints[..]) {
        (true, []) => format!(" {}={}", of.name, of.i),
        (true, ints) => format!(" {}={ints:?}", of.name),
        (false, _) => format!(" {}=?", of.name),
    }
}
