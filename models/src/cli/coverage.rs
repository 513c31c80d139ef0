//! `landfall-models coverage`: what a tolerated error buys.
//!
//! The same derivation as the agent's, on the same scores: what is printed is what a device does
//! with `error_max` in its configuration.

use super::{commands, out};
use crate::package::{self, Package};
use crate::{Kind, TaskSpec};
use anyhow::{bail, ensure};
use landfall_calibration::{
    Accept, BOUND_CONFIDENCE, Calibration, Group, LABEL_SCORES_MIN, METHOD, Outlook, SOURCES,
};
use serde::Serialize;
use std::path::PathBuf;

/// Tolerances that are shown when none is asked for.
const USUAL: [f32; 6] = [0.01, 0.02, 0.05, 0.10, 0.15, 0.20];

/// What `coverage` takes.
#[derive(clap::Args)]
pub(super) struct CoverageArgs {
    /// Share of wrong answers that is tolerated [default: a table of several].
    #[arg(long, value_name = "SHARE")]
    error_max: Option<f32>,
    /// The task [default: all].
    #[arg(long)]
    task: Option<String>,
    /// Print one JSON object a package.
    #[arg(long)]
    json: bool,
    /// The package's directory [default: the shipped packages].
    #[arg(long, value_name = "DIR")]
    package: Option<PathBuf>,
    /// Trusted public key file, repeatable [default: the shipped packages' key].
    #[arg(long, value_name = "KEY")]
    trust: Vec<PathBuf>,
}

/// What the scores of a package buy.
#[derive(Serialize)]
struct Coverage {
    package: String,
    version: String,
    method: &'static str,
    sources: [&'static str; 4],
    /// Probability with which each bound holds.
    confidence: f64,
    tasks: Vec<OfTask>,
}

#[derive(Serialize)]
struct OfTask {
    task: String,
    /// How many scores.
    scores: usize,
    /// Of the scores: expected calibration error and Brier score.
    ece: Option<f64>,
    brier: Option<f64>,
    rows: Vec<Row>,
}

/// What one tolerance buys.
#[derive(Serialize)]
struct Row {
    error_max: f32,
    /// Whether any answer is promised.
    promised: bool,
    /// Share of the scores that is answered without asking.
    coverage: f64,
    /// Upper bound of the share of wrong answers among them; `null` if there are none.
    error_bound: Option<f64>,
    /// Labels with their own threshold, then the others together; of extraction, all texts.
    groups: Vec<OfGroup>,
    /// The smallest `error_max` for which these scores promise anything.
    error_max_reachable: Option<f64>,
    /// About how many more scores like these would promise something at `error_max`; `null` if
    /// none would.
    scores_more: Option<usize>,
}

#[derive(Serialize)]
struct OfGroup {
    /// `null` for the labels that share a threshold.
    label: Option<String>,
    /// Lowest confidence that is answered; `null` answers nothing.
    threshold: Option<f64>,
    scores: usize,
    answered: usize,
    errors: usize,
    error_bound: Option<f64>,
}

pub(super) fn coverage(args: &CoverageArgs) -> anyhow::Result<()> {
    if let Some(error_max) = args.error_max {
        ensure!(
            error_max > 0.0 && error_max < 1.0,
            "--error-max {error_max} is not a share between 0 and 1, such as 0.02"
        );
    }
    let trust = commands::trusted(&args.trust)?;
    let dirs = match &args.package {
        Some(dir) => vec![dir.clone()],
        None => package::shipped_dirs()?,
    };
    let mut known = Vec::new();
    let mut found = false;
    for dir in dirs {
        let package = Package::open(&dir, &trust)?;
        let mut tasks = TaskSpec::of(&package)?;
        known.extend(tasks.iter().map(|task| task.name.clone()));
        tasks.retain(|task| args.task.as_ref().is_none_or(|asked| *asked == task.name));
        if tasks.is_empty() {
            continue;
        }
        found = true;
        let tolerances = args.error_max.map_or(USUAL.to_vec(), |error_max| vec![error_max]);
        let manifest = package.manifest();
        let coverage = Coverage {
            package: manifest.name.clone(),
            version: manifest.version.clone(),
            method: METHOD,
            sources: SOURCES,
            confidence: BOUND_CONFIDENCE,
            tasks: tasks.iter().map(|task| of_task(task, &tolerances)).collect(),
        };
        let text = if args.json {
            serde_json::to_string(&coverage)?
        } else {
            describe(&coverage, args.error_max.is_some())
        };
        out::line(&text)?;
    }
    match &args.task {
        Some(task) if !found => {
            bail!(crate::EngineError::UnknownTask { task: task.clone(), known: known.join(", ") })
        }
        Some(_) | None => Ok(()),
    }
}

fn of_task(task: &TaskSpec, tolerances: &[f32]) -> OfTask {
    let reliability = landfall_calibration::Reliability::new(&task.scores);
    OfTask {
        task: task.name.clone(),
        scores: task.scores.len(),
        ece: reliability.as_ref().map(|of| of.ece),
        brier: reliability.as_ref().map(|of| of.brier),
        rows: tolerances.iter().map(|&error_max| row(task, error_max)).collect(),
    }
}

fn row(task: &TaskSpec, error_max: f32) -> Row {
    let calibration = Calibration::new(Accept::ErrorMax(error_max), &task.scores);
    let outlook = Outlook::new(f64::from(error_max), &task.scores);
    let promised = !calibration.accepts_nothing();
    let of_group = |group: &Group| OfGroup {
        // A score of an extraction stands for a whole text; its label means nothing.
        label: group
            .label
            .filter(|_| task.kind == Kind::Classification)
            .and_then(|label| task.labels.get(label).cloned()),
        threshold: group.threshold.map(|points| f64::from(points) / 10_000.0),
        scores: group.scores,
        answered: group.accepted,
        errors: group.errors,
        error_bound: group.threshold.map(|_| group.error_bound()),
    };
    Row {
        error_max,
        promised,
        coverage: calibration.coverage().unwrap_or(0.0),
        error_bound: promised.then(|| calibration.error_bound()),
        groups: calibration
            .groups()
            .iter()
            .filter(|group| group.scores > 0)
            .map(of_group)
            .collect(),
        error_max_reachable: outlook.error_max_reachable,
        scores_more: outlook.scores_more,
    }
}

fn describe(coverage: &Coverage, one: bool) -> String {
    let mut lines = vec![format!("{} {}", coverage.package, coverage.version)];
    for task in &coverage.tasks {
        let reliability = match (task.ece, task.brier) {
            (Some(ece), Some(brier)) => format!(", ECE {ece:.3}, Brier {brier:.3}"),
            _ => String::new(),
        };
        lines.push(format!("\n{}: {} scores{reliability}", task.task, task.scores));
        if one {
            lines.extend(task.rows.iter().map(detail));
        } else {
            lines.push("  error_max  answers  at most wrong  threshold".to_owned());
            lines.extend(task.rows.iter().map(line));
            lines.extend(task.rows.iter().find(|row| !row.promised).map(remedy));
        }
    }
    lines.push(format!(
        "\nEach bound holds with {:.0} % probability over the draw of the scores, for texts like \
         theirs.\n{} ({}).\nA label with {LABEL_SCORES_MIN} scores has its own threshold.",
        coverage.confidence * 100.0,
        coverage.method,
        coverage.sources.join("; ")
    ));
    lines.join("\n")
}

/// A line of the table.
fn line(row: &Row) -> String {
    let Some(bound) = row.error_bound else {
        return format!("  {:9.2}  nothing is promised", row.error_max);
    };
    let thresholds: Vec<f64> = row.groups.iter().filter_map(|group| group.threshold).collect();
    let (low, high) = thresholds.iter().fold((1.0f64, 0.0f64), |(low, high), &threshold| {
        (low.min(threshold), high.max(threshold))
    });
    let threshold =
        if low == high { format!("{low:.4}") } else { format!("{low:.4} to {high:.4}, by label") };
    format!(
        "  {:9.2}  {:5.1} %  {:11.1} %  {threshold}",
        row.error_max,
        row.coverage * 100.0,
        bound * 100.0
    )
}

/// What one tolerance buys, group by group.
fn detail(row: &Row) -> String {
    let mut lines = vec![match row.error_bound {
        Some(bound) => format!(
            "  error_max {}: answers {:.1} % of texts like its scores, at most {:.1} % of those wrong",
            row.error_max,
            row.coverage * 100.0,
            bound * 100.0
        ),
        None => remedy(row),
    }];
    for group in &row.groups {
        let rest = if row.groups.len() > 1 { "(all other labels)" } else { "(all)" };
        let name = group.label.as_deref().unwrap_or(rest);
        lines.push(match (group.threshold, group.error_bound) {
            (Some(threshold), Some(bound)) => format!(
                "    {name}: from confidence {threshold:.4}, {} of {} scores, {} wrong, bound {:.1} %",
                group.answered,
                group.scores,
                group.errors,
                bound * 100.0
            ),
            _ => format!("    {name}: nothing, {} scores", group.scores),
        });
    }
    lines.join("\n")
}

/// What could be promised instead.
fn remedy(row: &Row) -> String {
    let reach = match row.error_max_reachable {
        // Rounded up: what is printed can be asked for.
        Some(reach) => format!("the smallest error_max within reach is {:.3}", ceil(reach)),
        None => "no error_max is within reach".to_owned(),
    };
    let more = match row.scores_more {
        Some(more) => format!("it would take about {more} more scores like these"),
        None => "more scores like these would not help: the surest answers are wrong too often"
            .to_owned(),
    };
    format!("  error_max {}: nothing is promised; {reach}; {more}", row.error_max)
}

/// Rounded up to three digits.
fn ceil(share: f64) -> f64 {
    (share * 1000.0).ceil() / 1000.0
}
