//! Writes ONNX files: just enough of protocol buffers for graphs of constants and nodes.
//!
//! Constants are borrowed and streamed out, so that a large encoder is not copied to be written.

use std::io::{self, Write};

/// ONNX operator set: the newest that every reader in use knows, with LayerNormalization.
const OPSET: u64 = 17;
/// The oldest file format that carries it.
const IR_VERSION: u64 = 8;

const F32: u64 = 1;
const I8: u64 = 3;
const I64: u64 = 7;

/// Numbers turned to bytes at once.
const CHUNK: usize = 4096;

/// A tensor's elements.
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    I8(&'a [i8]),
    /// One number, without dimensions.
    Scalar(f32),
    /// One index, without dimensions.
    Index(i64),
}

/// An attribute's value.
pub(super) enum Attribute<'a> {
    Float(f32),
    Int(usize),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// One dimension of an input or output; without a number it is that of the pieces.
type Dim = Option<usize>;

/// A graph under construction.
#[derive(Default)]
pub(super) struct Graph<'a> {
    nodes: Vec<u8>,
    constants: Vec<(Vec<u8>, Values<'a>)>,
    ends: Vec<u8>,
}

impl<'a> Graph<'a> {
    /// Adds a constant and returns its name.
    pub(super) fn constant(&mut self, name: &str, shape: &[usize], values: Values<'a>) -> String {
        let kind = match values {
            Values::F32(_) | Values::Scalar(_) => F32,
            Values::I8(_) => I8,
            Values::Index(_) => I64,
        };
        let mut head = Vec::new();
        for dim in shape {
            varint(&mut head, 1, *dim as u64);
        }
        varint(&mut head, 2, kind);
        bytes(&mut head, 8, name.as_bytes());
        key(&mut head, 9, 2);
        number(&mut head, values.bytes() as u64);
        self.constants.push((head, values));
        name.to_owned()
    }

    /// A vector.
    pub(super) fn vector(&mut self, name: &str, values: &'a [f32]) -> String {
        self.constant(name, &[values.len()], Values::F32(values))
    }

    /// Adds a node with one output, named like the node.
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) -> String {
        let mut node = Vec::new();
        for input in inputs {
            bytes(&mut node, 1, input.as_bytes());
        }
        bytes(&mut node, 2, name.as_bytes());
        bytes(&mut node, 3, name.as_bytes());
        bytes(&mut node, 4, op.as_bytes());
        for (name, value) in attributes {
            bytes(&mut node, 5, &attribute(name, value));
        }
        if op.starts_with("Lf") {
            bytes(&mut node, 7, b"landfall");
        }
        bytes(&mut self.nodes, 1, &node);
        name.to_owned()
    }

    pub(super) fn input_ids(&mut self) {
        bytes(&mut self.ends, 11, &value_info("input_ids", I64, &[Some(1), None]));
    }

    pub(super) fn input(&mut self, name: &str, dims: &[Dim]) {
        bytes(&mut self.ends, 11, &value_info(name, F32, dims));
    }

    pub(super) fn output(&mut self, name: &str, dims: &[Dim]) {
        bytes(&mut self.ends, 12, &value_info(name, F32, dims));
    }

    /// Writes the file.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut name = Vec::new();
        bytes(&mut name, 2, b"landfall");
        let mut heads = Vec::with_capacity(self.constants.len());
        let mut length = (self.nodes.len() + name.len() + self.ends.len()) as u64;
        for (head, values) in &self.constants {
            let mut prefix = Vec::new();
            key(&mut prefix, 5, 2);
            number(&mut prefix, (head.len() + values.bytes()) as u64);
            length += (prefix.len() + head.len() + values.bytes()) as u64;
            heads.push(prefix);
        }
        let mut start = Vec::new();
        varint(&mut start, 1, IR_VERSION);
        bytes(&mut start, 2, b"landfall-models");
        key(&mut start, 7, 2);
        number(&mut start, length);
        out.write_all(&start)?;
        out.write_all(&self.nodes)?;
        out.write_all(&name)?;
        for ((head, values), prefix) in self.constants.iter().zip(heads) {
            out.write_all(&prefix)?;
            out.write_all(head)?;
            values.write(out)?;
        }
        out.write_all(&self.ends)?;
        let mut opsets = Vec::new();
        for (domain, version) in [("", OPSET), ("landfall", 1)] {
            let mut opset = Vec::new();
            bytes(&mut opset, 1, domain.as_bytes());
            varint(&mut opset, 2, version);
            bytes(&mut opsets, 8, &opset);
        }
        out.write_all(&opsets)
    }
}

impl Values<'_> {
    fn bytes(&self) -> usize {
        match self {
            Values::F32(values) => values.len() * 4,
            Values::I8(values) => values.len(),
            Values::Scalar(_) => 4,
            Values::Index(_) => 8,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Values::F32(values) => values.chunks(CHUNK).try_for_each(|chunk| {
                let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
                out.write_all(&bytes)
            }),
            Values::I8(values) => values.chunks(CHUNK).try_for_each(|chunk| {
                let bytes: Vec<u8> = chunk.iter().map(|value| value.cast_unsigned()).collect();
                out.write_all(&bytes)
            }),
            Values::Scalar(value) => out.write_all(&value.to_le_bytes()),
            Values::Index(value) => out.write_all(&value.to_le_bytes()),
        }
    }
}

fn attribute(name: &str, value: &Attribute<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    let kind = match value {
        Attribute::Float(value) => {
            key(&mut out, 2, 5);
            out.extend(value.to_le_bytes());
            1
        }
        Attribute::Int(value) => {
            varint(&mut out, 3, *value as u64);
            2
        }
        Attribute::Text(value) => {
            bytes(&mut out, 4, value.as_bytes());
            3
        }
        Attribute::Ints(values) => {
            for value in *values {
                varint(&mut out, 8, value.cast_unsigned());
            }
            7
        }
    };
    varint(&mut out, 20, kind);
    out
}

fn value_info(name: &str, kind: u64, dims: &[Dim]) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in dims {
        let mut out = Vec::new();
        match dim {
            Some(value) => varint(&mut out, 1, *value as u64),
            None => bytes(&mut out, 2, b"S"),
        }
        bytes(&mut shape, 1, &out);
    }
    let mut tensor = Vec::new();
    varint(&mut tensor, 1, kind);
    bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut info = Vec::new();
    bytes(&mut info, 1, name.as_bytes());
    bytes(&mut info, 2, &kind);
    info
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    number(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, 0);
    number(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    number(out, value.len() as u64);
    out.extend(value);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
