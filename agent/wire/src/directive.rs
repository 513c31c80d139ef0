//! What the hub wants of a device: one record in the hub's stream for it, and it holds until a
//! later one of the same kind and subject takes its place.
//!
//! A device keeps the latest of each kind and subject beside its records, written with the mark
//! that says it has it, and hands it to the part of the agent that it is for when it arrives and
//! at every start. So a directive says how things are to be, never what to do once more: applied
//! twice, it changes nothing.
//!
//! # Another kind
//!
//! Append a variant to [`Directive`], a number to `kinds`, and a line to each `match` here that no
//! longer compiles; add a golden file. A directive travels as number, subject and body, so that a
//! device which does not know the number keeps it as it came, as [`Directive::Unknown`], tells the
//! hub so, and obeys it once it has learnt to. A body that grows is one it does not know either:
//! a new kind is then better.
//!
//! What does not fit a record goes by its digest, and over HTTPS.

use crate::id::TaskName;
use crate::release::ReleaseOrder;
use crate::rules::RulesOrder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The numbers of the kinds. They are the format.
mod kinds {
    pub(super) const REPORTING: u16 = 0;
    pub(super) const RELEASE: u16 = 1;
    pub(super) const CERTIFICATE: u16 = 2;
    pub(super) const RULES: u16 = 3;
}

/// What the hub wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sealed", into = "Sealed")]
pub enum Directive {
    /// How much of its outcomes a device reports. Subject: the task, or none for all that have
    /// none of their own.
    Reporting(Reporting),
    /// What to run of a model package. Subject: the package.
    Release(ReleaseOrder),
    /// A new certificate, which the device asked for. Subject: none.
    Certificate(Certificate),
    /// Rules that come before the model. Subject: the slot.
    Rules(RulesOrder),
    /// Of a kind, or with a body, that this version does not know.
    Unknown(Sealed),
}

/// How much of its outcomes a device reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporting {
    /// Of this task; `None` for all that have no directive of their own.
    pub task: Option<TaskName>,
    /// How much.
    pub mode: ReportingMode,
}

/// How much is reported. The order is the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportingMode {
    /// Every outcome.
    Full,
    /// One of so many outcomes, drawn evenly; the others are counted.
    Sampled {
        /// At least one.
        one_in: u32,
    },
    /// Counts and distributions instead of outcomes.
    Sketch,
}

/// A new certificate for a key that the device made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Every authority that the device is to trust from then on, DER.
    pub authorities: Vec<Vec<u8>>,
}

/// A directive as it travels: what a device that does not know it can still keep and tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Number of the kind.
    pub kind: u16,
    /// What it is about, within its kind; empty if there is only one.
    pub subject: String,
    /// The rest, as its kind encodes it.
    pub body: Vec<u8>,
}

impl Directive {
    /// Kind and subject: a later directive of the same takes its place.
    pub fn key(&self) -> (u16, String) {
        let Sealed { kind, subject, .. } = self.clone().into();
        (kind, subject)
    }

    /// A name of the kind for logs and pages.
    pub fn kind(&self) -> &'static str {
        match self {
            Directive::Reporting(_) => "reporting",
            Directive::Release(_) => "release",
            Directive::Certificate(_) => "certificate",
            Directive::Rules(_) => "rules",
            Directive::Unknown(_) => "unknown",
        }
    }

    fn known(sealed: &Sealed) -> Option<Directive> {
        let body = &sealed.body;
        let directive = match sealed.kind {
            kinds::REPORTING => Directive::Reporting(open(body)?),
            kinds::RELEASE => Directive::Release(open(body)?),
            kinds::CERTIFICATE => Directive::Certificate(open(body)?),
            kinds::RULES => Directive::Rules(open(body)?),
            _ => return None,
        };
        // What would be written otherwise is not known well enough to be kept as known.
        (Sealed::from(directive.clone()) == *sealed).then_some(directive)
    }
}

impl From<Sealed> for Directive {
    fn from(sealed: Sealed) -> Directive {
        Directive::known(&sealed).unwrap_or(Directive::Unknown(sealed))
    }
}

impl From<Directive> for Sealed {
    fn from(directive: Directive) -> Sealed {
        match directive {
            Directive::Reporting(reporting) => {
                let subject = reporting.task.as_ref().map_or("", TaskName::as_str);
                seal(kinds::REPORTING, subject.to_owned(), &reporting)
            }
            Directive::Release(order) => seal(kinds::RELEASE, order.package.clone(), &order),
            Directive::Certificate(certificate) => {
                seal(kinds::CERTIFICATE, String::new(), &certificate)
            }
            Directive::Rules(order) => seal(kinds::RULES, order.slot.to_string(), &order),
            Directive::Unknown(sealed) => sealed,
        }
    }
}

fn seal(kind: u16, subject: String, body: &impl Serialize) -> Sealed {
    // Writing plain values to memory does not fail.
    Sealed { kind, subject, body: postcard::to_stdvec(body).unwrap_or_default() }
}

fn open<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(body).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn sampled() -> Directive {
        let task = Some("failure-mode".parse().unwrap());
        Directive::Reporting(Reporting { task, mode: ReportingMode::Sampled { one_in: 20 } })
    }

    #[test]
    fn a_kind_of_a_later_version_is_kept_as_it_came() {
        let later = Sealed { kind: 900, subject: "pump-model".to_owned(), body: vec![0, 255, 7] };
        let record = Record::Directive(Directive::Unknown(later));
        let bytes = record.encode().unwrap();
        let read = Record::decode(&bytes).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.encode().unwrap(), bytes);
        let Record::Directive(directive) = read else { panic!("{read:?}") };
        assert_eq!(
            (directive.kind(), directive.key()),
            ("unknown", (900, "pump-model".to_owned()))
        );
    }

    #[test]
    fn a_body_that_has_grown_is_not_known() {
        let sealed = Sealed::from(sampled());
        let mut grown = sealed.clone();
        grown.body.push(1);
        assert_eq!(Directive::from(grown.clone()), Directive::Unknown(grown.clone()));
        assert_eq!(Sealed::from(Directive::Unknown(grown.clone())), grown);
        assert_eq!(Directive::from(sealed), sampled());
    }

    #[test]
    fn the_subject_says_what_takes_whose_place() {
        let all = |mode| Directive::Reporting(Reporting { task: None, mode });
        assert_eq!(all(ReportingMode::Full).key(), all(ReportingMode::Sketch).key());
        assert_ne!(all(ReportingMode::Full).key(), sampled().key());
        // One that says another subject than it is about.
        let odd = Sealed { subject: "another".to_owned(), ..sampled().into() };
        assert!(matches!(Directive::from(odd), Directive::Unknown(_)));
    }
}
