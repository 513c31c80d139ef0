//! Reads `.safetensors` files, one tensor or a part of one at a time.
//!
//! A file is: eight bytes, the length of the header; the header, JSON from tensor names to type,
//! shape and place; the numbers. Everything the header says is checked against the file before it
//! is believed, so that a damaged or hostile file gives an error.

use super::config::read_bounded;
use super::error::{Result, io_error, refused};
use crate::limits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    F32,
    F16,
    Bf16,
    /// Anything else; it cannot be read as numbers.
    Other,
}

/// One tensor: where its numbers are.
struct Place {
    file: usize,
    kind: Type,
    shape: Vec<usize>,
    /// In the file, from its beginning.
    bytes: Range<u64>,
}

/// The tensors of all files of a model.
pub(super) struct Tensors {
    files: Vec<(PathBuf, File)>,
    places: BTreeMap<String, Place>,
}

/// An entry of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// What says in which file a tensor is.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

const AGAIN: &str = "copy the model again, or save it again with `model.save_pretrained(DIR, safe_serialization=True)`";

impl Tensors {
    /// Opens `model.safetensors`, or the files of `model.safetensors.index.json`; `None` if the
    /// directory has neither.
    pub(super) fn open(dir: &Path) -> Result<Option<Tensors>> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        let mut tensors = Tensors { files: Vec::new(), places: BTreeMap::new() };
        if single.is_file() {
            tensors.add(&single)?;
            return Ok(Some(tensors));
        }
        if !index.is_file() {
            return Ok(None);
        }
        let bytes = read_bounded(&index, limits::IMPORT_JSON_BYTES_MAX)?;
        let Index { weight_map } = serde_json::from_slice(&bytes)
            .map_err(|error| refused(format!("{}: {error}", index.display()), AGAIN))?;
        let mut names: Vec<&String> = weight_map.values().collect();
        names.sort();
        names.dedup();
        for name in names {
            let plain = !name.is_empty()
                && !name.starts_with('.')
                && !name.contains(['/', '\\', '\0'])
                && name.ends_with(".safetensors");
            if !plain || tensors.files.len() == limits::IMPORT_SHARDS_MAX {
                let what = format!("{} names the file {name:?}", index.display());
                return Err(refused(what, AGAIN));
            }
            tensors.add(&dir.join(name))?;
        }
        Ok(Some(tensors))
    }

    /// Reads the header of one file.
    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(io_error("open", path))?;
        let length = file.metadata().map_err(io_error("read", path))?.len();
        let places = header(&mut file, length)
            .map_err(|what| refused(format!("{}: {what}", path.display()), AGAIN))?;
        for (name, mut place) in places {
            place.file = self.files.len();
            if self.places.insert(name.clone(), place).is_some() {
                let what = format!("{}: tensor {name} is in another file too", path.display());
                return Err(refused(what, AGAIN));
            }
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.places.get(name).map(|place| place.shape.as_slice())
    }

    /// Some of a tensor's numbers, in row-major order. It exists and has them.
    pub(super) fn read(&mut self, name: &str, numbers: Range<usize>) -> Result<Vec<f32>> {
        let place = &self.places[name];
        let (path, file) = &mut self.files[place.file];
        let size = match place.kind {
            Type::F32 => 4,
            Type::F16 | Type::Bf16 => 2,
            Type::Other => {
                return Err(refused(
                    format!("{}: tensor {name} is not fp32, fp16 or bf16", path.display()),
                    "save the model in one of these, not quantised",
                ));
            }
        };
        let mut bytes = vec![0; numbers.len() * size];
        let start = place.bytes.start + (numbers.start * size) as u64;
        file.seek(SeekFrom::Start(start)).map_err(io_error("read", path))?;
        file.read_exact(&mut bytes).map_err(io_error("read", path))?;
        Ok(match place.kind {
            Type::F32 => four(&bytes),
            Type::F16 => two(&bytes, from_half),
            Type::Bf16 | Type::Other => two(&bytes, from_brain),
        })
    }
}

/// The checked header of a file of `length` bytes.
fn header(file: &mut File, length: u64) -> std::result::Result<Vec<(String, Place)>, String> {
    let short = |_| "it is cut short".to_owned();
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix).map_err(short)?;
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > limits::IMPORT_JSON_BYTES_MAX || header_bytes > length - 8 {
        return Err(format!("its header claims {header_bytes} bytes of {length}"));
    }
    let mut bytes = Vec::new();
    file.take(header_bytes).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let mut entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|error| format!("its header: {error}"))?;
    entries.remove("__metadata__");
    let start = 8 + header_bytes;
    let mut places = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let entry: Entry = serde_json::from_value(entry)
            .map_err(|error| format!("its header, tensor {name}: {error}"))?;
        let place = place(&entry, start, length).map_err(|what| format!("tensor {name} {what}"))?;
        places.push((name, place));
    }
    Ok(places)
}

fn place(entry: &Entry, start: u64, length: u64) -> std::result::Result<Place, String> {
    let (kind, size) = match entry.dtype.as_str() {
        "F32" => (Type::F32, 4),
        "F16" => (Type::F16, 2),
        "BF16" => (Type::Bf16, 2),
        _ => (Type::Other, 0),
    };
    let (from, to) = entry.data_offsets;
    if from > to || to > length - start {
        return Err(format!("lies at {from}..{to}, the file has {}", length - start));
    }
    let count = entry.shape.iter().try_fold(1u64, |count, dim| count.checked_mul(*dim));
    let bytes = count.and_then(|count| count.checked_mul(size));
    if kind != Type::Other && bytes != Some(to - from) {
        return Err(format!("has shape {:?} and {} bytes", entry.shape, to - from));
    }
    let shape = entry.shape.iter().map(|dim| usize::try_from(*dim).map_err(|e| e.to_string()));
    Ok(Place {
        file: 0,
        kind,
        shape: shape.collect::<std::result::Result<_, _>>()?,
        bytes: start + from..start + to,
    })
}

/// Little-endian single precision.
pub(super) fn four(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Little-endian numbers of two bytes.
pub(super) fn two(bytes: &[u8], convert: impl Fn(u16) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<2>();
    numbers.iter().map(|number| convert(u16::from_le_bytes(*number))).collect()
}

/// bfloat16: the upper half of a single.
pub(super) fn from_brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// IEEE half precision.
pub(super) fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1f);
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Below 2^-14 numbers are evenly spaced by 2^-24.
        0 => {
            let size = f32::from(bits & 0x3ff) / 16_777_216.0;
            f32::from_bits(size.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_brain_floats() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
        ] {
            assert_eq!(from_half(bits), value, "{bits:04x}");
        }
        assert!(from_half(0x7c00).is_infinite() && from_half(0x7e00).is_nan());
        assert_eq!((from_brain(0x3f80), from_brain(0xc049)), (1.0, -3.140_625));
    }

    fn opened(header: &str, data: usize) -> Result<Option<Tensors>> {
        let dir = tempfile::TempDir::new().unwrap();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        Tensors::open(dir.path())
    }

    #[track_caller]
    fn refuse(header: &str, data: usize, reason: &str) {
        let Err(error) = opened(header, data) else { panic!("{header} was taken") };
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn a_good_file_is_read_in_parts() {
        let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}"#;
        let mut tensors = opened(header, 8).unwrap().unwrap();
        assert_eq!(tensors.shape("w"), Some(&[2, 2][..]));
        assert_eq!(tensors.read("w", 1..3).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn what_the_header_claims_is_checked() {
        let entry = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        refuse(&entry("F32", "[2]", "[0,4]"), 8, "tensor w has shape [2] and 4 bytes");
        refuse(&entry("F32", "[2]", "[0,8]"), 7, "tensor w lies at 0..8, the file has 7");
        refuse(&entry("F32", "[1]", "[8,4]"), 8, "tensor w lies at 8..4");
        let huge = "[4294967296,4294967296,4294967296]";
        refuse(&entry("F32", huge, "[0,8]"), 8, "tensor w has shape");
        refuse(&entry("F32", "[-1]", "[0,8]"), 8, "its header, tensor w");
        refuse("[]", 8, "its header");
        let dir = tempfile::TempDir::new().unwrap();
        for (bytes, reason) in [(&[1, 2][..], "cut short"), (&[255; 9][..], "its header claims")] {
            std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
            let Err(error) = Tensors::open(dir.path()) else { panic!("it was taken") };
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
