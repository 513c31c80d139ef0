//! Runs a package: one encoder for all its tasks, a small head for each.
//!
//! An [`Engine`] is shared freely between threads. A text is read once, whatever the number of
//! tasks. What comes out is a [`View`]: probabilities and spans, not decisions.
//!
//! Loading runs the model once, at full length, so that a package that cannot work is refused
//! then and not at the first decision.

mod decode;
mod error;
mod forward;
mod golden;
mod lanes;
mod network;
mod task;
mod view;
mod window;

pub(crate) use decode::trimmed;
pub use error::EngineError;
pub use golden::{GoldenReport, GoldenTask, TOLERANCE};
pub use task::{Kind, Score, TaskSpec};
pub use view::{Span, View};

use crate::package::{Manifest, Package, TaskEntry};
use crate::text::TextEncoder;
use forward::Raw;
use golden::Golden;
use lanes::Lanes;
use network::{Input, Network};
use std::path::Path;
use std::sync::Arc;

/// A package that is ready to answer. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What all clones share.
struct Inner {
    manifest: Manifest,
    digest: [u8; 32],
    text: TextEncoder,
    tokens_max: usize,
    encoder: Network,
    tasks: Vec<Loaded>,
    lanes: Lanes,
}

/// One task, ready to run.
struct Loaded {
    spec: TaskSpec,
    head: Network,
    golden: Vec<Golden>,
}

impl Engine {
    /// Loads a package. It may be dropped afterwards.
    ///
    /// # Errors
    /// When a file of the package is not what its manifest says, or the model does not run here.
    pub fn load(package: &Package) -> Result<Engine, EngineError> {
        let manifest = package.manifest();
        let entry = &manifest.encoder;
        let content = |file: &str, what| content_error(package.dir(), file, what);
        let text = TextEncoder::load(package.file(&entry.tokenizer))
            .map_err(|what| content(&entry.tokenizer, what))?;
        if text.special_count() >= entry.tokens_max {
            let what = "it adds more special pieces than one pass has".to_owned();
            return Err(content(&entry.tokenizer, what));
        }
        let encoder = load_encoder(package.file(&entry.file), &text, entry.tokens_max)
            .map_err(|what| content(&entry.file, what))?;
        let tasks = manifest
            .tasks
            .iter()
            .map(|(name, task)| Loaded::load(package, name, task, entry.hidden))
            .collect::<Result<Vec<Loaded>, EngineError>>()?;
        let engine = Engine {
            inner: Arc::new(Inner {
                manifest: manifest.clone(),
                digest: package.digest(),
                text,
                tokens_max: entry.tokens_max,
                encoder,
                tasks,
                lanes: Lanes::new().map_err(EngineError::Threads)?,
            }),
        };
        engine.try_out(package.dir())?;
        Ok(engine)
    }

    /// The package's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The package's digest, [`Package::digest`].
    pub fn digest(&self) -> [u8; 32] {
        self.inner.digest
    }

    /// Its tasks, by name.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskSpec> {
        self.inner.tasks.iter().map(|task| &task.spec)
    }

    /// One task.
    pub fn task(&self, name: &str) -> Option<&TaskSpec> {
        self.tasks().find(|task| task.name == name)
    }

    /// Runs some tasks on a text; the views are in the order of `tasks`. Any text is taken, the
    /// empty one included. The calling thread waits for one of the inference threads: call it
    /// where waiting a few milliseconds does no harm.
    ///
    /// # Errors
    /// When a task does not exist or the text is larger than [`crate::limits::TEXT_BYTES_MAX`].
    pub fn run(&self, text: &str, tasks: &[&str]) -> Result<Vec<View>, EngineError> {
        let tasks =
            tasks.iter().map(|name| self.loaded(name)).collect::<Result<Vec<_>, EngineError>>()?;
        let raws = self.inner.forward(text, &tasks)?;
        Ok(tasks.iter().zip(raws).map(|(task, raw)| view(text, &task.spec, raw)).collect())
    }

    /// Runs the package's golden vectors on this processor.
    ///
    /// # Errors
    /// When the model does not run; a difference is in the report.
    pub fn golden(&self) -> Result<GoldenReport, EngineError> {
        golden::run(self)
    }

    /// How many word pieces a text has, special ones included.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn count_pieces(&self, text: &str) -> Result<usize, EngineError> {
        let encoded = self.inner.text.encode(text).map_err(EngineError::Tokenizer)?;
        Ok(encoded.pieces.len() + self.inner.text.special_count())
    }

    fn loaded(&self, name: &str) -> Result<&Loaded, EngineError> {
        let found = self.inner.tasks.iter().find(|task| task.spec.name == name);
        found.ok_or_else(|| EngineError::UnknownTask {
            task: name.to_owned(),
            known: self.tasks().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Runs every task once on a text that fills one pass.
    fn try_out(&self, dir: &Path) -> Result<(), EngineError> {
        let text = "a ".repeat(self.inner.tokens_max);
        for (task, entry) in self.inner.tasks.iter().zip(self.inner.manifest.tasks.values()) {
            self.inner
                .forward(&text, &[task])
                .map_err(|error| content_error(dir, &entry.head, error.to_string()))?;
        }
        Ok(())
    }
}

impl Loaded {
    fn load(
        package: &Package,
        name: &str,
        entry: &TaskEntry,
        hidden: usize,
    ) -> Result<Loaded, EngineError> {
        let content = |file: &str, what| content_error(package.dir(), file, what);
        let spec = TaskSpec::new(name, entry, package.file(&entry.calibration))
            .map_err(|what| content(&entry.calibration, what))?;
        let head = Network::load(package.file(&entry.head), Input::Hidden { width: hidden })
            .map_err(|what| content(&entry.head, what))?;
        let golden = golden::parse(package.file(&entry.golden))
            .map_err(|what| content(&entry.golden, what))?;
        Ok(Loaded { spec, head, golden })
    }
}

fn load_encoder(onnx: &[u8], text: &TextEncoder, tokens_max: usize) -> Result<Network, String> {
    let encoder = Network::load(onnx, Input::Pieces)?;
    let Some((vocabulary, positions)) = encoder.embedding() else {
        return Err("it has no LfEmbed".to_owned());
    };
    if text.vocabulary_size() > vocabulary {
        return Err(format!(
            "it has {vocabulary} word pieces, the tokenizer {}",
            text.vocabulary_size()
        ));
    }
    if tokens_max > positions {
        return Err(format!("it has {positions} positions, tokens_max is {tokens_max}"));
    }
    Ok(encoder)
}

fn content_error(dir: &Path, file: &str, what: String) -> EngineError {
    EngineError::Content { dir: dir.to_owned(), file: file.to_owned(), what }
}

/// Calibrates what a head said.
fn view(text: &str, spec: &TaskSpec, raw: Raw) -> View {
    let words = match raw {
        Raw::Label { logits, familiarity } => {
            let probabilities = decode::softmax(&logits, spec.temperature);
            return View::Label { probabilities, familiarity };
        }
        Raw::Words { words } => words,
    };
    let tagged: Vec<_> = words
        .iter()
        .filter_map(|word| {
            let logits = word.logits.as_deref()?;
            Some((word.chars.clone(), decode::tag(logits, spec.temperature)))
        })
        .collect();
    let unread = tagged.is_empty() && !words.is_empty();
    let least = tagged.iter().map(|(_, tag)| tag.probability).fold(1.0, f32::min);
    View::Spans {
        spans: decode::spans(text, &tagged),
        confidence: if unread { 0.0 } else { least },
    }
}
