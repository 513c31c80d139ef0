//! Weights out of an ONNX export: `model.onnx` as optimum or `torch.onnx.export` write it.
//!
//! Only constants are taken from the file; the graph is read to name them. Exporters keep the
//! names of most parameters, but fold the transposition of a weight into an anonymous constant
//! (`onnx::MatMul_123`). Such a weight is found by the named bias that is added to its product, or
//! else by the name of its node, which is the path of its layer.

use super::error::{Result, refused};
use super::safetensors::{four, from_brain, from_half, two};
use crate::limits;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::Framework as _;

const FLOAT: i32 = 1;
const FLOAT16: i32 = 10;
const BFLOAT16: i32 = 16;

/// A named parameter.
struct Parameter {
    tensor: TensorProto,
    shape: Vec<usize>,
    /// Stored `[inputs, outputs]`, the other way round than its name says.
    turned: bool,
}

/// The named constants of an export.
pub(super) struct Constants {
    parameters: BTreeMap<String, Parameter>,
}

impl Constants {
    /// Reads `model.onnx`, also where optimum puts it; `None` if there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<Constants>> {
        let candidates = [dir.join("model.onnx"), dir.join("onnx/model.onnx")];
        let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let wrong = |what: String| {
            refused(
                format!("{}: {what}", path.display()),
                "save the model with `model.save_pretrained(DIR)` and import that",
            )
        };
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        if bytes > limits::FILE_BYTES_MAX {
            return Err(wrong(format!("it has {bytes} bytes, more than ONNX allows")));
        }
        let mut file = File::open(&path).map_err(super::error::io_error("open", &path))?;
        let model = tract_onnx::onnx()
            .proto_model_for_read(&mut file)
            .map_err(|error| wrong(format!("it is not an ONNX file: {error:#}")))?;
        let graph = model.graph.ok_or_else(|| wrong("it has no graph".to_owned()))?;
        Constants::of(graph).map(Some).map_err(wrong)
    }

    fn of(graph: GraphProto) -> std::result::Result<Constants, String> {
        let names = names(&graph);
        let mut parameters = BTreeMap::new();
        for tensor in graph.initializer {
            if tensor.data_location == Some(DataLocation::External as i32) {
                return Err(format!("the numbers of {} are in another file", tensor.name));
            }
            let shape: Option<Vec<usize>> =
                tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
            let shape = shape.ok_or_else(|| format!("{} has a negative size", tensor.name))?;
            let (name, turned) = match names.get(&tensor.name) {
                Some((name, turned)) => (name.clone(), *turned),
                None => (tensor.name.clone(), false),
            };
            let shape = if turned { shape.into_iter().rev().collect() } else { shape };
            parameters.insert(name, Parameter { tensor, shape, turned });
        }
        Ok(Constants { parameters })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.parameters.get(name).map(|parameter| parameter.shape.as_slice())
    }

    /// Some of a tensor's numbers, in row-major order. It exists and has them.
    pub(super) fn read(&self, name: &str, numbers: Range<usize>) -> Result<Vec<f32>> {
        let parameter = &self.parameters[name];
        let wrong = |what: &str| {
            refused(
                format!("model.onnx: {name} {what}"),
                "export the model in fp32, not quantised, or save it as safetensors",
            )
        };
        let tensor = &parameter.tensor;
        let count: usize = parameter.shape.iter().product();
        let raw = &tensor.raw_data;
        let size = match tensor.data_type {
            FLOAT => 4,
            FLOAT16 | BFLOAT16 => 2,
            _ => return Err(wrong("is not fp32, fp16 or bf16")),
        };
        let unpacked = tensor.data_type == FLOAT && tensor.float_data.len() == count;
        if !unpacked && raw.len() != count * size {
            return Err(wrong("does not have as many numbers as its shape says"));
        }
        let part = |range: Range<usize>| -> Vec<f32> {
            if unpacked && raw.is_empty() {
                return tensor.float_data[range].to_vec();
            }
            let bytes = &raw[range.start * size..range.end * size];
            match tensor.data_type {
                FLOAT => four(bytes),
                FLOAT16 => two(bytes, from_half),
                _ => two(bytes, from_brain),
            }
        };
        if !parameter.turned {
            return Ok(part(numbers));
        }
        let &[rows, columns] = parameter.shape.as_slice() else {
            return Err(wrong("is not a matrix"));
        };
        // Whole rows of the turned matrix are columns of the stored one.
        let wanted = numbers.start / columns..numbers.end.div_ceil(columns);
        let mut out = vec![0.0; wanted.len() * columns];
        for column in 0..columns {
            let stored = part(column * rows + wanted.start..column * rows + wanted.end);
            for (row, number) in stored.into_iter().enumerate() {
                out[row * columns + column] = number;
            }
        }
        let skipped = numbers.start - wanted.start * columns;
        Ok(out[skipped..skipped + numbers.len()].to_vec())
    }
}

/// What anonymous constants are called, and whether they are stored the other way round.
fn names(graph: &GraphProto) -> BTreeMap<String, (String, bool)> {
    let mut consumers: BTreeMap<&str, Vec<&NodeProto>> = BTreeMap::new();
    for node in &graph.node {
        for input in &node.input {
            consumers.entry(input).or_default().push(node);
        }
    }
    let known: BTreeMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut found = BTreeMap::new();
    for node in graph.node.iter().filter(|node| node.op_type == "MatMul") {
        let [_, weight] = &node.input[..] else { continue };
        if !known.contains_key(weight.as_str()) || weight.ends_with(".weight") {
            continue;
        }
        let product = node.output.first().map_or("", String::as_str);
        let adds = consumers.get(product).into_iter().flatten();
        let bias = adds.filter(|node| node.op_type == "Add").find_map(|add| {
            let other = add.input.iter().find(|input| *input != product)?;
            known.get(other.as_str())?;
            other.strip_suffix(".bias")
        });
        if let Some(layer) = bias.map(str::to_owned).or_else(|| layer_of(node)) {
            found.insert(weight.clone(), (format!("{layer}.weight"), true));
        }
    }
    found
}

/// The path of a layer in the name of its product's node: `/bert/encoder/layer.0/…/query/MatMul`.
fn layer_of(node: &NodeProto) -> Option<String> {
    let path = node.name.strip_prefix('/')?.strip_suffix("/MatMul")?;
    (!path.is_empty()).then(|| path.replace('/', "."))
}
