//! What is wrong with a configuration: where, what, and what to do.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// In the order of the file; never empty.
    pub problems: Vec<Problem>,
}

/// `agent.toml:12: what is wrong`, and the remedy on a line of its own.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}\n  remedy: {}", self.message, self.remedy)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().enumerate().try_for_each(|(index, problem)| {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")
        })
    }
}

impl std::error::Error for ConfigError {}

/// Collects what is wrong while a file is read, so that nothing stops at the first.
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Report<'a> {
        Report { file, text, problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    pub(super) fn wrong(&self, line: usize, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().push(self.problem(Some(line), message.into(), remedy.into()));
    }

    pub(super) fn wrong_file(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().push(self.problem(None, message.into(), remedy.into()));
    }

    pub(super) fn warn(&self, line: usize, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(self.problem(Some(line), message.into(), remedy.into()));
    }

    /// The warnings, or everything that is wrong.
    pub(super) fn finish(self) -> Result<Vec<Problem>, ConfigError> {
        let in_order = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.line);
            problems
        };
        match in_order(self.problems.into_inner()) {
            problems if problems.is_empty() => Ok(in_order(self.warnings.into_inner())),
            problems => Err(ConfigError { problems }),
        }
    }

    fn problem(&self, line: Option<usize>, message: String, remedy: String) -> Problem {
        Problem { file: self.file.to_owned(), line, message, remedy }
    }
}
