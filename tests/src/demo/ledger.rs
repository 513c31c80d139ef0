//! The account: what callers were told, held against what the hub has.

use super::board::Board;
use crate::api::{HubOutcome, Ticket};
use crate::client::Client;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Rows of one page of the hub's outcomes.
const PAGE_ROWS: usize = 500;

/// The result of the comparison. Names are `device/caller id`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Outcomes that callers were told.
    pub recorded: usize,
    /// Outcomes at the hub.
    pub at_hub: usize,
    /// Told, and not at the hub.
    pub lost: Vec<String>,
    /// At the hub more than once, or told twice with different records.
    pub doubled: Vec<String>,
    /// At the hub under another record than the caller was told.
    pub changed: Vec<String>,
    /// At the hub, and never told: the caller gave up before.
    pub untold: usize,
}

impl Ledger {
    /// Whether everything told is at the hub exactly once, and is the same.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.changed.is_empty()
    }
}

/// Every outcome at the hub.
///
/// # Errors
/// When the hub does not answer.
pub fn all_outcomes(hub: &Client) -> Result<Vec<HubOutcome>> {
    let mut all: Vec<HubOutcome> = Vec::new();
    loop {
        let after = all.last().map_or(String::new(), |last| format!("&after={}", last.id));
        let page = format!("/api/v1/outcomes?limit={PAGE_ROWS}{after}");
        let mut page = hub.get(&page)?.success()?;
        let rows: Vec<HubOutcome> = serde_json::from_value(page["outcomes"].take())
            .context("the hub's list of outcomes")?;
        if rows.is_empty() {
            return Ok(all);
        }
        all.extend(rows);
    }
}

/// Compares: `told` maps `device/caller id` to the record that was named to the caller.
pub fn compare(told: &BTreeMap<String, String>, at_hub: &[HubOutcome]) -> Ledger {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for row in at_hub {
        let id = row.caller_id.as_deref().unwrap_or("-");
        found.entry(format!("{}/{id}", row.device)).or_default().push(&row.outcome);
    }
    let mut ledger = Ledger { recorded: told.len(), at_hub: at_hub.len(), ..Ledger::default() };
    for (name, outcome) in told {
        match found.get(name).map(Vec::as_slice) {
            None => ledger.lost.push(name.clone()),
            Some([only]) if only == outcome => {}
            Some([_]) => ledger.changed.push(name.clone()),
            Some(_) => ledger.doubled.push(name.clone()),
        }
    }
    ledger.untold = found.keys().filter(|name| !told.contains_key(*name)).count();
    ledger
}

/// What the board's callers were told, as [`compare`] wants it.
pub(super) fn told(board: &Board) -> BTreeMap<String, String> {
    let told = board.all_told().into_iter();
    told.map(|(order, reply)| {
        (format!("{}/{}", board.device(order), board.orders()[order].id), reply.outcome)
    })
    .collect()
}

/// Whether a device has the operator's answer.
///
/// # Errors
/// When the device does not know the ticket or says another answer.
pub(super) fn is_back(device: &Client, ticket: &str, given: Option<&str>) -> Result<bool> {
    let body = device.get(&format!("/v1/escalations/{ticket}"))?.success()?;
    let status: Ticket = serde_json::from_value(body).context("the device's ticket")?;
    if status.by.is_none() {
        return Ok(false);
    }
    anyhow::ensure!(
        status.label.as_deref() == given,
        "ticket {ticket}: the device has the answer {:?}, the operator gave {given:?}",
        status.label
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(device: &str, caller_id: &str, outcome: &str) -> HubOutcome {
        HubOutcome {
            id: 1,
            device: device.to_owned(),
            outcome: outcome.to_owned(),
            caller_id: Some(caller_id.to_owned()),
            text: None,
        }
    }

    fn told(names: &[(&str, &str)]) -> BTreeMap<String, String> {
        names.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
    }

    #[test]
    fn every_difference_is_named() {
        let told = told(&[("a/1", "e-1"), ("a/2", "e-2"), ("b/1", "f-1"), ("b/2", "f-2")]);
        let at_hub = [
            row("a", "1", "e-1"),
            row("b", "1", "f-1"),
            row("b", "1", "f-9"),
            row("b", "2", "f-7"),
            row("b", "3", "f-3"),
        ];
        let ledger = compare(&told, &at_hub);
        assert_eq!(ledger.lost, ["a/2"]);
        assert_eq!(ledger.doubled, ["b/1"]);
        assert_eq!(ledger.changed, ["b/2"]);
        assert_eq!((ledger.recorded, ledger.at_hub, ledger.untold), (4, 5, 1));
        assert!(!ledger.is_clean());
    }

    #[test]
    fn the_same_id_on_two_devices_is_two_outcomes() {
        let told = told(&[("a/1", "e-1"), ("b/1", "f-1")]);
        assert!(compare(&told, &[row("b", "1", "f-1"), row("a", "1", "e-1")]).is_clean());
    }
}
