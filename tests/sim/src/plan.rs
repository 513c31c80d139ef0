//! What one seed sets up: how many devices, what goes wrong and how often. Seeds differ widely,
//! because faults hide each other: some runs have one kind only, some have all.

use crate::fault::Fault;
use crate::rng::Rng;
use landfall_agent_core::session::SessionLimits;
use landfall_agent_core::store::{BYTES_MIN, StoreConfig, WhenFull};

/// How long things go wrong, in milliseconds.
const ACTIVE_MS: (u64, u64) = (15_000, 50_000);

/// Requests of one run, over all devices: bounds the time that a seed takes.
const REQUESTS_MAX: u64 = 150;

/// Outcomes for which a store knows a request again; generations are kept that long.
pub(crate) const RETRY_WINDOW: u64 = 30;

/// What goes wrong by itself, from time to time; the others follow from these or from traffic.
const MISCHIEF: [Fault; 19] = [
    Fault::LinkCut,
    Fault::HalfOpen,
    Fault::SubscriptionForgotten,
    Fault::NoLink,
    Fault::DeviceCrash,
    Fault::CrashInCommit,
    Fault::TornWrite,
    Fault::Reboot,
    Fault::DiskFull,
    Fault::WriteError,
    Fault::BitRot,
    Fault::TailLost,
    Fault::PageLost,
    Fault::ImageRestored,
    Fault::DeviceClock,
    Fault::HubClock,
    Fault::HubCrash,
    Fault::HubDiskFull,
    Fault::HubRestored,
];

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) devices: usize,
    pub(crate) active_ms: u64,
    pub(crate) requests_max: u64,
    /// Mean pause between two requests of a device.
    pub(crate) request_every_ms: u64,
    pub(crate) escalated_permille: u64,
    /// Mean pause between two answers of the operator.
    pub(crate) answer_every_ms: u64,
    pub(crate) mischief: Vec<Fault>,
    pub(crate) mischief_every_ms: u64,
    pub(crate) drop_permille: u64,
    pub(crate) double_permille: u64,
    pub(crate) late_permille: u64,
    /// Frames of one connection keep their order.
    pub(crate) in_order: bool,
    pub(crate) latency_ms: (u64, u64),
    pub(crate) store: StoreConfig,
    pub(crate) scale: u64,
    pub(crate) limits: SessionLimits,
    /// The hub is too old for some records.
    pub(crate) old_hub: bool,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Plan {
        let devices = if rng.permille(120) { rng.between(24, 36) } else { rng.between(1, 12) };
        let calm = rng.permille(100);
        let share = *rng.pick(&[150, 400, 1000]).unwrap_or(&400);
        let mischief = MISCHIEF.iter().copied().filter(|_| rng.permille(share)).collect();
        let lossy = rng.permille(600) && !calm;
        let mut often = |most: u64| if lossy { rng.below(most) } else { 0 };
        let (drop_permille, double_permille, late_permille) = (often(150), often(150), often(80));
        let latency_ms = *rng.pick(&[(1, 5), (20, 200), (250, 900)]).unwrap_or(&(1, 5));
        let policy = |rng: &mut Rng| {
            if rng.permille(500) { WhenFull::Refuse } else { WhenFull::DropOldest }
        };
        let store = StoreConfig {
            outcomes_when_full: policy(rng),
            escalations_when_full: policy(rng),
            generation_records_max: rng.between(4, 40),
            retry_window_outcomes: RETRY_WINDOW,
            journal_bytes_max: *rng.pick(&[0, BYTES_MIN / 8, BYTES_MIN]).unwrap_or(&0),
            journal_ms: rng.between(1_000, 60_000),
            ..StoreConfig::new(BYTES_MIN)
        };
        Plan {
            devices: usize::try_from(devices).unwrap_or(1),
            active_ms: rng.between(ACTIVE_MS.0, ACTIVE_MS.1),
            requests_max: (REQUESTS_MAX / devices).max(5),
            request_every_ms: rng.between(150, 2_500),
            escalated_permille: rng.between(100, 700),
            answer_every_ms: rng.between(100, 3_000),
            mischief: if calm { Vec::new() } else { mischief },
            mischief_every_ms: rng.between(200, 4_000),
            drop_permille,
            double_permille,
            late_permille,
            in_order: !lossy || rng.permille(300),
            latency_ms,
            store,
            scale: *rng.pick(&[16, 96, 300, 900]).unwrap_or(&96),
            limits: SessionLimits {
                window_bytes_max: usize::try_from(rng.between(400, 4_000)).unwrap_or(400),
                batch_bytes_max: usize::try_from(rng.between(100, 900)).unwrap_or(100),
                stall_ms_min: 3_000,
            },
            old_hub: rng.permille(300),
        }
    }
}
