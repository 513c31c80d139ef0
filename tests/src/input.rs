//! Work orders to feed: the project's own day, or any text file or CSV column.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// The day of work orders that ships with the demo.
const SAMPLE: &str = include_str!("../samples/work-orders.csv");

/// One work order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkOrder {
    /// The caller's id, so that a retry is recognised.
    pub id: String,
    /// Index of the device that gets it.
    pub device: usize,
    /// When it was written, for the eye.
    pub time: String,
    /// The machine, empty if unknown.
    pub asset: String,
    /// The text.
    pub text: String,
    /// What a person says it is, where one did.
    pub expected: Option<Expected>,
}

/// What a person says a text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This label.
    Label(String),
    /// No label fits.
    OutOfScope,
}

impl Expected {
    /// The label, `None` for out of scope: as the interfaces write it.
    pub fn label(&self) -> Option<&str> {
        match self {
            Expected::Label(label) => Some(label),
            Expected::OutOfScope => None,
        }
    }
}

/// A day of work orders and the devices that read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Where it is from, for the eye.
    pub source: String,
    /// Names of the devices.
    pub devices: Vec<String>,
    /// In the order of the day.
    pub orders: Vec<WorkOrder>,
    /// Lines or cells without text, left out.
    pub empty: usize,
    /// Texts that were not UTF-8; what could not be read stands as U+FFFD.
    pub repaired: usize,
}

/// Devices that somebody's own input is dealt to, in turn.
const DEVICES: [&str; 3] = ["mv-corvina", "depot-eastfield", "quay-north"];

impl Day {
    /// The day that ships with the demo.
    ///
    /// # Errors
    /// When the sample is malformed, which a test excludes.
    pub fn sample() -> Result<Day> {
        let mut reader = csv::Reader::from_reader(SAMPLE.as_bytes());
        let mut day = Day {
            source: "a day of work orders of three sites".to_owned(),
            devices: DEVICES.map(str::to_owned).to_vec(),
            orders: Vec::new(),
            empty: 0,
            repaired: 0,
        };
        for row in reader.deserialize() {
            let (id, device, time, asset, text, expected): (
                String,
                String,
                String,
                String,
                String,
                String,
            ) = row.context("the sample is malformed")?;
            let device = DEVICES.iter().position(|name| *name == device);
            let device = device.with_context(|| format!("{id}: unknown device"))?;
            let expected = match expected.as_str() {
                "" => Expected::OutOfScope,
                label => Expected::Label(label.to_owned()),
            };
            day.orders.push(WorkOrder { id, device, time, asset, text, expected: Some(expected) });
        }
        Ok(day)
    }

    /// Somebody's own file: a CSV column (by `column`, or the one named `text`), or every line
    /// of any other file.
    ///
    /// # Errors
    /// When it cannot be read, has no such column, or holds no text at all.
    pub fn from_file(path: &Path, column: Option<&str>) -> Result<Day> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the input {}", path.display()))?;
        let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let cells = if is_csv || column.is_some() {
            csv_cells(&bytes, column).with_context(|| path.display().to_string())?
        } else {
            bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
        };
        let day = Day::from_cells(path.display().to_string(), &cells);
        if day.orders.is_empty() {
            bail!(
                "{} holds no text\nremedy: give a file with a text a line, or a CSV file and --column",
                path.display()
            );
        }
        Ok(day)
    }

    fn from_cells(source: String, cells: &[Vec<u8>]) -> Day {
        let devices = DEVICES.map(str::to_owned).to_vec();
        let mut day = Day { source, devices, orders: Vec::new(), empty: 0, repaired: 0 };
        for (index, cell) in cells.iter().enumerate() {
            let text = String::from_utf8_lossy(cell);
            day.repaired += usize::from(matches!(text, std::borrow::Cow::Owned(_)));
            let text = text.trim();
            if text.is_empty() {
                day.empty += 1;
                continue;
            }
            day.orders.push(WorkOrder {
                id: format!("row-{}", index + 1),
                device: day.orders.len() % DEVICES.len(),
                time: String::new(),
                asset: String::new(),
                text: text.to_owned(),
                expected: None,
            });
        }
        day
    }
}

/// The cells of one column, as bytes.
fn csv_cells(bytes: &[u8], column: Option<&str>) -> Result<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let headers = reader.byte_headers().context("the CSV header cannot be read")?.clone();
    let names: Vec<String> = headers
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    let wanted = column.unwrap_or("text");
    let Some(index) = names.iter().position(|name| name == wanted) else {
        bail!("no column '{wanted}'\nremedy: --column with one of: {}", names.join(", "));
    };
    let mut cells = Vec::new();
    for (row, record) in reader.byte_records().enumerate() {
        let record = record.with_context(|| format!("row {} of the CSV", row + 1))?;
        cells.push(record.get(index).unwrap_or_default().to_vec());
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn texts(day: &Day) -> Vec<&str> {
        day.orders.iter().map(|order| order.text.as_str()).collect()
    }

    #[test]
    fn the_sample_is_a_whole_day() {
        let day = Day::sample().unwrap();
        assert!(day.orders.len() >= 300, "{}", day.orders.len());
        let ids: BTreeSet<_> = day.orders.iter().map(|order| &order.id).collect();
        assert_eq!(ids.len(), day.orders.len(), "ids are unique");
        let labels: BTreeSet<_> =
            day.orders.iter().filter_map(|order| order.expected.as_ref()?.label()).collect();
        assert_eq!(labels.len(), 22, "every failure mode occurs");
        let outside =
            day.orders.iter().filter(|order| order.expected == Some(Expected::OutOfScope));
        assert!(outside.count() >= 20);
        assert!(day.orders.is_sorted_by_key(|order| &order.time));
        for device in 0..day.devices.len() {
            assert!(day.orders.iter().any(|order| order.device == device));
        }
    }

    #[test]
    fn a_csv_column_is_dealt_to_the_devices() {
        let (_dir, path) = file(
            "own.csv",
            b"\xef\xbb\xbfid,Short Text\n1,pump leaks\n2,\n3,\"a, b\"\n4,x\xff\n5\n6,y\n",
        );
        let day = Day::from_file(&path, Some("Short Text")).unwrap();
        assert_eq!(texts(&day), ["pump leaks", "a, b", "x\u{fffd}", "y"]);
        assert_eq!((day.empty, day.repaired), (2, 1));
        let dealt: Vec<_> = day.orders.iter().map(|order| order.device).collect();
        assert_eq!(dealt, [0, 1, 2, 0]);
        assert_eq!(day.orders[1].id, "row-3");
    }

    #[test]
    fn a_wrong_column_names_the_right_ones() {
        let (_dir, path) = file("own.csv", b"id,Note\n1,x\n");
        let error = format!("{:#}", Day::from_file(&path, None).unwrap_err());
        assert!(error.contains("no column 'text'") && error.contains("id, Note"), "{error}");
    }

    #[test]
    fn any_other_file_is_a_text_a_line() {
        let (_dir, path) = file("notes.txt", b"one\r\n\n two \nthree");
        assert_eq!(texts(&Day::from_file(&path, None).unwrap()), ["one", "two", "three"]);
        let (_dir, path) = file("none.txt", b"\n\n");
        let error = Day::from_file(&path, None).unwrap_err().to_string();
        assert!(error.contains("holds no text"), "{error}");
    }
}
