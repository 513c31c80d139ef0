//! Rules that the hub gives, beside those of the configuration: each file in a slot, proven,
//! checked, kept, and told.
//!
//! What the device has taken is in `rules.json` in the data directory, written before it is used,
//! and used from there at every start, whatever the time is by then and whoever may sign.
//!
//! Invariants: what is not signed for this device by an authority that it trusts changes nothing;
//! a file that cannot be used empties its slot and is told to the hub, and never keeps the agent
//! from deciding.

use crate::pipeline::{Pipeline, Served};
use crate::service::replace;
use crate::store::{Store, StoreError};
use crate::sync::Wallet;
use landfall_agent_core::rules::Rules;
use landfall_agent_core::task::TaskPolicy;
use landfall_freight::signature::is_signed;
use landfall_wire::directive::Directive;
use landfall_wire::id::{DeviceId, TaskName};
use landfall_wire::record::Event;
use landfall_wire::rules::{RULES_SLOTS_MAX, RulesOrder, RulesReport};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

const FILE: &str = "rules.json";

/// The version that this agent writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Until what could not be told is told again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The rules of each task.
pub type ByTask = BTreeMap<TaskName, Rules>;

/// What the hub gave; clones share it.
#[derive(Debug, Clone)]
pub struct HubRules {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    slots: Mutex<BTreeMap<u16, Slot>>,
    used: RwLock<Arc<ByTask>>,
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Number of the order.
    pub number: u64,
    /// Number of the file in the hub's book.
    pub rule: u64,
    /// The task.
    pub task: TaskName,
    /// The file; empty for none.
    pub file: String,
    /// Why it is not used, if it is not.
    pub refused: Option<String>,
    /// Whether the hub was told.
    told: bool,
}

#[derive(Serialize, Deserialize)]
struct Book {
    version: u32,
    slots: BTreeMap<u16, Slot>,
}

/// What an order is judged by.
struct Ground<'a> {
    served: &'a Served,
    /// The authorities that the device trusts.
    roots: &'a [CertificateDer<'static>],
    device: &'a DeviceId,
    at_ms: u64,
}

/// An order that changes nothing.
enum Ignored {
    /// It was taken already, or is older than what was.
    Old,
    /// It is not for this device, or by nobody that it trusts.
    Unproven(String),
}

impl HubRules {
    /// What a data directory holds. What cannot be read is left aside: the hub's orders, which the
    /// store keeps, are then taken anew.
    pub fn open(data_dir: &Path) -> HubRules {
        let path = data_dir.join(FILE);
        let slots = read(&path).unwrap_or_else(|why| {
            tracing::warn!(why, path = %path.display(), "the hub's rules are taken anew");
            BTreeMap::new()
        });
        let used = RwLock::new(Arc::new(joined(&slots)));
        HubRules { inner: Arc::new(Inner { path, slots: Mutex::new(slots), used }) }
    }

    /// The rules to decide by.
    pub fn used(&self) -> Arc<ByTask> {
        Arc::clone(&self.inner.used.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every slot that holds something, the latest of the hub's book first.
    pub fn slots(&self) -> Vec<Slot> {
        let held = self.lock();
        let mut slots: Vec<Slot> =
            held.values().filter(|slot| !slot.file.is_empty()).cloned().collect();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.rule));
        slots
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Slot>> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the hub until the store is closed.
    pub(crate) async fn follow(self, pipeline: Pipeline, wallet: Arc<Wallet>, device: DeviceId) {
        let store = pipeline.store().clone();
        let mut following = store.follow_directives();
        loop {
            let untold = self.tell(&store, pipeline.now_ms()).await.is_err();
            let directive = tokio::select! {
                directive = following.next() => directive,
                () = tokio::time::sleep(RETRY_PAUSE), if untold => continue,
            };
            match directive {
                None => return,
                Some(Directive::Rules(order)) => {
                    let (its, wallet) = (self.clone(), Arc::clone(&wallet));
                    let (pipeline, device) = (pipeline.clone(), device.clone());
                    let take = move || {
                        let (served, at_ms) = (pipeline.served(), pipeline.now_ms());
                        // Without an identity nobody is trusted.
                        let identity = wallet.pick().ok();
                        let roots = identity.as_ref();
                        let roots = roots.map_or(&[][..], |(its, _)| &its.credentials.trusted);
                        its.take(&order, &Ground { served: &served, roots, device: &device, at_ms })
                    };
                    match tokio::task::spawn_blocking(take).await {
                        Ok(None) => {}
                        // The order is not noted, so that nobody who forges numbers keeps a true
                        // one out: it is told at each start.
                        Ok(Some(report)) => {
                            if let Err(error) = store.event(Event::Rules(report)).await {
                                tracing::warn!(%error, "the hub is not told of rules not used");
                            }
                        }
                        Err(error) => tracing::error!(%error, "rules of the hub were not taken"),
                    }
                }
                // Those of others.
                Some(
                    Directive::Reporting(_)
                    | Directive::Release(_)
                    | Directive::Certificate(_)
                    | Directive::Unknown(_),
                ) => {}
            }
        }
    }

    /// Takes an order; what to tell of one that changes nothing.
    fn take(&self, order: &RulesOrder, ground: &Ground<'_>) -> Option<RulesReport> {
        let RulesOrder { slot, number, rule, task, file, signature: _ } = order;
        match self.proven(order, ground) {
            Ok(()) => {}
            Err(Ignored::Old) => return None,
            Err(Ignored::Unproven(why)) => {
                tracing::error!(slot, why, "rules of the hub change nothing");
                let (at_ms, refused) = (ground.at_ms, Some(why));
                let (slot, number, rule) = (*slot, *number, *rule);
                return Some(RulesReport { at_ms, slot, number, rule, refused });
            }
        }
        let policy = ground.served.tasks.get(task).map(|task| &task.policy);
        let refused = fits(file, task, policy).err();
        match &refused {
            Some(why) => tracing::error!(%task, rule, why, "rules of the hub are not used"),
            None if file.is_empty() => tracing::info!(%task, slot, "rules of the hub are gone"),
            None => tracing::info!(%task, rule, "rules of the hub are used"),
        }
        let taken = Slot {
            number: *number,
            rule: *rule,
            task: task.clone(),
            file: file.clone(),
            refused,
            told: false,
        };
        let mut slots = self.lock();
        slots.insert(*slot, taken);
        // Durable first, so that a start finds what was used. Where the disk takes nothing, the
        // store has the order, and it is taken again then.
        self.save(&slots);
        let used = Arc::new(joined(&slots));
        *self.inner.used.write().unwrap_or_else(PoisonError::into_inner) = used;
        None
    }

    fn proven(&self, order: &RulesOrder, ground: &Ground<'_>) -> Result<(), Ignored> {
        if self.lock().get(&order.slot).is_some_and(|slot| slot.number >= order.number) {
            return Err(Ignored::Old);
        }
        let unproven = |why: &str| Err(Ignored::Unproven(why.to_owned()));
        let signed = order.signed(ground.device);
        if !is_signed(ground.roots, &signed, &order.signature) {
            return unproven("they are not signed for this device by an authority that it trusts");
        }
        if order.slot >= RULES_SLOTS_MAX {
            return unproven(&format!("slots of a device are 0 to {}", RULES_SLOTS_MAX - 1));
        }
        Ok(())
    }

    /// Tells the hub what became of each order.
    async fn tell(&self, store: &Store, at_ms: u64) -> Result<(), StoreError> {
        let untold: Vec<(u16, Slot)> = {
            let held = self.lock();
            let untold = held.iter().filter(|(_, slot)| !slot.told);
            untold.map(|(number, slot)| (*number, slot.clone())).collect()
        };
        for (at, Slot { number, rule, refused, .. }) in untold {
            let report = RulesReport { at_ms, slot: at, number, rule, refused };
            if let Err(error) = store.event(Event::Rules(report)).await {
                tracing::warn!(%error, "the hub is told of its rules later");
                return Err(error);
            }
            // A crash before this tells it twice, which changes nothing.
            let mut slots = self.lock();
            if let Some(slot) = slots.get_mut(&at).filter(|slot| slot.number == number) {
                slot.told = true;
            }
            self.save(&slots);
        }
        Ok(())
    }

    fn save(&self, slots: &BTreeMap<u16, Slot>) {
        let book = Book { version: VERSION, slots: slots.clone() };
        let written = serde_json::to_vec_pretty(&book)
            .map_err(std::io::Error::from)
            .and_then(|text| replace(&self.inner.path, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "the hub's rules cannot be written; a start takes them anew");
        }
    }
}

/// Whether a task can use a file.
fn fits(file: &str, task: &TaskName, policy: Option<&TaskPolicy>) -> Result<(), String> {
    if file.is_empty() {
        return Ok(());
    }
    let read = landfall_rules::read(file).map_err(|error| error.to_string())?;
    let policy = policy.ok_or_else(|| format!("there is no task '{task}' on this device"))?;
    read.rules.iter().find_map(|rule| policy.misfit(rule)).map_or(Ok(()), Err)
}

/// The rules of each task, those of the latest file first.
fn joined(slots: &BTreeMap<u16, Slot>) -> ByTask {
    let mut used: Vec<&Slot> =
        slots.values().filter(|slot| !slot.file.is_empty() && slot.refused.is_none()).collect();
    used.sort_by_key(|slot| std::cmp::Reverse(slot.rule));
    let mut by_task: BTreeMap<TaskName, Vec<Rules>> = BTreeMap::new();
    for slot in used {
        if let Ok(read) = landfall_rules::read(&slot.file) {
            by_task.entry(slot.task.clone()).or_default().push(read.rules);
        }
    }
    by_task.into_iter().map(|(task, sets)| (task, Rules::join(sets))).collect()
}

fn read(path: &Path) -> Result<BTreeMap<u16, Slot>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let Book { version, slots } =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has version {version}, this agent reads {VERSION}"));
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Backing, Masking, Task};
    use landfall_agent_core::calibrate::Accept;
    use landfall_agent_core::guard::{Guard, GuardSpec};
    use landfall_agent_core::redact::{Leave, Redactor};
    use landfall_agent_core::request::Request;
    use landfall_agent_core::task::TaskSettings;
    use landfall_freight::signature::sign;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls_pki_types::PrivateKeyDer;

    const TASK: &str = "failure-mode";

    struct Authority {
        key: PrivateKeyDer<'static>,
        certificate: CertificateDer<'static>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority { key: PrivateKeyDer::Pkcs8(key.serialize_der().into()), certificate }
    }

    fn served() -> Served {
        let settings = TaskSettings {
            name: TASK.parse().unwrap(),
            guard: Guard::new(&GuardSpec::default()).unwrap(),
            rules: Rules::default(),
            accept: Accept::Threshold(0.8),
            audit_rate: 0.0,
            escalate: true,
            ttl_secs: 60,
            leave: Leave::default(),
            redactor: Redactor::default(),
        };
        let policy = TaskPolicy::without_model(settings);
        Served::new(vec![Task { policy, backing: Backing::Missing(String::new()) }], Masking::Off)
    }

    fn device() -> DeviceId {
        "ship-7".parse().unwrap()
    }

    fn order(by: &Authority, (slot, number, rule): (u16, u64, u64), file: &str) -> RulesOrder {
        let task = TASK.parse().unwrap();
        let file = file.to_owned();
        let order = RulesOrder { slot, number, rule, task, file, signature: Vec::new() };
        let signature = sign(&by.key, &order.signed(&device())).unwrap();
        RulesOrder { signature, ..order }
    }

    fn bilge(answer: &str) -> String {
        format!("[[rule]]\nname = \"bilge\"\nwords = [\"bilge\"]\nanswer = \"{answer}\"\n")
    }

    /// Takes an order; what is refused of it, if anything is told.
    fn take(rules: &HubRules, by: &Authority, order: &RulesOrder) -> Option<String> {
        let roots = std::slice::from_ref(&by.certificate);
        let (served, device) = (served(), device());
        let ground = Ground { served: &served, roots, device: &device, at_ms: 1 };
        rules.take(order, &ground).and_then(|report| report.refused)
    }

    /// What decides on a text about the bilge.
    fn answer(rules: &HubRules) -> Option<String> {
        let task: TaskName = TASK.parse().unwrap();
        let text = "water in the bilge".to_owned();
        let request = Request { task: task.clone(), text, caller_id: None, meta: BTreeMap::new() };
        let used = rules.used();
        Some(format!("{:?}", used.get(&task)?.decide(&request)?.action()))
    }

    #[test]
    fn what_is_proven_is_used_and_outlives_a_restart_and_an_empty_file_ends_it() {
        let (dir, by) = (tempfile::tempdir().unwrap(), authority());
        let rules = HubRules::open(dir.path());
        assert_eq!(take(&rules, &by, &order(&by, (0, 5, 1), &bilge("Leaking"))), None);
        assert_eq!(answer(&rules).as_deref(), Some("Answer(\"Leaking\")"));
        // Nobody needs to be trusted any more for what was taken.
        assert_eq!(answer(&HubRules::open(dir.path())), answer(&rules));
        assert_eq!(take(&rules, &by, &order(&by, (1, 5, 2), &bilge("Noise"))), None);
        assert_eq!(answer(&rules).as_deref(), Some("Answer(\"Noise\")"), "the newer decides");
        assert_eq!(take(&rules, &by, &order(&by, (1, 6, 0), "")), None);
        assert_eq!(answer(&rules).as_deref(), Some("Answer(\"Leaking\")"));
        assert_eq!(take(&rules, &by, &order(&by, (1, 5, 2), &bilge("Noise"))), None, "an old one");
        assert_eq!(answer(&rules).as_deref(), Some("Answer(\"Leaking\")"));
        assert_eq!(take(&rules, &by, &order(&by, (0, 7, 0), "")), None);
        assert_eq!((answer(&rules), rules.slots()), (None, Vec::new()));
    }

    #[test]
    fn what_is_not_proven_changes_nothing_and_keeps_no_true_one_out() {
        let (dir, by) = (tempfile::tempdir().unwrap(), authority());
        let rules = HubRules::open(dir.path());
        take(&rules, &by, &order(&by, (0, 5, 1), &bilge("Leaking")));
        let before = rules.slots();
        let forged = order(&authority(), (0, 900, 1), "");
        let mut others = order(&by, (0, 900, 1), "");
        others.signature = sign(&by.key, &others.signed(&"quay-1".parse().unwrap())).unwrap();
        let far = order(&by, (RULES_SLOTS_MAX, 900, 1), "");
        for (order, why) in [(forged, "not signed"), (others, "not signed"), (far, "0 to 127")] {
            let told = take(&rules, &by, &order).unwrap();
            assert!(told.contains(why), "{told}");
        }
        assert_eq!(rules.slots(), before);
        assert_eq!(take(&rules, &by, &order(&by, (0, 6, 1), "")), None);
        assert_eq!(answer(&rules), None, "the true one is taken");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_kept_with_its_reason_and_decides_nothing() {
        let (dir, by) = (tempfile::tempdir().unwrap(), authority());
        let rules = HubRules::open(dir.path());
        let mut elsewhere = order(&by, (2, 5, 3), &bilge("Leaking"));
        elsewhere.task = "another".parse().unwrap();
        elsewhere.signature = sign(&by.key, &elsewhere.signed(&device())).unwrap();
        for (order, why) in [
            (order(&by, (0, 5, 1), "[[rule]]\nname = 3"), "not a file of rules"),
            (order(&by, (1, 5, 2), &"#".repeat(4000)), "over the limit"),
            (elsewhere, "no task 'another'"),
        ] {
            assert_eq!(take(&rules, &by, &order), None, "told with the others");
            let slots = rules.slots();
            let slot = slots.iter().find(|slot| slot.rule == order.rule).unwrap();
            let refused = slot.refused.clone().unwrap_or_default();
            assert!(refused.contains(why) && !slot.told, "{slot:?}");
        }
        assert_eq!(answer(&rules), None);
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(HubRules::open(dir.path()).slots(), [], "damage is no reason not to start");
    }
}
