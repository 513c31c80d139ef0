//! `run.json` in the data directory: where the command line finds the running agent.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const NAME: &str = "run.json";

/// The running agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process.
    pub pid: u32,
    /// Where it listens; absent if HTTP is off.
    pub http: Option<SocketAddr>,
    /// What `/healthz` of this very agent says: a file that a killed agent left behind may name
    /// a port that another program has now.
    pub instance: String,
}

impl RunFile {
    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// From the file system.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        replace(&path(data_dir), &serde_json::to_vec(self)?)
    }

    /// What the last agent wrote, if it can be read.
    pub fn read(data_dir: &Path) -> Option<RunFile> {
        serde_json::from_slice(&std::fs::read(path(data_dir)).ok()?).ok()
    }

    /// Removes it at a graceful stop.
    pub fn remove(data_dir: &Path) {
        // A leftover is harmless: its instance no longer answers.
        let _leftover = std::fs::remove_file(path(data_dir));
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Puts `bytes` in the place of a file: written beside it, synced, renamed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = std::fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_tolerates_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunFile::read(dir.path()), None);
        let run =
            RunFile { pid: 7, http: Some(([127, 0, 0, 1], 80).into()), instance: "ab".into() };
        run.write(dir.path()).unwrap();
        assert_eq!(RunFile::read(dir.path()), Some(run));
        std::fs::write(path(dir.path()), "{").unwrap();
        assert_eq!(RunFile::read(dir.path()), None);
        RunFile::remove(dir.path());
        assert!(!path(dir.path()).exists());
    }
}
