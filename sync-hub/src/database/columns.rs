//! An outcome as its row shows it: what is written, and what an audit compares with the record.

use super::sql::{Value, ValueRef, storable};
use super::{number, signed, views};
use landfall_wire::record::{Outcome, Verdict};

/// Columns of the table `outcome` that follow from the record, in the order of
/// [`Columns::values`].
pub(super) const NAMES: [&str; 19] = [
    "task",
    "caller_id",
    "at_ms",
    "mechanism",
    "mechanism_name",
    "status",
    "reason",
    "escalation_seq",
    "decision",
    "confidence_bp",
    "package",
    "config",
    "decide_us",
    "read",
    "fields_left_out",
    "text",
    "text_bytes",
    "masking",
    "meta",
];

/// The values of these columns.
pub(super) struct Columns(pub(super) [Value; NAMES.len()]);

impl Columns {
    pub(super) fn of(outcome: &Outcome) -> Columns {
        let (status, reason, ticket_seq) = match &outcome.verdict {
            Verdict::Answered => ("answered", None, None),
            Verdict::Refused => ("refused", None, None),
            Verdict::Escalated { reason, seq } => {
                ("escalated", Some(views::reason(reason)), Some(signed(*seq)))
            }
        };
        let (mechanism, mechanism_name) = views::mechanism(&outcome.mechanism);
        let (text, text_bytes) = views::text(outcome.text.as_ref());
        Columns([
            outcome.task.as_str().to_owned().into(),
            outcome.caller_id.clone().into(),
            number(outcome.at_ms).into(),
            mechanism.to_owned().into(),
            mechanism_name.map(str::to_owned).into(),
            status.to_owned().into(),
            reason.into(),
            ticket_seq.into(),
            outcome.decision.as_ref().map(|d| views::decision(d).to_string()).into(),
            i64::from(outcome.confidence.basis_points()).into(),
            outcome.package.to_string().into(),
            outcome.config.to_string().into(),
            i64::from(outcome.decide_us).into(),
            outcome.read.as_ref().map(|read| views::read(read).to_string()).into(),
            i64::from(outcome.fields_left_out).into(),
            text.map(str::to_owned).into(),
            text_bytes.map(i64::from).into(),
            outcome.masking.map(|masking| views::masking(masking).to_owned()).into(),
            views::meta(&outcome.meta).to_string().into(),
        ])
    }

    /// The first column that says something else.
    pub(super) fn differs<'a>(
        &self,
        row: impl Iterator<Item = ValueRef<'a>>,
    ) -> Option<&'static str> {
        let mut pairs = self.0.iter().zip(row).zip(NAMES);
        let different = pairs.find(|((value, found), _)| !is_same(value.lend(), *found));
        different.map(|(_, name)| name)
    }
}

/// Text counts as the same without the character that PostgreSQL does not store.
fn is_same(value: ValueRef<'_>, found: ValueRef<'_>) -> bool {
    match (value, found) {
        (ValueRef::Text(text), ValueRef::Text(kept)) => text == kept || storable(text) == kept,
        (value, found) => value == found,
    }
}
