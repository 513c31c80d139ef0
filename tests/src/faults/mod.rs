//! Breaks the real agent and the real hub, and holds what callers were told against what the
//! hub has. Each fault returns rows of one table; tests run few of each, `landfall-break --long`
//! many.
//!
//! * `orders`: a disk that forgets what was not synced, or turns read-only.
//! * `rig`: a hub and a device, and the account between them.
//! * `row`: the table.
//! * `power`, `bare`: power cuts; of sled with and without the barrier, too.
//! * `damage`: flipped bits and files cut off.
//! * `disk`: disks that are full or read-only for a while.
//! * `kills`: `kill -9`.
//! * `backlog`: a long outage.
//! * `links`: bad links between network namespaces.

mod backlog;
mod bare;
mod damage;
mod disk;
mod kills;
mod links;
mod orders;
mod power;
mod rig;
mod row;

pub use bare::become_writer;
pub use orders::{CLOCK_VARIABLE, Cut, Orders, Taken, VARIABLE};
pub use rig::{Account, Rig};
pub use row::{Row, Verdict, table, updated};

use crate::moments::Moments;
use anyhow::Result;
use clap::ValueEnum;
use damage::Damage;
use kills::Victim;
use std::path::Path;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The agent's disk loses what was not synced.
    Power,
    /// The files of the store are damaged while the agent is down.
    Damage,
    /// The disk is full or read-only for a while; needs root.
    Disk,
    /// The agent is killed.
    KillAgent,
    /// The hub is killed.
    KillHub,
    /// Both are killed at the same moment.
    KillBoth,
    /// A Mosquitto between them is killed, the hub behind it, and all at once; needs mosquitto.
    KillBroker,
    /// The hub is away for as long as a million outcomes take.
    Backlog,
    /// The link is slow, loses packets, is cut, forgets connections; needs root.
    Links,
}

/// Where a fault runs.
pub struct Stage<'a> {
    /// `landfall-break`, which becomes agent and hub on the shim's disk.
    pub executable: &'a Path,
    /// What is random about it.
    pub moments: Moments,
    /// Says how far it is.
    pub progress: &'a mut dyn FnMut(&str),
}

impl Fault {
    /// Whether only root can do it.
    pub fn needs_root(self) -> bool {
        matches!(self, Fault::Disk | Fault::Links)
    }

    /// Whether it takes a Mosquitto that is installed.
    pub fn needs_mosquitto(self) -> bool {
        self == Fault::KillBroker
    }

    /// Runs it: few times, or many.
    ///
    /// # Errors
    /// When something could not be set up or did not come back; what was lost is in the rows.
    pub fn run(self, stage: &mut Stage<'_>, long: bool) -> Result<Vec<Row>> {
        let times = |short: usize, many: usize| if long { many } else { short };
        match self {
            Fault::Power => {
                let mut rows = bare::power_cuts(stage, times(4, 20))?;
                rows.extend(power::cuts(stage, times(7, 67))?);
                Ok(rows)
            }
            Fault::Damage => Ok(vec![
                damage::damage(stage, times(10, 100), Damage::Bits)?,
                damage::damage(stage, times(10, 100), Damage::Truncation)?,
            ]),
            Fault::Disk => {
                let mut rows = disk::full(stage, times(2, 20))?;
                rows.push(disk::read_only(stage, times(2, 20))?);
                rows.extend(disk::remounted(stage, times(2, 20))?);
                rows.push(disk::full_answered(stage, times(2, 20))?);
                rows.push(disk::read_only_answered(stage, times(2, 20))?);
                Ok(rows)
            }
            Fault::KillAgent => Ok(vec![kills::kills(stage, times(50, 500), Victim::Agent)?]),
            Fault::KillHub => Ok(vec![kills::kills(stage, times(50, 500), Victim::Hub)?]),
            Fault::Backlog => Ok(vec![backlog::backlog(stage, times(4_000, 1_000_000))?]),
            Fault::Links => links::links(stage, long),
            Fault::KillBroker => Ok(vec![
                kills::kills(stage, times(50, 500), Victim::Broker)?,
                kills::kills(stage, times(20, 500), Victim::HubBehindBroker)?,
                kills::kills(stage, times(10, 100), Victim::All)?,
            ]),
            Fault::KillBoth => Ok(vec![kills::kills(stage, times(10, 100), Victim::Both)?]),
        }
    }
}
