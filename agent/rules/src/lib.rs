//! A file of rules that the hub gives to devices: the same parser for both, so that what the hub
//! takes is what a device uses.
//!
//! The keys are those of `[[task.NAME.rule]]` in `agent.toml`; the task is not in the file:
//!
//! ```toml
//! [[rule]]
//! name = "bilge"
//! all_words = ["bilge", "water"]
//! answer = "Leaking"
//! ```
//!
//! A rule of the hub is recorded as `hub:NAME`, so that it is told from one of the site.
//!
//! Not here: who signed a file, and which device it is for.

use landfall_agent_core::rules::{Action, Finding, RuleSpec, Rules};
use landfall_wire::rules::RULES_FILE_BYTES_MAX;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Before the name of every rule of the hub.
pub const PREFIX: &str = "hub:";

/// A file that was read and can be used.
#[derive(Debug, Clone)]
pub struct RuleFile {
    /// Its rules as they are written, with [`PREFIX`] before their names.
    pub specs: Vec<RuleSpec>,
    /// The same, ready to decide.
    pub rules: Rules,
    /// What is allowed but cannot be meant.
    pub warnings: Vec<Finding>,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is too long.
    #[error("the file has {0} bytes, over the limit of {RULES_FILE_BYTES_MAX}")]
    TooLong(usize),
    /// It is not TOML, or has keys that no rule has.
    #[error("it is not a file of rules: {0}")]
    Malformed(String),
    /// It has no rule.
    #[error("there is no [[rule]] in it")]
    Empty,
    /// A rule does not lead to exactly one end.
    #[error("rule '{0}' leads to {1} ends")]
    Ends(String, usize),
    /// Rules that cannot be used.
    #[error("{}", .0.iter().map(|it| it.message.as_str()).collect::<Vec<_>>().join("; "))]
    Rules(Vec<Finding>),
}

impl FileError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            FileError::TooLong(_) => "spread the rules over several files".to_owned(),
            FileError::Malformed(_) | FileError::Empty => {
                "write [[rule]] with name, words, all_words, regex or meta, and an end, such as \
                 answer = \"LABEL\""
                    .to_owned()
            }
            FileError::Ends(..) => {
                "give one of: answer = \"LABEL\", out_of_scope = true, escalate = true, \
                 refuse = \"REASON\""
                    .to_owned()
            }
            FileError::Rules(findings) => {
                findings.iter().map(|it| it.remedy.as_str()).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Written>,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    all_words: Vec<String>,
    regex: Option<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    answer: Option<String>,
    #[serde(default)]
    out_of_scope: bool,
    #[serde(default)]
    escalate: bool,
    refuse: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// [`FileError`]: then none of its rules can be used.
pub fn read(file: &str) -> Result<RuleFile, FileError> {
    if file.len() > RULES_FILE_BYTES_MAX {
        return Err(FileError::TooLong(file.len()));
    }
    let read: Result<File, _> = toml::from_str(file);
    let File { rule } = read.map_err(|error| FileError::Malformed(error.message().to_owned()))?;
    if rule.is_empty() {
        return Err(FileError::Empty);
    }
    let specs = rule.into_iter().map(Written::spec).collect::<Result<Vec<_>, _>>()?;
    let (rules, warnings) = Rules::compile(&specs).map_err(FileError::Rules)?;
    Ok(RuleFile { specs, rules, warnings })
}

impl Written {
    fn spec(self) -> Result<RuleSpec, FileError> {
        let Written { name, words, all_words, regex, meta, answer, refuse, .. } = self;
        let ends = [
            answer.map(Action::Answer),
            refuse.map(Action::Refuse),
            self.out_of_scope.then_some(Action::OutOfScope),
            self.escalate.then_some(Action::Escalate),
        ];
        let mut ends: Vec<Action> = ends.into_iter().flatten().collect();
        let count = ends.len();
        let action = ends.pop().filter(|_| count == 1);
        let action = action.ok_or_else(|| FileError::Ends(name.clone(), count))?;
        Ok(RuleSpec { name: format!("{PREFIX}{name}"), words, all_words, regex, meta, action })
    }
}

/// One rule as a file: [`read`] gives it back, with [`PREFIX`] before its name.
pub fn write(rule: &RuleSpec) -> String {
    let mut file = format!("[[rule]]\nname = {}\n", text(&rule.name));
    let list =
        |words: &[String]| words.iter().map(|word| text(word)).collect::<Vec<_>>().join(", ");
    // Writing to a string does not fail.
    for (key, words) in [("words", &rule.words), ("all_words", &rule.all_words)] {
        if !words.is_empty() {
            let _ = writeln!(file, "{key} = [{}]", list(words));
        }
    }
    if let Some(regex) = &rule.regex {
        let _ = writeln!(file, "regex = {}", text(regex));
    }
    if !rule.meta.is_empty() {
        let pairs = rule.meta.iter().map(|(key, value)| format!("{} = {}", text(key), text(value)));
        let _ = writeln!(file, "meta = {{ {} }}", pairs.collect::<Vec<_>>().join(", "));
    }
    let _ = match &rule.action {
        Action::Answer(label) => writeln!(file, "answer = {}", text(label)),
        Action::Refuse(reason) => writeln!(file, "refuse = {}", text(reason)),
        Action::OutOfScope => writeln!(file, "out_of_scope = true"),
        Action::Escalate => writeln!(file, "escalate = true"),
    };
    file
}

/// A basic string of TOML: JSON escapes all that it wants escaped but the last control character.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, action: Action) -> RuleSpec {
        RuleSpec {
            name: name.to_owned(),
            words: vec!["a \"quoted\" word\n\u{7f}".to_owned()],
            all_words: vec!["bilge".to_owned(), "water".to_owned()],
            regex: Some(r"\bE\d{3}\b".to_owned()),
            meta: [("asset".to_owned(), "back\\slash".to_owned())].into(),
            action,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for action in [
            Action::Answer("Leaking".to_owned()),
            Action::OutOfScope,
            Action::Escalate,
            Action::Refuse("not for us".to_owned()),
        ] {
            let spec = rule("bilge", action);
            let read = read(&write(&spec)).unwrap();
            assert_eq!(read.specs, [RuleSpec { name: "hub:bilge".to_owned(), ..spec }]);
            assert_eq!(
                read.rules.iter().map(|rule| rule.name()).collect::<Vec<_>>(),
                ["hub:bilge"]
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_remedy() {
        let cases = [
            ("", "there is no [[rule]]"),
            ("rule = 3", "invalid type"),
            ("[[rule]]\nname = \"a\"\nanswer = \"x\"\ncolour = 1", "unknown field `colour`"),
            ("[[rule]]\nanswer = \"x\"", "missing field `name`"),
            ("[[rule]]\nname = \"a\"\nwords = [\"x\"]", "leads to 0 ends"),
            ("[[rule]]\nname = \"a\"\nanswer = \"x\"\nescalate = true", "leads to 2 ends"),
            ("[[rule]]\nname = \"a\"\nregex = \"(\"\nanswer = \"x\"", "not a regular expression"),
            ("[[rule]]\nname = \"a\"\nwords = [\"…\"]\nanswer = \"x\"", "holds no letter or digit"),
        ];
        for (file, why) in cases {
            let error = read(file).unwrap_err();
            assert!(error.to_string().contains(why), "{file}: {error}");
            assert!(!error.remedy().is_empty());
        }
        let long = "#".repeat(RULES_FILE_BYTES_MAX + 1);
        assert_eq!(read(&long).unwrap_err(), FileError::TooLong(RULES_FILE_BYTES_MAX + 1));
        let twice = "[[rule]]\nname = \"a\"\nwords = [\"x\"]\nanswer = \"x\"\n".repeat(2);
        assert!(read(&twice).unwrap_err().to_string().contains("is there already"));
        let name = format!("[[rule]]\nname = \"{}\"\nanswer = \"x\"", "n".repeat(60));
        assert!(read(&name).unwrap_err().to_string().contains("64 bytes"));
    }
}
