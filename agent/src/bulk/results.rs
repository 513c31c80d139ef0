//! The results file of a long job. It grows under a `.part` name, from which an interrupted job
//! goes on, and gets its own name when it is complete.

use super::{LineResult, ResultLine};
use crate::http::ErrorEnvelope;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Results are synced after this many: a power cut costs going over them again, which their ids
/// make harmless as long as the store remembers them (ten thousand outcomes).
const SYNC_LINES: u64 = 1024;

/// Most problems that are told one by one; the results have them all.
const PROBLEMS_MAX: usize = 100;

/// Lines without a decision.
#[derive(Debug, Default)]
struct Problems {
    count: u64,
    first: Vec<String>,
}

impl Problems {
    fn note(&mut self, line: &ResultLine) {
        let LineResult::Error(ErrorEnvelope { error }) = &line.result else { return };
        self.count += 1;
        if self.first.len() < PROBLEMS_MAX {
            self.first.push(format!("line {}: {}", line.line, error.message));
        }
    }
}

/// A results file in the making.
pub struct Results {
    part: PathBuf,
    file: BufWriter<File>,
    unsynced: u64,
    problems: Problems,
    /// The last line of the input that already has its result; 0 for none.
    pub last_line: u64,
}

impl Results {
    /// Opens `part`, keeping the whole lines that an interrupted job left there.
    ///
    /// # Errors
    /// From the file system.
    pub fn open(part: PathBuf) -> io::Result<Results> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).append(true).open(&part)?;
        let (mut last_line, mut problems) = (0, Problems::default());
        let bytes = whole_lines(&file, |line| {
            last_line = line.line;
            problems.note(line);
        })?;
        file.set_len(bytes)?;
        Ok(Results { part, file: BufWriter::new(file), unsynced: 0, problems, last_line })
    }

    /// Appends one result. Call [`Results::flush`] after each chunk.
    ///
    /// # Errors
    /// From the file system.
    pub fn push(&mut self, line: &ResultLine) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")?;
        self.last_line = line.line;
        self.problems.note(line);
        self.unsynced += 1;
        if self.unsynced >= SYNC_LINES {
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Hands what is buffered to the system, so that a killed process leaves it behind.
    ///
    /// # Errors
    /// From the file system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Names the lines without a decision, if there are any.
    pub fn problems(&self) -> Option<String> {
        let Problems { count, first } = &self.problems;
        let rest = count - first.len() as u64;
        match (count, rest) {
            (0, _) => None,
            (_, 0) => Some(first.join("\n")),
            _ => Some(format!("{}\nand {rest} more; see the results", first.join("\n"))),
        }
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// From the file system.
    pub fn finish(mut self, path: &Path) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.part, path)
    }
}

/// Shows the leading lines that are whole results, and gives their length in bytes.
fn whole_lines(file: &File, mut show: impl FnMut(&ResultLine)) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut bytes, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if line.last() != Some(&b'\n') {
            return Ok(bytes);
        }
        let Ok(result) = serde_json::from_slice::<ResultLine>(&line) else { return Ok(bytes) };
        bytes += read;
        show(&result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ErrorBody;

    fn line(line: u64) -> ResultLine {
        let error = ErrorBody { code: "x".into(), message: "y".into(), remedy: None };
        ResultLine { line, encoding: None, result: LineResult::Error(ErrorEnvelope { error }) }
    }

    #[test]
    fn an_interrupted_file_goes_on_after_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("r.part");
        let mut results = Results::open(part.clone()).unwrap();
        results.push(&line(1)).unwrap();
        results.push(&line(2)).unwrap();
        drop(results);
        let mut torn = OpenOptions::new().append(true).open(&part).unwrap();
        torn.write_all(b"{\"line\":3,\"err").unwrap();

        let mut results = Results::open(part).unwrap();
        assert_eq!(results.last_line, 2);
        results.push(&line(3)).unwrap();
        assert_eq!(results.problems().as_deref(), Some("line 1: y\nline 2: y\nline 3: y"));
        let path = dir.path().join("r");
        results.finish(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<ResultLine> =
            text.lines().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(lines, [line(1), line(2), line(3)]);
    }
}
