//! `check-config`: everything that can be checked without starting.

use super::args::StatusArgs;
use super::failure::Failure;
use super::{Done, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::pipeline::{Models, Task};
use crate::release;
use crate::service;
use crate::sync::Wallet;
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    ok: bool,
    config: String,
    tasks: Vec<TaskReport>,
    redaction: String,
    warnings: Vec<String>,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct TaskReport {
    name: String,
    package: Option<String>,
    labels: usize,
    promise: Option<String>,
}

pub(super) fn check(args: &StatusArgs) -> Result<Done, Failure> {
    let config = Config::load(&super::whole(&args.common.config()))?;
    let models = Models::load(&config.models, &release::current(&config));
    let tasks = service::tasks(&config, &models)?;
    let report = report(&config, &models, &tasks);
    if args.json {
        output::json_pretty(&report)?;
    } else {
        print(&report)?;
    }
    if report.ok {
        return Ok(Done::Done);
    }
    Err(Failure::new("the configuration is valid, but what it refers to cannot be used")
        .remedy("correct the faults above; the agent would run without these parts"))
}

fn report(config: &Config, models: &Models, tasks: &[Task]) -> Report {
    let task = |task: &Task| TaskReport {
        name: task.policy.name().to_string(),
        package: Some(task.backing.package().to_owned()).filter(|package| !package.is_empty()),
        labels: task.policy.labels().len(),
        promise: task.promise(),
    };
    let fault = |f: &crate::pipeline::Fault| format!("{}; remedy: {}", f.message, f.remedy);
    let mut faults: Vec<String> = models.faults.iter().map(fault).collect();
    if let Some(hub) = &config.hub
        && let Err(error) =
            Wallet::new(&hub.identity, &config.data_dir, Clock::open(&config.data_dir)).pick()
    {
        faults.push(format!("{error}; remedy: {}", error.remedy()));
    }
    Report {
        ok: faults.is_empty(),
        config: config.digest.to_string(),
        tasks: tasks.iter().map(task).collect(),
        redaction: models.masking(&config.redact_model).to_string(),
        warnings: config.warnings.iter().map(ToString::to_string).collect(),
        faults,
    }
}

fn print(report: &Report) -> std::io::Result<()> {
    output::line(format_args!("configuration {}", report.config))?;
    for TaskReport { name, package, labels, promise } in &report.tasks {
        let package = package.as_deref().unwrap_or("no model");
        output::line(format_args!("task {name}: {package}, {labels} labels"))?;
        if let Some(promise) = promise {
            output::line(format_args!("  {promise}"))?;
        }
    }
    output::line(format_args!("what leaves is masked by {}", report.redaction))?;
    for warning in &report.warnings {
        output::line(format_args!("warning: {warning}"))?;
    }
    for fault in &report.faults {
        output::line(format_args!("fault: {fault}"))?;
    }
    if report.ok {
        output::line(format_args!("ok"))?;
    }
    Ok(())
}
