//! Model packages: their format, their signature, and the engine that runs them.
//!
//! A [`Package`] is a directory of a signed manifest and content-addressed files. [`Package::open`]
//! checks the signature, then every digest, before anything inside is interpreted. An [`Engine`]
//! made of it runs one encoder and, on top of it, one small head for each task.
//!
//! Nothing here reads a clock, opens a socket or writes a file, apart from [`package::sign`] and
//! [`cli`], which belong to the `landfall-models` tool.

pub mod cli;
pub mod engine;
pub mod eval;
pub mod import;
pub mod limits;
pub mod ops;
pub mod package;
pub mod text;

pub use engine::{
    Engine, EngineError, EngineOptions, GoldenReport, GoldenTask, Kind, Read, Reading, Reliability,
    Score, Span, TaskSpec, View,
};
pub use package::{Manifest, Package, PackageError, Trust};
