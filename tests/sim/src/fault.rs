//! What can go wrong, and how often it did.

use serde::Serialize;
use std::collections::BTreeMap;

macro_rules! faults {
    ($($variant:ident $name:literal $what:literal,)*) => {
        /// A kind of fault, or of something rare that a run should come upon.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $what] $variant,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// Its name in the account.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }

            /// What happens.
            pub fn what(self) -> &'static str {
                match self { $(Fault::$variant => $what,)* }
            }
        }
    };
}

faults! {
    FrameDropped "frame-dropped" "A frame vanishes on the way.",
    FrameDoubled "frame-doubled" "A frame comes twice.",
    FrameOvertaken "frame-overtaken" "A frame comes after a later one of the same connection.",
    FrameLate "frame-late" "A frame takes seconds longer than others.",
    LinkCut "link-cut" "A connection breaks, with everything on its way.",
    HalfOpen "half-open" "A connection dies and neither side is told.",
    SubscriptionForgotten "subscription-forgotten" "The broker forgets a subscription; the connection stays.",
    NoLink "no-link" "A device tries to connect where there is no link.",
    DeviceCrash "device-crash" "A device loses power between two effects.",
    CrashInCommit "crash-in-commit" "A device loses power in a write, which is then there or not.",
    TornWrite "torn-write" "A device loses power in a write, half of which is there: the file is damaged.",
    Reboot "reboot" "A device is stopped in good order and started again.",
    DiskFull "disk-full" "The disk under a device's store is full for a while.",
    WriteError "write-error" "A write of a device fails, and is there or not.",
    DamagedCommit "damaged-commit" "A write of a device fails on damage; half of it is there.",
    BitRot "bit-rot" "Stored values of a device are damaged.",
    TailLost "tail-lost" "The last writes of a device's file are gone without a trace, while it is down.",
    PageLost "page-lost" "Records in the middle of a device's file are gone without a trace.",
    ImageRestored "image-restored" "A device's disk is put back to an older image.",
    DeviceClock "device-clock" "The wall clock of a device steps, forward or back.",
    HubClock "hub-clock" "The wall clock of the hub steps, forward or back.",
    HubCrash "hub-crash" "The hub loses power; what is not committed is gone.",
    HubDiskFull "hub-disk-full" "The hub's commits fail for a while.",
    HubRestored "hub-restored" "The hub's database is put back to an older copy.",
    CallerRetry "caller-retry" "A caller that heard nothing asks again with the same id.",
    StoreFull "store-full" "A device refuses a decision because its store has reached its limit.",
    Shed "shed" "A device drops its oldest records to make room.",
    GenerationRemoved "generation-removed" "A device gives the space of acknowledged records back.",
    WentBack "went-back" "A device sends records again after a stall.",
    SilentHub "silent-hub" "A device leaves a connection on which the hub says nothing.",
    RolledBack "rolled-back" "A device learns that its store was put back to an old image.",
    AnswersRolledBack "answers-rolled-back" "The hub learns that its database was put back to an old copy.",
    Salvaged "salvaged" "A damaged store is set aside, and what can be read goes on.",
    TicketExpired "ticket-expired" "An escalation gets no answer in its time.",
    LateAnswer "late-answer" "An answer comes after the escalation expired on the device.",
    RecordRefused "record-refused" "A hub that does not know a kind of record sets it aside, and is updated in the end.",
    HoleJumped "hole-jumped" "A device finds nothing to send where a record should be.",
}

/// How often each happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Fault, u64>);

impl Counts {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often it happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// Those that never happened.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.of(*fault) == 0).collect()
    }
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Fault::ALL.iter().map(|fault| (fault.name(), self.of(*fault))))
    }
}
