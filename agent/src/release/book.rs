//! The book as a file: JSON with a version, replaced as a whole.

use landfall_agent_core::release::Book;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const NAME: &str = "releases.json";

/// The version that this agent writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
pub(super) enum BookError {
    /// The file cannot be read or written.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a book, or one of another version.
    #[error("{} cannot be used: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Serialize)]
struct Out<'a> {
    version: u32,
    #[serde(flatten)]
    book: &'a Book,
}

#[derive(Deserialize)]
struct In {
    version: u32,
    #[serde(flatten)]
    book: Book,
}

/// Reads the book of a data directory; an empty one if there is none.
///
/// # Errors
/// [`BookError`].
pub(super) fn load(data_dir: &Path) -> Result<Book, BookError> {
    let path = data_dir.join(NAME);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Book::default()),
        Err(source) => return Err(BookError::Io { operation: "read", path, source }),
    };
    let malformed = |what: String| BookError::Malformed { path: path.clone(), what };
    let In { version, book } =
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    if version != VERSION {
        return Err(malformed(format!("it has version {version}, this agent reads {VERSION}")));
    }
    Ok(book)
}

/// Writes it, durably.
pub(super) fn save(data_dir: &Path, book: &Book) -> Result<(), BookError> {
    let path = data_dir.join(NAME);
    let write = || {
        let text = serde_json::to_vec_pretty(&Out { version: VERSION, book })?;
        crate::service::replace(&path, &text)?;
        std::fs::File::open(data_dir)?.sync_all()
    };
    write().map_err(|source| BookError::Io { operation: "write", path: path.clone(), source })
}

/// Puts one that cannot be read aside, so that the next can be written.
pub(super) fn set_aside(data_dir: &Path) -> io::Result<()> {
    std::fs::rename(data_dir.join(NAME), data_dir.join("releases.json.damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_agent_core::release::{Candidate, Entry, Failure, Stage};
    use landfall_wire::id::Digest;
    use landfall_wire::release::{ReleaseFault, ReleaseRef, ReleaseReport, ReleaseStage};

    /// As version 1 wrote it.
    const GOLDEN: &str = include_str!("golden/book-1.json");

    fn book() -> Book {
        let release = |version: &str| ReleaseRef {
            version: version.to_owned(),
            manifest: Digest([0x11; 32]),
            manifest_bytes: 13_000,
            signature: Digest([0x22; 32]),
            signature_bytes: 293,
        };
        let (stage, trials) = (Stage::Trial, 1);
        let candidate = Candidate { release: Some(release("3")), trial_secs: 600, stage, trials };
        let failed = Failure {
            release: Some(release("2")),
            fault: ReleaseFault::Evaluation,
            detail: "accuracy".to_owned(),
        };
        let first = Entry {
            order: 7,
            current: Some(release("1")),
            previous: None,
            candidate: Some(candidate),
            failed: None,
        };
        let second = Entry { order: 8, failed: Some(failed), ..Entry::default() };
        let report = ReleaseReport {
            at_ms: 1_780_000_000_000,
            package: "radio".to_owned(),
            number: 8,
            release: None,
            stage: ReleaseStage::Current,
        };
        Book {
            packages: [("maintenance".to_owned(), first), ("radio".to_owned(), second)].into(),
            untold: vec![report],
        }
    }

    #[test]
    fn version_1_is_read_and_written_as_ever() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &book()).unwrap();
        let written = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!(written.trim(), GOLDEN.trim());
        std::fs::write(dir.path().join(NAME), GOLDEN).unwrap();
        assert_eq!(load(dir.path()).unwrap(), book());
    }

    #[test]
    fn what_is_no_book_is_named_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), Book::default());
        for text in ["", "{", "{\"version\": 2, \"packages\": {}}", "{\"packages\": {}}"] {
            std::fs::write(dir.path().join(NAME), text).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, BookError::Malformed { .. }), "{text}: {error}");
        }
        set_aside(dir.path()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Book::default());
    }
}
