//! The table of what was broken and what came of it.

use serde::Serialize;
use std::fmt::Write as _;

/// One fault, some number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was done.
    pub fault: String,
    /// How often.
    pub times: usize,
    /// Outcomes that callers were told.
    pub told: usize,
    /// Told, not at the hub, and nobody says so.
    pub lost: usize,
    /// Told, not at the hub, and the hub has the loss on record.
    pub on_record: usize,
    /// At the hub twice, or under another record than was told.
    pub doubled: usize,
    /// What else there is to say.
    pub note: String,
    /// What should come of it.
    pub verdict: Verdict,
}

/// What should come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing told is lost or doubled.
    Whole,
    /// Nothing is doubled, and it goes on; whatever is lost is on record.
    Damaged,
    /// Something must be lost: it shows that the fault is one.
    Control,
}

impl Row {
    /// Whether it came as it should.
    pub fn is_as_it_should(&self) -> bool {
        match self.verdict {
            Verdict::Whole => self.lost + self.on_record + self.doubled == 0,
            Verdict::Damaged => self.lost + self.doubled == 0,
            Verdict::Control => self.lost > 0,
        }
    }
}

/// Lines above the rows of a table.
const HEAD_LINES: usize = 2;

/// Rows as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | times | told | lost | lost, on record | doubled | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row { fault, times, told, lost, on_record, doubled, note, verdict: _ } = row;
        let note = if row.is_as_it_should() {
            note.clone()
        } else {
            format!("NOT AS IT SHOULD BE. {note}")
        };
        let _infallible = writeln!(
            text,
            "| {fault} | {times} | {told} | {lost} | {on_record} | {doubled} | {note} |"
        );
    }
    text
}

/// A table of an earlier run with these rows in the place of those of the same faults; faults that
/// it does not have come last.
pub fn updated(table_before: &str, rows: &[Row]) -> String {
    let new = table(rows);
    let mut new: Vec<&str> = new.lines().skip(HEAD_LINES).collect();
    let same = |a: &str, b: &str| a.split('|').nth(1) == b.split('|').nth(1);
    let mut lines: Vec<&str> = Vec::new();
    for line in table_before.lines() {
        let at = new.iter().position(|new| same(new, line));
        lines.push(at.map_or(line, |at| new.remove(at)));
    }
    lines.extend(new);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lost: usize, on_record: usize, doubled: usize, verdict: Verdict) -> Row {
        let (fault, note) = ("a fault".to_owned(), "a note".to_owned());
        Row { fault, times: 3, told: 40, lost, on_record, doubled, note, verdict }
    }

    #[test]
    fn each_verdict_allows_what_it_says() {
        assert!(row(0, 0, 0, Verdict::Whole).is_as_it_should());
        assert!(!row(0, 1, 0, Verdict::Whole).is_as_it_should());
        assert!(row(0, 1, 0, Verdict::Damaged).is_as_it_should());
        assert!(!row(1, 1, 0, Verdict::Damaged).is_as_it_should());
        assert!(!row(0, 0, 1, Verdict::Damaged).is_as_it_should());
        assert!(row(1, 0, 0, Verdict::Control).is_as_it_should());
        assert!(!row(0, 0, 0, Verdict::Control).is_as_it_should(), "it proves nothing");
    }

    #[test]
    fn a_row_that_is_not_as_it_should_be_says_so() {
        let text = table(&[row(0, 0, 0, Verdict::Whole)]);
        assert!(text.contains("| a fault | 3 | 40 | 0 | 0 | 0 | a note |"), "{text}");
        assert!(table(&[row(1, 0, 0, Verdict::Whole)]).contains("NOT AS"));
    }

    #[test]
    fn a_run_of_some_faults_keeps_the_rows_of_the_others() {
        let named = |fault: &str, times| {
            let fault = fault.to_owned();
            Row { fault, times, ..row(0, 0, 0, Verdict::Whole) }
        };
        let before = table(&[named("one", 1), named("two", 1)]);
        let after = updated(&before, &[named("two", 9), named("three", 9)]);
        assert_eq!(
            after.trim(),
            table(&[named("one", 1), named("two", 9), named("three", 9)]).trim()
        );
    }
}
