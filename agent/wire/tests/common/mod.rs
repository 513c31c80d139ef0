//! Strategies that make any record.

use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::directive::{Certificate, Directive, Reporting, ReportingMode, Sealed};
use landfall_wire::id::{Confidence, Digest, Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::link::LinkReport;
use landfall_wire::record::{
    Answer, Decision, Escalation, EscalationReason, Event, Field, Loss, LossReason, Masking,
    Mechanism, Outcome, Read, Record, RedactedText, Refusal, StreamId, TaskKind, Verdict,
};
use landfall_wire::release::{ReleaseFault, ReleaseOrder, ReleaseRef, ReleaseReport, ReleaseStage};
use landfall_wire::rules::{RulesOrder, RulesReport};
use landfall_wire::sketch::{Sketch, TaskSketch, Withheld};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn task() -> impl Strategy<Value = TaskName> {
    "[a-z0-9][a-z0-9-]{0,62}".prop_map(|name| name.parse().unwrap())
}

fn confidence() -> impl Strategy<Value = Confidence> {
    (0..=10_000_u16).prop_map(Confidence::from_basis_points)
}

fn decision() -> impl Strategy<Value = Decision> {
    let field = (".{0,20}", ".{0,200}", any::<u32>(), any::<u32>(), confidence()).prop_map(
        |(label, value, start, end, confidence)| Field { label, value, start, end, confidence },
    );
    prop_oneof![
        ".{0,63}".prop_map(Decision::Label),
        vec(field, 0..40).prop_map(Decision::Fields),
        Just(Decision::OutOfScope),
    ]
}

fn reason() -> impl Strategy<Value = EscalationReason> {
    prop_oneof![
        Just(EscalationReason::LowConfidence),
        Just(EscalationReason::OutOfScope),
        ".{0,63}".prop_map(EscalationReason::Rule),
        Just(EscalationReason::Audit),
        ".{0,63}".prop_map(EscalationReason::ModelUnavailable),
    ]
}

fn text() -> impl Strategy<Value = Option<RedactedText>> {
    option::of(".{0,3000}".prop_map(|text| RedactedText::new(&text)))
}

fn meta() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((".{0,40}", ".{0,200}"), 0..10)
}

fn digest() -> impl Strategy<Value = ShortDigest> {
    any::<[u8; 8]>().prop_map(ShortDigest)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let mechanism = prop_oneof![
        ".{0,63}".prop_map(Mechanism::Guard),
        ".{0,63}".prop_map(Mechanism::Rule),
        Just(Mechanism::Model),
    ];
    let verdict = prop_oneof![
        Just(Verdict::Answered),
        (reason(), any::<u64>()).prop_map(|(reason, seq)| Verdict::Escalated { reason, seq }),
        Just(Verdict::Refused),
    ];
    let what = (task(), option::of(".{0,32}"), any::<u64>(), mechanism, verdict);
    let answer = (option::of(decision()), confidence(), digest(), digest(), any::<u32>());
    let read = any::<(u32, u32, u32, u32)>().prop_map(|(words, words_blank, pieces, windows)| {
        Read { words, words_blank, pieces, windows }
    });
    let masking = prop_oneof![
        Just(Masking::Patterns),
        any::<u32>().prop_map(|spans| Masking::PatternsAndModel { spans }),
        Just(Masking::ModelUnavailable),
    ];
    let told = (option::of(read), any::<u32>(), option::of(masking));
    (what, answer, told, text(), meta()).prop_map(|(what, answer, told, text, meta)| Outcome {
        task: what.0,
        caller_id: what.1,
        at_ms: what.2,
        mechanism: what.3,
        verdict: what.4,
        decision: answer.0,
        confidence: answer.1,
        package: answer.2,
        config: answer.3,
        decide_us: answer.4,
        read: told.0,
        fields_left_out: told.1,
        text,
        masking: told.2,
        meta,
    })
}

fn escalation() -> impl Strategy<Value = Escalation> {
    let what = (any::<u64>(), task(), any::<u64>(), reason(), any::<u32>());
    let candidates = vec((".{0,20}", confidence()), 0..5);
    (what, text(), option::of(decision()), candidates, meta()).prop_map(
        |(what, text, provisional, candidates, meta)| Escalation {
            outcome_seq: what.0,
            task: what.1,
            at_ms: what.2,
            reason: what.3,
            text,
            provisional,
            candidates,
            meta,
            ttl_secs: what.4,
        },
    )
}

fn ticket() -> impl Strategy<Value = Ticket> {
    any::<(u64, u64)>().prop_map(|(epoch, seq)| Ticket { epoch: Epoch(epoch), seq })
}

fn answer() -> impl Strategy<Value = Answer> {
    (ticket(), decision(), ".{0,40}", any::<u64>(), option::of(".{0,100}")).prop_map(
        |(ticket, decision, by, at_ms, note)| Answer { ticket, decision, by, at_ms, note },
    )
}

fn release_report() -> impl Strategy<Value = ReleaseReport> {
    let fault = prop_oneof![
        Just(ReleaseFault::Package),
        Just(ReleaseFault::Misfit),
        Just(ReleaseFault::Evaluation),
        Just(ReleaseFault::Crash),
        Just(ReleaseFault::Failing),
        Just(ReleaseFault::Space),
    ];
    let stage = prop_oneof![
        Just(ReleaseStage::Accepted),
        Just(ReleaseStage::Fetched),
        Just(ReleaseStage::Trial),
        Just(ReleaseStage::Current),
        (fault, ".{0,600}").prop_map(|(fault, detail)| ReleaseStage::RolledBack { fault, detail }),
    ];
    let release = option::of(any::<[u8; 32]>().prop_map(Digest));
    (any::<(u64, u64)>(), ".{0,80}", release, stage).prop_map(
        |((at_ms, number), package, release, stage)| ReleaseReport {
            at_ms,
            package,
            number,
            release,
            stage,
        },
    )
}

fn link_report() -> impl Strategy<Value = LinkReport> {
    let numbers = (any::<u64>(), any::<u8>(), any::<u64>(), option::of(any::<u64>()), any::<u64>());
    (".{0,80}", numbers).prop_map(
        |(link, (at_ms, class, spent_bytes, budget_bytes, bytes_per_sec))| LinkReport {
            at_ms,
            link,
            class,
            spent_bytes,
            budget_bytes,
            bytes_per_sec,
        },
    )
}

fn task_sketch() -> impl Strategy<Value = TaskSketch> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let labels = prop::collection::btree_map(".{0,20}", any::<u64>(), 0..5);
    let sketch =
        (labels, any::<[u64; 10]>(), any::<u64>()).prop_map(|(labels, confidence, outcomes)| {
            Sketch { outcomes, labels, confidence, ..Sketch::default() }
        });
    (task(), any::<u64>().prop_map(Epoch), numbers, sketch).prop_map(
        |(task, epoch, (first, end, from_ms, until_ms), sketch)| TaskSketch {
            task,
            epoch,
            first,
            end,
            from_ms,
            until_ms,
            sketch,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just(TaskKind::Classification), Just(TaskKind::Extraction)];
    prop_oneof![
        (any::<u64>(), ".{0,20}", digest()).prop_map(|(at_ms, version, config)| Event::Started {
            at_ms,
            version,
            config
        }),
        (task(), kind, vec(".{0,60}", 0..200), ".{0,40}")
            .prop_map(|(task, kind, labels, package)| Event::Task { task, kind, labels, package }),
        (option::of(any::<u64>()), any::<u64>(), ".{0,600}").prop_map(|(old, salvaged, detail)| {
            Event::StoreReplaced { old: old.map(Epoch), salvaged, detail }
        }),
        ticket().prop_map(|ticket| Event::Expired { ticket }),
        (any::<u64>(), ".{0,600}").prop_map(|(at_ms, detail)| Event::Trouble { at_ms, detail }),
        (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), any::<bool>()).prop_map(
            |(epoch, at, value, begins)| {
                let (epoch, value) = (Epoch(epoch), ChainValue(value));
                Event::Chain(ChainMark { epoch, at, value, begins })
            }
        ),
        any::<(u64, u64, u64)>().prop_map(|(from_ms, until_ms, decisions)| Event::Unrecorded {
            from_ms,
            until_ms,
            decisions
        }),
        release_report().prop_map(Event::Release),
        link_report().prop_map(Event::Link),
        task_sketch().prop_map(|sketch| Event::Sketch(Box::new(sketch))),
        any::<(u64, u64, u64, bool, bool)>().prop_map(|(first, end, off_ms, behind, exact)| {
            Event::Clock { first, end, off_ms, behind, exact }
        }),
        vec(any::<u8>(), 0..400).prop_map(|request| Event::CertificateWanted { request }),
        (any::<(u64, u16, u64, u64)>(), option::of(".{0,600}")).prop_map(
            |((at_ms, slot, number, rule), refused)| {
                Event::Rules(RulesReport { at_ms, slot, number, rule, refused })
            }
        ),
    ]
}

fn loss() -> impl Strategy<Value = Loss> {
    let stream = prop_oneof![
        Just(StreamId::Outcome),
        Just(StreamId::Escalation),
        Just(StreamId::Event),
        Just(StreamId::Answer),
    ];
    let reason = prop_oneof![Just(LossReason::Shed), Just(LossReason::Damaged)];
    (stream, any::<u64>(), any::<u64>(), any::<u64>(), reason).prop_map(
        |(stream, epoch, first, end, reason)| Loss {
            stream,
            epoch: Epoch(epoch),
            first,
            end,
            reason,
        },
    )
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let stream = prop_oneof![Just(StreamId::Outcome), Just(StreamId::Event)];
    (stream, ticket(), ".{0,600}").prop_map(|(stream, Ticket { epoch, seq }, reason)| Refusal {
        stream,
        epoch,
        seq,
        reason,
    })
}

fn directive() -> impl Strategy<Value = Directive> {
    let mode = prop_oneof![
        Just(ReportingMode::Full),
        any::<u32>().prop_map(|one_in| ReportingMode::Sampled { one_in }),
        Just(ReportingMode::Sketch),
    ];
    let reporting = (option::of(task()), mode)
        .prop_map(|(task, mode)| Directive::Reporting(Reporting { task, mode }));
    let digest = || any::<[u8; 32]>().prop_map(Digest);
    let release = (".{0,20}", digest(), any::<u32>(), digest(), any::<u32>()).prop_map(
        |(version, manifest, manifest_bytes, signature, signature_bytes)| ReleaseRef {
            version,
            manifest,
            manifest_bytes,
            signature,
            signature_bytes,
        },
    );
    let ordered = (".{0,40}", any::<u64>(), option::of(release), any::<u32>()).prop_map(
        |(package, number, release, trial_secs)| {
            Directive::Release(ReleaseOrder { package, number, release, trial_secs })
        },
    );
    let sealed = (any::<u16>(), ".{0,40}", vec(any::<u8>(), 0..300))
        .prop_map(|(kind, subject, body)| Directive::from(Sealed { kind, subject, body }));
    let certificate = (vec(any::<u8>(), 0..500), vec(vec(any::<u8>(), 0..500), 0..3)).prop_map(
        |(certificate, authorities)| {
            Directive::Certificate(Certificate { certificate, authorities })
        },
    );
    let numbers = any::<(u16, u64, u64)>();
    let rules = (numbers, task(), ".{0,300}", vec(any::<u8>(), 0..80)).prop_map(
        |((slot, number, rule), task, file, signature)| {
            Directive::Rules(RulesOrder { slot, number, rule, task, file, signature })
        },
    );
    prop_oneof![reporting, ordered, certificate, rules, sealed]
}

/// Any record, including ones over the limits.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        outcome().prop_map(Record::Outcome),
        escalation().prop_map(Record::Escalation),
        answer().prop_map(Record::Answer),
        event().prop_map(Record::Event),
        loss().prop_map(Record::Loss),
        refusal().prop_map(Record::Refusal),
        directive().prop_map(Record::Directive),
        prop_oneof![Just(Withheld::Sampled), Just(Withheld::Sketched)].prop_map(Record::Withheld),
    ]
}
