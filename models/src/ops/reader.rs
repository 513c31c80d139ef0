//! Reads an ONNX file without copying its large constants more than once.
//!
//! The reader of protocol buffers copies every constant, and tract copies it again. Large ones are
//! therefore taken out of the file before it is read, which leaves a few kilobytes, and put into
//! the graph straight from the file's bytes.

use super::onnx;
use tract_onnx::model::ParseResult;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// Constants of so many bytes are large.
const LARGE_BYTES: usize = 4096;

/// Reads an ONNX file.
pub(crate) fn read(onnx_file: &[u8]) -> TractResult<InferenceModel> {
    let Split { rest, large } = split(onnx_file)?;
    let proto = onnx().proto_model_for_read(&mut &rest[..])?;
    let ParseResult { mut model, unresolved_inputs, outlets_by_name } =
        onnx().parse(&proto, None)?;
    let mut found = 0;
    for (name, tensor) in large {
        // A constant that nothing reads is left out.
        let Some(outlet) = outlets_by_name.get(name) else { continue };
        ensure!(unresolved_inputs.iter().any(|input| input == name), "{name} is there twice");
        found += 1;
        let fact = InferenceFact::try_from(&tensor)?;
        model.node_mut(outlet.node).op = tract_core::ops::konst::Const::new(tensor)?.into();
        model.set_outlet_fact(*outlet, fact)?;
        model.inputs.retain(|input| input != outlet);
    }
    ensure!(found == unresolved_inputs.len(), "inputs of {unresolved_inputs:?} are missing");
    Ok(model)
}

/// A file in two parts.
struct Split<'a> {
    /// Everything but the large constants.
    rest: Vec<u8>,
    /// These, by name.
    large: Vec<(&'a str, Arc<Tensor>)>,
}

/// Field numbers of ONNX's messages.
mod field {
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const GRAPH_INITIALIZER: u64 = 5;
    pub(super) const TENSOR_DIMS: u64 = 1;
    pub(super) const TENSOR_TYPE: u64 = 2;
    pub(super) const TENSOR_NAME: u64 = 8;
    pub(super) const TENSOR_RAW: u64 = 9;
}

/// Types of elements.
const FLOAT: u64 = 1;
const INT8: u64 = 3;

fn split(model: &[u8]) -> TractResult<Split<'_>> {
    let mut split = Split { rest: Vec::new(), large: Vec::new() };
    for part in Fields(model) {
        let part = part?;
        let (field::MODEL_GRAPH, Value::Bytes(graph)) = (part.number, part.value) else {
            split.rest.extend(part.whole);
            continue;
        };
        let mut kept: Vec<u8> = Vec::new();
        for part in Fields(graph) {
            let part = part?;
            let large = match (part.number, part.value) {
                (field::GRAPH_INITIALIZER, Value::Bytes(tensor)) => large(tensor)?,
                _ => None,
            };
            match large {
                Some(tensor) => split.large.push(tensor),
                None => kept.extend(part.whole),
            }
        }
        varint(&mut split.rest, field::MODEL_GRAPH << 3 | 2);
        varint(&mut split.rest, kept.len() as u64);
        split.rest.extend(kept);
    }
    Ok(split)
}

/// A constant, if it is large and plain.
fn large(message: &[u8]) -> TractResult<Option<(&str, Arc<Tensor>)>> {
    let (mut shape, mut kind, mut name, mut raw) = (Vec::new(), 0, "", &message[..0]);
    for part in Fields(message) {
        let part = part?;
        match (part.number, part.value) {
            (field::TENSOR_DIMS, Value::Number(dim)) => shape.push(usize::try_from(dim)?),
            (field::TENSOR_DIMS, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    shape.push(usize::try_from(number(&mut packed)?)?);
                }
            }
            (field::TENSOR_TYPE, Value::Number(number)) => kind = number,
            (field::TENSOR_NAME, Value::Bytes(bytes)) => name = std::str::from_utf8(bytes)?,
            (field::TENSOR_RAW, Value::Bytes(bytes)) => raw = bytes,
            // In pieces, in another file, or in another form: not plain.
            _ => return Ok(None),
        }
    }
    if raw.len() < LARGE_BYTES {
        return Ok(None);
    }
    let count = shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
    let is_size = |bytes| count.and_then(|count| count.checked_mul(bytes)) == Some(raw.len());
    let tensor = match kind {
        INT8 if is_size(1) => {
            let mut tensor = Tensor::zero::<i8>(&shape)?;
            let mut plain = tensor.try_as_plain_ram_mut()?;
            for (value, byte) in plain.as_slice_mut::<i8>()?.iter_mut().zip(raw) {
                *value = byte.cast_signed();
            }
            tensor
        }
        FLOAT if is_size(4) => {
            let mut tensor = Tensor::zero::<f32>(&shape)?;
            let mut plain = tensor.try_as_plain_ram_mut()?;
            let (quads, _) = raw.as_chunks::<4>();
            for (value, bytes) in plain.as_slice_mut::<f32>()?.iter_mut().zip(quads) {
                *value = f32::from_le_bytes(*bytes);
            }
            tensor
        }
        INT8 | FLOAT => bail!("{name} has {} bytes and shape {shape:?}", raw.len()),
        _ => return Ok(None),
    };
    Ok(Some((name, tensor.into_arc_tensor())))
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

/// One of them.
struct Field<'a> {
    number: u64,
    value: Value<'a>,
    /// As it stands in the message.
    whole: &'a [u8],
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Iterator for Fields<'a> {
    type Item = TractResult<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(message: &mut &'a [u8]) -> TractResult<Field<'a>> {
    let start = *message;
    let key = number(message)?;
    let value = match key & 7 {
        0 => Value::Number(number(message)?),
        1 => taken(message, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = usize::try_from(number(message)?)?;
            Value::Bytes(taken(message, length)?)
        }
        5 => taken(message, 4).map(|_| Value::Fixed)?,
        wire => bail!("not an ONNX file: wire type {wire}"),
    };
    Ok(Field { number: key >> 3, value, whole: &start[..start.len() - message.len()] })
}

fn taken<'a>(message: &mut &'a [u8], count: usize) -> TractResult<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count).context("not an ONNX file: it is cut")?;
    *message = rest;
    Ok(taken)
}

fn number(message: &mut &[u8]) -> TractResult<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = taken(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("not an ONNX file: a number is too long")
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(out: &mut Vec<u8>, number: u64, content: &[u8]) {
        varint(out, number << 3 | 2);
        varint(out, content.len() as u64);
        out.extend(content);
    }

    /// A constant with so many dimensions and bytes.
    fn tensor(dims: &[u64], kind: u64, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for dim in dims {
            varint(&mut out, field::TENSOR_DIMS << 3);
            varint(&mut out, *dim);
        }
        varint(&mut out, field::TENSOR_TYPE << 3);
        varint(&mut out, kind);
        bytes(&mut out, field::TENSOR_NAME, b"weights");
        bytes(&mut out, field::TENSOR_RAW, raw);
        out
    }

    fn model(tensor: &[u8]) -> Vec<u8> {
        let (mut graph, mut model) = (Vec::new(), Vec::new());
        bytes(&mut graph, field::GRAPH_INITIALIZER, tensor);
        bytes(&mut model, field::MODEL_GRAPH, &graph);
        model
    }

    #[test]
    fn large_constants_are_taken_out_and_small_ones_stay() {
        let raw: Vec<u8> = (0..2 * LARGE_BYTES).map(|at| at.to_le_bytes()[0]).collect();
        let file = model(&tensor(&[2, LARGE_BYTES as u64], INT8, &raw));
        let Split { rest, large } = split(&file).unwrap();
        assert!(rest.len() < 10 && large[0].0 == "weights", "{rest:?}");
        let plain = large[0].1.try_as_plain_ram().unwrap();
        let values = plain.as_slice::<i8>().unwrap();
        assert!(values.iter().zip(&raw).all(|(value, byte)| value.cast_unsigned() == *byte));
        assert_eq!(large[0].1.shape(), [2, LARGE_BYTES]);
        for kept in [tensor(&[1, 8], INT8, &raw[..8]), tensor(&[4096], 2, &raw[..4096])] {
            let file = model(&kept);
            let Split { rest, large } = split(&file).unwrap();
            assert!(rest == file && large.is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let raw = [1; LARGE_BYTES];
        let file = model(&tensor(&[LARGE_BYTES as u64], INT8, &raw));
        for cut in [1, 2, 3, 10, 30, file.len() / 2, file.len() - 1] {
            assert!(split(&file[..cut]).is_err(), "cut at {cut}");
        }
        for dims in [&[LARGE_BYTES as u64 - 1][..], &[u64::MAX, u64::MAX], &[]] {
            assert!(split(&model(&tensor(dims, INT8, &raw))).is_err(), "{dims:?}");
        }
        assert!(split(&model(&tensor(&[LARGE_BYTES as u64], FLOAT, &raw))).is_err());
        assert!(read(b"not an ONNX file").is_err());
        assert!(read(&[0xff; 100]).is_err());
    }
}
