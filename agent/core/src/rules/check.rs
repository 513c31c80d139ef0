//! Rules that cannot do what their author meant. What is reported is certain; what only a proof
//! over regular expressions could tell is not.

use super::{Action, Condition, Finding, Part, Rule};
use crate::words::Phrase;

/// Everything odd about rules that all compiled.
pub(super) fn warnings(rules: &[Rule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, later) in rules.iter().enumerate() {
        // One finding for a rule: the first reason is enough to look at it.
        let found = rules[..index].iter().find_map(|earlier| compare(earlier, later));
        findings.extend(found.map(|(message, remedy)| Finding {
            index,
            part: Part::Whole,
            message,
            remedy: remedy.to_owned(),
        }));
    }
    findings
}

fn compare(earlier: &Rule, later: &Rule) -> Option<(String, &'static str)> {
    let (first, second) = (&earlier.name, &later.name);
    if later.condition.implies(&earlier.condition) {
        let message = format!(
            "rule '{second}' can never decide: rule '{first}' before it holds whenever it does"
        );
        let remedy = if earlier.action == later.action {
            "remove it"
        } else {
            "move it before the other, or make the other's condition narrower"
        };
        return Some((message, remedy));
    }
    // A narrow rule before a broad one is how exceptions are written.
    if earlier.action == later.action || earlier.condition.implies(&later.condition) {
        return None;
    }
    let word = earlier.condition.shared_word(&later.condition)?;
    let message = format!(
        "rules '{first}' and '{second}' both take '{word}' and end in {} and {}: the first wins",
        describe(&earlier.action),
        describe(&later.action)
    );
    Some((message, "take the word out of one of them"))
}

fn describe(action: &Action) -> String {
    match action {
        Action::Answer(label) => format!("'{label}'"),
        Action::OutOfScope => "out of scope".to_owned(),
        Action::Escalate => "an escalation".to_owned(),
        Action::Refuse(_) => "a refusal".to_owned(),
    }
}

impl Condition {
    /// Whether `other` holds whenever this does. `false` may also mean that it is not known.
    fn implies(&self, other: &Condition) -> bool {
        self.implies_any(&other.any)
            && other.all.iter().all(|phrase| self.implies_phrase(phrase))
            && other.regex.as_ref().is_none_or(|regex| {
                self.regex.as_ref().is_some_and(|own| own.as_str() == regex.as_str())
            })
            && other.meta.iter().all(|(key, value)| self.meta.get(key) == Some(value))
    }

    fn implies_any(&self, any: &[Phrase]) -> bool {
        let one_of = |phrase: &Phrase| any.iter().any(|wanted| phrase.implies(wanted));
        any.is_empty()
            || (!self.any.is_empty() && self.any.iter().all(one_of))
            || self.all.iter().any(one_of)
    }

    fn implies_phrase(&self, wanted: &Phrase) -> bool {
        self.implies_any(std::slice::from_ref(wanted))
    }

    /// A phrase of both lists of alternatives, if both conditions can hold on one text.
    fn shared_word(&self, other: &Condition) -> Option<&Phrase> {
        let contradict = |(key, value)| other.meta.get(key).is_some_and(|wanted| wanted != value);
        if self.meta.iter().any(contradict) {
            return None;
        }
        self.any.iter().find(|phrase| other.any.contains(phrase))
    }
}
