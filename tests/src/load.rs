//! Callers that ask one thing after the other, and what they were told.

use crate::caller::{Asked, Caller};
use crate::input::Day;
use crate::site::Device;
use crate::wait;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The task that every caller asks for.
pub const TASK: &str = "failure-mode";

/// Longest wait for callers to be told something: an agent that starts takes seconds on a busy
/// machine.
const TOLD_WITHIN: Duration = Duration::from_secs(180);

/// What callers were told: `device/id` to record.
pub type Told = BTreeMap<String, String>;

/// Running callers. Their texts are decided by rules, by the model and by nobody.
pub struct Load {
    told: Arc<Mutex<Told>>,
    finish: Arc<AtomicBool>,
    repeated: Arc<AtomicU64>,
    unrecorded: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts `callers` callers of each device; `tag` tells their ids from those of others.
    ///
    /// # Errors
    /// When the sample of texts is malformed, which a test excludes.
    pub fn start(devices: &[Device], callers: usize, tag: &str) -> Result<Load> {
        let day = Arc::new(Day::sample()?);
        let mut load = Load {
            told: Arc::default(),
            finish: Arc::default(),
            repeated: Arc::default(),
            unrecorded: Arc::default(),
            callers: Vec::new(),
        };
        for device in devices {
            for number in 0..callers {
                let asking = Asking {
                    caller: Caller {
                        address: device.address.clone(),
                        task: TASK,
                        stop: Arc::default(),
                        repeated: Arc::clone(&load.repeated),
                        unrecorded: Arc::clone(&load.unrecorded),
                    },
                    device: device.name.clone(),
                    prefix: format!("{tag}-{number}"),
                    day: Arc::clone(&day),
                    first: number * 97,
                    told: Arc::clone(&load.told),
                    finish: Arc::clone(&load.finish),
                };
                load.callers.push(thread::spawn(move || asking.run()));
            }
        }
        Ok(load)
    }

    /// How many requests were told.
    pub fn told(&self) -> usize {
        lock(&self.told).len()
    }

    /// Attempts that failed and were repeated.
    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Waits until `more` further requests were told.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn wait_for(&self, more: usize) -> Result<()> {
        let wanted = self.told() + more;
        wait::until(&format!("{wanted} requests told"), TOLD_WITHIN, || match self.told() {
            told if told >= wanted => ControlFlow::Break(()),
            told => ControlFlow::Continue(told),
        })
    }

    /// Waits until `more` further attempts failed.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn wait_for_failures(&self, more: u64) -> Result<()> {
        let wanted = self.repeated() + more;
        wait::until(&format!("{wanted} failures"), TOLD_WITHIN, || match self.repeated() {
            failed if failed >= wanted => ControlFlow::Break(()),
            failed => ControlFlow::Continue(failed),
        })
    }

    /// The count of decisions that were told without a record.
    pub fn unrecorded(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unrecorded)
    }

    /// Lets every caller finish its request and returns what was told.
    ///
    /// # Errors
    /// When a caller was told nothing at all.
    pub fn finish(self) -> Result<Told> {
        self.finish.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.join().map_err(|_| anyhow!("a caller panicked"))??;
        }
        Ok(std::mem::take(&mut *lock(&self.told)))
    }
}

struct Asking {
    caller: Caller,
    device: String,
    prefix: String,
    day: Arc<Day>,
    first: usize,
    told: Arc<Mutex<Told>>,
    finish: Arc<AtomicBool>,
}

impl Asking {
    fn run(&self) -> Result<()> {
        let orders = self.day.orders.iter().cycle().skip(self.first % self.day.orders.len());
        for (round, order) in orders.enumerate() {
            if self.finish.load(Ordering::Relaxed) {
                return Ok(());
            }
            let id = format!("{}-{round}", self.prefix);
            let name = format!("{}/{id}", self.device);
            match self.caller.ask(&json!({ "id": id, "text": order.text })) {
                Asked::Told(reply) => lock(&self.told).insert(name, reply.outcome),
                Asked::Rejected(why) | Asked::GaveUp(why) => bail!("{name}: {why}"),
            };
        }
        Err(anyhow!("the sample has no texts")).context(self.prefix.clone())
    }
}

fn lock(told: &Mutex<Told>) -> std::sync::MutexGuard<'_, Told> {
    // Nothing under the lock can panic halfway through a change.
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
