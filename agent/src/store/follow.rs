//! Following the directives of the hub.

use super::{Standing, Store};
use landfall_wire::directive::Directive;
use landfall_wire::frame::Position;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::watch;

/// Hands out every directive that holds, and then each that arrives. Whoever obeys only some kinds
/// ignores the others. One that was replaced before it was asked for is left out.
pub struct Following {
    store: Store,
    changes: watch::Receiver<u64>,
    /// Where what was handed out stood.
    seen: BTreeMap<(u16, String), Position>,
    ready: VecDeque<Standing>,
}

impl Following {
    pub(super) fn new(store: Store, mut changes: watch::Receiver<u64>) -> Following {
        changes.mark_changed();
        Following { store, changes, seen: BTreeMap::new(), ready: VecDeque::new() }
    }

    /// The next directive; `None` once the store is closed.
    pub async fn next(&mut self) -> Option<Directive> {
        loop {
            if let Some(standing) = self.ready.pop_front() {
                self.seen.insert(standing.directive.key(), standing.at);
                return Some(standing.directive);
            }
            self.changes.changed().await.ok()?;
            let seen = &self.seen;
            let is_new =
                |standing: &Standing| seen.get(&standing.directive.key()) != Some(&standing.at);
            self.ready = self.store.directives().into_iter().filter(is_new).collect();
        }
    }
}
