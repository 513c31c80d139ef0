//! Whole-word matching, without case.
//!
//! A word is a maximal run of letters and digits, in lower case. A phrase is one word or more
//! that follow each other, whatever stands between them: `not-working` finds "Not working".

use std::collections::HashMap;

/// Most words of one phrase: longer ones are sentences, and belong in a regular expression.
pub const PHRASE_WORDS_MAX: usize = 8;

/// One word or more that must follow each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Phrase(Vec<String>);

/// Why a text is not a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PhraseError {
    #[error("holds no letter or digit")]
    Empty,
    #[error("has more than {PHRASE_WORDS_MAX} words")]
    TooLong,
}

impl Phrase {
    pub(crate) fn parse(text: &str) -> Result<Phrase, PhraseError> {
        let words: Vec<String> = split(text).take(PHRASE_WORDS_MAX + 1).collect();
        match words.len() {
            0 => Err(PhraseError::Empty),
            n if n > PHRASE_WORDS_MAX => Err(PhraseError::TooLong),
            _ => Ok(Phrase(words)),
        }
    }

    /// Whether every text with this phrase also has `other`.
    pub(crate) fn implies(&self, other: &Phrase) -> bool {
        self.0.windows(other.0.len()).any(|window| window == other.0)
    }
}

impl std::fmt::Display for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// The words of one text, ready to be searched.
#[derive(Debug)]
pub(crate) struct Words {
    words: Vec<String>,
    /// Positions of each word; only looked up, never iterated.
    places: HashMap<String, Vec<usize>>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Words {
        let words: Vec<String> = split(text).collect();
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, word) in words.iter().enumerate() {
            places.entry(word.clone()).or_default().push(at);
        }
        Words { words, places }
    }

    pub(crate) fn contain(&self, phrase: &Phrase) -> bool {
        let starts = phrase.0.first().and_then(|first| self.places.get(first));
        starts.into_iter().flatten().any(|&at| self.words[at..].starts_with(&phrase.0))
    }
}

fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_words_and_phrases() {
        #[rustfmt::skip]
        let cases = [
            ("Leak at pump", "leak", true),
            ("Leaking pump", "leak", false),
            ("pump NOT  working!", "not-working", true),
            ("not yet working", "not working", false),
            ("not not working", "not working", true),
            ("not", "not working", false),
            ("ÖLLECK am Motor", "ölleck", true),
            ("pump #3", "3", true),
            ("", "3", false),
        ];
        for (text, phrase, want) in cases {
            let phrase = Phrase::parse(phrase).unwrap();
            assert_eq!(Words::of(text).contain(&phrase), want, "{phrase} in {text}");
        }
    }

    #[test]
    fn phrases_need_words_and_not_too_many() {
        assert_eq!(Phrase::parse("- !"), Err(PhraseError::Empty));
        assert_eq!(Phrase::parse("a b c d e f g h i"), Err(PhraseError::TooLong));
    }

    #[test]
    fn a_longer_phrase_implies_its_parts() {
        let phrase = |text| Phrase::parse(text).unwrap();
        assert!(phrase("oil leak").implies(&phrase("leak")));
        assert!(!phrase("leak").implies(&phrase("oil leak")));
        assert!(!phrase("oil a leak").implies(&phrase("oil leak")));
    }
}
