//! Input that is never processed, or never leaves.
//!
//! The guard refuses before any rule or model reads the text. What it refuses is recorded with
//! the reason, and nothing of the text goes into any record. A private topic is decided on like
//! any other, but its text, values and metadata stay on the device.

use crate::judgement::REASON_BYTES_MAX;
use crate::pattern::{self, PatternError};
use crate::words::{Phrase, Words};
use landfall_wire::limits::NAME_BYTES_MAX;
use landfall_wire::record::cut;
use regex::Regex;

/// Largest text that a task may allow, in bytes. Above it, a document needs splitting first.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Default for a task: ten thousand words, which the model reads in about a second. A work order has
/// a few hundred bytes.
pub const TEXT_BYTES_DEFAULT: usize = 64 * 1024;
/// Most topics of one task.
pub const TOPICS_MAX: usize = 64;
/// Share of letters outside the allowed scripts above which a text is in another language. Below
/// it lie units and symbols (Ω, µ) and a quoted name.
const FOREIGN_LETTERS_SHARE_MAX: f64 = 0.3;

/// What a task's guard is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSpec {
    /// Longest text in bytes, at most [`TEXT_BYTES_MAX`].
    pub text_bytes_max: usize,
    /// Unicode names of the scripts that the task reads, such as `Latin`; empty allows all.
    pub scripts: Vec<String>,
    /// What must not be processed or must not leave.
    pub topics: Vec<TopicSpec>,
}

impl Default for GuardSpec {
    fn default() -> GuardSpec {
        GuardSpec { text_bytes_max: TEXT_BYTES_DEFAULT, scripts: Vec::new(), topics: Vec::new() }
    }
}

/// A topic that the site keeps out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name, told in the reason.
    pub name: String,
    /// Any of these words or phrases.
    pub words: Vec<String>,
    /// Or this pattern.
    pub regex: Option<String>,
    /// What happens to such a text.
    pub action: TopicAction,
}

/// What happens to a text of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicAction {
    /// It is refused, unread by rules and model.
    Refuse,
    /// It is decided on, and nothing of it leaves.
    Keep,
}

/// What is wrong with a [`GuardSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Zero, or over [`TEXT_BYTES_MAX`].
    #[error("a text limit of {0} bytes is outside 1 to {TEXT_BYTES_MAX}")]
    TextLimit(usize),
    /// Not the name of a script.
    #[error("'{0}' is not a script that Unicode knows")]
    Script(String),
    /// More than [`TOPICS_MAX`].
    #[error("{0} topics are over the limit of {TOPICS_MAX}")]
    TooManyTopics(usize),
    /// A topic is not usable.
    #[error("topic '{name}': {found}")]
    Topic {
        /// Its index.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        found: String,
    },
}

impl GuardError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            GuardError::TextLimit(_) => "use a size from 1 B to 1 MiB; 64 KiB is the default",
            GuardError::Script(_) => "use Unicode script names such as Latin, Cyrillic or Greek",
            GuardError::TooManyTopics(_) => "join topics: one topic takes many words",
            GuardError::Topic { .. } => {
                "give the topic a name, and words or a regular expression that can match"
            }
        }
    }
}

/// The guard of one task.
#[derive(Debug, Clone)]
pub struct Guard {
    text_bytes_max: usize,
    scripts: Option<Scripts>,
    topics: Vec<Topic>,
}

#[derive(Debug, Clone)]
struct Scripts {
    names: String,
    foreign_letter: Regex,
}

#[derive(Debug, Clone)]
struct Topic {
    name: String,
    phrases: Vec<Phrase>,
    regex: Option<Regex>,
    action: TopicAction,
}

impl Guard {
    /// Compiles a guard.
    ///
    /// # Errors
    /// Everything that is wrong with the specification.
    pub fn new(spec: &GuardSpec) -> Result<Guard, Vec<GuardError>> {
        let mut errors = Vec::new();
        if !(1..=TEXT_BYTES_MAX).contains(&spec.text_bytes_max) {
            errors.push(GuardError::TextLimit(spec.text_bytes_max));
        }
        if spec.topics.len() > TOPICS_MAX {
            errors.push(GuardError::TooManyTopics(spec.topics.len()));
        }
        let scripts = compile_scripts(&spec.scripts, &mut errors);
        let mut topics = Vec::with_capacity(spec.topics.len().min(TOPICS_MAX));
        for (index, topic) in spec.topics.iter().enumerate().take(TOPICS_MAX) {
            match compile_topic(topic) {
                Ok(topic) => topics.push(topic),
                Err(found) => {
                    let name = topic.name.clone();
                    errors.push(GuardError::Topic { index, name, found });
                }
            }
        }
        let guard = Guard { text_bytes_max: spec.text_bytes_max, scripts, topics };
        if errors.is_empty() { Ok(guard) } else { Err(errors) }
    }

    /// The longest text that it lets through, in bytes.
    pub fn text_bytes_max(&self) -> usize {
        self.text_bytes_max
    }

    /// Why `text` must not be processed, if so.
    pub fn refuses(&self, text: &str) -> Option<String> {
        let reason = self
            .refuses_size(text)
            .or_else(|| refuses_content(text))
            .or_else(|| self.scripts.as_ref()?.refuses(text))
            .or_else(|| {
                let topic = self.topic_of(text, TopicAction::Refuse)?;
                Some(format!("the text touches '{}', which this site refuses", topic.name))
            })?;
        Some(cut(&reason, REASON_BYTES_MAX).to_owned())
    }

    /// Whether nothing of `text` may leave.
    pub fn withholds(&self, text: &str) -> bool {
        self.topic_of(text, TopicAction::Keep).is_some()
    }

    fn refuses_size(&self, text: &str) -> Option<String> {
        let (bytes, bytes_max) = (text.len(), self.text_bytes_max);
        (bytes > bytes_max)
            .then(|| format!("the text has {bytes} bytes, over the limit of {bytes_max}"))
    }

    fn topic_of(&self, text: &str, action: TopicAction) -> Option<&Topic> {
        let topics = || self.topics.iter().filter(|topic| topic.action == action);
        topics().next()?;
        let words = Words::of(text);
        topics().find(|topic| {
            topic.phrases.iter().any(|phrase| words.contain(phrase))
                || topic.regex.as_ref().is_some_and(|regex| regex.is_match(text))
        })
    }
}

impl Scripts {
    fn refuses(&self, text: &str) -> Option<String> {
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        let foreign = self.foreign_letter.find_iter(text).count();
        #[expect(clippy::cast_precision_loss, reason = "both are at most a million")]
        let is_foreign = foreign as f64 > FOREIGN_LETTERS_SHARE_MAX * letters as f64;
        is_foreign.then(|| {
            let names = &self.names;
            format!("{foreign} of {letters} letters are outside this task's script ({names})")
        })
    }
}

fn refuses_content(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("the text is empty".to_owned());
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let (at, found) = text.chars().enumerate().find(|(_, c)| control(*c))?;
    let code = u32::from(found);
    Some(format!("the text holds the control character U+{code:04X} at character {at}"))
}

fn compile_scripts(names: &[String], errors: &mut Vec<GuardError>) -> Option<Scripts> {
    let mut classes = String::new();
    for name in names {
        // Only a name: anything else would be read as part of the character class.
        let plain = name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        if plain && Regex::new(&format!(r"\p{{Script={name}}}")).is_ok() {
            classes.push_str(&format!(r"\p{{Script_Extensions={name}}}"));
        } else {
            errors.push(GuardError::Script(name.clone()));
        }
    }
    if classes.is_empty() {
        return None;
    }
    let foreign = format!(r"[\p{{Alphabetic}}--[{classes}\p{{Common}}\p{{Inherited}}]]");
    match Regex::new(&foreign) {
        Ok(foreign_letter) => Some(Scripts { names: names.join(", "), foreign_letter }),
        Err(_) => {
            errors.push(GuardError::Script(names.join(", ")));
            None
        }
    }
}

fn compile_topic(spec: &TopicSpec) -> Result<Topic, String> {
    if spec.name.trim().is_empty() || spec.name.len() > NAME_BYTES_MAX {
        return Err(format!("the name must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if spec.words.is_empty() && spec.regex.is_none() {
        return Err("it has neither words nor a regex".to_owned());
    }
    let phrase = |word: &String| Phrase::parse(word).map_err(|e| format!("'{word}' {e}"));
    let phrases = spec.words.iter().map(phrase).collect::<Result<Vec<_>, _>>()?;
    let regex = spec.regex.as_deref().map(pattern::compile).transpose();
    let regex = regex.map_err(|e: PatternError| e.to_string())?;
    Ok(Topic { name: spec.name.clone(), phrases, regex, action: spec.action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, words: &[&str], regex: Option<&str>, action: TopicAction) -> TopicSpec {
        TopicSpec {
            name: name.to_owned(),
            words: words.iter().map(|w| (*w).to_owned()).collect(),
            regex: regex.map(str::to_owned),
            action,
        }
    }

    fn guard() -> Guard {
        Guard::new(&GuardSpec {
            text_bytes_max: 40,
            scripts: vec!["Latin".to_owned()],
            topics: vec![
                topic("payroll", &["salary", "pay slip"], None, TopicAction::Refuse),
                topic("medical", &["injured"], Some(r"(?i)\bmedic"), TopicAction::Keep),
            ],
        })
        .unwrap()
    }

    #[test]
    fn refusals_give_their_reason() {
        #[rustfmt::skip]
        let cases: &[(&str, Option<&str>)] = &[
            ("pump leaking at seal", None),
            ("80 °C, 3 Ω, Ångström", None),
            ("12345 !!", None),
            ("two\r\nlines\tand a tab", None),
            ("", Some("the text is empty")),
            (" \n ", Some("the text is empty")),
            ("a\0b", Some("the text holds the control character U+0000 at character 1")),
            ("é\u{1b}[0m", Some("the text holds the control character U+001B at character 1")),
            ("насос течёт", Some("10 of 10 letters are outside this task's script (Latin)")),
            ("Pay-slip of May", Some("the text touches 'payroll', which this site refuses")),
            ("x x x x x x x x x x x x x x x x x x x x x", Some("the text has 41 bytes, over the limit of 40")),
        ];
        for (text, want) in cases {
            assert_eq!(guard().refuses(text).as_deref(), *want, "{text:?}");
        }
    }

    #[test]
    fn private_topics_are_processed_and_kept() {
        let guard = guard();
        for private in ["cook INJURED hand", "Medical locker broken"] {
            assert_eq!(guard.refuses(private), None);
            assert!(guard.withholds(private), "{private}");
        }
        assert!(!guard.withholds("pump broken"));
    }

    #[test]
    fn every_fault_of_a_specification_is_told() {
        let spec = GuardSpec {
            text_bytes_max: 0,
            scripts: vec!["Latin".to_owned(), "Klingon".to_owned(), "}".to_owned()],
            topics: vec![
                topic("", &["a"], None, TopicAction::Keep),
                topic("none", &[], None, TopicAction::Keep),
                topic("dots", &["..."], None, TopicAction::Keep),
                topic("open", &[], Some("(a"), TopicAction::Keep),
            ],
        };
        let errors = Guard::new(&spec).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "a text limit of 0 bytes is outside 1 to 1048576",
                "'Klingon' is not a script that Unicode knows",
                "'}' is not a script that Unicode knows",
                "topic '': the name must have 1 to 63 bytes",
                "topic 'none': it has neither words nor a regex",
                "topic 'dots': '...' holds no letter or digit",
                "topic 'open': not a regular expression: unclosed group",
            ]
        );
    }
}
