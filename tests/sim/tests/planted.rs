//! Each planted fault is found within a bounded number of seeds, by a promise that it breaks.

use landfall_sim::{Invariant, Options, Plant, run_caught};

/// Seeds tried for one plant, at most.
const SEEDS_MAX: u64 = 400;

/// The first seed that finds the plant, and the promise that it breaks.
fn found(plant: Plant) -> Option<(u64, Invariant, String)> {
    let options = Options { plant: Some(plant), log: false };
    (0..SEEDS_MAX).find_map(|seed| {
        let violation = run_caught(seed, options).violation?;
        Some((seed, violation.invariant, violation.detail))
    })
}

#[expect(clippy::print_stdout, reason = "which promise the plant broke, for who reads the log")]
fn check(plant: Plant, expected: &[Invariant]) {
    let name = plant.name();
    let Some((seed, invariant, detail)) = found(plant) else {
        panic!("{name} was not found in {SEEDS_MAX} seeds")
    };
    println!("{name}: seed {seed} broke {}: {detail}", invariant.name());
    assert!(expected.contains(&invariant), "{name}: seed {seed} broke {invariant:?}: {detail}");
}

macro_rules! planted {
    ($($test:ident $plant:ident [$($invariant:ident),+],)*) => {
        $(
            #[test]
            fn $test() {
                check(Plant::$plant, &[$(Invariant::$invariant),+]);
            }
        )*

        #[test]
        fn every_plant_has_its_test() {
            assert_eq!(Plant::ALL, [$(Plant::$plant),*]);
        }
    };
}

planted! {
    the_hub_acknowledges_before_its_commit HubAcksBeforeCommit [CommittedBeforeAck],
    the_device_acknowledges_before_its_write DeviceAcksBeforeWrite [CommittedBeforeAck],
    the_sync_is_skipped SyncSkipped [DurableBeforeSend, NumberUsedOnce],
    records_are_sent_before_they_are_durable SendsBeforeDurable [DurableBeforeSend],
    an_epoch_is_reused EpochReused [AppliedOnce, NumberUsedOnce, AnswerFitsQuestion, ToldIsKept, Drains],
    the_cursor_is_off_by_one CursorOffByOne [GapsRecorded],
    what_is_known_is_applied_again NoDeduplication [AppliedOnce],
    the_mark_is_not_contiguous MarkNotContiguous [GapsRecorded],
    a_gap_is_forgotten GapForgotten [GapsRecorded],
    a_loss_record_is_forgotten LossForgotten [ToldIsKept],
    records_are_removed_too_early RemovedTooEarly [TicketEndsOnce, ToldIsKept, LossHasCause, Drains],
    a_subscription_is_not_renewed NotResubscribed [Drains],
    a_question_is_answered_twice AnsweredTwice [TicketEndsOnce],
    a_stall_is_not_noticed NoResend [Drains],
    an_old_image_goes_unnoticed OldImageUnnoticed [ToldIsKept, AnswerFitsQuestion, Drains],
    an_old_copy_goes_unnoticed OldCopyUnnoticed [Drains, DeliveredIsThere],
    a_retry_is_decided_again RetryForgotten [AppliedOnce],
    a_witness_is_ignored WitnessIgnored [ToldIsKept, NumberUsedOnce, TicketEndsOnce],
    a_refusal_is_forgotten RefusalForgotten [RefusedIsKnown],
}
