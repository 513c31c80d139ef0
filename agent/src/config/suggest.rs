//! "Did you mean".

/// Most edits between what was written and what was meant: two slips of the finger.
const EDITS_MAX: usize = 2;

/// A remedy for a name that is not one of `known`: the nearest of them, or all.
pub(super) fn remedy<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    let near = known
        .iter()
        .map(|name| (edits(&written.to_lowercase(), &name.to_lowercase()), *name))
        .filter(|(edits, name)| *edits <= EDITS_MAX && *edits < name.chars().count())
        .min();
    match near {
        Some((_, name)) => format!("did you mean '{name}'?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("use one of: {}", known.join(", ")),
    }
}

/// Levenshtein distance in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_or_all() {
        let known = ["listen", "address", "identity"];
        assert_eq!(remedy("adress", known), "did you mean 'address'?");
        assert_eq!(remedy("Listen", known), "did you mean 'listen'?");
        assert_eq!(remedy("port", known), "use one of: address, identity, listen");
        assert_eq!(remedy("x", ["ab"]), "use one of: ab", "a short name is near to everything");
        assert_eq!(remedy("x", []), "remove it");
    }
}
