//! The site's own decisions: ordered rules on words, patterns and metadata. The first rule whose
//! condition holds decides, and no model is asked.
//!
//! A condition has up to four parts, and all that are given must hold: any of `words`, every one
//! of `all_words`, `regex` somewhere in the text, every entry of `meta`. A rule without a
//! condition always decides.
//!
//! What can never do what its author meant is reported when the rules are compiled: see
//! [`Finding`].

mod check;

use crate::judgement::REASON_BYTES_MAX;
use crate::pattern;
use crate::request::Request;
use crate::words::{Phrase, Words};
use landfall_wire::limits::NAME_BYTES_MAX;
use regex::Regex;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Most rules of one task: every rule is tried on every text.
pub const RULES_MAX: usize = 256;
/// Most words or phrases in one list of a rule.
pub const RULE_WORDS_MAX: usize = 256;

/// A rule as a site writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name, recorded with every decision that it takes.
    pub name: String,
    /// Any of these words or phrases; empty: no such part.
    pub words: Vec<String>,
    /// All of these words or phrases; empty: no such part.
    pub all_words: Vec<String>,
    /// A pattern that matches somewhere in the text.
    pub regex: Option<String>,
    /// Metadata of exactly these values.
    pub meta: BTreeMap<String, String>,
    /// What it leads to.
    pub action: Action,
}

/// What a rule leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// This label.
    Answer(String),
    /// None of the task's labels fits.
    OutOfScope,
    /// A question to the hub.
    Escalate,
    /// No answer, for this reason.
    Refuse(String),
}

/// Which part of a rule a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The rule as a whole.
    Whole,
    /// `name`
    Name,
    /// `words`
    Words,
    /// `all_words`
    AllWords,
    /// `regex`
    Regex,
    /// The answer, escalation or refusal.
    Action,
}

/// Something wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index of the rule.
    pub index: usize,
    /// Which part of it.
    pub part: Part,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// One compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    name: String,
    condition: Condition,
    action: Action,
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it leads to.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Keys of the metadata that it looks at.
    pub fn meta_keys(&self) -> impl Iterator<Item = &str> {
        self.condition.meta.keys().map(String::as_str)
    }
}

#[derive(Debug, Clone)]
struct Condition {
    any: Vec<Phrase>,
    all: Vec<Phrase>,
    regex: Option<Regex>,
    meta: BTreeMap<String, String>,
}

/// The rules of one task, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Compiles rules; beside them come warnings about what is allowed but cannot be meant:
    /// rules that can never decide, and the same word leading to different ends.
    ///
    /// # Errors
    /// Everything that keeps a rule from being used at all.
    pub fn compile(specs: &[RuleSpec]) -> Result<(Rules, Vec<Finding>), Vec<Finding>> {
        let mut errors = Vec::new();
        if specs.len() > RULES_MAX {
            errors.push(Finding {
                index: RULES_MAX,
                part: Part::Whole,
                message: format!("{} rules are over the limit of {RULES_MAX}", specs.len()),
                remedy: "join rules with the same end: one rule takes many words".to_owned(),
            });
        }
        let mut rules = Vec::with_capacity(specs.len().min(RULES_MAX));
        for (index, spec) in specs.iter().enumerate().take(RULES_MAX) {
            let mut compiler = Compiler { index, errors: &mut errors };
            if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                let message = format!("a rule named '{}' is there already", spec.name);
                compiler.wrong(Part::Name, message, "give every rule of a task its own name");
            }
            rules.push(compiler.rule(spec));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let warnings = check::warnings(&rules);
        Ok((Rules { rules }, warnings))
    }

    /// The rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Several sets as one: the first is asked first. Names may come twice.
    pub fn join(sets: impl IntoIterator<Item = Rules>) -> Rules {
        Rules { rules: sets.into_iter().flat_map(|set| set.rules).collect() }
    }

    /// The first rule whose condition holds.
    pub fn decide(&self, request: &Request) -> Option<&Rule> {
        self.decide_among(request, |_| true)
    }

    /// The first of some rules whose condition holds.
    pub fn decide_among(&self, request: &Request, counts: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        let words = OnceCell::new();
        let has = |phrase: &Phrase| words.get_or_init(|| Words::of(&request.text)).contain(phrase);
        self.rules.iter().find(|rule| counts(rule) && rule.condition.holds(request, has))
    }
}

impl Condition {
    fn holds(&self, request: &Request, has: impl Fn(&Phrase) -> bool) -> bool {
        self.meta.iter().all(|(key, value)| request.meta.get(key) == Some(value))
            && (self.any.is_empty() || self.any.iter().any(&has))
            && self.all.iter().all(&has)
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(&request.text))
    }
}

/// Compiles one rule, collecting everything that is wrong with it.
struct Compiler<'a> {
    index: usize,
    errors: &'a mut Vec<Finding>,
}

impl Compiler<'_> {
    fn rule(&mut self, spec: &RuleSpec) -> Rule {
        if spec.name.is_empty() || spec.name.len() > NAME_BYTES_MAX {
            let message = format!("the name of a rule has {} bytes", spec.name.len());
            let remedy = format!("use 1 to {NAME_BYTES_MAX} bytes");
            self.wrong(Part::Name, message, &remedy);
        }
        self.action(&spec.action);
        let condition = Condition {
            any: self.phrases(Part::Words, &spec.words),
            all: self.phrases(Part::AllWords, &spec.all_words),
            regex: spec.regex.as_deref().and_then(|pattern| self.regex(pattern)),
            meta: spec.meta.clone(),
        };
        Rule { name: spec.name.clone(), condition, action: spec.action.clone() }
    }

    fn action(&mut self, action: &Action) {
        let (what, text, bytes_max) = match action {
            Action::Answer(label) => ("answer", label, NAME_BYTES_MAX),
            Action::Refuse(reason) => ("reason", reason, REASON_BYTES_MAX),
            Action::OutOfScope | Action::Escalate => return,
        };
        if text.is_empty() || text.len() > bytes_max {
            let message = format!("the {what} of a rule has {} bytes", text.len());
            self.wrong(Part::Action, message, &format!("use 1 to {bytes_max} bytes"));
        }
    }

    fn phrases(&mut self, part: Part, words: &[String]) -> Vec<Phrase> {
        if words.len() > RULE_WORDS_MAX {
            let message = format!("{} words are over the limit of {RULE_WORDS_MAX}", words.len());
            self.wrong(part, message, "split the rule, or use a regex");
        }
        let mut phrases = Vec::new();
        for word in words.iter().take(RULE_WORDS_MAX) {
            match Phrase::parse(word) {
                Ok(phrase) => phrases.push(phrase),
                Err(error) => {
                    let message = format!("'{word}' {error}");
                    self.wrong(part, message, "use whole words, or a regex for anything else");
                }
            }
        }
        phrases
    }

    fn regex(&mut self, text: &str) -> Option<Regex> {
        pattern::compile(text)
            .map_err(|error| self.wrong(Part::Regex, error.to_string(), error.remedy()))
            .ok()
    }

    fn wrong(&mut self, part: Part, message: String, remedy: &str) {
        self.errors.push(Finding { index: self.index, part, message, remedy: remedy.to_owned() });
    }
}

#[cfg(test)]
mod tests;
