//! When what people said becomes the answer.
//!
//! A person's word counts once, the last one. As soon as enough different people say the same,
//! that is the answer; it is sent when a moment for second thoughts has passed. Until then each
//! can take back their own word.

use landfall_wire::record::Decision;

/// One person's word.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// Who.
    pub by: String,
    /// What.
    pub decision: Decision,
    /// When.
    pub at_ms: u64,
}

/// How the words stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// More people are needed who say the same.
    Open {
        /// How many agree at best.
        agreed: u8,
        /// Whether there are different opinions.
        split: bool,
    },
    /// Enough say the same.
    Agreed {
        /// Whose word is sent: the last of those who agree, so that its spans are as checked.
        last: usize,
        /// Who agrees, in the order of their words.
        by: Vec<String>,
        /// When it is sent.
        send_ms: u64,
    },
}

/// Counts the words, one of each person, in the order in which they were given.
pub fn standing(votes: &[Vote], needed: u8, grace_ms: u64) -> Standing {
    let mut agreed_max = 0;
    for (last, vote) in votes.iter().enumerate().rev() {
        let same: Vec<&Vote> =
            votes.iter().filter(|it| same(&it.decision, &vote.decision)).collect();
        if same.len() >= usize::from(needed.max(1)) {
            let by = same.iter().map(|vote| vote.by.clone()).collect();
            return Standing::Agreed { last, by, send_ms: vote.at_ms.saturating_add(grace_ms) };
        }
        agreed_max = agreed_max.max(same.len());
    }
    let split = agreed_max < votes.len();
    Standing::Open { agreed: u8::try_from(agreed_max).unwrap_or(u8::MAX), split }
}

/// Whether two decisions say the same: of fields, type and place count, their order does not.
pub fn same(one: &Decision, other: &Decision) -> bool {
    match (one, other) {
        (Decision::Fields(one), Decision::Fields(other)) => {
            let key = |fields: &[landfall_wire::record::Field]| {
                let mut keys: Vec<_> =
                    fields.iter().map(|f| (f.start, f.end, f.label.clone())).collect();
                keys.sort();
                keys
            };
            key(one) == key(other)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_wire::id::Confidence;
    use landfall_wire::record::Field;

    fn vote(by: &str, label: &str, at_ms: u64) -> Vote {
        Vote { by: by.into(), decision: Decision::Label(label.into()), at_ms }
    }

    #[test]
    fn one_word_is_enough_unless_two_must_agree() {
        let one = [vote("ann", "Leaking", 100)];
        let agreed = Standing::Agreed { last: 0, by: vec!["ann".into()], send_ms: 110 };
        assert_eq!(standing(&one, 1, 10), agreed);
        assert_eq!(standing(&one, 2, 10), Standing::Open { agreed: 1, split: false });
        let two = [vote("ann", "Leaking", 100), vote("bob", "Leaking", 200)];
        let by = vec!["ann".into(), "bob".into()];
        assert_eq!(standing(&two, 2, 10), Standing::Agreed { last: 1, by, send_ms: 210 });
        assert_eq!(standing(&[], 1, 10), Standing::Open { agreed: 0, split: false });
    }

    #[test]
    fn a_third_decides_between_two() {
        let mut votes = vec![vote("ann", "Leaking", 1), vote("bob", "Stuck", 2)];
        assert_eq!(standing(&votes, 2, 0), Standing::Open { agreed: 1, split: true });
        votes.push(vote("cid", "Leaking", 3));
        let by = vec!["ann".into(), "cid".into()];
        assert_eq!(standing(&votes, 2, 0), Standing::Agreed { last: 2, by, send_ms: 3 });
    }

    #[test]
    fn fields_are_the_same_in_any_order() {
        let field = |label: &str, start, confidence| Field {
            label: label.into(),
            value: "x".into(),
            start,
            end: start + 1,
            confidence: Confidence::from_basis_points(confidence),
        };
        let one = Decision::Fields(vec![field("Item", 0, 10), field("Place", 4, 10)]);
        let other = Decision::Fields(vec![field("Place", 4, 9_000), field("Item", 0, 10_000)]);
        assert!(same(&one, &other));
        assert!(!same(&one, &Decision::Fields(vec![field("Item", 0, 10)])));
        assert!(!same(&one, &Decision::OutOfScope));
    }
}
