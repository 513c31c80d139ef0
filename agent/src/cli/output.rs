//! All that the command line prints.

use super::failure::Failure;
use crate::http::{AnswerBody, ReplyBody, Status, TicketBody};
use serde::Serialize;
use std::fmt::{Arguments, Write as _};
use std::io::{self, IsTerminal, Write};

/// One line on standard output.
pub(super) fn line(line: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One JSON value on one line of standard output.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    line(format_args!("{}", serde_json::to_string(value)?))
}

/// One JSON value, indented, on standard output.
pub(super) fn json_pretty(value: &impl Serialize) -> io::Result<()> {
    line(format_args!("{}", serde_json::to_string_pretty(value)?))
}

/// One line on standard error.
pub(super) fn note(text: Arguments<'_>) {
    // With standard error closed there is nobody to tell.
    let _closed = writeln!(io::stderr().lock(), "{text}");
}

/// A failure on standard error.
pub(super) fn error(failure: &Failure) {
    note(format_args!("error: {}", failure.message));
    if let Some(remedy) = &failure.remedy {
        note(format_args!("remedy: {remedy}"));
    }
}

/// Colours, where they are seen: on a terminal, unless `NO_COLOR` is set (no-color.org).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    /// None at all.
    pub(super) const PLAIN: Paint = Paint(false);

    pub(super) fn of_stdout() -> Paint {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(io::stdout().is_terminal() && !unwanted)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line on standard error that is overwritten in place; silent where it is not a terminal.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { shown: false }
    }

    pub(super) fn show(&mut self, text: Arguments<'_>) {
        let mut err = io::stderr().lock();
        if err.is_terminal() {
            self.shown = true;
            let _closed = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
        }
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _closed = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// A reply for people.
pub(super) fn reply(reply: &ReplyBody) -> String {
    let by = mechanism(reply);
    let percent = f64::from(reply.confidence) * 100.0;
    let answer = answer(&reply.answer);
    let reason = reply.reason.as_deref().unwrap_or("no reason given");
    let mut text = match reply.status {
        Status::Answered => format!("{answer}\n  by {by}, confidence {percent:.0} %"),
        Status::Refused => format!("refused: {reason}\n  by {by}"),
        Status::Escalated if reply.provisional => {
            format!(
                "{answer}\n  provisional, by {by}, confidence {percent:.0} %\n  escalated: {reason}"
            )
        }
        Status::Escalated => format!("escalated: {reason}\n  by {by}"),
    };
    if let Some(ticket) = &reply.escalation {
        let _never = write!(text, "\n  ticket {ticket}");
    }
    if let Some(why) = &reply.unrecorded {
        let _never = write!(text, "\n  NOT RECORDED: {why}");
    }
    if reply.repeated {
        text.push_str("\n  repeats the reply to an earlier request with this id");
    }
    text
}

/// What decided, in a word or two.
pub(super) fn mechanism(reply: &ReplyBody) -> String {
    let kind = &reply.mechanism.kind;
    reply.mechanism.name.as_ref().map_or_else(|| kind.clone(), |name| format!("{kind} {name}"))
}

/// An answer in one piece: a label, `(out of scope)`, or a line for each field.
pub(super) fn answer(answer: &AnswerBody) -> String {
    match answer {
        AnswerBody { label: Some(Some(label)), .. } => label.clone(),
        AnswerBody { label: Some(None), .. } => "(out of scope)".to_owned(),
        AnswerBody { fields: Some(fields), .. } if fields.is_empty() => "(no fields)".to_owned(),
        AnswerBody { fields: Some(fields), .. } => {
            let value = |value: &Option<String>| value.clone().unwrap_or_default();
            let width = fields.iter().map(|field| field.label.chars().count()).max().unwrap_or(0);
            // A field inside another is indented; outer ones come first.
            let depth = |at: usize| {
                let inner = &fields[at];
                let outer = fields[..at].iter();
                outer.filter(|o| o.start <= inner.start && inner.end <= o.end).count()
            };
            let lines: Vec<String> = fields
                .iter()
                .enumerate()
                .map(|(at, field)| {
                    let indent = 2 * depth(at);
                    format!("{:width$}  {:indent$}{}", field.label, "", value(&field.value))
                })
                .collect();
            lines.join("\n")
        }
        AnswerBody { label: None, fields: None } => "(no answer)".to_owned(),
    }
}

/// An answer on one line.
pub(super) fn answer_line(answer: &AnswerBody) -> String {
    match &answer.fields {
        Some(fields) => {
            let field = |f: &crate::http::FieldBody| {
                format!("{}={}", f.label, f.value.as_deref().unwrap_or_default())
            };
            fields.iter().map(field).collect::<Vec<_>>().join("; ")
        }
        None => self::answer(answer),
    }
}

/// A ticket for people.
pub(super) fn ticket(ticket: &TicketBody) -> String {
    let mut text = format!("{}: {}", ticket.ticket, ticket.state);
    if let Some(by) = &ticket.by {
        let _never = write!(text, "\n{}\n  by {by}", answer(&ticket.answer));
    }
    if let Some(note) = &ticket.note {
        let _never = write!(text, "\n  note: {note}");
    }
    text
}

/// In binary units, as the configuration writes sizes.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
