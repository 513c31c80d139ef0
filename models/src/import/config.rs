//! `config.json`: sizes, names and switches of a Hugging Face model.
//!
//! Every value is checked when it is asked for, and an error names the key.

use super::error::{ImportError, Result, io_error, refused};
use crate::limits;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The head that a model was saved with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// One label for the text.
    Sequence,
    /// One tag for each piece.
    Token,
    /// The encoder alone, or a head that decides nothing here (masked words).
    Absent,
}

/// The content of `config.json`.
pub(super) struct Config {
    values: Map<String, Value>,
}

impl Config {
    pub(super) fn read(dir: &Path) -> Result<Config> {
        let path = dir.join("config.json");
        if !path.is_file() {
            return Err(refused(
                format!("{} has no config.json: it is not a Hugging Face model", dir.display()),
                "name the directory that `model.save_pretrained(DIR)` wrote",
            ));
        }
        let bytes = read_bounded(&path, limits::IMPORT_JSON_BYTES_MAX)?;
        let values = serde_json::from_slice(&bytes).map_err(|error| {
            refused(
                format!("{} is not a JSON object: {error}", path.display()),
                "save the model again with `model.save_pretrained(DIR)`",
            )
        })?;
        Ok(Config { values })
    }

    /// A value that is present and not null.
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A whole number within `1..=most`.
    pub(super) fn count(&self, key: &str, most: usize) -> Result<usize> {
        let value = self.value(key).ok_or_else(|| wrong(key, "is missing"))?;
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        let number = number.ok_or_else(|| wrong(key, &format!("is {value}, not a number")))?;
        if number == 0 || number > most {
            return Err(refused(
                format!("config.json: {key} is {number}, the limit is {most}"),
                "import a smaller model",
            ));
        }
        Ok(number)
    }

    /// A whole number, zero and below allowed.
    pub(super) fn integer_or(&self, key: &str, default: i64) -> Result<i64> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => {
                value.as_i64().ok_or_else(|| wrong(key, &format!("is {value}, not a number")))
            }
        }
    }

    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        number(key, self.value(key), default)
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| wrong(key, &format!("is {value}, not true or false")))
            }
        }
    }

    pub(super) fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.value(key) {
            None => Ok(default),
            Some(value) => {
                value.as_str().ok_or_else(|| wrong(key, &format!("is {value}, not a text")))
            }
        }
    }

    /// A list of texts, which older versions wrote as one text with bars; `None` if absent.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => {
                Ok(Some(text.split('|').map(|part| part.trim().to_lowercase()).collect()))
            }
            Some(Value::Array(parts)) => {
                let texts = parts.iter().map(|part| part.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                texts.map(Some).ok_or_else(|| wrong(key, "is not a list of texts"))
            }
            Some(_) => Err(wrong(key, "is not a list of texts")),
        }
    }

    /// `rope_theta` of one kind of layer, wherever the version that wrote it put it.
    pub(super) fn rope_theta(&self, kind: &str, old_key: &str, default: f64) -> Result<f64> {
        let entry = self.value("rope_parameters").and_then(|all| all.get(kind));
        if let Some(how) = entry.and_then(|entry| entry.get("rope_type")).and_then(Value::as_str)
            && how != "default"
        {
            return Err(refused(
                format!("config.json: rope_type {how:?} of {kind} layers is not supported"),
                "import a model with default rotary positions",
            ));
        }
        match entry.and_then(|entry| entry.get("rope_theta")).filter(|value| !value.is_null()) {
            Some(value) => number("rope_theta", Some(value), default),
            None => self.number_or(old_key, default),
        }
    }

    pub(super) fn model_type(&self) -> Result<&str> {
        let name = self.text_or("model_type", "")?;
        if name.is_empty() {
            return Err(wrong("model_type", "is missing"));
        }
        Ok(name)
    }

    /// What the model was last called, without directories.
    pub(super) fn source_name(&self) -> Option<&str> {
        let name = self.value("_name_or_path")?.as_str()?;
        (!name.is_empty() && !name.starts_with(['/', '.', '~']) && !name.contains('\\'))
            .then_some(name)
    }

    /// The head that the model was saved with.
    pub(super) fn head(&self) -> Result<HeadKind> {
        let Some(names) = self.texts("architectures")? else {
            return Ok(HeadKind::Absent);
        };
        let Some(name) = names.first() else {
            return Ok(HeadKind::Absent);
        };
        let problem = self.text_or("problem_type", "single_label_classification")?;
        if name.ends_with("ForSequenceClassification") {
            if problem != "single_label_classification" {
                return Err(refused(
                    format!("config.json: problem_type is {problem:?}; a task here has one label"),
                    "import a model that was trained for single-label classification",
                ));
            }
            return Ok(HeadKind::Sequence);
        }
        if name.ends_with("ForTokenClassification") {
            return Ok(HeadKind::Token);
        }
        let decides = ["ForQuestionAnswering", "ForMultipleChoice", "ForNextSentencePrediction"];
        if decides.iter().any(|ending| name.ends_with(ending)) {
            return Err(refused(
                format!("config.json: a {name} neither labels texts nor tags words"),
                "import a ...ForSequenceClassification or ...ForTokenClassification model, or the encoder alone (`model.base_model.save_pretrained(DIR)`) with labelled texts",
            ));
        }
        if name.ends_with("CausalLM") || name.contains("LMHead") || name.contains("Conditional") {
            return Err(refused(
                format!("config.json: {name} writes text, it is not an encoder"),
                super::arch::SUPPORTED,
            ));
        }
        Ok(HeadKind::Absent)
    }

    /// The labels in the order of the head's outputs.
    pub(super) fn labels(&self) -> Result<Vec<String>> {
        let wrong = |what: String| {
            refused(
                format!("config.json: id2label {what}"),
                "set `model.config.id2label` to {0: \"first label\", 1: ...} and save the model again",
            )
        };
        let Some(Value::Object(entries)) = self.value("id2label") else {
            return Err(wrong("is missing".to_owned()));
        };
        let mut labels = vec![None; entries.len()];
        for (id, label) in entries {
            let slot = id.parse::<usize>().ok().and_then(|id| labels.get_mut(id));
            let (Some(slot), Some(label)) = (slot, label.as_str()) else {
                return Err(wrong(format!("has {id:?}: {label}; ids must run from 0 on")));
            };
            *slot = Some(label.trim().to_owned());
        }
        let labels: Vec<String> = labels.into_iter().flatten().collect();
        if labels.len() != entries.len() {
            return Err(wrong("has an id twice".to_owned()));
        }
        Ok(labels)
    }
}

fn number(key: &str, value: Option<&Value>, default: f64) -> Result<f64> {
    let Some(value) = value else { return Ok(default) };
    let number = value.as_f64().filter(|number| number.is_finite());
    number.ok_or_else(|| wrong(key, &format!("is {value}, not a number")))
}

fn wrong(key: &str, what: &str) -> ImportError {
    refused(
        format!("config.json: {key} {what}"),
        "save the model again with `model.save_pretrained(DIR)`",
    )
}

/// Reads a file whole if it is no larger than `bytes_max`.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let mut content = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(io_error("read", path))?;
    if content.len() as u64 > bytes_max {
        return Err(refused(
            format!("{} is larger than {bytes_max} bytes", path.display()),
            "check that it is the right file",
        ));
    }
    Ok(content)
}
