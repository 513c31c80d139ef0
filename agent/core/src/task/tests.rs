use super::*;
use crate::guard::{GuardSpec, TopicAction, TopicSpec};
use crate::judgement::{CANDIDATES_MAX, KEPT_SPANS_MAX};
use crate::redact::{ModelMasks, ModelSpan};
use crate::reply::{REPLY_BYTES_MAX, Status};
use crate::request::{FieldView, META_ENTRIES_MAX};
use crate::rules::RuleSpec;
use landfall_wire::id::ShortDigest;
use landfall_wire::limits::CALLER_ID_BYTES_MAX;
use landfall_wire::record::{Decision, Masking, Record, Verdict};
use proptest::prelude::*;
use std::collections::BTreeMap;

const STAMP: Stamp = Stamp {
    at_ms: 1_700_000_000_000,
    package: ShortDigest([1; 8]),
    config: ShortDigest([2; 8]),
    decide_us: 1900,
};

fn rule(name: &str, word: &str, action: Action) -> RuleSpec {
    RuleSpec {
        name: name.to_owned(),
        words: vec![word.to_owned()],
        all_words: Vec::new(),
        regex: None,
        meta: BTreeMap::new(),
        action,
    }
}

fn set<const N: usize>(items: [&str; N]) -> std::collections::BTreeSet<String> {
    items.map(str::to_owned).into()
}

fn settings() -> TaskSettings {
    let topic = |name: &str, word: &str, action| TopicSpec {
        name: name.to_owned(),
        words: vec![word.to_owned()],
        regex: None,
        action,
    };
    let guard = Guard::new(&GuardSpec {
        topics: vec![
            topic("payroll", "salary", TopicAction::Refuse),
            topic("medical", "injured", TopicAction::Keep),
        ],
        ..GuardSpec::default()
    });
    let (rules, _) = Rules::compile(&[
        rule("leak", "leaking", Action::Answer("Leaking".to_owned())),
        rule("drill", "drill", Action::OutOfScope),
        rule("fire", "fire", Action::Escalate),
        rule("junk", "test", Action::Refuse("test messages are not decided".to_owned())),
    ])
    .unwrap();
    TaskSettings {
        name: "failure-mode".parse().unwrap(),
        guard: guard.unwrap(),
        rules,
        accept: Accept::Threshold(0.8),
        audit_rate: 0.0,
        escalate: true,
        ttl_secs: 259_200,
        leave: Leave { text: true, fields: set([]), meta: set(["asset"]) },
        redactor: Redactor::default(),
    }
}

fn classification() -> ModelFacts {
    let labels = ["Leaking", "Breakdown"].map(str::to_owned).into();
    ModelFacts { kind: TaskKind::Classification, labels, scores: Vec::new() }
}

fn extraction() -> ModelFacts {
    let labels = ["Item", "Agent"].map(str::to_owned).into();
    ModelFacts { kind: TaskKind::Extraction, labels, scores: Vec::new() }
}

/// An extraction that lets `Item` leave, but no text.
fn extractor() -> TaskPolicy {
    let leave = Leave { text: false, fields: set(["Item"]), meta: set([]) };
    let settings = TaskSettings { rules: Rules::default(), leave, ..settings() };
    TaskPolicy::new(settings, &extraction()).unwrap()
}

fn request(text: &str) -> Request {
    let meta = [("asset", "P-101 a@b.org"), ("crew", "Jansen")];
    Request {
        task: "failure-mode".parse().unwrap(),
        text: text.to_owned(),
        caller_id: Some("WO-1".to_owned()),
        meta: meta.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

fn view(p: f32) -> ModelView {
    let labels = classification().labels;
    let probabilities = vec![1.0 - p, p];
    let best = usize::from(p > 0.5);
    let confidence = probabilities[best];
    ModelView::Labels { labels, best, confidence, probabilities, familiar: true }
}

fn decide(policy: &TaskPolicy, request: &Request, view: ModelView) -> Entry {
    let judgement = match policy.before_model(request, &Rules::default()) {
        Before::Decided(judgement) => judgement,
        Before::AskModel => policy.after_model(request, Ok(view), 0),
    };
    policy.record(request, &judgement, &ModelMasks::Off, STAMP)
}

#[test]
fn guard_then_rules_then_model() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    #[rustfmt::skip]
    let cases = [
        // text                   status             mechanism                label
        ("",                      Status::Refused,   ("guard", None),         None),
        ("salary, leaking",       Status::Refused,   ("guard", None),         None),
        ("pump leaking",          Status::Answered,  ("rule", Some("leak")),  Some(Some("Leaking"))),
        ("fire drill at noon",    Status::Answered,  ("rule", Some("drill")), Some(None)),
        ("fire in bin",           Status::Escalated, ("rule", Some("fire")),  None),
        ("test",                  Status::Refused,   ("rule", Some("junk")),  None),
        ("pump stopped",          Status::Answered,  ("model", None),         Some(Some("Breakdown"))),
    ];
    for (text, status, mechanism, label) in cases {
        let Entry { outcome, escalation, reply } = decide(&policy, &request(text), view(0.9));
        assert_eq!(
            (reply.status(), reply.mechanism(), reply.label()),
            (status, mechanism, label),
            "{text}"
        );
        assert_eq!(escalation.is_some(), status == Status::Escalated, "{text}");
        let took_part = matches!(outcome.mechanism, Mechanism::Model);
        assert_eq!(outcome.package == STAMP.package, took_part, "{text}");
        let certain = outcome.confidence == Confidence::CERTAIN;
        assert_eq!(certain, reply.mechanism().0 == "rule" && status == Status::Answered, "{text}");
    }
}

#[test]
fn an_escalation_carries_what_the_operator_needs() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    let entry = decide(&policy, &request("pump broken, ask jan@ship.org"), view(0.6));
    assert!(entry.reply.is_provisional());
    let question = entry.escalation.unwrap();
    assert_eq!(question.reason, EscalationReason::LowConfidence);
    assert_eq!(question.text.unwrap().text, "pump broken, ask <email>");
    assert_eq!(question.provisional, Some(Decision::Label("Breakdown".to_owned())));
    assert_eq!(question.candidates[1].0, "Leaking");
    assert_eq!(question.meta, [("asset".to_owned(), "P-101 <email>".to_owned())]);
    assert_eq!(question.ttl_secs, 259_200);
    let reason = EscalationReason::LowConfidence;
    assert_eq!(entry.outcome.verdict, Verdict::Escalated { reason, seq: 0 });
}

#[test]
fn nothing_leaves_that_is_not_allowed_by_name() {
    let closed = TaskSettings { leave: Leave::default(), ..settings() };
    let policy = TaskPolicy::new(closed, &classification()).unwrap();
    let entry = decide(&policy, &request("pump broken"), view(0.6));
    let question = entry.escalation.unwrap();
    assert_eq!((entry.outcome.text, entry.outcome.meta), (None, Vec::new()));
    assert_eq!((question.text, question.meta), (None, Vec::new()));
}

#[test]
fn refused_and_private_text_stays_whole() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    for text in ["salary of May", "cook injured hand", "cook injured, valve leaking"] {
        let entry = decide(&policy, &request(text), view(0.6));
        assert_eq!((&entry.outcome.text, &entry.outcome.meta[..]), (&None, &[][..]), "{text}");
        if let Some(question) = entry.escalation {
            assert_eq!((question.text, question.meta), (None, Vec::new()), "{text}");
        }
    }
}

fn spans(spans: &[(&str, u32, u32)]) -> ModelView {
    let field = |(label, start, end): &(&str, u32, u32)| FieldView {
        label: (*label).to_owned(),
        start: *start,
        end: *end,
        confidence: 0.9,
    };
    ModelView::Spans { spans: spans.iter().map(field).collect(), confidence: 0.9 }
}

#[test]
fn fields_leave_by_label_and_redacted_and_the_caller_gets_all() {
    let policy = extractor();
    let text = "é pump 555-123-4567 Jansen";
    let found = spans(&[("Item", 2, 6), ("Item", 11, 19), ("Agent", 20, 26)]);
    let entry = decide(&policy, &request(text), found);
    let Some(Decision::Fields(kept)) = &entry.outcome.decision else { panic!("no fields") };
    let values: Vec<&str> = kept.iter().map(|field| field.value.as_str()).collect();
    assert_eq!(values, ["pump", "<phone>", ""]);
    assert_eq!((kept[2].label.as_str(), kept[2].start, kept[2].end), ("Agent", 20, 26));
    assert_eq!(entry.outcome.text, None);

    let told = entry.reply.fields(text).unwrap();
    let values: Vec<&str> = told.iter().map(|field| field.value.as_str()).collect();
    assert_eq!(values, ["pump", "123-4567", "Jansen"]);
    assert_eq!(entry.reply.fields("é").unwrap()[0].value, "", "another text");

    let entry = decide(&policy, &request("cook injured pump"), spans(&[("Item", 13, 17)]));
    let Some(Decision::Fields(kept)) = &entry.outcome.decision else { panic!("no fields") };
    assert_eq!(kept[0].value, "", "a private topic");
}

#[test]
fn settings_that_do_not_fit_the_model_are_told() {
    let errors = TaskPolicy::new(settings(), &extraction()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0].to_string(),
        "rule 'leak' answers 'Leaking', but this task extracts fields"
    );
    let leave = Leave { fields: set(["Item"]), ..Leave::default() };
    let (rules, _) =
        Rules::compile(&[rule("x", "x", Action::Answer("leaking".to_owned()))]).unwrap();
    let odd = TaskSettings { leave: leave.clone(), rules, ..settings() };
    let texts: Vec<String> = TaskPolicy::new(odd, &classification())
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "rule 'x' answers 'leaking', which is not a label of the task",
            "'Item' may leave, but this task gives a label and no fields",
        ]
    );
    let long = "l".repeat(64);
    let labels = vec![long.clone()].into();
    let model = ModelFacts { labels, ..extraction() };
    let other = TaskSettings { leave, rules: Rules::default(), ..settings() };
    assert_eq!(
        TaskPolicy::new(other.clone(), &model).unwrap_err(),
        [TaskError::LongLabel(long), TaskError::UnknownField("Item".to_owned())]
    );
    let model = ModelFacts { labels: Vec::new().into(), ..extraction() };
    assert!(
        TaskPolicy::new(other, &model)
            .unwrap_err()
            .contains(&TaskError::NoLabels("failure-mode".parse().unwrap()))
    );
}

#[test]
fn a_megabyte_is_refused_with_its_size() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    let entry = decide(&policy, &request(&"leaking ".repeat(131_072)), view(0.9));
    assert_eq!(
        entry.reply.reason.as_deref(),
        Some("the text has 1048576 bytes, over the limit of 65536")
    );
}

/// The largest that the limits allow still fits its records and its store entry.
#[test]
fn the_worst_case_fits() {
    let long = |n: usize| "ü".repeat(n / 2) + if n % 2 == 1 { "x" } else { "" };
    let name = |i: usize| format!("{i:02}{}", long(61));
    let task = "t".repeat(63);
    let labels: Arc<[String]> = (0..40).map(name).collect();
    let leave = Leave {
        text: true,
        fields: labels.iter().cloned().collect(),
        meta: (0..META_ENTRIES_MAX).map(|i| i.to_string()).collect(),
    };
    let request = Request {
        task: task.parse().unwrap(),
        text: long(16_384),
        caller_id: Some(long(CALLER_ID_BYTES_MAX)),
        meta: (0..META_ENTRIES_MAX).map(|i| (i.to_string(), long(512))).collect(),
    };
    let name: TaskName = task.parse().unwrap();
    let always = RuleSpec { words: Vec::new(), ..rule(&long(63), "x", Action::Escalate) };
    let (rules, _) = Rules::compile(&[always]).unwrap();
    let make = |kind, rules| {
        let settings =
            TaskSettings { name: name.clone(), rules, leave: leave.clone(), ..settings() };
        // A classification has no fields that could leave.
        let leave = match kind {
            TaskKind::Classification => Leave { fields: set([]), ..settings.leave.clone() },
            TaskKind::Extraction => settings.leave.clone(),
        };
        let model = ModelFacts { kind, labels: labels.clone(), scores: Vec::new() };
        TaskPolicy::new(TaskSettings { leave, ..settings }, &model).unwrap()
    };
    let field = |i: usize| FieldView {
        label: labels[i % labels.len()].clone(),
        start: 0,
        end: u32::try_from(request.text.chars().count()).unwrap(),
        confidence: 0.9,
    };
    let many = (0..2 * KEPT_SPANS_MAX).map(field).collect();
    let views = [
        (TaskKind::Extraction, Ok(ModelView::Spans { spans: many, confidence: 0.1 })),
        (
            TaskKind::Classification,
            Ok(ModelView::Labels {
                labels: labels.clone(),
                best: 0,
                confidence: 0.5,
                probabilities: vec![0.5; labels.len()],
                familiar: true,
            }),
        ),
        (TaskKind::Classification, Err(long(5000))),
    ];
    let model = views.into_iter().map(|(kind, view)| {
        let policy = make(kind, Rules::default());
        let judgement = policy.after_model(&request, view, 0);
        policy.record(&request, &judgement, &ModelMasks::Off, STAMP)
    });
    let ruled = decide(&make(TaskKind::Classification, rules), &request, view(0.5));
    for entry in model.chain([ruled]) {
        assert!(entry.reply.candidates.len() <= CANDIDATES_MAX);
        if let Some(Answer::Fields(fields)) = &entry.reply.answer {
            assert_eq!((fields.len(), fields.dropped), (2 * KEPT_SPANS_MAX, 0));
            let Some(Answer::Fields(kept)) = entry.reply.kept().answer else { panic!() };
            assert!(kept.len() <= KEPT_SPANS_MAX);
            assert_eq!(kept.len() + kept.dropped as usize, 2 * KEPT_SPANS_MAX);
            let Some(Decision::Fields(recorded)) = &entry.outcome.decision else { panic!() };
            let left_out = entry.outcome.fields_left_out as usize;
            assert_eq!(recorded.len() + left_out, 2 * KEPT_SPANS_MAX, "the record says it");
        }
        let reply = postcard::to_stdvec(&entry.reply.kept()).unwrap();
        assert!(reply.len() <= REPLY_BYTES_MAX, "{} bytes", reply.len());
        assert_eq!(postcard::from_bytes(&reply), Ok(entry.reply.kept()));
        Record::Outcome(entry.outcome).encode().unwrap();
        Record::Escalation(entry.escalation.unwrap()).encode().unwrap();
    }
}

proptest! {
    /// Any text is decided and recorded, the same way each time, and its records encode.
    #[test]
    fn any_text(text in any::<String>(), p in 0.0..1.0f32) {
        let policy = TaskPolicy::new(settings(), &classification()).unwrap();
        let request = request(&text);
        let entry = decide(&policy, &request, view(p));
        prop_assert_eq!(&entry, &decide(&policy, &request, view(p)));
        prop_assert!(Record::Outcome(entry.outcome).encode().is_ok());
        if let Some(escalation) = entry.escalation {
            prop_assert!(Record::Escalation(escalation).encode().is_ok());
        }
    }

    /// A secret in the text is in no record, whether as text, field or metadata.
    #[test]
    fn a_secret_is_in_no_record(
        before in "[a-z ]{0,20}",
        secret in "[a-z]{3,8}@[a-z]{3,8}\\.org|\\+31 6 [0-9]{8}|[1-9][0-9]{7}",
        after in "( [a-z]{1,9}){0,3}",
        cut in 0..20u32,
    ) {
        let text = format!("{before} {secret}{after}");
        let chars = u32::try_from(text.chars().count()).unwrap();
        let open = TaskSettings { rules: Rules::default(), ..settings() };
        let leave = Leave { text: true, fields: set(["Item"]), meta: set(["asset"]) };
        let policy = TaskPolicy::new(TaskSettings { leave, ..open }, &extraction()).unwrap();
        let mut request = request(&text);
        request.meta.insert("asset".to_owned(), secret.clone());
        let found = spans(&[("Item", cut.min(chars - 1), chars)]);
        let Entry { outcome, escalation, .. } = decide(&policy, &request, found);
        for record in [Some(Record::Outcome(outcome)), escalation.map(Record::Escalation)] {
            prop_assert!(!format!("{record:?}").contains(&secret), "{record:?}");
        }
    }
}

/// What a model found is masked in text and fields, and the record says what masked.
#[test]
fn masks_of_a_model_are_applied_and_recorded() {
    let policy = extractor();
    let text = "pump of Jansen leaks";
    let request = request(text);
    let judgement = policy.after_model(&request, Ok(spans(&[("Item", 0, 4), ("Item", 8, 14)])), 0);
    let found = ModelSpan { label: "Person".to_owned(), start: 8, end: 14 };
    let cases = [
        (ModelMasks::Off, "Jansen", Masking::Patterns),
        (ModelMasks::Unavailable, "Jansen", Masking::ModelUnavailable),
        (ModelMasks::Found(vec![found]), "<person>", Masking::PatternsAndModel { spans: 1 }),
    ];
    for (masks, value, masking) in cases {
        let entry = policy.record(&request, &judgement, &masks, STAMP);
        assert_eq!(entry.outcome.masking, Some(masking));
        let Some(Decision::Fields(fields)) = &entry.outcome.decision else { panic!() };
        let values: Vec<&str> = fields.iter().map(|field| field.value.as_str()).collect();
        assert_eq!(values, ["pump", value]);
        assert_eq!(entry.reply.fields(text).unwrap()[1].value, "Jansen", "the caller's own");
    }
}

#[test]
fn a_model_is_asked_for_masks_only_where_text_leaves() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    let asks = |policy: &TaskPolicy, text: &str| {
        let request = request(text);
        policy.lets_text_leave(&request, &policy.before_model(&request, &Rules::default()))
    };
    assert!(asks(&policy, "pump makes noise"));
    assert!(!asks(&policy, " "), "the guard refused it");
    let leave = Leave { meta: set(["asset"]), ..Leave::default() };
    let closed = TaskPolicy::new(TaskSettings { leave, ..settings() }, &classification()).unwrap();
    assert!(!asks(&closed, "pump makes noise"), "nothing but metadata leaves");
    let entry = decide(&closed, &request("pump makes noise"), view(0.9));
    assert_eq!((entry.outcome.text, entry.outcome.masking), (None, None));
}

#[test]
fn rules_of_the_hub_come_after_the_sites_own_and_before_the_model() {
    let policy = TaskPolicy::new(settings(), &classification()).unwrap();
    let (hub, _) = Rules::compile(&[
        rule("hub:fire", "fire", Action::Answer("Breakdown".to_owned())),
        rule("hub:leak", "leaking", Action::Answer("Breakdown".to_owned())),
        rule("hub:odd", "noise", Action::Answer("Squeal".to_owned())),
        rule("hub:noise", "noise", Action::OutOfScope),
        rule("hub:salary", "salary", Action::OutOfScope),
    ])
    .unwrap();
    let by = |text: &str, hub: &Rules| match policy.before_model(&request(text), hub) {
        Before::Decided(judgement) => format!("{:?}", judgement.mechanism),
        Before::AskModel => "the model".to_owned(),
    };
    // What the site answers or refuses stands; what it would ask the hub, the hub has answered.
    assert_eq!(by("pump leaking", &hub), "Rule(\"leak\")");
    assert_eq!(by("test of noise", &hub), "Rule(\"junk\")");
    assert_eq!(by("fire in bin", &Rules::default()), "Rule(\"fire\")");
    assert_eq!(by("fire in bin", &hub), "Rule(\"hub:fire\")");
    // An answer that the model's task does not know is passed over.
    assert_eq!(by("noise", &hub), "Rule(\"hub:noise\")");
    assert!(by("salary of the crew", &hub).starts_with("Guard"), "the guard is first");
    assert_eq!(by("a hum", &hub), "the model");
    // The newer set first.
    let (newer, _) = Rules::compile(&[rule("hub:new", "noise", Action::Escalate)]).unwrap();
    assert_eq!(by("noise", &Rules::join([newer, hub])), "Rule(\"hub:new\")");
}
