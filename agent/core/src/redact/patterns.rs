//! The built-in patterns. They mask rather too much than too little: a masked measurement costs
//! an operator a question, a leaked number cannot be taken back.

use regex::Regex;
use std::sync::LazyLock;

/// A kind of personal data or identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `name@example.org`
    Email,
    /// `DE89 3704 0044 0532 0130 00`
    Iban,
    /// `192.0.2.7`, `2001:db8::7`, hardware addresses.
    Ip,
    /// `+31 6 1234 5678`, `(010) 123-4567`, `555-0142`.
    Phone,
    /// Thirteen to nineteen digits, in groups or not.
    Card,
    /// Six digits or more in a row: order, account, staff and serial numbers.
    Number,
    /// A name after a title: `Mr Jansen`, `Capt. de Boer`.
    Name,
    /// Tags of equipment: `P-101`, `HX-0042A`. Off by default: at most sites they are what a
    /// work order is about.
    Equipment,
}

impl Kind {
    /// Every kind, in the order in which they are applied: the more specific first.
    pub const ALL: [Kind; 8] = [
        Kind::Email,
        Kind::Iban,
        Kind::Ip,
        Kind::Phone,
        Kind::Card,
        Kind::Number,
        Kind::Name,
        Kind::Equipment,
    ];
    /// What is masked unless the site says otherwise.
    pub const DEFAULT: [Kind; 7] =
        [Kind::Email, Kind::Iban, Kind::Ip, Kind::Phone, Kind::Card, Kind::Number, Kind::Name];

    /// Its name in the configuration, and in its mask.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Iban => "iban",
            Kind::Ip => "ip",
            Kind::Phone => "phone",
            Kind::Card => "card",
            Kind::Number => "number",
            Kind::Name => "name",
            Kind::Equipment => "equipment",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn pattern(self) -> &'static str {
        match self {
            // The last part has letters only, so that "oil@80.5C" is not one.
            Kind::Email => r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]*\w\.\p{L}{2,}",
            Kind::Iban => {
                r"(?x) (?i: \b [A-Z]{2}\d{2} [A-Z\d]{11,30} \b )
                | \b [A-Z]{2}\d{2} (?: [\ -] [A-Z\d]{4} ){2,7} (?: [\ -] [A-Z\d]{1,4} )? \b"
            }
            Kind::Ip => {
                r"(?xi) \b \d{1,3} (?: \. \d{1,3} ){3} \b
                | \b (?: [\da-f]{1,4} : ){3,7} [\da-f]{1,4} \b
                | (?: \b [\da-f]{1,4} (?: : [\da-f]{1,4} ){0,6} )? :: (?: [\da-f]{1,4} (?: : [\da-f]{1,4} ){0,6} \b )
                | \b [\da-f]{2} (?: - [\da-f]{2} ){5} \b"
            }
            Kind::Phone => {
                r"(?x) \+ \d (?: [\s().\-/]{0,3} \d ){6,14}
                | \b 00 \d (?: [\s().\-/]{0,3} \d ){6,13}
                | \(? \b 0 \d{1,4} \)? [\s.\-/]{0,2} \d (?: [\s.\-/]? \d ){4,9}
                | \(? \b \d{3} \)? [\s.\-] \d{3} [\s.\-] \d{4} \b
                | \b \d{3} [.\-] \d{4} \b"
            }
            Kind::Card => r"\d(?:[ -]?\d){12,18}",
            Kind::Number => r"\d{6,}",
            Kind::Name => {
                r"(?x) \b (?: Mr | Mrs | Ms | Miss | Dr | Prof | Capt | Captain | Herr | Frau
                    | Mme | Sr | Sra ) \b \.? (?: \s+ (?: van | von | de | der | den | la | di )){0,2}
                (?: \s+ \p{Lu} [\p{L}\p{M}'’.-]* ){1,3}"
            }
            Kind::Equipment => r"\b[A-Z]{1,4}[-_ ]?\d{2,6}[A-Z]?\b",
        }
    }
}

/// The masks of `kinds` with their patterns, in the order of [`Kind::ALL`].
pub(super) fn of(kinds: &[Kind]) -> Vec<(String, Regex)> {
    #[expect(clippy::unwrap_used, reason = "constant patterns, compiled by every test")]
    static COMPILED: LazyLock<[Regex; Kind::ALL.len()]> =
        LazyLock::new(|| Kind::ALL.map(|kind| Regex::new(kind.pattern()).unwrap()));
    let all = Kind::ALL.iter().zip(COMPILED.iter());
    all.filter(|(kind, _)| kinds.contains(kind))
        .map(|(kind, regex)| (format!("<{}>", kind.name()), regex.clone()))
        .collect()
}
