//! Exports: everything that a filter takes, as CSV or JSON lines, however much it is.
//!
//! Rows are read a page at a time and sent as the reader takes them: memory is bounded, and a
//! slow reader holds no connection to the database.

use super::App;
use super::api;
use super::error::Refused;
use super::form;
use crate::database::DbError;
use crate::database::queries::{self, PAGE_ROWS_MAX, Page};
use crate::database::views::{EscalationView, OutcomeView};
use crate::labels::Labelled;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::Value;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Pages that wait for a slow reader.
const PAGES_WAITING: usize = 2;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Jsonl,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8",
            Format::Jsonl => "application/jsonl; charset=utf-8",
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        }
    }
}

/// A kind of rows that can be exported.
trait Rows: Sized + Send + 'static {
    /// Name of the file.
    const NAME: &'static str;
    /// Columns of the CSV.
    const COLUMNS: &'static [&'static str];
    /// The next page and where to go on.
    fn page(
        connection: &crate::database::sql::Connection,
        page: &Page,
    ) -> crate::database::sql::Result<(Vec<Self>, Option<i64>)>;
    /// Values of the columns.
    fn cells(&self) -> Vec<String>;
    /// A line of JSON.
    fn line(&self) -> Option<String>;
}

fn line(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

fn or_empty(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_default()
}

/// A label as a cell: the answer of a classification, empty for out of scope and for fields.
fn label(decision: Option<&Value>) -> String {
    let label = decision.and_then(|it| it.get("label")).and_then(Value::as_str);
    label.unwrap_or_default().to_owned()
}

impl Rows for OutcomeView {
    const NAME: &'static str = "outcomes";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "device",
        "outcome",
        "task",
        "caller_id",
        "at",
        "received_at",
        "mechanism",
        "mechanism_name",
        "status",
        "reason",
        "escalation",
        "label",
        "decision",
        "confidence",
        "package",
        "config",
        "decide_ms",
        "text",
        "text_cut",
        "masking",
        "meta",
    ];

    fn page(
        connection: &crate::database::sql::Connection,
        page: &Page,
    ) -> crate::database::sql::Result<(Vec<Self>, Option<i64>)> {
        queries::outcomes(connection, page).map(|found| (found.rows, found.next))
    }

    fn cells(&self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            self.id.to_string(),
            self.device.clone(),
            self.outcome.clone(),
            self.task.clone(),
            text(&self.caller_id),
            self.at.clone(),
            self.received_at.clone(),
            self.mechanism.clone(),
            text(&self.mechanism_name),
            self.status.clone(),
            text(&self.reason),
            text(&self.escalation),
            label(self.decision.as_ref()),
            or_empty(self.decision.as_ref()),
            self.confidence.to_string(),
            self.package.clone(),
            self.config.clone(),
            self.decide_ms.to_string(),
            text(&self.text),
            self.text_cut.to_string(),
            text(&self.masking),
            self.meta.to_string(),
        ]
    }

    fn line(&self) -> Option<String> {
        line(self)
    }
}

impl Rows for EscalationView {
    const NAME: &'static str = "escalations";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "device",
        "ticket",
        "outcome",
        "task",
        "at",
        "received_at",
        "state",
        "reason",
        "text",
        "text_cut",
        "provisional",
        "candidates",
        "meta",
        "answer_label",
        "answer",
        "answered_by",
        "answered_at",
        "delivered_at",
        "note",
    ];

    fn page(
        connection: &crate::database::sql::Connection,
        page: &Page,
    ) -> crate::database::sql::Result<(Vec<Self>, Option<i64>)> {
        queries::escalations(connection, page).map(|found| (found.rows, found.next))
    }

    fn cells(&self) -> Vec<String> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let answer = self.answer.as_ref();
        vec![
            self.id.to_string(),
            self.device.clone(),
            self.ticket.clone(),
            self.outcome.clone(),
            self.task.clone(),
            self.at.clone(),
            self.received_at.clone(),
            self.state.clone(),
            self.reason.clone(),
            text(self.text.as_ref()),
            self.text_cut.to_string(),
            or_empty(self.provisional.as_ref()),
            self.candidates.to_string(),
            self.meta.to_string(),
            label(answer.map(|it| &it.decision)),
            or_empty(answer.map(|it| &it.decision)),
            text(answer.map(|it| &it.by)),
            text(answer.map(|it| &it.at)),
            text(answer.and_then(|it| it.delivered_at.as_ref())),
            text(answer.and_then(|it| it.note.as_ref())),
        ]
    }

    fn line(&self) -> Option<String> {
        line(self)
    }
}

impl Rows for Labelled {
    const NAME: &'static str = "labels";
    const COLUMNS: &'static [&'static str] =
        &["text", "label", "spans", "task", "device", "ticket", "by", "at", "reason"];

    fn page(
        connection: &crate::database::sql::Connection,
        page: &Page,
    ) -> crate::database::sql::Result<(Vec<Self>, Option<i64>)> {
        crate::labels::page(connection, page)
    }

    fn cells(&self) -> Vec<String> {
        let value = serde_json::to_value(self).unwrap_or_default();
        let cell = |name: &str| match value.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        Self::COLUMNS.iter().map(|name| cell(name)).collect()
    }

    fn line(&self) -> Option<String> {
        line(self)
    }
}

pub(super) async fn outcomes(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    export::<OutcomeView>(app, query, &["device", "task", "format"])
}

pub(super) async fn escalations(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    export::<EscalationView>(app, query, &["device", "task", "state", "format"])
}

pub(super) async fn labels(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    export::<Labelled>(app, query, &["device", "task", "format"])
}

fn export<R: Rows>(app: App, query: Option<String>, known: &[&str]) -> Result<Response, Refused> {
    let query = query.unwrap_or_default();
    let pairs = form::parse(&query);
    let format = match pairs.iter().find(|(key, _)| key == "format").map(|(_, it)| it.as_str()) {
        None | Some("" | "jsonl") => Format::Jsonl,
        Some("csv") => Format::Csv,
        Some(other) => {
            let message = format!("format={other} is not valid");
            return Err(Refused::bad_request(message, "use csv or jsonl"));
        }
    };
    let mut page = api::page(Some(&query), known)?;
    page.limit = PAGE_ROWS_MAX;
    let (sender, receiver) = mpsc::channel(PAGES_WAITING);
    tokio::spawn(produce::<R>(app, page, format, sender));
    let name = format!("attachment; filename=\"{}.{}\"", R::NAME, format.ending());
    let headers = [(CONTENT_TYPE, format.media_type().to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(Pages(receiver))).into_response())
}

async fn produce<R: Rows>(
    app: App,
    mut page: Page,
    format: Format,
    sender: mpsc::Sender<Result<Bytes, DbError>>,
) {
    let mut first = true;
    loop {
        let wanted = page.clone();
        let read = app.database.read(move |reader| R::page(reader, &wanted)).await;
        let (rows, next) = match read {
            Ok(found) => found,
            Err(error) => {
                // The reader sees that it broke off: the length is not told before.
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        let bytes = write(&rows, format, first);
        first = false;
        if sender.send(Ok(bytes)).await.is_err() {
            return;
        }
        let Some(next) = next else { return };
        page.after = Some(next);
    }
}

fn write<R: Rows>(rows: &[R], format: Format, first: bool) -> Bytes {
    match format {
        Format::Jsonl => {
            let lines = rows.iter().filter_map(|row| Some(format!("{}\n", row.line()?)));
            lines.collect::<String>().into()
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            // Writing to memory does not fail, and all rows have the same columns.
            if first {
                let _ = writer.write_record(R::COLUMNS);
            }
            for row in rows {
                let _ =
                    writer.write_record(row.cells().iter().map(|cell| harmless(cell).into_owned()));
            }
            writer.into_inner().unwrap_or_default().into()
        }
    }
}

/// A cell that a spreadsheet would run as a formula gets an apostrophe in front: texts are what
/// strangers wrote.
fn harmless(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err() {
        return format!("'{cell}").into();
    }
    cell.into()
}

/// Pages as they are produced.
struct Pages(mpsc::Receiver<Result<Bytes, DbError>>);

impl Stream for Pages {
    type Item = Result<Bytes, DbError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (cell, shown) in [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("-2.5", "-2.5"),
            ("-x", "'-x"),
            ("@a", "'@a"),
            ("pump", "pump"),
        ] {
            assert_eq!(harmless(cell), shown);
        }
    }

    #[test]
    fn csv_keeps_what_text_has() {
        let row = Labelled {
            text: "a \"b\",\nc".into(),
            label: Some(None),
            spans: None,
            task: "t".into(),
            device: "ship-7".into(),
            ticket: "1-2".into(),
            by: "ann".into(),
            at: "2026".into(),
            reason: "audit".into(),
        };
        let bytes = write(std::slice::from_ref(&row), Format::Csv, true);
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!((&record[0], &record[1], &record[3]), ("a \"b\",\nc", "", "t"));
        let line = write(&[row], Format::Jsonl, true);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["label"], Value::Null);
        assert!(value.get("label").is_some() && value.get("spans").is_none());
    }
}
