//! Opens packages, checks them, and says what each task may use.
//!
//! Nothing of a package is interpreted before its signature and digests hold, and no engine
//! serves before its golden vectors pass on this very processor. What fails is set aside with
//! its reason; the rest serves.

use crate::config;
use crate::stamp::shorten;
use landfall_agent_core::request::{FieldView, ModelView};
use landfall_agent_core::task::ModelFacts;
use landfall_models::{Engine, Kind, Package, PackageError, Trust, View, eval, package};
use landfall_wire::id::ShortDigest;
use landfall_wire::record::TaskKind;
use landfall_wire::release::ReleaseFault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One task of one loaded package.
#[derive(Clone)]
pub struct Model {
    /// Runs it.
    pub engine: Arc<Engine>,
    /// Its name in the package.
    pub task: String,
    /// Name and version of the package.
    pub package: String,
    /// Digest of the package.
    pub digest: ShortDigest,
    /// Name of the package alone.
    name: String,
    pub(super) labels: Arc<[String]>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("task", &self.task).field("package", &self.package).finish()
    }
}

/// What stands behind a task.
#[derive(Debug, Clone)]
pub enum Backing {
    /// A checked model.
    Model(Model),
    /// None, and why.
    Missing(String),
}

impl Backing {
    /// Digest of the package; zero without one.
    pub fn digest(&self) -> ShortDigest {
        match self {
            Backing::Model(model) => model.digest,
            Backing::Missing(_) => ShortDigest::default(),
        }
    }

    /// Name and version of the package; empty without one.
    pub fn package(&self) -> &str {
        match self {
            Backing::Model(model) => &model.package,
            Backing::Missing(_) => "",
        }
    }
}

/// A package or key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, with the package or file.
    pub message: String,
    /// What helps.
    pub remedy: String,
}

/// Why a package is not to take another's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFit {
    /// Of which kind.
    pub fault: ReleaseFault,
    /// In words.
    pub detail: String,
}

/// Every model that passed, by task, and what did not.
#[derive(Debug, Clone, Default)]
pub struct Models {
    pub(super) tasks: BTreeMap<String, (Model, ModelFacts)>,
    /// What could not be used.
    pub faults: Vec<Fault>,
}

impl Models {
    /// Opens and checks packages; without any named, the shipped ones. Takes a moment; does not
    /// fail, but names what did. A release, given by the name of its package and its directory,
    /// takes the place of the configured package of that name, unless it cannot be used.
    pub fn load(named: &config::Models, releases: &[(String, PathBuf)]) -> Models {
        let mut models = Models::default();
        let (packages, trust) = match found(named) {
            Ok(found) => found,
            Err(error) => {
                models.fault(whole(&error), error.remedy());
                return models;
            }
        };
        let mut replaced = Vec::new();
        for (name, dir) in releases {
            match models.add(dir, &trust) {
                Ok(()) => replaced.push(name),
                Err((message, remedy)) => {
                    models.without(name);
                    models.fault(format!("release of {name}: {message}"), &remedy);
                }
            }
        }
        for dir in packages {
            if !manifest_name(&dir).is_some_and(|name| replaced.contains(&&name)) {
                models.try_add(&dir, &trust);
            }
        }
        models
    }

    /// The same models with a release in the place of a package, or with what is configured:
    /// opened, and its golden vectors and its evaluation run on this processor. Blocking.
    ///
    /// # Errors
    /// [`NotFit`].
    pub fn with_release(
        &self,
        named: &config::Models,
        package: &str,
        release: Option<&Path>,
    ) -> Result<Models, NotFit> {
        let not_fit = |fault, detail| NotFit { fault, detail };
        let (packages, trust) =
            found(named).map_err(|error| not_fit(ReleaseFault::Package, whole(&error)))?;
        let mut models = self.clone();
        models.without(package);
        let configured =
            packages.into_iter().filter(|dir| manifest_name(dir).as_deref() == Some(package));
        let dirs: Vec<PathBuf> = match release {
            Some(dir) => vec![dir.to_owned()],
            None => configured.collect(),
        };
        for dir in dirs {
            let (package, engine) = open(&dir, &trust)
                .map_err(|(message, _)| not_fit(ReleaseFault::Package, message))?;
            let evaluated = eval::frozen(&package, &engine);
            drop(package);
            let failed = |detail| not_fit(ReleaseFault::Evaluation, detail);
            for figure in evaluated.map_err(|error| failed(error.to_string()))? {
                tracing::info!(figure = %figure, "evaluated a release");
                if !figure.holds() {
                    return Err(failed(figure.to_string()));
                }
            }
            models.join(engine).map_err(|(message, _)| match message {
                Trouble::Golden(message) => not_fit(ReleaseFault::Evaluation, message),
                Trouble::Task(message) => not_fit(ReleaseFault::Misfit, message),
            })?;
        }
        Ok(models)
    }

    /// Lets go of what a package serves.
    fn without(&mut self, package: &str) {
        self.tasks.retain(|_, (model, _)| model.name != package);
    }

    /// Opens and checks one package, wherever it is, with the keys that are trusted anyway.
    pub(super) fn load_one(dir: &Path, named: &config::Models) -> Models {
        let trust = if named.packages.is_empty() {
            package::shipped_trust()
        } else {
            Trust::load(&named.trust)
        };
        let mut models = Models::default();
        match trust {
            Ok(trust) => models.try_add(dir, &trust),
            Err(error) => models.fault(whole(&error), error.remedy()),
        }
        models
    }

    fn try_add(&mut self, dir: &Path, trust: &Trust) {
        if let Err((message, remedy)) = self.add(dir, trust) {
            self.fault(message, &remedy);
        }
    }

    fn fault(&mut self, message: String, remedy: &str) {
        self.faults.push(Fault { message, remedy: remedy.to_owned() });
    }

    fn add(&mut self, dir: &Path, trust: &Trust) -> Result<(), (String, String)> {
        let (package, engine) = open(dir, trust)?;
        // The files are in the engine now; their bytes are not needed twice.
        drop(package);
        self.join(engine).map_err(|(trouble, remedy)| match trouble {
            Trouble::Golden(message) | Trouble::Task(message) => (message, remedy),
        })
    }

    /// Takes an engine's tasks, if it comes out as it should.
    fn join(&mut self, engine: Engine) -> Result<(), (Trouble, String)> {
        let manifest = engine.manifest();
        let (short, name) =
            (manifest.name.clone(), format!("{} {}", manifest.name, manifest.version));
        let digest = shorten(engine.digest());
        check_golden(&engine).map_err(|message| {
            let remedy = "do not use this package on this processor; report it to its maker";
            (Trouble::Golden(format!("{name}: {message}")), remedy.to_owned())
        })?;
        let engine = Arc::new(engine);
        for spec in engine.tasks() {
            let labels: Arc<[String]> = spec.labels.clone().into();
            let model = Model {
                engine: Arc::clone(&engine),
                task: spec.name.clone(),
                package: name.clone(),
                digest,
                name: short.clone(),
                labels: Arc::clone(&labels),
            };
            let kind = match spec.kind {
                Kind::Classification => TaskKind::Classification,
                Kind::Extraction => TaskKind::Extraction,
            };
            let facts = ModelFacts { kind, labels, scores: spec.scores.clone() };
            if let Some((first, _)) = self.tasks.get(&spec.name) {
                return Err((
                    Trouble::Task(format!(
                        "task '{}' is already served by {}",
                        spec.name, first.package
                    )),
                    "list one package for each task in models.packages".to_owned(),
                ));
            }
            self.tasks.insert(spec.name.clone(), (model, facts));
        }
        Ok(())
    }

    /// The tasks that can be served, or `None` if a package failed and its tasks are unknown.
    pub fn known(&self) -> Option<Vec<&str>> {
        self.faults.is_empty().then(|| self.tasks.keys().map(String::as_str).collect())
    }

    /// What the packages say of a task.
    pub fn facts(&self, task: &str) -> Option<&ModelFacts> {
        self.tasks.get(task).map(|(_, facts)| facts)
    }

    /// What stands behind a task.
    pub fn backing(&self, task: &str) -> Backing {
        match (self.tasks.get(task), self.faults.first()) {
            (Some((model, _)), _) => Backing::Model(model.clone()),
            (None, Some(fault)) => Backing::Missing(fault.message.clone()),
            (None, None) => Backing::Missing("no model package has this task".to_owned()),
        }
    }
}

/// What keeps an engine from serving.
enum Trouble {
    /// It does not come out as its maker says.
    Golden(String),
    /// Another serves one of its tasks.
    Task(String),
}

/// The configured packages, or the shipped ones, and who may sign.
fn found(named: &config::Models) -> Result<(Vec<PathBuf>, Trust), PackageError> {
    if named.packages.is_empty() {
        return Ok((package::shipped_dirs()?, package::shipped_trust()?));
    }
    Ok((named.packages.clone(), Trust::load(&named.trust)?))
}

/// A package with its engine.
fn open(dir: &Path, trust: &Trust) -> Result<(Package, Engine), (String, String)> {
    let package = Package::open(dir, trust).map_err(|e| (whole(&e), e.remedy().to_owned()))?;
    let engine = Engine::load(&package).map_err(|e| (whole(&e), e.remedy().to_owned()))?;
    Ok((package, engine))
}

/// The name in a manifest that nobody has checked: good for finding, and for nothing else.
fn manifest_name(dir: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let path = dir.join(package::MANIFEST);
    if std::fs::metadata(&path).ok()?.len() > landfall_models::limits::MANIFEST_BYTES_MAX {
        return None;
    }
    serde_json::from_slice::<Named>(&std::fs::read(path).ok()?).ok().map(|named| named.name)
}

/// An error with its causes, on one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn check_golden(engine: &Engine) -> Result<(), String> {
    let report = engine.golden().map_err(|error| error.to_string())?;
    let failed = report.tasks.iter().find(|task| !task.failures.is_empty());
    failed.map_or(Ok(()), |task| {
        let (failures, texts) = (task.failures.len(), task.texts);
        Err(format!("{failures} of {texts} golden vectors of task '{}' do not come out", task.task))
    })
}

/// A number of characters, as records have it.
pub(super) fn position(chars: usize) -> u32 {
    u32::try_from(chars).unwrap_or(u32::MAX)
}

impl Model {
    /// A view in the terms of the decision path.
    pub(super) fn view(&self, view: View) -> ModelView {
        match view {
            View::Label { label, confidence, probabilities, familiar, .. } => ModelView::Labels {
                labels: Arc::clone(&self.labels),
                best: label,
                confidence,
                probabilities,
                familiar,
            },
            View::Spans { spans, confidence } => {
                let field = |span: landfall_models::Span| FieldView {
                    label: self.labels.get(span.label).cloned().unwrap_or_default(),
                    start: position(span.start),
                    end: position(span.end),
                    confidence: span.confidence,
                };
                ModelView::Spans { spans: spans.into_iter().map(field).collect(), confidence }
            }
        }
    }
}
