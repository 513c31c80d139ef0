use super::*;
use proptest::prelude::*;

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|w| !w.is_empty()).map(|w| w.trim().to_owned()).collect()
}

/// `name; any words; all words; regex; meta key=value; action`, the parts may be empty.
fn rule(line: &str) -> RuleSpec {
    let parts: Vec<&str> = line.split(';').map(str::trim).collect();
    let [name, any, all, regex, meta, action] = parts[..] else { panic!("six parts: {line}") };
    RuleSpec {
        name: name.to_owned(),
        words: words(any),
        all_words: words(all),
        regex: (!regex.is_empty()).then(|| regex.to_owned()),
        meta: meta.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect(),
        action: match action {
            "escalate" => Action::Escalate,
            "out" => Action::OutOfScope,
            refuse if refuse.starts_with("no ") => Action::Refuse(refuse[3..].to_owned()),
            label => Action::Answer(label.to_owned()),
        },
    }
}

fn rules(lines: &[&str]) -> Vec<RuleSpec> {
    lines.iter().map(|line| rule(line)).collect()
}

fn request(text: &str, meta: &[(&str, &str)]) -> Request {
    Request {
        task: "t".parse().unwrap(),
        text: text.to_owned(),
        caller_id: None,
        meta: meta.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let specs = rules(&[
        "drill; fire drill; ; ; ; out",
        "fire; fire, smoke; ; ; ; escalate",
        "oil-leak; ; oil, leak; ; ; Leaking",
        r"code; ; ; \bE\d{3}\b; ; Electrical",
        "galley; oven; ; ; asset=galley; Low output",
        "payroll; salary; ; ; ; no payroll is not a defect",
    ]);
    let (rules, warnings) = Rules::compile(&specs).unwrap();
    assert_eq!(warnings, []);
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("Fire drill at noon", &[], Some("drill")),
        ("small FIRE in bin", &[], Some("fire")),
        ("leak of hydraulic oil", &[], Some("oil-leak")),
        ("oil level low", &[], None),
        ("alarm E042 shown", &[], Some("code")),
        ("oven cold", &[("asset", "galley")], Some("galley")),
        ("oven cold", &[("asset", "mess")], None),
        ("oven cold", &[], None),
        ("salary is late", &[], Some("payroll")),
    ];
    for (text, meta, want) in cases {
        assert_eq!(rules.decide(&request(text, meta)).map(Rule::name), *want, "{text}");
    }
}

#[test]
fn rules_that_can_never_decide_and_words_with_two_ends_are_reported() {
    #[rustfmt::skip]
    let cases: &[(&[&str], &[&str])] = &[
        (&["a; x; ; ; ; A", "b; y; ; ; ; B"], &[]),
        // the same condition
        (&["a; x; ; ; ; A", "b; x; ; ; ; A"], &["'b' can never"]),
        (&["a; ; ; x+; ; A", "b; ; ; x+; ; B"], &["'b' can never"]),
        // a narrower one after a broader one
        (&["a; x,y; ; ; ; A", "b; x; ; ; ; B"], &["'b' can never"]),
        (&["a; x; ; ; ; A", "b; old x; ; ; ; B"], &["'b' can never"]),
        (&["a; x; ; ; ; A", "b; ; x,y; ; ; B"], &["'b' can never"]),
        (&["a; ; x; ; ; A", "b; ; x,y; ; ; B"], &["'b' can never"]),
        (&["a; x; ; ; ; A", "b; x; ; ; asset=1; B"], &["'b' can never"]),
        (&["a; x; ; ; ; A", "b; x; ; q; ; B"], &["'b' can never"]),
        // nothing comes after a rule without a condition
        (&["a; ; ; ; ; A", "b; x; ; ; ; B", "c; ; ; q; ; C"], &["'b' can never", "'c' can never"]),
        // exceptions first are how it is done
        (&["b; old x; ; ; ; B", "a; x; ; ; ; A", "z; ; ; ; ; out"], &[]),
        (&["b; x; ; ; asset=1; B", "a; x; ; ; ; A"], &[]),
        // one word, two ends
        (&["a; x,y; ; ; ; A", "b; x,z; ; ; ; B"], &["both take 'x' and end in 'A' and 'B'"]),
        (&["a; x,y; ; ; ; A", "b; x,z; ; ; ; escalate"], &["in 'A' and an escalation"]),
        (&["a; x,y; ; ; ; A", "b; x,z; ; ; ; A"], &[]),
        (&["a; x,y; ; ; asset=1; A", "b; x,z; ; ; asset=2; B"], &[]),
    ];
    for (lines, want) in cases {
        let (_, warnings) = Rules::compile(&rules(lines)).unwrap();
        assert_eq!(warnings.len(), want.len(), "{lines:?}: {warnings:?}");
        for (warning, want) in warnings.iter().zip(*want) {
            assert!(warning.message.contains(want), "{lines:?}: {warning:?}");
        }
    }
}

#[test]
fn every_fault_is_told_with_its_rule_and_part() {
    let long = "n".repeat(64);
    let lines = [
        "a; ...; ; ; ; A".to_owned(),
        "a; x; a b c d e f g h i; (; ; ".to_owned(),
        format!("{long}; x; ; a*; ; {long}"),
        "; x; ; ; ; no ".to_owned() + &"r".repeat(201),
    ];
    let specs: Vec<RuleSpec> = lines.iter().map(|line| rule(line)).collect();
    let errors = Rules::compile(&specs).unwrap_err();
    let got: Vec<(usize, Part, &str)> =
        errors.iter().map(|e| (e.index, e.part, e.message.as_str())).collect();
    assert_eq!(
        got,
        [
            (0, Part::Words, "'...' holds no letter or digit"),
            (1, Part::Name, "a rule named 'a' is there already"),
            (1, Part::Action, "the answer of a rule has 0 bytes"),
            (1, Part::AllWords, "'a b c d e f g h i' has more than 8 words"),
            (1, Part::Regex, "not a regular expression: unclosed group"),
            (2, Part::Name, "the name of a rule has 64 bytes"),
            (2, Part::Action, "the answer of a rule has 64 bytes"),
            (2, Part::Regex, "the pattern matches every text, even an empty one"),
            (3, Part::Name, "the name of a rule has 0 bytes"),
            (3, Part::Action, "the reason of a rule has 201 bytes"),
        ]
    );
}

#[test]
fn rules_and_words_are_counted() {
    let many: Vec<RuleSpec> =
        (0..=RULES_MAX).map(|i| rule(&format!("r{i}; w{i}; ; ; ; A"))).collect();
    let errors = Rules::compile(&many).unwrap_err();
    assert_eq!(errors[0].message, "257 rules are over the limit of 256");
    let wide = RuleSpec { words: vec!["x".to_owned(); 257], ..rule("r; ; ; ; ; A") };
    let errors = Rules::compile(&[wide]).unwrap_err();
    assert_eq!(errors[0].message, "257 words are over the limit of 256");
}

fn arbitrary_rules() -> impl Strategy<Value = Vec<RuleSpec>> {
    let word = prop::sample::select(vec!["x", "y", "z", "x y", "old x"]);
    let list = prop::collection::vec(word.prop_map(str::to_owned), 0..3);
    let regex = prop::option::of(prop::sample::select(vec!["x", "y.*z", "[^ ]y"]));
    let meta = prop::option::of(0..2u8);
    let one = (list.clone(), list, regex, meta, 0..3u8);
    prop::collection::vec(one, 0..6).prop_map(|parts| {
        let spec = |(index, (any, all, regex, meta, action)): (
            usize,
            (_, _, Option<&str>, Option<u8>, u8),
        )| {
            RuleSpec {
                name: format!("r{index}"),
                words: any,
                all_words: all,
                regex: regex.map(str::to_owned),
                meta: meta.map(|m| ("m".to_owned(), m.to_string())).into_iter().collect(),
                action: Action::Answer(format!("L{action}")),
            }
        };
        parts.into_iter().enumerate().map(spec).collect()
    })
}

proptest! {
    /// Deciding is a function of the request, and a rule reported as unreachable never decides.
    #[test]
    fn deterministic_and_reports_are_true(
        specs in arbitrary_rules(),
        text in "([xyz]|old| |[^ ]y){0,12}",
        meta in prop::option::of(0..3u8),
    ) {
        let (rules, warnings) = Rules::compile(&specs).unwrap();
        let (again, _) = Rules::compile(&specs).unwrap();
        let meta = meta.map(|m| m.to_string());
        let pairs: Vec<(&str, &str)> = meta.as_deref().map(|m| ("m", m)).into_iter().collect();
        let request = request(&text, &pairs);
        let decided = rules.decide(&request).map(Rule::name);
        prop_assert_eq!(decided, again.decide(&request).map(Rule::name));
        for warning in warnings.iter().filter(|w| w.message.contains("can never decide")) {
            prop_assert_ne!(decided, Some(specs[warning.index].name.as_str()));
        }
    }

    /// No text makes a rule panic.
    #[test]
    fn any_text_is_decided(text in any::<String>()) {
        let specs = rules(&["a; leak, not working; ; ; ; A", r"b; ; ; (?i)\bE\d+\b; ; B"]);
        let (rules, _) = Rules::compile(&specs).unwrap();
        rules.decide(&request(&text, &[]));
    }
}
