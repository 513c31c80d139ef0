//! `replay`: a past decision, run again from what its record names.
//!
//! The record comes from the device's store; text, package and configuration must still be at
//! hand, each told apart by its digest. The decision is made in this process and recorded
//! nowhere.

mod text;

use super::args::ReplayArgs;
use super::failure::{FAILED, Failure};
use super::shelf::Shelf;
use super::{Done, output, shown_time};
use crate::config::{self, Config};
use crate::pipeline::{Models, Task};
use crate::queue::{self, OutcomePage, unhex};
use crate::release;
use crate::rules::HubRules;
use landfall_agent_core::judgement::Judgement;
use landfall_agent_core::replay::{
    Comparison, Likeness, answer_name, compare, decision_name, draw, mechanism, ruling, verdict,
};
use landfall_agent_core::request::Request;
use landfall_agent_core::rules::Rules;
use landfall_models::engine::TOLERANCE;
use landfall_wire::id::{Confidence, ShortDigest};
use landfall_wire::record::{Mechanism, Outcome, Record};
use serde::Serialize;
use std::collections::BTreeMap;
use text::{Fit, Text};

/// A logit of the same arithmetic moves by [`TOLERANCE`] at most; log-odds of a label compare its
/// logit with the others', which move too.
const LOG_ODDS_TOLERANCE: f32 = 2.0 * TOLERANCE;

/// What a replay prints.
#[derive(Serialize)]
struct Replayed {
    outcome: String,
    #[serde(flatten)]
    comparison: Comparison,
    /// The comparison says something about the recorded decision; see `doubts` otherwise.
    conclusive: bool,
    /// What stands in the way of that.
    doubts: Vec<String>,
    recorded: Side,
    replayed: Side,
    text: Text,
    package: Part,
    config: Part,
}

/// One of the two decisions.
#[derive(Serialize)]
struct Side {
    status: String,
    mechanism: String,
    answer: String,
    confidence: f32,
}

/// Something that is named by its digest.
#[derive(Serialize)]
struct Part {
    /// What the record names; `None` if it names none.
    recorded: Option<String>,
    /// What was used.
    used: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The task as it decided, or as near as can be.
struct Stage {
    hub: Rules,
    task: Task,
    package: Part,
    config: Part,
    doubts: Vec<String>,
}

pub(super) fn replay(args: &ReplayArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let id = queue::record_id(&args.outcome)?;
    // The store is closed, or its copy gone, before a model takes memory.
    let page = Shelf::open(&config)?.outcome(id)?;
    let recorded = outcome_of(&page)?;
    let text = text::find(args.text.as_deref(), &recorded, page.text_digest.as_deref())?;
    let stage = Stage::set(&config, args, &recorded)?;
    let replayed = run(args, &recorded, text, stage)?;
    if args.json {
        output::json_pretty(&replayed)?;
    } else {
        print(&replayed, &recorded)?;
    }
    conclude(&replayed)
}

fn outcome_of(page: &OutcomePage) -> Result<Outcome, Failure> {
    let record = unhex(&page.entry.raw).and_then(|raw| Record::decode(&raw).ok());
    match record {
        Some(Record::Outcome(outcome)) => Ok(outcome),
        _ => Err(Failure::new(format!("{} cannot be read as an outcome", page.entry.id))
            .remedy("use the command of the version that recorded it, or a newer one")),
    }
}

impl Stage {
    fn set(config: &Config, args: &ReplayArgs, recorded: &Outcome) -> Result<Stage, Failure> {
        let mut doubts = Vec::new();
        let same_config = config.digest == recorded.config;
        if !same_config {
            let (was, is) = (recorded.config, config.digest);
            let missing = format!(
                "it was decided with configuration {was}, which is not here any more; the \
                 present one is {is}"
            );
            if !args.with_current {
                return Err(Failure::open(missing).remedy(
                    "give the former file with --config, or see with --with-current what the \
                     present one says",
                ));
            }
            doubts.push(missing);
        }
        let asked = config.tasks.iter().find(|task| task.settings.name == recorded.task);
        let asked = asked.ok_or_else(|| {
            Failure::open(format!("the configuration has no task '{}' any more", recorded.task))
                .remedy("give the former file with --config")
        })?;
        let (models, missing) = models(config, args, recorded)?;
        doubts.extend(missing);
        let only = Config { tasks: vec![asked.clone()], ..config.clone() };
        let policies = only.policies(|task| models.facts(task))?;
        let policy = policies
            .into_iter()
            .next()
            .ok_or_else(|| Failure::new(format!("task '{}' cannot be set up", recorded.task)))?;
        let backing = models.backing(&asked.model);
        let used = Some(backing.digest()).filter(|digest| *digest != ShortDigest::default());
        let package = Part {
            recorded: named(recorded.package),
            used: used.map(|digest| digest.to_string()),
            name: Some(backing.package().to_owned()).filter(|name| !name.is_empty()),
        };
        let used = HubRules::open(&config.data_dir).used();
        let hub = used.get(&recorded.task).cloned().unwrap_or_default();
        let config = Part {
            recorded: named(recorded.config),
            used: Some(config.digest.to_string()),
            name: None,
        };
        Ok(Stage { task: Task { policy, backing }, hub, package, config, doubts })
    }
}

fn named(digest: ShortDigest) -> Option<String> {
    (digest != ShortDigest::default()).then(|| digest.to_string())
}

/// The package that decided, and a doubt if it is another. A rule needs none, but the one that
/// is there says which labels it may answer.
fn models(
    config: &Config,
    args: &ReplayArgs,
    recorded: &Outcome,
) -> Result<(Models, Option<String>), Failure> {
    let by_model = matches!(recorded.mechanism, Mechanism::Model);
    if !by_model {
        return Ok((Models::load(&config.models, &release::current(config)), None));
    }
    if recorded.package == ShortDigest::default() {
        // No model could be run then, and none is now.
        return Ok((Models::default(), None));
    }
    let mut also = args.package.clone();
    also.extend(release::kept(config));
    if let Some(models) = Models::with_digest(&config.models, recorded.package, &also) {
        return match models.faults.first() {
            None => Ok((models, None)),
            Some(fault) => Err(Failure::new(&fault.message).remedy(&fault.remedy)),
        };
    }
    let missing = missing_package(&config.models, args, recorded.package);
    if !args.with_current {
        return Err(Failure::open(missing).remedy(
            "give its directory with --package, or see with --with-current what the present one \
             says",
        ));
    }
    Ok((Models::load(&config.models, &release::current(config)), Some(missing)))
}

fn missing_package(named: &config::Models, args: &ReplayArgs, wanted: ShortDigest) -> String {
    let found = Models::within_reach(named, &args.package);
    let found: Vec<String> =
        found.iter().map(|(dir, digest)| format!("{digest} in {}", dir.display())).collect();
    let here = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    format!("it was decided by package {wanted}, which is not here any more; here are: {here}")
}

fn run(
    args: &ReplayArgs,
    recorded: &Outcome,
    text: Text,
    stage: Stage,
) -> Result<Replayed, Failure> {
    let Stage { task, hub, package, config, mut doubts } = stage;
    let mut meta: BTreeMap<String, String> = recorded.meta.iter().cloned().collect();
    meta.extend(args.meta.iter().cloned());
    let unknown = unknown_meta(&task, &meta);
    let (name, body) = (recorded.task.clone(), text.text.clone());
    let request = Request { task: name, text: body, caller_id: None, meta };
    request.check().map_err(|error| Failure::usage(error.to_string()))?;
    let judgement = task.replay(&request, &hub, draw(recorded));
    let comparison = compare(recorded, &judgement, LOG_ODDS_TOLERANCE);
    // What cannot be known only matters where the result is another.
    let differs = comparison.likeness == Likeness::Differs;
    match text.fit {
        Fit::Exact => {}
        Fit::Unknown if !differs => {}
        Fit::Unknown | Fit::Masked => doubts.push(text.why.clone()),
    }
    doubts.extend(unknown.filter(|_| differs));
    let by_hub = by_hub(&recorded.mechanism) || by_hub(&judgement.mechanism);
    if differs && by_hub {
        doubts.push("the hub's rules may have been others then".to_owned());
    }
    Ok(Replayed {
        outcome: args.outcome.clone(),
        conclusive: doubts.is_empty(),
        doubts,
        recorded: Side::recorded(recorded),
        replayed: Side::judged(&judgement),
        comparison,
        text,
        package,
        config,
    })
}

/// Whether a rule of the hub decided: those are in no configuration.
fn by_hub(mechanism: &Mechanism) -> bool {
    matches!(mechanism, Mechanism::Rule(name) if name.starts_with(landfall_rules::PREFIX))
}

/// Metadata that rules look at and that nobody gave.
fn unknown_meta(task: &Task, known: &BTreeMap<String, String>) -> Option<String> {
    let rules = &task.policy.settings().rules;
    let mut keys: Vec<&str> = rules.iter().flat_map(|rule| rule.meta_keys()).collect();
    keys.retain(|key| !known.contains_key(*key));
    keys.sort_unstable();
    keys.dedup();
    (!keys.is_empty()).then(|| {
        format!(
            "rules look at metadata that is not recorded: {}; give what there was with --meta",
            keys.join(", ")
        )
    })
}

impl Side {
    fn recorded(outcome: &Outcome) -> Side {
        Side {
            status: verdict(&outcome.verdict),
            mechanism: mechanism(&outcome.mechanism),
            answer: outcome.decision.as_ref().map_or("no answer".to_owned(), decision_name),
            confidence: outcome.confidence.probability(),
        }
    }

    fn judged(judgement: &Judgement) -> Side {
        Side {
            status: ruling(&judgement.ruling),
            mechanism: mechanism(&judgement.mechanism),
            answer: answer_name(judgement.answer.as_ref()),
            confidence: judgement.confidence.probability(),
        }
    }

    fn line(&self) -> String {
        let Side { status, mechanism, answer, confidence } = self;
        let percent = f64::from(Confidence::from_probability(*confidence).basis_points()) / 100.0;
        format!("{answer}, {status} by {mechanism}, confidence {percent:.2} %")
    }
}

fn print(replayed: &Replayed, recorded: &Outcome) -> std::io::Result<()> {
    let likeness = match replayed.comparison.likeness {
        Likeness::Same => "the same",
        Likeness::WithinTolerance => "the same decision, within the tolerance of the arithmetic",
        Likeness::Differs => "NOT THE SAME",
    };
    let at = shown_time(recorded.at_ms);
    output::line(format_args!("{} of {at}: {likeness}", replayed.outcome))?;
    output::line(format_args!("  recorded       {}", replayed.recorded.line()))?;
    output::line(format_args!("  replayed       {}", replayed.replayed.line()))?;
    for difference in &replayed.comparison.differences {
        output::line(format_args!("  difference     {difference}"))?;
    }
    output::line(format_args!("  text           {}", replayed.text.why))?;
    output::line(format_args!("  package        {}", replayed.package.line()))?;
    output::line(format_args!("  configuration  {}", replayed.config.line()))?;
    for doubt in &replayed.doubts {
        output::line(format_args!("  DOUBT          {doubt}"))?;
    }
    Ok(())
}

impl Part {
    fn line(&self) -> String {
        let name = self.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        match (&self.recorded, &self.used) {
            (None, _) => "none took part".to_owned(),
            (Some(recorded), Some(used)) if recorded == used => {
                format!("{used}{name}, as recorded")
            }
            (Some(recorded), Some(used)) => format!("{used}{name}; recorded is {recorded}"),
            (Some(recorded), None) => format!("none; recorded is {recorded}"),
        }
    }
}

fn conclude(replayed: &Replayed) -> Result<Done, Failure> {
    match (replayed.conclusive, replayed.comparison.likeness) {
        (false, _) => Ok(Done::Open),
        (true, Likeness::Same | Likeness::WithinTolerance) => Ok(Done::Done),
        (true, Likeness::Differs) => Err(Failure {
            code: FAILED,
            ..Failure::new("the decision does not come out as it was recorded")
                .remedy("check this processor with `landfall-models verify`, and the record with `queue verify`")
        }),
    }
}
