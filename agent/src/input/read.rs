//! Splits a decoded file into items: lines of text, JSON Lines, or a CSV with a text column.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// How a file is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One text a line.
    Lines,
    /// One object a line: `{"text", "id"?, "meta"?}`.
    Jsonl,
    /// Comma-separated with a header; one column holds the text, one named `id` may hold ids.
    Csv,
}

impl Format {
    /// The format that a file's extension promises.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_ascii_lowercase().to_str()? {
            "txt" => Some(Format::Lines),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }
}

/// How to read a file.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// How it is divided.
    pub format: Format,
    /// The CSV column with the text.
    pub column: &'a str,
}

/// One text to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Line of the file where it starts, from 1.
    pub line: u64,
    /// The text.
    pub text: String,
    /// Its own id, where the file gives one.
    pub id: Option<String>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ItemError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// Why a whole file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The header lacks the text column.
    #[error("no column '{wanted}'; the columns are: {found}")]
    NoColumn {
        /// The column asked for.
        wanted: String,
        /// What the header has.
        found: String,
    },
    /// No readable header.
    #[error("the CSV header cannot be read: {0}")]
    Header(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    id: Option<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

/// Divides a file. Empty lines are skipped.
///
/// # Errors
/// [`ReadError`] when no item can be found at all; a bad item is an [`ItemError`] in its place.
pub fn items<'t>(
    text: &'t str,
    reading: Reading<'_>,
) -> Result<Box<dyn Iterator<Item = Result<Item, ItemError>> + Send + 't>, ReadError> {
    match reading.format {
        Format::Lines => Ok(Box::new(numbered(text).map(|(line, text)| {
            Ok(Item { line, text: text.to_owned(), id: None, meta: BTreeMap::new() })
        }))),
        Format::Jsonl => Ok(Box::new(numbered(text).map(|(line, text)| json_item(line, text)))),
        Format::Csv => csv_items(text, reading.column),
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty())
}

fn json_item(line: u64, text: &str) -> Result<Item, ItemError> {
    let Line { text, id, meta } = serde_json::from_str(text).map_err(|error| ItemError {
        line,
        // Each line is a document of its own; its "line 1" would mislead.
        message: format!(
            "column {}: {}",
            error.column(),
            error.to_string().split(" at line ").next().unwrap_or_default()
        ),
    })?;
    Ok(Item { line, text, id, meta })
}

fn csv_items<'t>(
    text: &'t str,
    column: &str,
) -> Result<Box<dyn Iterator<Item = Result<Item, ItemError>> + Send + 't>, ReadError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| ReadError::Header(e.to_string()))?.clone();
    let position = |name: &str| header.iter().position(|h| h.trim() == name);
    let text_at = position(column).ok_or_else(|| ReadError::NoColumn {
        wanted: column.to_owned(),
        found: header.iter().map(|h| format!("'{h}'")).collect::<Vec<_>>().join(", "),
    })?;
    let id_at = position("id");
    let width = header.len();
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record.map_err(|error| ItemError {
            line: error.position().map_or(0, csv::Position::line),
            message: error.to_string(),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = record.get(text_at).filter(|_| record.len() == width);
        let text = text.ok_or_else(|| ItemError {
            line,
            message: format!("{} columns where the header has {width}", record.len()),
        })?;
        let id = id_at.and_then(|at| record.get(at)).filter(|id| !id.is_empty());
        let id = id.map(str::to_owned);
        Ok(Item { line, text: text.to_owned(), id, meta: BTreeMap::new() })
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, text: &str) -> Vec<Result<Item, ItemError>> {
        items(text, Reading { format, column: "text" }).unwrap().collect()
    }

    fn item(line: u64, text: &str, id: Option<&str>) -> Result<Item, ItemError> {
        let id = id.map(str::to_owned);
        Ok(Item { line, text: text.to_owned(), id, meta: BTreeMap::new() })
    }

    #[test]
    fn lines_skip_what_is_empty_and_keep_their_numbers() {
        assert_eq!(
            read(Format::Lines, "one\r\n\n  \ntwo"),
            [item(1, "one", None), item(4, "two", None)]
        );
    }

    #[test]
    fn one_bad_json_line_spoils_no_other() {
        let read = read(Format::Jsonl, "{\"text\":\"a\",\"id\":\"7\"}\n{oops\n{\"text\":\"b\"}");
        assert_eq!(read[0], item(1, "a", Some("7")));
        assert_eq!(read[1].as_ref().unwrap_err().line, 2);
        assert!(read[1].as_ref().unwrap_err().message.starts_with("column 2: "), "{read:?}");
        assert_eq!(read[2], item(3, "b", None));
    }

    #[test]
    fn csv_takes_the_named_column_and_ids_across_quoted_lines() {
        let text = "id,text\n1,\"two\nlines\"\n2\n,last\n";
        let read = read(Format::Csv, text);
        assert_eq!(read[0], item(2, "two\nlines", Some("1")));
        assert_eq!(
            read[1],
            Err(ItemError { line: 4, message: "1 columns where the header has 2".to_owned() })
        );
        assert_eq!(read[2], item(5, "last", None));
        let missing = items(text, Reading { format: Format::Csv, column: "note" }).err();
        assert_eq!(
            missing.map(|e| e.to_string()).as_deref(),
            Some("no column 'note'; the columns are: 'id', 'text'")
        );
    }
}
