//! Why an engine could not be made or could not answer.

use std::path::PathBuf;

/// Why an engine could not be made or could not answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The package has no such task.
    #[error("the model package has no task {task:?}; it has {known}")]
    UnknownTask {
        /// The name that was asked for.
        task: String,
        /// The names it has, for the message.
        known: String,
    },
    /// The task gives labels where spans are needed.
    #[error("task {task} gives a label and no spans")]
    NoSpans {
        /// Its name.
        task: String,
    },
    /// The text is larger than the engine takes.
    #[error("the text has {bytes} bytes, the limit is {}", crate::limits::TEXT_BYTES_MAX)]
    TextTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A file of the package is not what its manifest says it is.
    #[error("{file} of model package {}: {what}", .dir.display())]
    Content {
        /// The package.
        dir: PathBuf,
        /// The file's name in the manifest.
        file: String,
        /// What is wrong in it.
        what: String,
    },
    /// The threads that run the model could not be started.
    #[error("cannot start the inference threads: {0}")]
    Threads(String),
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// The model failed on a text.
    #[error("the model failed in {stage}: {what}")]
    Inference {
        /// Encoder or head.
        stage: String,
        /// What it said.
        what: String,
    },
}

impl EngineError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            EngineError::UnknownTask { .. } => {
                "use one of its tasks, or a package that has this one"
            }
            EngineError::NoSpans { .. } => "use a package whose task of this name extracts spans",
            EngineError::TextTooLarge { .. } => "split the text",
            EngineError::Content { .. } => "ask the package's maker for a corrected one",
            EngineError::Threads(_) => "raise the limits on threads and memory",
            EngineError::Tokenizer(_) | EngineError::Inference { .. } => {
                "run `landfall-models golden`; if it passes, report the text that failed"
            }
        }
    }
}
