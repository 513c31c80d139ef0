//! Past cases that read like a question: BM25 over the answered questions of its task.
//!
//! Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
//! with the usual k1 = 1.2 and b = 0.75. A few hundred texts of at most 2 kB: quicker to score
//! than to index.

use std::collections::{BTreeMap, BTreeSet};

/// Past cases that are looked at, the newest: some 30 ms on a small machine at full length.
pub const PAST_MAX: usize = 500;

/// Cases that are shown or told to a model: more are not read.
pub const SIMILAR_MAX: usize = 5;

/// How soon a repeated word counts no more.
const K1: f64 = 1.2;
/// How much a long text is discounted.
const B: f64 = 0.75;

/// The places in `past` that read most like `query`, best first, at most `most`; none that
/// shares no word with it.
pub fn similar(query: &str, past: &[&str], most: usize) -> Vec<usize> {
    let past = &past[..past.len().min(PAST_MAX)];
    let wanted: BTreeSet<String> = words(query).collect();
    let counts: Vec<(BTreeMap<String, u32>, f64)> = past.iter().map(|text| count(text)).collect();
    let total: f64 = counts.iter().map(|(_, length)| length).sum();
    let average = (total / as_f64(past.len().max(1))).max(1.0);
    let rarity: BTreeMap<&String, f64> = wanted
        .iter()
        .map(|word| {
            let having =
                as_f64(counts.iter().filter(|(words, _)| words.contains_key(word)).count());
            let n = as_f64(past.len());
            (word, ((n - having + 0.5) / (having + 0.5) + 1.0).ln())
        })
        .collect();
    let mut scored: Vec<(f64, usize)> = counts
        .iter()
        .enumerate()
        .map(|(at, (words, length))| {
            let score = rarity.iter().map(|(word, rarity)| {
                let times = words.get(*word).copied().map_or(0.0, f64::from);
                rarity * times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length / average))
            });
            (score.sum(), at)
        })
        .filter(|(score, _): &(f64, usize)| *score > 0.0)
        .collect();
    // Ties: the newer one, which comes first.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(most).map(|(_, at)| at).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn count(text: &str) -> (BTreeMap<String, u32>, f64) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut length = 0_u32;
    for word in words(text) {
        *counts.entry(word).or_default() += 1;
        length += 1;
    }
    (counts, f64::from(length))
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_that_shares_rare_words_comes_first() {
        let past = [
            "pump leaks at the shaft seal",
            "valve does not open",
            "the pump is the pump that was replaced",
            "Shaft seal: LEAKS again",
        ];
        assert_eq!(similar("leaking shaft seal", &past, 5), [3, 0]);
        assert_eq!(similar("the", &past, 1), [2]);
        assert_eq!(similar("compressor", &past, 5), [0_usize; 0]);
        assert!(similar("", &past, 5).is_empty() && similar("pump", &[], 5).is_empty());
    }

    #[test]
    fn of_equals_the_newest() {
        assert_eq!(similar("pump", &["pump", "pump", "pump"], 2), [0, 1]);
    }
}
