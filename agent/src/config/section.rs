//! One table of the file, read key by key. Whatever is not asked for is an unknown key, and
//! whatever has the wrong type is reported with its line; the reader goes on.

use super::problem::Report;
use super::suggest;
use super::units;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

#[cfg(test)]
thread_local! {
    static ASKED: std::cell::RefCell<Vec<(String, &'static str)>> = Default::default();
}

/// Every table and key that this thread's readers asked for since the last call.
#[cfg(test)]
pub(super) fn asked() -> Vec<(String, &'static str)> {
    ASKED.take()
}

/// A value with its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), line: self.line }
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report<'a>,
    table: &'a DeTable<'a>,
    /// How the file calls it, such as `task.failure-mode`; empty for the top.
    name: String,
    pub(super) line: usize,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn top(report: &'a Report<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section { report, table, name: String::new(), line: 1, known: Vec::new() }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let place = self.place();
                self.report.wrong(
                    self.report.line(key.span().start),
                    format!("unknown key '{name}'{place}"),
                    suggest::remedy(name, self.known.iter().copied()),
                );
            }
        }
    }

    /// How messages call a key of this table.
    pub(super) fn called(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn wrong(&self, line: usize, message: impl Into<String>, remedy: impl Into<String>) {
        self.report.wrong(line, message, remedy);
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, key: &str, example: &str) {
        let message = format!("'{key}' is missing{}", self.place());
        let place = if self.name.is_empty() {
            "at the top of the file".to_owned()
        } else {
            format!("under [{}]", self.name)
        };
        self.wrong(self.line, message, format!("add {place}: {example}"));
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        self.get(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        self.get(key, "true or false", DeValue::as_bool)
    }

    /// A number between 0 and 1.
    pub(super) fn share(&mut self, key: &'static str) -> Option<At<f32>> {
        let found = self.get(key, "a number such as 0.05", number)?;
        if (0.0..=1.0).contains(&found.value) {
            #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
            return Some(found.map(|value| value as f32));
        }
        let At { value, line } = found;
        let remedy = if value > 1.0 && value <= 100.0 {
            format!("write percentages as a share: {} for {value} %", value / 100.0)
        } else {
            "use a share between 0 and 1".to_owned()
        };
        self.wrong(line, format!("'{}' is {value}, outside 0 to 1", self.called(key)), remedy);
        None
    }

    pub(super) fn size(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let text = self.get(key, "a size in quotes, such as \"512 MiB\"", |value| {
            value.as_str().map(str::to_owned)
        })?;
        let (low, high) = (units::show_bytes(*allowed.start()), units::show_bytes(*allowed.end()));
        let called = self.called(key);
        match units::size_bytes(&text.value) {
            Some(bytes) if allowed.contains(&bytes) => Some(text.map(|_| bytes)),
            Some(_) => {
                let message = format!("'{called}' is {}, outside {low} to {high}", text.value);
                self.wrong(text.line, message, format!("use a size from {low} to {high}"));
                None
            }
            None => {
                let message = format!("'{called}' is '{}', which is not a size", text.value);
                let remedy = "use a whole number and a unit, such as \"512 MiB\" or \"2 GB\"";
                self.wrong(text.line, message, remedy);
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let text = self.get(key, "a duration in quotes, such as \"72h\"", |value| {
            value.as_str().map(str::to_owned)
        })?;
        let called = self.called(key);
        match units::duration(&text.value) {
            Some(duration) if allowed.contains(&duration) => Some(text.map(|_| duration)),
            Some(_) => {
                let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
                let (low, high) = (show(allowed.start()), show(allowed.end()));
                let message = format!("'{called}' is {}, outside {low} to {high}", text.value);
                self.wrong(text.line, message, format!("use a duration from {low} to {high}"));
                None
            }
            None => {
                let message = format!("'{called}' is '{}', which is not a duration", text.value);
                let remedy = "use numbers with units, such as \"72h\" or \"1day 12h\"";
                self.wrong(text.line, message, remedy);
                None
            }
        }
    }

    /// A whole number of days from 0.
    pub(super) fn days(&mut self, key: &'static str, days_max: u64) -> Option<At<u64>> {
        let found = self.get(key, "a number of days, such as 30", number)?;
        // Compared exactly: what is no whole number is none of them.
        let days = (0..=days_max).find(|days| days.to_string() == found.value.to_string());
        if days.is_none() {
            let called = self.called(key);
            let message = format!("'{called}' is {}, which is not 0 to {days_max}", found.value);
            self.wrong(found.line, message, format!("use a whole number from 0 to {days_max}"));
        }
        Some(At { value: days?, line: found.line })
    }

    /// A path; relative ones start at the directory of the file.
    pub(super) fn path(&mut self, key: &'static str) -> Option<At<PathBuf>> {
        let text = self.string(key)?;
        if text.value.is_empty() {
            self.wrong(text.line, format!("'{}' is empty", self.called(key)), "give a path");
            return None;
        }
        let base = self.report.file.parent().map(PathBuf::from).unwrap_or_default();
        Some(text.map(|text| base.join(text)))
    }

    pub(super) fn paths(&mut self, key: &'static str) -> Vec<At<PathBuf>> {
        let base = self.report.file.parent().map(PathBuf::from).unwrap_or_default();
        let texts = self.strings(key).map(|list| list.value).unwrap_or_default();
        texts.into_iter().map(|text| text.map(|text| base.join(text))).collect()
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        let report = self.report;
        self.get(key, "a list of texts, such as [\"a\", \"b\"]", |value| {
            let item = |item: &Spanned<DeValue<'_>>| {
                let value = item.get_ref().as_str()?.to_owned();
                Some(At { value, line: report.line(item.span().start) })
            };
            value.as_array()?.iter().map(item).collect()
        })
    }

    pub(super) fn string_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let found = self.get(key, "a table of texts, such as { asset = \"P-101\" }", |value| {
            let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), value.get_ref().as_str()?.to_owned()))
            };
            value.as_table()?.iter().map(pair).collect()
        });
        found.map(|found| found.value).unwrap_or_default()
    }

    /// A table below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let name = self.called(key);
        let example = format!("a table: [{name}]");
        let line = self.key_line(key);
        let table = self.get_ref(key, &example, DeValue::as_table)?;
        let line = line.unwrap_or(table.line);
        Some(Section { report: self.report, table: table.value, name, line, known: Vec::new() })
    }

    /// Every table of a table of tables, such as `[task.*]`, with its key, in the order of the file.
    pub(super) fn named_sections(&mut self, key: &'static str) -> Vec<(At<String>, Section<'a>)> {
        let Some(outer) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (key, value) in outer.table.iter() {
            let line = outer.report.line(key.span().start);
            let text = key.get_ref().to_string();
            let name = outer.called(&text);
            match value.get_ref().as_table() {
                Some(table) => {
                    let section =
                        Section { report: outer.report, table, name, line, known: Vec::new() };
                    found.push((At { value: text, line }, section));
                }
                None => outer.wrong(
                    line,
                    format!("'{name}' is {}, but must be a table", type_of(value.get_ref())),
                    format!("write it as [{name}] with its keys below"),
                ),
            }
        }
        found.sort_by_key(|(name, _)| name.line);
        found
    }

    /// Every table of an array of tables, such as `[[redact.pattern]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let name = self.called(key);
        let example = format!("tables: [[{name}]]");
        let report = self.report;
        let found = self.get_ref(key, &example, |value| {
            let item = |item: &'a Spanned<DeValue<'a>>| {
                let table = item.get_ref().as_table()?;
                let line = report.line(item.span().start);
                Some(Section { report, table, name: name.clone(), line, known: Vec::new() })
            };
            value.as_array()?.iter().map(item).collect::<Option<Vec<_>>>()
        });
        found.map(|found| found.value).unwrap_or_default()
    }

    /// The line of a key, if it is there.
    pub(super) fn key_line(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table.get_key_value(key)?;
        Some(self.report.line(key.span().start))
    }

    fn get<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        self.get_ref(key, expected, read)
    }

    fn get_ref<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<At<T>> {
        self.known.push(key);
        #[cfg(test)]
        ASKED.with_borrow_mut(|asked| asked.push((self.name.clone(), key)));
        let value = self.table.get(key)?;
        let line = self.report.line(value.span().start);
        let read = read(value.get_ref());
        if read.is_none() {
            let message =
                format!("'{}' is {}", self.called(key), described(value.get_ref(), expected));
            self.wrong(line, message, format!("use {expected}"));
        }
        read.map(|value| At { value, line })
    }

    fn place(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) }
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let digits = match value {
        DeValue::Float(float) => float.as_str(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return None,
    };
    digits.replace('_', "").parse().ok()
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn described(value: &DeValue<'_>, expected: &str) -> String {
    let found = type_of(value);
    // A list may hold the wrong things, a number may be in an unusual base.
    if expected.starts_with(found) {
        return format!("{found}, but not of the right kind");
    }
    format!("{found}, not {}", expected.split_once(',').map_or(expected, |(kind, _)| kind))
}
