//! The scripted operator: reads open escalations through the hub's API and answers them.

use super::board::Board;
use crate::api::HubEscalation;
use crate::client::Client;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The name under which it answers.
pub(super) const NAME: &str = "scripted-operator";

/// Escalations of one page.
const PAGE_ROWS: usize = 200;

/// The label given to each escalation, by device and ticket; `None` is out of scope.
type Given = BTreeMap<(String, String), Option<String>>;

/// Answers what the sample has a label for with that label, everything else with what the
/// device thought most likely.
pub(super) struct Operator {
    hub: Client,
    board: Arc<Board>,
    given: Mutex<Given>,
}

impl Operator {
    /// An operator at a hub.
    pub(super) fn new(hub: Client, board: Arc<Board>) -> Operator {
        Operator { hub, board, given: Mutex::default() }
    }

    /// Answers a page of open escalations; returns how many.
    ///
    /// # Errors
    /// When the hub does not answer or takes no answer.
    pub(super) fn work(&self) -> Result<usize> {
        let page = format!("/api/v1/escalations?state=open&limit={PAGE_ROWS}");
        let mut page = self.hub.get(&page)?.success()?;
        let open: Vec<HubEscalation> = serde_json::from_value(page["escalations"].take())
            .context("the hub's list of escalations")?;
        let mut answered = 0;
        for escalation in open {
            answered += usize::from(self.answer(&escalation)?);
        }
        Ok(answered)
    }

    /// Everything answered so far.
    pub(super) fn given(&self) -> Given {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `false` if it has to wait: its caller was not told yet, so nobody knows which text it is.
    fn answer(&self, escalation: &HubEscalation) -> Result<bool> {
        let HubEscalation { device, ticket, .. } = escalation;
        let Some(order) = self.board.order_of(device, ticket) else { return Ok(false) };
        let label: Option<String> = match &order.expected {
            Some(expected) => expected.label().map(str::to_owned),
            None => likeliest(escalation),
        };
        let path = format!("/api/v1/escalations/{device}/{ticket}/answer");
        let body: Value = json!({ "label": label, "by": NAME });
        self.hub.post(&path, &body)?.success().with_context(|| format!("answer to {ticket}"))?;
        let key = (device.clone(), ticket.clone());
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(key, label);
        Ok(true)
    }
}

fn likeliest(escalation: &HubEscalation) -> Option<String> {
    match &escalation.provisional {
        Some(provisional) => provisional.label.clone(),
        None => escalation.candidates.first().map(|candidate| candidate.label.clone()),
    }
}
