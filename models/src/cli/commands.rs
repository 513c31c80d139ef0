//! The short commands.

use super::{Which, out};
use crate::engine::Engine;
use crate::package::{self, Manifest, Package, Trust, hex};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

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
            value["digest"] = hex(&package.digest()).into();
            value["directory"] = dir.display().to_string().into();
            out::line(&value.to_string())?;
        } else {
            out::line(&describe(&dir, package.manifest(), &hex(&package.digest())))?;
        }
    }
    Ok(())
}

fn describe(dir: &Path, manifest: &Manifest, digest: &str) -> String {
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
    for (name, task) in &manifest.tasks {
        let kind = match task.kind {
            package::KindEntry::Classification => "classification",
            package::KindEntry::Extraction { .. } => "extraction",
        };
        lines.push(format!("  task {name}: {kind}, {} labels", task.labels.len()));
        lines.push(format!("    labels   {}", task.labels.join(", ")));
        for (metric, value) in &task.metrics {
            lines.push(format!("    {metric}  {}", plain(value)));
        }
    }
    lines.join("\n")
}

/// A JSON value without the quotes of a string.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn golden(which: &Which) -> anyhow::Result<()> {
    let trust = which.trusted()?;
    let mut failed = 0;
    for dir in which.dirs()? {
        let engine = Engine::load(&Package::open(&dir, &trust)?)?;
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
