//! The format, byte for byte. Each file under `tests/golden/` holds what is written for one value;
//! it must still be read, and must still be written.
//!
//! A file is hex digits, 32 bytes a line; lines that start with `#` are for the reader.
//! `LANDFALL_BLESS=1 cargo test -p landfall-wire --test golden` rewrites the files. Do that for
//! a new variant only: a change to an existing file breaks every device in the field and needs
//! a new version byte.

mod golden_values;

use landfall_wire::frame::Frame;
use landfall_wire::record::Record;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn blessing() -> bool {
    std::env::var_os("LANDFALL_BLESS").is_some_and(|value| value == "1")
}

fn to_text(comment: &str, bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let head = format!("# {comment}\n# {} bytes\n", bytes.len());
    head + &lines.map(|line| line + "\n").collect::<String>()
}

fn from_text(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "not hex: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hex digits"))
        .collect()
}

/// The committed bytes of `name`; when blessing, `bytes` become them.
fn golden(name: &str, comment: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    if blessing() {
        std::fs::write(&path, to_text(comment, bytes)).expect("the golden file is written");
    }
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; write it with LANDFALL_BLESS=1", path.display()));
    from_text(&text)
}

#[test]
fn records_are_written_and_read_as_ever() {
    for (name, record) in golden_values::records() {
        let now = record.encode().unwrap();
        let then = golden(name, golden_values::about(&record), &now);
        assert_eq!(Record::decode(&then).as_ref(), Ok(&record), "{name}: old bytes are read");
        assert_eq!(now, then, "{name}: the same bytes are written");
    }
}

#[test]
fn frames_are_written_and_read_as_ever() {
    for (name, comment, frame) in golden_values::frames() {
        let now = frame.encode().unwrap();
        let then = golden(name, comment, &now);
        assert_eq!(Frame::decode(&then).as_ref(), Ok(&frame), "{name}: old bytes are read");
        // zstd may pack better one day; only what it unpacks to is the format.
        if then[1] == 0 {
            assert_eq!(now, then, "{name}: the same bytes are written");
        } else {
            assert_eq!(Frame::decode(&now).as_ref(), Ok(&frame), "{name}: round trip");
        }
    }
}

/// Coded frames are written as ever too: both sides must learn the same from the same records.
#[test]
fn coded_frames_are_written_and_read_as_ever() {
    for (name, comment, frame, primer) in golden_values::coded_frames() {
        let now = frame.encode_coded(primer).unwrap();
        let then = golden(name, comment, &now);
        assert_eq!(Frame::decode(&then).as_ref(), Ok(&frame), "{name}: old bytes are read");
        assert_eq!(now, then, "{name}: the same bytes are written");
    }
}

#[test]
fn every_file_belongs_to_a_value() {
    if blessing() {
        return; // The files are being written.
    }
    let records = golden_values::records().into_iter().map(|(name, _)| name);
    let frames = golden_values::frames().into_iter().map(|(name, _, _)| name);
    let coded = golden_values::coded_frames().into_iter().map(|(name, _, _, _)| name);
    let names: BTreeSet<String> =
        records.chain(frames).chain(coded).map(|name| format!("{name}.hex")).collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names);
}
