//! `landfall-models import`.

use super::{bench, out};
use crate::import::{self, Options, Summary};
use crate::limits;
use anyhow::Context as _;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Word pieces of a pass unless told otherwise: work orders have 10 to 30, and longer texts are
/// read in several passes.
const TOKENS_MAX: u16 = 128;

/// What `import` takes.
#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// The model: config.json, model.safetensors (or model.onnx) and tokenizer.json.
    dir: PathBuf,
    /// Labelled lines that the model was not trained on, as `eval` reads them.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The package's directory [default: NAME in the current directory].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The package's name [default: the name of the model's directory].
    #[arg(long)]
    name: Option<String>,
    /// The package's version.
    #[arg(long, default_value = "0.1.0")]
    package_version: String,
    /// SPDX licence of the model.
    #[arg(long, default_value = "LicenseRef-unknown")]
    licence: String,
    /// The task's name [default: NAME].
    #[arg(long)]
    task: Option<String>,
    /// Most word pieces in one pass, special ones included.
    #[arg(long, default_value_t = TOKENS_MAX, value_parser = clap::value_parser!(u16).range(limits::TOKENS_MIN as i64..=limits::TOKENS_MAX as i64))]
    tokens_max: u16,
    /// Unencrypted minisign secret key file to sign with.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What came of it, and what it took.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    seconds: f64,
    /// Peak of the resident memory in kB; `None` where the system does not tell.
    memory_peak_kb: Option<u64>,
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.dir)?,
    };
    let options = Options {
        model: args.dir.clone(),
        data: args.data.clone(),
        out: args.out.clone().unwrap_or_else(|| PathBuf::from(&name)),
        version: args.package_version.clone(),
        licence: args.licence.clone(),
        task: args.task.clone().unwrap_or_else(|| name.clone()),
        tokens_max: usize::from(args.tokens_max),
        key: args.key.clone(),
        name,
    };
    let start = std::time::Instant::now();
    let mut shown: Option<(&'static str, out::Progress)> = None;
    let result = import::import(&options, &mut |step, done, all| {
        let (_, progress) = match &mut shown {
            Some(shown) if shown.0 == step => shown,
            _ => {
                // The last step's line is erased before the next one's is drawn.
                shown = None;
                shown.insert((step, out::Progress::new(step, all)))
            }
        };
        progress.update(done);
    });
    drop(shown);
    let report = Report {
        summary: result?,
        seconds: (start.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        memory_peak_kb: bench::memory_kb("VmHWM:"),
    };
    if args.licence == "LicenseRef-unknown" {
        out::warning("the package's licence is unknown; name it with --licence");
    }
    if args.json {
        out::line(&serde_json::to_string(&report)?)?;
    } else {
        out::line(&table(&report))?;
    }
    Ok(())
}

/// The last part of a directory's path.
fn name_of(dir: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(dir)?;
    let name = whole.file_name().context("the model's directory has no name; use --name")?;
    Ok(name.to_string_lossy().into_owned())
}

fn table(report: &Report) -> String {
    let summary = &report.summary;
    let package = summary.package.display();
    let mut lines = vec![
        format!("package       {package}, {:.1} MB", summary.bytes as f64 / 1e6),
        format!(
            "task          {}: {}, {} labels, head from the {}",
            summary.task,
            summary.kind,
            summary.labels.len(),
            summary.head
        ),
        format!(
            "encoder       {} in int8, {} word pieces in one pass",
            summary.architecture, summary.tokens_max
        ),
        format!(
            "calibration   {} texts, temperature {:.3}, calibration error {:.3}",
            summary.calibration_texts, summary.temperature, summary.ece
        ),
        format!(
            "golden        {} texts agree, largest difference {:.4}",
            summary.golden_texts, summary.golden_difference_max
        ),
    ];
    if summary.skipped_texts > 0 {
        lines.push(format!(
            "left out      {} texts longer than one pass, of the calibration",
            summary.skipped_texts
        ));
    }
    for (metric, value) in &summary.metrics {
        lines.push(format!("{metric:13} {value}"));
    }
    lines.push(format!("took          {:.1} s", report.seconds));
    if let Some(peak) = report.memory_peak_kb {
        lines.push(format!("memory        {} MB at its peak", peak / 1024));
    }
    lines.push(if summary.signed {
        "signed".to_owned()
    } else {
        format!("not signed: `landfall-models sign {package} --key FILE`, after `landfall-models keygen`")
    });
    lines.join("\n")
}
