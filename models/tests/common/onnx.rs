//! Writes ONNX files: just enough of protocol buffers for graphs of constants and nodes.

/// A tensor's elements.
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    I8(&'a [i8]),
    I64(&'a [i64]),
}

/// An attribute's value.
pub(crate) enum Attribute<'a> {
    Float(f32),
    Int(i64),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// One dimension of an input or output.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Fixed(i64),
    Pieces,
}

const F32: u64 = 1;
const I8: u64 = 3;
const I64: u64 = 7;

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Vec<u8>>,
    initializers: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Graph {
    /// Adds a constant and returns its name.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], values: &Values<'_>) -> String {
        let (kind, raw): (u64, Vec<u8>) = match values {
            Values::F32(values) => (F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Values::I8(values) => (I8, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Values::I64(values) => (I64, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        let mut tensor = Vec::new();
        for dim in shape {
            varint(&mut tensor, 1, *dim as u64);
        }
        varint(&mut tensor, 2, kind);
        bytes(&mut tensor, 8, name.as_bytes());
        bytes(&mut tensor, 9, &raw);
        self.initializers.push(tensor);
        name.to_owned()
    }

    /// Adds a node with one output, named like the node.
    pub(crate) fn node(
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
        self.nodes.push(node);
        name.to_owned()
    }

    pub(crate) fn input_ids(&mut self) {
        self.inputs.push(value_info("input_ids", I64, &[Dim::Fixed(1), Dim::Pieces]));
    }

    pub(crate) fn input(&mut self, name: &str, dims: &[Dim]) {
        self.inputs.push(value_info(name, F32, dims));
    }

    pub(crate) fn output(&mut self, name: &str, dims: &[Dim]) {
        self.outputs.push(value_info(name, F32, dims));
    }

    /// The file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        for (field, parts) in
            [(1, &self.nodes), (5, &self.initializers), (11, &self.inputs), (12, &self.outputs)]
        {
            for part in parts {
                bytes(&mut graph, field, part);
            }
        }
        bytes(&mut graph, 2, b"test");
        let mut model = Vec::new();
        varint(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        for (domain, version) in [("", 17), ("landfall", 1)] {
            let mut opset = Vec::new();
            bytes(&mut opset, 1, domain.as_bytes());
            varint(&mut opset, 2, version);
            bytes(&mut model, 8, &opset);
        }
        model
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
                varint(&mut out, 8, *value as u64);
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
            Dim::Fixed(value) => varint(&mut out, 1, *value as u64),
            Dim::Pieces => bytes(&mut out, 2, b"S"),
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
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
