//! The short commands.

use super::{Which, out};
use crate::engine::{Engine, TaskSpec};
use crate::eval;
use crate::package::{self, Manifest, Package, Trust, hex};
use anyhow::{Context as _, bail};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Points of a curve that `inspect` prints; `--json` has them all.
const CURVE_POINTS_SHOWN: usize = 10;

impl Which {
    /// The trusted keys: those named, else the shipped packages' own.
    pub(super) fn trusted(&self) -> anyhow::Result<Trust> {
        trusted(&self.trust)
    }

    /// The packages' directories.
    pub(super) fn dirs(&self) -> anyhow::Result<Vec<PathBuf>> {
        match &self.dir {
            Some(dir) => Ok(vec![dir.clone()]),
            None => Ok(package::shipped_dirs()?),
        }
    }
}

/// Loads the named keys, or the shipped packages' own.
pub(super) fn trusted(files: &[PathBuf]) -> anyhow::Result<Trust> {
    if files.is_empty() {
        return package::shipped_trust()
            .context("no --trust KEY is given and the shipped packages' key is not there");
    }
    Ok(Trust::load(files)?)
}

pub(super) fn verify(which: &Which) -> anyhow::Result<()> {
    let trust = which.trusted()?;
    for dir in which.dirs()? {
        let package = Package::open(&dir, &trust)?;
        package.check_names()?;
        Engine::load(&package)?;
        let manifest = package.manifest();
        out::line(&format!(
            "{}: {} {}, signature and {} files good, model loads, manifest {}",
            dir.display(),
            manifest.name,
            manifest.version,
            manifest.files.len(),
            hex(&package.digest())
        ))?;
    }
    Ok(())
}

pub(super) fn inspect(which: &Which, json: bool) -> anyhow::Result<()> {
    let trust = which.trusted()?;
    for dir in which.dirs()? {
        let package = Package::open(&dir, &trust)?;
        if json {
            let mut value = serde_json::to_value(package.manifest())?;
            for task in TaskSpec::of(&package)? {
                let of = &mut value["tasks"][&task.name];
                of["scores"] = task.scores.len().into();
                of["reliability"] = serde_json::to_value(&task.reliability)?;
                of["curve"] = serde_json::to_value(&task.curve)?;
            }
            value["digest"] = hex(&package.digest()).into();
            value["directory"] = dir.display().to_string().into();
            out::line(&value.to_string())?;
        } else {
            let tasks = TaskSpec::of(&package)?;
            out::line(&describe(&dir, package.manifest(), &tasks, &hex(&package.digest())))?;
        }
    }
    Ok(())
}

fn describe(dir: &Path, manifest: &Manifest, tasks: &[TaskSpec], digest: &str) -> String {
    let total_bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    let mut lines = vec![
        format!("{} {}, {}", manifest.name, manifest.version, manifest.licence),
        format!("  {}", manifest.description),
        format!("  directory  {}", dir.display()),
        format!("  manifest   {digest}"),
        format!("  files      {}, {:.1} MB", manifest.files.len(), total_bytes as f64 / 1e6),
        format!(
            "  encoder    {} word pieces at most, {} wide",
            manifest.encoder.tokens_max, manifest.encoder.hidden
        ),
    ];
    for source in &manifest.sources {
        lines.push(format!(
            "  made from  {} ({}): {}",
            source.name, source.licence, source.used_for
        ));
    }
    for task in tasks {
        let kind = match task.span_words_max() {
            None => task.kind.name().to_owned(),
            Some(most) => format!("{} of nested spans, {most} words at most", task.kind.name()),
        };
        lines.push(format!("  task {}: {kind}, {} labels", task.name, task.labels.len()));
        lines.push(format!("    labels   {}", task.labels.join(", ")));
        lines.push(format!("    scores   {}", task.scores.len()));
        if let Some(of) = &task.reliability {
            lines.push(format!(
                "    reliability  ECE {:.3}, Brier {:.3} on {}",
                of.ece, of.brier, of.n
            ));
            for (confidence, accuracy, n) in &of.bins {
                lines.push(format!(
                    "      {n:5} at mean confidence {confidence:.3}: {accuracy:.3} right"
                ));
            }
        }
        if !task.curve.is_empty() {
            lines.push("    coverage and error observed".to_owned());
            lines.extend(shown(&task.curve).map(|(coverage, error)| {
                format!("      answers {:5.1} %, {:4.1} % wrong", coverage * 100.0, error * 100.0)
            }));
        }
        for (metric, value) in &task.metrics {
            lines.push(format!("    {metric}  {}", plain(value)));
        }
    }
    lines.join("\n")
}

/// About ten points of a curve, the last included.
fn shown(curve: &[(f32, f32)]) -> impl Iterator<Item = (f32, f32)> {
    let step = curve.len().div_ceil(CURVE_POINTS_SHOWN).max(1);
    let last = curve.len().saturating_sub(1);
    curve
        .iter()
        .enumerate()
        .filter(move |(at, _)| (last - at).is_multiple_of(step))
        .map(|(_, &p)| p)
}

/// A JSON value without the quotes of a string.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn golden(which: &Which, answers: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let trust = which.trusted()?;
    let mut failed = 0;
    for dir in which.dirs()? {
        let package = Package::open(&dir, &trust)?;
        let engine = Engine::load(&package)?;
        for task in engine.golden()?.tasks {
            out::line(&format!(
                "{} {}: {} of {} texts agree, largest difference {:.4}",
                dir.display(),
                task.task,
                task.texts - task.failures.len(),
                task.texts,
                task.difference_max
            ))?;
            for failure in &task.failures {
                out::line(&format!("  {failure}"))?;
            }
            failed += task.failures.len();
        }
        if let Some(step) = answers {
            let mut lines = Vec::new();
            eval::answers(&engine, &package, step.get(), |line| lines.push(line))?;
            lines.iter().try_for_each(|line| out::line(line))?;
        }
    }
    if failed > 0 {
        bail!("{failed} golden texts differ: this package must not decide on this machine");
    }
    Ok(())
}

pub(super) fn sign(dir: &Path, key: &Path) -> anyhow::Result<()> {
    let path = package::sign::sign(dir, key)?;
    out::line(&format!("signed {}", path.display()))?;
    Ok(())
}

pub(super) fn keygen(path: &Path) -> anyhow::Result<()> {
    let name = path.file_name().context("PATH names no file")?;
    let ending = |ending: &str| {
        let mut name = name.to_owned();
        name.push(ending);
        path.with_file_name(name)
    };
    let (secret, public) = (ending(".key"), ending(".pub"));
    package::sign::keygen(&secret, &public)?;
    out::line(&format!("secret key {}, public key {}", secret.display(), public.display()))?;
    Ok(())
}
