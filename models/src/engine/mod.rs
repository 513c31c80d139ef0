//! Runs a package: one encoder for all its tasks, a small head for each.
//!
//! An [`Engine`] is shared freely between threads. A text is read once, whatever the number of
//! tasks. What comes out is a [`View`]: probabilities and spans, not decisions.
//!
//! A text that is longer than one pass of the encoder is read whole, in windows that overlap
//! (`window`), and every task uses all of them. A span is taken from the window in whose inner
//! part it lies (`forward`); a label is that of the surest window, with a confidence that pays for
//! the choice (`label`). The windows of a text follow from the text and the package alone, so that
//! an answer depends on nothing else: not on other texts, other tasks or other threads.
//!
//! Loading runs the model on short texts, so that a package that cannot work is refused then and
//! not at the first decision; that it takes the longest pass too follows from its operators.

mod decode;
mod error;
mod forward;
mod golden;
mod head;
mod label;
mod lanes;
mod mask;
mod nested;
pub(crate) mod network;
mod task;
mod view;
mod window;

pub use crate::package::Scheme;
pub(crate) use decode::trimmed;
pub use error::EngineError;
pub(crate) use golden::tolerance;
pub use golden::{GoldenReport, GoldenTask, TOLERANCE};
pub use task::{Kind, Reliability, Score, TaskSpec};
pub use view::{Read, Reading, Span, View};

use crate::package::{Manifest, Package, TaskEntry};
use crate::text::TextEncoder;
use golden::Golden;
use head::Head;
use lanes::Lanes;
use network::{Input, Network};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Pieces of the text that is tried when a package is loaded.
const TRIAL_PIECES: usize = 6;

/// A package that is ready to answer. Clones share everything.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads that work on one text, 1 to 8. With more than one, fewer texts run side by side:
    /// it shortens the wait for a long text and lowers what a busy device answers in all.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions { threads: 1 }
    }
}

/// What all clones share.
struct Inner {
    manifest: Manifest,
    digest: [u8; 32],
    text: TextEncoder,
    tokens_max: usize,
    encoder: Network,
    /// Every head once, however many tasks use it.
    heads: Vec<Head>,
    tasks: Vec<Loaded>,
    /// Most words of a span, over all tasks whose spans nest.
    span_words_max: Option<usize>,
    lanes: Lanes,
}

/// One task, ready to run.
struct Loaded {
    spec: TaskSpec,
    /// Index of its head.
    head: usize,
    golden: Vec<Golden>,
}

impl Engine {
    /// Loads a package. It may be dropped afterwards.
    ///
    /// # Errors
    /// When a file of the package is not what its manifest says, or the model does not run here.
    pub fn load(package: &Package) -> Result<Engine, EngineError> {
        Engine::load_with(package, EngineOptions::default())
    }

    /// Loads a package, to run in another way than by default.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_with(package: &Package, options: EngineOptions) -> Result<Engine, EngineError> {
        let manifest = package.manifest();
        let entry = &manifest.encoder;
        let mut files: Vec<&str> = manifest.tasks.values().map(|task| task.head.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        // The encoder on one thread, all else on another: half of a start is each.
        let (encoder, rest) = thread::scope(|scope| {
            let encoder = thread::Builder::new()
                .name("load".to_owned())
                .spawn_scoped(scope, || Network::load(package.file(&entry.file), Input::Pieces))
                .map_err(|error| EngineError::Threads(error.to_string()))?;
            let rest = load_rest(package, &files);
            Ok((encoder.join().unwrap_or_else(|panic| resume_unwind(panic)), rest))
        })?;
        let (text, heads, tasks) = rest?;
        let encoder = encoder
            .and_then(|encoder| check_encoder(encoder, &text, entry.tokens_max))
            .map_err(|what| content_error(package.dir(), &entry.file, what))?;
        let engine = Engine {
            inner: Arc::new(Inner {
                manifest: manifest.clone(),
                digest: package.digest(),
                text,
                tokens_max: entry.tokens_max,
                encoder,
                heads,
                span_words_max: tasks.iter().filter_map(|task| task.spec.span_words_max()).max(),
                tasks,
                lanes: Lanes::new(options.threads).map_err(EngineError::Threads)?,
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

    /// Runs some tasks on a text; the views are in the order of `tasks`. See [`Engine::read`].
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub fn run(&self, text: &str, tasks: &[&str]) -> Result<Vec<View>, EngineError> {
        Ok(self.read(text, tasks)?.views)
    }

    /// Runs some tasks on a text, and says how much of it was read. Any text is taken, the empty
    /// one included. The calling thread waits for one of the inference threads: call it where
    /// waiting a few milliseconds does no harm.
    ///
    /// # Errors
    /// When a task does not exist or the text is larger than [`crate::limits::TEXT_BYTES_MAX`].
    pub fn read(&self, text: &str, tasks: &[&str]) -> Result<Reading, EngineError> {
        let tasks =
            tasks.iter().map(|name| self.loaded(name)).collect::<Result<Vec<_>, EngineError>>()?;
        if tasks.is_empty() {
            return Ok(Reading { views: Vec::new(), read: Read::default() });
        }
        let forward = self.inner.forward(text, &tasks)?;
        let views = tasks.iter().zip(&forward.raws);
        let views = views.map(|(task, raw)| decode::view(text, &task.spec, &forward, raw));
        Ok(Reading { views: views.collect(), read: forward.read })
    }

    /// As [`Engine::read`], and in the same pass finds what is to be masked by an extraction task
    /// that looks for it: every word that belongs to one of its labels with `floor` or more,
    /// though none may be likelier. To miss one is worse than to mask one too many.
    ///
    /// # Errors
    /// As [`Engine::read`], and when `mask` extracts nothing.
    pub fn read_and_mask(
        &self,
        text: &str,
        tasks: &[&str],
        mask: &str,
        floor: f32,
    ) -> Result<(Reading, Vec<Span>), EngineError> {
        let mask = self.loaded(mask)?;
        if mask.spec.kind != Kind::Extraction {
            return Err(EngineError::NoSpans { task: mask.spec.name.clone() });
        }
        let mut loaded =
            tasks.iter().map(|name| self.loaded(name)).collect::<Result<Vec<_>, EngineError>>()?;
        loaded.push(mask);
        let forward = self.inner.forward(text, &loaded)?;
        let view = |(task, raw): (&&Loaded, _)| decode::view(text, &task.spec, &forward, raw);
        let views = loaded.iter().zip(&forward.raws).take(tasks.len()).map(view).collect();
        let found =
            forward.raws.last().map(|raw| mask::spans(text, &mask.spec, &forward, raw, floor));
        Ok((Reading { views, read: forward.read }, found.unwrap_or_default()))
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

    /// Runs every task on an empty text and on one of a few pieces.
    fn try_out(&self, dir: &Path) -> Result<(), EngineError> {
        let inner = &self.inner;
        let encoder = &inner.manifest.encoder.file;
        let wrong = |file: &str, what: String| content_error(dir, file, what);
        let encoded = inner
            .text
            .encode(&"a ".repeat(TRIAL_PIECES))
            .map_err(|what| wrong(&inner.manifest.encoder.tokenizer, what))?;
        let pieces = &encoded.pieces[..encoded.pieces.len().min(inner.capacity())];
        inner.lanes.run(|| {
            for pieces in [&pieces[..0], pieces] {
                let hidden =
                    inner.encode(pieces).map_err(|error| wrong(encoder, error.to_string()))?;
                for (task, entry) in inner.tasks.iter().zip(inner.manifest.tasks.values()) {
                    inner.check_head(task, &hidden).map_err(|what| {
                        wrong(&entry.head, format!("as the head of {}: {what}", task.spec.name))
                    })?;
                }
            }
            Ok(())
        })
    }
}

impl Loaded {
    fn load(
        package: &Package,
        name: &str,
        entry: &TaskEntry,
        heads: &[&str],
    ) -> Result<Loaded, EngineError> {
        let content = |file: &str, what| content_error(package.dir(), file, what);
        let spec = TaskSpec::new(name, entry, package.file(&entry.calibration))
            .map_err(|what| content(&entry.calibration, what))?;
        let golden = golden::parse(package.file(&entry.golden))
            .map_err(|what| content(&entry.golden, what))?;
        let head = heads.binary_search(&entry.head.as_str());
        let head = head.expect("every head of the manifest is among those loaded");
        Ok(Loaded { spec, head, golden })
    }
}

/// The tokenizer, the heads in these files, and the tasks.
fn load_rest(
    package: &Package,
    files: &[&str],
) -> Result<(TextEncoder, Vec<Head>, Vec<Loaded>), EngineError> {
    let (manifest, entry) = (package.manifest(), &package.manifest().encoder);
    let content = |file: &str, what| content_error(package.dir(), file, what);
    let text = TextEncoder::load(package.file(&entry.tokenizer))
        .map_err(|what| content(&entry.tokenizer, what))?;
    if text.special_count() >= entry.tokens_max {
        let what = "it adds more special pieces than one pass has".to_owned();
        return Err(content(&entry.tokenizer, what));
    }
    let head =
        |file: &&str| Head::load(package.file(file), entry.hidden).map_err(|w| content(file, w));
    let task = |(name, task): (&String, &TaskEntry)| Loaded::load(package, name, task, files);
    let heads = files.iter().map(head).collect::<Result<Vec<Head>, EngineError>>()?;
    let tasks = manifest.tasks.iter().map(task).collect::<Result<Vec<Loaded>, EngineError>>()?;
    Ok((text, heads, tasks))
}

/// The encoder, if it fits the tokenizer and the longest pass.
fn check_encoder(
    encoder: Network,
    text: &TextEncoder,
    tokens_max: usize,
) -> Result<Network, String> {
    let Some(vocabulary) = encoder.vocabulary_size() else {
        return Err("it has no LfEmbed".to_owned());
    };
    if text.vocabulary_size() > vocabulary {
        return Err(format!(
            "it has {vocabulary} word pieces, the tokenizer {}",
            text.vocabulary_size()
        ));
    }
    match encoder.positions() {
        Some(positions) if tokens_max > positions => {
            Err(format!("it has {positions} positions, tokens_max is {tokens_max}"))
        }
        _ => Ok(encoder),
    }
}

fn content_error(dir: &Path, file: &str, what: String) -> EngineError {
    EngineError::Content { dir: dir.to_owned(), file: file.to_owned(), what }
}
