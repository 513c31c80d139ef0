//! One file's way through the spool.

use crate::bulk::{CHUNK_ITEMS, Halt, LineResult, ResultLine, Results, decide_all, pump};
use crate::http::ItemBody;
use crate::input::{Encoding, Format, LineIds, Reading, decode, items};
use crate::pipeline::Pipeline;
use crate::service::replace;
use landfall_wire::id::TaskName;
use landfall_wire::record::cut;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Largest file: it is read into memory, beside a model of some 40 MB on boxes of 512 MB.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// Longest name that is kept: `.results.jsonl` and a number must fit into the 255 bytes of a
/// file system's names.
const NAME_BYTES_MAX: usize = 200;

/// The CSV column with the text.
const COLUMN: &str = "text";

/// The folders of one task.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    task: TaskName,
}

/// What became of a file for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in `done/`.
    Done,
    /// It is in `failed/`.
    Failed,
    /// It stays in `work/`; try again later.
    Later,
    /// It stays in `work/` until the agent starts again.
    Stopping,
}

/// Why a file as a whole cannot be decided.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(
        "the file has {0} bytes; at most {FILE_BYTES_MAX}\nremedy: split it, or use \
         `landfall-agent batch`"
    )]
    TooLarge(u64),
    #[error(
        "its name ends neither in .txt nor .jsonl nor .csv\nremedy: rename it and drop it again"
    )]
    Kind,
    #[error("{0}\nremedy: correct the file and drop it again")]
    Content(#[from] crate::input::ReadError),
}

impl Folder {
    /// Makes the folders.
    pub(super) fn make(dir: &Path, task: TaskName) -> io::Result<Folder> {
        let folder = Folder { dir: dir.to_owned(), task };
        for dir in [folder.work(), folder.done(), folder.failed()] {
            fs::create_dir_all(dir)?;
        }
        Ok(folder)
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    fn done(&self) -> PathBuf {
        self.dir.join("done")
    }

    fn failed(&self) -> PathBuf {
        self.dir.join("failed")
    }

    /// Takes a dropped file into `work/`, under a name that no earlier file has; `None` if it is
    /// gone or cannot be moved.
    pub(super) fn claim(&self, dropped: &OsStr) -> Option<String> {
        let printable = dropped.to_string_lossy();
        let taken = |name: &String| {
            [self.work(), self.done(), self.failed()].iter().any(|dir| dir.join(name).exists())
        };
        let name = (1..).map(|n| numbered(&printable, n)).find(|name| !taken(name))?;
        match fs::rename(self.dir.join(dropped), self.work().join(&name)) {
            Ok(()) => Some(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let remedy = "let the agent's user write to the spool";
                tracing::warn!(file = %printable, %error, remedy, "a spool file is not taken");
                None
            }
        }
    }

    /// Decides a file in `work/`, from its start or from where it was interrupted.
    pub(super) fn process(
        &self,
        name: &str,
        pipeline: &Pipeline,
        runtime: &Handle,
        stopping: &watch::Receiver<bool>,
    ) -> Fate {
        // Names are unique, so these are the results of this file: only its move is missing.
        if self.done().join(results_name(name)).exists() {
            return self.settle(name, &self.done(), Fate::Done);
        }
        let decide = |bodies: Vec<ItemBody>| {
            if *stopping.borrow() {
                return Err(Halt::Stopping);
            }
            decide_all(pipeline, &self.task, bodies, runtime)
        };
        match self.decide_file(name, decide) {
            Ok(Ok(())) => self.settle(name, &self.done(), Fate::Done),
            Ok(Err(unfit)) => self.fail(name, &unfit),
            Err(Halt::Stopping) => Fate::Stopping,
            Err(halt) => {
                tracing::warn!(file = name, error = %halt, "a spool file waits; it is tried again");
                Fate::Later
            }
        }
    }

    fn decide_file(
        &self,
        name: &str,
        decide: impl FnMut(Vec<ItemBody>) -> Result<Vec<LineResult>, Halt>,
    ) -> Result<Result<(), Unfit>, Halt> {
        let path = self.work().join(name);
        let bytes_len = fs::metadata(&path)?.len();
        if bytes_len > FILE_BYTES_MAX {
            return Ok(Err(Unfit::TooLarge(bytes_len)));
        }
        let Some(format) = Format::of(&path) else { return Ok(Err(Unfit::Kind)) };
        let bytes = fs::read(&path)?;
        let (text, encoding) = decode(&bytes);
        let reading = Reading { format, column: COLUMN };
        let items = match items(&text, reading) {
            Ok(items) => items,
            Err(error) => return Ok(Err(error.into())),
        };
        let assumed = (encoding == Encoding::Windows1252).then_some(encoding);
        let mut results = Results::open(self.work().join(format!("{name}.results.part")))?;
        let decided = results.last_line;
        let rest = items.filter(|item| line_of(item) > decided);
        let tally =
            pump(rest, &LineIds::new(&original(name), &bytes), decide, |line, result, t| {
                results.push(&ResultLine { line, encoding: assumed, result })?;
                // Chunks end where an interrupted file may go on.
                if t.items % CHUNK_ITEMS as u64 == 0 {
                    results.flush()?;
                }
                Ok(())
            })?;
        if let Some(problems) = results.problems() {
            let reason = self.failed().join(format!("{name}.reason.txt"));
            let text = format!("these lines were not decided; all others were:\n{problems}\n");
            replace(&reason, text.as_bytes())?;
        }
        results.finish(&self.done().join(results_name(name)))?;
        let (task, items, errors) = (&self.task, tally.items, tally.errors);
        tracing::info!(%task, file = name, items, errors, "a spool file is decided");
        Ok(Ok(()))
    }

    fn fail(&self, name: &str, unfit: &Unfit) -> Fate {
        let reason = self.failed().join(format!("{name}.reason.txt"));
        let text = format!("nothing of this file was decided: {unfit}\n");
        if let Err(error) = replace(&reason, text.as_bytes()) {
            tracing::warn!(file = name, %error, "the reason of a failure cannot be written");
            return Fate::Later;
        }
        tracing::warn!(task = %self.task, file = name, error = %unfit, "a spool file failed");
        self.settle(name, &self.failed(), Fate::Failed)
    }

    fn settle(&self, name: &str, folder: &Path, fate: Fate) -> Fate {
        match fs::rename(self.work().join(name), folder.join(name)) {
            Ok(()) => fate,
            Err(error) => {
                tracing::warn!(file = name, %error, "a spool file cannot be moved out of work/");
                Fate::Later
            }
        }
    }
}

fn line_of(item: &Result<crate::input::Item, crate::input::ItemError>) -> u64 {
    match item {
        Ok(item) => item.line,
        Err(error) => error.line,
    }
}

fn results_name(name: &str) -> String {
    format!("{name}.results.jsonl")
}

/// `orders.csv`, then `orders~2.csv`, `orders~3.csv`: what a file is called in `work/` and on.
fn numbered(name: &str, n: u32) -> String {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 8 => {
            (stem, format!(".{extension}"))
        }
        _ => (name, String::new()),
    };
    let stem = cut(stem, NAME_BYTES_MAX);
    if n == 1 { format!("{stem}{extension}") } else { format!("{stem}~{n}{extension}") }
}

/// The name as it was dropped: ids must not depend on which files came before.
fn original(name: &str) -> String {
    let Some((stem, rest)) = name.rsplit_once('~') else { return name.to_owned() };
    let number = rest.split('.').next().unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("{stem}{}", &rest[number.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_lead_back_to_what_was_dropped() {
        let long = format!("{}.csv", "x".repeat(300));
        for (name, n, want) in [
            ("orders.csv", 1, "orders.csv"),
            ("orders.csv", 2, "orders~2.csv"),
            ("orders", 3, "orders~3"),
            (".hidden", 2, ".hidden~2"),
            (long.as_str(), 1, &format!("{}.csv", "x".repeat(200))),
        ] {
            assert_eq!(numbered(name, n), want);
        }
        for (name, want) in [
            ("orders.csv", "orders.csv"),
            ("orders~2.csv", "orders.csv"),
            ("orders~3", "orders"),
            ("a~b.csv", "a~b.csv"),
            ("a~.csv", "a~.csv"),
        ] {
            assert_eq!(original(name), want);
        }
    }

    #[test]
    fn a_taken_name_gets_a_number_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), "t".parse().unwrap()).unwrap();
        for want in ["a.txt", "a~2.txt", "a~3.txt"] {
            fs::write(dir.path().join("a.txt"), want).unwrap();
            assert_eq!(folder.claim(OsStr::new("a.txt")).as_deref(), Some(want));
            assert_eq!(fs::read_to_string(folder.work().join(want)).unwrap(), want);
        }
        assert_eq!(folder.claim(OsStr::new("gone.txt")), None);
    }
}
