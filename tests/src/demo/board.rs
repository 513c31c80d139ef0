//! What the callers were told: the one account that the hub's is held against.

use crate::api::{Reply, Status};
use crate::input::WorkOrder;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by the feeders, the operator and the account.
pub(super) struct Board {
    orders: Vec<WorkOrder>,
    devices: Vec<String>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    told: BTreeMap<usize, Reply>,
    by_ticket: BTreeMap<(String, String), usize>,
    rejected: Vec<(usize, String)>,
    gave_up: Vec<(usize, String)>,
    changed_on_retry: Vec<usize>,
    latest: Option<usize>,
}

/// Numbers for the eye while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Orders that are through, whatever became of them.
    pub done: usize,
    /// Answered by a rule.
    pub rule: usize,
    /// Answered by the model.
    pub model: usize,
    /// Handed to the hub.
    pub escalated: usize,
    /// Questions to the hub: what was escalated, and audits of answers that stand.
    pub asked: usize,
    /// Refused by the guard or a rule.
    pub refused: usize,
}

impl Board {
    /// For the orders of a day.
    pub(super) fn new(orders: Vec<WorkOrder>, devices: Vec<String>) -> Board {
        Board { orders, devices, inner: Mutex::default() }
    }

    /// Every order of the day.
    pub(super) fn orders(&self) -> &[WorkOrder] {
        &self.orders
    }

    /// Name of the device of an order.
    pub(super) fn device(&self, order: usize) -> &str {
        &self.devices[self.orders[order].device]
    }

    /// A caller was told; a retry must be told the same.
    pub(super) fn told(&self, order: usize, reply: Reply) {
        let mut inner = self.lock();
        if let Some(ticket) = &reply.escalation {
            let ticket = (self.device(order).to_owned(), ticket.clone());
            inner.by_ticket.insert(ticket, order);
        }
        if let Some(before) = inner.told.get(&order) {
            if before.outcome != reply.outcome {
                inner.changed_on_retry.push(order);
            }
            return;
        }
        inner.told.insert(order, reply);
        inner.latest = Some(order);
    }

    /// The agent would not take a request, and said why: no outcome.
    pub(super) fn rejected(&self, order: usize, why: String) {
        self.lock().rejected.push((order, why));
    }

    /// No reply came within the caller's patience.
    pub(super) fn gave_up(&self, order: usize, why: String) {
        self.lock().gave_up.push((order, why));
    }

    /// The order of a ticket, once its caller was told.
    pub(super) fn order_of(&self, device: &str, ticket: &str) -> Option<&WorkOrder> {
        let key = (device.to_owned(), ticket.to_owned());
        let order = *self.lock().by_ticket.get(&key)?;
        Some(&self.orders[order])
    }

    /// Everything that was told, by order.
    pub(super) fn all_told(&self) -> BTreeMap<usize, Reply> {
        self.lock().told.clone()
    }

    /// Requests that the agents would not take.
    pub(super) fn all_rejected(&self) -> Vec<(usize, String)> {
        self.lock().rejected.clone()
    }

    /// Requests without any reply.
    pub(super) fn all_given_up(&self) -> Vec<(usize, String)> {
        self.lock().gave_up.clone()
    }

    /// Orders whose retry named another outcome than the first reply.
    pub(super) fn all_changed(&self) -> Vec<usize> {
        self.lock().changed_on_retry.clone()
    }

    /// How many are through.
    pub(super) fn done(&self) -> usize {
        let inner = self.lock();
        inner.told.len() + inner.rejected.len() + inner.gave_up.len()
    }

    /// How it stands.
    pub(super) fn tally(&self) -> Tally {
        let inner = self.lock();
        let mut tally = Tally {
            done: inner.told.len() + inner.rejected.len() + inner.gave_up.len(),
            ..Tally::default()
        };
        for reply in inner.told.values() {
            tally.asked += usize::from(reply.escalation.is_some());
            *match (reply.status, reply.mechanism.kind.as_str()) {
                (Status::Escalated, _) => &mut tally.escalated,
                (Status::Refused, _) => &mut tally.refused,
                (Status::Answered, "rule") => &mut tally.rule,
                (Status::Answered, _) => &mut tally.model,
            } += 1;
        }
        tally
    }

    /// The last decision, in a line.
    pub(super) fn latest(&self) -> Option<String> {
        let inner = self.lock();
        let order = inner.latest?;
        let reply = inner.told.get(&order)?;
        Some(describe(self.device(order), &self.orders[order], reply))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Characters of a work order that a line shows.
const TEXT_SHOWN: usize = 44;

fn describe(device: &str, order: &WorkOrder, reply: &Reply) -> String {
    let text: String = order.text.chars().take(TEXT_SHOWN).collect();
    let what = match reply.status {
        Status::Answered => reply.label.as_deref().unwrap_or("out of scope").to_owned(),
        Status::Escalated => format!("to the hub ({})", reply.reason.as_deref().unwrap_or("-")),
        Status::Refused => format!("refused ({})", reply.reason.as_deref().unwrap_or("-")),
    };
    let kind = &reply.mechanism.kind;
    format!("{device:<15} {text:<TEXT_SHOWN$}  {what} [{kind}, {:.1} ms]", reply.decide_ms)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::api::Mechanism;

    pub(crate) fn order(id: &str) -> WorkOrder {
        WorkOrder {
            id: id.to_owned(),
            device: 0,
            time: String::new(),
            asset: String::new(),
            text: "pump leaks".to_owned(),
            expected: None,
        }
    }

    pub(crate) fn reply(status: Status, kind: &str, outcome: &str) -> Reply {
        Reply {
            status,
            mechanism: Mechanism { kind: kind.to_owned(), name: None },
            label: Some("Leaking".to_owned()),
            escalation: (status == Status::Escalated).then(|| format!("t-{outcome}")),
            reason: None,
            outcome: outcome.to_owned(),
            decide_ms: 1.0,
            repeated: false,
        }
    }

    #[test]
    fn a_retry_does_not_count_twice_and_must_agree() {
        let board = Board::new(vec![order("a"), order("b")], vec!["ship".to_owned()]);
        board.told(0, reply(Status::Answered, "rule", "e-1"));
        board.told(0, reply(Status::Answered, "rule", "e-1"));
        assert!(board.all_changed().is_empty());
        board.told(0, reply(Status::Answered, "rule", "e-2"));
        assert_eq!(board.all_changed(), [0]);
        board.told(1, reply(Status::Escalated, "model", "e-3"));
        let tally = Tally { done: 2, rule: 1, escalated: 1, asked: 1, ..Tally::default() };
        assert_eq!(board.tally(), tally);
        assert_eq!(board.order_of("ship", "t-e-3").unwrap().id, "b");
        assert!(board.latest().unwrap().contains("to the hub"));
    }
}
