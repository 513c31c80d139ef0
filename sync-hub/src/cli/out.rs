//! Everything that a command prints. A closed pipe ends the output, not the program's sense.

use super::failure::Failure;
use serde::Serialize;
use std::io::{Write, stderr, stdout};

/// One line on standard output.
pub(super) fn line(text: impl AsRef<str>) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{}", visible(text.as_ref()));
    let _ = out.flush();
}

/// A script on standard output, as it is.
pub(super) fn script(script: &[u8]) {
    let mut out = stdout().lock();
    let _ = out.write_all(script).and_then(|()| out.flush());
}

/// JSON on standard output.
pub(super) fn json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        let mut out = stdout().lock();
        let _ = writeln!(out, "{text}");
    }
}

/// An error and what to do about it.
pub(super) fn error(failure: &Failure) {
    let mut out = stderr().lock();
    let _ = writeln!(out, "error: {}", visible(&failure.message));
    if !failure.remedy.is_empty() {
        let _ = writeln!(out, "remedy: {}", visible(&failure.remedy));
    }
}

/// Something to know, beside the result.
pub(super) fn note(text: &str) {
    let _ = writeln!(stderr().lock(), "note: {}", visible(text));
}

/// A table with a heading; columns as wide as their widest cell.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let cells = |row: &[String]| row.iter().map(|cell| shown(cell)).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = std::iter::once(heading.iter().map(|&h| h.to_owned()).collect())
        .chain(rows.iter().map(|row| cells(row)))
        .collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for row in &all {
        let padded = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Longest cell of a table, in characters.
const CELL_CHARS_MAX: usize = 60;

/// A cell: one line, cut.
fn shown(cell: &str) -> String {
    let flat = cell.replace(['\n', '\t'], " ");
    match flat.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None => flat,
    }
}

/// Text from a device must not steer the terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_device_cannot_steer_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
        assert_eq!(shown("a\nb"), "a b");
        assert_eq!(shown(&"ä".repeat(80)).chars().count(), CELL_CHARS_MAX + 1);
    }
}
