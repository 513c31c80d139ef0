//! `landfall-models eval`.

use super::{commands, out};
use crate::engine::Engine;
use crate::eval::{self, Example, InputError, Interval, LabelMetrics, Report};
use crate::package::{self, Package, Trust};
use crate::{TaskSpec, limits};
use anyhow::{Context as _, anyhow, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::{Path, PathBuf};

/// What `eval` takes.
#[derive(clap::Args)]
pub(super) struct EvalArgs {
    /// The task.
    #[arg(long)]
    task: String,
    /// Labelled lines: {"text", "label"} or {"text", "spans"}; "-" reads standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The package's directory [default: the shipped package that has the task].
    #[arg(long, value_name = "DIR")]
    package: Option<PathBuf>,
    /// Trusted public key file, repeatable [default: the shipped packages' key].
    #[arg(long, value_name = "KEY")]
    trust: Vec<PathBuf>,
}

pub(super) fn eval(args: &EvalArgs) -> anyhow::Result<()> {
    let trust = commands::trusted(&args.trust)?;
    let package = find(args, &trust)?;
    let engine = Engine::load(&package)?;
    drop(package);
    let task = engine.task(&args.task).context("a task of the manifest is loaded")?;
    let examples = read(&args.input, task)?;
    let mut progress = out::Progress::new("texts", examples.len());
    let report = eval::evaluate(&engine, task, &examples, |done| progress.update(done))?;
    drop(progress);
    if !report.unknown_labels.is_empty() {
        let labels: Vec<&str> = report.unknown_labels.iter().map(String::as_str).collect();
        out::warning(&format!(
            "{} has labels that {} does not; they count as wrong: {}",
            args.input.display(),
            task.name,
            labels.join(", ")
        ));
    }
    if args.json {
        out::line(&serde_json::to_string(&report)?)?;
    } else {
        out::line(&table(&report))?;
    }
    Ok(())
}

/// The named package, or the shipped one that has the task.
fn find(args: &EvalArgs, trust: &Trust) -> anyhow::Result<Package> {
    let dirs = match &args.package {
        Some(dir) => vec![dir.clone()],
        None => package::shipped_dirs()?,
    };
    let mut known = Vec::new();
    for dir in dirs {
        let package = Package::open(&dir, trust)?;
        if package.manifest().tasks.contains_key(&args.task) {
            return Ok(package);
        }
        known.extend(package.manifest().tasks.keys().cloned());
    }
    bail!(crate::EngineError::UnknownTask { task: args.task.clone(), known: known.join(", ") })
}

fn read(path: &Path, task: &TaskSpec) -> anyhow::Result<Vec<Example>> {
    let piped = path == Path::new("-");
    let name = if piped { "standard input".to_owned() } else { path.display().to_string() };
    let parsed = if piped {
        eval::parse(stdin().lock(), task)
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        eval::parse(BufReader::new(file), task)
    };
    parsed.map_err(|error| match error {
        InputError::Io(error) => anyhow!(error).context(format!("cannot read {name}")),
        InputError::Empty => anyhow!("{name} has no lines to evaluate"),
        InputError::Bad(bad) => {
            let lines: Vec<String> = bad.iter().map(|bad| format!("\n  {name}, {bad}")).collect();
            anyhow!("{name} has bad lines; nothing was evaluated:{}", lines.concat())
        }
    })
}

fn table(report: &Report) -> String {
    let row = |name: &str, value: f64, interval: Option<Interval>| {
        let interval = interval.map(|(low, high)| format!("  ({low:.4} to {high:.4})"));
        format!("{name:<20} {value:.4}{}", interval.unwrap_or_default())
    };
    let mut lines = vec![
        format!("{:<20} {}", "task", report.task),
        format!("{:<20} {}", "texts", report.n),
        row("accuracy", report.accuracy, Some(report.accuracy_interval)),
        row("weighted F1", report.weighted_f1, Some(report.weighted_f1_interval)),
        row("micro precision", report.micro_precision, None),
        row("micro recall", report.micro_recall, None),
        row("micro F1", report.micro_f1, Some(report.micro_f1_interval)),
    ];
    if let Some(accuracy) = report.in_scope_accuracy {
        lines.push(row("in-scope accuracy", accuracy, report.in_scope_accuracy_interval));
    }
    if let Some(recall) = report.oos_recall {
        lines.push(row("out-of-scope recall", recall, report.oos_recall_interval));
    }
    if let Some(auroc) = report.familiarity_auroc {
        lines.push(row("familiarity AUROC", auroc, None));
    }
    if let Some(rejected) = report.rejected {
        lines.push(format!("{:<20} {rejected}", "rejected"));
    }
    if let Some(of) = &report.reliability {
        lines.push(format!("{:<20} ECE {:.4}, Brier {:.4}", "reliability", of.ece, of.brier));
    }
    lines.push("(in brackets: 95 % intervals, Wilson's of shares, bootstrap of F1)".to_owned());
    lines.push(labels("label", &report.per_label));
    if let Some(tokens) = &report.tokens {
        let mut per_label = tokens.per_label.clone();
        per_label.insert("(any)".to_owned(), tokens.any);
        lines.push(labels("of words", &per_label));
    }
    lines.join("\n")
}

fn labels(title: &str, per_label: &BTreeMap<String, LabelMetrics>) -> String {
    // Wide enough for the longest name, which is bounded.
    let longest = per_label.keys().map(|label| label.chars().count()).max().unwrap_or(0);
    let width = longest.clamp(title.len(), limits::NAME_BYTES_MAX);
    let mut lines = vec![format!("\n{title:width$}  precision  recall      F1  support")];
    for (label, metrics) in per_label {
        lines.push(format!(
            "{label:width$}  {:9.4}  {:6.4}  {:6.4}  {:7}",
            metrics.precision, metrics.recall, metrics.f1, metrics.support
        ));
    }
    lines.join("\n")
}
