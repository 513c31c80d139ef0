//! Who is here: one conversation per device, the newest.

use landfall_wire::frame::Position;
use landfall_wire::id::DeviceId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Why the hub ends a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The same device connected again.
    TakenOver,
    /// Its certificate was revoked.
    Revoked,
    /// The hub stops.
    Stopping,
}

/// What a conversation is told by others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    pub(crate) close: Option<Close>,
    /// The end of the device's answer stream.
    pub(crate) answers: Option<Position>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    device: i64,
    /// Of the certificate that it came with, if the hub has seen it.
    serial: Option<String>,
    signals: watch::Sender<Signals>,
}

#[derive(Debug, Default)]
struct State {
    ids: u64,
    stopping: bool,
    entries: BTreeMap<DeviceId, Entry>,
}

/// The conversations, by device.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

/// A conversation's place; leaves it when dropped, even by a panic.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    name: DeviceId,
    id: u64,
    pub(crate) signals: watch::Receiver<Signals>,
    /// Whether another connection of the device had to go.
    pub(crate) took_over: bool,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the device's place; whoever had it is told to go.
    pub(crate) fn enter(
        self: &Arc<Self>,
        name: &DeviceId,
        device: i64,
        serial: Option<&str>,
    ) -> Place {
        let mut state = self.lock();
        state.ids += 1;
        let id = state.ids;
        let close = state.stopping.then_some(Close::Stopping);
        let (sender, signals) = watch::channel(Signals { close, answers: None });
        let entry = Entry { id, device, serial: serial.map(str::to_owned), signals: sender };
        let old = state.entries.insert(name.clone(), entry);
        if let Some(old) = &old {
            old.signals.send_modify(|signals| signals.close = Some(Close::TakenOver));
        }
        let registry = Arc::clone(self);
        Place { registry, name: name.clone(), id, signals, took_over: old.is_some() }
    }

    /// How many are connected.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Tells conversations where their answer streams end now.
    pub(crate) fn answers(&self, ends: &BTreeMap<i64, Position>) {
        for entry in self.lock().entries.values() {
            if let Some(&end) = ends.get(&entry.device) {
                entry.signals.send_if_modified(|signals| {
                    let news = signals.answers != Some(end);
                    signals.answers = Some(end);
                    news
                });
            }
        }
    }

    /// Ends the conversations of devices that are revoked, or whose certificates are.
    pub(crate) fn revoke(&self, serials: &BTreeSet<String>, devices: &BTreeSet<i64>) {
        for entry in self.lock().entries.values() {
            let serial = entry.serial.as_ref();
            if devices.contains(&entry.device) || serial.is_some_and(|it| serials.contains(it)) {
                entry.signals.send_modify(|signals| signals.close = Some(Close::Revoked));
            }
        }
    }

    /// Ends all conversations, now and to come.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for entry in state.entries.values() {
            entry.signals.send_modify(|signals| signals.close = Some(Close::Stopping));
        }
    }
}

impl Place {
    /// Whose place it is.
    pub(crate) fn name(&self) -> &DeviceId {
        &self.name
    }

    /// Whether this is still the device's connection.
    pub(crate) fn is_current(&self) -> bool {
        self.registry.lock().entries.get(&self.name).is_some_and(|entry| entry.id == self.id)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if state.entries.get(&self.name).is_some_and(|entry| entry.id == self.id) {
            state.entries.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_has_the_place() {
        let registry = Arc::new(Registry::default());
        let name: DeviceId = "ship-7".parse().unwrap();
        let first = registry.enter(&name, 1, Some("a"));
        let second = registry.enter(&name, 1, Some("a"));
        assert_eq!(first.signals.borrow().close, Some(Close::TakenOver));
        assert!(second.took_over && second.is_current() && !first.is_current());
        drop(first);
        assert_eq!(registry.len(), 1, "the old one leaves, the new one stays");
        registry.revoke(&BTreeSet::from(["b".to_owned()]), &BTreeSet::from([2]));
        assert_eq!(second.signals.borrow().close, None, "another device and its certificate");
        registry.revoke(&BTreeSet::from(["a".to_owned()]), &BTreeSet::new());
        assert_eq!(second.signals.borrow().close, Some(Close::Revoked));
        let over_broker: DeviceId = "ship-8".parse().unwrap();
        let over_broker = registry.enter(&over_broker, 2, None);
        registry.revoke(&BTreeSet::new(), &BTreeSet::from([2]));
        assert_eq!(over_broker.signals.borrow().close, Some(Close::Revoked));
        drop(over_broker);
        drop(second);
        assert_eq!(registry.len(), 0);
        registry.stop();
        let late = registry.enter(&name, 1, None);
        assert_eq!(late.signals.borrow().close, Some(Close::Stopping));
    }
}
