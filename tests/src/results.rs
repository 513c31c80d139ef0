//! Results in a Markdown file: what a program measured replaces what it measured before, between
//! two comments that name the program.

use anyhow::{Context, Result};
use std::path::Path;

/// Puts `text` in the place of `name` in a Markdown file: between the lines
/// `<!-- name: table -->` and `<!-- name: end -->`.
///
/// # Errors
/// When the file cannot be read or written, or has no such place.
pub fn replace(path: &Path, name: &str, text: &str) -> Result<()> {
    let before =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (start, end) = marks(name);
    let after = replaced(&before, name, text)
        .with_context(|| format!("{} has no lines {start} and {end}", path.display()))?;
    std::fs::write(path, after).with_context(|| format!("cannot write {}", path.display()))
}

/// What stands in the place of `name` now.
///
/// # Errors
/// When the file cannot be read, or has no such place.
pub fn read(path: &Path, name: &str) -> Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (start, end) = marks(name);
    let place = text.split_once(&start).and_then(|(_, rest)| rest.split_once(&end));
    let (inside, _) =
        place.with_context(|| format!("{} has no lines {start} and {end}", path.display()))?;
    Ok(inside.trim().to_owned())
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name}: table -->"), format!("<!-- {name}: end -->"))
}

fn replaced(text: &str, name: &str, new: &str) -> Option<String> {
    let (start, end) = marks(name);
    let (before, rest) = text.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}\n\n{}\n\n{end}{after}", new.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_results_replace_those_of_the_same_program() {
        let text = "# Measured\n<!-- a: table -->\nstale\n<!-- a: end -->\n\
                    <!-- b: table -->\nkept\n<!-- b: end -->\nrest\n";
        let new = replaced(text, "a", "| fresh |\n").unwrap();
        assert!(new.contains("| fresh |") && !new.contains("stale"), "{new}");
        assert!(new.contains("kept") && new.ends_with("\nrest\n"), "{new}");
        assert_eq!(replaced(&new, "a", "| fresh |\n").as_deref(), Some(new.as_str()));
        assert_eq!(replaced(text, "c", "x"), None);
    }
}
