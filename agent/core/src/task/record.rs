//! What is kept of a decision, and what of it may leave. Raw text goes no further than here:
//! everything in an [`Entry`] but the reply may reach the hub, and the reply has positions only.

use super::TaskSettings;
use crate::judgement::{Answer, Judgement, Ruling};
use crate::redact::{ModelMasks, Redacted};
use crate::reply::Reply;
use crate::request::Request;
use landfall_wire::id::ShortDigest;
use landfall_wire::limits::CALLER_ID_BYTES_MAX;
use landfall_wire::record::{
    Decision, Escalation, EscalationReason, Masking, Mechanism, Outcome, Record, RedactedText,
    Verdict, cut,
};

/// Facts of one decision that only the shell knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Digest of the package behind the task; recorded only where the model took part.
    pub package: ShortDigest,
    /// Digest of the configuration.
    pub config: ShortDigest,
    /// Time from intake to decision in microseconds.
    pub decide_us: u32,
}

/// Everything that one decision leaves behind. Sequence numbers are zero until the store,
/// which alone gives them out, fills them in: `Verdict::Escalated::seq` and
/// `Escalation::outcome_seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record of the decision.
    pub outcome: Outcome,
    /// The question to the hub, written in the same commit.
    pub escalation: Option<Escalation>,
    /// What the caller gets, now and on a retry.
    pub reply: Reply,
}

pub(super) fn entry(
    settings: &TaskSettings,
    request: &Request,
    judgement: &Judgement,
    masks: &ModelMasks,
    stamp: Stamp,
) -> Entry {
    let leaving = Leaving::of(settings, request, judgement, masks);
    let outcome = Outcome {
        task: settings.name.clone(),
        caller_id: request.caller_id.as_deref().map(|id| cut(id, CALLER_ID_BYTES_MAX).to_owned()),
        at_ms: stamp.at_ms,
        mechanism: judgement.mechanism.clone(),
        verdict: verdict(&judgement.ruling),
        decision: leaving.decision.clone(),
        confidence: judgement.confidence,
        package: match judgement.mechanism {
            Mechanism::Model => stamp.package,
            Mechanism::Rule(_) | Mechanism::Guard(_) => ShortDigest::default(),
        },
        config: stamp.config,
        decide_us: stamp.decide_us,
        read: judgement.read,
        fields_left_out: 0,
        text: leaving.text.clone(),
        masking: leaving.masking,
        meta: leaving.meta.clone(),
    };
    let escalation = match &judgement.ruling {
        Ruling::Escalated(reason) => Some(question(settings, judgement, reason, stamp, leaving)),
        Ruling::Answered | Ruling::Refused => None,
    };
    Entry {
        outcome: fit_outcome(outcome),
        escalation: escalation.map(fit_escalation),
        reply: Reply::new(judgement),
    }
}

/// What may leave of one request and its answer.
struct Leaving {
    text: Option<RedactedText>,
    masking: Option<Masking>,
    meta: Vec<(String, String)>,
    decision: Option<Decision>,
}

impl Leaving {
    fn of(
        settings: &TaskSettings,
        request: &Request,
        judgement: &Judgement,
        masks: &ModelMasks,
    ) -> Leaving {
        let allowed = &settings.leave;
        let is_refused = matches!(judgement.mechanism, Mechanism::Guard(_));
        if is_refused || settings.guard.withholds(&request.text) {
            let decision = judgement.answer.as_ref().map(|answer| decision(answer, |_| None));
            return Leaving { text: None, masking: None, meta: Vec::new(), decision };
        }
        let needs_text = allowed.text || !allowed.fields.is_empty();
        let redacted =
            needs_text.then(|| settings.redactor.redact_with(&request.text, masks.spans()));
        let value_of = |label: &str| redacted.as_ref().filter(|_| allowed.fields.contains(label));
        Leaving {
            text: redacted
                .as_ref()
                .filter(|_| allowed.text)
                .map(|redacted| RedactedText::new(&redacted.text())),
            masking: redacted.as_ref().map(|_| masks.masking()),
            meta: allowed.meta(&request.meta, &settings.redactor),
            decision: judgement.answer.as_ref().map(|answer| decision(answer, value_of)),
        }
    }
}

/// An answer with the values that may leave; the others are empty.
fn decision<'a>(answer: &Answer, value_of: impl Fn(&str) -> Option<&'a Redacted<'a>>) -> Decision {
    match answer {
        Answer::Label(label) => Decision::Label(label.clone()),
        Answer::OutOfScope => Decision::OutOfScope,
        Answer::Fields(spans) => {
            let mut fields = spans.positions(|_, _| String::new());
            let cutter =
                fields.iter().find_map(|field| value_of(&field.label)).map(Redacted::cutter);
            if let Some(cut_out) = cutter {
                for field in fields.iter_mut().filter(|field| value_of(&field.label).is_some()) {
                    field.value = cut_out(field.start, field.end);
                }
            }
            Decision::Fields(fields)
        }
    }
}

fn verdict(ruling: &Ruling) -> Verdict {
    match ruling {
        Ruling::Answered => Verdict::Answered,
        Ruling::Refused => Verdict::Refused,
        Ruling::Escalated(reason) => Verdict::Escalated { reason: reason.clone(), seq: 0 },
    }
}

fn question(
    settings: &TaskSettings,
    judgement: &Judgement,
    reason: &EscalationReason,
    stamp: Stamp,
    leaving: Leaving,
) -> Escalation {
    Escalation {
        outcome_seq: 0,
        task: settings.name.clone(),
        at_ms: stamp.at_ms,
        reason: reason.clone(),
        text: leaving.text,
        provisional: leaving.decision,
        candidates: judgement.candidates.clone(),
        meta: leaving.meta,
        ttl_secs: settings.ttl_secs,
    }
}

fn fit_outcome(outcome: Outcome) -> Outcome {
    let Record::Outcome(outcome) = Record::Outcome(outcome).fit() else {
        unreachable!("fitting keeps the kind of a record")
    };
    outcome
}

fn fit_escalation(escalation: Escalation) -> Escalation {
    let Record::Escalation(escalation) = Record::Escalation(escalation).fit() else {
        unreachable!("fitting keeps the kind of a record")
    };
    escalation
}
