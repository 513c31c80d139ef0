//! The agent's configuration: a TOML file, read and checked as a whole.
//!
//! Nothing stops at the first mistake: every problem is told with its file, its line, what is
//! wrong and what to do. What is allowed but probably not meant is a warning. Paths are relative
//! to the directory of the file. The commented example is `agent/landfall-agent.toml`.
//!
//! Checked in two steps: [`Config::load`] needs only the file and what it points to;
//! [`Config::policies`] joins the tasks with the models, and finds what does not fit them.

mod link;
mod problem;
mod reference;
mod releases;
mod section;
mod site;
mod suggest;
mod task;
#[cfg(test)]
mod tests;
mod units;

use crate::release::ReleasesConfig;
use crate::stamp::short_digest;
use crate::store::StoreConfig;
use landfall_agent_core::task::{ModelFacts, TaskPolicy, TaskSettings};
use landfall_wire::id::ShortDigest;
pub use link::{Link, Sign};
use problem::Report;
pub use problem::{ConfigError, Problem};
pub use reference::reference;
use section::Section;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

/// Largest configuration file in bytes: thousands of rules fit, a file given by mistake does not
/// fill the memory.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where the agent keeps its store.
    pub data_dir: PathBuf,
    /// The hub; without it the agent only queues.
    pub hub: Option<Hub>,
    /// The links to it; none: there is one without limits.
    pub links: Vec<Link>,
    /// The HTTP intake.
    pub http: Option<Http>,
    /// The spool intake.
    pub spool: Option<Spool>,
    /// Limits of the store.
    pub store: StoreConfig,
    /// What becomes of decisions that cannot be recorded.
    pub when_unrecordable: WhenUnrecordable,
    /// Packages and the keys that may sign them.
    pub models: Models,
    /// How packages that the hub rolls out come here.
    pub releases: ReleasesConfig,
    /// Whether a model finds what to mask, beside the patterns.
    pub redact_model: RedactModel,
    /// Every task, in the order of the file; at least one.
    pub tasks: Vec<Task>,
    /// Tells configurations apart: SHA-256 of the file.
    pub digest: ShortDigest,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// What callers get while decisions cannot be recorded: the disk is full or read-only, or the
/// store is full and refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnrecordable {
    /// An error, and no decision.
    #[default]
    Refuse,
    /// What rules and model say, and that it is not recorded; the hub is told how many later.
    Answer,
}

/// How to reach the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// `host:port` of its device endpoint; `None` takes it from the identity's bundle.
    pub address: Option<String>,
    /// Directory that `landfall-hub enroll` wrote.
    pub identity: PathBuf,
    /// How long the link may be idle before the hub is asked whether it is there.
    pub keep_alive: Duration,
}

/// The HTTP intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// The spool intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Its directory, with one folder for each task.
    pub dir: PathBuf,
}

/// Packages and the keys that may sign them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// Directories of packages; empty: the shipped ones are looked for.
    pub packages: Vec<PathBuf>,
    /// Public key files; empty together with `packages`.
    pub trust: Vec<PathBuf>,
}

/// A model that finds what to mask in a text that leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct RedactModel {
    /// Whether it is used; `None` uses one if a package has it.
    pub wanted: Option<bool>,
    /// Labels whose spans are masked; `None` takes all.
    pub labels: Option<Vec<String>>,
    /// Least probability at which a word is masked.
    pub floor: f32,
    /// Where the file speaks of it.
    line: usize,
}

impl RedactModel {
    /// Name of the task that a package has for it.
    pub const TASK: &str = "redact";
    /// Recall first: at 0.2, four words too many may be masked for each that must be.
    pub const FLOOR_DEFAULT: f32 = 0.2;
}

impl Default for RedactModel {
    fn default() -> RedactModel {
        RedactModel { wanted: None, labels: None, floor: RedactModel::FLOOR_DEFAULT, line: 1 }
    }
}

/// One task of the site.
#[derive(Debug, Clone)]
pub struct Task {
    /// Name of the task in its package.
    pub model: String,
    /// The dearest class of link over which its outcomes travel; any, if `None`.
    pub report_class_max: Option<u8>,
    /// Everything else.
    pub settings: TaskSettings,
    lines: task::Lines,
}

impl Config {
    /// Reads and checks a file, and that what it points to exists.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::load_with(path, site::Files::MustExist)
    }

    /// Reads and checks a file, but not what it points to: an identity or a package that is
    /// gone must not keep an agent from deciding by its rules.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load_to_run(path: &Path) -> Result<Config, ConfigError> {
        Config::load_with(path, site::Files::Unseen)
    }

    fn load_with(path: &Path, files: site::Files) -> Result<Config, ConfigError> {
        let text = read(path).map_err(|(message, remedy)| {
            let (file, remedy) = (path.to_owned(), remedy.to_owned());
            ConfigError { problems: vec![Problem { file, line: None, message, remedy }] }
        })?;
        parse(path, &text, files)
    }

    /// Joins every task with the model behind it. `facts` gives what the packages say of a
    /// task's model; a task without a model runs its guard and rules, and asks the hub about
    /// everything else.
    ///
    /// # Errors
    /// Every setting that does not fit its model.
    pub fn policies<'m>(
        &self,
        facts: impl Fn(&str) -> Option<&'m ModelFacts>,
    ) -> Result<Vec<TaskPolicy>, ConfigError> {
        let mut problems = Vec::new();
        let mut policies = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let settings = task.settings.clone();
            match facts(&task.model) {
                None => policies.push(TaskPolicy::without_model(settings)),
                Some(model) => match TaskPolicy::new(settings, model) {
                    Ok(policy) => policies.push(policy),
                    Err(errors) => {
                        problems.extend(errors.iter().map(|e| task.misfit(&self.file, e, model)));
                    }
                },
            }
        }
        if problems.is_empty() { Ok(policies) } else { Err(ConfigError { problems }) }
    }

    /// Checks what is asked of the model that masks against its labels; `None` if no package has
    /// one. Worth asking only if every package could be loaded.
    ///
    /// # Errors
    /// A model that is wanted and not there, and labels that it does not have.
    pub fn check_redact_model(&self, labels: Option<&[String]>) -> Result<(), ConfigError> {
        let asked = &self.redact_model;
        let problem = |message: String, remedy: String| {
            let (file, line) = (self.file.clone(), Some(asked.line));
            Problem { file, line, message, remedy }
        };
        let problems: Vec<Problem> = match labels {
            None if asked.wanted == Some(true) => vec![problem(
                format!("no model package has a task '{}' that extracts", RedactModel::TASK),
                "add a package that has it, or remove `model` from [redact]".to_owned(),
            )],
            None => Vec::new(),
            Some(labels) => {
                let named = asked.labels.iter().flatten();
                let unknown = named.filter(|label| !labels.contains(label));
                let unknown = unknown.map(|label| {
                    let remedy = suggest::remedy(label, labels.iter().map(String::as_str));
                    problem(format!("'{label}' is not a label of the model that masks"), remedy)
                });
                unknown.collect()
            }
        };
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// Checks that every task's model is one of `known`: all that the loaded packages have.
    /// Worth asking only if every package could be loaded.
    ///
    /// # Errors
    /// Every task whose model no package has.
    pub fn check_models(&self, known: &[&str]) -> Result<(), ConfigError> {
        let unknown = self.tasks.iter().filter(|task| !known.contains(&task.model.as_str()));
        let problems: Vec<Problem> =
            unknown.map(|task| task.unknown_model(&self.file, known)).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    let failed = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "give the path of the configuration; agent/landfall-agent.toml is an example"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that runs the agent read it",
            _ => "check the disk and the path",
        };
        (format!("cannot be read: {error}"), remedy)
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(("is not a file".to_owned(), "give the path of the configuration file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let message = format!("has {} bytes, over the limit of {FILE_BYTES_MAX}", metadata.len());
        return Err((message, "give the path of the configuration file, not of data"));
    }
    String::from_utf8(std::fs::read(path).map_err(failed)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        (format!("is not UTF-8 text at byte {at}"), "save the file as UTF-8")
    })
}

fn parse(path: &Path, text: &str, files: site::Files) -> Result<Config, ConfigError> {
    let report = Report::new(path, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = format!("not valid TOML: {}", error.message().replace('\n', ", "));
        let remedy = "correct the line; texts stand in quotes, and a table or key only once";
        match error.span() {
            Some(span) => report.wrong(report.line(span.start), message, remedy),
            None => report.wrong_file(message, remedy),
        }
    }
    if !errors.is_empty() {
        // What could be recovered misses keys that only look missing.
        return Err(ConfigError { problems: report.finish().err().map_or(vec![], |e| e.problems) });
    }
    let mut top = Section::top(&report, document.get_ref());
    let site = site::read(&mut top, files);
    let tasks = task::read_all(&mut top, &site.redactor, site.hub.is_some());
    top.finish();
    let warnings = report.finish()?;
    Ok(Config {
        file: path.to_owned(),
        data_dir: site.data_dir,
        hub: site.hub,
        links: site.links,
        http: site.http,
        spool: site.spool,
        store: site.store,
        when_unrecordable: site.when_unrecordable,
        models: site.models,
        releases: site.releases,
        redact_model: site.redact_model,
        tasks,
        digest: short_digest(text.as_bytes()),
        warnings,
    })
}
