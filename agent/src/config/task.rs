//! The tasks: `[task.NAME]`, with their rules, topics and what may leave.

use super::section::{At, Section};
use super::{Problem, Task, link, suggest};
use landfall_agent_core::calibrate::Accept;
use landfall_agent_core::guard::{
    Guard, GuardError, GuardSpec, TEXT_BYTES_DEFAULT, TEXT_BYTES_MAX, TopicAction, TopicSpec,
};
use landfall_agent_core::redact::{Leave, Redactor};
use landfall_agent_core::rules::{Action, Finding, Part, RuleSpec, Rules};
use landfall_agent_core::task::{ModelFacts, TaskError, TaskSettings};
use landfall_wire::id::TaskName;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Most tasks of one device: each has its own queue of requests.
const TASKS_MAX: usize = 64;
/// How long a question stays open by default: a weekend and a day.
const TTL_DEFAULT: Duration = Duration::from_secs(72 * 3600);
/// Bounds of that: below a second nobody can answer, after a year nobody asks.
const TTL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(31_557_600);

/// Where the parts of a task stand, for problems that show only with the model.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    task: usize,
    model: usize,
    leave: usize,
    rules: Vec<RuleLines>,
}

#[derive(Debug, Clone)]
struct RuleLines {
    whole: usize,
    name: usize,
    words: usize,
    all_words: usize,
    regex: usize,
    action: usize,
}

impl RuleLines {
    fn of(&self, part: Part) -> usize {
        match part {
            Part::Whole => self.whole,
            Part::Name => self.name,
            Part::Words => self.words,
            Part::AllWords => self.all_words,
            Part::Regex => self.regex,
            Part::Action => self.action,
        }
    }
}

pub(super) fn read_all(top: &mut Section<'_>, redactor: &Redactor, has_hub: bool) -> Vec<Task> {
    let sections = top.named_sections("task");
    if sections.is_empty() && top.key_line("task").is_none() {
        top.report.wrong_file(
            "no task is configured",
            "add one, such as [task.failure-mode] with error_max = 0.10",
        );
    }
    if let Some((name, _)) = sections.get(TASKS_MAX) {
        let message = format!("{} tasks are over the limit of {TASKS_MAX}", sections.len());
        top.wrong(name.line, message, "spread them over several devices");
    }
    let read = |(name, section)| read(name, section, redactor, has_hub);
    sections.into_iter().take(TASKS_MAX).filter_map(read).collect()
}

/// `None` if something is missing; every reason is in the report.
fn read(
    name: At<String>,
    mut section: Section<'_>,
    redactor: &Redactor,
    has_hub: bool,
) -> Option<Task> {
    let checked_name = task_name(&section, &name);
    let accept = accept(&mut section);
    let audit_rate = section.share("audit_rate").map_or(0.0, |rate| rate.value);
    let escalate = section.boolean("escalate").is_none_or(|escalate| escalate.value);
    let ttl = section.duration("ttl", TTL_RANGE).map_or(TTL_DEFAULT, |ttl| ttl.value);
    let model = section.string("model");
    let report_class_max = link::class(&mut section, "report_class_max");
    let guard = guard(&mut section);
    let leave_line = section.key_line("leave").unwrap_or(section.line);
    let leave = leave(&mut section);
    let (rules, rule_lines) = rules(&mut section, escalate);
    if has_hub && escalate && !leave.text {
        section.report.warn(
            leave_line,
            format!("escalations of '{}' reach the hub without their text", name.value),
            "allow it with leave = { text = true } (it is masked), or set escalate = false",
        );
    }
    let lines = Lines {
        task: section.line,
        model: model.as_ref().map_or(section.line, |model| model.line),
        leave: leave_line,
        rules: rule_lines,
    };
    section.finish();
    Some(Task {
        model: model.map_or(name.value, |model| model.value),
        report_class_max,
        settings: TaskSettings {
            name: checked_name?,
            guard: guard?,
            rules: rules?,
            accept: accept?,
            audit_rate,
            escalate,
            ttl_secs: u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX),
            leave,
            redactor: redactor.clone(),
        },
        lines,
    })
}

fn task_name(section: &Section<'_>, name: &At<String>) -> Option<TaskName> {
    let parsed: Result<TaskName, _> = name.value.parse();
    parsed
        .map_err(|error| {
            section.wrong(name.line, error.to_string(), "rename it, such as [task.failure-mode]");
        })
        .ok()
}

fn accept(section: &mut Section<'_>) -> Option<Accept> {
    let (error_max, threshold) = (section.share("error_max"), section.share("threshold"));
    let written = (section.key_line("error_max"), section.key_line("threshold"));
    match (error_max, threshold) {
        (Some(error_max), None) if written.1.is_none() => {
            if error_max.value > 0.0 && error_max.value < 1.0 {
                return Some(Accept::ErrorMax(error_max.value));
            }
            section.wrong(
                error_max.line,
                format!("'{}' is {}", section.called("error_max"), error_max.value),
                "use a share above 0 and below 1, such as 0.10; a raw threshold is `threshold`",
            );
        }
        (None, Some(threshold)) if written.0.is_none() => {
            return Some(Accept::Threshold(threshold.value));
        }
        (_, Some(_)) if written.0.is_some() => section.wrong(
            written.0.max(written.1).unwrap_or(section.line),
            format!(
                "{} has both error_max and threshold",
                section.called("").trim_end_matches('.')
            ),
            "keep one: error_max derives the threshold from the package's scores",
        ),
        (None, None) if written == (None, None) => section.missing("error_max", "error_max = 0.10"),
        // What was wrong with the value is reported already.
        _ => {}
    }
    None
}

fn guard(section: &mut Section<'_>) -> Option<Guard> {
    let text_limit = section.size("text_bytes_max", 1..=TEXT_BYTES_MAX as u64);
    let text_bytes_max = text_limit
        .as_ref()
        .and_then(|limit| usize::try_from(limit.value).ok())
        .unwrap_or(TEXT_BYTES_DEFAULT);
    let scripts = section.strings("scripts");
    let scripts_line = section.key_line("scripts").unwrap_or(section.line);
    let scripts = scripts.map(|list| list.value).unwrap_or_default();
    let script_lines: Vec<(String, usize)> =
        scripts.iter().map(|script| (script.value.clone(), script.line)).collect();
    let (topics, topic_lines): (Vec<TopicSpec>, Vec<usize>) =
        section.sections("topic").into_iter().filter_map(topic).unzip();
    let spec = GuardSpec {
        text_bytes_max,
        scripts: scripts.into_iter().map(|script| script.value).collect(),
        topics,
    };
    let errors = match Guard::new(&spec) {
        Ok(guard) => return Some(guard),
        Err(errors) => errors,
    };
    for error in errors {
        let line = match &error {
            GuardError::TextLimit(_) => text_limit.as_ref().map(|limit| limit.line),
            GuardError::Script(name) => {
                script_lines.iter().find(|(script, _)| script == name).map(|(_, line)| *line)
            }
            GuardError::TooManyTopics(_) => topic_lines.last().copied(),
            GuardError::Topic { index, .. } => topic_lines.get(*index).copied(),
        };
        section.wrong(line.unwrap_or(scripts_line), error.to_string(), error.remedy());
    }
    None
}

fn topic(mut section: Section<'_>) -> Option<(TopicSpec, usize)> {
    let name = section.string("name");
    if name.is_none() && section.key_line("name").is_none() {
        section.missing("name", "name = \"payroll\"");
    }
    let words = words(&mut section, "words");
    let regex = section.string("regex").map(|regex| regex.value);
    let action = section.string("action");
    let parsed = match action.as_ref().map(|action| action.value.as_str()) {
        Some("refuse") => Some(TopicAction::Refuse),
        Some("keep") => Some(TopicAction::Keep),
        Some(other) => {
            let line = action.as_ref().map_or(section.line, |action| action.line);
            let message = format!("'{}' is '{other}'", section.called("action"));
            section.wrong(
                line,
                message,
                "use \"refuse\" (not processed) or \"keep\" (never leaves)",
            );
            None
        }
        None => {
            if section.key_line("action").is_none() {
                section.missing("action", "action = \"refuse\" (or \"keep\": it never leaves)");
            }
            None
        }
    };
    let line = section.line;
    section.finish();
    Some((TopicSpec { name: name?.value, words, regex, action: parsed? }, line))
}

fn leave(section: &mut Section<'_>) -> Leave {
    let Some(mut section) = section.section("leave") else { return Leave::default() };
    let text = section.boolean("text").is_some_and(|text| text.value);
    let fields: BTreeSet<String> = words(&mut section, "fields").into_iter().collect();
    let meta: BTreeSet<String> = words(&mut section, "meta").into_iter().collect();
    section.finish();
    Leave { text, fields, meta }
}

fn words(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let list = section.strings(key).map(|list| list.value).unwrap_or_default();
    list.into_iter().map(|word| word.value).collect()
}

fn rules(section: &mut Section<'_>, escalate: bool) -> (Option<Rules>, Vec<RuleLines>) {
    let sections = section.sections("rule");
    let count = sections.len();
    let (specs, lines): (Vec<RuleSpec>, Vec<RuleLines>) =
        sections.into_iter().filter_map(|rule| read_rule(rule, escalate)).unzip();
    let at = |finding: &Finding| {
        lines.get(finding.index).map_or(section.line, |lines| lines.of(finding.part))
    };
    let compiled = match Rules::compile(&specs) {
        Ok((rules, warnings)) => {
            for warning in warnings {
                section.report.warn(at(&warning), warning.message, warning.remedy);
            }
            // A rule that could not be read is reported; the others must not stand without it.
            (specs.len() == count).then_some(rules)
        }
        Err(errors) => {
            for error in errors {
                section.wrong(at(&error), error.message, error.remedy);
            }
            None
        }
    };
    (compiled, lines)
}

fn read_rule(mut section: Section<'_>, escalate: bool) -> Option<(RuleSpec, RuleLines)> {
    let name = section.string("name");
    if name.is_none() && section.key_line("name").is_none() {
        section.missing("name", "name = \"leak\"");
    }
    let lists = (words(&mut section, "words"), words(&mut section, "all_words"));
    let regex = section.string("regex").map(|regex| regex.value);
    let meta = section.string_map("meta");
    let action = read_action(&mut section, escalate);
    let line = |key| section.key_line(key).unwrap_or(section.line);
    let lines = RuleLines {
        whole: section.line,
        name: line("name"),
        words: line("words"),
        all_words: line("all_words"),
        regex: line("regex"),
        action: ["answer", "escalate", "refuse", "out_of_scope"]
            .into_iter()
            .find_map(|key| section.key_line(key))
            .unwrap_or(section.line),
    };
    section.finish();
    let (words, all_words) = lists;
    Some((RuleSpec { name: name?.value, words, all_words, regex, meta, action: action? }, lines))
}

fn read_action(section: &mut Section<'_>, escalate: bool) -> Option<Action> {
    const CHOICES: &str = "give one of: answer = \"LABEL\", escalate = true, refuse = \"REASON\", \
                           out_of_scope = true";
    let mut found: Vec<At<Action>> = Vec::new();
    found.extend(section.string("answer").map(|label| label.map(Action::Answer)));
    found.extend(section.string("refuse").map(|reason| reason.map(Action::Refuse)));
    for (key, action) in [("escalate", Action::Escalate), ("out_of_scope", Action::OutOfScope)] {
        match section.boolean(key) {
            Some(At { value: false, line }) => {
                let message = format!("'{}' is false", section.called(key));
                section.wrong(line, message, CHOICES);
                return None;
            }
            set => found.extend(set.map(|set| set.map(|_| action))),
        }
    }
    let keys = ["answer", "refuse", "escalate", "out_of_scope"];
    let written = keys.iter().filter_map(|key| section.key_line(key)).count();
    if written == 0 {
        section.wrong(section.line, "the rule leads to nothing", CHOICES);
    } else if written > 1 {
        section.wrong(section.line, format!("the rule leads to {written} ends"), CHOICES);
    }
    let [action] = &found[..] else { return None };
    if action.value == Action::Escalate && !escalate {
        let remedy = "remove escalate = false from the task, or let the rule refuse";
        section.wrong(action.line, "the rule escalates, but its task has escalate = false", remedy);
    }
    (written == 1).then(|| action.value.clone())
}

impl Task {
    /// What is wrong with this task, now that its model is known.
    pub(super) fn misfit(&self, file: &Path, error: &TaskError, model: &ModelFacts) -> Problem {
        let rule = |index: &usize| self.lines.rules.get(*index).map(|rule| rule.action);
        let labels = || model.labels.iter().map(String::as_str);
        let (line, remedy) = match error {
            TaskError::NoLabels(_) | TaskError::LongLabel(_) => {
                (None, "use another package: `landfall-models inspect` shows it".to_owned())
            }
            TaskError::UnknownAnswer { index, answer, .. } => {
                (rule(index), suggest::remedy(answer, labels()))
            }
            TaskError::AnswerToExtraction { index, .. } => {
                (rule(index), "let the rule escalate, refuse, or say out_of_scope".to_owned())
            }
            TaskError::UnknownField(field) => {
                (Some(self.lines.leave), suggest::remedy(field, labels()))
            }
            TaskError::FieldOfClassification(_) => {
                (Some(self.lines.leave), "remove `fields` from `leave`".to_owned())
            }
        };
        let line = Some(line.unwrap_or(self.lines.task));
        Problem { file: file.to_owned(), line, message: error.to_string(), remedy }
    }

    /// No package has the model of this task.
    pub(super) fn unknown_model(&self, file: &Path, known: &[&str]) -> Problem {
        Problem {
            file: file.to_owned(),
            line: Some(self.lines.model),
            message: format!("no model package has a task '{}'", self.model),
            remedy: suggest::remedy(&self.model, known.iter().copied()),
        }
    }
}
