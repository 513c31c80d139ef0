//! The tensors of a model by the names that transformers gives them.
//!
//! Tensors are read one at a time, large ones in parts, so that a model's full precision is never
//! in memory at once. What is missing, has another shape, or is not a number is refused by name.

use super::error::{Result, refused};
use super::{onnx, safetensors};
use std::ops::Range;
use std::path::Path;

/// Numbers read at once of a large matrix: 16 MB of them, or one row.
const PART: usize = 4 << 20;

enum Source {
    Safetensors(safetensors::Tensors),
    Onnx(onnx::Constants),
}

/// All tensors of a model.
pub(super) struct Weights {
    source: Source,
}

impl Weights {
    /// Opens what the directory has.
    pub(super) fn open(dir: &Path) -> Result<Weights> {
        if let Some(tensors) = safetensors::Tensors::open(dir)? {
            return Ok(Weights { source: Source::Safetensors(tensors) });
        }
        if let Some(constants) = onnx::Constants::open(dir)? {
            return Ok(Weights { source: Source::Onnx(constants) });
        }
        let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
        if pickled.iter().any(|name| dir.join(name).is_file()) {
            return Err(refused(
                format!(
                    "{} has its weights in pytorch_model.bin only; such files can run code",
                    dir.display()
                ),
                "save as safetensors: `AutoModelForSequenceClassification.from_pretrained(DIR).save_pretrained(DIR)` (or AutoModelForTokenClassification)",
            ));
        }
        Err(refused(
            format!("{} has neither model.safetensors nor model.onnx", dir.display()),
            "name the directory that `model.save_pretrained(DIR)` wrote",
        ))
    }

    /// Whether the weights come from an ONNX export.
    pub(super) fn are_onnx(&self) -> bool {
        matches!(self.source, Source::Onnx(_))
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        match &self.source {
            Source::Safetensors(tensors) => tensors.shape(name),
            Source::Onnx(constants) => constants.shape(name),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// How many tensors there are.
    fn count(&self) -> usize {
        match &self.source {
            Source::Safetensors(tensors) => tensors.names().count(),
            Source::Onnx(constants) => constants.names().count(),
        }
    }

    /// A vector of `len` numbers.
    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let name = self.checked(name, &[len])?;
        self.read(&name, 0..len)
    }

    /// Some rows of a matrix.
    pub(super) fn some_rows(
        &mut self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Vec<f32>> {
        let name = self.checked(name, &shape)?;
        self.read(&name, rows.start * shape[1]..rows.end * shape[1])
    }

    /// Hands a matrix over in parts of whole rows, in order.
    pub(super) fn rows(
        &mut self,
        name: &str,
        shape: [usize; 2],
        mut take: impl FnMut(&[f32]),
    ) -> Result<()> {
        let at_once = (PART / shape[1]).max(1);
        for first in (0..shape[0]).step_by(at_once) {
            let last = (first + at_once).min(shape[0]);
            take(&self.some_rows(name, shape, first..last)?);
        }
        Ok(())
    }

    /// The name of a tensor that exists and has this shape. Old checkpoints call the gain and
    /// bias of a layer normalisation gamma and beta.
    fn checked(&self, name: &str, shape: &[usize]) -> Result<String> {
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        let old = old.replace("LayerNorm.bias", "LayerNorm.beta");
        let Some((name, found)) =
            [name, &old].into_iter().find_map(|name| Some((name, self.shape(name)?)))
        else {
            let remedy = if self.are_onnx() {
                "save the model with `model.save_pretrained(DIR)` and import that"
            } else {
                "check that config.json belongs to these weights; save both again with `model.save_pretrained(DIR)`"
            };
            let what = format!("tensor {name} is missing among {} tensors", self.count());
            return Err(refused(what, remedy));
        };
        if found != shape {
            return Err(refused(
                format!("tensor {name} has shape {found:?}, config.json asks for {shape:?}"),
                "check that config.json belongs to these weights",
            ));
        }
        Ok(name.to_owned())
    }

    fn read(&mut self, name: &str, numbers: Range<usize>) -> Result<Vec<f32>> {
        let values = match &mut self.source {
            Source::Safetensors(tensors) => tensors.read(name, numbers)?,
            Source::Onnx(constants) => constants.read(name, numbers)?,
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(refused(
                format!("tensor {name} holds values that are not finite numbers"),
                "the training went wrong; import an earlier checkpoint",
            ));
        }
        Ok(values)
    }
}
