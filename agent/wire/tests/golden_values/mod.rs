//! One value, at least, of every variant of the format.

use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::coding::Primer;
use landfall_wire::directive::{Certificate, Directive, Reporting, ReportingMode, Sealed};
use landfall_wire::frame::{Batch, Frame, Hello, Position, Welcome};
use landfall_wire::id::{Confidence, Digest, Epoch, ShortDigest, Ticket};
use landfall_wire::link::LinkReport;
use landfall_wire::record::{
    Answer, Decision, Escalation, EscalationReason, Event, Field, Loss, LossReason, Masking,
    Mechanism, Outcome, Read, Record, RedactedText, Refusal, StreamId, TaskKind, Verdict,
};
use landfall_wire::release::{ReleaseFault, ReleaseOrder, ReleaseRef, ReleaseReport, ReleaseStage};
use landfall_wire::rules::{RulesOrder, RulesReport};
use landfall_wire::sketch::{Sketch, TaskSketch, Withheld};
use std::collections::BTreeMap;

const EPOCH: Epoch = Epoch(0x00f1_e2d3_c4b5_a697);
const AT_MS: u64 = 1_773_273_600_000;

/// What a reader of the file should know. A new variant of [`Record`] or [`Event`] does not
/// compile here until it has a line, and so a value.
pub(crate) fn about(record: &Record) -> &'static str {
    match record {
        Record::Outcome(outcome) => match outcome.verdict {
            Verdict::Answered => "Record::Outcome, answered",
            Verdict::Escalated { .. } => "Record::Outcome, escalated",
            Verdict::Refused => "Record::Outcome, refused by the guard",
        },
        Record::Escalation(_) => "Record::Escalation",
        Record::Answer(answer) => match answer.decision {
            Decision::Label(_) => "Record::Answer, a label",
            Decision::Fields(_) => "Record::Answer, fields",
            Decision::OutOfScope => "Record::Answer, out of scope",
        },
        Record::Event(event) => match event {
            Event::Started { .. } => "Record::Event, Started",
            Event::Task { .. } => "Record::Event, Task",
            Event::StoreReplaced { .. } => "Record::Event, StoreReplaced",
            Event::Expired { .. } => "Record::Event, Expired",
            Event::Trouble { .. } => "Record::Event, Trouble",
            Event::Chain(_) => "Record::Event, Chain",
            Event::Unrecorded { .. } => "Record::Event, Unrecorded",
            Event::Release(_) => "Record::Event, Release",
            Event::Link(_) => "Record::Event, Link",
            Event::Sketch(_) => "Record::Event, Sketch",
            Event::Clock { .. } => "Record::Event, Clock",
            Event::CertificateWanted { .. } => "Record::Event, CertificateWanted",
            Event::Rules(_) => "Record::Event, Rules",
        },
        Record::Loss(loss) => match loss.reason {
            LossReason::Shed => "Record::Loss, shed",
            LossReason::Damaged => "Record::Loss, damaged",
        },
        Record::Refusal(_) => "Record::Refusal",
        Record::Withheld(_) => "Record::Withheld",
        Record::Directive(directive) => match directive {
            Directive::Reporting(_) => "Record::Directive, Reporting",
            Directive::Release(_) => "Record::Directive, Release",
            Directive::Certificate(_) => "Record::Directive, Certificate",
            Directive::Rules(_) => "Record::Directive, Rules",
            Directive::Unknown(_) => "Record::Directive, of a kind that is not known",
        },
    }
}

fn confidence(basis_points: u16) -> Confidence {
    Confidence::from_basis_points(basis_points)
}

fn fields() -> Decision {
    let field = |label: &str, value: &str, start, end, bp| Field {
        label: label.to_owned(),
        value: value.to_owned(),
        start,
        end,
        confidence: confidence(bp),
    };
    Decision::Fields(vec![
        field("Item", "HP brg", 2, 8, 8_800),
        field("Item", "brg", 5, 8, 9_120),
        field("Observation", "überhitzt", 9, 18, 300),
    ])
}

fn outcome(mechanism: Mechanism, verdict: Verdict, decision: Option<Decision>) -> Outcome {
    Outcome {
        task: "failure-mode".parse().expect("a task name"),
        caller_id: Some("WO-4711".to_owned()),
        at_ms: AT_MS,
        mechanism,
        verdict,
        decision,
        confidence: confidence(9_345),
        package: ShortDigest([1, 2, 3, 4, 5, 6, 7, 8]),
        config: ShortDigest([0xff; 8]),
        decide_us: 1_900,
        read: None,
        fields_left_out: 0,
        text: None,
        masking: None,
        meta: vec![("asset".to_owned(), "PUMP-3".to_owned())],
    }
}

fn escalated(reason: EscalationReason, seq: u64) -> Outcome {
    let provisional = Some(Decision::Label("Leaking".to_owned()));
    outcome(Mechanism::Model, Verdict::Escalated { reason, seq }, provisional)
}

fn escalation() -> Escalation {
    Escalation {
        outcome_seq: 300,
        task: "failure-mode".parse().expect("a task name"),
        at_ms: AT_MS,
        reason: EscalationReason::OutOfScope,
        text: Some(RedactedText { text: "call <phone>".to_owned(), bytes_full: 2_100 }),
        provisional: Some(Decision::OutOfScope),
        candidates: vec![
            ("Leaking".to_owned(), confidence(4_100)),
            ("Other".to_owned(), confidence(900)),
        ],
        meta: vec![],
        ttl_secs: 259_200,
    }
}

fn answer(decision: Decision, note: Option<&str>) -> Record {
    Record::Answer(Answer {
        ticket: Ticket { epoch: EPOCH, seq: 42 },
        decision,
        by: "a.reader".to_owned(),
        at_ms: AT_MS,
        note: note.map(str::to_owned),
    })
}

fn loss(stream: StreamId, reason: LossReason) -> Record {
    Record::Loss(Loss { stream, epoch: EPOCH, first: 10, end: 1_000, reason })
}

/// Every kind of record, by the name of its file.
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let answered = |mechanism, decision| outcome(mechanism, Verdict::Answered, Some(decision));
    let guard = Mechanism::Guard("text is empty".to_owned());
    let rule = Mechanism::Rule("leak".to_owned());
    let long = Outcome {
        read: Some(Read { words: 3_000, words_blank: 2, pieces: 4_100, windows: 43 }),
        fields_left_out: 310,
        masking: Some(Masking::PatternsAndModel { spans: 17 }),
        ..answered(Mechanism::Model, fields())
    };
    let badly_masked = Outcome {
        text: Some(RedactedText::new("<email>")),
        masking: Some(Masking::ModelUnavailable),
        ..answered(Mechanism::Rule("leak".to_owned()), Decision::OutOfScope)
    };
    let anonymous = Outcome {
        caller_id: None,
        read: Some(Read { words: 4, words_blank: 0, pieces: 9, windows: 1 }),
        text: Some(RedactedText::new("HYD HOSE L/H u/s")),
        masking: Some(Masking::Patterns),
        meta: vec![],
        ..answered(Mechanism::Model, Decision::OutOfScope)
    };
    let unavailable = EscalationReason::ModelUnavailable("package missing".to_owned());
    let task = Event::Task {
        task: "work-order-fields".parse().expect("a task name"),
        kind: TaskKind::Extraction,
        labels: vec!["Item".to_owned(), "Observation".to_owned()],
        package: "maintenance 0.1.0".to_owned(),
    };
    let classification = Event::Task {
        task: "failure-mode".parse().expect("a task name"),
        kind: TaskKind::Classification,
        labels: vec!["Leaking".to_owned()],
        package: "maintenance 0.1.0".to_owned(),
    };
    vec![
        ("outcome-rule", Record::Outcome(answered(rule, Decision::Label("Leaking".to_owned())))),
        ("outcome-fields", Record::Outcome(answered(Mechanism::Model, fields()))),
        ("outcome-long", Record::Outcome(long)),
        ("outcome-masking-unavailable", Record::Outcome(badly_masked)),
        ("outcome-out-of-scope", Record::Outcome(anonymous)),
        ("outcome-refused", Record::Outcome(outcome(guard, Verdict::Refused, None))),
        ("outcome-low-confidence", Record::Outcome(escalated(EscalationReason::LowConfidence, 7))),
        ("outcome-unfamiliar", Record::Outcome(escalated(EscalationReason::OutOfScope, u64::MAX))),
        (
            "outcome-rule-escalates",
            Record::Outcome(escalated(EscalationReason::Rule("ammonia".to_owned()), 8)),
        ),
        ("outcome-audit", Record::Outcome(escalated(EscalationReason::Audit, 9))),
        ("outcome-model-unavailable", Record::Outcome(escalated(unavailable, 10))),
        ("escalation", Record::Escalation(escalation())),
        ("answer-label", answer(Decision::Label("Plugged / choked".to_owned()), None)),
        ("answer-fields", answer(fields(), Some("read it twice"))),
        ("answer-out-of-scope", answer(Decision::OutOfScope, None)),
        (
            "event-started",
            Record::Event(Event::Started {
                at_ms: AT_MS,
                version: "0.1.0".to_owned(),
                config: ShortDigest::default(),
            }),
        ),
        ("event-task-extraction", Record::Event(task)),
        ("event-task-classification", Record::Event(classification)),
        (
            "event-store-replaced",
            Record::Event(Event::StoreReplaced {
                old: Some(EPOCH),
                salvaged: 49_998,
                detail: "snapshot unreadable".to_owned(),
            }),
        ),
        (
            "event-expired",
            Record::Event(Event::Expired { ticket: Ticket { epoch: EPOCH, seq: 1 } }),
        ),
        (
            "event-trouble",
            Record::Event(Event::Trouble {
                at_ms: AT_MS,
                detail: "the model that masks text failed".to_owned(),
            }),
        ),
        (
            "event-chain",
            Record::Event(Event::Chain(ChainMark {
                epoch: EPOCH,
                at: 128,
                value: ChainValue([0xc4; 32]),
                begins: false,
            })),
        ),
        (
            "event-unrecorded",
            Record::Event(Event::Unrecorded {
                from_ms: AT_MS,
                until_ms: AT_MS + 60_000,
                decisions: 300,
            }),
        ),
        ("event-release-current", release(Some(Digest([0xab; 32])), ReleaseStage::Current)),
        ("event-release-rolled-back", release(None, rolled_back())),
        (
            "event-link",
            Record::Event(Event::Link(LinkReport {
                at_ms: AT_MS,
                link: "satellite".to_owned(),
                class: 5,
                spent_bytes: 1_234_567,
                budget_bytes: Some(5_000_000),
                bytes_per_sec: 800,
            })),
        ),
        (
            "event-sketch",
            Record::Event(Event::Sketch(Box::new(TaskSketch {
                task: "failure-mode".parse().expect("a task name"),
                epoch: EPOCH,
                first: 100,
                end: 400,
                from_ms: AT_MS,
                until_ms: AT_MS + 80_000_000,
                sketch: Sketch {
                    outcomes: 300,
                    answered: 290,
                    escalated: 8,
                    refused: 2,
                    labels: BTreeMap::from([("Leaking".to_owned(), 250)]),
                    confidence: [0, 0, 0, 0, 0, 1, 9, 40, 100, 148],
                    ..Sketch::default()
                },
            }))),
        ),
        ("withheld", Record::Withheld(Withheld::Sketched)),
        (
            "event-clock",
            Record::Event(Event::Clock {
                first: 40,
                end: 43,
                off_ms: 1_773_000_000_000,
                behind: true,
                exact: true,
            }),
        ),
        (
            "event-certificate-wanted",
            Record::Event(Event::CertificateWanted { request: vec![0x30, 0x81, 0xf3] }),
        ),
        ("event-rules-used", ruled(None)),
        ("event-rules-refused", ruled(Some("'Foo' is not a label of the task"))),
        ("loss-shed", loss(StreamId::Outcome, LossReason::Shed)),
        ("loss-damaged", loss(StreamId::Answer, LossReason::Damaged)),
        (
            "refusal",
            Record::Refusal(Refusal {
                stream: StreamId::Event,
                epoch: EPOCH,
                seq: 300,
                reason: "not a record of a known kind".to_owned(),
            }),
        ),
        ("directive-reporting", reporting(None, ReportingMode::Full)),
        (
            "directive-reporting-sampled",
            reporting(Some("failure-mode"), ReportingMode::Sampled { one_in: 20 }),
        ),
        ("directive-reporting-sketch", reporting(None, ReportingMode::Sketch)),
        ("directive-release", ordered(Some("0.5.0"))),
        ("directive-release-configured", ordered(None)),
        (
            "directive-certificate",
            Record::Directive(Directive::Certificate(Certificate {
                certificate: vec![0x30, 0x82, 1, 2],
                authorities: vec![vec![0x30, 0x82], vec![0x30]],
            })),
        ),
        (
            "directive-rules",
            Record::Directive(Directive::Rules(RulesOrder {
                slot: 3,
                number: AT_MS,
                rule: 41,
                task: "failure-mode".parse().expect("a task name"),
                file: "[[rule]]\nname = \"bilge\"\nwords = [\"bilge\"]\nanswer = \"Leaking\"\n"
                    .to_owned(),
                signature: vec![0x30, 0x45, 2, 1],
            })),
        ),
        (
            "directive-unknown",
            Record::Directive(Directive::Unknown(Sealed {
                kind: 900,
                subject: "pump-model".to_owned(),
                body: b"what a later version says".to_vec(),
            })),
        ),
    ]
}

fn release(release: Option<Digest>, stage: ReleaseStage) -> Record {
    let package = "maintenance".to_owned();
    Record::Event(Event::Release(ReleaseReport {
        at_ms: AT_MS,
        package,
        number: AT_MS - 1000,
        release,
        stage,
    }))
}

fn ruled(refused: Option<&str>) -> Record {
    let refused = refused.map(str::to_owned);
    let report = RulesReport { at_ms: AT_MS, slot: 3, number: AT_MS - 1000, rule: 41, refused };
    Record::Event(Event::Rules(report))
}

fn rolled_back() -> ReleaseStage {
    let detail = "failure-mode: 31 of 61 right, 52 are stated".to_owned();
    ReleaseStage::RolledBack { fault: ReleaseFault::Evaluation, detail }
}

fn ordered(version: Option<&str>) -> Record {
    let release = version.map(|version| ReleaseRef {
        version: version.to_owned(),
        manifest: Digest([0xab; 32]),
        manifest_bytes: 13_000,
        signature: Digest([0xcd; 32]),
        signature_bytes: 293,
    });
    let (package, number) = ("maintenance".to_owned(), AT_MS);
    let order = ReleaseOrder { package, number, release, trial_secs: 600 };
    Record::Directive(Directive::Release(order))
}

fn reporting(task: Option<&str>, mode: ReportingMode) -> Record {
    let task = task.map(|task| task.parse().expect("a task name"));
    Record::Directive(Directive::Reporting(Reporting { task, mode }))
}

/// Every kind of frame: file name, a line for the reader, the value.
pub(crate) fn frames() -> Vec<(&'static str, &'static str, Frame)> {
    let position = |stream, next| Position { stream, epoch: EPOCH, next };
    let batch = |records| {
        Frame::Batch(Batch { stream: StreamId::Event, epoch: EPOCH, floor: 3, first: 5, records })
    };
    let hello = Hello {
        version: "0.1.0".to_owned(),
        at_ms: AT_MS,
        up: StreamId::UP.map(|stream| position(stream, 12)).to_vec(),
        answers: Some(position(StreamId::Answer, 0)),
    };
    let welcome = Welcome {
        at_ms: AT_MS,
        marks: vec![position(StreamId::Outcome, 11)],
        answers: position(StreamId::Answer, 130),
    };
    let expired = Record::Event(Event::Expired { ticket: Ticket { epoch: EPOCH, seq: 1 } })
        .encode()
        .expect("a small record");
    vec![
        ("frame-hello", "Frame::Hello", Frame::Hello(hello)),
        ("frame-welcome", "Frame::Welcome", Frame::Welcome(welcome)),
        ("frame-ack", "Frame::Ack", Frame::Ack(position(StreamId::Escalation, 12))),
        ("frame-roll-call", "Frame::RollCall", Frame::RollCall),
        ("frame-batch-plain", "Frame::Batch, as it is", batch(vec![expired.clone()])),
        ("frame-batch-zstd", "Frame::Batch, body in zstd", batch(vec![expired; 30])),
    ]
}

/// Frames of version 2.
pub(crate) fn coded_frames() -> Vec<(&'static str, &'static str, Frame, Primer)> {
    let of_every_kind = [
        "outcome-fields",
        "outcome-low-confidence",
        "outcome-rule",
        "escalation",
        "event-task-extraction",
        "event-chain",
        "loss-shed",
        "answer-label",
    ];
    let records = records();
    let found = |name: &&str| records.iter().find(|(known, _)| known == name).map(|(_, r)| r);
    let mut coded: Vec<Vec<u8>> =
        of_every_kind.iter().filter_map(found).map(|r| r.encode().expect("small")).collect();
    coded.push(b"not a record".to_vec());
    assert_eq!(coded.len(), of_every_kind.len() + 1);
    let batch = Frame::Batch(Batch {
        stream: StreamId::Outcome,
        epoch: EPOCH,
        floor: 3,
        first: 5,
        records: coded,
    });
    let hello = frames().swap_remove(0).2;
    let down = ["answer-label", "refusal", "directive-reporting-sampled", "directive-unknown"];
    let down = down.iter().filter_map(found).map(|r| r.encode().expect("small")).collect();
    let down = Frame::Batch(Batch {
        stream: StreamId::Answer,
        epoch: EPOCH,
        floor: 0,
        first: 5,
        records: down,
    });
    vec![
        ("coded-batch-down", "Frame::Batch, hub to device, primer 1", down, Primer::WorkOrders),
        ("coded-hello", "Frame::Hello, version 2", hello, Primer::None),
        ("coded-batch", "Frame::Batch, coded without a primer", batch.clone(), Primer::None),
        ("coded-batch-primed", "Frame::Batch, coded with primer 1", batch, Primer::WorkOrders),
    ]
}
