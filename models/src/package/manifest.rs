//! The manifest: what a package says about itself.
//!
//! Parsed only after its signature held. [`Manifest::check`] establishes what the rest relies on:
//! every file that is referred to is listed, names are plain file names, sizes are within
//! [`crate::limits`].

use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format number that this version reads and writes.
pub const FORMAT: u64 = 1;

/// The content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format number, [`FORMAT`].
    pub format: u64,
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX licence of the whole.
    pub licence: String,
    /// What it is for, one or two sentences.
    pub description: String,
    /// What it was made from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// The encoder that all tasks share.
    pub encoder: EncoderEntry,
    /// The tasks by name.
    pub tasks: BTreeMap<String, TaskEntry>,
    /// Every file by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// A data set or a model that went into a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its licence.
    pub licence: String,
    /// What it was used for.
    #[serde(rename = "use")]
    pub used_for: String,
}

/// The encoder and its tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderEntry {
    /// ONNX file.
    pub file: String,
    /// Width of its output.
    pub hidden: usize,
    /// Most word pieces in one pass, special tokens included.
    pub tokens_max: usize,
    /// `tokenizer.json` file.
    pub tokenizer: String,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// What it decides.
    #[serde(flatten)]
    pub kind: KindEntry,
    /// ONNX file of its head.
    pub head: String,
    /// Its labels, in the order of the head's output.
    pub labels: Vec<String>,
    /// Calibration file.
    pub calibration: String,
    /// Golden vectors file.
    pub golden: String,
    /// Frozen evaluation file.
    pub evaluation: String,
    /// Measured quality, as the package's maker reports it.
    #[serde(default)]
    pub metrics: BTreeMap<String, serde_json::Value>,
}

/// The kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KindEntry {
    /// One label for the text.
    Classification,
    /// Typed spans of the text.
    Extraction(Scheme),
}

/// How a head writes spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum Scheme {
    /// One tag for each word, outside, begin and inside: `O, B-l0, I-l0, B-l1, I-l1, …`.
    Bio,
    /// One class for each pair of a first and a last word: none, then the labels. Spans may nest.
    Spans {
        /// Most words of one span.
        span_words_max: usize,
    },
}

/// Digest and size of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// SHA-256 in lower-case hexadecimal; also its name under `blobs/`.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, in lower-case hexadecimal, over the SHA-256 digests of its parts of 64 KiB, the
    /// last one shorter. Where a file has it, a device checks this one: it is many times quicker.
    /// `landfall-models sign` adds it to files of more than one part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_sha256: Option<String>,
}

impl Manifest {
    /// Checks all that serde does not.
    ///
    /// # Errors
    /// A sentence that names the first thing wrong.
    pub fn check(&self) -> Result<(), String> {
        check_name("package name", &self.name)?;
        if self.files.len() > limits::FILES_MAX {
            return Err(format!(
                "it lists {} files, the limit is {}",
                self.files.len(),
                limits::FILES_MAX
            ));
        }
        let mut total_bytes = 0u64;
        for (name, file) in &self.files {
            file.check(name)?;
            total_bytes = total_bytes.saturating_add(file.bytes);
        }
        if total_bytes > limits::PACKAGE_BYTES_MAX {
            return Err(format!(
                "its files have {total_bytes} bytes, the limit is {}",
                limits::PACKAGE_BYTES_MAX
            ));
        }
        let encoder = &self.encoder;
        if !(limits::TOKENS_MIN..=limits::TOKENS_MAX).contains(&encoder.tokens_max) {
            return Err(format!(
                "tokens_max is {}, it must be {} to {}",
                encoder.tokens_max,
                limits::TOKENS_MIN,
                limits::TOKENS_MAX
            ));
        }
        self.check_listed(&encoder.file)?;
        self.check_listed(&encoder.tokenizer)?;
        if self.tasks.is_empty() {
            return Err("it has no tasks".to_owned());
        }
        for (name, task) in &self.tasks {
            check_name("task name", name)?;
            task.check(encoder.tokens_max).map_err(|what| format!("task {name}: {what}"))?;
            for file in [&task.head, &task.calibration, &task.golden, &task.evaluation] {
                self.check_listed(file)?;
            }
        }
        Ok(())
    }

    fn check_listed(&self, file: &str) -> Result<(), String> {
        if self.files.contains_key(file) {
            return Ok(());
        }
        Err(format!("it refers to {file:?}, which is not among its files"))
    }
}

impl TaskEntry {
    fn check(&self, tokens_max: usize) -> Result<(), String> {
        if self.labels.is_empty() || self.labels.len() > limits::LABELS_MAX {
            return Err(format!(
                "it has {} labels, it must have 1 to {}",
                self.labels.len(),
                limits::LABELS_MAX
            ));
        }
        for (at, label) in self.labels.iter().enumerate() {
            check_name("label", label)?;
            if self.labels[..at].contains(label) {
                return Err(format!("label {label:?} appears twice"));
            }
        }
        match self.kind {
            KindEntry::Classification | KindEntry::Extraction(Scheme::Bio) => Ok(()),
            KindEntry::Extraction(Scheme::Spans { span_words_max }) => {
                check_spans(span_words_max, tokens_max, self.labels.len())
            }
        }
    }
}

fn check_spans(span_words_max: usize, tokens_max: usize, labels: usize) -> Result<(), String> {
    if !(1..=limits::SPAN_WORDS_MAX).contains(&span_words_max) {
        return Err(format!(
            "span_words_max is {span_words_max}, it must be 1 to {}",
            limits::SPAN_WORDS_MAX
        ));
    }
    let logits = tokens_max * tokens_max * (1 + labels);
    if logits > limits::SPAN_LOGITS_MAX {
        return Err(format!(
            "its head gives {logits} logits for a pass of {tokens_max} word pieces, the limit is {}",
            limits::SPAN_LOGITS_MAX
        ));
    }
    Ok(())
}

impl FileEntry {
    fn check(&self, name: &str) -> Result<(), String> {
        let plain = !name.is_empty()
            && name.len() <= limits::FILE_NAME_BYTES_MAX
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain {
            return Err(format!(
                "file name {name:?} is not plain: letters, digits, '.', '-' and '_' only"
            ));
        }
        let is_hex = |digest: &String| {
            digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !is_hex(&self.sha256) || !self.parts_sha256.as_ref().is_none_or(is_hex) {
            return Err(format!("the digest of {name} is not 64 lower-case hexadecimal digits"));
        }
        if self.bytes > limits::FILE_BYTES_MAX {
            return Err(format!(
                "{name} has {} bytes, the limit is {}",
                self.bytes,
                limits::FILE_BYTES_MAX
            ));
        }
        Ok(())
    }
}

/// Names of packages, tasks and labels: short, and printable on one line.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || name.chars().any(char::is_control)
    {
        return Err(format!(
            "{what} {name:?} is not usable: 1 to {} bytes without control characters",
            limits::NAME_BYTES_MAX
        ));
    }
    Ok(())
}
