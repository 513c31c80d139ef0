use super::*;
use proptest::prelude::*;

fn all() -> Redactor {
    let site = SitePattern { mask: "berth".to_owned(), regex: r"(?i)\bberth \d+".to_owned() };
    Redactor::new(&Kind::ALL, &[site]).unwrap()
}

#[test]
fn built_in_patterns() {
    #[rustfmt::skip]
    let cases = [
        ("ask j.doe+x@ship-7.example.org now", "ask <email> now"),
        ("mail:Jürgen@werft.de.", "mail:<email>."),
        ("oil@80.5C at pump", "oil@80.5C at pump"),
        ("pay DE89 3704 0044 0532 0130 00 today", "pay <iban> today"),
        ("pay DE89370400440532013000.", "pay <iban>."),
        ("nl91abna0417164300", "<iban>"),
        ("gateway 192.168.10.254 down", "gateway <ip> down"),
        ("host fe80::1ff:fe23:4567:890a lost", "host <ip> lost"),
        ("mac 00:1a:2b:3c:4d:5e", "mac <ip>"),
        ("at 12:30:45 leak", "at 12:30:45 leak"),
        ("call +31 6 1234 5678 pls", "call <phone> pls"),
        ("call 0031-6-12345678", "call <phone>"),
        ("call (010) 123-4567!", "call <phone>!"),
        ("tel 555-123-4567", "tel <phone>"),
        ("ring 555-0142 re lights", "ring <phone> re lights"),
        ("card 4111 1111 1111 1111", "card <card>"),
        ("order 4500123456 pump", "order <number> pump"),
        ("replaced 3 of 12 bolts M16 at 1450 rpm, 24.5 bar", "replaced 3 of 12 bolts M16 at 1450 rpm, 24.5 bar"),
        ("seen by Mr. Jansen and Capt van der Berg", "seen by <name> and <name>"),
        ("Mr Coffee machine", "<name> machine"),
        ("already <email> and <phone>", "already <email> and <phone>"),
        ("moored at Berth 12", "moored at <berth>"),
        ("", ""),
    ];
    let default = Redactor::new(
        &Kind::DEFAULT,
        &[SitePattern { mask: "berth".to_owned(), regex: r"(?i)\bberth \d+".to_owned() }],
    )
    .unwrap();
    for (text, want) in cases {
        assert_eq!(default.redact(text).text(), want, "{text}");
    }
    assert_eq!(all().redact("pump P-101 and HX0042A").text(), "pump <equipment> and <equipment>");
    let none = Redactor::new(&[], &[]).unwrap();
    assert_eq!(none.redact("a@b.org 123456").text(), "a@b.org 123456");
}

#[test]
fn a_field_is_masked_where_the_text_is() {
    let text = "é call 555-123-4567 or pump";
    let redacted = Redactor::default().redact(text);
    let cut = redacted.cutter();
    assert_eq!(cut(11, 19), "<phone>", "part of a number, which alone would not look like one");
    assert_eq!(cut(2, 6), "call");
    assert_eq!(cut(2, 12), "call <phone>");
    assert_eq!(cut(23, 27), "pump");
    assert_eq!(cut(23, 900), "pump", "past the end");
    assert_eq!(cut(5, 2), "");
}

#[test]
fn a_site_pattern_may_be_odd_but_never_loops() {
    let site = |regex: &str| SitePattern { mask: "x".to_owned(), regex: regex.to_owned() };
    // Each round uncovers a new start of text.
    let odd = Redactor::new(&[], &[site(r"^.")]).unwrap();
    assert_eq!(odd.redact("abcdefgh").text(), "<withheld>");
    assert_eq!(odd.redact("<withheld>").text(), "<withheld>");
    let broad = Redactor::new(&[], &[site(r"\w+")]).unwrap();
    assert_eq!(broad.redact("mask <email> all").text(), "<x> <email> <x>");
}

#[test]
fn every_fault_of_a_site_pattern_is_told() {
    let site =
        |mask: &str, regex: &str| SitePattern { mask: mask.to_owned(), regex: regex.to_owned() };
    let bad = [site("ok", "a"), site("Not OK", "a"), site("ok", "("), site("ok", "a?")];
    let errors = Redactor::new(&[], &bad).unwrap_err();
    let texts: Vec<_> = errors.iter().map(|(index, e)| (*index, e.to_string())).collect();
    assert_eq!(texts[0], (1, "'Not OK' cannot name a mask".to_owned()));
    assert_eq!(texts[1], (2, "not a regular expression: unclosed group".to_owned()));
    assert_eq!(texts[2], (3, "the pattern matches every text, even an empty one".to_owned()));
    let many = vec![site("ok", "a"); SITE_PATTERNS_MAX + 1];
    assert!(Redactor::new(&[], &many).is_err());
}

#[test]
fn a_megabyte_is_redacted_in_linear_time() {
    // Near misses of every pattern; quadratic work would take minutes.
    for unit in ["a.b@", "1-", "+1 ", "a1:", "Mr ", "DE12 ABCD ", "<email", "12345 ", "0 "] {
        let text = unit.repeat(1_000_000 / unit.len());
        assert!(!all().redact(&text).text().is_empty());
    }
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9.]{0,8}[a-z]@[a-z]{2,8}\\.(org|com|de)",
        "[A-Z]{2}[0-9]{2} [0-9]{4} [0-9]{4} [0-9]{4} [0-9]{2}",
        "[A-Z]{2}[0-9]{2}[A-Z0-9]{14}",
        "\\+[1-9][0-9]{9,12}",
        "\\+[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{4}",
        "[1-9][0-9]{2}-[0-9]{3}-[0-9]{4}",
        "[1-9][0-9]{3} [0-9]{4} [0-9]{4} [0-9]{4}",
        "[1-9][0-9]{5,11}",
        "[12][0-9]{2}\\.[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}",
        "Mr [A-Z][a-z]{3,9}",
    ]
}

proptest! {
    #[test]
    fn redacting_twice_changes_nothing(text in any::<String>()) {
        let once = all().redact(&text).text();
        prop_assert_eq!(all().redact(&once).text(), once);
    }

    /// The same over text made of what the patterns look for.
    #[test]
    fn redacting_twice_changes_nothing_in_hard_text(
        text in "([0-9]{1,8}|[a-z]{1,3}|[ .:@<>+()-]|DE12|Mr |<email>|::|berth ){0,30}",
    ) {
        let once = all().redact(&text).text();
        prop_assert_eq!(all().redact(&once).text(), once);
    }

    #[test]
    fn a_planted_secret_never_leaks(
        before in "([a-zA-Z0-9 .,:@<>é-]{0,20}[ ,;])?",
        secret in secret(),
        after in "([ ,;!][a-zA-Z0-9 .,:@<>é-]{0,20})?",
    ) {
        let text = format!("{before}{secret}{after}");
        let redacted = all().redact(&text).text();
        prop_assert!(!redacted.contains(&secret), "{text} -> {redacted}");
    }

    /// No span of the text shows more than the redacted whole.
    #[test]
    fn spans_show_no_more_than_the_text(
        text in "[a-z0-9 +@.-]{0,60}",
        start in 0..60u32,
        length in 0..60u32,
    ) {
        let redactor = all();
        let redacted = redactor.redact(&text);
        let value = redacted.cutter()(start, start + length);
        prop_assert!(redacted.text().contains(&value), "{value} not in {}", redacted.text());
    }
}

fn found(spans: &[(&str, u32, u32)]) -> Vec<ModelSpan> {
    let span = |(label, start, end): &(&str, u32, u32)| ModelSpan {
        label: (*label).to_owned(),
        start: *start,
        end: *end,
    };
    spans.iter().map(span).collect()
}

/// Label, first character, character after the last.
type Spans = &'static [(&'static str, u32, u32)];

#[test]
fn what_a_model_found_is_masked_beside_the_patterns() {
    let text = "é Jansen of P-101 call 555-123-4567 now";
    #[rustfmt::skip]
    let cases: &[(Spans, &str)] = &[
        (&[], "é Jansen of P-101 call <phone> now"),
        (&[("Person", 2, 8), ("asset_id", 12, 17)], "é <person> of <asset-id> call <phone> now"),
        // Half a number, a span over a pattern's, one beyond the text, one that is empty.
        (&[("Person", 23, 27)], "é Jansen of P-101 call <phone> now"),
        (&[("Person", 18, 39)], "é Jansen of P-101 <person><phone><person>"),
        (&[("Person", 36, 900), ("Person", 5, 5), ("Person", 9, 2)], "é Jansen of P-101 call <phone> <person>"),
        // One inside another, and one that overlaps it.
        (&[("Person", 2, 8), ("Part", 4, 6), ("Part", 6, 11)], "é <person><part> P-101 call <phone> now"),
        (&[("日本", 2, 8)], "é <masked> of P-101 call <phone> now"),
        (&[("A label that is far too long", 2, 8)], "é <a-label-that-is-far-> of P-101 call <phone> now"),
    ];
    let redactor = Redactor::default();
    for (spans, want) in cases {
        let got = redactor.redact_with(text, &found(spans)).text();
        assert_eq!(got, *want, "{spans:?}");
        assert_eq!(redactor.redact(&got).text(), got, "redacting again changes nothing");
    }
}

proptest! {
    /// A model adds masks and takes none away, whatever it says it found.
    #[test]
    fn a_model_only_adds_masks(
        text in "([0-9]{1,8}|[a-z]{1,3}|[ .:@<>+()é-]|DE12|Mr |<email>|::|berth ){0,30}",
        spans in prop::collection::vec((0..80u32, 0..80u32), 0..8),
    ) {
        let spans: Vec<ModelSpan> =
            spans.iter().flat_map(|&(start, end)| found(&[("Person", start, end)])).collect();
        let plain = all().redact(&text);
        let masked = all().redact_with(&text, &spans);
        let shown = |redacted: &Redacted<'_>| -> Vec<bool> {
            let stays = |at: usize| {
                redacted.pieces.iter().any(|p| p.mask.is_none() && p.bytes.contains(&at))
            };
            (0..text.len()).map(stays).collect()
        };
        let (plain, masked_shown) = (shown(&plain), shown(&masked));
        prop_assert!(plain.iter().zip(&masked_shown).all(|(plain, masked)| *plain || !masked));
        let offsets = char_offsets(&text);
        for span in &spans {
            let byte = |at: u32| offsets.get(at as usize).copied().unwrap_or(text.len());
            let (start, end) = (byte(span.start), byte(span.end).max(byte(span.start)));
            let covered = &masked_shown[start..end];
            prop_assert!(!covered.contains(&true), "{span:?} of {text} is shown");
        }
        prop_assert_eq!(masked.bytes(), text.len());
        let once = masked.text();
        prop_assert_eq!(all().redact(&once).text(), once);
    }
}

impl Redacted<'_> {
    /// Bytes of the text that the pieces stand for.
    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }
}
