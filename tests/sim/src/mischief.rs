//! What goes wrong by itself, from time to time.

use crate::fault::Fault;
use crate::world::{Event, World};

/// A wall clock steps by up to a year, forward or back.
const CLOCK_STEP_MS: u64 = 365 * 24 * 3_600_000;

/// Effects until a device's power goes: the next one, or one of the many that follow.
const FUSE_EFFECTS: u64 = 60;

impl World {
    pub(crate) fn mischief(&mut self) {
        if self.healed {
            return;
        }
        self.within(2 * self.plan.mischief_every_ms, Event::Mischief);
        let Some(fault) = self.rng.pick(&self.plan.mischief).copied() else { return };
        let device = usize::try_from(self.rng.below(self.devices.len() as u64)).unwrap_or(0);
        self.note(|_| format!("mischief: {} at d{device} or thereabouts", fault.name()));
        self.inflict(fault, device);
    }

    fn inflict(&mut self, fault: Fault, device: usize) {
        match fault {
            Fault::LinkCut | Fault::HalfOpen | Fault::SubscriptionForgotten => {
                self.harm_link(fault);
            }
            Fault::DeviceCrash | Fault::CrashInCommit | Fault::TornWrite => {
                let effects = self.rng.below(FUSE_EFFECTS);
                let mut disk = self.devices[device].disk.lock();
                disk.may_tear = fault == Fault::TornWrite;
                disk.light(effects);
            }
            Fault::Reboot => {
                if let Some(life) = &self.devices[device].life {
                    let number = life.number;
                    self.after(0, Event::Shutdown(device, number));
                }
            }
            Fault::DiskFull => {
                self.devices[device].disk.lock().full = true;
                self.happened(fault);
                let ms = self.rng.between(1_000, 20_000);
                self.after(ms, Event::DiskFree(device));
            }
            Fault::WriteError => {
                let count = self.rng.between(1, 3);
                self.devices[device].disk.lock().failing = u32::try_from(count).unwrap_or(1);
            }
            Fault::BitRot => {
                if self.devices[device].disk.lock().rot() {
                    self.happened(fault);
                    self.books[device].fate.damaged = true;
                    self.books[device].shake();
                }
            }
            Fault::PageLost => {
                if self.devices[device].disk.lock().lose_page() {
                    self.happened(fault);
                    self.books[device].fate.damaged = true;
                    self.books[device].shake();
                }
            }
            Fault::TailLost => self.lose_tail(device),
            Fault::ImageRestored => self.put_back(device),
            Fault::DeviceClock => {
                let step = self.clock_step();
                let wall_ms = &mut self.devices[device].wall_ms;
                *wall_ms = wall_ms.saturating_add_signed(step);
                self.happened(fault);
            }
            Fault::HubClock => {
                let step = self.clock_step();
                self.hub.wall_ms = self.hub.wall_ms.saturating_add_signed(step);
                self.happened(fault);
            }
            Fault::HubCrash => {
                if !self.hub.is_down() {
                    self.happened(fault);
                    self.hub_crashes();
                }
            }
            Fault::HubDiskFull => {
                self.hub.disk_full = true;
                self.happened(fault);
                let ms = self.rng.between(500, 10_000);
                self.after(ms, Event::HubDiskFree);
            }
            Fault::HubRestored => self.hub_is_put_back(),
            // These follow from the others, or from traffic.
            Fault::FrameDropped
            | Fault::FrameDoubled
            | Fault::FrameOvertaken
            | Fault::FrameLate
            | Fault::NoLink
            | Fault::DamagedCommit
            | Fault::CallerRetry
            | Fault::StoreFull
            | Fault::Shed
            | Fault::GenerationRemoved
            | Fault::WentBack
            | Fault::SilentHub
            | Fault::RolledBack
            | Fault::AnswersRolledBack
            | Fault::Salvaged
            | Fault::TicketExpired
            | Fault::LateAnswer
            | Fault::RecordRefused
            | Fault::HoleJumped => {}
        }
    }

    fn clock_step(&mut self) -> i64 {
        let ms = self.rng.below(2 * CLOCK_STEP_MS).cast_signed();
        ms - CLOCK_STEP_MS.cast_signed()
    }

    fn harm_link(&mut self, fault: Fault) {
        let live = self.live_links();
        let Some(number) = self.rng.pick(&live).copied() else { return };
        self.happened(fault);
        match fault {
            Fault::HalfOpen => self.half_open(number),
            Fault::SubscriptionForgotten => {
                if let Some(link) = self.links.get_mut(&number) {
                    link.subscribed = false;
                }
            }
            _ => self.cut(number),
        }
    }
}
