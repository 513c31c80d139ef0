//! Regular expressions that a site wrote, within limits: matching is linear in the text (the
//! `regex` crate never backtracks), and compiling one cannot fill the memory.

use regex::{Regex, RegexBuilder};

/// Longest pattern in bytes.
pub const PATTERN_BYTES_MAX: usize = 1000;
/// Most bytes of one compiled pattern, and of its lazy automaton: with a few hundred patterns a
/// device stays in tens of megabytes.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 50;

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern has {0} bytes, over the limit of {PATTERN_BYTES_MAX}")]
    TooLong(usize),
    /// Grows too large when compiled, as `\w{1000}` does.
    #[error("the pattern grows over {COMPILED_BYTES_MAX} bytes when compiled")]
    TooLarge,
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// Matches the empty text, and so every text.
    #[error("the pattern matches every text, even an empty one")]
    MatchesAll,
}

impl PatternError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            PatternError::TooLong(_) => "split it over several entries",
            PatternError::TooLarge => "use smaller repetition counts, such as \\w+ for \\w{1000}",
            PatternError::Syntax(_) => {
                "correct it; back-references and look-around are not supported, and a literal \
                 in single quotes needs no doubled backslashes"
            }
            PatternError::MatchesAll => "make some part of it obligatory: + instead of *",
        }
    }
}

/// Compiles a site's pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong(pattern.len()));
    }
    let regex = RegexBuilder::new(pattern)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| explain(&error))?;
    if regex.is_match("") { Err(PatternError::MatchesAll) } else { Ok(regex) }
}

fn explain(error: &regex::Error) -> PatternError {
    match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        // The parser draws the pattern with a caret over several lines; the last says what.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            PatternError::Syntax(last.trim_start_matches("error: ").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        assert!(compile(r"(?i)\bleak(s|ing)?\b").is_ok());
        assert_eq!(compile("a*").unwrap_err(), PatternError::MatchesAll);
        assert_eq!(compile(r"\w{3000}").unwrap_err(), PatternError::TooLarge);
        assert_eq!(compile(&"a".repeat(1001)).unwrap_err(), PatternError::TooLong(1001));
        assert_eq!(compile("(a").unwrap_err(), PatternError::Syntax("unclosed group".to_owned()));
        let nested = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(matches!(compile(&nested).unwrap_err(), PatternError::Syntax(_)));
        assert!(matches!(compile(r"(a)\1").unwrap_err(), PatternError::Syntax(_)));
    }
}
